"""Whatever happens, in whatever order: no answer is wrong, every call ends in time, and all is well soon after.

    make chaos SEED=7

has faults strike for two minutes, drawn from the seed; among the slow tests it is half a minute.
"""

import asyncio
import os
import random
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from fault.asking import with_clients
from fault.chaos.run import Struck, run
from fault.chaos.scene import Scene
from fault.chaos.schedule import Strike, drawn
from fault.chaos.stalls import stalls
from fault.chaos.verdict import Measured, complaints, table
from fault.oracle import Oracle
from fault.steady_load import Report, SteadyLoad
from rich.console import Console

SEEDS = [int(seed) for seed in os.environ.get("CHAOS_SEEDS", "1").split()]
SECONDS = float(os.environ.get("CHAOS_SECONDS", "30"))
CALLS_A_SECOND = 50.0
SETTLING_SECONDS = 3.0
QUIET_SECONDS, QUIET_TURNS = 3.0, 3
"""Before the first fault and after the last one."""


def quiet_port(chance: random.Random) -> int:
    """A free port that the kernel gives no connection: while nobody listens, clients ask for it again and again."""
    while True:
        port = chance.randrange(15_000, 30_000)
        try:
            with socket.create_server(("127.0.0.1", port)):
                return port
        except OSError:
            continue


@pytest.fixture
def scene(serve: Callable[..., Any], oracle: Oracle, tmp_path: Path) -> Scene:
    """A server that may be started again and again, and its models."""
    chance = random.Random()
    port, admin_port = quiet_port(chance), quiet_port(chance)
    config, models = tmp_path / "server.toml", tmp_path / "models"
    config.write_text(f'admin_listen = "127.0.0.1:{admin_port}"\n')
    models.mkdir()

    def start() -> Any:
        return serve(models=models, listen=f"127.0.0.1:{port}", config=config, workers=2)

    return Scene(start, port, admin_port, models, oracle)


async def measured(scene: Scene) -> Measured:
    """While nothing happens; in turns, of which the best is what the server can do: others use this machine too."""
    turns = []
    for _ in range(QUIET_TURNS):
        first = len(scene.load.report.calls)
        await asyncio.sleep(QUIET_SECONDS)
        turns.append(Report(scene.load.report.calls[first:]).p99())
    return Measured(min(turns), scene.megabytes())


async def under_load(scene: Scene, strikes: Sequence[Strike]) -> tuple[Measured, list[Struck], Measured]:
    """What was before, meanwhile and after."""
    async with scene.load.running(CALLS_A_SECOND):
        await asyncio.sleep(SETTLING_SECONDS)
        before = await measured(scene)
        struck = await run(scene, strikes)
        return before, struck, await measured(scene)


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 300)
@pytest.mark.parametrize("seed", SEEDS)
async def test_whatever_happens_the_server_is_neither_down_nor_wrong(scene: Scene, seed: int) -> None:
    strikes = drawn(seed, SECONDS)
    print(f"\nseed {seed}:", *(f"  {strike.at:6.1f} s  {strike.fault}" for strike in strikes), sep="\n")
    await scene.published()
    await scene.start()
    async with with_clients(f"127.0.0.1:{scene.port}") as scene.clients:
        scene.load = SteadyLoad(scene.clients, scene.oracle)
        before, struck, after = await under_load(scene, strikes)
    calls = scene.load.report.calls
    faults = [*struck, *stalls(calls)]
    Console(width=140).print(table(calls, faults, f"seed {seed}, {len(struck)} faults in {SECONDS:.0f} s"))
    found = list(complaints(calls, scene.load.begun, faults, scene.good, before, after))
    deaths = sum(fault.fault in ("worker killed", "worker stopped") for fault in struck)
    if (died := scene.count("worker died")) > deaths:
        found.append(f"{died} workers died; {deaths} were killed or stopped")
    if own := scene.count("fault"):
        found.append(f"the server met {own} faults of its own")
    print(
        f"p99 {before.p99_milliseconds:.1f} ms before, {after.p99_milliseconds:.1f} ms after; "
        f"memory {before.megabytes:.0f} MB before, {after.megabytes:.0f} MB after"
    )
    print(f"seed {seed}: {'failed' if found else 'passed'}", *found[:20], sep="\n  ")
    assert not found
