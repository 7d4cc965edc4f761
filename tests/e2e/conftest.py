"""A real server process that serves the small model."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

PATIENCE_SECONDS = 60


class Serving:
    """A ``bascule serve``, with its log read as it comes."""

    def __init__(self, *arguments: str | Path) -> None:
        command = [sys.executable, "-m", "bascule", "serve", *map(str, arguments)]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self.log: list[dict[str, Any]] = []
        self.sentences: list[str] = []
        """What it said to a person."""
        self._is_serving = threading.Event()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stderr or ():
            if line.startswith("{"):
                self.log.append(json.loads(line))
            else:
                self.sentences.append(line.rstrip("\n"))
            if self.count("listening") and self.count("serving"):
                self._is_serving.set()
        self._is_serving.set()

    def port(self) -> int:
        """The port that it serves on, once it does."""
        assert self._is_serving.wait(PATIENCE_SECONDS)
        assert self.process.poll() is None, self.sentences
        (port,) = {line["port"] for line in self.log if line["event"] == "listening"}
        return int(port)

    def count(self, event: str) -> int:
        """How often something was logged so far."""
        return sum(line["event"] == event for line in list(self.log))

    def ended(self) -> int:
        """The exit status."""
        status = self.process.wait(PATIENCE_SECONDS)
        self._reader.join()
        if self.process.stderr:
            self.process.stderr.close()
        return status


@pytest.fixture
def serve(models_root: Path) -> Iterator[Callable[..., Serving]]:
    """Starts servers, of the small model on any port unless told otherwise, and leaves none behind."""
    started: list[Serving] = []

    def start(
        *, models: Path = models_root, listen: str = "127.0.0.1:0", config: Path | None = None, workers: int = 1
    ) -> Serving:
        options: list[str | Path] = ["--models", models, "--listen", listen, "--workers", str(workers)]
        options += ["--config", config] if config else []
        started.append(Serving(*options))
        return started[-1]

    yield start
    for serving in started:
        serving.process.kill()
        serving.ended()


@pytest.fixture(scope="session")
def server_address(models_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a ``bascule serve`` that serves ``tiny`` until the tests end, and then stops with status 0."""
    folder = tmp_path_factory.mktemp("server")
    port_file = folder / "port"
    command = [sys.executable, "-m", "bascule", "serve", "--models", str(models_root), "--listen", "127.0.0.1:0"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, "--port-file", str(port_file)], stdout=log, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 30
        while not port_file.exists():
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, (folder / "log").read_text()
        yield f"127.0.0.1:{port_file.read_text().strip()}"
    finally:
        process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0, (folder / "log").read_text()
