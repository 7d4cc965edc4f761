import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bascule_training import baselines
from bascule_training.baselines import Ease, ItemKnn, Popularity, tuned, tuned_baselines
from bascule_training.evaluation import Baseline, Cases, cases_of
from bascule_training.histories import Histories


def histories(*users: list[int]) -> Histories:
    rows = np.array([row for user in users for row in user], np.int32)
    return Histories(rows, np.cumsum([0, *map(len, users)]).astype(np.int64))


BASKETS = histories([0, 1], [0, 1], [0, 2], [0])
"""Item 0 was had by four users, item 1 by two of them, item 2 by another, and item 3 by nobody."""


class TestPopularity:
    def test_counts_interactions(self) -> None:
        assert Popularity.fit(BASKETS, 4).scores(histories([], [0])).tolist() == [[4, 2, 1, 0]] * 2


class TestItemKnn:
    def test_similarity_is_the_cosine_of_the_sets_of_users(self) -> None:
        # Items 0 and 1 share 2 users: 2 / sqrt(4 * 2). Items 0 and 2 share one: 1 / sqrt(4 * 1).
        assert ItemKnn.fit(BASKETS, 4).similarity.toarray() == pytest.approx(
            np.array([[0, 0.5**0.5, 0.5, 0], [0.5**0.5, 0, 0, 0], [0.5, 0, 0, 0], [0, 0, 0, 0]])
        )

    def test_scores_add_up_over_the_history(self) -> None:
        (scores,) = ItemKnn.fit(BASKETS, 4).scores(histories([1, 2]))
        assert scores == pytest.approx([0.5**0.5 + 0.5, 0, 0, 0])

    def test_only_the_nearest_neighbours_of_the_item_scored_count(self) -> None:
        (scores,) = ItemKnn.fit(BASKETS, 4, neighbour_count=1).scores(histories([2]))
        assert scores.tolist() == [0, 0, 0, 0], "item 0 is nearer to item 1 than to item 2"
        (scores,) = ItemKnn.fit(BASKETS, 4, neighbour_count=1).scores(histories([0]))
        assert scores == pytest.approx([0, 0.5**0.5, 0.5, 0]), "item 0 is the nearest of both"

    def test_older_items_count_less_where_order_matters(self) -> None:
        (scores,) = ItemKnn.fit(BASKETS, 4, recency=0.5).scores(histories([1, 3, 2]))
        assert scores == pytest.approx([0.25 * 0.5**0.5 + 0.5, 0, 0, 0])

    def test_an_empty_history_scores_nothing(self) -> None:
        assert ItemKnn.fit(BASKETS, 4, recency=0.5).scores(histories([], [1])).tolist()[0] == [0, 0, 0, 0]

    def test_the_name_tells_the_settings(self) -> None:
        assert ItemKnn.fit(BASKETS, 4, 20).settings == "k = 20"
        assert ItemKnn.fit(BASKETS, 4, 20, 0.7).settings == "k = 20, recency 0.7"


class TestEase:
    def test_two_items_give_the_weights_of_a_ridge_regression(self) -> None:
        # Item 1 from item 0 by ridge regression: 2 shared users / (4 users of item 0 + penalty 1); and the reverse.
        ease = Ease.fit(histories([0, 1], [0, 1], [0], [0]), 2, penalty=1.0)
        assert ease.weights == pytest.approx(np.array([[0, 2 / 5], [2 / 3, 0]]))
        assert ease.scores(histories([0], [0, 1])) == pytest.approx(np.array([[0, 0.4], [2 / 3, 0.4]]))

    @settings(deadline=None)
    @given(
        st.lists(st.lists(st.integers(0, 4), max_size=5, unique=True), min_size=1, max_size=8),
        st.sampled_from([0.5, 30.0]),
    )
    def test_each_column_is_the_ridge_regression_of_an_item_on_the_others(
        self, users: list[list[int]], penalty: float
    ) -> None:
        train = histories(*users)
        weights = Ease.fit(train, 5, penalty).weights
        dense = train.matrix(5).toarray().astype(np.float64)
        for item in range(5):
            others = [other for other in range(5) if other != item]
            rest = dense[:, others]
            solution = np.linalg.solve(rest.T @ rest + penalty * np.eye(4), rest.T @ dense[:, item])
            assert weights[others, item] == pytest.approx(solution, abs=1e-6)

    def test_too_large_a_catalogue_is_refused_before_memory_is_taken(self) -> None:
        with pytest.raises(ValueError, match="got 1,000,000 items; expected at most 20,000"):
            Ease.fit(histories([0]), 1_000_000)


@pytest.mark.parametrize("baseline", [Popularity.fit(BASKETS, 4), ItemKnn.fit(BASKETS, 4), Ease.fit(BASKETS, 4)])
class TestEveryBaseline:
    def test_scores_are_float32_of_every_item_for_every_user(self, baseline: Baseline) -> None:
        scores = baseline.scores(histories([0], [], [3, 1, 1]))
        assert scores.shape == (3, 4)
        assert scores.dtype == np.float32
        assert np.isfinite(scores).all()

    def test_a_user_scores_the_same_alone_and_among_others(self, baseline: Baseline) -> None:
        together = baseline.scores(histories([0], [1, 2], [2, 0]))
        alone = np.concatenate([baseline.scores(histories(user)) for user in ([0], [1, 2], [2, 0])])
        assert together == pytest.approx(alone)


@pytest.fixture(scope="module")
def tastes() -> tuple[Histories, Cases, Histories]:
    """Eight items in two kinds; users keep to one of them. Train, validation, and both."""
    kinds = ["abcd", "efgh"]
    orders = [kinds[user % 2][user % 4 :] + kinds[user % 2][: user % 4] for user in range(40)]
    log = pl.DataFrame(
        {
            "user_id": [str(user) for user in range(40) for _ in range(3)],
            "item_id": [item for order in orders for item in order[:3]],
        }
    )
    is_last = np.tile([False, False, True], 40)
    item_ids = list("abcdefgh")
    train = histories(*([item_ids.index(item) for item in order[:2]] for order in orders))
    known = histories(*([item_ids.index(item) for item in order[:3]] for order in orders))
    return train, cases_of(log.filter(~is_last), log.filter(is_last), item_ids), known


class TestTuned:
    def test_chooses_the_setting_with_the_best_ndcg(self, tastes: tuple[Histories, Cases, Histories]) -> None:
        _, validation, _ = tastes
        wanted = np.bincount(validation.relevant.item_rows, minlength=8).astype(np.float32)

        def fit(sign: float) -> Popularity:
            counts: NDArray[np.float32] = wanted * np.float32(sign)
            return Popularity(counts)

        assert tuned(fit, [-1.0, 1.0], validation) == 1.0

    def test_takes_the_first_of_equals(self, tastes: tuple[Histories, Cases, Histories]) -> None:
        train, validation, _ = tastes
        assert tuned(lambda _: Popularity.fit(train, 8), [3, 1, 2], validation) == 3

    def test_every_baseline_is_fitted_on_all_that_is_known(self, tastes: tuple[Histories, Cases, Histories]) -> None:
        popularity, *others = tuned_baselines(*tastes)
        assert popularity.scores(histories([])).sum() == len(tastes[2].item_rows)
        assert [other.name.split(",")[0] for other in others] == ["item-kNN", "recent item-kNN", "EASE"]

    def test_ease_is_left_out_where_the_catalogue_is_too_large(
        self, tastes: tuple[Histories, Cases, Histories], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(baselines, "MAX_EASE_ITEMS", 7)
        assert not any(isinstance(baseline, Ease) for baseline in tuned_baselines(*tastes))
