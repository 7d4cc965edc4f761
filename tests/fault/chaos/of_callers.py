"""Others ask too much, leave, and send what nobody should. See ``run.Fault``."""

import asyncio
import random
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from fault.chaos.scene import Scene
from fault.leaving import leave_a_call, leave_a_stream
from fault.open_loop import connected

TESTS = Path(__file__).parents[2]
LEFT, AT_ONCE = 600, 20
LONGEST_BURST_SECONDS = 10.0


def attack(name: str) -> Callable[[Scene, random.Random], AsyncIterator[None]]:
    """One of ``attacks``, for a second or two."""

    async def strike(scene: Scene, chance: random.Random) -> AsyncIterator[None]:
        await _beside(chance.uniform(1.0, 2.0), "fault.attacks", name, str(scene.port))
        yield
        await scene.answers_again()

    return strike


async def overload(scene: Scene, chance: random.Random) -> AsyncIterator[None]:
    """Several times as many rows as the server can rank, for a second or two."""
    times, seconds = chance.uniform(2, 6), chance.uniform(1.0, 2.0)
    await _beside(LONGEST_BURST_SECONDS, "fault.burst", str(scene.port), f"{times:.1f}", f"{seconds:.1f}")
    yield
    await scene.clients.renew()
    await scene.answers_again()


async def calls_left(scene: Scene, chance: random.Random) -> AsyncIterator[None]:
    """Hundreds of calls and streams are cancelled, at any moment."""
    async with connected(scene.port) as channels:

        async def work() -> None:
            for _ in range(LEFT // AT_ONCE):
                leave = chance.choice([leave_a_call, leave_a_stream])
                await leave(chance.choice(channels), chance.randrange(12))

        await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    yield
    await scene.answers_again()


async def _beside(seconds: float, *command: str) -> None:
    """Runs a program until it ends, and for so many seconds at most."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        *command,
        cwd=TESTS,
        stdout=asyncio.subprocess.PIPE,
        # It may find the server away.
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        assert process.stdout
        await process.stdout.readline()
        await asyncio.wait([asyncio.ensure_future(process.wait())], timeout=seconds)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
