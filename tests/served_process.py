"""A ``bascule serve`` in a process of its own, with its log read as it comes."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PATIENCE_SECONDS = 60

OF_A_LIBRARY = re.compile(r"[IWEF]\d{4} [\d:.]+ ")
"""How lines begin that gRPC's core writes by itself, such as that a connection was closed while it was tested."""


class Serving:
    """A ``bascule serve``, with its log read as it comes."""

    def __init__(self, *arguments: str | Path, environment: Mapping[str, str] | None = None) -> None:
        """``environment`` is what it has beyond ours."""
        command = [sys.executable, "-m", "bascule", "serve", *map(str, arguments)]
        everything = {**os.environ, **(environment or {})}
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=everything)
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
            elif not OF_A_LIBRARY.match(line):
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

    def worker_pids(self) -> set[int]:
        """The processes that answer: those that it has spawned, or itself."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return {int(child) for child in children} or {pid}

    def ended(self) -> int:
        """The exit status."""
        status = self.process.wait(PATIENCE_SECONDS)
        self._reader.join()
        if self.process.stderr:
            self.process.stderr.close()
        return status
