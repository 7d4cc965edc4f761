"""Train, validation and test: four ways to part the interactions, and what is left out of training.

The frames that go in and come out are canonical interactions, as ``bascule_training.data.tables`` reads them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
import polars as pl
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from bascule_training.data.tables import DataError, unix_seconds

_TEST, _VALIDATION = 0, 1


def _seconds_of_moment(value: object) -> object:
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    return unix_seconds(value) if isinstance(value, str | datetime) else value


def _seconds_or_fraction(value: int | float) -> int | float:
    if isinstance(value, float) and not 0 < value < 1:
        raise ValueError(f"got {value}; expected a fraction between 0 and 1, whole unix seconds or an ISO 8601 string")
    return value


Moment = Annotated[int | float, BeforeValidator(_seconds_of_moment), AfterValidator(_seconds_or_fraction)]
"""Whole unix seconds (also given as an ISO 8601 string or a datetime), or the fraction of interactions before it."""
Fraction = Annotated[float, Field(gt=0, lt=1)]


class _Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LeaveOneOut(_Config):
    """Each user's last interaction is test, the one before it validation; users with fewer than 3 are train whole."""

    kind: Literal["leave_one_out"] = "leave_one_out"


class GlobalTime(_Config):
    """Two moments part all interactions: nothing in train is later than anything in validation, nor that than test."""

    kind: Literal["global_time"] = "global_time"
    validation_from: Moment = 0.8
    """The first moment of validation."""
    test_from: Moment = 0.9
    """The first moment of test."""


class Random(_Config):
    """Interactions are drawn without regard to user and time. It lets the future tell of the past: for comparison."""

    kind: Literal["random"] = "random"
    validation_fraction: Fraction = 0.1
    test_fraction: Fraction = 0.1
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _leave_some_for_train(self) -> Self:
        if self.validation_fraction + self.test_fraction >= 1:
            raise ValueError(
                f"got the fractions {self.validation_fraction} and {self.test_fraction}; expected a sum below 1"
            )
        return self


class Given(_Config):
    """Validation and test are files of their own, with the columns of the interactions."""

    kind: Literal["given"] = "given"
    validation: Path | None = None
    """None: it is taken from the interactions."""
    validation_fraction: Fraction | None = None
    """How much is drawn from them, without regard to user and time, where the test was. None: each user's last
    interaction; users with only one are train whole."""
    seed: int = Field(default=0, ge=0)
    """Of the draw."""
    test: Path

    @model_validator(mode="after")
    def _have_one_validation(self) -> Self:
        if self.validation is not None and self.validation_fraction is not None:
            raise ValueError(
                f"got the validation {str(self.validation)!r} and a validation_fraction of {self.validation_fraction};"
                " expected one of them"
            )
        return self


Split = LeaveOneOut | GlobalTime | Random | Given


@dataclass(frozen=True, slots=True)
class Splits:
    """Canonical interactions in three parts, none empty, each in time order."""

    train: pl.DataFrame
    validation: pl.DataFrame
    test: pl.DataFrame


def split(interactions: pl.DataFrame, config: Split, read: Callable[[Path], pl.DataFrame] | None = None) -> Splits:
    """Parts ``interactions`` as ``config`` says; interactions of one second are taken in the order of the rows.

    Args:
        interactions: canonical interactions; for ``Given``, those of train.
        config: how.
        read: reads the files of ``Given`` as canonical interactions.

    Raises:
        DataError: a part would be empty, there is no time to part by, or a file of ``Given`` repeats interactions of
            another part.
    """
    ordered = interactions.sort("time", maintain_order=True)
    match config:
        case LeaveOneOut():
            parts = _leave_one_out(ordered)
        case GlobalTime():
            parts = _global_time(ordered, config)
        case Random():
            parts = _random(ordered, config)
        case Given():
            if read is None:
                raise TypeError("a given split needs a function that reads its files")
            parts = _given(ordered, config, read)
    for name, part in (("train", parts.train), ("validation", parts.validation), ("test", parts.test)):
        if part.is_empty():
            raise DataError(f"the split '{config.kind}' of {len(ordered):,} interactions leaves none in {name}")
    return parts


def without_rare_items(splits: Splits, least: int) -> Splits:
    """The split without what was known of items that have fewer than ``least`` interactions before the test.

    They leave training and validation. The test part stays as it is, where they are now items that nobody had before.

    Raises:
        DataError: training or validation would be empty.
    """
    before = pl.concat([splits.train, splits.validation])
    items = before.group_by("item_id").len().filter(pl.col("len") >= least).select("item_id")
    train, validation = (
        part.join(items, on="item_id", how="semi", maintain_order="left") for part in (splits.train, splits.validation)
    )
    for name, part in (("train", train), ("validation", validation)):
        if part.is_empty():
            raise DataError(
                f"no item in {name} has {least:,} interactions before the test; lower min_item_interactions"
            )
    return Splits(train, validation, splits.test)


def _leave_one_out(ordered: pl.DataFrame) -> Splits:
    from_last = pl.int_range(pl.len()).reverse().over("user_id")
    held_out = pl.when(pl.len().over("user_id") >= 3).then(from_last).otherwise(None)
    part = ordered.select(part=held_out)["part"]
    is_test, is_validation = (part == _TEST).fill_null(value=False), (part == _VALIDATION).fill_null(value=False)
    return Splits(ordered.filter(~(is_test | is_validation)), ordered.filter(is_validation), ordered.filter(is_test))


def _global_time(ordered: pl.DataFrame, config: GlobalTime) -> Splits:
    times = ordered["time"]
    if times.null_count():
        raise DataError("the split 'global_time' needs times; name their column, or choose another split")
    validation_from, test_from = (_resolve(moment, times) for moment in (config.validation_from, config.test_from))
    if validation_from >= test_from:
        raise DataError(
            f"the split 'global_time' begins validation at {validation_from} and test at {test_from}"
            " (unix seconds); expected test to begin later"
        )
    is_train, is_test = times < validation_from, times >= test_from
    return Splits(ordered.filter(is_train), ordered.filter(~(is_train | is_test)), ordered.filter(is_test))


def _resolve(moment: int | float, times: pl.Series) -> int:
    """Unix seconds; a fraction falls on the time of the interaction that comes after so many."""
    return int(times[int(moment * len(times))]) if isinstance(moment, float) else moment


def _random(ordered: pl.DataFrame, config: Random) -> Splits:
    place = _shuffled(len(ordered), config.seed)
    test_count = round(len(ordered) * config.test_fraction)
    held_out_count = test_count + round(len(ordered) * config.validation_fraction)
    return Splits(
        ordered.filter(place >= held_out_count),
        ordered.filter((place >= test_count) & (place < held_out_count)),
        ordered.filter(place < test_count),
    )


def _shuffled(count: int, seed: int) -> pl.Series:
    """Int64 [count], the places from 0 in random order."""
    return pl.Series(np.random.default_rng(seed).permutation(count))


def _given(ordered: pl.DataFrame, config: Given, read: Callable[[Path], pl.DataFrame]) -> Splits:
    test = read(config.test)
    _refuse_overlap(ordered, test, "train", "test")
    if config.validation_fraction is not None:
        is_drawn = _shuffled(len(ordered), config.seed) < round(len(ordered) * config.validation_fraction)
        return Splits(ordered.filter(~is_drawn), ordered.filter(is_drawn), test)
    if config.validation is None:
        held_out = pl.int_range(pl.len()).over("user_id") == pl.len().over("user_id") - 1
        is_validation = ordered.select(part=held_out & (pl.len().over("user_id") >= 2))["part"]
        return Splits(ordered.filter(~is_validation), ordered.filter(is_validation), test)
    validation = read(config.validation)
    _refuse_overlap(ordered, validation, "train", "validation")
    _refuse_overlap(validation, test, "validation", "test")
    return Splits(ordered, validation, test)


def _refuse_overlap(one: pl.DataFrame, other: pl.DataFrame, one_name: str, other_name: str) -> None:
    """An interaction that training sees and the test asks for makes every metric worthless."""
    shared = other.join(one, on=["user_id", "item_id", "time"], how="semi", nulls_equal=True)
    if len(shared):
        first = shared.row(0, named=True)
        raise DataError(
            f"the split 'given' has {len(shared):,} interactions both in {one_name} and in {other_name},"
            f" the first of user '{first['user_id']}' with item '{first['item_id']}'"
        )
