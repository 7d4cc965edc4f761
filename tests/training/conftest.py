from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from bascule_training.config import FitConfig
    from bascule_training.fit import Run


class Ring(NamedTuple):
    """A run in a world that one can do in the head, and how it is to be fitted."""

    run: "Run"
    config: "FitConfig"


@pytest.fixture(scope="session")
def ring() -> Callable[..., Ring]:
    """Makes the towers of a small world anew, with a checkpoint in ``folder``. Keywords are fields of ``fit``.

    12 items stand in a ring, each with its side of it for a feature. 96 users walk it from four steps, beginning all
    around it; each is to go on to the item after: the order tells everything, and popularity nothing.
    """
    import numpy as np
    import polars as pl

    from bascule.v1.artifact_pb2 import CategoricalFeature, Feature
    from bascule_server.encoder import QueryEncoder
    from bascule_training.config import TrainingConfig
    from bascule_training.evaluation import cases_of
    from bascule_training.features import history_feature
    from bascule_training.fit import Run
    from bascule_training.histories import of_users
    from bascule_training.model import Inputs, TwoTowerModel
    from bascule_training.packing import batch_count

    item_count, user_count, steps = 12, 96, 4
    item_ids = [str(row) for row in range(item_count)]
    user_ids = [f"u{user}" for user in range(user_count)]
    walks = [(user, str((number + step) % item_count)) for step in range(steps) for number, user in enumerate(user_ids)]
    known = pl.DataFrame(walks, ["user_id", "item_id"], orient="row")
    asked = pl.DataFrame(
        {"user_id": user_ids, "item_id": [str((number + steps) % item_count) for number in range(user_count)]}
    )

    def make(folder: Path, *, seed: int = 1, **fit: object) -> Ring:
        config = TrainingConfig.model_validate(
            {
                "model": "ring",
                "seed": seed,
                "data": {"interactions": "none"},
                "query": {"history_length": steps},
                "tower": {"dimension": 16, "dropout": 0.05},
                "fit": {"rows_per_batch": 4, "learning_rate": 0.02, **fit},
            }
        )
        query_features = [history_feature(steps)]
        inputs = Inputs(
            query_features=query_features,
            item_features=[Feature(name="side", categorical=CategoricalFeature(size=2))],
            users={},
            items={"side": np.arange(item_count, dtype=np.int32) // (item_count // 2) + 1},
            is_trained=np.ones(item_count, np.bool_),
        )
        histories = of_users(known, user_ids, {item_id: row for row, item_id in enumerate(item_ids)})
        step_count = config.fit.epochs * batch_count(histories, steps, config.fit.rows_per_batch)
        run = Run(
            model=TwoTowerModel(config, inputs, step_count),
            histories=histories,
            validation=cases_of(known, asked, item_ids),
            encoder=QueryEncoder(query_features, {}),
            history_length=steps,
            seed=seed,
            checkpoint=folder / ".checkpoint.npz",
            identity=f"ring {seed}",
        )
        return Ring(run, config.fit)

    return make
