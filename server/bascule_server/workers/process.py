"""One worker's process, as its supervisor sees it."""

import asyncio
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from pathlib import Path

import structlog

from bascule_server.config import ServerConfig
from bascule_server.footprint import OF_WORKERS
from bascule_server.workers.pulse import SERVING, TICK_SECONDS, Silence, state_of

_PROGRAM = f"{__package__}.worker"

_log = structlog.get_logger()


class WorkerProcess:
    """A worker, from when it is spawned until it has ended."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._silence = Silence()
        self._serving = asyncio.Event()
        self._served_from = 0.0
        self._ended_at: float | None = None
        self._listening = asyncio.create_task(self._listen())
        self._watching = asyncio.create_task(self._watch())

    @classmethod
    async def started(cls, config: ServerConfig, models_root: Path) -> "WorkerProcess":
        """Spawns one."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            _PROGRAM,
            str(models_root),
            stdin=PIPE,
            stdout=PIPE,
            env=OF_WORKERS | os.environ,
            # So that Ctrl-C reaches the supervisor alone, which tells the workers.
            process_group=0,
        )
        if process.stdin is None:
            raise ValueError("a worker is spoken to through pipes")
        # It stays open: at its end, which comes with ours however that comes, the worker comes to rest.
        process.stdin.write(config.model_dump_json().encode() + b"\n")
        return cls(process)

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self._process.returncode is None

    @property
    def status(self) -> int | None:
        """With which it ended; below 0 the signal that ended it."""
        return self._process.returncode

    @property
    def served_seconds(self) -> float:
        """For how long it has served, or did."""
        if not self._serving.is_set():
            return 0.0
        return (time.monotonic() if self._ended_at is None else self._ended_at) - self._served_from

    async def serves(self) -> bool:
        """Returns when it serves; or False, when it ended before."""
        serving = asyncio.ensure_future(self._serving.wait())
        await asyncio.wait({serving, self._listening}, return_when=asyncio.FIRST_COMPLETED)
        serving.cancel()
        return self._serving.is_set()

    async def ended(self) -> None:
        """Returns when it has ended."""
        await self._process.wait()
        await asyncio.shield(self._listening)

    async def rest(self, seconds: float) -> None:
        """Has it come to rest, and kills it where it does not within so many seconds."""
        if not self.is_alive:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._process.wait(), seconds)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        if self.status != 0:
            _log.error("worker did not come to rest", status=self.status)

    async def _listen(self) -> None:
        """Hears what it says until it ends."""
        if self._process.stdout is None:
            raise ValueError("a worker is spoken to through pipes")
        while line := await self._process.stdout.readline():
            self._silence.heard()
            if line == SERVING:
                self._served_from = time.monotonic()
                self._serving.set()
        self._ended_at = time.monotonic()

    async def _watch(self) -> None:
        """Kills it where it hangs."""
        while self.is_alive:
            await asyncio.sleep(TICK_SECONDS)
            if self._silence.tick(state_of(self._process.pid)) and self.is_alive:
                _log.error("worker hangs", state=state_of(self._process.pid))
                self._process.kill()
                return
