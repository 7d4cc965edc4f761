"""What a query tower that is trained by gradient is, and the choice of one by its configuration."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import tensorflow as tf

from bascule.v1.artifact_pb2 import Feature
from bascule_training.config import HistoryBag, HistoryTransformer, TrainedTower, UserFeatures
from bascule_training.towers.features_tower import FeaturesTower
from bascule_training.towers.history_bag import HistoryBagTower
from bascule_training.towers.history_transformer import HistoryTransformerTower


class QueryTower(Protocol):
    """Reads users into vectors of length 1, apart from dropout."""

    variables: list[tf.Variable]
    trainable_variables: list[tf.Variable]

    def __call__(
        self, items: tf.Tensor, codes: tf.Tensor, users: tf.Tensor, tensors: Mapping[str, tf.Tensor], training: bool
    ) -> tf.Tensor:
        """The vectors of a batch of examples.

        Args:
            items: float32 [rows, length, dimension], the vectors of the items read.
            codes: int32 [rows, length], 1 + the row of the item read, or 0.
            users: int32, the user of each query, in the order of ``tensors``; -1 for none.
            tensors: of the user features, each [users, ...].
            training: whether dropout is on.

        Returns:
            float32 [queries, dimension].
        """

    def serve(self, items: tf.Tensor, codes: tf.Tensor, tensors: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """float32 [rows, dimension], one vector a history [rows, length]; ``tensors`` have a row for each."""


def query_tower(tower: TrainedTower, features: Sequence[Feature], history_length: int) -> QueryTower:
    """The tower that a configuration asks for."""
    match tower:
        case HistoryTransformer():
            built: QueryTower = HistoryTransformerTower(features, history_length, tower)
        case HistoryBag():
            built = HistoryBagTower(features, tower)
        case UserFeatures():
            built = FeaturesTower(features, tower)
    return built
