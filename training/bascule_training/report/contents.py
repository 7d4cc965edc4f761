"""What a report is made of: plain data, and how to take it from a run."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bascule_server.scoring.query import QueryError, Question, Rank, Ranking
from bascule_server.scoring.scorer import Scorer
from bascule_training.dataset import Dataset
from bascule_training.evaluation.cases import Cases
from bascule_training.evaluation.evaluated import BATCH_SIZE, Evaluation
from bascule_training.evaluation.metrics import UNKNOWN_ROW

EXAMPLE_COUNT = 6
"""How many users are shown."""

EXAMPLE_LENGTH = 10
"""How many items of a history are shown, the newest, and how many recommendations."""

SCORED_DEPTH = 100
"""How many recommendations of a user are looked at to say what a score is worth."""

SCORED_USERS = 2_000
"""Of how many users at most."""


Curve = Sequence[tuple[float, float]]
"""Of every epoch: the mean loss, and NDCG@10 on the validation part."""


@dataclass(frozen=True, slots=True)
class Items:
    """The catalogue.

    Attributes:
        names: what people call each item.
        vectors: float32 [items, dimension].
        popularity: int64 [items], training interactions with each.
        attribute: the attribute that sorts items into groups; empty where there is none.
        groups: the item's values of it, a tuple an item.
    """

    names: Sequence[str]
    vectors: NDArray[np.float32]
    popularity: NDArray[np.int64]
    attribute: str = ""
    groups: Sequence[tuple[str, ...]] = ()


class Recommendation(NamedTuple):
    """One place of a list."""

    name: str
    score: float
    is_next: bool
    """Whether the user turned to it next."""


class Next(NamedTuple):
    """An item that a user turned to next."""

    name: str
    place: int | None
    """Its place in the user's list, from 1; None where it is not among the first ``SCORED_DEPTH``."""


class Example(NamedTuple):
    """A user's history and recommendations."""

    history: Sequence[str]
    """The newest items, newest first."""
    history_length: int
    """Of the whole history."""
    recommended: Sequence[Recommendation]
    following: Sequence[Next]


@dataclass(frozen=True, slots=True)
class ScoredItems:
    """Recommendations with their scores, and whether they were right.

    Attributes:
        scores: float32 [recommendations].
        is_next: bool [recommendations], whether the user turned to the item next.
    """

    scores: NDArray[np.float32]
    is_next: NDArray[np.bool_]
    user_count: int
    """To how many users."""


@dataclass(frozen=True, slots=True)
class DataFacts:
    """The size and the shape of the data."""

    user_count: int
    item_count: int
    """Of the catalogue."""
    interaction_counts: dict[str, int]
    """By part: train, validation, test."""
    pair_count: int
    """Different pairs of a user and an item of the catalogue, over all parts."""
    duplicates_dropped: int
    repeated_count: int = 0
    """Interactions of a user with an item that the user had before, which were kept."""
    first_time: int | None = None
    """Unix seconds; None where the data has no time."""
    last_time: int | None = None

    @property
    def sparsity(self) -> float:
        """The share of all pairs of a user and an item without an interaction, from 0 to 1."""
        return 1 - self.pair_count / (self.user_count * self.item_count)


@dataclass(frozen=True, slots=True)
class ReportContents:
    """All that a report shows. What is empty is left out of it.

    Attributes:
        model: the model's name.
        version: its version.
        created: when it was made.
        evaluations: on the test part; the model's first, then the baselines'.
        items: the catalogue.
        data: the size and shape of the data.
        config: the configuration, as it is to be read.
        curves: one of each tower that was trained in epochs.
        examples: users with their recommendations. They are real people: leave them out where the artifact must not
            hold what users did.
        scored: recommendations of the test part; None where nobody knows.
        libraries: versions by name.
    """

    model: str
    version: int
    created: datetime
    evaluations: Sequence[Evaluation]
    items: Items
    data: DataFacts
    config: str
    curves: Sequence[Curve] = ()
    examples: Sequence[Example] = ()
    scored: ScoredItems | None = None
    libraries: dict[str, str] = field(default_factory=dict)


def items_of(dataset: Dataset, vectors: NDArray[np.float32], attributes: Sequence[str]) -> Items:
    """The catalogue of a data set.

    Args:
        dataset: its items carry the attributes.
        vectors: float32 [items, dimension], in the order of the catalogue.
        attributes: columns of the items. The first one of text that differs from item to item gives the names, else the
            ids do; the first one of lists, or of text that many items share, gives the groups.
    """
    items = dataset.items
    texts = [name for name in attributes if items[name].dtype in _TEXTS]
    telling = [name for name in texts if items[name].n_unique() > len(items) / 2]
    names = items.select(pl.coalesce(*(pl.col(name).cast(pl.String) for name in telling[:1]), "item_id")).to_series()
    shared = {*texts} - {*telling} | {name for name in attributes if items[name].dtype == pl.List(pl.String)}
    attribute = next((name for name in attributes if name in shared), "")
    return Items(
        names.to_list(),
        vectors,
        dataset.popularity(dataset.splits.train),
        attribute,
        [_values(cell) for cell in items[attribute].to_list()] if attribute else (),
    )


def data_facts(dataset: Dataset, duplicates_dropped: int) -> DataFacts:
    """The size and shape of a data set, from which so many repeated interactions were left out."""
    interactions, splits = dataset.interactions, dataset.splits
    parts = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    first, last = interactions["time"].min(), interactions["time"].max()
    return DataFacts(
        user_count=len(dataset.users),
        item_count=len(dataset.items),
        interaction_counts={name: len(part) for name, part in parts.items()},
        pair_count=dataset.histories(interactions).matrix(len(dataset.items)).nnz,
        duplicates_dropped=duplicates_dropped,
        repeated_count=len(interactions) - _pairs(interactions).n_unique(),
        first_time=first if isinstance(first, int) else None,
        last_time=last if isinstance(last, int) else None,
    )


def _pairs(interactions: pl.DataFrame) -> pl.Series:
    """Int64 [interactions], equal where user and item are: to count two columns takes many times the memory of one."""
    users, items = (interactions[name].cast(pl.Categorical).to_physical() for name in ("user_id", "item_id"))
    return users.cast(pl.Int64) * 2**32 + items.cast(pl.Int64)


def examples_of(scorer: Scorer, cases: Cases, names: Sequence[str], count: int = EXAMPLE_COUNT) -> list[Example]:
    """Users from the least to the most active, evenly spaced; so nobody chooses those for whom it went well.

    Args:
        scorer: the published model.
        cases: whom to choose from.
        names: what people call each item of the catalogue.
        count: how many users; fewer where there are fewer cases.
    """
    counted = cases.counted()
    by_activity = np.argsort(counted.histories.lengths, kind="stable")
    return [_example(scorer, counted, names, case) for case in by_activity[_evenly(len(counted), count)].tolist()]


def scored_items_of(scorer: Scorer, cases: Cases) -> ScoredItems:
    """The recommendations to up to ``SCORED_USERS`` of the cases, up to ``SCORED_DEPTH`` each."""
    counted = cases.counted()
    asked = _evenly(len(counted), SCORED_USERS)
    scores, is_next = [], []
    for start in range(0, len(asked), BATCH_SIZE):
        some = asked[start : start + BATCH_SIZE].tolist()
        for case, ranking in zip(some, _rankings(scorer, counted, some), strict=True):
            following = {counted.item_ids[row] for row in counted.relevant[case] if row != UNKNOWN_ROW}
            scores.append(ranking.scores)
            is_next.append(np.array([item_id in following for item_id in ranking.item_ids], np.bool_))
    return ScoredItems(np.concatenate(scores), np.concatenate(is_next), len(asked))


def _evenly(count: int, wanted: int) -> NDArray[np.int64]:
    """int64 [up to wanted], numbers below ``count`` that are evenly spaced."""
    wanted = min(count, wanted)
    return ((np.arange(wanted) + 0.5) * count / wanted).astype(np.int64)


_TEXTS = (pl.String, pl.Categorical, pl.Enum)


def _values(cell: object) -> tuple[str, ...]:
    if cell is None:
        return ()
    return tuple(map(str, cell)) if isinstance(cell, list) else (str(cell),)


def _rankings(scorer: Scorer, cases: Cases, asked: Sequence[int]) -> Iterator[Ranking]:
    rank = Rank(item_count=SCORED_DEPTH, exclude_history=cases.rules.exclude_history)
    for answer in scorer.answer([Question(cases.queries[case], rank) for case in asked]):
        if isinstance(answer, QueryError):
            raise answer
        if not isinstance(answer, Ranking):
            raise TypeError(f"the scorer was asked for a ranking and gave {type(answer).__name__}")
        yield answer


def _example(scorer: Scorer, cases: Cases, names: Sequence[str], case: int) -> Example:
    (ranking,) = _rankings(scorer, cases, [case])
    rows = {item_id: row for row, item_id in enumerate(cases.item_ids)}
    listed = [rows[item_id] for item_id in ranking.item_ids]
    following = [int(row) for row in cases.relevant[case] if row != UNKNOWN_ROW]
    history = cases.histories[case]
    best = zip(listed[:EXAMPLE_LENGTH], ranking.scores[:EXAMPLE_LENGTH], strict=True)
    return Example(
        history=[names[row] for row in history[::-1][:EXAMPLE_LENGTH]],
        history_length=len(history),
        recommended=[Recommendation(names[row], float(score), row in following) for row, score in best],
        following=[Next(names[row], listed.index(row) + 1 if row in listed else None) for row in following],
    )
