"""Who is asked in an evaluation, and what counts."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class EvaluationConfig(BaseModel):
    """The rules of an evaluation. Published figures can only be compared with under the rules that they came by."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    exclude_history: bool = True
    """Whether items of the history are never recommended, and are not to be found again either."""
    one_case_per: Literal["user", "interaction"] = "user"
    """``user``: a figure is the mean over users. ``interaction``: over interactions, each to be found by itself."""
    min_history: int = Field(default=0, ge=0)
    """Users with fewer interactions before are reported apart."""
    cold_items: Literal["counted", "apart"] = "counted"
    """Whether items that nobody had before count among those to be found; else they are reported apart."""
