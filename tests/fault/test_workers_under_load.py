"""Workers die and hang, and servers are exchanged, under load: clients of this project see no error."""

import asyncio
import itertools
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fault.asking import with_clients
from fault.oracle import ITEM_COUNT, USERS, Oracle
from fault.steady_load import Report, SteadyLoad
from fault.waiting import until

from bascule import AsyncClient, Query, Ranking

WORKERS = 2
CALLS_A_SECOND = 80.0
ROWS_OF_A_MESSAGE = 16
"""Of the stream without end."""
BACK_SECONDS = 2.0
"""Within which another worker is to serve, where others do not use the machine."""


def assert_unharmed(report: Report, begun: int) -> None:
    assert not report.failed
    assert not report.wrong
    assert not report.late
    assert len(report.calls) == begun


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
async def test_a_worker_that_dies_or_hangs_is_back_soon_and_no_call_fails_or_is_wrong(
    serve: Any, oracle: Oracle, models: Path, number: signal.Signals
) -> None:
    serving = serve(models=models, workers=WORKERS)
    target = f"127.0.0.1:{await asyncio.to_thread(serving.port)}"
    await until(lambda: serving.count("serving") == WORKERS)
    seconds = []
    async with with_clients(target) as clients, SteadyLoad(clients, oracle).running(CALLS_A_SECOND) as load:
        for worker in sorted(serving.worker_pids()):
            seen, expected = load.report.ok_count, serving.count("serving") + 1
            await until(lambda seen=seen: load.report.ok_count > seen + 100)  # type: ignore[misc]
            os.kill(worker, number)
            struck = time.monotonic()
            await until(lambda expected=expected: serving.count("serving") == expected)  # type: ignore[misc]
            seconds.append(time.monotonic() - struck)
        seen = load.report.ok_count
        await until(lambda: load.report.ok_count > seen + 100)
    slowest = max(call.seconds for call in load.report.calls)
    print(
        f"\n{number.name} of both workers, one after the other: {len(load.report.calls)} calls, none failed, the "
        f"slowest took {slowest:.2f} s; another serves after {' and '.join(f'{each:.1f} s' for each in seconds)} "
        f"(floor {BACK_SECONDS:.0f} s)"
    )
    assert_unharmed(load.report, load.begun)
    # The floor is for a machine that nobody else uses; one that is not back soon is far beyond.
    assert max(seconds) < 10 * BACK_SECONDS


@dataclass
class Rows:
    """What a stream without end has answered."""

    wrong: list[str] = field(default_factory=list)
    asked: int = 0
    count: int = 0
    breaks: Counter[str] = field(default_factory=Counter)
    """How often it began anew, by the reason."""


@asynccontextmanager
async def streaming(target: str, oracle: Oracle) -> AsyncIterator[Rows]:
    """A stream of all users in turn, which ends after the message that it is at when it is left."""
    rows, is_left = Rows(), asyncio.Event()

    async def asked() -> AsyncIterator[Query]:
        for user_id in itertools.cycle(USERS):
            if is_left.is_set():
                return
            await asyncio.sleep(0)
            rows.asked += 1
            yield Query(user_id)

    def on_break(error: Any, _: float) -> None:
        rows.breaks[error.reason or error.code.name] += 1

    async def read() -> None:
        async with AsyncClient(target) as client:
            stream = client.stream(asked(), count=ITEM_COUNT, queries_per_message=ROWS_OF_A_MESSAGE, on_break=on_break)
            # Users have rankings of their own, so that after a row that came twice, or not at all, all are wrong.
            for user_id in itertools.cycle(USERS):
                result = await anext(stream, None)
                if result is None:
                    return
                rows.count += 1
                if not isinstance(result, Ranking) or not oracle.agrees(
                    user_id, tuple(result.item_ids), tuple(result.scores.tolist()), result.version
                ):
                    rows.wrong.append(f"row {rows.count}, for {user_id}: {result}")

    reading = asyncio.create_task(read())
    try:
        yield rows
    finally:
        is_left.set()
        await reading


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_servers_are_exchanged_one_by_one_no_call_fails_and_streams_go_on_with_each_row_once(
    serve: Any, oracle: Oracle, models: Path
) -> None:
    servers = [serve(models=models, workers=WORKERS), serve(models=models, workers=WORKERS)]
    ports = [await asyncio.to_thread(serving.port) for serving in servers]
    target = "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports)
    stopped_seconds = []
    async with (
        with_clients(target) as clients,
        SteadyLoad(clients, oracle).running(CALLS_A_SECOND) as load,
        streaming(target, oracle) as rows,
    ):
        for place in (0, 1):
            await all_serve(servers)
            await more_is_answered(load, rows)
            began = time.monotonic()
            servers[place].process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(servers[place].ended) == 0
            stopped_seconds.append(time.monotonic() - began)
            await more_is_answered(load, rows)
            servers[place] = serve(models=models, workers=WORKERS, listen=f"127.0.0.1:{ports[place]}")
        await all_serve(servers)
        await more_is_answered(load, rows)
    print(
        f"\ntwo servers exchanged, one after the other: {len(load.report.calls)} calls, none failed, p99 "
        f"{load.report.p99():.0f} ms; a stream of {rows.count} rows, each once and in order, which began anew for "
        f"{dict(rows.breaks)}; a server ended after {' and '.join(f'{each:.1f} s' for each in stopped_seconds)}"
    )
    assert_unharmed(load.report, load.begun)
    assert not rows.wrong
    assert rows.count == rows.asked
    assert rows.breaks


async def all_serve(servers: list[Any]) -> None:
    for serving in servers:
        await until(lambda serving=serving: serving.count("serving") == WORKERS)  # type: ignore[misc]


async def more_is_answered(load: SteadyLoad, rows: Rows) -> None:
    calls, seen = load.report.ok_count, rows.count
    await until(lambda: load.report.ok_count > calls + 100 and rows.count > seen + 1_000)
