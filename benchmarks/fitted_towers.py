"""Fits towers to data that was read once, as ``bascule train`` does, and says how well they rank; no artifact is made."""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bascule_training.config import TrainingConfig
from bascule_training.evaluation import BATCH_SIZE, Cases
from bascule_training.fit import Validation
from bascule_training.metrics import Ranks, ndcg, recall
from bascule_training.prepared import Prepared, prepare
from bascule_training.trainer import Trainer
from bascule_training.two_towers import TwoTowers

CUTOFF = 10
"""The length of list that is judged."""


class Quality(NamedTuple):
    """Means over the users who are asked."""

    ndcg: float
    recall: float


Scores = Callable[[int], NDArray[np.float32]]
"""From the number of the first case of a block to the scores of all items, float32 [cases of the block, items]."""


def read(config: TrainingConfig) -> Prepared:
    """Reads the data of a configuration, once for all towers that read the same."""
    return prepare(config)


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


def of_towers(model: TwoTowers, prepared: Prepared, cases: Cases) -> Quality:
    """How well a model ranks the whole catalogue for the cases."""
    asked = Validation(cases, prepared.encoder)
    items, tower = model.item_vectors().T, model.query_tower()
    return judged(lambda start: tower.vectors(prepared.encoder.encode(asked.subjects(start))) @ items, prepared, cases)


def judged(scores: Scores, prepared: Prepared, cases: Cases) -> Quality:
    """How well scores rank the whole catalogue for the cases, less each one's history."""
    asked = Validation(cases, prepared.encoder)
    starts = range(0, len(cases), BATCH_SIZE)
    ranks = Ranks.joined([asked.ranks(scores(start), start) for start in starts])
    return Quality(float(ndcg(ranks, CUTOFF).mean()), float(recall(ranks, CUTOFF).mean()))


def rows_of_block(matrix: NDArray[np.floating[Any]]) -> Scores:
    """Scores that are known beforehand, [cases, items]."""
    return lambda start: matrix[start : start + BATCH_SIZE].astype(np.float32)
