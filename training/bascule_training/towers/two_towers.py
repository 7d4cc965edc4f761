"""What a trained model is, however it was trained: two towers whose dot product is the score."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

Computation = Callable[[Mapping[str, tf.Tensor]], tf.Tensor]
"""Tensors [rows, ...] by the feature's name, as ``bascule_server.scoring`` makes them -> float32 [rows, dimension]."""


@dataclass(frozen=True, slots=True)
class Tower:
    """A computation from features to vectors, ready to be exported."""

    computation: Computation
    variables: Sequence[tf.Variable]
    """All that the computation uses; they are saved with it."""

    def vectors(self, inputs: Mapping[str, NDArray[np.generic]]) -> NDArray[np.float32]:
        """float32 [rows, dimension], computed at once."""
        computed: NDArray[np.float32] = self.computation(
            {name: tf.constant(array) for name, array in inputs.items()}
        ).numpy()
        return computed


class TwoTowers(Protocol):
    """A trained model. The score of an item for a query is the dot product of their vectors."""

    def item_vectors(self) -> NDArray[np.float32]:
        """float32 [items, dimension], in the order of the catalogue."""

    def query_tower(self) -> Tower:
        """The serving computation from the query features."""

    def item_tower(self) -> Tower | None:
        """The computation from the item features, for items that come after training; None where nothing can."""
