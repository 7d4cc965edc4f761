import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule_training.data.examples import Examples, example_weights
from bascule_training.data.histories import Histories
from bascule_training.fitting import packing
from bascule_training.fitting.packing import batch_count, packed_examples


def histories(*users: list[int]) -> Histories:
    offsets = np.cumsum([0, *map(len, users)], dtype=np.int64)
    return Histories(np.array([row for user in users for row in user], np.int32), offsets)


many_users = st.lists(st.lists(st.integers(0, 5), max_size=9), max_size=8)
shapes = st.tuples(st.integers(1, 6), st.integers(1, 4))
seeds = st.integers(0, 99)


def packed(users: list[list[int]], shape: tuple[int, int], seed: int) -> list[Examples]:
    length, rows = shape
    log = histories(*users)
    return list(packed_examples(log, example_weights(log, None), length, rows, np.random.default_rng(seed)))


def positions(batches: list[Examples]) -> list[tuple[int, int, int]]:
    """User, code and target of every position that counts, in the order in which they stand."""
    return [
        (int(batch.users.flat[place]), int(batch.codes.flat[place]), int(batch.targets[place, 0]))
        for batch in batches
        for place in np.flatnonzero(batch.weights)
    ]


def test_two_users_in_numbers() -> None:
    # Whoever comes first by this seed: it is the one with three items.
    (batch,) = packed([[7, 8, 9], [5]], (3, 2), seed=0)
    assert batch.users.tolist() == [[0, 0, 0], [1, -1, -1]]
    assert batch.codes.tolist() == [[0, 8, 9], [0, 0, 0]]
    assert batch.targets.ravel().tolist() == [7, 8, 9, 5, 0, 0]
    assert batch.weights.ravel().tolist() == [1, 1, 1, 1, 0, 0]


def test_a_history_longer_than_a_row_goes_on_in_the_next_without_what_the_row_before_held() -> None:
    (batch,) = packed([[7, 8, 9, 6]], (3, 2), seed=0)
    assert batch.codes.tolist() == [[0, 8, 9], [10, 0, 0]]
    assert batch.targets.ravel().tolist() == [7, 8, 9, 6, 0, 0]
    assert batch.users.tolist() == [[0, 0, 0], [0, -1, -1]]


@given(many_users, shapes, seeds, st.integers(1, 9))
def test_the_batches_are_the_same_in_blocks_of_any_size(
    users: list[list[int]], shape: tuple[int, int], seed: int, block: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "BLOCK_INTERACTIONS", 10_000)
        whole = packed(users, shape, seed)
        patch.setattr(packing, "BLOCK_INTERACTIONS", block)
        parted = packed(users, shape, seed)
    assert len(whole) == len(parted)
    for one, other in zip(whole, parted, strict=True):
        for array, same in zip(dataclasses.astuple(one), dataclasses.astuple(other), strict=True):
            assert np.array_equal(array, same)


@given(many_users, shapes, seeds)
def test_every_interaction_is_a_target_exactly_once(users: list[list[int]], shape: tuple[int, int], seed: int) -> None:
    found = sorted((user, target) for user, _, target in positions(packed(users, shape, seed)))
    assert found == sorted((user, row) for user, rows in enumerate(users) for row in rows)


@given(many_users, shapes, seeds)
def test_a_position_reads_the_item_before_its_target_or_the_start(
    users: list[list[int]], shape: tuple[int, int], seed: int
) -> None:
    places = positions(packed(users, shape, seed))
    for user, rows in enumerate(users):
        own = [(code, target) for other, code, target in places if other == user]
        assert own == list(zip([0, *(row + 1 for row in rows)], rows, strict=False))


@given(many_users, shapes, seeds)
def test_each_user_stands_in_one_piece_so_that_no_row_holds_a_second_part(
    users: list[list[int]], shape: tuple[int, int], seed: int
) -> None:
    order = [user for user, _, _ in positions(packed(users, shape, seed))]
    begins = [user for place, user in enumerate(order) if place == 0 or order[place - 1] != user]
    assert len(begins) == len(set(begins))


@given(many_users, shapes, seeds)
def test_what_fills_the_last_row_counts_nothing_and_is_nobodys(
    users: list[list[int]], shape: tuple[int, int], seed: int
) -> None:
    for batch in packed(users, shape, seed):
        assert set(np.unique(batch.weights)) <= {0.0, 1.0}
        is_filling = batch.users == -1
        assert (is_filling.ravel() == (batch.weights[:, 0] == 0)).all()
        assert not batch.codes[is_filling].any()
        assert not batch.targets[is_filling.ravel()].any()


@given(many_users, shapes, seeds)
def test_every_batch_has_one_shape_and_they_are_as_many_as_announced(
    users: list[list[int]], shape: tuple[int, int], seed: int
) -> None:
    length, rows = shape
    batches = packed(users, shape, seed)
    assert len(batches) == batch_count(histories(*users), length, rows)
    for batch in batches:
        assert batch.codes.shape == batch.users.shape == (rows, length)
        assert batch.targets.shape == batch.weights.shape == (rows * length, 1)


@given(many_users, shapes, seeds)
def test_equal_seeds_pack_equally(users: list[list[int]], shape: tuple[int, int], seed: int) -> None:
    assert positions(packed(users, shape, seed)) == positions(packed(users, shape, seed))


def test_another_seed_packs_in_another_order() -> None:
    users = [[user] for user in range(50)]
    assert positions(packed(users, (5, 2), seed=0)) != positions(packed(users, (5, 2), seed=1))


def test_each_target_keeps_its_own_weight() -> None:
    log = histories([7, 8, 9], [5])
    weights = np.array([0.1, 0.2, 0.3, 0.4], np.float32)
    (batch,) = packed_examples(log, weights, 3, 2, np.random.default_rng(0))
    assert batch.targets.ravel().tolist() == [7, 8, 9, 5, 0, 0]
    np.testing.assert_array_equal(batch.weights.ravel(), np.array([0.1, 0.2, 0.3, 0.4, 0, 0], np.float32))
