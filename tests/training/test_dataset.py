"""Files become a catalogue, users and parts, and nobody is told what the test will ask."""

from pathlib import Path

import pytest

from bascule_training.config import DataConfig, FeatureConfig
from bascule_training.data.splits import Given, Random
from bascule_training.data.tables import DataError
from bascule_training.dataset import Dataset, cases, read_dataset

LOG = """user_id,item_id,time
a,x,1
a,y,2
a,z,3
b,x,1
b,y,2
b,w,3
"""
ITEMS = "item_id,title,genres\nx,Ex,Action|War\nnew,New,Drama\n"
USERS = "user_id,likes,age\na,tea|coffee,30\nstranger,tea,20\n"


@pytest.fixture
def config(tmp_path: Path) -> DataConfig:
    for name, text in (("log", LOG), ("items", ITEMS), ("users", USERS)):
        (tmp_path / f"{name}.csv").write_text(text)
    return DataConfig(interactions=tmp_path / "log.csv", users=tmp_path / "users.csv", items=tmp_path / "items.csv")


def _read(config: DataConfig) -> Dataset:
    likes = FeatureConfig(name="likes", kind="multi_valued")
    genres = FeatureConfig(name="genres", kind="multi_valued")
    return read_dataset(config, [likes], [genres])


def test_the_catalogue_has_what_was_had_before_the_test_and_what_features_can_place(config: DataConfig) -> None:
    dataset = _read(config)
    assert dataset.items["item_id"].to_list() == ["new", "x", "y"]
    assert dataset.has_items(dataset.splits.train).tolist() == [False, True, False]
    assert dataset.has_items(dataset.before_test()).tolist() == [False, True, True]
    assert dataset.item_rows == {"new": 0, "x": 1, "y": 2}


def test_without_item_features_the_catalogue_has_what_was_had_before_the_test_alone(config: DataConfig) -> None:
    assert read_dataset(config, [], []).items["item_id"].to_list() == ["x", "y"]


def test_users_are_those_of_the_interactions_with_features_where_there_are_any(config: DataConfig) -> None:
    dataset = _read(config)
    assert dataset.users["user_id"].to_list() == ["a", "b"]
    assert dataset.users["age"].to_list() == [30, None]


def test_several_values_in_a_cell_become_lists_for_users_and_items_alike(config: DataConfig) -> None:
    dataset = _read(config)
    assert dataset.users["likes"].to_list() == [["tea", "coffee"], []]
    assert dataset.items["genres"].to_list() == [["Drama"], ["Action", "War"], []]


def test_histories_stand_in_the_order_of_the_users(config: DataConfig) -> None:
    dataset = _read(config)
    assert [history.tolist() for history in dataset.histories(dataset.splits.train)] == [[1], [1]]
    assert [history.tolist() for history in dataset.histories(dataset.before_test())] == [[1, 2], [1, 2]]


def test_the_test_asks_for_the_last_item_by_what_came_before_it_and_by_no_name(config: DataConfig) -> None:
    dataset = _read(config)
    asked = cases(dataset, dataset.before_test(), dataset.splits.test, ["likes"])
    assert [list(query.history) for query in asked.queries] == [["x", "y"], ["x", "y"]]
    assert [query.user_id for query in asked.queries] == ["", ""]
    assert sorted(str(query.features) for query in asked.queries) == ["{'likes': ('tea', 'coffee')}", "{'likes': ()}"]


def test_a_split_that_asks_nothing_new_is_an_error(config: DataConfig) -> None:
    dataset = _read(config)
    with pytest.raises(DataError, match="nothing to evaluate on"):
        cases(dataset, dataset.interactions, dataset.splits.test, [])


def test_given_parts_are_read_as_the_interactions_are(config: DataConfig, tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text("user_id,item_id,time\na,x,9\n")
    given = config.model_copy(update={"split": Given(test=tmp_path / "test.csv")})
    dataset = read_dataset(given, [], [])
    assert dataset.splits.test.select("user_id", "item_id", "time").rows() == [("a", "x", 9)]
    assert len(dataset.interactions) == 7


def test_histories_are_in_time_order_however_the_parts_were_drawn(config: DataConfig, tmp_path: Path) -> None:
    rows = [f"a,i{time:02},{time}" for time in range(40)]
    (tmp_path / "log.csv").write_text("\n".join(["user_id,item_id,time", *rows]))
    drawn = config.model_copy(update={"split": Random(validation_fraction=0.3, test_fraction=0.3)})
    dataset = read_dataset(drawn, [], [FeatureConfig(name="genres", kind="multi_valued")])
    assert dataset.interactions["time"].to_list() == list(range(40))
    assert dataset.before_test()["time"].is_sorted()
