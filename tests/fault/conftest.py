"""Server processes to be mistreated."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import pytest

SERVER = Path(__file__).with_name("costly_server.py")
ROOT = Path(__file__).parents[2]
SOURCES = os.pathsep.join(str(ROOT / package) for package in ("client", "server"))


class Costly:
    """A server process whose model takes its time."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, "the server did not start"
        self.port = int(line)

    def memory_megabytes(self) -> float:
        """In memory now (RSS)."""
        fields = Path(f"/proc/{self.process.pid}/statm").read_text().split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    def processor_seconds(self) -> float:
        """So far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def descriptor_count(self) -> int:
        """Files and sockets that are open."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))


RunCostly: TypeAlias = Callable[..., Costly]


@pytest.fixture(params=["core", "aio"])
def transport(request: pytest.FixtureRequest) -> str:
    """Tests that ask for it run with both."""
    name: str = request.param
    return name


@pytest.fixture
def run_costly(tmp_path: Path) -> Iterator[RunCostly]:
    """Starts servers, whose ``fields`` are those of the configuration, and leaves none behind."""
    started: list[subprocess.Popen[str]] = []

    def run(row_milliseconds: float, stderr: Any = None, prefix: tuple[str, ...] = (), **fields: object) -> Costly:
        config = tmp_path / f"{len(started)}.toml"
        config.write_text("".join(f"{name} = {_toml(value)}\n" for name, value in fields.items()))
        command = [*prefix, sys.executable, str(SERVER), str(row_milliseconds), str(config)]
        with (tmp_path / f"{len(started)}.log").open("w") as log:
            started.append(
                subprocess.Popen(
                    command, stdout=subprocess.PIPE, stderr=stderr or log, text=True, env=_environment(os.environ)
                )
            )
        return Costly(started[-1])

    yield run
    for process in started:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    return {**variables, "PYTHONPATH": SOURCES, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def _toml(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value).lower()
