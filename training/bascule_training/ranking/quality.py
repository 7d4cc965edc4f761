"""How well retrieval and ranking do, apart and together."""

from typing import NamedTuple

import numpy as np

from bascule_server.scoring.query import Question, Rank, Ranking
from bascule_server.scoring.scorer import Scorer
from bascule_training.evaluation.evaluated import BATCH_SIZE, Evaluation
from bascule_training.evaluation.metrics import UNKNOWN_ROW, ndcg

CUTOFF = 10


class RankingQuality(NamedTuple):
    """Means over the cases that count."""

    candidate_count: int
    retrieved: float
    """The share of the relevant items among the candidates: no ranking can find more."""
    retrieval_ndcg: float
    """NDCG@10 by retrieval alone, where only those relevant items are looked for that were retrieved."""
    ranking_ndcg: float
    """The same by the ranking tower."""

    def figures(self) -> dict[str, float]:
        """By name, for machines."""
        return {
            f"retrieved@{self.candidate_count}": self.retrieved,
            "retrieval ndcg@10 of retrieved": self.retrieval_ndcg,
            "ranking ndcg@10 of retrieved": self.ranking_ndcg,
        }

    def sentence(self) -> str:
        """For people."""
        return (
            f"ranking: {self.retrieved:.1%} of what is to be found is among the best {self.candidate_count:,} by"
            f" retrieval; of that, NDCG@{CUTOFF} is {self.ranking_ndcg:.4f} ranked, {self.retrieval_ndcg:.4f} unranked"
        )


def ranking_quality(scorer: Scorer, ranked: Evaluation, unranked: Evaluation, candidate_count: int) -> RankingQuality:
    """The quality of the ranking tower on what retrieval gives it.

    Args:
        scorer: of the model.
        ranked: its evaluation.
        unranked: that of retrieval alone, on the same cases.
        candidate_count: how many items are ranked.
    """
    cases = ranked.cases
    rows = {item_id: row for row, item_id in enumerate(cases.item_ids)}
    rank = Rank(candidate_count, exclude_history=cases.rules.exclude_history, skip_ranking=True)
    found: list[np.ndarray[tuple[int], np.dtype[np.bool_]]] = []
    for start in range(0, len(cases), BATCH_SIZE):
        answers = scorer.answer([Question(query, rank) for query in cases.queries[start : start + BATCH_SIZE]])
        for place, answer in enumerate(answers, start):
            item_ids = answer.item_ids if isinstance(answer, Ranking) else []
            found.append(np.isin(cases.relevant[place], [rows[item_id] for item_id in item_ids]))
    is_counted = cases.is_counted()
    is_found = np.concatenate(found) & is_counted & (cases.relevant.item_rows != UNKNOWN_ROW)
    counts = np.add.reduceat(is_counted, cases.relevant.offsets[:-1], dtype=np.int64)
    hits = np.add.reduceat(is_found, cases.relevant.offsets[:-1], dtype=np.int64)
    if not is_found.any():
        return RankingQuality(candidate_count, 0.0, 0.0, 0.0)
    of_found = [float(ndcg(each.ranks.only(is_found), CUTOFF).mean()) for each in (unranked, ranked)]
    return RankingQuality(candidate_count, float((hits[counts > 0] / counts[counts > 0]).mean()), *of_found)
