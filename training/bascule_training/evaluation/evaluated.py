"""Evaluates a scorer, or a baseline, on what users turned to next.

The whole catalogue is ranked for every user, mostly without the items that they had before. A model is asked through
the server's own scorer, with queries like those of a caller, so that what is evaluated is what is served.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from bascule_server.retrieval.retriever import Found
from bascule_server.scoring.query import Answer, QueryError, Question, Rank, Ranking
from bascule_server.scoring.scorer import Scorer
from bascule_training.data.histories import Histories
from bascule_training.evaluation import intervals, metrics
from bascule_training.evaluation.cases import Cases, cases_of
from bascule_training.evaluation.intervals import Difference, Interval, Spread
from bascule_training.evaluation.metrics import CUTOFFS, NO_ROW, UNKNOWN_ROW, Ranks
from bascule_training.evaluation.protocol import EvaluationConfig
from bascule_training.evaluation.results_table import Result, ResultsTable

__all__ = [
    "BATCH_SIZE",
    "Baseline",
    "Cases",
    "Evaluation",
    "Progress",
    "cases_of",
    "difference",
    "evaluate_baseline",
    "evaluate_scorer",
    "evaluation_table",
    "over_seeds",
    "quality_of",
    "values_by_case",
]

BATCH_SIZE = 256
"""How many users the scorer is asked about at a time."""

BLOCK_SCORES = 2**24
"""How many scores of a baseline are held at a time: 64 MiB."""

DEPTH = max(CUTOFFS) + 1
"""How many items are asked of the scorer: one more than are looked at, to see what ties with the last of them."""

Progress = Callable[[int], object]
"""Is told how many more users have been evaluated."""


class Baseline(Protocol):
    """A fitted model that scores all items for a user, by the user's history alone."""

    @property
    def name(self) -> str:
        """Its name in tables."""

    @property
    def settings(self) -> str:
        """What it was fitted with; empty where there is nothing to set."""

    def scores(self, histories: Histories) -> NDArray[np.float32]:
        """float32 [users, items], higher is better, finite."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How well one model did."""

    name: str
    summary: dict[str, float]
    """Means over the cases, named as in ``ndcg@10``, and ``coverage`` and ``gini`` of all their lists."""
    by_case: dict[str, NDArray[np.float64]]
    """float64 [cases], the values whose means stand in the summary; of the cases that count."""
    weights: NDArray[np.float64]
    """float64 [cases], what each counts in the means."""
    relevant_count: int
    """The number of relevant items."""
    unknown_count: int
    """How many of these the catalogue does not have. They count as misses."""
    seconds: float
    """How long evaluating took."""
    cases: Cases
    ranks: Ranks
    """Of the relevant items of all cases, also of those that do not count."""
    settings: str = ""
    """What a baseline was fitted with."""

    @property
    def case_count(self) -> int:
        """The number of cases that count."""
        return len(self.weights)

    def intervals(self) -> dict[str, Interval]:
        """The 95 % interval of every mean over the cases."""
        return intervals.bootstrap(self.by_case, self.weights)


def difference(ones: Sequence[Evaluation], others: Sequence[Evaluation], metric: str) -> Difference:
    """How far a model is ahead of another in one metric, paired over the same cases.

    Args:
        ones: of the model, one or more seeds; each case has the mean of its values.
        others: of the other.
        metric: as it is named in the summary.

    Raises:
        ValueError: they were not evaluated on the same cases.
    """
    _refuse_other_cases([*ones, *others])
    mean_one, mean_other = (np.mean([each.by_case[metric] for each in seeds], axis=0) for seeds in (ones, others))
    return intervals.paired_difference(mean_one, mean_other, ones[0].weights)


def over_seeds(evaluations: Sequence[Evaluation]) -> dict[str, Spread]:
    """Mean and deviation of every figure over seeds of one model.

    Raises:
        ValueError: they were not evaluated on the same cases.
    """
    _refuse_other_cases(evaluations)
    return intervals.over_seeds([each.summary for each in evaluations])


def _refuse_other_cases(evaluations: Sequence[Evaluation]) -> None:
    """Raises a ``ValueError`` where evaluations are not of the same cases: their figures say nothing side by side."""
    first = evaluations[0]
    for each in evaluations[1:]:
        one, other = first.cases, each.cases
        if one.rules != other.rules or not (
            np.array_equal(one.relevant.offsets, other.relevant.offsets)
            and np.array_equal(one.relevant.item_rows, other.relevant.item_rows)
        ):
            raise ValueError(f"{each.name!r} and {first.name!r} were evaluated on other cases; expected the same")


def values_by_case(ranks: Ranks, rules: EvaluationConfig) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.float64]]:
    """Every metric of a rank, float64 [cases], and what each case counts in the mean over them, float64 [cases]."""
    if rules.one_case_per == "user":
        return metrics.metrics_by_case(ranks), np.ones(len(ranks))
    counts = ranks.relevant_counts.astype(np.float64)
    singly = metrics.metrics_by_case(ranks.singly())
    return {name: np.add.reduceat(values, ranks.offsets[:-1]) / counts for name, values in singly.items()}, counts


def evaluate_scorer(
    scorer: Scorer,
    cases: Cases,
    name: str = "two towers",
    progress: Progress | None = None,
    *,
    skip_ranking: bool = False,
) -> Evaluation:
    """Evaluates a published model, whose catalogue is that of the cases; with ``skip_ranking`` by retrieval alone.

    Raises:
        QueryError: the scorer has no answer to a query.
    """
    return _evaluate(name, cases, _blocks_of_scorer(scorer, cases, skip_ranking), progress)


def evaluate_baseline(baseline: Baseline, cases: Cases, progress: Progress | None = None) -> Evaluation:
    """Evaluates a baseline that was fitted on the catalogue of the cases."""
    evaluation = _evaluate(baseline.name, cases, _blocks_of_baseline(baseline, cases), progress)
    return replace(evaluation, settings=baseline.settings)


def quality_of(baseline: Baseline, cases: Cases) -> float:
    """NDCG@10 alone, as in the summary of ``evaluate_baseline``, for much less work: no list is made."""
    ranks = [ranks for ranks, _ in _scored_by_baseline(baseline, cases)]
    by_case, weights = values_by_case(Ranks.joined(ranks).only(cases.is_counted()), cases.rules)
    return float(np.average(by_case["ndcg@10"], weights=weights))


class _Block(NamedTuple):
    """Some of the cases, evaluated."""

    ranks: Ranks
    lists: NDArray[np.int64]
    """int64 [cases, largest cutoff], the rows of the best items, best first; ``NO_ROW`` where no more remain."""


def _blocks_of_scorer(scorer: Scorer, cases: Cases, skip_ranking: bool) -> Iterator[_Block]:
    rows = {item_id: row for row, item_id in enumerate(cases.item_ids)}
    rank = Rank(item_count=DEPTH, exclude_history=cases.rules.exclude_history, skip_ranking=skip_ranking)
    for start, stop in _spans(len(cases), BATCH_SIZE):
        answers = scorer.answer([Question(query, rank) for query in cases.queries[start:stop]])
        lists = [_found(answer, rows) for answer in answers]
        ranks = metrics.ranks_in_lists(lists, cases.relevant.part(start, stop), DEPTH)
        yield _Block(ranks, _lists([found.rows for found in lists]))


def _found(answer: Answer, rows: Mapping[str, int]) -> Found:
    if isinstance(answer, QueryError):
        raise answer
    if not isinstance(answer, Ranking):
        raise TypeError(f"the scorer was asked for a ranking and gave {type(answer).__name__}")
    return Found(np.array([rows[item_id] for item_id in answer.item_ids], np.int64), answer.scores)


def _blocks_of_baseline(baseline: Baseline, cases: Cases) -> Iterator[_Block]:
    for ranks, scores in _scored_by_baseline(baseline, cases):
        yield _Block(ranks, _lists([metrics.best_of(row, max(CUTOFFS)).rows for row in scores]))


def _scored_by_baseline(baseline: Baseline, cases: Cases) -> Iterator[tuple[Ranks, NDArray[np.float32]]]:
    """Blocks of cases: their ranks, and float32 [cases, items], the scores, -inf of what is not recommended."""
    for start, stop in _spans(len(cases), max(1, BLOCK_SCORES // len(cases.item_ids))):
        histories = cases.histories.part(start, stop)
        scores = baseline.scores(histories)
        if cases.rules.exclude_history:
            scores = metrics.without(scores, histories)
        yield metrics.ranks_in_scores(scores, cases.relevant.part(start, stop)), scores


def _lists(cases: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    lists = np.full((len(cases), max(CUTOFFS)), NO_ROW, np.int64)
    for case, rows in enumerate(cases):
        shown = rows[: max(CUTOFFS)]
        lists[case, : len(shown)] = shown
    return lists


def _spans(count: int, size: int) -> Iterator[tuple[int, int]]:
    return ((start, min(start + size, count)) for start in range(0, count, size))


def _evaluate(name: str, cases: Cases, blocks: Iterator[_Block], progress: Progress | None) -> Evaluation:
    started = time.perf_counter()
    is_counted = cases.is_counted()
    has_counted = np.logical_or.reduceat(is_counted, cases.relevant.offsets[:-1])
    shown = _Shown.of(cases)
    ranks: list[Ranks] = []
    done = 0
    for block in blocks:
        ranks.append(block.ranks)
        shown.add(block.lists[has_counted[done : done + len(block.ranks)]])
        done += len(block.ranks)
        if progress is not None:
            progress(len(block.ranks))
    all_ranks = Ranks.joined(ranks)
    by_case, weights = values_by_case(all_ranks.only(is_counted), cases.rules)
    by_case |= shown.novelty()
    means = {metric: float(np.average(values, weights=weights)) for metric, values in by_case.items()}
    return Evaluation(
        name=name,
        summary=means | shown.evenness(),
        by_case=by_case,
        weights=weights,
        relevant_count=int(np.count_nonzero(is_counted)),
        unknown_count=int(np.count_nonzero(cases.relevant.item_rows[is_counted] == UNKNOWN_ROW)),
        seconds=time.perf_counter() - started,
        cases=cases,
        ranks=all_ranks,
    )


class _Shown(NamedTuple):
    """What has been recommended so far, by the length of list."""

    information: NDArray[np.float64]
    exposures: dict[int, NDArray[np.int64]]
    """int64 [items], how many lists each item is in."""
    novelties: dict[int, list[NDArray[np.float64]]]
    """float64 [cases] of each block."""

    @classmethod
    def of(cls, cases: Cases) -> "_Shown":
        exposures = {k: np.zeros(len(cases.item_ids), np.int64) for k in CUTOFFS}
        return cls(cases.self_information(), exposures, {k: [] for k in CUTOFFS})

    def add(self, lists: NDArray[np.int64]) -> None:
        """Takes note of lists, int64 [cases, items]."""
        for k in CUTOFFS:
            rows = lists[:, :k]
            self.exposures[k][:] += np.bincount(rows[rows != NO_ROW], minlength=len(self.information))
            self.novelties[k].append(metrics.novelty(lists, self.information, k))

    def novelty(self) -> dict[str, NDArray[np.float64]]:
        """float64 [cases]."""
        return {f"novelty@{k}": np.concatenate(blocks) for k, blocks in self.novelties.items()}

    def evenness(self) -> dict[str, float]:
        """Of all lists together."""
        measures = {"coverage": metrics.coverage, "gini": metrics.gini}
        return {f"{name}@{k}": of(self.exposures[k]) for k in CUTOFFS for name, of in measures.items()}


def evaluation_table(evaluations: Sequence[Evaluation], *, elsewhere: str) -> ResultsTable:
    """A table of evaluations on the same cases, for people: a line a model, a column a metric, the best in bold.

    Args:
        evaluations: at least one.
        elsewhere: what has the figures that a narrow terminal leaves out.

    Raises:
        ValueError: they are not of the same cases.
    """
    _refuse_other_cases(evaluations)
    first = evaluations[0]
    keys = {
        (number, metric): each.by_case[metric] for number, each in enumerate(evaluations) for metric in each.by_case
    }
    found = intervals.bootstrap(keys, first.weights)
    results = [
        Result(each.name, each.summary, {metric: found[number, metric] for metric in each.by_case})
        for number, each in enumerate(evaluations)
    ]
    settings = [f"{each.name}: {each.settings}" for each in evaluations if each.settings]
    return ResultsTable(results, CUTOFFS, "\n".join([_asked(first), *settings]), elsewhere)


def _asked(evaluation: Evaluation) -> str:
    what = "items" if evaluation.cases.rules.one_case_per == "user" else "interactions, one by one,"
    words = f"{evaluation.case_count:,} users, {evaluation.relevant_count:,} {what} to find"
    if evaluation.unknown_count:
        words += f", {evaluation.unknown_count:,} of them not in the catalogue and so missed by all"
    return words
