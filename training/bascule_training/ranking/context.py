"""What a ranking tower reads of the context of a query, such as the hour or the device."""

from collections.abc import Sequence
from typing import NamedTuple

import polars as pl

from bascule.v1.artifact_pb2 import Feature
from bascule_server.scoring.encoder import FeaturesEncoder
from bascule_training.config import FeatureConfig
from bascule_training.data.features import Declared, declare


class Context(NamedTuple):
    """Features of the context, declared."""

    declared: Declared
    rows: pl.DataFrame
    """What the tower learns from: the values of the features, a column each."""

    @classmethod
    def of(cls, configs: Sequence[FeatureConfig], rows: pl.DataFrame) -> "Context":
        """Means, boundaries and vocabularies are those of these rows.

        Raises:
            DataError: a column is missing, or holds what its kind cannot read.
        """
        return cls(declare(configs, rows, "context"), rows.select(config.name for config in configs))

    @property
    def features(self) -> list[Feature]:
        """As the manifest has them; empty where the context is not read."""
        return self.declared.features

    @property
    def names(self) -> list[str]:
        """Those of the features."""
        return [feature.name for feature in self.declared.features]

    def encoder(self) -> FeaturesEncoder | None:
        """What makes tensors of their values; None where the context is not read."""
        return FeaturesEncoder(*self.declared) if self.declared.features else None
