"""How a process serves: by itself or through workers, from its first look at the files to its end.

(a signal) -> the server comes to rest -> exit status 0
"""

import asyncio
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import structlog

from bascule_server.artifact.signature import read_publishers
from bascule_server.config import ServerConfig
from bascule_server.credentials import server_certificate
from bascule_server.identity import gate_of
from bascule_server.server import LAST_WORDS_SECONDS, Server, cannot_listen, event_loop
from bascule_server.versions.copies import PrivateCopies
from bascule_server.versions.models_folder import ModelsFolder, check_published
from bascule_server.workers import bound, supervise, with_port

SWITCH_SECONDS = 0.0005
"""How long the thread that answers waits at a time for one that loads a version to let go of the interpreter, which it
may have to do several times a call. With Python's own .005 the 99th percentile was a fifth higher meanwhile."""

_log = structlog.get_logger()


def run(config: ServerConfig, models_root: Path, on_listening: Callable[[int], None]) -> None:
    """Serves in this process, or has several workers do it; see ``serve`` and ``workers.supervise``.

    Raises:
        ArtifactError: there is no model, or one of them cannot be loaded.
        ConfigError: a file that the configuration names cannot be used.
        ListenError: the port cannot be had.
        CrashLoopError: workers died again and again.
        WorkerError: a worker could not start.
    """
    # What is wrong with files is said once, and not by a worker.
    server_certificate(config)
    gate_of(config)
    read_publishers(config.publishers)
    if config.workers == 1:
        run_here(config, lambda proven: serve(proven, models_root, on_listening))
        return
    check_published(models_root)
    with ExitStack() as kept:
        ports = {field: kept.enter_context(_kept_port(field, address)) for field, address in _addresses(config).items()}
        shared = {field: with_port(address, ports[field]) for field, address in _addresses(config).items()}
        number = ports["listen"].getsockname()[1]
        asyncio.run(supervise(config.model_copy(update=shared), models_root, lambda: on_listening(number)))


def _addresses(config: ServerConfig) -> dict[str, str]:
    """Where workers listen together, by the field of the configuration."""
    addresses = {
        "listen": config.listen,
        "catalogue_listen": config.catalogue_listen,
        "admin_listen": config.admin_listen,
    }
    return {field: address for field, address in addresses.items() if address is not None}


def _kept_port(field: str, address: str) -> socket.socket:
    try:
        return bound(address)
    except OSError as error:
        raise cannot_listen(field, address, error) from error


def run_here(config: ServerConfig, serving: Callable[[ServerConfig], Coroutine[Any, Any, None]]) -> None:
    """Runs what serves, in this process and with a transport that this process has proven.

    What gRPC's core does hangs on the environment, and a worker's is not that of its supervisor.
    """
    config = with_working_transport(config)
    with asyncio.Runner(loop_factory=event_loop(config)) as runner:
        runner.run(serving(config))


def with_working_transport(config: ServerConfig) -> ServerConfig:
    """The configuration, with grpc.aio in the place of a C core that does not do what is asked of it."""
    if config.transport == "core":
        from bascule_server.transports.self_test import prove_core

        try:
            prove_core(over_tls=config.certificate is not None)
        except Exception as error:  # noqa: BLE001 - whatever it is, grpc.aio does without
            _log.warning(
                "the C core failed its test; grpc.aio serves instead", error=f"{type(error).__name__}: {error}"
            )
            return config.model_copy(update={"transport": "aio"})
    return config


async def serve(config: ServerConfig, models_root: Path, on_listening: Callable[[int], None]) -> None:
    """Serves the models below ``models_root``, and what is published there meanwhile, until SIGTERM, SIGINT or SIGHUP.

    It comes to rest then and ends the process, with status 0; it does not return.

    Args:
        config: how.
        models_root: the folder with ``<model>/<version>/manifest.json``.
        on_listening: is called with the port, once there is somebody to answer.

    Raises:
        ArtifactError: there is no model, or one of them cannot be loaded.
        ConfigError: a file that the configuration names cannot be used.
        ListenError: the port cannot be had.
    """
    check_published(models_root)
    sys.setswitchinterval(SWITCH_SECONDS)
    stop_asked = _stop_signal()
    source = ModelsFolder(models_root, PrivateCopies(), read_publishers(config.publishers))
    server = Server(config, source)
    try:
        if config.workers > 1:
            # A worker that listens gets its share of the connections, and must have answers for them.
            await server.load()
        port = server.listen()
        await server.start()
        on_listening(port)
        _log.info("listening", port=port)
        await _work_until(stop_asked, server, config)
    finally:
        await server.close()


async def _work_until(stop_asked: asyncio.Event, server: Server, config: ServerConfig) -> None:
    working = asyncio.create_task(server.work())
    waiting = asyncio.create_task(stop_asked.wait())
    try:
        await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
        _log.info("stopping")
        _exit_after(config.drain_seconds + config.grace_seconds + 5 * LAST_WORDS_SECONDS)
        await server.stop()
        _log.info("stopped")
        _exit(0)
    finally:
        working.cancel()
        waiting.cancel()


def _stop_signal() -> asyncio.Event:
    stop_asked = asyncio.Event()
    # SIGHUP has no other meaning to a process that has no workers to exchange, and must cost no call.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop_asked.set)
    return stop_asked


def _exit_after(seconds: float) -> None:
    """Ends the process by then, whatever hangs."""
    timer = threading.Timer(seconds, os._exit, [1])
    timer.daemon = True
    timer.start()


def _exit(status: int) -> None:
    """Ends the process on the spot, and leaves its connections to the kernel.

    A call that arrives while gRPC's core shuts down ends as CANCELLED, which callers do not repeat; one whose
    connection is closed ends as UNAVAILABLE, which they do.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
