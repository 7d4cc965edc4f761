import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from bascule.v1.artifact_pb2 import Feature, HistoryFeature
from bascule_server.catalogue import Catalogue
from bascule_server.encoder import HISTORY, QueryEncoder
from bascule_server.known_users import KnownUsers
from bascule_server.query import Query
from bascule_server.scorer import Scorer
from bascule_server.subject import Subjects
from bascule_training import evaluation
from bascule_training.baselines import Ease, ItemKnn, Popularity
from bascule_training.evaluation import Cases, cases_of, evaluate_baseline, evaluate_scorer, evaluation_table
from bascule_training.histories import Histories, of_users
from bascule_training.metrics import UNKNOWN_ROW

MOVIELENS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "ml-100k"


def interactions(*pairs: str) -> pl.DataFrame:
    """Each pair is a letter for the user and one for the item."""
    return pl.DataFrame({"user_id": [pair[0] for pair in pairs], "item_id": [pair[1] for pair in pairs]})


class TestCases:
    def test_relevant_is_what_is_new_to_the_user(self) -> None:
        cases = cases_of(interactions("Aa", "Ab", "Ba"), interactions("Ab", "Ac", "Bb"), ["a", "b", "c"])
        assert [query.history for query in cases.queries] == [("a", "b"), ("a",)]
        assert [rows.tolist() for rows in cases.relevant] == [[2], [1]]

    def test_a_user_to_whom_nothing_is_new_is_no_case(self) -> None:
        cases = cases_of(interactions("Aa", "Ba"), interactions("Aa", "Bb"), ["a", "b"])
        assert [rows.tolist() for rows in cases.relevant] == [[1]]

    def test_an_item_is_relevant_once_however_often_it_comes(self) -> None:
        cases = cases_of(interactions("Aa"), interactions("Ab", "Ab", "Ac"), ["a", "b", "c"])
        assert cases.relevant[0].tolist() == [1, 2]

    def test_items_that_the_catalogue_does_not_have_stay_relevant(self) -> None:
        cases = cases_of(interactions("Aa"), interactions("Ax", "Ay", "Ax", "Ab"), ["a", "b"])
        assert cases.relevant[0].tolist() == [UNKNOWN_ROW, UNKNOWN_ROW, 1]

    def test_the_query_holds_the_history_oldest_first_and_the_features(self) -> None:
        cases = cases_of(
            interactions("Ab", "Aa", "Ab"), interactions("Ac", "Bc"), ["a", "b", "c"], {"A": {"country": "NZ"}}
        )
        assert cases.queries == [
            Query(history=("b", "a", "b"), features={"country": "NZ"}),
            Query(),
        ]
        assert [rows.tolist() for rows in cases.histories] == [[1, 0, 1], []]

    def test_no_query_says_who_asks_since_the_artifact_knows_what_they_did_next(self) -> None:
        cases = cases_of(interactions("Aa"), interactions("Ab"), ["a", "b"])
        assert [query.user_id for query in cases.queries] == [""]

    def test_nothing_to_predict_is_an_error(self) -> None:
        with pytest.raises(ValueError, match="none of the 1 interactions"):
            cases_of(interactions("Aa"), interactions("Aa"), ["a"])


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
        catalogue = Catalogue(item_ids, np.full(len(item_ids), 1 / len(item_ids), np.float32), {})
        encoder = QueryEncoder([Feature(name=HISTORY, history=HistoryFeature(max_length=5))], {})
        subjects = Subjects(catalogue, KnownUsers([], pl.Series(), {}), encoder.features)
        return Scorer(catalogue, subjects, encoder, self, self.item_vectors)


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


class TestTable:
    def table(self, *turned_to: str) -> Table:
        """Of a model that ranks c before b, and one that ranks b before c."""
        cases = cases_of(interactions("Aa"), interactions(*turned_to), ["a", "b", "c"])
        models = [Popularity(np.array(counts, np.float32)) for counts in ([0, 1, 2], [0, 2, 1])]
        return evaluation_table([evaluate_baseline(model, cases) for model in models])

    def test_a_line_is_a_metric_and_a_column_a_model_with_the_best_in_bold(self) -> None:
        metrics, first, second = (list(column.cells) for column in self.table("Ac").columns)
        assert metrics[:5] == ["ndcg@10", "recall@10", "hr@10", "mrr@10", "coverage@10"]
        assert first[:5] == [f"[bold]{text}[/bold]" for text in ("1.0000", "1.0000", "1.0000", "1.0000", "0.6667")]
        assert second[0] == "0.6309"

    def test_items_that_nobody_can_find_are_reported(self) -> None:
        assert self.table("Ac").caption == "1 users, 1 items to find"
        assert "1 of them not in the catalogue" in str(self.table("Ac", "Ax").caption)

    def test_it_fits_a_terminal(self) -> None:
        console = Console(width=80, file=io.StringIO())
        assert console.measure(self.table("Ac")).minimum <= 80


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
