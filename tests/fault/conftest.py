"""Artifacts that answer differently, and what they answer."""

from pathlib import Path

import pytest
from fault.oracle import Oracle

VARIANTS = 3


@pytest.fixture(scope="session")
def oracle(tiny_config: Path, tmp_path_factory: pytest.TempPathFactory) -> Oracle:
    """Three trainings of the small model from different seeds."""
    from bascule_training.config import load_config
    from bascule_training.train import train

    artifacts = []
    for seed in range(VARIANTS):
        config = load_config(tiny_config, [f"seed={seed + 1}", "fit.epochs=1"])
        models = tmp_path_factory.mktemp(f"variant-{seed}")
        train(config, models, resume=False, observe=lambda _: None, with_baselines=False)
        artifacts.append(models / "tiny" / "1")
    return Oracle(artifacts)
