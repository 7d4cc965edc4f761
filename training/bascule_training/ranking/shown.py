"""What a ranking tower learns from logged outcomes: what users were shown, what they turned to and what not."""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bascule_server.retrieval.retriever import Restriction, best, products
from bascule_server.retrieval.retrievers import exact_retrievers
from bascule_server.scoring.query import FeatureValue
from bascule_server.scoring.ranker_inputs import RankerInputs
from bascule_training.data.features import FeaturesByUser, feature_names, feature_rows
from bascule_training.data.tables import DataError
from bascule_training.evaluation.evaluated import BATCH_SIZE
from bascule_training.fitting.fit import Subject
from bascule_training.prepared import Prepared
from bascule_training.ranking.candidates import RankingCase
from bascule_training.towers.two_towers import TwoTowers


class _Shown(NamedTuple):
    """One list that a user was shown."""

    user: int
    """The row in the data set's users; -1 where they have no interaction."""
    subject: Subject
    """What was known of the user before."""
    rows: NDArray[np.int64]
    """int64 [items], those that the catalogue has."""
    gains: NDArray[np.float32]
    """float32 [items]."""


def shown_cases(
    model: TwoTowers, prepared: Prepared, shown: pl.DataFrame, inputs: RankerInputs, candidate_count: int
) -> list[RankingCase]:
    """The cases of logged outcomes: lists that users were shown, what they turned to and what not.

    What was shown is read as it will be in serving, each item beside those that are retrieved for the query; but only
    what was shown is learned from, since nobody knows what a user would have done with the others. A list is left out
    where it says nothing of the order, or nothing was known of the user.

    Args:
        model: towers that have not seen what happened since.
        prepared: the data.
        shown: the lists, as ``outcomes.shown_lists`` makes them.
        inputs: what makes the inputs.
        candidate_count: how many items are retrieved.

    Raises:
        DataError: no list is left.
    """
    retrievers = exact_retrievers(model.item_vectors())
    tower, excludes = model.query_tower(), prepared.validation.cases.rules.exclude_history
    cases: list[RankingCase] = []
    every = _shown(prepared, shown)
    while lists := list(islice(every, BATCH_SIZE)):
        subjects = [each.subject for each in lists]
        vectors = tower.vectors(prepared.encoder.encode(subjects))
        restrictions = [Restriction(subject.history if excludes else np.empty(0, np.int64)) for subject in subjects]
        retrieved = retrievers.ranking.search(vectors, [candidate_count] * len(lists), restrictions)
        for each, vector, found in zip(lists, vectors, retrieved, strict=True):
            others = np.setdiff1d(each.rows, found.rows)
            scores = np.concatenate([found.scores, products(vector, retrievers.ranking.vectors_of(others))])
            beside = best(np.concatenate([found.rows, others]), scores, len(scores))
            made = inputs.of(beside, each.subject, retrievers.similar.vectors_of)
            place = {row: place for place, row in enumerate(beside.rows.tolist())}
            places = [place[row] for row in each.rows.tolist()]
            of_shown = {name: tensor[places] for name, tensor in made.items()}
            cases.append(RankingCase(of_shown, each.gains, int(np.count_nonzero(each.gains)), each.user))
    if not cases:
        raise DataError(
            f"none of the {shown['list'].n_unique():,} lists of the outcomes has items of the catalogue of which a user"
            " who is known turned to some and not to others; are their ids those of the interactions?"
        )
    return cases


def _shown(prepared: Prepared, shown: pl.DataFrame) -> Iterator[_Shown]:
    dataset, names = prepared.dataset, feature_names(prepared.query)
    histories = dataset.histories(dataset.before_test())
    user_rows = {user_id: row for row, user_id in enumerate(dataset.users["user_id"].to_list())}
    features = FeaturesByUser(dataset.users, names)
    for each in shown.partition_by("list", maintain_order=True):
        user_id, time = each["user_id"][0], each["time"][0]
        user = user_rows.get(user_id, -1)
        rows = np.array([dataset.item_rows.get(item_id, -1) for item_id in each["item_id"].to_list()], np.int64)
        gains = each["label"].to_numpy()[rows >= 0].astype(np.float32)
        if not 0 < np.count_nonzero(gains) < len(gains):
            continue
        history = np.empty(0, np.int64)
        known: Mapping[str, FeatureValue] = {}
        if user >= 0:
            history = histories.before(user, time).astype(np.int64)
            known = features[user_id]
        if len(history) or prepared.encoder.features.knows_any(known):
            (of_context,) = feature_rows(each.head(1), prepared.context.names)
            yield _Shown(user, Subject(history, {**known, **of_context}), rows[rows >= 0], gains)
