"""Callers leave, up to a hundred thousand of them: memory does not grow, and no place stays taken."""

import asyncio
import itertools
import re
import urllib.request
from collections.abc import Callable
from typing import Any, cast

import grpc
import numpy as np
import pytest
from fault.leaving import leave_a_call, leave_a_stream
from fault.open_loop import MESSAGE, METHOD, connected, keep_asking

ROUNDS = 20
CALLS = {"core": 5_000, "aio": 2_000}
"""In a round. Of the first rounds memory is not measured: allocators and caches settle."""
SETTLED = 5
AT_ONCE = 100

MOST_MEGABYTES = {"core": 14.0, "aio": 25.0}
"""More, after the first rounds, by a straight line. Allocators sway by some 10 MB, however many calls there are, and
whatever a server keeps of a call takes a kilobyte or more: of 75,000 (30,000 with `aio`), 75 MB or more (30).
grpc.aio itself keeps something of each call that is cancelled: https://github.com/grpc/grpc/issues/43360."""


def held_rows(port: int) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as page:
        found = re.search(r"^bascule_rows_held ([\d.]+)$", page.read().decode(), re.MULTILINE)
    assert found
    return float(found[1])


async def until_answered(channel: grpc.aio.Channel) -> None:
    call: Any = None
    async with asyncio.timeout(30):
        while call is None or await call.code() is not grpc.StatusCode.OK:
            call = cast(Any, channel.unary_unary(METHOD))(MESSAGE, timeout=10)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("leave", [leave_a_call, leave_a_stream])
async def test_memory_does_not_grow_and_no_place_stays_taken(
    run_costly: Any, transport: str, free_port: int, leave: Callable[..., Any]
) -> None:
    server = run_costly(0.2, transport=transport, metrics_listen=f"127.0.0.1:{free_port}", log_level="warning")
    megabytes: list[float] = []
    async with connected(server.port) as channels:
        turns = itertools.count()
        for _ in range(ROUNDS):

            async def work() -> None:
                for _ in range(CALLS[transport] // AT_ONCE):
                    turn = next(turns)
                    await leave(channels[turn % len(channels)], turn % 7)

            await asyncio.gather(*(work() for _ in range(AT_ONCE)))
            megabytes.append(server.memory_megabytes())
        # What they left behind is looked through first; until then the core may refuse streams.
        await until_answered(channels[0])
        assert set((await keep_asking(channels, concurrency=4, seconds=0.5)).codes) == {grpc.StatusCode.OK}
        held = await asyncio.to_thread(held_rows, free_port)
    settled = megabytes[SETTLED:]
    grown = np.polyfit(np.linspace(0, 1, len(settled)), settled, 1)[0]
    print(f"\n{transport}, {ROUNDS * CALLS[transport]} left ({leave.__name__}): {grown:+.2f} MB after round {SETTLED}")
    print("   ", " ".join(f"{each:.1f}" for each in megabytes), "MB")
    assert held == 0
    assert grown < MOST_MEGABYTES[transport]
