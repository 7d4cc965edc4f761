"""Items come in the order of their scores, query by query, whether they are few or many."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule_server.retrieval import scored_pairs
from bascule_server.retrieval.scored_pairs import Pairs, best_of_each, in_order

ROW_BITS = 6
scored = st.dictionaries(
    st.tuples(st.integers(0, 3), st.integers(0, 2**ROW_BITS - 1)),
    st.sampled_from([-1e30, -2.5, -1e-38, 0.0, 1e-38, 1.0, 1.5, 1e30]) | st.floats(-10, 10, width=32),
)
"""The scores of pairs of a query and an item, in any order; many are equal."""


@pytest.mark.parametrize("few", [0, 1_000])
@given(scores=scored)
def test_pairs_are_sorted_by_query_then_score_then_row(few: int, scores: dict[tuple[int, int], float]) -> None:
    # Of -0, which no score is, it says nothing.
    scores = {pair: score + 0.0 for pair, score in scores.items()}
    query, row = (np.array([pair[side] for pair in scores], np.int64) for side in (0, 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scored_pairs, "FEW_PAIRS", few)
        found = in_order(Pairs(query, row), np.array([*scores.values()], np.float32), 4, ROW_BITS)
    expected = sorted((query, -np.float32(score), row) for (query, row), score in scores.items())
    assert found.rows.tolist() == [row for _, _, row in expected]
    assert found.scores.tolist() == [-score for _, score, _ in expected]
    of_each = [sum(query == each for query, _, _ in expected) for each in range(4)]
    assert np.diff(found.starts).tolist() == of_each


def test_each_query_gets_as_many_as_it_wants_or_has() -> None:
    pairs = Pairs(np.array([0, 0, 0, 2]), np.array([5, 6, 7, 8]))
    first, second, third = best_of_each(pairs, np.array([1, 3, 2, 4], np.float32), [2, 1, 9], ROW_BITS)
    assert (first.rows.tolist(), first.scores.tolist()) == ([6, 7], [3, 2])
    assert not len(second.rows)
    assert third.rows.tolist() == [8]
