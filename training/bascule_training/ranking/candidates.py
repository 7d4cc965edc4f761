"""What a ranking tower learns from: the best items by retrieval for each case, and which of them were turned to."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bascule_server.ranker_inputs import RankerInputs
from bascule_server.retrieval import Restriction
from bascule_server.retrievers import exact_retrievers
from bascule_training.evaluation import BATCH_SIZE
from bascule_training.fit import Validation
from bascule_training.metrics import OUTSIDE, Ranks
from bascule_training.two_towers import TwoTowers


class RankingCase(NamedTuple):
    """The candidates of one case."""

    inputs: dict[str, NDArray[Any]]
    """[candidates, ...], by name."""
    is_relevant: NDArray[np.bool_]
    """bool [candidates], whether the user turned to it."""
    relevant_count: int
    """How many items the user turned to, those that were not retrieved among them."""


def ranking_cases(model: TwoTowers, asked: Validation, inputs: RankerInputs, candidate_count: int) -> list[RankingCase]:
    """The cases of a validation part by a model that has not seen it; one without any candidate is left out."""
    retrievers = exact_retrievers(model.item_vectors())
    tower, excludes = model.query_tower(), asked.cases.rules.exclude_history
    cases: list[RankingCase] = []
    for start in range(0, len(asked.cases), BATCH_SIZE):
        subjects = asked.subjects(start)
        vectors = tower.vectors(asked.encoder.encode(subjects))
        restrictions = [Restriction(subject.history if excludes else np.empty(0, np.int64)) for subject in subjects]
        found = retrievers.ranking.search(vectors, [candidate_count] * len(subjects), restrictions)
        for place, (subject, each) in enumerate(zip(subjects, found, strict=True)):
            if len(each.rows):
                relevant = asked.cases.relevant[start + place]
                made = inputs.of(each, subject, retrievers.similar.vectors_of)
                cases.append(RankingCase(made, np.isin(each.rows, relevant), len(np.unique(relevant))))
    return cases


def ranks_of(cases: Sequence[RankingCase], scores: Sequence[NDArray[np.float32]]) -> Ranks:
    """Where the relevant items of each case stand by some scores; those that were not retrieved stand nowhere."""
    return Ranks.of([_ranks(case, of_case) for case, of_case in zip(cases, scores, strict=True)])


def _ranks(case: RankingCase, scores: NDArray[np.float32]) -> NDArray[np.int64]:
    ranks = np.searchsorted(np.sort(-scores), -scores[case.is_relevant], side="right")
    missed = np.full(case.relevant_count - len(ranks), OUTSIDE, np.int64)
    return np.concatenate([ranks, missed])
