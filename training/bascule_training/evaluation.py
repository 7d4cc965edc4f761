"""Evaluates a scorer, or a baseline, on what users turned to next.

The whole catalogue is ranked for every user, without the items that they had before. A model is asked through the
server's own scorer, with queries like those of a caller, so that what is evaluated is what is served.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray
from rich.table import Table

from bascule_server.query import Answer, FeatureValue, Query, QueryError, Question, Rank, Ranking
from bascule_server.retrieval import Found
from bascule_server.scorer import Scorer
from bascule_training import metrics
from bascule_training.histories import Histories, of_users
from bascule_training.metrics import CUTOFFS, UNKNOWN_ROW, Ranks

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
class Cases:
    """What is asked, and what would be a good answer; one case a user."""

    queries: Sequence[Query]
    """The user's history and features. Without the id, since the artifact knows by it what the user did afterwards."""
    histories: Histories
    """The rows of the query's history, which are never recommended."""
    relevant: Histories
    """The rows of what the user turned to next; ``UNKNOWN_ROW`` for items that the catalogue does not have."""
    item_ids: Sequence[str]
    """The catalogue, by row."""

    def __len__(self) -> int:
        return len(self.queries)


def cases_of(
    before: pl.DataFrame,
    after: pl.DataFrame,
    item_ids: Sequence[str],
    features: Mapping[str, Mapping[str, FeatureValue]] | None = None,
) -> Cases:
    """One case for each user who turns in ``after`` to an item that they do not have in ``before``.

    Args:
        before: columns ``user_id`` and ``item_id``, in time order for each user: all that the model may know.
        after: the same columns. Relevant are a user's distinct items here that are new to them.
        item_ids: the catalogue, by row.
        features: the values of the query features by their names, by user; a user may lack them.

    Raises:
        ValueError: there is no such user.
    """
    pair = ["user_id", "item_id"]
    new = after.select(pair).unique(maintain_order=True).join(before, on=pair, how="anti", maintain_order="left")
    if new.is_empty():
        raise ValueError(f"none of the {len(after):,} interactions to predict is with an item new to its user")
    user_ids = new["user_id"].unique(maintain_order=True).to_list()
    rows = {item_id: row for row, item_id in enumerate(item_ids)}
    histories = of_users(before, user_ids, rows)
    relevant = of_users(new, user_ids, dict.fromkeys(new["item_id"], UNKNOWN_ROW) | rows)
    queries = [
        Query(history=tuple(item_ids[row] for row in history), features=(features or {}).get(user_id, {}))
        for user_id, history in zip(user_ids, histories, strict=True)
    ]
    return Cases(queries, histories, relevant, item_ids)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How well one model did."""

    name: str
    summary: dict[str, float]
    """Means over the cases, named as in ``ndcg@10``, and coverage of the catalogue, as in ``coverage@10``."""
    by_case: dict[str, NDArray[np.float64]]
    """float64 [cases], the values whose means stand in the summary."""
    relevant_count: int
    """The number of relevant items."""
    unknown_count: int
    """How many of these the catalogue does not have. They count as misses."""
    seconds: float
    """How long evaluating took."""
    settings: str = ""
    """What a baseline was fitted with."""

    @property
    def case_count(self) -> int:
        """The number of cases."""
        return len(next(iter(self.by_case.values())))


def evaluate_scorer(
    scorer: Scorer, cases: Cases, name: str = "two towers", progress: Progress | None = None
) -> Evaluation:
    """Evaluates a published model, whose catalogue is that of the cases.

    Raises:
        QueryError: the scorer has no answer to a query.
    """
    return _evaluate(name, cases, _blocks_of_scorer(scorer, cases), progress)


def evaluate_baseline(baseline: Baseline, cases: Cases, progress: Progress | None = None) -> Evaluation:
    """Evaluates a baseline that was fitted on the catalogue of the cases."""
    evaluation = _evaluate(baseline.name, cases, _blocks_of_baseline(baseline, cases), progress)
    return replace(evaluation, settings=baseline.settings)


class _Block(NamedTuple):
    """Some of the cases, evaluated."""

    ranks: Ranks
    lists: list[NDArray[np.int64]]
    """For each case int64 [items], the rows of the best items, best first, up to the largest cutoff or further."""


def _blocks_of_scorer(scorer: Scorer, cases: Cases) -> Iterator[_Block]:
    rows = {item_id: row for row, item_id in enumerate(cases.item_ids)}
    for start, stop in _spans(len(cases), BATCH_SIZE):
        answers = scorer.answer([Question(query, Rank(item_count=DEPTH)) for query in cases.queries[start:stop]])
        lists = [_found(answer, rows) for answer in answers]
        ranks = metrics.ranks_in_lists(lists, cases.relevant.part(start, stop), DEPTH)
        yield _Block(ranks, [found.rows for found in lists])


def _found(answer: Answer, rows: Mapping[str, int]) -> Found:
    if isinstance(answer, QueryError):
        raise answer
    if not isinstance(answer, Ranking):
        raise TypeError(f"the scorer was asked for a ranking and gave {type(answer).__name__}")
    return Found(np.array([rows[item_id] for item_id in answer.item_ids], np.int64), answer.scores)


def _blocks_of_baseline(baseline: Baseline, cases: Cases) -> Iterator[_Block]:
    for start, stop in _spans(len(cases), max(1, BLOCK_SCORES // len(cases.item_ids))):
        histories = cases.histories.part(start, stop)
        scores = metrics.without(baseline.scores(histories), histories)
        ranks = metrics.ranks_in_scores(scores, cases.relevant.part(start, stop))
        yield _Block(ranks, [metrics.best_of(row, max(CUTOFFS)).rows for row in scores])


def _spans(count: int, size: int) -> Iterator[tuple[int, int]]:
    return ((start, min(start + size, count)) for start in range(0, count, size))


def _evaluate(name: str, cases: Cases, blocks: Iterator[_Block], progress: Progress | None) -> Evaluation:
    started = time.perf_counter()
    ranks: list[Ranks] = []
    exposures = {k: np.zeros(len(cases.item_ids), np.int64) for k in CUTOFFS}
    for block in blocks:
        ranks.append(block.ranks)
        for k in CUTOFFS:
            for rows in block.lists:
                exposures[k][rows[:k]] += 1
        if progress is not None:
            progress(len(block.ranks))
    by_case = metrics.metrics_by_case(Ranks.joined(ranks))
    means = {metric: float(values.mean()) for metric, values in by_case.items()}
    return Evaluation(
        name=name,
        summary=means | {f"coverage@{k}": metrics.coverage(exposures[k]) for k in CUTOFFS},
        by_case=by_case,
        relevant_count=len(cases.relevant.item_rows),
        unknown_count=int(np.count_nonzero(cases.relevant.item_rows == UNKNOWN_ROW)),
        seconds=time.perf_counter() - started,
    )


def evaluation_table(evaluations: Sequence[Evaluation]) -> Table:
    """A table of evaluations on the same cases, for people: a line a metric, a column a model, the best in bold."""
    first = evaluations[0]
    caption = f"{first.case_count:,} users, {first.relevant_count:,} items to find"
    if first.unknown_count:
        caption += f", {first.unknown_count:,} of them not in the catalogue and so missed by all"
    caption = "\n".join([caption, *(f"{each.name}: {each.settings}" for each in evaluations if each.settings)])
    table = Table("", caption=caption)
    for evaluation in evaluations:
        table.add_column(evaluation.name, justify="right")
    for k in CUTOFFS:
        for name in (*metrics.METRICS, "coverage"):
            metric = f"{name}@{k}"
            table.add_row(metric, *_cells([evaluation.summary[metric] for evaluation in evaluations]))
        table.add_section()
    return table


def _cells(values: Sequence[float]) -> list[str]:
    """The values to four places; those that are best as printed stand in bold."""
    texts = [f"{value:.4f}" for value in values]
    return [f"[bold]{text}[/bold]" if text == max(texts) else text for text in texts]
