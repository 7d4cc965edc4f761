"""Real trainings, killed at any moment: nothing half made is ever seen, and ``--resume`` comes to the same end."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from bascule_server.artifact import file_names
from bascule_server.artifact.reading import ArtifactError
from bascule_server.servable import load_servable
from bascule_server.versions.models_folder import check_published, published_versions
from bascule_training.data.generate import generate, write

CONFIG = """
model = "films"
[data]
interactions = "interactions.parquet"
[query]
history_length = 5
[tower]
dimension = 8
[fit]
epochs = 3
rows_per_batch = 8
"""

pytestmark = pytest.mark.timeout(600)

WRITING_SECONDS = 300
"""How long the first file of an artifact may take, on a machine that is busy with others."""


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration beside its data."""
    folder = tmp_path_factory.mktemp("films")
    write(generate(users=60, items=40, interactions=900), folder)
    path = folder / "films.toml"
    path.write_text(CONFIG)
    return path


class Training:
    """A ``bascule train``, whose words are read as they come."""

    def __init__(self, path: Path, models: Path, *options: str) -> None:
        command = [sys.executable, "-m", "bascule", "train", str(path), "--out", str(models), *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.lines: list[str] = []

    def read_until(self, *beginnings: str) -> None:
        """Reads on to a line that begins in each of these ways, one after the other."""
        for beginning in beginnings:
            while True:
                line = self._line()
                assert line, f"ended before {beginning!r}: {self.lines}"
                if line.startswith(beginning):
                    break

    def kill(self) -> None:
        """Leaves it no moment to clean up."""
        self.process.send_signal(signal.SIGKILL)
        while self._line():
            pass
        assert self.process.wait() == -signal.SIGKILL
        self.close()

    def ended(self) -> list[str]:
        """All that it said, when it ended well."""
        while self._line():
            pass
        assert self.process.wait() == 0, self.lines
        self.close()
        return self.lines

    def close(self) -> None:
        if self.process.stdout:
            self.process.stdout.close()

    def _line(self) -> str:
        assert self.process.stdout
        line = self.process.stdout.readline()
        self.lines += [line] if line else []
        return line


Start = Callable[..., Training]


@pytest.fixture
def start(path: Path) -> Iterator[Start]:
    """Starts trainings, and leaves none behind."""
    started: list[Training] = []

    def start(models: Path, *options: str) -> Training:
        started.append(Training(path, models, *options))
        return started[-1]

    yield start
    for training in started:
        training.process.kill()
        training.process.wait()
        training.close()


class Whole(NamedTuple):
    """A training that nobody stopped."""

    metrics: dict[str, dict[str, float]]
    epochs: list[str]
    """What it said of each."""


@pytest.fixture(scope="module")
def whole(path: Path, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    models = tmp_path_factory.mktemp("whole")
    lines = Training(path, models).ended()
    return Whole(metrics(models / "films" / "1"), epochs(lines))


def metrics(folder: Path) -> dict[str, dict[str, float]]:
    loaded: dict[str, dict[str, float]] = json.loads((folder / file_names.METRICS).read_text())
    return loaded


def epochs(lines: list[str]) -> list[str]:
    return [line for line in lines if line.startswith("epoch ")]


def check_nothing_is_visible(models: Path) -> None:
    """No version, neither to people nor to a server."""
    assert [path.name for path in (models / "films").iterdir()] == [".checkpoint"]
    with pytest.raises(ArtifactError, match="no model found"):
        check_published(models)


def check_is_published(models: Path, whole: Whole) -> None:
    """One whole version and nothing else, as good as that of a run that nobody stopped."""
    assert [path.name for path in models.iterdir()] == ["films"]
    assert [path.name for path in (models / "films").iterdir()] == ["1"]
    (folder,) = published_versions(models)["films"].values()
    assert load_servable(folder).model == "films"
    found = metrics(folder)
    assert list(found) == list(whole.metrics)
    for name, figures in whole.metrics.items():
        # Equal seeds give equal weights, and these equal figures; sums over threads may differ in the last digit.
        assert found[name] == pytest.approx(figures, abs=1e-6)


def test_killed_between_two_epochs(start: Start, whole: Whole, tmp_path: Path) -> None:
    killed = start(tmp_path)
    killed.read_until("epoch 1: ")
    killed.kill()
    check_nothing_is_visible(tmp_path)
    lines = start(tmp_path, "--resume").ended()
    # An epoch that was done is not done again, and the others go as they would have gone.
    assert epochs(lines) == whole.epochs[len(epochs(killed.lines)) :]
    check_is_published(tmp_path, whole)


def first_file_is_written(models: Path) -> None:
    deadline = time.monotonic() + WRITING_SECONDS
    while not any(path.is_file() for path in models.glob(".staged-*/films/1/*")):
        assert time.monotonic() < deadline


@pytest.mark.slow
def test_killed_at_every_stage_one_after_the_other(start: Start, whole: Whole, tmp_path: Path) -> None:
    first = start(tmp_path)
    first.read_until("fitting tower 1 ...", "epoch 2: ")
    first.kill()
    check_nothing_is_visible(tmp_path)

    again = start(tmp_path, "--resume")
    again.read_until("fitting tower 1 again", "epoch 1: ")
    again.kill()
    check_nothing_is_visible(tmp_path)
    assert not list(tmp_path.glob(".staged-*"))

    writing = start(tmp_path, "--resume")
    writing.read_until("writing the artifact ...")
    first_file_is_written(tmp_path)
    writing.kill()
    check_nothing_is_visible(tmp_path)
    (half,) = tmp_path.glob(".staged-*")

    evaluating = start(tmp_path, "--resume")
    evaluating.read_until("evaluating the artifact ...")
    assert epochs(evaluating.lines) == []
    evaluating.kill()
    check_nothing_is_visible(tmp_path)
    # What the run before it had left is gone; its own is still there.
    (staged,) = tmp_path.glob(".staged-*")
    assert staged != half

    start(tmp_path, "--resume").ended()
    check_is_published(tmp_path, whole)
    for run in (first, again, writing, evaluating):
        assert not any(line.startswith("published") for line in run.lines)


@pytest.mark.slow
def test_killed_while_the_first_epoch_goes_on(start: Start, whole: Whole, tmp_path: Path) -> None:
    killed = start(tmp_path)
    killed.read_until("fitting tower 1 ...")
    killed.kill()
    assert not (tmp_path / "films").exists()
    start(tmp_path, "--resume").ended()
    check_is_published(tmp_path, whole)


@pytest.mark.slow
def test_a_killed_run_is_no_hindrance_to_one_that_begins_anew(start: Start, whole: Whole, tmp_path: Path) -> None:
    killed = start(tmp_path)
    killed.read_until("evaluating the artifact ...")
    killed.kill()
    check_nothing_is_visible(tmp_path)
    lines = start(tmp_path).ended()
    assert epochs(lines) == whole.epochs
    check_is_published(tmp_path, whole)
