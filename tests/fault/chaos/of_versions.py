"""Versions come, whole and damaged, and go. See ``run.Fault``."""

import asyncio
import os
import random
import shutil
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import grpc
from fault.chaos.scene import Scene
from fault.oracle import damage, publish
from fault.waiting import until

from bascule.v1 import model_admin_service_pb2 as pb
from bascule.v1.model_admin_service_pb2_grpc import ModelAdminServiceStub


async def new_version(scene: Scene, _: random.Random) -> AsyncIterator[None]:
    """A newer one is published, and answers."""
    version = await scene.published()
    yield
    await scene.answers(version)


async def damaged_version(scene: Scene, chance: random.Random) -> AsyncIterator[None]:
    """A byte of it is another."""
    staged = await scene.staged()
    version = int(staged.name)
    damage(staged, chance)
    await asyncio.to_thread(publish, staged, scene.models)
    yield
    await until(lambda: scene.logged("version failed", version=version) > 0)


async def written_file_by_file(scene: Scene, chance: random.Random) -> AsyncIterator[None]:
    """Its files come one by one, in any order, and the manifest may be the first."""
    staged = await scene.staged()
    version = int(staged.name)
    files = [path for path in sorted(staged.rglob("*")) if path.is_file()]
    chance.shuffle(files)
    for number, path in enumerate(files, start=1):
        if number == len(files):
            scene.good.add(version)
        target = scene.folder(version) / path.relative_to(staged)
        target.parent.mkdir(parents=True, exist_ok=True)
        await asyncio.to_thread(shutil.copyfile, path, target)
        await asyncio.sleep(chance.uniform(0, 0.2))
    scene.whole.add(version)
    yield
    await scene.answers(version)


async def files_spoiled(scene: Scene, chance: random.Random) -> AsyncIterator[None]:
    """The files of the version that answers are truncated or overwritten where they are."""
    version = await scene.published()
    await scene.answers(version)
    scene.whole.discard(version)
    files = [path for path in sorted(scene.folder(version).rglob("*")) if path.is_file()]
    for path in files:
        if chance.random() < 0.5:
            os.truncate(path, chance.randrange(path.stat().st_size))
        else:
            with path.open("r+b") as file:
                file.write(chance.randbytes(64))
    yield
    await scene.answers_again()


async def version_removed(scene: Scene, _: random.Random) -> AsyncIterator[None]:
    """The version that answers is removed, and one before it answers."""
    version = await scene.published()
    await scene.answers(version)
    scene.whole.discard(version)
    await asyncio.to_thread(shutil.rmtree, scene.folder(version))
    yield
    await scene.answers(max(scene.whole))


async def rolled_back(scene: Scene, _: random.Random) -> AsyncIterator[None]:
    """The version before the present one is made the stable one; after a while the newest answers again."""
    await scene.answers(await scene.published())
    async with grpc.aio.insecure_channel(f"127.0.0.1:{scene.admin_port}") as channel:
        stub: Any = ModelAdminServiceStub(channel)
        plan = await _rolled_back(stub)
        if plan.stable in scene.whole:
            await scene.answers(plan.stable)
        await _newest_again(stub)
    yield
    await scene.answers(max(scene.whole))


async def _rolled_back(stub: Any) -> pb.ServingPlan:
    while True:
        # A worker that is killed meanwhile may have done it or not; twice is as good.
        with suppress(grpc.aio.AioRpcError):
            response: pb.RollBackResponse = await stub.RollBack(pb.RollBackRequest(model="tiny"), timeout=5)
            return response.plan
        await asyncio.sleep(0.1)


async def _newest_again(stub: Any) -> None:
    while True:
        with suppress(grpc.aio.AioRpcError):
            plan = (await stub.GetServingPlan(pb.GetServingPlanRequest(model="tiny"), timeout=5)).plan
            plan.stable = 0
            await stub.SetServingPlan(pb.SetServingPlanRequest(model="tiny", plan=plan), timeout=5)
            return
        await asyncio.sleep(0.1)
