from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import tensorflow as tf

    from bascule_training.fitting.fit import Run
    from bascule_training.fitting.model import StepTensors


@pytest.fixture(scope="session")
def ring() -> Callable[..., "Run"]:
    """Makes a run in a small world anew, with its checkpoint in ``folder``. Keywords are fields of ``fit``.

    12 items stand in a ring, each with its side of it for a feature. 96 users walk it from four steps, beginning all
    around it; each is to go on to the item after: the order tells everything, and popularity nothing. The tower is a
    causal transformer; ``negatives`` that are not ``full`` are sampled, and corrected by logQ. Behind the ring the
    catalogue has ``unseen`` items that nobody had.
    """
    from functools import partial

    import numpy as np
    import polars as pl

    from bascule.v1.artifact_pb2 import CategoricalFeature, Feature
    from bascule_server.scoring.encoder import QueryEncoder
    from bascule_training.config import FitConfig, HistoryTransformer, ItemConfig
    from bascule_training.data.examples import example_weights
    from bascule_training.data.features import history_feature
    from bascule_training.data.histories import of_users
    from bascule_training.evaluation.evaluated import cases_of
    from bascule_training.fitting.competitors import CompetitorSampler
    from bascule_training.fitting.feed import Feed
    from bascule_training.fitting.fit import Run, Validation
    from bascule_training.fitting.losses import sampled_softmax_loss
    from bascule_training.fitting.model import Inputs, TwoTowerModel
    from bascule_training.fitting.packing import batch_count, packed_examples
    from bascule_training.fitting.row_adam import RowAdam

    item_count, user_count, steps, rows = 12, 96, 4, 4
    item_ids = [str(row) for row in range(item_count)]
    user_ids = [f"u{user}" for user in range(user_count)]
    walks = [(user, str((number + step) % item_count)) for step in range(steps) for number, user in enumerate(user_ids)]
    known = pl.DataFrame(walks, ["user_id", "item_id"], orient="row")
    asked = pl.DataFrame(
        {"user_id": user_ids, "item_id": [str((number + steps) % item_count) for number in range(user_count)]}
    )
    query_features = [history_feature(steps)]
    histories = of_users(known, user_ids, {item_id: row for row, item_id in enumerate(item_ids)})

    def loss(positive: "tf.Tensor", candidates: "tf.Tensor", step: "StepTensors") -> "tf.Tensor":
        of_step = (step.log_q, step.target_log_q, step.is_known, step.weights)
        return sampled_softmax_loss(positive, candidates, *of_step)

    def make(folder: Path, *, seed: int = 1, unseen: int = 0, **fields: object) -> Run:
        rows_of_catalogue = np.arange(item_count + unseen, dtype=np.int32)
        inputs = Inputs(
            query_features=query_features,
            item_features=[Feature(name="side", categorical=CategoricalFeature(size=2))],
            users={},
            items={"side": rows_of_catalogue // (item_count // 2) % 2 + 1},
            is_trained=rows_of_catalogue < item_count,
        )
        config = FitConfig.model_validate({"negatives": "full", "negative_count": 64, **fields})
        tower = HistoryTransformer(dimension=16, dropout=0.05)
        is_full = config.negatives == "full"
        sampler = CompetitorSampler(
            histories,
            item_count + unseen,
            in_batch=config.negatives != "uniform",
            uniform_count=0 if config.negatives == "in_batch" else config.negative_count,
            masks=config.masks or tower.default_masks,
        )
        examples = partial(packed_examples, histories, example_weights(histories, None), steps, rows)
        feed = Feed(examples, batch_count(histories, steps, rows), None if is_full else sampler, seed)
        model = TwoTowerModel(
            tower,
            ItemConfig(),
            inputs,
            RowAdam(0.02, config.epochs * feed.batch_count),
            None if is_full else loss,
            seed=seed,
        )
        return Run(
            model=model,
            feed=feed,
            validation=Validation(cases_of(known, asked, item_ids), QueryEncoder(query_features, {})),
            epochs=config.epochs,
            patience=config.patience,
            checkpoint=folder / "first-1.npz",
            identity=f"ring {seed}",
        )

    return make
