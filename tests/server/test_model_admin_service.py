"""Operators read, set and roll back plans of a real server, which follows them; whatever is wrong has a reason."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from bascule.standard_protos import error_details_pb2, status_pb2
from bascule.v1 import model_admin_service_pb2 as pb
from bascule.v1.model_admin_service_pb2_grpc import ModelAdminServiceStub
from bascule.v1.recommendation_service_pb2 import Query, RecommendItemsRequest, User
from bascule.v1.recommendation_service_pb2_grpc import RecommendationServiceStub
from bascule_server.artifact import file_names
from bascule_server.errors import Reason
from bascule_server.versions import watcher
from bascule_server.versions.copies import PrivateCopies
from bascule_server.versions.models_folder import ModelsFolder
from bascule_server.versions.plan import NAME, read_plan

PATIENCE_SECONDS = 30.0


@dataclass
class Operated:
    """A server with versions 1 and 2 of ``tiny``."""

    folder: Path
    """``tiny``, of the test's own."""
    admin: Any
    recommendations: Any
    channel: grpc.aio.Channel
    """To where callers ask."""

    def publish(self, version: int) -> None:
        publish(self.folder, version)

    async def get(self, model: str = "tiny") -> pb.ServingPlan:
        response = await self.admin.GetServingPlan(pb.GetServingPlanRequest(model=model))
        assert isinstance(response.plan, pb.ServingPlan)
        return response.plan

    async def set(self, plan: pb.ServingPlan, model: str = "tiny") -> pb.ServingPlan:
        response = await self.admin.SetServingPlan(pb.SetServingPlanRequest(model=model, plan=plan))
        assert isinstance(response.plan, pb.ServingPlan)
        return response.plan

    async def roll_back(self, model: str = "tiny") -> pb.ServingPlan:
        response = await self.admin.RollBack(pb.RollBackRequest(model=model))
        assert isinstance(response.plan, pb.ServingPlan)
        return response.plan

    async def answering(self, user_id: str = "") -> int:
        query = Query(user=User(user_id=user_id, history=["i1"]))
        response = await self.recommendations.RecommendItems(RecommendItemsRequest(query=query))
        return int(response.served_by.version)

    async def until_answers(self, version: int, user_id: str = "") -> None:
        # A server tells nobody that it has followed a plan, but by its answers.
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await self.answering(user_id) != version:  # noqa: ASYNC110
                await asyncio.sleep(0)


def publish(folder: Path, version: int) -> None:
    """Publishes what is version 1 as another one."""
    staged = Path(shutil.copytree(folder / "1", folder / f".{version}"))
    manifest = json.loads((staged / file_names.MANIFEST).read_text())
    (staged / file_names.MANIFEST).write_text(json.dumps({**manifest, "version": str(version)}))
    staged.rename(folder / str(version))


@pytest.fixture
async def operated(
    serve_in_process: Any, models_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Operated]:
    # It looks when it is told to, and not by itself.
    monkeypatch.setattr(watcher, "LOOK_SECONDS", 3_600.0)
    root = Path(shutil.copytree(models_root, tmp_path / "models"))
    publish(root / "tiny", 2)
    source = ModelsFolder(root, PrivateCopies(tmp_path / "copies"))
    async with (
        serve_in_process(source, admin_listen="127.0.0.1:0") as served,
        grpc.aio.insecure_channel(f"127.0.0.1:{served.server.operator_ports['admin_listen']}") as to_operate,
        grpc.aio.insecure_channel(f"127.0.0.1:{served.port}") as to_ask,
    ):
        operated = Operated(root / "tiny", ModelAdminServiceStub(to_operate), RecommendationServiceStub(to_ask), to_ask)
        while not any(known.serving for known in served.server.models.known()):  # noqa: ASYNC110
            await asyncio.sleep(0)
        yield operated


@asynccontextmanager
async def refused(reason: Reason, field: str = "") -> AsyncIterator[None]:
    """Expects a call to fail for just that reason."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        yield
    assert caught.value.code() is reason.code
    details = dict(tuple(caught.value.trailing_metadata()))["grpc-status-details-bin"]
    status = status_pb2.Status.FromString(details)
    info, bad_request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    assert status.details[0].Unpack(info)
    assert info.reason == reason.name
    assert status.message.startswith(f"{field}: got " if field else reason.text)
    if field:
        assert status.details[1].Unpack(bad_request)
        assert [violation.field for violation in bad_request.field_violations] == [field]


async def test_a_plan_that_was_never_set_is_empty_and_the_newest_version_answers(operated: Operated) -> None:
    assert await operated.get() == pb.ServingPlan()
    assert await operated.answering() == 2


async def test_a_plan_that_was_set_is_on_the_disk_and_followed(operated: Operated) -> None:
    plan = pb.ServingPlan(stable=1, canary=pb.Canary(version=2, weight=1.0))
    written = await operated.set(plan)
    plan.revision = 1
    assert written == plan
    assert read_plan(operated.folder) == plan
    assert await operated.get() == plan
    await operated.until_answers(1)
    await operated.until_answers(2, user_id="u1")


async def test_a_plan_that_another_one_has_replaced_is_not_replaced(operated: Operated) -> None:
    await operated.set(pb.ServingPlan(stable=1))
    async with refused(Reason.PLAN_CHANGED):
        await operated.set(pb.ServingPlan(stable=2))
    assert await operated.get() == pb.ServingPlan(revision=1, stable=1)
    assert (await operated.set(pb.ServingPlan(revision=1, stable=2))).revision == 2


WRONG = [
    (pb.ServingPlan(stable=3), "plan.stable"),
    (pb.ServingPlan(stable=-1), "plan.stable"),
    (pb.ServingPlan(revision=-1), "plan.revision"),
    (pb.ServingPlan(stable=2, shadow=2), "plan.stable"),
    (pb.ServingPlan(canary=pb.Canary(version=2, weight=1.5)), "plan.canary.weight"),
    (pb.ServingPlan(canary=pb.Canary(weight=0.5)), "plan.canary.version"),
    (pb.ServingPlan(also=[1, 7]), "plan.also[1]"),
    (pb.ServingPlan(also=range(1, 10)), "plan.also"),
]


async def test_a_plan_that_is_wrong_is_not_set_and_its_field_is_named(operated: Operated) -> None:
    for plan, field in WRONG:
        async with refused(Reason.INVALID_FIELD, field):
            await operated.set(plan)
    assert await operated.get() == pb.ServingPlan()


async def test_after_a_roll_back_the_version_before_answers_and_before_the_oldest_there_is_none(
    operated: Operated,
) -> None:
    await operated.set(pb.ServingPlan(stable=2, shadow=1))
    assert await operated.roll_back() == pb.ServingPlan(revision=2, stable=1)
    await operated.until_answers(1)
    async with refused(Reason.NOTHING_TO_ROLL_BACK_TO):
        await operated.roll_back()
    assert await operated.get() == pb.ServingPlan(revision=2, stable=1)


async def test_a_roll_back_passes_over_a_version_that_has_failed(operated: Operated) -> None:
    operated.publish(3)
    await operated.set(pb.ServingPlan())
    await operated.until_answers(3)
    (operated.folder / "2" / file_names.GOLDEN).unlink()
    assert (await operated.roll_back()).stable == 2
    # It cannot be loaded, as the server finds soon.
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (plan := await operated.roll_back()).stable != 1:
            assert plan.stable == 2
    await operated.until_answers(1)


async def test_a_model_that_is_not_there_is_not_found(operated: Operated) -> None:
    for model in ("", "other", "../tiny"):
        for call in (operated.get(model), operated.set(pb.ServingPlan(), model), operated.roll_back(model)):
            async with refused(Reason.MODEL_NOT_FOUND):
                await call


async def test_a_plan_that_cannot_be_read_fails_the_calls_and_is_left_alone(operated: Operated) -> None:
    (operated.folder / NAME).write_text("by hand")
    for call in (operated.get(), operated.set(pb.ServingPlan()), operated.roll_back()):
        async with refused(Reason.PLAN_FAILED):
            await call
    assert (operated.folder / NAME).read_text() == "by hand"
    assert await operated.answering() == 2


async def test_a_plan_that_cannot_be_written_fails_the_call(operated: Operated) -> None:
    (operated.folder / f"{NAME}.part").mkdir()
    for call in (operated.set(pb.ServingPlan(stable=1)), operated.roll_back()):
        async with refused(Reason.PLAN_FAILED):
            await call
    assert await operated.get() == pb.ServingPlan()


async def test_callers_cannot_change_plans(operated: Operated) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ModelAdminServiceStub(operated.channel).GetServingPlan(pb.GetServingPlanRequest(model="tiny"))
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_without_an_address_for_it_nobody_can(run_server: Any) -> None:
    async with run_server() as running:
        assert running.server.operator_ports == {}
