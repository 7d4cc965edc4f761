"""Fits towers to data that was read once, as ``bascule train`` does without an artifact, and says how they rank."""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bascule_training.config import TrainingConfig
from bascule_training.evaluation.evaluated import BATCH_SIZE, Cases
from bascule_training.evaluation.metrics import Ranks, ndcg, recall
from bascule_training.fitting.fit import Validation
from bascule_training.prepared import Prepared
from bascule_training.towers.two_towers import TwoTowers
from bascule_training.trainer import Trainer

CUTOFF = 10
"""The length of list that is judged."""


class Quality(NamedTuple):
    """Means over the users who are asked."""

    ndcg: float
    recall: float


Scores = Callable[[int], NDArray[np.float32]]
"""From the number of the first case of a block to the scores of all items, float32 [cases of the block, items]."""


def fitted(config: TrainingConfig, prepared: Prepared, tower: Mapping[str, Any], **item: float) -> TwoTowers:
    """Fits a tower, its settings or its best epoch chosen on validation.

    Args:
        config: all but the tower.
        prepared: the data of this configuration.
        tower: its kind and settings.
        item: settings of the item tower that differ from the configuration's.
    """
    values = config.model_dump()
    changed = TrainingConfig.model_validate(values | {"tower": dict(tower), "item": values["item"] | item})
    with tempfile.TemporaryDirectory() as folder:
        return Trainer(changed, prepared, Path(folder), resume=False, observe=lambda _: None).fit().model


def of_towers(
    model: TwoTowers, prepared: Prepared, cases: Cases, candidates: NDArray[np.bool_] | None = None
) -> Quality:
    """How well a model ranks; see ``judged``."""
    asked = Validation(cases, prepared.encoder)
    items, tower = model.item_vectors().T, model.query_tower()

    def scores(start: int) -> NDArray[np.float32]:
        found: NDArray[np.float32] = tower.vectors(prepared.encoder.encode(asked.subjects(start))) @ items
        return found

    return judged(scores, prepared, cases, candidates)


def judged(scores: Scores, prepared: Prepared, cases: Cases, candidates: NDArray[np.bool_] | None = None) -> Quality:
    """How well scores rank for the cases, each one's history left out; equal scores count against them.

    Args:
        scores: of blocks of cases.
        prepared: the data.
        cases: who is asked.
        candidates: bool [items], what is ranked; None: the whole catalogue.
    """
    asked = Validation(cases, prepared.encoder)
    ranks = []
    for start in range(0, len(cases), BATCH_SIZE):
        block = scores(start)
        if candidates is not None:
            block = np.where(candidates, block, -np.inf).astype(np.float32)
        ranks.append(asked.ranks(block, start))
    joined = Ranks.joined(ranks)
    return Quality(float(ndcg(joined, CUTOFF).mean()), float(recall(joined, CUTOFF).mean()))


def rows_of_block(matrix: NDArray[np.floating[Any]]) -> Scores:
    """Scores that are known beforehand, [cases, items]."""
    return lambda start: matrix[start : start + BATCH_SIZE].astype(np.float32)
