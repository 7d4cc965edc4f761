from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, ValidationError

from bascule_training.data.splits import (
    Given,
    GlobalTime,
    LeaveOneOut,
    Random,
    Split,
    Splits,
    split,
    without_rare_items,
)
from bascule_training.data.tables import DataError

Row = tuple[str, str, int | None]


def log(*rows: Row) -> pl.DataFrame:
    schema = {"user_id": pl.String, "item_id": pl.String, "time": pl.Int64}
    return pl.DataFrame(rows, schema, orient="row")


def reader(**files: pl.DataFrame) -> Callable[[Path], pl.DataFrame]:
    return lambda path: files[path.stem]


# Each row has an item of its own, so that it can be told from every other.
logs = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9)), min_size=1, max_size=30).map(
    lambda rows: log(*((user, str(row), time) for row, (user, time) in enumerate(rows))).sort(
        "time", maintain_order=True
    )
)
times = st.integers(1, 9)
configs = st.one_of(
    st.just(LeaveOneOut()),
    st.tuples(times, times).map(lambda pair: GlobalTime(validation_from=pair[0], test_from=pair[1])),
    st.just(GlobalTime()),
    st.integers(0, 5).map(lambda seed: Random(validation_fraction=0.3, test_fraction=0.3, seed=seed)),
)


def split_or_none(interactions: pl.DataFrame, config: Split) -> Splits | None:
    try:
        return split(interactions, config)
    except DataError:
        return None


@given(logs, configs)
def test_each_interaction_is_in_exactly_one_part(interactions: pl.DataFrame, config: Split) -> None:
    if parts := split_or_none(interactions, config):
        together = pl.concat([parts.train, parts.validation, parts.test])
        assert sorted(together.rows()) == sorted(interactions.rows())


@given(logs, configs)
def test_each_part_is_filled_and_in_time_order(interactions: pl.DataFrame, config: Split) -> None:
    if parts := split_or_none(interactions, config):
        for part in (parts.train, parts.validation, parts.test):
            assert len(part)
            assert part["time"].is_sorted()


@given(logs, st.one_of(st.just(GlobalTime()), st.just(GlobalTime(validation_from=3, test_from=6))))
def test_by_global_time_nothing_is_earlier_than_what_was_trained_on(interactions: pl.DataFrame, config: Split) -> None:
    if parts := split_or_none(interactions, config):
        train, validation, test = (part["time"].to_list() for part in (parts.train, parts.validation, parts.test))
        assert max(train) < min(validation)
        assert max(validation) < min(test)


@given(logs)
def test_leave_one_out_takes_each_users_last_two(interactions: pl.DataFrame) -> None:
    parts = split_or_none(interactions, LeaveOneOut())
    if parts is None:
        return
    for user in "abc":
        had, train, validation, test = (
            frame.filter(pl.col("user_id") == user).rows()
            for frame in (interactions, parts.train, parts.validation, parts.test)
        )
        expected = (had[:-2], had[-2:-1], had[-1:]) if len(had) >= 3 else (had, [], [])
        assert (train, validation, test) == expected


def test_leave_one_out_in_numbers() -> None:
    parts = split(log(("a", "1", 1), ("b", "2", 2), ("a", "3", 3), ("b", "4", 4), ("a", "5", 5)), LeaveOneOut())
    assert parts.train["item_id"].to_list() == ["1", "2", "4"]
    assert parts.validation["item_id"].to_list() == ["3"]
    assert parts.test["item_id"].to_list() == ["5"]


def test_of_one_second_the_later_row_is_the_last() -> None:
    parts = split(log(("a", "1", 7), ("a", "2", 7), ("a", "3", 7)), LeaveOneOut())
    assert parts.test["item_id"].to_list() == ["3"]


def test_leave_one_out_needs_no_time() -> None:
    parts = split(log(("a", "1", None), ("a", "2", None), ("a", "3", None)), LeaveOneOut())
    assert parts.test["item_id"].to_list() == ["3"]


def test_global_time_in_numbers() -> None:
    ten = log(*(("a", str(time), time) for time in range(10)))
    at_moments = split(ten, GlobalTime(validation_from=5, test_from=8))
    at_fractions = split(ten, GlobalTime(validation_from=0.5, test_from=0.8))
    assert at_moments.validation["time"].to_list() == at_fractions.validation["time"].to_list() == [5, 6, 7]
    assert at_moments.test["time"].to_list() == at_fractions.test["time"].to_list() == [8, 9]


@pytest.mark.parametrize("moment", ["1970-01-02", "86400", date(1970, 1, 2), datetime(1970, 1, 2)])
def test_a_moment_may_be_text_or_a_date(moment: object) -> None:
    assert GlobalTime.model_validate({"validation_from": moment, "test_from": 90_000}).validation_from == 86_400


@pytest.mark.parametrize(("validation_from", "test_from"), [(8, 5), (5, 5), (0.9, 0.8)])
def test_test_must_begin_after_validation(validation_from: float, test_from: float) -> None:
    ten = log(*(("a", str(time), time) for time in range(10)))
    with pytest.raises(DataError, match="expected test to begin later"):
        split(ten, GlobalTime(validation_from=validation_from, test_from=test_from))


def test_global_time_without_times_is_refused() -> None:
    with pytest.raises(DataError, match="'global_time' needs times"):
        split(log(("a", "1", None)), GlobalTime())


def test_random_gives_the_fractions_and_repeats_with_its_seed() -> None:
    hundred = log(*(("a", str(time), time) for time in range(100)))
    config = Random(validation_fraction=0.1, test_fraction=0.2, seed=3)
    one, two = split(hundred, config), split(hundred, config)
    assert (len(one.train), len(one.validation), len(one.test)) == (70, 10, 20)
    assert one.test.equals(two.test)
    assert not one.test.equals(split(hundred, Random(validation_fraction=0.1, test_fraction=0.2, seed=4)).test)


def test_given_files_are_read_and_taken_as_they_are() -> None:
    train, validation, test = log(("a", "1", 1)), log(("a", "2", 2)), log(("a", "3", 3))
    config = Given(validation=Path("validation.csv"), test=Path("test.csv"))
    parts = split(train, config, reader(validation=validation, test=test))
    assert parts.train.equals(train)
    assert parts.validation.equals(validation)
    assert parts.test.equals(test)


def test_without_a_file_of_validation_each_users_last_is_taken() -> None:
    train = log(("a", "1", 1), ("b", "2", 2), ("a", "3", 3))
    parts = split(train, Given(test=Path("test.csv")), reader(test=log(("a", "4", 4))))
    assert parts.train["item_id"].to_list() == ["1", "2"]
    assert parts.validation["item_id"].to_list() == ["3"]


def test_validation_can_be_drawn_beside_a_given_test() -> None:
    hundred = log(*(("a", str(time), time) for time in range(100)))
    read = reader(test=log(("a", "t", 100)))
    one, again = (split(hundred, Given(test=Path("test.csv"), validation_fraction=0.2), read) for _ in range(2))
    assert (len(one.train), len(one.validation), len(one.test)) == (80, 20, 1)
    assert one.validation.equals(again.validation)
    assert sorted(pl.concat([one.train, one.validation]).rows()) == sorted(hundred.rows())
    assert one.validation["time"].is_sorted()
    other = split(hundred, Given(test=Path("test.csv"), validation_fraction=0.2, seed=1), read)
    assert not one.validation.equals(other.validation)


@pytest.mark.parametrize("time", [1, None])
def test_a_given_test_that_was_trained_on_is_refused(time: int | None) -> None:
    train, test = log(("a", "1", time), ("a", "2", time)), log(("b", "1", time), ("a", "2", time))
    with pytest.raises(DataError, match="in train and in test, the first of user 'a' with item '2'"):
        split(train, Given(test=Path("test.csv")), reader(test=test))


def test_the_same_item_at_another_time_is_no_overlap() -> None:
    parts = split(log(("a", "1", 1), ("a", "1", 2)), Given(test=Path("test.csv")), reader(test=log(("a", "1", 3))))
    assert len(parts.test) == 1


@pytest.mark.parametrize(
    ("config", "part"),
    [
        (LeaveOneOut(), "validation"),
        (GlobalTime(validation_from=1, test_from=9), "train"),
        (GlobalTime(validation_from=2, test_from=9), "test"),
        (GlobalTime(validation_from=9, test_from=10), "validation"),
        (Random(), "validation"),
    ],
)
def test_an_empty_part_is_named(config: Split, part: str) -> None:
    with pytest.raises(DataError, match=f"the split '{config.kind}' of 2 interactions leaves none in {part}"):
        split(log(("a", "1", 1), ("b", "2", 2)), config)


class Holder(BaseModel):
    split: Split = Field(discriminator="kind")


@pytest.mark.parametrize("kind", ["leave_one_out", "global_time", "random"])
def test_the_kind_chooses_the_split(kind: str) -> None:
    assert Holder.model_validate({"split": {"kind": kind}}).split.kind == kind


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"kind": "by_luck"}, "by_luck"),
        ({"kind": "leave_one_out", "seed": 1}, "seed"),
        ({"kind": "global_time", "test_from": 1.5}, "expected a fraction between 0 and 1"),
        ({"kind": "global_time", "test_from": "soon"}, "soon"),
        ({"kind": "random", "test_fraction": 0}, "greater than 0"),
        ({"kind": "random", "test_fraction": 0.5, "validation_fraction": 0.5}, "expected a sum below 1"),
        ({"kind": "given"}, "test"),
        (
            {"kind": "given", "test": "t.csv", "validation": "v.csv", "validation_fraction": 0.1},
            "got the validation 'v.csv' and a validation_fraction of 0.1; expected one of them",
        ),
    ],
)
def test_a_wrong_configuration_is_refused(config: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Holder.model_validate({"split": config})


class TestRareItems:
    parts = Splits(
        train=log(("a", "1", 1), ("b", "1", 2), ("a", "2", 3), ("b", "3", 4)),
        validation=log(("a", "3", 5), ("b", "4", 6)),
        test=log(("a", "4", 7), ("b", "5", 8)),
    )

    def test_they_leave_all_that_comes_before_the_test(self) -> None:
        parts = without_rare_items(self.parts, 2)
        assert parts.train["item_id"].to_list() == ["1", "1", "3"]
        assert parts.validation["item_id"].to_list() == ["3"]

    def test_the_test_part_stays_as_it_is_and_counts_for_nothing(self) -> None:
        assert without_rare_items(self.parts, 2).test.equals(self.parts.test)

    def test_one_interaction_is_enough_unless_told_otherwise(self) -> None:
        parts = without_rare_items(self.parts, 1)
        assert parts.train.equals(self.parts.train)
        assert parts.validation.equals(self.parts.validation)

    def test_an_empty_part_is_named(self) -> None:
        with pytest.raises(DataError, match="no item in train has 3 interactions before the test; lower"):
            without_rare_items(self.parts, 3)
        parts = Splits(self.parts.train, log(("b", "4", 6)), self.parts.test)
        with pytest.raises(DataError, match="no item in validation has 2 interactions"):
            without_rare_items(parts, 2)
