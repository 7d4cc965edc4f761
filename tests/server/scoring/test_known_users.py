"""A user is known as training last saw them, and a value of a table means what it means in a query."""

from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule_server.artifact import file_names
from bascule_server.artifact.reading import ArtifactError
from bascule_server.scoring.known_users import KnownUsers, feature_value, read_known_users
from bascule_server.scoring.query import FeatureValue

USERS = pl.DataFrame(
    {
        "user_id": ["ann", "bob", "eve"],
        "history": [[2, 0], [], [1]],
        "country": ["DE", None, "FR"],
        "age": [30, 40, None],
        "tags": [["new", "old"], None, []],
    }
)


def read(folder: Path, users: pl.DataFrame, item_count: int = 3) -> KnownUsers:
    users.write_parquet(folder / file_names.USERS)
    return read_known_users(folder, item_count)


def test_a_user_is_known_by_history_and_features(tmp_path: Path) -> None:
    ann = read(tmp_path, USERS).find("ann")
    assert ann is not None
    assert ann.history.tolist() == [2, 0]
    assert ann.history.dtype == np.int64
    assert ann.features == {"country": "DE", "age": 30.0, "tags": ("new", "old")}


def test_a_feature_that_training_did_not_see_is_left_out(tmp_path: Path) -> None:
    bob = read(tmp_path, USERS).find("bob")
    assert bob is not None
    assert (bob.history.tolist(), bob.features) == ([], {"age": 40.0})


def test_a_user_whom_training_did_not_see_is_not_known(tmp_path: Path) -> None:
    users = read(tmp_path, USERS)
    assert users.find("stranger") is None
    assert users.find("") is None


def test_without_a_table_of_users_nobody_is_known(tmp_path: Path) -> None:
    assert read_known_users(tmp_path, 3).find("ann") is None


def test_whole_numbers_are_ids_too(tmp_path: Path) -> None:
    users = read(tmp_path, USERS.with_columns(user_id=pl.Series([7, 8, 9])))
    assert users.find("8") is not None


@pytest.mark.parametrize("dtype", [pl.Int32, pl.UInt16, pl.Int64])
def test_a_history_may_be_absent_or_have_gaps(tmp_path: Path, dtype: type[pl.DataType]) -> None:
    histories = pl.Series([None, [None, 1], [2]], dtype=pl.List(dtype))
    users = read(tmp_path, USERS.with_columns(history=histories))
    found = [users.find(user_id) for user_id in ("ann", "bob", "eve")]
    assert [user.history.tolist() for user in found if user] == [[], [1], [2]]


def test_of_no_users_none_is_known(tmp_path: Path) -> None:
    assert read(tmp_path, USERS.clear()).find("ann") is None


@pytest.mark.parametrize(
    ("users", "complaint"),
    [
        (USERS.with_columns(history=pl.Series([[3], [], []])), "a row that none of the 3 items has"),
        (USERS.with_columns(history=pl.Series([[-1], [], []])), "a row that none of the 3 items has"),
        (USERS.with_columns(history=pl.Series([["a"], [], []])), file_names.USERS),
        (USERS.drop("history"), "history"),
        (USERS.drop("user_id"), "user_id"),
    ],
)
def test_users_that_do_not_fit_the_items_are_refused(tmp_path: Path, users: pl.DataFrame, complaint: str) -> None:
    with pytest.raises(ArtifactError, match=complaint):
        read(tmp_path, users)


def test_a_file_that_is_no_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / file_names.USERS).write_bytes(b"PAR1")
    with pytest.raises(ArtifactError, match=file_names.USERS):
        read_known_users(tmp_path, 3)


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        (None, None),
        ("DE", "DE"),
        ("", ""),
        (True, "true"),
        (3, 3.0),
        (0.5, 0.5),
        (float("nan"), None),
        (["new", None, "old"], ("new", "old")),
        ([], ()),
        (pl.Series(["new", None]), ("new",)),
        (date(2024, 2, 29), "2024-02-29"),
    ],
)
def test_a_cell_becomes_a_category_a_number_or_several_categories(cell: object, value: FeatureValue | None) -> None:
    assert feature_value(cell) == value
    assert type(feature_value(cell)) is type(value)


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=8),
        st.tuples(
            st.lists(st.integers(0, 9), max_size=5), st.none() | st.text(max_size=4), st.none() | st.integers(0, 99)
        ),
        max_size=5,
    )
)
def test_every_user_that_was_written_is_found(
    tmp_path_factory: pytest.TempPathFactory, written: dict[str, tuple[list[int], str | None, int | None]]
) -> None:
    rows = [(user_id, *cells) for user_id, cells in written.items()]
    schema: dict[str, pl.DataType | type[pl.DataType]] = {
        "user_id": pl.String,
        "history": pl.List(pl.Int32),
        "country": pl.String,
        "age": pl.Int64,
    }
    users = read(tmp_path_factory.getbasetemp(), pl.DataFrame(rows, schema, orient="row"), item_count=10)
    for user_id, (history, country, age) in written.items():
        user = users.find(user_id)
        assert user is not None
        assert user.history.tolist() == history
        assert (user.features.get("country"), user.features.get("age")) == (country, age)
