"""How well two towers and factorisation of the same number of components rank when the tastes are known.

Part of ``two_towers_and_svd.py``. A tower's bias counts as one of its components.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from fitted_towers import Quality, fitted, judged, of_towers, rows_of_block
from generated_tastes import Tastes, linear, narrow, together
from numpy.typing import NDArray

from bascule_training.baselines.popularity import Popularity
from bascule_training.baselines.singular import strongest
from bascule_training.config import DataConfig, FeatureConfig, FitConfig, QueryConfig, TrainingConfig
from bascule_training.prepared import Prepared, prepare

COMPONENTS = (4, 8, 16, 32)
DROPOUT = 0.1
PATIENCE = {"narrow": 40, "together": 40}
"""Where it is not the default: these tastes are learned late."""

TRUTH, TRUTH_CUT, POPULARITY = "the chances themselves", "the chances, cut to the rank", "popularity"
HISTORY_LENGTH = 20


class Found(NamedTuple):
    """What one model came to with one seed."""

    tastes: str
    model: str
    components: int
    """0 where it has none to choose."""
    quality: Quality


Tower = Mapping[str, Any]
OF_HISTORIES: Mapping[str, Callable[[int], Tower]] = {
    "PureSVD": lambda components: {"kind": "svd", "dimension": components},
    "iALS": lambda components: {"kind": "ials", "dimension": components},
    "two towers": lambda components: {"kind": "history_bag", "dimension": components - 1, "dropout": DROPOUT},
}
OF_FEATURES: Mapping[str, Callable[[int], Tower]] = {
    "spectral": lambda components: {"kind": "spectral", "dimension": components},
    "two towers": lambda components: {"kind": "features", "dimension": components - 1, "dropout": DROPOUT},
}
LOGS: Mapping[str, tuple[Callable[[int], Tastes], Mapping[str, Callable[[int], Tower]]]] = {
    "linear": (linear, OF_HISTORIES),
    "narrow": (narrow, OF_HISTORIES),
    "together": (together, OF_FEATURES),
}
"""By name: what draws a log, and what is fitted to it."""


def found(name: str, seed: int) -> Iterator[Found]:
    """What every model comes to on a log, one after the other."""
    draw, models = LOGS[name]
    tastes = draw(seed)
    with tempfile.TemporaryDirectory() as folder:
        data = tastes.write(Path(folder))
        prepared: dict[bool, tuple[TrainingConfig, Prepared]] = {}
        for components in COMPONENTS:
            for model, tower_of in models.items():
                tower = tower_of(components)
                reads_history = tower["kind"] != "features"
                if reads_history not in prepared:
                    config = _config(data, name, seed, tower)
                    prepared[reads_history] = config, prepare(config)
                config, ready = prepared[reads_history]
                quality = of_towers(fitted(config, ready, tower), ready, ready.test)
                yield Found(name, model, components, quality)
        ready = next(iter(prepared.values()))[1]
        yield from _known(tastes, ready)


def _config(data: DataConfig, name: str, seed: int, tower: Tower) -> TrainingConfig:
    features = tuple(FeatureConfig(name=each, kind="categorical") for each in "ab") if name == "together" else ()
    return TrainingConfig.model_validate(
        {
            "model": name,
            "seed": seed,
            "data": data.model_dump(),
            "query": QueryConfig(history_length=HISTORY_LENGTH, features=features).model_dump(),
            "tower": tower,
            "fit": FitConfig(patience=PATIENCE.get(name, FitConfig().patience), refit=False).model_dump(),
        }
    )


def _known(tastes: Tastes, prepared: Prepared) -> Iterator[Found]:
    """What the chances themselves come to, whole and cut to a rank, and popularity."""
    dataset, cases = prepared.dataset, prepared.test
    users = _numbers(dataset.splits.test["user_id"].unique(maintain_order=True).to_list())
    items = _numbers(dataset.items["item_id"].to_list())
    yield Found(tastes.name, TRUTH, 0, judged(rows_of_block(tastes.chances[users][:, items]), prepared, cases))
    train = dataset.histories(dataset.splits.train)
    popular = np.tile(Popularity.fit(train, len(items)).counts, (len(users), 1))
    yield Found(tastes.name, POPULARITY, 0, judged(rows_of_block(popular), prepared, cases))
    for components in COMPONENTS:
        left, values, right = strongest(tastes.chances, components)
        cut = (left[users] * values) @ right[items].T
        yield Found(tastes.name, TRUTH_CUT, components, judged(rows_of_block(cut), prepared, cases))


def _numbers(ids: list[str]) -> NDArray[np.int64]:
    return np.array([int(each[1:]) for each in ids], np.int64)


def kept_share(tastes: Tastes, components: int) -> float:
    """The share of the squared chances that the nearest matrix of the rank keeps (Eckart and Young 1936)."""
    values = np.linalg.svd(tastes.chances, compute_uv=False) ** 2
    return float(values[:components].sum() / values.sum())
