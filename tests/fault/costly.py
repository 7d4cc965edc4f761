"""A server process whose model takes its time."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SERVER = Path(__file__).with_name("costly_server.py")
ROOT = Path(__file__).parents[2]
SOURCES = os.pathsep.join(str(ROOT / package) for package in ("client", "server", "tests"))


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


def start_costly(
    config: Path, log: Any, row_milliseconds: float, prefix: Sequence[str], fields: Mapping[str, object]
) -> "subprocess.Popen[str]":
    """Starts one with a configuration of its own, which is written to ``config``."""
    config.write_text("".join(f"{name} = {_toml(value)}\n" for name, value in fields.items()))
    command = [*prefix, sys.executable, str(SERVER), str(row_milliseconds), str(config)]
    environment = {**os.environ, "PYTHONPATH": SOURCES, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment)


def _toml(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value).lower()
