"""Ten minutes of steady load, with a new version every half minute: nothing grows."""

import asyncio
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from fault.asking import with_clients
from fault.footprint import Footprint, footprint
from fault.oracle import Oracle, publish, stage
from fault.steady_load import SteadyLoad
from fault.waiting import until

WORKERS = 2
CALLS_A_SECOND = 40.0
SECONDS = 600.0
SWAP_SECONDS = 30.0
SAMPLE_SECONDS = 3.0

MOST_GROWTH = 1.05
"""Memory at the end of the second half, over that at its start, by the line that fits it."""
MOST_DESCRIPTORS = 3.0
"""By which they may grow in that time: those of a version that is just being loaded."""


class Sample(NamedTuple):
    """At one moment."""

    seconds: float
    supervisor: Footprint
    workers: Footprint
    """All of them together."""


class Trend(NamedTuple):
    """The line that fits the second half of a figure."""

    start: float
    """At half-time."""
    end: float
    an_hour: float


def sampled(seconds: float, supervisor: int, workers: list[int]) -> Sample:
    megabytes, descriptors, threads = zip(*map(footprint, workers), strict=True)
    return Sample(seconds, footprint(supervisor), Footprint(sum(megabytes), sum(descriptors), sum(threads)))


def trend(samples: list[Sample], figures: list[float]) -> Trend:
    half = len(samples) // 2
    seconds = np.array([sample.seconds for sample in samples[half:]])
    slope, height = np.polyfit(seconds, figures[half:], 1)
    start, end = (float(height + slope * at) for at in (seconds[0], seconds[-1]))
    return Trend(start, end, float(slope) * 3_600)


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 240)
async def test_nothing_grows_under_steady_load_while_versions_are_exchanged(
    serve: Any, oracle: Oracle, models: Path
) -> None:
    serving = serve(models=models, workers=WORKERS)
    target = f"127.0.0.1:{await asyncio.to_thread(serving.port)}"
    await until(lambda: serving.count("serving") == WORKERS)
    pids = sorted(serving.worker_pids())
    samples: list[Sample] = []
    version, start = 1, time.monotonic()
    async with with_clients(target) as clients, SteadyLoad(clients, oracle).running(CALLS_A_SECOND) as load:
        while (seconds := time.monotonic() - start) < SECONDS:
            if seconds > version * SWAP_SECONDS:
                version += 1
                staged = await asyncio.to_thread(stage, oracle.artifact_of(version), models, version)
                await asyncio.to_thread(publish, staged, models)
            samples.append(await asyncio.to_thread(sampled, seconds, serving.process.pid, pids))
            await asyncio.sleep(SAMPLE_SECONDS)
    report = load.report
    print(
        f"\n{SECONDS / 60:.0f} minutes, {len(report.calls)} calls, failed {dict(report.failed)}, "
        f"{len(report.versions)} versions answered, p99 {report.p99():.1f} ms"
    )
    complaints = []
    for name in ("workers", "supervisor"):
        memory = trend(samples, [getattr(sample, name).megabytes for sample in samples])
        descriptors = trend(samples, [getattr(sample, name).descriptors for sample in samples])
        threads = trend(samples, [getattr(sample, name).threads for sample in samples])
        print(
            f"    {name}: {memory.start:.1f} MB at half-time, {memory.end:.1f} MB at the end, {memory.an_hour:+.1f} MB "
            f"an hour; {descriptors.end:.1f} descriptors, {descriptors.an_hour:+.1f} an hour; {threads.end:.1f} "
            f"threads, {threads.an_hour:+.1f} an hour"
        )
        if memory.end > MOST_GROWTH * memory.start:
            complaints.append(f"{name}: memory")
        if descriptors.end - descriptors.start > MOST_DESCRIPTORS:
            complaints.append(f"{name}: descriptors")
        if threads.end - threads.start > 1:
            complaints.append(f"{name}: threads")
    assert not complaints
    assert not report.failed
    assert not report.wrong
    assert not report.late
    assert len(report.versions) == version
    assert sorted(serving.worker_pids()) == pids
