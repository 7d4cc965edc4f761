"""What a ranking tower learns from: the best items by retrieval for each case, and which of them were turned to."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bascule_server.retrieval.retriever import Restriction
from bascule_server.retrieval.retrievers import exact_retrievers
from bascule_server.scoring.ranker_inputs import RankerInputs
from bascule_training.evaluation.evaluated import BATCH_SIZE
from bascule_training.evaluation.metrics import OUTSIDE, Ranks
from bascule_training.fitting.fit import Validation
from bascule_training.towers.two_towers import TwoTowers


class RankingCase(NamedTuple):
    """The candidates of one case."""

    inputs: dict[str, NDArray[Any]]
    """[candidates, ...], by name."""
    gains: NDArray[np.float32]
    """float32 [candidates], how much each counts as one that the user turned to; 0 where the user did not. The case
    counts as much as they do together."""
    relevant_count: int
    """How many items the user turned to, those that are no candidates among them."""
    user: int
    """Equal in the cases of one user."""

    @property
    def is_relevant(self) -> NDArray[np.bool_]:
        """bool [candidates], whether the user turned to it."""
        return self.gains > 0


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
                is_relevant = np.isin(each.rows, relevant)
                gains = (is_relevant / max(1, int(np.count_nonzero(is_relevant)))).astype(np.float32)
                cases.append(RankingCase(made, gains, len(np.unique(relevant)), start + place))
    return cases


def ranks_of(cases: Sequence[RankingCase], scores: Sequence[NDArray[np.float32]]) -> Ranks:
    """Where the relevant items of each case stand by some scores; those that are no candidates stand nowhere."""
    return Ranks.of([_ranks(case, of_case) for case, of_case in zip(cases, scores, strict=True)])


def _ranks(case: RankingCase, scores: NDArray[np.float32]) -> NDArray[np.int64]:
    ranks = np.searchsorted(np.sort(-scores), -scores[case.is_relevant], side="right")
    missed = np.full(case.relevant_count - len(ranks), OUTSIDE, np.int64)
    return np.concatenate([ranks, missed])
