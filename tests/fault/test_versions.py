"""Versions come, damaged ones among them, under load: no call fails, and every answer is that of one version."""

import asyncio
import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from fault.asking import plainly
from fault.footprint import proportional_megabytes
from fault.oracle import Oracle, damage, publish, stage
from fault.steady_load import SteadyLoad
from fault.waiting import until

CALLS_A_SECOND = 100.0
SWAPS = 20


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("workers", [1, 2])
async def test_a_new_version_every_second_some_damaged_fails_no_call_and_mixes_no_answer(
    serve: Any, oracle: Oracle, models: Path, workers: int
) -> None:
    chance = random.Random(7)
    serving = serve(models=models, workers=workers)
    address = f"127.0.0.1:{await asyncio.to_thread(serving.port)}"
    await until(lambda: serving.count("serving") == workers)
    pids = sorted(serving.worker_pids())
    versions = range(2, 2 + SWAPS)
    # Beforehand, since the load comes from this process.
    staged = {version: stage(oracle.artifact_of(version), models, version) for version in versions}
    damaged = {version for version in versions if version % 4 == 0}
    for version in damaged:
        damage(staged[version], chance)
    published = {1, *versions} - damaged
    async with plainly(address) as asker, SteadyLoad(asker, oracle).running(CALLS_A_SECOND) as load:
        await asyncio.sleep(3)
        load.fresh_report()
        await asyncio.sleep(10)
        before = load.fresh_report()
        megabytes = sum(map(proportional_megabytes, pids))
        for version in versions:
            publish(staged[version], models)
            await asyncio.sleep(1)
        await until(lambda: serving.count("version loaded") >= workers * 2)
        await until(lambda: load.report.versions[max(published)] > 0)
        during = load.fresh_report()
        after_megabytes = sum(map(proportional_megabytes, pids))
    print(
        f"\n{workers} workers, {SWAPS} versions in {SWAPS} s, {len(damaged)} damaged: "
        f"{len(during.calls)} calls, failed {dict(during.failed)}, "
        f"answered by {len(during.versions)} versions; p99 {before.p99():.1f} ms before, "
        f"{during.p99():.1f} ms meanwhile; memory {megabytes:.0f} MB before, {after_megabytes:.0f} MB after"
    )
    assert not before.failed
    assert not during.failed
    assert not during.wrong
    assert not during.late
    assert set(during.versions) <= published
    assert len(during.versions) >= 5
    # One that another followed within the second was not looked at.
    assert 0 < serving.count("version failed") <= len(damaged) * workers
    assert after_megabytes <= 1.2 * megabytes
    assert sorted(serving.worker_pids()) == pids


async def test_what_becomes_of_the_files_of_a_version_that_serves_changes_no_answer(
    serve: Any, oracle: Oracle, models: Path
) -> None:
    serving = serve(models=models)
    address = f"127.0.0.1:{await asyncio.to_thread(serving.port)}"
    folder = models / "tiny" / "1"
    async with plainly(address) as asker, SteadyLoad(asker, oracle).running(50) as load:
        await until(lambda: load.report.versions[1] > 50)
        for path in folder.rglob("*"):
            if path.is_file():
                os.truncate(path, 0)
        seen = load.report.versions[1]
        await until(lambda: load.report.versions[1] > seen + 100)
        folder.rename(models / "tiny" / "renamed")
        seen = load.report.versions[1]
        await until(lambda: load.report.versions[1] > seen + 100)
        shutil.rmtree(models / "tiny")
        seen = load.report.versions[1]
        await until(lambda: load.report.versions[1] > seen + 100)
    assert not load.report.failed
    assert not load.report.wrong
    assert serving.process.poll() is None


async def test_a_version_that_is_written_file_by_file_is_served_when_it_is_whole_and_never_before(
    serve: Any, oracle: Oracle, models: Path
) -> None:
    serving = serve(models=models)
    address = f"127.0.0.1:{await asyncio.to_thread(serving.port)}"
    staged, target = stage(oracle.artifact_of(2), models, 2), models / "tiny" / "2"
    files = sorted(path.relative_to(staged) for path in staged.rglob("*") if path.is_file())
    # The manifest first, as no publisher should.
    files.sort(key=lambda path: path.name != "manifest.json")
    async with plainly(address) as asker, SteadyLoad(asker, oracle).running(50) as load:
        for number, path in enumerate(files):
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(staged / path, target / path)
            if number == 2:
                await until(lambda: serving.count("version failed") > 0)
                assert set(load.report.versions) <= {1}
        await until(lambda: load.report.versions[2] > 50)
    assert not load.report.failed
    assert not load.report.wrong
