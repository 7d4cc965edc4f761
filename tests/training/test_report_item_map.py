import json

import numpy as np
import pytest
from numpy.typing import NDArray

from bascule_training.report import item_map as module
from bascule_training.report.contents import Items
from bascule_training.report.item_map import common_groups, item_map, layout, nearest


def two_clouds(count: int = 40) -> NDArray[np.float32]:
    """Half of the vectors point about along the first axis, half about along the second."""
    random = np.random.default_rng(1)
    vectors = 0.1 * random.normal(size=(count, 4))
    vectors[: count // 2, 0] += 1
    vectors[count // 2 :, 1] += 1
    unit: NDArray[np.float32] = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit


def items(count: int = 40, **fields: object) -> Items:
    values: dict[str, object] = {
        "names": [f"item {row}" for row in range(count)],
        "vectors": two_clouds(count),
        "popularity": np.arange(count),
    }
    return Items(**(values | fields))  # type: ignore[arg-type]


class TestLayout:
    def test_items_that_are_near_in_the_space_are_near_on_the_map(self) -> None:
        places = layout(two_clouds())
        middles = places[:20].mean(axis=0), places[20:].mean(axis=0)
        far = np.linalg.norm(places - middles[1], axis=1) - np.linalg.norm(places - middles[0], axis=1)
        assert np.all(far[:20] > 0)
        assert np.all(far[20:] < 0)

    def test_the_map_is_filled_from_edge_to_edge(self) -> None:
        places = layout(two_clouds())
        assert places.min(axis=0).tolist() == [0, 0]
        assert places.max(axis=0).tolist() == [1000, 1000]

    def test_equal_vectors_give_an_equal_map(self) -> None:
        assert np.array_equal(layout(two_clouds()), layout(two_clouds()))

    def test_items_that_are_all_alike_lie_in_the_middle(self) -> None:
        assert layout(np.ones((9, 4), np.float32)).tolist() == [[500, 500]] * 9


class TestItemMap:
    def test_the_most_popular_come_first(self) -> None:
        drawn = item_map(items())
        assert drawn is not None
        assert drawn.names[:2] == ["item 39", "item 38"]
        assert drawn.popularity[:2] == [39, 38]

    def test_no_more_are_drawn_than_can_be_told_apart(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "MAX_ITEMS", 10)
        drawn = item_map(items())
        assert drawn is not None
        assert drawn.names == [f"item {row}" for row in range(39, 29, -1)]
        assert all(0 <= other < 10 for near in drawn.near for other in near)

    def test_an_item_of_several_groups_has_the_colour_of_the_rarest(self) -> None:
        groups = [("drama",)] * 20 + [("drama", "war")] * 10 + [("opera", "drama")] + [()] * 9
        drawn = item_map(items(groups=groups, attribute="genres"))
        assert drawn is not None
        assert drawn.groups == ["drama", "war", "opera"]
        by_name = dict(zip(drawn.names, drawn.group, strict=True))
        assert [by_name[f"item {row}"] for row in (0, 25, 30, 39)] == [0, 1, 2, 3]

    def test_without_an_attribute_all_are_in_one_group(self) -> None:
        drawn = item_map(items())
        assert drawn is not None
        assert drawn.groups == []
        assert set(drawn.group) == {0}

    def test_it_goes_into_json(self) -> None:
        drawn = item_map(items())
        assert drawn is not None
        assert json.loads(json.dumps(drawn._asdict())) == drawn._asdict()

    def test_a_handful_of_items_has_no_map(self) -> None:
        assert item_map(items(7)) is None

    def test_an_item_without_a_vector_is_drawn_too(self) -> None:
        vectors = two_clouds()
        vectors[3] = 0
        assert item_map(items(vectors=vectors)) is not None


def test_nearest_are_those_of_the_largest_cosine_without_the_item_itself() -> None:
    vectors = np.array([[1, 0], [0.8, 0.6], [0, 1]], np.float32)
    assert nearest(vectors).tolist() == [[1, 2], [0, 2], [1, 0]]


def test_common_groups_are_the_largest() -> None:
    groups = [(letter,) for letter in "aabbbcdefghij"]
    assert common_groups(groups) == ["b", "a", "c", "d", "e", "f", "g"]
    assert common_groups([("a", "a"), ("b",), ("b",)]) == ["b", "a"]
    assert common_groups([]) == []
