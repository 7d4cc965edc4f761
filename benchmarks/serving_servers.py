"""Starts the servers that are compared, each in a process of its own and all with one thread for products.

Servers in other languages and environments are in ``serving_peers``.
"""

import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

import grpc
from figures import OUT
from serving_child import environment
from serving_protocols import Bascule, WireProtocol

from bascule import Client

AIO = "bascule aio"
CORE = "bascule core"
WORKERS = "bascule core, 2 workers"
PATIENT = "default_timeout_seconds = 60.0\nmax_queue_seconds = 10.0\n"
"""A closed loop waits for as long as it takes, and the other servers refuse nobody."""
CONFIGURATIONS = {
    WORKERS: PATIENT + 'transport = "core"\nworkers = 2\nmetrics_listen = "127.0.0.1:9464"',
    CORE: PATIENT + 'transport = "core"',
    AIO: PATIENT + 'transport = "aio"',
}
"""Ours, by name: the TOML of ``bascule serve --config``."""
DEFAULT = WORKERS
"""The configuration that figures are promised for."""

LOGS = OUT / "serving" / "logs"
START_SECONDS = 120.0
STOP_SECONDS = 60.0


class Running(NamedTuple):
    """A server that answers."""

    address: str
    process_id: int


class Server(NamedTuple):
    """How to start a server and how to ask it."""

    start: Callable[[], AbstractContextManager[Running]]
    protocol: WireProtocol
    computes: bool = True
    """Whether it does the job; else its answers are made up, and only one user a call is asked for."""


def our_servers(models: Path) -> dict[str, Server]:
    """``bascule serve`` in each configuration, by its name."""
    return {name: Server(partial(ours, name, config, models), Bascule()) for name, config in CONFIGURATIONS.items()}


@contextmanager
def ours(name: str, config: str, models: Path, credentials: grpc.ChannelCredentials | None = None) -> Iterator[Running]:
    """``bascule serve`` with a configuration, until the end; ``name`` is that of its log."""
    with tempfile.TemporaryDirectory() as folder:
        config_file, port_file = Path(folder) / "server.toml", Path(folder) / "port"
        config_file.write_text(config, encoding="utf-8")
        command = [sys.executable, "-m", "bascule", "serve", "--models", str(models), "--config", str(config_file)]
        options = ["--listen", "127.0.0.1:0", "--port-file", str(port_file)]
        with started(name, [*command, *options], environment()) as process:
            address = f"127.0.0.1:{written_port(process, port_file)}"
            with Client(address, credentials=credentials) as client:
                client.wait_ready(START_SECONDS)
            yield Running(address, process.pid)


@contextmanager
def started(name: str, command: Sequence[str], variables: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is asked to end at the end; what it complains of goes to a file in ``LOGS``."""
    LOGS.mkdir(parents=True, exist_ok=True)
    with (LOGS / f"{name.replace(' ', '_')}.log").open("wb") as log:
        process = subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL, stderr=log)
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def written_port(process: subprocess.Popen[bytes], port_file: Path) -> int:
    """The port in a file that the process writes once it answers."""
    _wait(process, port_file.exists)
    return int(port_file.read_text(encoding="utf-8"))


def wait_for_port(process: subprocess.Popen[bytes], port: int) -> None:
    """Returns once something listens there."""

    def listens() -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
        return False

    _wait(process, listens)


def _wait(process: subprocess.Popen[bytes], is_ready: Callable[[], bool]) -> None:
    end = time.monotonic() + START_SECONDS
    while not is_ready():
        if process.poll() is not None or time.monotonic() > end:
            sys.exit(f"{process.args!r} did not start; see {LOGS}")
        time.sleep(0.05)


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports
