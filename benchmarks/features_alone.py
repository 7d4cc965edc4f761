"""How well users and items are ranked of whom only the features are known, by two towers and by factorisation.

Part of ``two_towers_and_svd.py``. The log is that of ``bascule data generate``, in which age and country of a user, and
genres, year and price of an item hint at a taste. A fifth of the users and a tenth of the items are new: no model sees
any interaction of theirs. New users are asked about known items, and known and new users about new ones. New items are
ranked among all items, and among themselves, as on a shelf of what has just come in.
"""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from fitted_towers import Quality, fitted, judged, of_towers, rows_of_block
from numpy.typing import NDArray

from bascule_training.baselines.popularity import Popularity
from bascule_training.config import TrainingConfig
from bascule_training.data.generate import generate
from bascule_training.dataset import cases
from bascule_training.evaluation.cases import Cases
from bascule_training.prepared import Prepared, prepare

USERS, ITEMS, INTERACTIONS = 1_000, 300, 25_000
COMPONENTS = 32
PATIENCE = 40
"""All epochs are trained and the best is taken: so short a log has its plateaus."""

KNOWN_ITEMS = "new users, known items"
NEW_ITEMS = ("known users, new items", "new users, new items")
AMONG_NEW = " among the new"

QUERY_FEATURES = [{"name": "age", "kind": "bucketed"}, {"name": "country", "kind": "categorical"}]
ITEM_FEATURES = [
    {"name": "genres", "kind": "multi_valued"},
    {"name": "year", "kind": "bucketed"},
    {"name": "price", "kind": "bucketed"},
]


class Model(NamedTuple):
    """What is fitted."""

    tower: Mapping[str, Any]
    item: Mapping[str, float]
    """Settings of the item tower beside the defaults."""


MODELS = {
    "two towers, features": Model({"kind": "features", "dimension": COMPONENTS - 1}, {}),
    "two towers, history and features": Model({"kind": "history_bag", "dimension": COMPONENTS - 1}, {}),
    "the same, ids hidden half the time": Model(
        {"kind": "history_bag", "dimension": COMPONENTS - 1}, {"id_dropout": 0.5}
    ),
    "PureSVD": Model({"kind": "svd", "dimension": COMPONENTS}, {}),
    "iALS": Model({"kind": "ials", "dimension": COMPONENTS}, {}),
    "spectral": Model({"kind": "spectral", "dimension": COMPONENTS}, {}),
}
CHANCE, POPULARITY = "by chance", "popularity"


class Found(NamedTuple):
    """What one model came to in a group with one seed."""

    model: str
    group: str
    quality: Quality


class Parts(NamedTuple):
    """The log in parts, with the columns of ``generate``."""

    train: pl.DataFrame
    groups: Mapping[str, pl.DataFrame]


def parted(interactions: pl.DataFrame, seed: int) -> Parts:
    """Parts off the new users and the new items."""
    random = np.random.default_rng([seed, 4])
    users, items = (interactions[name].unique().sort() for name in ("user_id", "item_id"))
    new_users = users.sample(fraction=0.2, seed=int(random.integers(2**31)))
    new_items = items.sample(fraction=0.1, seed=int(random.integers(2**31)))
    is_user, is_item = pl.col("user_id").is_in(new_users.to_list()), pl.col("item_id").is_in(new_items.to_list())
    asked = (is_user & ~is_item, ~is_user & is_item, is_user & is_item)
    groups = {name: interactions.filter(each) for name, each in zip((KNOWN_ITEMS, *NEW_ITEMS), asked, strict=True)}
    return Parts(interactions.filter(~is_user & ~is_item), groups)


def found(seed: int) -> Iterator[Found]:
    """What every model comes to, one after the other."""
    generated = generate(USERS, ITEMS, INTERACTIONS, seed)
    parts = parted(generated.interactions, seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parts.train.write_parquet(folder / "train.parquet")
        pl.concat(list(parts.groups.values())).sort("time", maintain_order=True).write_parquet(folder / "test.parquet")
        generated.users.write_parquet(folder / "users.parquet")
        generated.items.write_parquet(folder / "items.parquet")
        prepared: dict[bool, tuple[TrainingConfig, Prepared]] = {}
        for model, (tower, item) in MODELS.items():
            reads_history = tower["kind"] != "features"
            if reads_history not in prepared:
                config = _config(folder, seed, tower)
                prepared[reads_history] = config, prepare(config)
            config, ready = prepared[reads_history]
            towers = fitted(config, ready, tower, **item)
            for asked in _asked(ready, parts):
                quality = of_towers(towers, ready, asked.cases, asked.candidates)
                yield Found(model, asked.group, quality)
        yield from _without_model(next(iter(prepared.values()))[1], parts, seed)


def _config(folder: Path, seed: int, tower: Mapping[str, Any]) -> TrainingConfig:
    return TrainingConfig.model_validate(
        {
            "model": "features",
            "seed": seed,
            "data": {
                "interactions": folder / "train.parquet",
                "users": folder / "users.parquet",
                "items": folder / "items.parquet",
                "split": {"kind": "given", "test": folder / "test.parquet"},
            },
            "query": {"features": QUERY_FEATURES},
            "item": {"features": ITEM_FEATURES},
            "tower": tower,
            "fit": {"patience": PATIENCE, "refit": False},
        }
    )


class _Asked(NamedTuple):
    group: str
    cases: Cases
    candidates: NDArray[np.bool_]
    """bool [items], what is ranked."""


def _asked(prepared: Prepared, parts: Parts) -> Iterator[_Asked]:
    names = tuple(feature["name"] for feature in QUERY_FEATURES)
    dataset = prepared.dataset
    is_new = ~dataset.has_items(dataset.before_test())
    for group, asked in parts.groups.items():
        who = cases(dataset, dataset.before_test(), asked, names)
        yield _Asked(group, who, np.ones_like(is_new))
        if group in NEW_ITEMS:
            yield _Asked(group + AMONG_NEW, who, is_new)


def _without_model(prepared: Prepared, parts: Parts, seed: int) -> Iterator[Found]:
    dataset, random = prepared.dataset, np.random.default_rng([seed, 5])
    counts = Popularity.fit(dataset.histories(dataset.splits.train), len(dataset.items)).counts
    for asked in _asked(prepared, parts):
        popular = np.tile(counts, (len(asked.cases), 1))
        drawn = random.random((len(asked.cases), len(counts)))
        for name, scores in ((POPULARITY, popular), (CHANCE, drawn)):
            quality = judged(rows_of_block(scores), prepared, asked.cases, asked.candidates)
            yield Found(name, asked.group, quality)
