"""Several workers behind one port: all of them answer, one that dies is replaced, and all come to rest together."""

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bascule import BasculeError, Client

WORKERS = 2
CONNECTIONS = 16
"""By chance all of them go to one of two workers once in 32,768 times."""
PATIENCE_SECONDS = 30.0


def until(is_so: Callable[[], bool]) -> None:
    """Returns when it is so; fails where it does not come to that."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_workers_share_the_port_and_one_that_dies_is_replaced(serve: Any) -> None:
    serving = serve(workers=WORKERS)
    port = serving.port()
    with Client(f"127.0.0.1:{port}", connections=CONNECTIONS) as client:
        until(lambda: len(serving.worker_pids()) == WORKERS and serving.count("serving") == WORKERS)
        before = {pid: processor_seconds(pid) for pid in serving.worker_pids()}
        for _ in range(500):
            client.recommend("u1", count=3)
        assert all(processor_seconds(pid) > seconds for pid, seconds in before.items())
        victim = min(before)
        os.kill(victim, signal.SIGKILL)
        until(lambda: serving.count("serving") == WORKERS + 1)
        assert victim not in serving.worker_pids()
        until(lambda: answers(client))
    serving.process.send_signal(signal.SIGTERM)
    assert serving.ended() == 0


def test_workers_read_and_write_in_the_thread_that_answers(serve: Any) -> None:
    serving = serve(workers=WORKERS)
    calls = 1_000
    with Client(f"127.0.0.1:{serving.port()}", connections=CONNECTIONS) as client:
        until(lambda: serving.count("serving") == WORKERS)
        before = sum(map(turns_of_the_cores_threads, serving.worker_pids()))
        for _ in range(calls):
            client.recommend("u1", count=3)
        turns = sum(map(turns_of_the_cores_threads, serving.worker_pids())) - before
    # Where they read and write they have four a call; else some when a connection is made.
    assert turns < calls


def turns_of_the_cores_threads(pid: int) -> int:
    """How often threads of gRPC's core had a processor."""
    threads = [path for path in Path(f"/proc/{pid}/task").iterdir() if "event_engine" in (path / "comm").read_text()]
    return sum(int((path / "schedstat").read_text().split()[2]) for path in threads)


def test_workers_without_the_private_module_serve_by_the_public_transport(serve: Any, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("from grpc._cython import cygrpc\ndel cygrpc.Server\n")
    serving = serve(workers=WORKERS, environment={"PYTHONPATH": str(tmp_path)})
    with Client(f"127.0.0.1:{serving.port()}") as client:
        assert len(client.recommend("u1", count=3).item_ids) == 3
    until(lambda: serving.count("serving") == WORKERS)
    assert sum("grpc.aio serves instead" in line["event"] for line in list(serving.log)) == WORKERS


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def test_a_worker_that_dies_or_hangs_is_replaced_and_no_call_fails(serve: Any, number: signal.Signals) -> None:
    serving = serve(workers=WORKERS)
    address = f"127.0.0.1:{serving.port()}"
    until(lambda: serving.count("serving") == WORKERS)
    with called_all_the_time(address):
        victim = min(serving.worker_pids())
        os.kill(victim, number)
        struck = time.monotonic()
        until(lambda: serving.count("serving") == WORKERS + 1)
        print(f"{number.name}: another serves after {time.monotonic() - struck:.1f} s")  # noqa: T201 - shown with -s
        assert victim not in serving.worker_pids()
    serving.process.send_signal(signal.SIGTERM)
    assert serving.ended() == 0


def test_workers_are_exchanged_one_by_one_and_no_call_fails(serve: Any) -> None:
    serving = serve(workers=WORKERS)
    address = f"127.0.0.1:{serving.port()}"
    until(lambda: serving.count("serving") == WORKERS)
    before = serving.worker_pids()
    with called_all_the_time(address):
        serving.process.send_signal(signal.SIGHUP)
        until(lambda: serving.count("workers exchanged") == 1)
        assert not before & serving.worker_pids()
    serving.process.send_signal(signal.SIGTERM)
    assert serving.ended() == 0


@pytest.mark.slow
def test_workers_that_die_again_and_again_end_it_all_with_one_sentence(
    serve: Any, models_root: Path, tmp_path: Path
) -> None:
    shutil.copytree(models_root, tmp_path / "models")
    serving = serve(models=tmp_path / "models", workers=WORKERS)
    until(lambda: serving.count("listening") == WORKERS)
    (manifest,) = (tmp_path / "models").glob("*/*/manifest.json")
    manifest.write_text("{}")
    for worker in serving.worker_pids():
        os.kill(worker, signal.SIGKILL)
    assert serving.ended() == 1
    assert "again and again" in serving.sentences[-1]


@contextmanager
def called_all_the_time(address: str) -> Iterator[None]:
    """Calls on several connections from before until after; fails where a call fails that is repeated as usual."""
    stopped, called = threading.Event(), threading.Semaphore(0)

    def call() -> None:
        with Client(address, connections=CONNECTIONS // 4) as client:
            while not stopped.is_set():
                client.recommend("u1", count=3, timeout=PATIENCE_SECONDS)
                called.release()

    with ThreadPoolExecutor(4) as pool:
        calling = [pool.submit(call) for _ in range(4)]
        try:
            wait_for_calls(called, calling)
            yield
            wait_for_calls(called, calling)
        finally:
            stopped.set()
        for each in calling:
            each.result()


def wait_for_calls(called: threading.Semaphore, calling: Sequence[Future[None]]) -> None:
    for _ in range(50):
        assert called.acquire(timeout=PATIENCE_SECONDS), [each for each in calling if each.done()]


def test_workers_come_to_rest_when_their_supervisor_is_killed(serve: Any) -> None:
    serving = serve(workers=WORKERS)
    serving.port()
    until(lambda: serving.count("serving") == WORKERS)
    workers = serving.worker_pids()
    serving.process.kill()
    until(lambda: not any(is_alive(worker) for worker in workers))


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def answers(client: Client) -> bool:
    try:
        return all(client.recommend("u1", count=3).item_ids for _ in range(CONNECTIONS))
    except BasculeError:
        return False


def test_a_damaged_artifact_stops_all_workers_with_one_sentence(serve: Any, models_root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tiny" / "1"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    refused = serve(models=tmp_path, workers=WORKERS)
    assert refused.ended() == 2
    assert "manifest.json" in refused.sentences[0]
