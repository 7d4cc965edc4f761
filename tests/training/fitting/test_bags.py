from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule_training.data.examples import Examples
from bascule_training.data.histories import Histories
from bascule_training.fitting.bags import LEAST_KEPT, MAX_TARGETS, bag_count, bag_examples

Hides = Literal["any", "newest", "all"]
EVERY: list[Hides] = ["any", "newest", "all"]
many_users = st.lists(st.lists(st.integers(0, 9), unique=True, max_size=8), min_size=1, max_size=8).filter(
    lambda users: any(len(user) > 1 for user in users)
)


def histories(*users: list[int]) -> Histories:
    offsets = np.cumsum([0, *map(len, users)], dtype=np.int64)
    return Histories(np.array([row for user in users for row in user], np.int32), offsets)


def bags(users: list[list[int]], hides: Hides, *, length: int = 8, rows: int = 3, seed: int = 0) -> list[Examples]:
    all_of = histories(*users)
    weights = np.ones(len(all_of.item_rows), np.float32)
    return list(bag_examples(all_of, weights, length, rows, hides, np.random.default_rng(seed)))


def rows_of(batches: list[Examples]) -> list[tuple[int, list[int], list[int]]]:
    """User, rows read and rows to predict of every row that is somebody's."""
    return [
        (int(user), [int(code) - 1 for code in codes if code], targets[weights > 0].tolist())
        for batch in batches
        for user, codes, targets, weights in zip(batch.users, batch.codes, batch.targets, batch.weights, strict=True)
        if user >= 0
    ]


@given(many_users, st.sampled_from(EVERY), st.integers(0, 99))
def test_what_is_kept_and_what_is_hidden_are_the_history(users: list[list[int]], hides: Hides, seed: int) -> None:
    found = rows_of(bags(users, hides, seed=seed))
    for user, kept, hidden in found:
        assert sorted([*kept, *hidden]) == sorted(users[user])
        assert kept == [row for row in users[user] if row in kept]  # in their order
    least = 1 if hides == "all" else 2
    assert sorted(user for user, _, _ in found) == [user for user, rows in enumerate(users) if len(rows) >= least]


@given(many_users, st.integers(0, 99))
def test_the_newest_are_hidden_where_it_is_said(users: list[list[int]], seed: int) -> None:
    for user, kept, hidden in rows_of(bags(users, "newest", seed=seed)):
        assert hidden
        assert [*kept, *hidden] == users[user]


@given(many_users)
def test_all_hides_all(users: list[list[int]]) -> None:
    for user, kept, hidden in rows_of(bags(users, "all")):
        assert kept == []
        assert hidden == users[user]


@given(many_users, st.sampled_from(EVERY), st.integers(1, 4), st.integers(1, 4))
def test_every_batch_has_one_shape_and_they_are_as_many_as_announced(
    users: list[list[int]], hides: Hides, length: int, rows: int
) -> None:
    batches = bags(users, hides, length=length, rows=rows)
    assert len(batches) == bag_count(histories(*users), rows, hides)
    longest = max(map(len, users))
    for batch in batches:
        assert batch.codes.shape == (rows, length)
        assert batch.users.shape == (rows,)
        assert batch.targets.shape == batch.weights.shape == (rows, longest)
        nobody = batch.users == -1
        assert not batch.codes[nobody].any()
        assert not batch.weights[nobody].any()


def test_of_what_is_kept_the_newest_are_read_and_stand_last() -> None:
    (_, kept, hidden), *_ = rows_of(bags([list(range(8))], "newest", length=3, seed=0))
    assert kept == list(range(8 - len(hidden)))[-3:]
    (batch,) = bags([[5, 6]], "newest", length=4, rows=1, seed=0)  # this seed keeps one
    assert batch.codes.tolist() == [[0, 0, 0, 6]]


@pytest.mark.parametrize("hides", ["any", "newest"])
def test_the_kept_share_is_drawn_evenly(hides: Hides) -> None:
    batches = bags([list(range(100))] * 400, hides, length=100)
    shares = np.array([len(kept) / 100 for _, kept, _ in rows_of(batches)])
    assert shares.mean() == pytest.approx((LEAST_KEPT + 1) / 2, abs=0.06)
    assert np.quantile(shares, 0.1) == pytest.approx(LEAST_KEPT + 0.1 * (1 - LEAST_KEPT), abs=0.06)
    assert np.quantile(shares, 0.9) == pytest.approx(LEAST_KEPT + 0.9 * (1 - LEAST_KEPT), abs=0.06)


def test_targets_stand_for_all_where_they_are_too_many() -> None:
    count = MAX_TARGETS + 44
    (batch,) = bags([list(range(count))], "all", rows=1)
    assert batch.targets.shape == (1, MAX_TARGETS)
    assert len(np.unique(batch.targets)) == MAX_TARGETS
    assert batch.weights.sum() == pytest.approx(count)


def test_a_target_counts_what_its_interaction_counts() -> None:
    weights = np.array([0.5, 1.0, 1.5], np.float32)
    (batch,) = bag_examples(histories([7, 8], [9]), weights, 1, 2, "all", np.random.default_rng(0))
    counted = {int(row): float(weight) for row, weight in zip(batch.targets.flat, batch.weights.flat, strict=True)}
    assert {row: counted[row] for row in (7, 8, 9)} == {7: 0.5, 8: 1.0, 9: 1.5}
