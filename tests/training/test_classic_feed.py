from itertools import chain

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bascule_training.classic.feed import HIDDEN, ClassicFeed
from bascule_training.data.histories import Histories

ITEMS = 4


def histories(*users: list[int]) -> Histories:
    items = np.array(list(chain.from_iterable(users)), np.int32)
    return Histories(items, np.cumsum([0, *map(len, users)]).astype(np.int64))


def feed(*users: list[int], rows_per_batch: int = 2, seed: int = 1) -> ClassicFeed:
    """The code of a user's one feature is 1 + the user's number."""
    codes = np.arange(1, len(users) + 1, dtype=np.int32)
    return ClassicFeed({"id": codes}, histories(*users), ITEMS, rows_per_batch, seed)


def test_the_items_of_a_user_share_1_each_counted_once() -> None:
    (batch,) = feed([0, 3], [2, 2, 2]).whole()
    np.testing.assert_array_equal(batch.targets, [[0.5, 0, 0, 0.5], [0, 0, 1, 0]])
    assert batch.targets.dtype == np.float32


def test_who_had_nothing_teaches_nothing() -> None:
    (batch,) = feed([], [1], []).whole()
    np.testing.assert_array_equal(batch.tensors["id"], [2])


@given(st.lists(st.lists(st.integers(0, ITEMS - 1)), max_size=12).filter(any), st.integers(1, 5))
def test_an_epoch_has_every_user_with_items_once_in_batches_of_one_shape(users: list[list[int]], rows: int) -> None:
    taught = [set(items) for items in users if items]
    batches = list(feed(*users, rows_per_batch=rows).epoch(0))
    assert all(batch.targets.shape == (rows, ITEMS) and batch.weights.shape == (rows,) for batch in batches)
    assert all(batch.tensors["id"].shape == (rows,) for batch in batches)
    np.testing.assert_allclose([batch.targets.sum(axis=1) for batch in batches], np.ones((len(batches), rows)))
    seen = [
        set(np.flatnonzero(target).tolist())
        for batch in batches
        for target, weight in zip(batch.targets, batch.weights, strict=True)
        if weight
    ]
    assert sorted(map(sorted, seen)) == sorted(map(sorted, taught))


def test_a_feature_stays_with_its_user_or_is_hidden() -> None:
    users = [[number % ITEMS] for number in range(400)]
    (batch,) = feed(*users, rows_per_batch=400).epoch(0)
    codes = batch.tensors["id"]
    assert 0.5 * HIDDEN < np.mean(codes == 0) < 1.5 * HIDDEN
    np.testing.assert_array_equal(batch.targets.argmax(axis=1)[codes > 0], (codes[codes > 0] - 1) % ITEMS)


def test_features_are_hidden_one_by_one_and_of_several_values_all() -> None:
    ones = np.ones((400, 3), np.int32)
    both = ClassicFeed({"tags": ones, "age": ones[:, 0]}, histories(*[[0]] * 400), ITEMS, 400, seed=1)
    (batch,) = both.epoch(0)
    assert batch.tensors["tags"].shape == (400, 3)
    shown = batch.tensors["tags"].sum(axis=1)
    assert set(shown.tolist()) == {0, 3}
    assert np.any((shown == 0) != (batch.tensors["age"] == 0))


def test_epochs_differ_and_equal_seeds_give_equal_epochs() -> None:
    users = [[number % ITEMS] for number in range(40)]

    def order(seed: int, epoch: int) -> list[int]:
        return [code for batch in feed(*users, seed=seed).epoch(epoch) for code in batch.tensors["id"].tolist()]

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1)
    assert order(1, 0) != order(2, 0)
