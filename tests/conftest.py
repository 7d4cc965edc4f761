"""One small model, trained on generated data and published: what the tests of all packages serve, ask and damage."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# A busy machine is no failure.
settings.register_profile("without_deadline", deadline=None)
settings.load_profile("without_deadline")

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

TINY = """
model = "tiny"

[data]
interactions = "interactions.parquet"
users = "users.parquet"
items = "items.parquet"

[query]
history_length = 12
features = [{ name = "country", kind = "categorical" }, { name = "age", kind = "standardised" }]

[item]
bias = false
features = [{ name = "genres", kind = "multi_valued" }, { name = "year", kind = "bucketed" }]
attributes = ["title", "genres", "year"]

[tower]
dimension = 16
beside = []

[fit]
epochs = 2
learning_rate = 5e-3
"""
"""The configuration of the small model. Generated users have a country and an age; items a title, genres and a year."""


@pytest.fixture(scope="session")
def tiny_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration of the small model, beside its data."""
    from bascule_training.generate import generate, write

    folder = tmp_path_factory.mktemp("tiny")
    write(generate(users=150, items=120, interactions=3_000, seed=1), folder)
    path = folder / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="session")
def models_root(tiny_config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models that holds version 1 of ``tiny``. Do not write into it."""
    from bascule_training.config import load_config
    from bascule_training.train import train

    models = tmp_path_factory.mktemp("models")
    train(load_config(tiny_config), models, resume=False, observe=lambda _: None, with_baselines=False)
    return models


@pytest.fixture(scope="session")
def artifact_folder(models_root: Path) -> Path:
    """The folder of version 1 of ``tiny``. Do not write into it."""
    return models_root / "tiny" / "1"
