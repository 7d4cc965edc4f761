"""What came of fitting a ranking tower."""

from collections.abc import Sequence
from typing import NamedTuple

from bascule.v1.artifact_pb2 import Feature
from bascule_server.scoring.ranker_inputs import RankerInputs, RankerItems
from bascule_training.ranking.context import Context
from bascule_training.towers.two_towers import Tower


class FittedRanker(NamedTuple):
    """A ranking tower, and what it reads."""

    tower: Tower
    items: RankerItems
    """As the published model reads them."""
    candidate_count: int
    context: Context
    item_features: Sequence[Feature]
    """Those of which ``items`` has the tensors."""

    def inputs(self) -> RankerInputs:
        """What makes its inputs in serving."""
        return RankerInputs(self.items, self.candidate_count, self.context.encoder())
