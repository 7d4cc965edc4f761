"""Who is asked what in an evaluation, and what would be a good answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, overload

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bascule_server.scoring.query import FeatureValue, Query
from bascule_training.data.features import FeaturesByUser
from bascule_training.data.histories import Histories, of_users
from bascule_training.evaluation import metrics
from bascule_training.evaluation.metrics import UNKNOWN_ROW
from bascule_training.evaluation.protocol import EvaluationConfig

DEFAULT_RULES = EvaluationConfig()


class Audience(NamedTuple):
    """How many users had what before."""

    item_users: NDArray[np.int64]
    """int64 [items]."""
    user_count: int
    """Of how many users, from 1."""


@dataclass(frozen=True, slots=True)
class Cases:
    """What is asked, and what would be a good answer; one case a user."""

    queries: Sequence[Query]
    """The user's history and features. Without the id, since the artifact knows by it what the user did afterwards."""
    histories: Histories
    """The rows of the query's history."""
    relevant: Histories
    """The rows of what the user turned to next; ``UNKNOWN_ROW`` for items that the catalogue does not have."""
    item_ids: Sequence[str]
    """The catalogue, by row."""
    rules: EvaluationConfig = DEFAULT_RULES
    audience: Audience | None = None
    """Of all users who are known. None: only those of the cases are."""

    def __len__(self) -> int:
        return len(self.queries)

    def item_users(self) -> NDArray[np.int64]:
        """int64 [items], how many users had each item before."""
        return self._audience().item_users

    def self_information(self) -> NDArray[np.float64]:
        """float64 [items], bits; see ``metrics.self_information``."""
        return metrics.self_information(*self._audience())

    def is_cold(self) -> NDArray[np.bool_]:
        """bool [relevant items], whether nobody had the item before."""
        users = np.append(self.item_users(), 0)  # the last one is that of UNKNOWN_ROW
        is_cold: NDArray[np.bool_] = users[self.relevant.item_rows] == 0
        return is_cold

    def is_counted(self) -> NDArray[np.bool_]:
        """bool [relevant items], whether the main figures are about the item; by the rules."""
        is_asked = np.repeat(self.histories.lengths >= self.rules.min_history, self.relevant.lengths)
        return is_asked & ~self.is_cold() if self.rules.cold_items == "apart" else is_asked

    def counted(self) -> "Cases":
        """The cases that the main figures are about, with nothing else to find."""
        is_counted = self.is_counted()
        if is_counted.all():
            return self
        counts = np.add.reduceat(is_counted, self.relevant.offsets[:-1], dtype=np.int64)
        kept = np.flatnonzero(counts)
        return replace(
            self,
            queries=_Chosen(self.queries, kept),
            histories=self.histories.of(kept),
            relevant=Histories(self.relevant.item_rows[is_counted], _offsets(counts[kept])),
            audience=self._audience(),
        )

    def at_most(self, count: int, seed: int = 0) -> "Cases":
        """So many of the cases, drawn evenly; all of them where there are no more."""
        if len(self) <= count:
            return self
        drawn = np.sort(np.random.default_rng(seed).choice(len(self), count, replace=False))
        return replace(
            self,
            queries=_Chosen(self.queries, drawn),
            histories=self.histories.of(drawn),
            relevant=self.relevant.of(drawn),
            audience=self._audience(),
        )

    def _audience(self) -> Audience:
        if self.audience is not None:
            return self.audience
        had = self.histories.distinct().item_rows
        return Audience(np.bincount(had, minlength=len(self.item_ids)), len(self))


def cases_of(
    before: pl.DataFrame,
    after: pl.DataFrame,
    item_ids: Sequence[str],
    features: Mapping[str, Mapping[str, FeatureValue]] | None = None,
    rules: EvaluationConfig = DEFAULT_RULES,
    context: Sequence[str] = (),
) -> Cases:
    """One case for each user who turns in ``after`` to an item that they do not have in ``before``.

    Args:
        before: columns ``user_id`` and ``item_id``, in time order for each user: all that the model may know.
        after: the same columns. Relevant are a user's distinct items here that are new to them; where the rules do not
            exclude the history also those that are not new, and where interactions are to be found, each of them.
        item_ids: the catalogue, by row.
        features: the values of the query features by their names, by user; a user may lack them.
        rules: who is asked and what counts.
        context: columns of ``after`` that are features of the query as well: of the first of what is relevant to it.

    Raises:
        ValueError: there is no such user, or none that counts.
    """
    pair = ["user_id", "item_id"]
    wanted = after.select([*pair, *context])
    if rules.exclude_history:
        # Of a long log few pairs are asked about: only these are put into tables for the joins.
        had = before.select(pair).join(wanted.select(pair), on=pair, how="semi")
        wanted = wanted.join(had, on=pair, how="anti", maintain_order="left")
    if rules.one_case_per == "user":
        wanted = wanted.unique(pair, keep="first", maintain_order=True)
    if wanted.is_empty():
        raise ValueError(f"none of the {len(after):,} interactions to predict is with an item new to its user")
    user_ids = wanted["user_id"].unique(maintain_order=True).to_list()
    rows = {item_id: row for row, item_id in enumerate(item_ids)}
    histories = of_users(before.select(pair), user_ids, rows)
    relevant = of_users(wanted, user_ids, dict.fromkeys(wanted["item_id"], UNKNOWN_ROW) | rows)
    of_context = FeaturesByUser(wanted.unique("user_id", keep="first", maintain_order=True), context)
    queries = _OfHistories(histories, item_ids, user_ids, features or {}, of_context)
    cases = Cases(queries, histories, relevant, item_ids, rules, _audience(before, rows))
    if not cases.is_counted().any():
        raise ValueError(
            f"none of the {len(wanted):,} interactions to predict counts: they are of users with fewer than"
            f" {rules.min_history:,} interactions before, or with items that nobody had; lower min_history, or count"
            " cold_items"
        )
    return cases


def _audience(before: pl.DataFrame, rows: Mapping[str, int]) -> Audience:
    items = before.group_by("item_id").agg(pl.col("user_id").n_unique())
    item_users = np.zeros(len(rows), np.int64)
    for item_id, count in items.iter_rows():
        if item_id in rows:
            item_users[rows[item_id]] = count
    return Audience(item_users, max(1, before["user_id"].n_unique()))


def _offsets(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


class _Queries(Sequence[Query]):
    """Queries that are made when they are asked for: all at once they take more memory than the log."""

    def _of(self, case: int) -> Query:
        raise NotImplementedError

    @overload
    def __getitem__(self, place: int) -> Query: ...

    @overload
    def __getitem__(self, place: slice) -> list[Query]: ...

    def __getitem__(self, place: int | slice) -> Query | list[Query]:
        cases = range(len(self))[place]
        return self._of(cases) if isinstance(cases, int) else [self._of(case) for case in cases]


class _OfHistories(_Queries):
    """One for each of some histories, with the features of the user and of the context."""

    def __init__(
        self,
        histories: Histories,
        item_ids: Sequence[str],
        user_ids: Sequence[str],
        features: Mapping[str, Mapping[str, FeatureValue]],
        context: Mapping[str, Mapping[str, FeatureValue]],
    ) -> None:
        self._histories = histories
        self._item_ids = item_ids
        self._user_ids = user_ids
        self._features = features
        self._context = context

    def __len__(self) -> int:
        return len(self._histories)

    def _of(self, case: int) -> Query:
        history = tuple(self._item_ids[row] for row in self._histories[case].tolist())
        user_id = self._user_ids[case]
        return Query(history=history, features={**self._features.get(user_id, {}), **self._context[user_id]})


class _Chosen(_Queries):
    """Some of other queries."""

    def __init__(self, queries: Sequence[Query], cases: NDArray[np.int64]) -> None:
        self._queries = queries
        self._cases = cases

    def __len__(self) -> int:
        return len(self._cases)

    def _of(self, case: int) -> Query:
        return self._queries[int(self._cases[case])]
