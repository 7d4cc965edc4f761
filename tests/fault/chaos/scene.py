"""What faults strike at: a server with its workers, its folder of models, and those who ask it."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fault.asking import Clients
from fault.footprint import proportional_megabytes
from fault.oracle import Oracle, publish, stage
from fault.steady_load import SteadyLoad
from fault.waiting import until
from served_process import Serving

WORKERS = 2


class Scene:
    """One server at a time, and all that is known of it."""

    def __init__(self, start: Callable[[], Serving], port: int, admin_port: int, models: Path, oracle: Oracle) -> None:
        """``start`` starts the server, always at the same ports."""
        self._start = start
        self.port = port
        self.admin_port = admin_port
        self.models = models
        self.oracle = oracle
        self.clients: Clients
        self.load: SteadyLoad
        """By the clients, while it goes on."""
        self.servings: list[Serving] = []
        """All servers so far; the last one serves."""
        self.good: set[int] = set()
        """The versions that were published whole."""
        self.whole: set[int] = set()
        """Those of them that still are."""
        self._newest = 0

    @property
    def serving(self) -> Serving:
        return self.servings[-1]

    async def start(self) -> None:
        """Starts the server, and returns when all its workers serve."""
        serving = self._start()
        self.servings.append(serving)
        await until(lambda: serving.count("serving") == WORKERS or serving.process.poll() is not None)
        assert serving.process.poll() is None, serving.sentences

    def logged(self, event: str, **fields: Any) -> int:
        """How often the server that serves said so."""
        lines = [line for line in list(self.serving.log) if line["event"] == event]
        return sum(all(line.get(name) == value for name, value in fields.items()) for line in lines)

    def count(self, event: str) -> int:
        """How often any of the servers said so."""
        return sum(serving.count(event) for serving in self.servings)

    async def staged(self) -> Path:
        """The folder of the next version, which is not published yet."""
        self._newest += 1
        return await asyncio.to_thread(stage, self.oracle.artifact_of(self._newest), self.models, self._newest)

    async def published(self) -> int:
        """Publishes the next version."""
        staged = await self.staged()
        version = int(staged.name)
        self.good.add(version)
        await asyncio.to_thread(publish, staged, self.models)
        self.whole.add(version)
        return version

    def folder(self, version: int) -> Path:
        return self.models / "tiny" / str(version)

    async def answers(self, version: int) -> None:
        """Returns when a version has answered anew."""
        seen = self.load.report.versions[version]
        await until(lambda: self.load.report.versions[version] > seen)

    async def answers_again(self) -> None:
        """Returns when calls that begin now are answered."""
        seen = self.load.report.ok_count
        await until(lambda: self.load.report.ok_count >= seen + 10)

    def megabytes(self) -> float:
        """The memory of the server, its workers included."""
        pids = {self.serving.process.pid, *self.serving.worker_pids()}
        return sum(map(proportional_megabytes, pids))
