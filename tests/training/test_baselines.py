from dataclasses import replace
from itertools import islice

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from implicit.cpu.als import AlternatingLeastSquares
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from bascule_training.baselines import ease, tuned_baselines, tuning
from bascule_training.baselines.bpr import Bpr, BprSetting
from bascule_training.baselines.ease import Ease
from bascule_training.baselines.ials import Ials, IalsSetting
from bascule_training.baselines.item_knn import ItemKnn
from bascule_training.baselines.popularity import Popularity
from bascule_training.baselines.pure_svd import PureSvd
from bascule_training.baselines.tuning import tuned
from bascule_training.data.histories import Histories
from bascule_training.evaluation.cases import Cases, cases_of
from bascule_training.evaluation.evaluated import Baseline


def histories(*users: list[int]) -> Histories:
    rows = np.array([row for user in users for row in user], np.int32)
    return Histories(rows, np.cumsum([0, *map(len, users)]).astype(np.int64))


DAY = 86_400

BASKETS = histories([0, 1], [0, 1], [0, 2], [0])
"""Item 0 was had by four users, item 1 by two of them, item 2 by another, and item 3 by nobody."""


class TestPopularity:
    def test_counts_interactions(self) -> None:
        assert Popularity.fit(BASKETS, 4).scores(histories([], [0])).tolist() == [[4, 2, 1, 0]] * 2

    def test_an_interaction_halves_with_every_half_life_that_it_is_older(self) -> None:
        times = np.array([8 * DAY, 4 * DAY, 0, 6 * DAY], np.int64)
        train = Histories(np.array([0, 1, 1, 2], np.int32), np.array([0, 1, 3, 4]), times)
        recent = Popularity.fit(train, 4, half_life_days=4)
        counts = recent.scores(histories([]))[0]
        # 0, 1, 2 and a half half-lives old.
        assert counts / counts[0] == pytest.approx([1, 1 / 2 + 1 / 4, 2**-0.5, 0])
        assert (recent.name, recent.settings) == ("recent popularity", "half-life 4 days")

    def test_without_times_all_count_alike(self) -> None:
        assert Popularity.fit(BASKETS, 4, half_life_days=4).counts.tolist() == [4, 2, 1, 0]


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


GROUPS = histories(*([[0, 1], [1, 2], [0, 2], [3, 4], [4, 5], [3, 5]] * 2))
"""Two groups of users who have nothing in common: items 0 to 2, and 3 to 5."""


def are_apart(baseline: Baseline) -> NDArray[np.bool_]:
    """bool [users], for each of ``GROUPS`` whether all items of their group score above all others."""
    scores = baseline.scores(GROUPS)
    first, second = scores[:, :3], scores[:, 3:]
    is_first = np.array([history[0] < 3 for history in GROUPS])
    apart: NDArray[np.bool_] = np.where(
        is_first, first.min(axis=1) > second.max(axis=1), second.min(axis=1) > first.max(axis=1)
    )
    return apart


class TestPureSvd:
    def test_a_matrix_of_rank_one_is_rebuilt(self) -> None:
        train = histories([0, 2], [0, 2], [], [0, 2])
        scores = PureSvd.fit(train, 4, rank=1).scores(train)
        assert scores == pytest.approx(train.matrix(4).toarray(), abs=1e-6)

    def test_scores_are_the_nearest_of_their_rank(self) -> None:
        left, values, right = np.linalg.svd(BASKETS.matrix(4).toarray())
        expected = (left[:, :2] * values[:2]) @ right[:2]
        svd = PureSvd.fit(BASKETS, 4, rank=2)
        assert svd.scores(BASKETS) == pytest.approx(expected, abs=1e-6)
        assert svd.settings == "rank 2"

    def test_a_single_user_is_enough(self) -> None:
        assert PureSvd.fit(histories([1, 2]), 3, rank=1).scores(histories([1])) == pytest.approx(
            np.array([[0, 0.5, 0.5]]), abs=1e-6
        )

    def test_groups_without_anything_in_common_stay_apart(self) -> None:
        assert are_apart(PureSvd.fit(GROUPS, 6, rank=2)).all()


class TestIals:
    def test_a_user_is_the_solution_by_hand(self) -> None:
        # Items at 1 and 2 on one axis, the first had: least a(1 - u)^2 + (0 - 2u)^2 + l u^2 is at u = a / (a + 4 + l).
        model = Ials(np.array([[1.0], [2.0]], np.float32), IalsSetting(1, penalty=3.0, alpha=5.0))
        assert model.users(histories([0], [])) == pytest.approx(np.array([[5 / 12], [0]]))
        assert model.scores(histories([0])) == pytest.approx(np.array([[5 / 12, 10 / 12]]))

    @pytest.mark.parametrize("alpha", [1.0, 4.0])
    def test_users_are_those_of_the_library(self, alpha: float) -> None:
        setting = IalsSetting(3, 0.5, alpha)
        model = Ials.fit(GROUPS, 6, setting)
        with threadpool_limits(1, "blas"):
            library = AlternatingLeastSquares(factors=3, regularization=0.5, alpha=alpha, use_cg=False)
            library.item_factors = model.items
            expected = library.recalculate_user(np.arange(len(GROUPS)), csr_matrix(GROUPS.matrix(6)))
        assert model.users(GROUPS) == pytest.approx(expected, abs=1e-4)

    def test_an_item_is_had_or_not_however_often(self) -> None:
        model = Ials.fit(GROUPS, 6, IalsSetting(2, 0.1, 4.0))
        once, twice = model.users(histories([0, 1], [0, 1, 0]))
        assert twice == pytest.approx(once)

    def test_groups_without_anything_in_common_stay_apart(self) -> None:
        assert are_apart(Ials.fit(GROUPS, 6, IalsSetting(2, 0.1, 4.0))).all()


@pytest.fixture(scope="module")
def bpr() -> Bpr:
    return Bpr.fit(histories([], *(history.tolist() for history in GROUPS)), 6, BprSetting(0.1, 0.003))


class TestBpr:
    def test_groups_without_anything_in_common_stay_apart(self, bpr: Bpr) -> None:
        assert are_apart(bpr).all()

    def test_a_history_that_it_was_not_fitted_on_scores_nothing(self, bpr: Bpr) -> None:
        known, other, nobody = bpr.scores(histories([0, 1], [1, 0], []))
        assert known.any()
        assert not other.any()
        assert not nobody.any()


def test_fitting_again_gives_the_same() -> None:
    setting = IalsSetting(2, 0.1, 4.0)
    for one, other in (
        (PureSvd.fit(GROUPS, 6, 3), PureSvd.fit(GROUPS, 6, 3)),
        (Ials.fit(GROUPS, 6, setting), Ials.fit(GROUPS, 6, setting)),
        (Bpr.fit(GROUPS, 6), Bpr.fit(GROUPS, 6)),
    ):
        np.testing.assert_array_equal(one.scores(GROUPS), other.scores(GROUPS), one.name)


@pytest.mark.parametrize(
    "baseline",
    [
        Popularity.fit(BASKETS, 4),
        ItemKnn.fit(BASKETS, 4),
        Ease.fit(BASKETS, 4),
        PureSvd.fit(BASKETS, 4, 2),
        Ials.fit(BASKETS, 4, IalsSetting(2, 1.0, 4.0)),
        Bpr.fit(BASKETS, 4),
    ],
    ids=lambda baseline: baseline.name,
)
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
        assert [other.name for other in others] == ["item-kNN", "recent item-kNN", "PureSVD", "EASE", "iALS", "BPR"]
        assert others[-1].scores(tastes[2]).any(axis=1).all(), "BPR knows only what it was fitted on"

    def test_recent_popularity_stands_beside_where_there_are_times(
        self, tastes: tuple[Histories, Cases, Histories]
    ) -> None:
        train, validation, known = (
            each if isinstance(each, Cases) else replace(each, times=np.arange(len(each.item_rows)) * DAY)
            for each in tastes
        )
        assert isinstance(train, Histories)
        assert isinstance(validation, Cases)
        assert isinstance(known, Histories)
        assert next(islice(tuned_baselines(train, validation, known), 1, None)).name == "recent popularity"

    def test_what_is_too_large_is_left_out(
        self, tastes: tuple[Histories, Cases, Histories], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ease, "MAX_ITEMS", 7)
        monkeypatch.setattr(tuning, "MAX_FACTOR_INTERACTIONS", 119)
        names = [baseline.name for baseline in tuned_baselines(*tastes)]
        assert names == ["popularity", "item-kNN", "recent item-kNN", "PureSVD"]
