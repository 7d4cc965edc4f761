"""What came of fitting a ranking tower."""

from typing import NamedTuple

from bascule.v1.artifact_pb2 import Feature
from bascule_server.encoder import QueryEncoder
from bascule_server.ranker_inputs import RankerInputs, RankerItems
from bascule_training.two_towers import Tower


class FittedRanker(NamedTuple):
    """A ranking tower, and what it reads."""

    tower: Tower
    features: list[Feature]
    items: RankerItems
    """As the published model reads them."""
    candidate_count: int
    epochs: int
    """Of training; 0 where no other order than that of retrieval was better on the cases that were held out."""

    def inputs(self, encoder: QueryEncoder) -> RankerInputs:
        """What makes its inputs in serving."""
        return RankerInputs(self.items, encoder.features, self.candidate_count)
