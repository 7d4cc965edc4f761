"""Several processes that serve one port: each has the interpreter, and thus a core, to itself.

    supervisor -> worker 1 proves and serves the models -> the others do -> (a signal) -> all come to rest

A worker listens only when its models are proven.

Workers are spawned and never forked, since gRPC does not survive a fork. The kernel parts connections among them, not
calls, so a caller that wants all of them opens several. Files of the models are mapped, and their memory shared.

    WorkerError   a worker could not start; it has said why
"""

import asyncio
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import structlog

from bascule_server.config import ServerConfig

SERVING = b"serving\n"
"""What a worker says on its standard output, once it does."""

RESTART_SECONDS = 0.5
"""How long after a worker died the next one is started in its place."""

_log = structlog.get_logger()


class WorkerError(Exception):
    """A worker could not start."""

    status = 2
    """Of the process."""


async def supervise(
    config: ServerConfig, models_root: Path, port: socket.socket, on_listening: Callable[[int], None]
) -> None:
    """Runs ``config.workers`` workers until SIGTERM or SIGINT, and starts a new one where one dies.

    Args:
        config: how to serve.
        models_root: the folder of the models.
        port: bound and not listening, so that nobody else takes the port while workers come and go.
        on_listening: is called with the port, once all workers answer.

    Raises:
        WorkerError: one could not start.
    """
    number = port.getsockname()[1]
    address = f"[{config.host}]:{number}" if ":" in config.host else f"{config.host}:{number}"
    own = config.model_copy(update={"listen": address})
    supervisor = _Supervisor(own, models_root)
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, supervisor.stop)
    first = asyncio.create_task(supervisor.keep_one(0))
    await supervisor.changed.wait()
    others = [asyncio.create_task(supervisor.keep_one(place)) for place in range(1, config.workers)]
    while supervisor.serving_count < config.workers and not supervisor.is_stopping:
        supervisor.changed.clear()
        await supervisor.changed.wait()
    if not supervisor.is_stopping:
        on_listening(number)
    await asyncio.gather(first, *others)


class _Supervisor:
    def __init__(self, config: ServerConfig, models_root: Path) -> None:
        self._config = config
        self._models_root = models_root
        self._processes: set[asyncio.subprocess.Process] = set()
        self.is_stopping = False
        self.serving_count = 0
        """Workers that came to serve."""
        self.changed = asyncio.Event()
        """Set when that or ``is_stopping`` changes."""

    def stop(self) -> None:
        """Has every worker come to rest, and starts no other."""
        self.is_stopping = True
        self.changed.set()
        for process in self._processes:
            process.send_signal(signal.SIGTERM)

    async def keep_one(self, place: int) -> None:
        """Runs the worker of a place, from 0, and another in its place whenever it dies, until ``stop``."""
        try:
            while not self.is_stopping:
                status = await self._run(self._config_of(place))
                if not self.is_stopping:
                    _log.error("worker died", status=status)
                    await asyncio.sleep(RESTART_SECONDS)
                elif status != 0:
                    _log.error("worker did not come to rest", status=status)
        except WorkerError:
            self.stop()
            raise

    def _config_of(self, place: int) -> ServerConfig:
        if self._config.metrics_listen is None:
            return self._config
        host, _, port = self._config.metrics_listen.rpartition(":")
        return self._config.model_copy(update={"metrics_listen": f"{host}:{int(port) + place}"})

    async def _run(self, config: ServerConfig) -> int:
        """The exit status of a worker that served."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            __name__,
            str(self._models_root),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            # So that Ctrl-C reaches the supervisor alone, which tells the workers.
            process_group=0,
        )
        if self.is_stopping:
            process.send_signal(signal.SIGTERM)
        self._processes.add(process)
        try:
            serves = await self._is_serving(process, config)
            status = await process.wait()
        finally:
            self._processes.discard(process)
        if not serves and not self.is_stopping:
            raise WorkerError("a worker could not start")
        return status

    async def _is_serving(self, process: asyncio.subprocess.Process, config: ServerConfig) -> bool:
        """Whether it came to serve."""
        if process.stdin is None or process.stdout is None:
            raise ValueError("a worker is spoken to through pipes")
        # It stays open: at its end, which comes with ours however that comes, the worker comes to rest.
        process.stdin.write(config.model_dump_json().encode() + b"\n")
        serves = await process.stdout.readline() == SERVING
        if serves:
            self.serving_count += 1
            self.changed.set()
        return serves


def bound(config: ServerConfig) -> socket.socket:
    """A socket that keeps the port for the workers, which share it, and for nobody else.

    Raises:
        OSError: the port cannot be had.
    """
    # First without sharing, which would be granted beside another server that shares.
    with bound_alone(config) as trial:
        family, address = trial.family, trial.getsockname()
    keeper = socket.socket(family, socket.SOCK_STREAM)
    keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    keeper.bind(address)
    return keeper


def bound_alone(config: ServerConfig) -> socket.socket:
    """A socket that has the port for itself.

    Raises:
        OSError: the port cannot be had; the system's own reason, which gRPC's core would keep from us.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM)[0]
    found = socket.socket(family, kind, protocol)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
    except OSError:
        found.close()
        raise
    return found


def _work(models_root: Path) -> int:
    """Serves in this process, as the supervisor says on standard input; the exit status where it could not start."""
    from bascule_server import server
    from bascule_server.artifact import ArtifactError
    from bascule_server.logs import configure_logs

    config = ServerConfig.model_validate_json(sys.stdin.buffer.readline())
    configure_logs(config.log_level)
    threading.Thread(target=_end_with_supervisor, name="supervisor", daemon=True).start()
    try:
        with asyncio.Runner(loop_factory=server.event_loop(config)) as runner:
            runner.run(server.serve(config, models_root, _say_serving))
    except (ArtifactError, server.ListenError) as error:
        sys.stderr.write(f"Error: {error}\n")
        return WorkerError.status
    return 0


def _end_with_supervisor() -> None:
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


def _say_serving(_port: int) -> None:
    os.write(sys.stdout.fileno(), SERVING)


if __name__ == "__main__":
    sys.exit(_work(Path(sys.argv[1])))
