"""The disk is full, nobody reads the log or the metrics, no descriptor is left: what can be served is served."""

import json
import os
import re
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from fault import raw_http2 as raw
from fault.open_loop import MESSAGE, METHOD

CALLS = 2_000
"""Their lines in the log take some 400 KB; a pipe holds 64."""


@contextmanager
def asking(port: int) -> Iterator[Any]:
    # A connection of its own each time, as of another process.
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        yield channel.unary_unary(METHOD)


def metric(port: int, name: str) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as page:
        found = re.search(rf"^{name} ([\d.e+]+)$", page.read().decode(), re.MULTILINE)
    assert found
    return float(found[1])


def test_a_full_disk_costs_the_log_its_lines_and_no_call(run_costly: Any, transport: str, free_port: int) -> None:
    with Path("/dev/full").open("w") as full:
        server = run_costly(
            0, stderr=full, transport=transport, log_call_every=1, metrics_listen=f"127.0.0.1:{free_port}"
        )
    with asking(server.port) as ask:
        for _ in range(100):
            assert ask(MESSAGE, timeout=30)
    lost = metric(free_port, "bascule_log_lines_lost")
    print(f"\n{transport}: 100 calls on a full disk are answered; {lost:.0f} lines of the log are lost, and counted")
    assert lost >= 100


def test_a_log_that_nobody_reads_holds_up_no_call(run_costly: Any, transport: str, free_port: int) -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as log:
        with os.fdopen(writing, "w") as stderr:
            server = run_costly(
                0, stderr=stderr, transport=transport, log_call_every=1, metrics_listen=f"127.0.0.1:{free_port}"
            )
        with asking(server.port) as ask:
            for _ in range(CALLS):
                assert ask(MESSAGE, timeout=30)
            lost = metric(free_port, "bascule_log_lines_lost")
            print(f"\n{transport}: {CALLS} calls are answered though nobody reads the log; {lost:.0f} lines are lost")
            assert 0 < lost < CALLS
            assert all(json.loads(line) for line in log.read1(1 << 20).splitlines())
            assert ask(MESSAGE, timeout=30)
            assert json.loads(log.readline())["event"] == "call"


def test_who_asks_for_metrics_and_does_not_read_them_holds_up_no_call(
    run_costly: Any, transport: str, free_port: int
) -> None:
    server = run_costly(0, transport=transport, metrics_listen=f"127.0.0.1:{free_port}")
    with ExitStack() as kept:
        for number in range(50):
            scraper = kept.enter_context(socket.create_connection(("127.0.0.1", free_port)))
            scraper.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            scraper.sendall(b"GET /metrics HTTP/1.1\r\n\r\n" if number % 2 else b"GET /metr")
        with asking(server.port) as ask:
            for _ in range(100):
                assert ask(MESSAGE, timeout=30)
        assert metric(free_port, "bascule_rows_held") == 0


@pytest.mark.slow
def test_without_descriptors_those_who_are_connected_are_served_and_later_the_others(
    run_costly: Any, transport: str
) -> None:
    limit = 128
    server = run_costly(0, prefix=("prlimit", f"--nofile={limit}"), transport=transport)
    with asking(server.port) as ask:
        assert ask(MESSAGE, timeout=30)
        with ExitStack() as kept:
            for _ in range(2 * limit):
                kept.enter_context(raw.connection(server.port))
            for _ in range(100):
                assert ask(MESSAGE, timeout=30)
            taken = server.descriptor_count()
        with asking(server.port) as ask_anew:
            assert ask_anew(MESSAGE, timeout=60, wait_for_ready=True)
    print(
        f"\n{transport}: with {taken} of {limit} descriptors taken, 100 calls are answered; later new callers are too"
    )
    assert taken >= limit - 1
