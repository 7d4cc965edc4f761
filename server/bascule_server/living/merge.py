"""Merges what came since a version was made into its base, and takes out what went: one search of all that is there.

Rows stay as they are: those of the base, of which some may be gone, and behind them those of what came. So the base's
ids, attributes and vectors stay where they are, mapped and shared by all workers; what a merge makes anew is what
decides which items are looked at:

    no index    the 8 bits a component, of what is there; they are in the memory of each worker, as those of the base
                were, whose place they take
    an index    lists for what came, around the same centroids, that are looked through with those of the base. These
                stay mapped; what went stands in them still and is passed over
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bascule.v1.artifact_pb2 import Attribute
from bascule_server.living.came import Came, Item
from bascule_server.living.merged_retrievers import Base
from bascule_server.living.segments import Searched


class Merged(NamedTuple):
    """What was there when a merge began, ready to be searched together."""

    came: Came | None
    searched: Searched
    """The base, and what came."""
    is_gone: NDArray[np.bool_]
    """bool [items of the base], what of it is not found."""


class Merge(NamedTuple):
    """What is there when a merge begins. Nothing of it changes, so that any thread may ``run`` it."""

    base: Base
    items: Mapping[str, Item]
    """That came and did not go again, in the order in which they came."""
    is_gone: NDArray[np.bool_]
    """bool [items of the base]. What came, or something of the base, is there."""
    attributes: Sequence[Attribute]

    def run(self) -> Merged:
        """Takes about as long as to load the base's retrievers."""
        end_of_base = len(self.is_gone)
        if not self.items:
            nothing = np.empty((0, self.base.vectors.shape[1]), np.float32)
            retrievers = self.base.merged(nothing, self.is_gone)
            return Merged(None, Searched(0, end_of_base, retrievers), self.is_gone)
        came = Came(self.items, end_of_base, self.attributes)
        retrievers = self.base.merged(came.vectors, self.is_gone)
        return Merged(came, Searched(0, came.segment.end_row, retrievers), self.is_gone)
