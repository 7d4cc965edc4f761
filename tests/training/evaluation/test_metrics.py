import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bascule_server.retrieval.retriever import Found
from bascule_training.data.histories import Histories
from bascule_training.evaluation.metrics import (
    NO_ROW,
    OUTSIDE,
    UNKNOWN_ROW,
    Ranks,
    average_precision,
    best_of,
    coverage,
    gini,
    hit_rate,
    metrics_by_case,
    ndcg,
    novelty,
    ranks_in_lists,
    ranks_in_scores,
    recall,
    reciprocal_rank,
    self_information,
    without,
)


def histories(*users: list[int]) -> Histories:
    rows = np.array([row for user in users for row in user], np.int32)
    return Histories(rows, np.cumsum([0, *map(len, users)]).astype(np.int64))


def ranks(*cases: list[int]) -> Ranks:
    return Ranks.of([np.array(case, np.int64) for case in cases])


def scores(*cases: list[float]) -> NDArray[np.float32]:
    return np.array(cases, np.float32)


class TestRanksInScores:
    def test_the_best_item_has_rank_one(self) -> None:
        assert ranks_in_scores(scores([0.1, 0.9, 0.5]), histories([1, 2, 0])).values.tolist() == [1, 2, 3]

    def test_ties_count_against_the_model(self) -> None:
        assert ranks_in_scores(scores([5, 7, 5, 5, 1]), histories([0, 2, 4])).values.tolist() == [4, 4, 5]

    def test_a_model_that_scores_everything_alike_ranks_everything_last(self) -> None:
        assert ranks_in_scores(scores([0] * 50), histories([0])).values.tolist() == [50]

    def test_an_item_that_the_user_had_before_takes_no_place(self) -> None:
        remaining = without(scores([9, 8, 7], [9, 8, 7]), histories([0, 1], []))
        assert ranks_in_scores(remaining, histories([2], [2])).values.tolist() == [1, 3]

    def test_an_item_that_is_never_recommended_is_outside(self) -> None:
        remaining = without(scores([9, 8, 7]), histories([0]))
        assert ranks_in_scores(remaining, histories([0, 1])).values.tolist() == [OUTSIDE, 1]

    def test_an_item_that_the_catalogue_does_not_have_is_outside(self) -> None:
        assert ranks_in_scores(scores([9, 8]), histories([UNKNOWN_ROW, 1])).values.tolist() == [OUTSIDE, 2]

    def test_scores_that_are_not_numbers_are_refused(self) -> None:
        with pytest.raises(ValueError, match="1 of 3 scores are NaN"):
            ranks_in_scores(scores([1, math.nan, 2]), histories([0]))

    def test_excluding_leaves_the_scores_as_they_were(self) -> None:
        given_scores = scores([9, 8])
        without(given_scores, histories([0]))
        assert given_scores.tolist() == [[9, 8]]


class TestRanksInLists:
    @staticmethod
    def found(*rows_and_scores: tuple[int, float]) -> Found:
        rows, item_scores = zip(*rows_and_scores, strict=True) if rows_and_scores else ((), ())
        return Found(np.array(rows, np.int64), np.array(item_scores, np.float32))

    def test_an_item_that_ties_with_the_end_of_a_full_list_is_outside(self) -> None:
        full = self.found((4, 9), (2, 5), (7, 5))
        assert ranks_in_lists([full], histories([4, 2, 7]), 3).values.tolist() == [1, OUTSIDE, OUTSIDE]

    def test_a_list_that_is_not_full_has_nothing_behind_its_end(self) -> None:
        short = self.found((4, 9), (2, 5), (7, 5))
        assert ranks_in_lists([short], histories([4, 2, 7]), 4).values.tolist() == [1, 3, 3]

    def test_what_is_not_listed_is_outside(self) -> None:
        assert ranks_in_lists([self.found((4, 9)), self.found()], histories([5], [5]), 3).values.tolist() == [
            OUTSIDE,
            OUTSIDE,
        ]

    def test_an_item_that_the_catalogue_does_not_have_is_outside(self) -> None:
        assert ranks_in_lists([self.found((0, 9))], histories([UNKNOWN_ROW]), 3).values.tolist() == [OUTSIDE]


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=30).flatmap(
        lambda values: st.tuples(
            st.just(values),
            st.sets(st.integers(0, len(values) - 1), min_size=1),
            st.sets(st.integers(0, len(values) - 1)),
            st.integers(1, 31),
        )
    )
)
def test_a_list_of_the_best_gives_the_ranks_that_the_scores_give(
    case: tuple[list[int], set[int], set[int], int],
) -> None:
    values, relevant, excluded, depth = case
    wanted = histories(sorted(relevant))
    remaining = without(scores([float(value) for value in values]), histories(sorted(excluded)))
    exact = ranks_in_scores(remaining, wanted).values
    listed = ranks_in_lists([best_of(remaining[0], depth)], wanted, depth).values
    assert listed.tolist() == np.where(exact < depth, exact, OUTSIDE).tolist()


class TestBestOf:
    def test_equal_scores_stand_by_row(self) -> None:
        found = best_of(scores([1, 3, 2, 3, 2])[0], 3)
        assert (found.rows.tolist(), found.scores.tolist()) == ([1, 3, 2], [3, 3, 2])

    def test_where_all_scores_are_equal_the_first_rows_stand(self) -> None:
        assert best_of(scores([0, 0, 0, 0, 0])[0], 3).rows.tolist() == [0, 1, 2]
        assert best_of(scores([0, 7, 0, -math.inf, 0])[0], 3).rows.tolist() == [1, 0, 2]

    def test_excluded_items_never_fill_a_list_up(self) -> None:
        assert best_of(scores([1, -math.inf, 2])[0], 3).rows.tolist() == [2, 0]
        assert best_of(scores([-math.inf, -math.inf, 2, -math.inf])[0], 2).rows.tolist() == [2]


class TestMetrics:
    """Two cases: relevant items at ranks 1 and 3 of 10, and one at rank 4."""

    ranks = ranks([3, 1], [4])

    def test_recall_is_the_share_of_the_relevant_items_found(self) -> None:
        assert recall(self.ranks, 2).tolist() == [0.5, 0]
        assert recall(self.ranks, 4).tolist() == [1, 1]

    def test_a_hit_is_any_relevant_item(self) -> None:
        assert hit_rate(self.ranks, 1).tolist() == [1, 0]
        assert hit_rate(self.ranks, 4).tolist() == [1, 1]

    def test_the_reciprocal_rank_is_that_of_the_first_relevant_item(self) -> None:
        assert reciprocal_rank(self.ranks, 10).tolist() == [1, 0.25]
        assert reciprocal_rank(self.ranks, 3).tolist() == [1, 0]

    def test_ndcg_discounts_by_the_logarithm_of_the_rank(self) -> None:
        # Rank 3 gains 1 / log2(4) = 1/2; two relevant items at best gain 1 + 1 / log2(3).
        assert ndcg(self.ranks, 3) == pytest.approx([1.5 / (1 + 1 / math.log2(3)), 0])

    def test_a_list_that_begins_with_the_relevant_items_has_ndcg_one(self) -> None:
        assert ndcg(ranks([2, 1, 3], [1]), 10) == pytest.approx([1, 1])

    def test_ndcg_is_one_where_more_is_relevant_than_the_list_holds(self) -> None:
        assert ndcg(ranks([1, 2, 3, 4, 5]), 2) == pytest.approx([1])

    def test_average_precision_is_the_mean_precision_down_to_each_relevant_item(self) -> None:
        # Of the first case: 1 of 1 at rank 1, 2 of 3 at rank 3; of the second: 1 of 4 at rank 4.
        assert average_precision(self.ranks, 10) == pytest.approx([(1 + 2 / 3) / 2, 1 / 4])

    def test_average_precision_counts_what_is_beyond_the_list_as_nothing(self) -> None:
        assert average_precision(self.ranks, 2) == pytest.approx([1 / 2, 0])

    def test_ties_count_against_average_precision(self) -> None:
        # Two relevant items that share their score with a third item: each has rank 3.
        assert average_precision(ranks([3, 3]), 3) == pytest.approx([(1 / 3 + 2 / 3) / 2])

    def test_an_item_outside_counts_nowhere(self) -> None:
        outside = ranks([OUTSIDE])
        assert {float(values[0]) for values in metrics_by_case(outside).values()} == {0.0}

    def test_metrics_are_named_by_their_cutoff(self) -> None:
        assert sorted(metrics_by_case(self.ranks, [5])) == ["hr@5", "map@5", "mrr@5", "ndcg@5", "recall@5"]

    def test_coverage_is_the_share_of_the_catalogue_that_anyone_is_shown(self) -> None:
        assert coverage(np.array([3, 0, 1, 0])) == 0.5

    @pytest.mark.parametrize(
        ("exposures", "expected"),
        [
            ([2, 2, 2], 0),
            ([0, 0, 7], 1),
            ([7, 0, 0], 1),
            # -2 * 0 + 0 * 1 + 2 * 3 over 2 * 4
            ([1, 3, 0], 0.75),
            ([0, 0], 0),
            ([5], 0),
        ],
    )
    def test_gini_is_0_where_exposure_is_even_and_1_where_one_item_has_all(
        self, exposures: list[int], expected: float
    ) -> None:
        assert gini(np.array(exposures)) == pytest.approx(expected)


@given(st.lists(st.integers(0, 5), min_size=2, max_size=12).filter(any))
def test_gini_is_the_mean_difference_of_two_items_over_twice_the_mean(exposures: list[int]) -> None:
    count = len(exposures)
    differences = sum(abs(one - other) for one in exposures for other in exposures)
    expected = differences / (2 * count * sum(exposures)) * count / (count - 1)
    assert gini(np.array(exposures)) == pytest.approx(expected)


class TestNovelty:
    """Of 8 users, 8 had the first item, 4 the second, one the third and none the fourth."""

    information = self_information(np.array([8, 4, 1, 0]), 8)

    def test_an_item_is_as_surprising_as_few_users_had_it(self) -> None:
        assert self.information[:3].tolist() == [0, 1, 3]

    def test_an_item_that_nobody_had_is_as_surprising_as_one_that_a_single_user_had(self) -> None:
        assert self.information[3] == 3

    def test_it_is_the_mean_over_the_list(self) -> None:
        lists = np.array([[0, 1, 2], [3, 2, 1]])
        assert novelty(lists, self.information, 2).tolist() == [0.5, 3]
        assert novelty(lists, self.information, 3) == pytest.approx([4 / 3, 7 / 3])

    def test_the_end_of_a_short_list_counts_nothing(self) -> None:
        lists = np.array([[1, NO_ROW, NO_ROW], [NO_ROW, NO_ROW, NO_ROW]])
        assert novelty(lists, self.information, 3).tolist() == [1, 0]


@settings(deadline=None)
@given(st.lists(st.sets(st.integers(1, 12), min_size=1), min_size=1, max_size=5), st.integers(1, 12))
def test_ndcg_is_that_of_the_definition(cases: list[set[int]], k: int) -> None:
    def by_hand(relevant_ranks: set[int]) -> float:
        gains = [1 / math.log2(place + 1) for place in range(1, k + 1)]
        dcg = sum(gain for place, gain in enumerate(gains, 1) if place in relevant_ranks)
        return dcg / sum(gains[: len(relevant_ranks)])

    assert ndcg(ranks(*map(list, cases)), k) == pytest.approx([by_hand(case) for case in cases])


class TestRanks:
    def test_a_case_without_relevant_items_is_refused(self) -> None:
        with pytest.raises(ValueError, match="case 1 has no relevant item"):
            ranks([1], [], [2])

    def test_blocks_join_to_the_cases_in_order(self) -> None:
        joined = Ranks.joined([ranks([1, 2], [3]), ranks([4])])
        assert (joined.values.tolist(), joined.offsets.tolist()) == ([1, 2, 3, 4], [0, 2, 3, 4])

    def test_only_some_items_leave_only_the_cases_that_have_any(self) -> None:
        some = ranks([5, 1], [3], [2, 4]).only(np.array([False, True, False, True, True]))
        assert (some.values.tolist(), some.offsets.tolist()) == ([1, 2, 4], [0, 1, 3])

    def test_singly_each_item_is_a_case(self) -> None:
        assert recall(ranks([5, 1], [3]).singly(), 3).tolist() == [0, 1, 1]
