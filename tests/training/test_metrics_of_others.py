"""Another implementation, written by others, gets the same figures from the same rankings."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from bascule_training.data.histories import Histories
from bascule_training.evaluation.metrics import METRICS, metrics_by_case, ranks_in_scores

CUTOFFS = (1, 3, 10, 20)
USER_COUNT, ITEM_COUNT = 200, 50


@pytest.fixture(scope="module")
def scores() -> NDArray[np.float32]:
    """Random, none twice for a user: at equal scores other programs take the order of ids, and this one the worst."""
    rng = np.random.default_rng(0)
    return np.array([rng.permutation(ITEM_COUNT) for _ in range(USER_COUNT)], np.float32)


@pytest.fixture(scope="module")
def relevant() -> Histories:
    """From one to twelve distinct items a user."""
    rng = np.random.default_rng(1)
    cases = [rng.choice(ITEM_COUNT, rng.integers(1, 13), replace=False) for _ in range(USER_COUNT)]
    return Histories(np.concatenate(cases).astype(np.int32), np.cumsum([0, *map(len, cases)]).astype(np.int64))


@pytest.fixture(scope="module")
def figures(scores: NDArray[np.float32], relevant: Histories) -> dict[str, NDArray[np.float64]]:
    return metrics_by_case(ranks_in_scores(scores, relevant), CUTOFFS)


def judgements(relevant: Histories) -> dict[str, dict[str, int]]:
    return {f"u{user:03}": {f"i{row:02}": 1 for row in rows.tolist()} for user, rows in enumerate(relevant)}


def rankings(scores: NDArray[np.float32]) -> dict[str, dict[str, float]]:
    return {
        f"u{user:03}": {f"i{row:02}": score for row, score in enumerate(own)}
        for user, own in enumerate(scores.tolist())
    }


def test_trec_eval_gets_the_same(
    scores: NDArray[np.float32], relevant: Histories, figures: dict[str, NDArray[np.float64]]
) -> None:
    from pytrec_eval import RelevanceEvaluator

    names = {"ndcg": "ndcg_cut", "recall": "recall", "hr": "success", "map": "map_cut"}
    measures = {f"{theirs}.{','.join(map(str, CUTOFFS))}" for theirs in names.values()} | {"recip_rank"}
    found = RelevanceEvaluator(judgements(relevant), measures).evaluate(rankings(scores))
    users = [found[f"u{user:03}"] for user in range(USER_COUNT)]
    for k in CUTOFFS:
        for ours, theirs in names.items():
            assert figures[f"{ours}@{k}"] == pytest.approx([user[f"{theirs}_{k}"] for user in users]), (ours, k)
        reciprocal_ranks = np.array([user["recip_rank"] for user in users])
        in_list = np.where(reciprocal_ranks > 1 / (k + 0.5), reciprocal_ranks, 0)
        assert figures[f"mrr@{k}"] == pytest.approx(in_list), k


@pytest.mark.slow
def test_ranx_gets_the_same(
    scores: NDArray[np.float32], relevant: Histories, figures: dict[str, NDArray[np.float64]]
) -> None:
    # It compiles itself for most of a minute and brings half a gigabyte of packages, so it is no requirement.
    ranx = pytest.importorskip("ranx", reason="ranx is not installed; pip install ranx")
    names = {"ndcg": "ndcg", "recall": "recall", "hr": "hit_rate", "map": "map", "mrr": "mrr"}
    assert set(names) == set(METRICS)
    wanted = [f"{theirs}@{k}" for theirs in names.values() for k in CUTOFFS]
    means = ranx.evaluate(ranx.Qrels(judgements(relevant)), ranx.Run(rankings(scores)), wanted)
    for ours, theirs in names.items():
        for k in CUTOFFS:
            assert math.isclose(figures[f"{ours}@{k}"].mean(), means[f"{theirs}@{k}"], abs_tol=1e-9), (ours, k)
