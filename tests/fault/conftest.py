"""Server processes to be mistreated, and artifacts that answer differently with what they answer."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fault.costly import Costly, start_costly
from fault.oracle import Oracle, publish, stage

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


@pytest.fixture
def models(oracle: Oracle, tmp_path: Path) -> Path:
    """A folder of models of the test's own, with version 1."""
    publish(stage(oracle.artifact_of(1), tmp_path, 1), tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def tiny_oracle(artifact_folder: Path) -> Oracle:
    """The answers of the small model itself, which takes no further training: for tests in which no version comes."""
    return Oracle([artifact_folder])


@pytest.fixture(params=["core", "aio"])
def transport(request: pytest.FixtureRequest) -> str:
    """Tests that ask for it run with both."""
    name: str = request.param
    return name


@pytest.fixture
def run_costly(tmp_path: Path) -> Iterator[Callable[..., Costly]]:
    """Starts servers, whose ``fields`` are those of the configuration, and leaves none behind."""
    started: list[subprocess.Popen[str]] = []

    def run(row_milliseconds: float, stderr: Any = None, prefix: tuple[str, ...] = (), **fields: object) -> Costly:
        name = tmp_path / str(len(started))
        with name.with_suffix(".log").open("w") as log:
            config = name.with_suffix(".toml")
            started.append(start_costly(config, stderr or log, row_milliseconds, prefix, fields))
        return Costly(started[-1])

    yield run
    for process in started:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()
