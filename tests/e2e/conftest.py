"""A real server process that serves the small model."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest


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
