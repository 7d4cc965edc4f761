"""Has the faults of a schedule strike, and keeps when each did and when the server had recovered."""

import asyncio
import math
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from fault.chaos.of_callers import attack, calls_left, overload
from fault.chaos.of_processes import server_restarted, worker_killed, worker_stopped, workers_exchanged
from fault.chaos.of_versions import (
    damaged_version,
    files_spoiled,
    new_version,
    rolled_back,
    version_removed,
    written_file_by_file,
)
from fault.chaos.scene import Scene
from fault.chaos.schedule import LANES, Strike

Fault: TypeAlias = Callable[[Scene, random.Random], AsyncIterator[None]]
"""Strikes, with what is left to chance; yields once, when that is over; and ends when all is as it should be."""

FAULTS: Mapping[str, Fault] = {
    "worker killed": worker_killed,
    "worker stopped": worker_stopped,
    "workers exchanged": workers_exchanged,
    "server restarted": server_restarted,
    "new version": new_version,
    "damaged version": damaged_version,
    "written file by file": written_file_by_file,
    "files spoiled": files_spoiled,
    "version removed": version_removed,
    "rolled back": rolled_back,
    "overload": overload,
    "calls left": calls_left,
    "garbage": attack("garbage"),
    "rapid resets": attack("rapid_resets"),
    "slow reader": attack("slow_reader"),
    "slow writer": attack("slow_writer"),
    "idle sockets": attack("idle_sockets"),
    "huge metadata": attack("huge_metadata"),
    "gzip bomb": attack("gzip_bomb"),
}

PATIENCE_SECONDS = 30.0
"""Within which the server has to recover."""


@dataclass
class Struck:
    """A fault that came."""

    fault: str
    began: float
    """In seconds of the monotonic clock."""
    over: float = math.inf
    """When it was done with."""
    recovered: float = math.inf
    """When all was well again."""

    @property
    def recovery_seconds(self) -> float:
        """From when it was over; infinite where the server did not recover."""
        return self.recovered - self.over if math.isfinite(self.recovered) else math.inf


async def run(scene: Scene, strikes: Sequence[Strike]) -> list[Struck]:
    """All of them, each lane by itself. Returns when the server has recovered from the last."""
    start, struck = time.monotonic(), list[Struck]()

    async def in_lane(lane: str) -> None:
        for strike in strikes:
            if strike.lane == lane:
                await asyncio.sleep(max(0.0, start + strike.at - time.monotonic()))
                struck.append(Struck(strike.fault, time.monotonic()))
                await _until_recovered(scene, strike, struck[-1])

    async with asyncio.TaskGroup() as lanes:
        for lane in LANES:
            lanes.create_task(in_lane(lane))
    return struck


async def _until_recovered(scene: Scene, strike: Strike, struck: Struck) -> None:
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            async for _ in FAULTS[strike.fault](scene, random.Random(strike.seed)):
                struck.over = time.monotonic()
    except TimeoutError:
        # It is told in the report.
        return
    struck.recovered = time.monotonic()
