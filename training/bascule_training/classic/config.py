"""The configuration of the classic model."""

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

Units = Annotated[int, Field(ge=1, le=4_095)]
"""Of one layer. The hidden layer and a 1 for the items' biases are the query's vector."""


class ClassicConfig(BaseModel):
    """The user's features alone, embedded, through two towers into three softmaxes over the items."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["classic"] = "classic"
    embedding: Units = 10
    """Components of the vector of each feature's value."""
    layers: Annotated[tuple[Units, ...], Field(min_length=1, max_length=8)] = (64, 32)
    """Of each tower."""
    hidden: Units = 32
    """Of the layer that joins both."""
    default_learning_rate: ClassVar[float] = 5e-3
    default_rows_per_batch: ClassVar[int] = 32
