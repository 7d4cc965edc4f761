"""What came of fitting a ranking tower."""

from typing import NamedTuple

from bascule_server.ranker_inputs import RankerInputs, RankerItems
from bascule_training.two_towers import Tower


class FittedRanker(NamedTuple):
    """A ranking tower, and what it reads."""

    tower: Tower
    items: RankerItems
    """As the published model reads them."""
    candidate_count: int

    def inputs(self) -> RankerInputs:
        """What makes its inputs in serving."""
        return RankerInputs(self.items, self.candidate_count)
