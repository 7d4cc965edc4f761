"""Starts workers, replaces those that die or hang, exchanges them one by one when asked, and has all come to rest."""

import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog

from bascule_server.config import ServerConfig
from bascule_server.workers.process import WorkerProcess
from bascule_server.workers.restarts import STEADY_SECONDS, Restarts

PATIENCE_SECONDS = 10.0
"""How much longer than it may a worker that comes to rest can take, before it is killed."""

_log = structlog.get_logger()


class WorkerError(Exception):
    """A worker could not start."""


class CrashLoopError(Exception):
    """Workers died again and again, each soon after its start."""


async def supervise(config: ServerConfig, models_root: Path, on_listening: Callable[[], None]) -> None:
    """Runs ``config.workers`` workers until SIGTERM or SIGINT; with SIGHUP new ones take their places one by one.

    Args:
        config: how to serve, at ports that sockets keep which do not listen: nobody else takes them while workers come
            and go.
        models_root: the folder of the models.
        on_listening: is called once all workers answer.

    Raises:
        CrashLoopError: workers died again and again, and none is left that serves steadily.
        WorkerError: one could not start, before all had.
    """
    places = [_Place(_config_of(place, config), models_root) for place in range(config.workers)]
    supervisor = _Supervisor(places, on_listening)
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, supervisor.stop)
    loop.add_signal_handler(signal.SIGHUP, supervisor.exchange_soon)
    await supervisor.run()


def _config_of(place: int, config: ServerConfig) -> ServerConfig:
    if config.metrics_listen is None:
        return config
    host, _, port = config.metrics_listen.rpartition(":")
    return config.model_copy(update={"metrics_listen": f"{host}:{int(port) + place}"})


class _Supervisor:
    def __init__(self, places: "list[_Place]", on_listening: Callable[[], None]) -> None:
        self._places = places
        self._on_listening = on_listening
        self._is_stopping = asyncio.Event()
        self._exchanging: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Starts the first worker, then the others, and keeps all of them until ``stop``."""
        try:
            await self._start(self._places[:1])
            await self._start(self._places[1:])
            if not self._is_stopping.is_set():
                self._on_listening()
            async with asyncio.TaskGroup() as keeping:
                for place in self._places:
                    keeping.create_task(self._keep(place))
        except ExceptionGroup as group:
            raise group.exceptions[0] from None
        finally:
            await asyncio.gather(*(place.rest() for place in self._places))

    def stop(self) -> None:
        """Has every worker come to rest, and starts no other."""
        self._is_stopping.set()

    def exchange_soon(self) -> None:
        """Has a new worker take each place, one after the other, unless that is under way."""
        if self._exchanging is None or self._exchanging.done():
            self._exchanging = asyncio.create_task(self._exchange())

    async def _exchange(self) -> None:
        for place in self._places:
            if self._is_stopping.is_set() or not await place.exchange():
                return
        _log.info("workers exchanged", workers=len(self._places))

    async def _start(self, places: "list[_Place]") -> None:
        starting = asyncio.gather(*(place.start() for place in places))
        await self._until_stopping(starting)
        if starting.done() and not self._is_stopping.is_set() and not all(starting.result()):
            raise WorkerError("a worker could not start")

    async def _keep(self, place: "_Place") -> None:
        """Replaces the worker of a place whenever it dies."""
        restarts = Restarts()
        while True:
            await self._until_stopping(asyncio.ensure_future(place.died()))
            if self._is_stopping.is_set():
                return
            delay = restarts.delay_after(place.served_seconds)
            _log.error("worker died", status=place.status, restart_seconds=delay)
            if restarts.are_hopeless and not any(each.is_steady for each in self._places):
                raise CrashLoopError("workers died again and again, each soon after its start; the log says of what")
            await self._until_stopping(asyncio.ensure_future(asyncio.sleep(delay)))
            if not self._is_stopping.is_set():
                await self._until_stopping(asyncio.ensure_future(place.start()))

    async def _until_stopping(self, awaited: "asyncio.Future[Any]") -> None:
        """Waits for something, but no longer than until ``stop``."""
        stopping = asyncio.ensure_future(self._is_stopping.wait())
        await asyncio.wait({awaited, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not awaited.done():
            awaited.cancel()
            with suppress(asyncio.CancelledError):
                await awaited


class _Place:
    """Where a worker runs, and then another."""

    def __init__(self, config: ServerConfig, models_root: Path) -> None:
        self._config = config
        self._models_root = models_root
        self._current: WorkerProcess | None = None
        self._changing = asyncio.Lock()
        """Held while another worker takes the place on purpose."""

    @property
    def served_seconds(self) -> float:
        """For how long the worker has served, or did."""
        return 0.0 if self._current is None else self._current.served_seconds

    @property
    def is_steady(self) -> bool:
        """Whether a worker serves here that does not die of its start."""
        return self._current is not None and self._current.is_alive and self.served_seconds >= STEADY_SECONDS

    @property
    def status(self) -> int | None:
        """With which the last worker ended."""
        return None if self._current is None else self._current.status

    async def start(self) -> bool:
        """Starts a worker and waits until it serves; False where it ended before."""
        self._current = await WorkerProcess.started(self._config, self._models_root)
        return await self._current.serves()

    async def exchange(self) -> bool:
        """Has another worker take the place once it serves, and the present one come to rest; False where none does."""
        async with self._changing:
            if self._config.metrics_listen is not None:
                # Both would need the port of the metrics. Others answer meanwhile.
                await self.rest()
                return await self.start()
            return await self._exchange()

    async def _exchange(self) -> bool:
        following = await WorkerProcess.started(self._config, self._models_root)
        if not await following.serves():
            _log.error("worker could not take another's place, which goes on", status=following.status)
            return False
        present, self._current = self._current, following
        if present is not None:
            await present.rest(_rest_seconds(self._config))
        return True

    async def died(self) -> None:
        """Returns when the worker has ended, and no other has taken its place."""
        while (current := self._current) is not None:
            await current.ended()
            async with self._changing:
                if self._current is current:
                    return

    async def rest(self) -> None:
        """Has the worker come to rest."""
        if self._current is not None:
            await self._current.rest(_rest_seconds(self._config))


def _rest_seconds(config: ServerConfig) -> float:
    return config.drain_seconds + config.grace_seconds + PATIENCE_SECONDS
