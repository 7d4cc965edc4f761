import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from bascule.v1.artifact_pb2 import Feature, HistoryFeature
from bascule_server.retrieval.retrievers import exact_retrievers
from bascule_server.scoring.catalogue import Catalogue
from bascule_server.scoring.encoder import HISTORY, QueryEncoder
from bascule_server.scoring.item_ids import ItemIds
from bascule_server.scoring.known_users import KnownUsers
from bascule_server.scoring.scorer import Scorer
from bascule_server.scoring.subject import Subjects
from bascule_training.baselines.ease import Ease
from bascule_training.baselines.item_knn import ItemKnn
from bascule_training.baselines.popularity import Popularity
from bascule_training.data.histories import Histories, of_users
from bascule_training.evaluation import evaluated as evaluation
from bascule_training.evaluation.cases import Cases, cases_of
from bascule_training.evaluation.evaluated import (
    Baseline,
    Evaluation,
    difference,
    evaluate_baseline,
    evaluate_scorer,
    evaluation_table,
    over_seeds,
    quality_of,
)
from bascule_training.evaluation.protocol import EvaluationConfig
from bascule_training.evaluation.results_table import ResultsTable

MOVIELENS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "ml-100k"


def interactions(*pairs: str) -> pl.DataFrame:
    """Each pair is a letter for the user and one for the item."""
    return pl.DataFrame({"user_id": [pair[0] for pair in pairs], "item_id": [pair[1] for pair in pairs]})


@dataclass(frozen=True)
class LastItem:
    """A model of which a query is the vector of the newest item of the history; as a tower and as a baseline."""

    item_vectors: NDArray[np.float32]
    name: str = "last item"

    def vectors(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        vectors: NDArray[np.float32] = self.item_vectors[inputs[HISTORY][:, -1] - 1]
        return vectors

    @property
    def settings(self) -> str:
        return ""

    def scores(self, histories: Histories) -> NDArray[np.float32]:
        scores: NDArray[np.float32] = (
            self.item_vectors[histories.item_rows[histories.offsets[1:] - 1]] @ self.item_vectors.T
        )
        return scores

    def scorer(self, item_ids: list[str]) -> Scorer:
        catalogue = Catalogue(ItemIds(item_ids), np.full(len(item_ids), 1 / len(item_ids), np.float32), {})
        encoder = QueryEncoder([Feature(name=HISTORY, history=HistoryFeature(max_length=5))], {})
        subjects = Subjects(catalogue, KnownUsers([], pl.Series(), {}), encoder.features)
        return Scorer(catalogue, subjects, encoder, self, exact_retrievers(self.item_vectors))


@pytest.fixture(scope="module")
def many_cases() -> Cases:
    """300 users, more than one batch; 150 items, more than are listed; and one that the catalogue lacks."""
    rng = np.random.default_rng(0)
    item_ids = [f"item {row}" for row in range(150)]
    log = pl.DataFrame(
        {
            "user_id": np.repeat([f"user {user}" for user in range(300)], 8),
            "item_id": rng.choice([*item_ids, "item of tomorrow"], 300 * 8),
        }
    )
    is_later = np.tile(np.arange(8) >= 5, 300)
    before = log.filter(~is_later).filter(pl.col("item_id").is_in(item_ids))
    return cases_of(before, log.filter(is_later), item_ids)


@pytest.fixture(scope="module")
def model() -> LastItem:
    """Whole numbers, so that scores are exact and often equal."""
    return LastItem(np.random.default_rng(1).integers(-2, 3, (150, 3)).astype(np.float32))


def test_a_model_does_as_well_through_the_scorer_as_by_its_scores(many_cases: Cases, model: LastItem) -> None:
    served = evaluate_scorer(model.scorer(list(many_cases.item_ids)), many_cases)
    scored = evaluate_baseline(model, many_cases)
    assert served.summary == scored.summary
    for metric, values in served.by_case.items():
        assert values.tolist() == scored.by_case[metric].tolist()


def test_the_size_of_a_block_changes_nothing(
    many_cases: Cases, model: LastItem, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = evaluate_baseline(model, many_cases)
    monkeypatch.setattr(evaluation, "BLOCK_SCORES", 7 * 150)
    assert evaluate_baseline(model, many_cases).summary == whole.summary


@pytest.mark.parametrize("one_case_per", ["user", "interaction"])
def test_the_quality_alone_is_that_of_the_summary(many_cases: Cases, model: LastItem, one_case_per: str) -> None:
    rules = EvaluationConfig.model_validate({"one_case_per": one_case_per, "min_history": 3})
    cases = replace(many_cases, rules=rules)
    assert quality_of(model, cases) == evaluate_baseline(model, cases).summary["ndcg@10"]


def test_progress_tells_of_every_case(many_cases: Cases, model: LastItem) -> None:
    told: list[int] = []
    evaluate_scorer(model.scorer(list(many_cases.item_ids)), many_cases, progress=told.append)
    assert told == [256, len(many_cases) - 256]


def test_items_that_the_catalogue_does_not_have_are_misses_and_counted() -> None:
    cases = cases_of(interactions("Aa"), interactions("Ab", "Ax"), ["a", "b"])
    result = evaluate_baseline(Popularity(np.ones(2, np.float32)), cases)
    assert (result.relevant_count, result.unknown_count) == (2, 1)
    assert result.summary["recall@10"] == 0.5


def test_coverage_counts_what_is_shown_to_anyone() -> None:
    item_ids = [str(row) for row in range(40)]
    before = pl.DataFrame({"user_id": ["A"], "item_id": ["39"]})
    after = pl.DataFrame({"user_id": ["A"], "item_id": ["0"]})
    result = evaluate_baseline(Popularity(np.ones(40, np.float32)), cases_of(before, after, item_ids))
    assert (result.summary["coverage@10"], result.summary["coverage@20"]) == (0.25, 0.5)
    assert result.summary["coverage@100"] == 39 / 40, "the item of the history is never shown"


class TestRules:
    """One user had a and b of five items, most popular first, and turns to c, then to a again."""

    before, after = interactions("Aa", "Ab"), interactions("Ac", "Aa")
    model = Popularity(np.array([5, 4, 3, 2, 1], np.float32))

    def evaluation(self, model: Baseline | None = None, **rules: object) -> Evaluation:
        config = EvaluationConfig.model_validate(rules)
        return evaluate_baseline(model or self.model, cases_of(self.before, self.after, list("abcde"), rules=config))

    def test_items_of_the_history_are_neither_shown_nor_to_be_found(self) -> None:
        assert self.evaluation().summary["mrr@10"] == 1
        assert self.evaluation().ranks.values.tolist() == [1]

    def test_they_may_be_shown_and_are_then_to_be_found(self) -> None:
        assert self.evaluation(exclude_history=False).ranks.values.tolist() == [3, 1]

    def test_the_scorer_keeps_to_the_same_rule(self) -> None:
        cases = cases_of(self.before, self.after, list("abcde"), rules=EvaluationConfig(exclude_history=False))
        model = LastItem(np.arange(5, 0, -1).astype(np.float32)[:, None])
        assert evaluate_scorer(model.scorer(list("abcde")), cases).ranks.values.tolist() == [3, 1]

    def test_each_interaction_can_be_a_case_of_its_own(self) -> None:
        whole = self.evaluation(exclude_history=False)
        single = self.evaluation(exclude_history=False, one_case_per="interaction")
        assert whole.summary["mrr@10"] == 1
        assert single.summary["mrr@10"] == pytest.approx((1 / 3 + 1) / 2)
        assert (single.case_count, single.relevant_count) == (1, 2)

    def test_a_user_counts_as_often_as_there_are_interactions(self) -> None:
        # A finds one of two in the first ten, B the one and only.
        item_ids = [str(row) for row in range(20)]
        model = Popularity(np.arange(20, 0, -1).astype(np.float32))
        after = pl.DataFrame({"user_id": ["A", "A", "B"], "item_id": ["15", "1", "2"]})
        rules = EvaluationConfig(one_case_per="interaction")
        single = evaluate_baseline(model, cases_of(interactions("Aa"), after, item_ids, rules=rules))
        assert single.by_case["hr@10"].tolist() == [0.5, 1]
        assert single.weights.tolist() == [2, 1]
        assert single.summary["hr@10"] == pytest.approx(2 / 3)
        low, high = single.intervals()["hr@10"]
        assert 0.5 <= low < 2 / 3 < high <= 1

    def test_what_is_kept_apart_counts_nowhere(self) -> None:
        before = interactions("Aa", "Ab", "Bc")
        after = interactions("Ac", "Ae", "Ax", "Ba", "Ca")
        item_ids = list("abcde")
        whole = evaluate_baseline(self.model, cases_of(before, after, item_ids))
        rules = EvaluationConfig(min_history=1, cold_items="apart")
        part = evaluate_baseline(self.model, cases_of(before, after, item_ids, rules=rules))
        assert (whole.case_count, whole.relevant_count, whole.unknown_count) == (3, 5, 1)
        assert (part.case_count, part.relevant_count, part.unknown_count) == (2, 2, 0)
        assert part.summary["recall@10"] == 1
        assert part.ranks.values.tolist() == whole.ranks.values.tolist(), "nothing is forgotten"
        assert len(part.by_case["novelty@10"]) == 2


def test_novelty_is_that_of_the_items_shown() -> None:
    # All of four users had a, one had b, and nobody c, which only D is shown beside b.
    before = interactions("Aa", "Ba", "Ca", "Da", "Ab")
    cases = cases_of(before, interactions("Dc"), list("abc"))
    result = evaluate_baseline(Popularity(np.array([4, 1, 0], np.float32)), cases)
    assert result.summary["novelty@10"] == 2


def test_gini_is_1_where_all_are_shown_the_same_one_item() -> None:
    item_ids = [str(row) for row in range(30)]
    before = pl.DataFrame({"user_id": ["A"] * 29, "item_id": item_ids[:29]})
    after = pl.DataFrame({"user_id": ["A"], "item_id": ["29"]})
    result = evaluate_baseline(Popularity(np.ones(30, np.float32)), cases_of(before, after, item_ids))
    assert result.summary["gini@10"] == pytest.approx(1)


@pytest.fixture(scope="module")
def seeds(many_cases: Cases) -> list[Evaluation]:
    """Three models that recommend by chance."""
    counts = (np.random.default_rng(seed).random(150).astype(np.float32) for seed in range(3))
    return [evaluate_baseline(Popularity(each), many_cases) for each in counts]


class TestComparison:
    def test_a_difference_is_paired_over_the_cases(self, seeds: list[Evaluation]) -> None:
        one, other = seeds[:2]
        found = difference([one], [other], "ndcg@10")
        assert found.mean == pytest.approx(one.summary["ndcg@10"] - other.summary["ndcg@10"])
        differences = one.by_case["ndcg@10"] - other.by_case["ndcg@10"]
        assert found.standard_error == pytest.approx(differences.std(ddof=1) / math.sqrt(len(differences)))

    def test_of_several_seeds_each_case_has_its_mean(self, seeds: list[Evaluation]) -> None:
        found = difference(seeds[:2], seeds[2:], "recall@20")
        mean = (seeds[0].summary["recall@20"] + seeds[1].summary["recall@20"]) / 2
        assert found.mean == pytest.approx(mean - seeds[2].summary["recall@20"])

    def test_over_seeds_every_figure_has_mean_and_deviation(self, seeds: list[Evaluation]) -> None:
        spread = over_seeds(seeds)["coverage@10"]
        figures = [each.summary["coverage@10"] for each in seeds]
        assert spread == pytest.approx((np.mean(figures), np.std(figures, ddof=1)))

    def test_other_cases_are_refused(self, seeds: list[Evaluation]) -> None:
        other = evaluate_baseline(
            Popularity(np.ones(2, np.float32)), cases_of(interactions("Aa"), interactions("Ab"), ["a", "b"])
        )
        with pytest.raises(ValueError, match="evaluated on other cases"):
            difference(seeds, [other], "ndcg@10")
        with pytest.raises(ValueError, match="evaluated on other cases"):
            over_seeds([*seeds, other])
        with pytest.raises(ValueError, match="evaluated on other cases"):
            evaluation_table([*seeds, other], elsewhere="")


class TestTable:
    def table(self, *turned_to: str, **rules: object) -> ResultsTable:
        """Of a model that ranks c before b, and one that ranks b before c."""
        config = EvaluationConfig.model_validate(rules)
        cases = cases_of(interactions("Aa"), interactions(*turned_to), ["a", "b", "c"], rules=config)
        models = [Popularity(np.array(counts, np.float32)) for counts in ([0, 1, 2], [0, 2, 1])]
        return evaluation_table([evaluate_baseline(model, cases) for model in models], elsewhere="")

    def test_a_line_is_a_model_and_a_column_a_metric(self) -> None:
        columns = {str(column.header): list(column.cells) for column in self.table("Ac").table(140).columns}
        assert list(columns) == ["", "ndcg", "recall", "hr", "mrr", "map", "coverage", "gini", "novelty"]
        assert columns[""][:3] == ["[bold]@10[/bold]", "popularity", "popularity"]
        assert columns["ndcg"][1:3] == ["[bold]1.0000[/bold] [dim]±0.0000[/dim]", "0.6309 [dim]±0.0000[/dim]"]
        assert columns["coverage"][1:3] == ["0.6667", "0.6667"]

    def test_it_says_who_was_asked(self) -> None:
        assert self.table("Ac").caption == "1 users, 1 items to find"
        assert "1 of them not in the catalogue" in self.table("Ac", "Ax").caption
        single = self.table("Ab", "Ac", "Ac", one_case_per="interaction")
        assert "1 users, 3 interactions, one by one, to find" in single.caption


def ratings(name: str) -> pl.DataFrame:
    columns = {"user_id": pl.String, "item_id": pl.String, "value": pl.Float64, "time": pl.Int64}
    return pl.read_csv(MOVIELENS / name, separator="\t", has_header=False, schema=columns).sort("time")


@pytest.fixture(scope="module")
def official_split() -> tuple[Histories, Cases]:
    """Train and test of MovieLens 100K's ``ua`` split: ten ratings of each user are test, all count as positive."""
    if not MOVIELENS.is_dir():
        pytest.skip(f"MovieLens 100K, which must not be redistributed, is not in {MOVIELENS}")
    base, test = ratings("ua.base"), ratings("ua.test")
    item_ids = pl.concat([base, test])["item_id"].unique(maintain_order=True).to_list()
    rows = {item_id: row for row, item_id in enumerate(item_ids)}
    train = of_users(base, base["user_id"].unique(maintain_order=True).to_list(), rows)
    return train, cases_of(base, test, item_ids)


class TestOfficialMovieLensSplit:
    """The proof of the evaluator: an evaluator that gets other figures than these is wrong."""

    def test_popularity_has_its_published_figures(self, official_split: tuple[Histories, Cases]) -> None:
        # As in the table of skrecsys 0.9.0.
        train, cases = official_split
        summary = evaluate_baseline(Popularity.fit(train, len(cases.item_ids)), cases).summary
        assert summary["hr@10"] == pytest.approx(0.7306, abs=5e-4)
        assert summary["ndcg@10"] == pytest.approx(0.133, abs=5e-4)

    def test_ease_has_the_figures_that_another_program_got(self, official_split: tuple[Histories, Cases]) -> None:
        train, cases = official_split
        summary = evaluate_baseline(Ease.fit(train, len(cases.item_ids), penalty=300.0), cases).summary
        assert summary["ndcg@10"] == pytest.approx(0.316, abs=3e-3)
        assert summary["recall@10"] == pytest.approx(0.271, abs=3e-3)
        assert summary["hr@10"] == pytest.approx(0.9385, abs=3e-3)
        assert summary["ndcg@20"] == pytest.approx(0.3845, abs=3e-3)
        assert summary["recall@20"] == pytest.approx(0.3946, abs=3e-3)

    def test_the_figures_are_those_of_a_program_of_ten_lines(self, official_split: tuple[Histories, Cases]) -> None:
        train, cases = official_split
        model = ItemKnn.fit(train, len(cases.item_ids))
        result = evaluate_baseline(model, cases)
        for case, scores in enumerate(model.scores(cases.histories).tolist()):
            had = set(cases.histories[case].tolist())
            wanted = set(cases.relevant[case].tolist())
            # At equal scores the unwanted come first, and of the wanted ones none shares its place with another.
            ranked = sorted((-score, row in wanted) for row, score in enumerate(scores) if row not in had)
            hits = [place for place, (_, is_wanted) in enumerate(ranked[:10], 1) if is_wanted]
            ideal = sum(1 / math.log2(place + 1) for place in range(1, min(10, len(wanted)) + 1))
            expected = sum(1 / math.log2(place + 1) for place in hits) / ideal
            assert result.by_case["ndcg@10"][case] == pytest.approx(expected)
            assert result.by_case["recall@10"][case] == pytest.approx(len(hits) / len(wanted))
