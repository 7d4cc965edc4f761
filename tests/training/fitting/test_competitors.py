import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bascule_training.config import Masks
from bascule_training.data.examples import Examples
from bascule_training.data.histories import Histories
from bascule_training.fitting.competitors import MAX_IN_BATCH, Competitors, CompetitorSampler
from bascule_training.fitting.packing import packed_examples

ITEM_COUNT = 6


def histories(*users: list[int]) -> Histories:
    offsets = np.cumsum([0, *map(len, users)], dtype=np.int64)
    return Histories(np.array([row for user in users for row in user], np.int32), offsets)


def examples(users: list[int], targets: list[list[int]], weights: list[list[float]]) -> Examples:
    """Of a tower whose rows are queries."""
    codes = np.zeros((len(users), 1), np.int32)
    return Examples(codes, np.array(users, np.int32), np.array(targets, np.int32), np.array(weights, np.float32))


def draw(
    of: Examples, *, in_batch: bool = False, uniform_count: int = 0, masks: Masks = "known", seed: int = 0
) -> Competitors:
    sampler = CompetitorSampler(TWO_USERS, ITEM_COUNT, in_batch=in_batch, uniform_count=uniform_count, masks=masks)
    return sampler.draw(of, np.random.default_rng(seed))


ONE_EACH = examples([0, 1], [[2], [3]], [[1], [1]])
TWO_USERS = histories([2, 4], [3])


def test_evenly_drawn_items_are_expected_as_often_as_each_other() -> None:
    # 12 draws of 6 items: each twice.
    drawn = draw(ONE_EACH, uniform_count=12)
    assert drawn.rows.shape == (12,)
    np.testing.assert_allclose(drawn.log_q, np.log(2), rtol=1e-6)
    np.testing.assert_allclose(drawn.target_log_q, np.log([[2], [2]]), rtol=1e-6)


def test_targets_of_the_batch_are_expected_by_their_frequency() -> None:
    # 2 draws; of 3 interactions, half a one more for each of 6 items, items 2 and 3 have 1.5 of 6.
    drawn = draw(ONE_EACH, in_batch=True)
    assert drawn.rows.tolist() == [2, 3]
    np.testing.assert_allclose(np.exp(drawn.log_q), [0.5, 0.5], rtol=1e-6)


def test_both_together_are_expected_as_often_as_their_sum() -> None:
    drawn = draw(ONE_EACH, in_batch=True, uniform_count=12)
    assert drawn.rows.shape == (14,)
    frequencies = np.array([0.5, 0.5, 1.5, 1.5, 1.5, 0.5]) / 6
    np.testing.assert_allclose(np.exp(drawn.log_q), 2 * frequencies[drawn.rows] + 2, rtol=1e-6)


@pytest.mark.parametrize("masks", ["known", "target"])
def test_what_only_fills_is_no_competitor_and_is_not_expected(masks: Masks) -> None:
    # Two targets beside six places without one.
    padded = examples([0, 1], [[2, 0, 0, 0], [3, 0, 0, 0]], [[1, 0, 0, 0], [1, 0, 0, 0]])
    drawn = draw(padded, in_batch=True, masks=masks)
    assert sorted(drawn.rows[~drawn.is_known.all(axis=0)].tolist()) == [2, 3]
    np.testing.assert_allclose(np.exp(drawn.log_q[:2]), [0.5, 0.5], rtol=1e-6)
    np.testing.assert_allclose(np.exp(drawn.target_log_q[:, 0]), [0.5, 0.5], rtol=1e-6)


def test_a_batch_without_a_target_has_finite_logarithms() -> None:
    drawn = draw(examples([-1, -1], [[0], [0]], [[0], [0]]), in_batch=True)
    assert np.isfinite(drawn.log_q).all()
    assert np.isfinite(drawn.target_log_q).all()


def test_over_an_epoch_each_item_comes_as_often_as_was_expected() -> None:
    random = np.random.default_rng(0)
    known = histories(*(random.integers(0, ITEM_COUNT, 40).tolist() for _ in range(50)))
    sampler = CompetitorSampler(known, ITEM_COUNT, in_batch=True, uniform_count=30, masks="known")
    found: NDArray[np.int64] = np.zeros(ITEM_COUNT, np.int64)
    expected = np.zeros(ITEM_COUNT)
    for batch in packed_examples(known, np.ones(2_000, np.float32), 10, 10, random):
        drawn = sampler.draw(batch, random)
        found += np.bincount(drawn.rows, minlength=ITEM_COUNT)
        every, places = np.unique(drawn.rows, return_index=True)
        expected[every] += np.exp(drawn.log_q[places])
    assert found.sum() == 20 * (100 + 30)
    np.testing.assert_allclose(found, expected, rtol=0.12)


def test_no_more_targets_compete_than_agreed() -> None:
    count = MAX_IN_BATCH + 10
    many = examples([-1] * count, [[row % ITEM_COUNT] for row in range(count)], [[1]] * count)
    assert draw(many, in_batch=True).rows.shape == (MAX_IN_BATCH,)


many_users = st.lists(st.lists(st.integers(0, ITEM_COUNT - 1), min_size=1, max_size=6), min_size=1, max_size=5)


@given(many_users, st.booleans(), st.integers(1, 9), st.integers(0, 9))
def test_what_a_user_had_never_competes(users: list[list[int]], in_batch: bool, count: int, seed: int) -> None:
    known, random = histories(*users), np.random.default_rng(seed)
    sampler = CompetitorSampler(known, ITEM_COUNT, in_batch=in_batch, uniform_count=count, masks="known")
    for batch in packed_examples(known, np.ones(len(known.item_rows), np.float32), 4, 2, random):
        drawn = sampler.draw(batch, random)
        assert drawn.is_known.shape == (8, len(drawn.rows))
        for user, is_known in zip(batch.users.flat, drawn.is_known, strict=True):
            had = set(users[user]) if user >= 0 else set()
            assert not had & set(drawn.rows[~is_known].tolist())
        # What was drawn evenly is masked for no other reason.
        for user, is_known in zip(batch.users.flat, drawn.is_known[:, -count:], strict=True):
            had = set(users[user]) if user >= 0 else set()
            assert is_known.tolist() == [row in had for row in drawn.rows[-count:].tolist()]


def test_where_targets_alone_are_masked_other_items_of_the_user_compete() -> None:
    # User 0 had 2 and 4, and is asked for 2 alone; user 1 is asked for 3 and 5; what fills, item 0, is nobody's target.
    of = examples([0, 1], [[2, 0], [3, 5]], [[1, 0], [1, 1]])
    drawn = draw(of, uniform_count=100, masks="target")
    masked = [set(drawn.rows[is_known].tolist()) for is_known in drawn.is_known]
    assert masked == [{2}, {3, 5}]
    for is_known, own in zip(drawn.is_known, masked, strict=True):
        assert not own & set(drawn.rows[~is_known].tolist())


def test_a_single_target_alone_is_masked() -> None:
    drawn = draw(ONE_EACH, uniform_count=100, masks="target")
    assert [set(drawn.rows[is_known].tolist()) for is_known in drawn.is_known] == [{2}, {3}]


@pytest.mark.parametrize("seed", [0, 1])
def test_equal_seeds_draw_equally(seed: int) -> None:
    one, same = (draw(ONE_EACH, in_batch=True, uniform_count=20, seed=seed) for _ in range(2))
    assert one.rows.tolist() == same.rows.tolist()
    other = draw(ONE_EACH, in_batch=True, uniform_count=20, seed=seed + 1)
    assert one.rows.tolist() != other.rows.tolist()
