"""``bascule.v1.ModelAdminService``: reads, checks and writes the plans of models, which every worker follows."""

# ruff: noqa: N802 - the methods are named by the protocol

import asyncio
from pathlib import Path

import structlog

from bascule.v1 import model_admin_service_pb2 as pb
from bascule.v1.model_admin_service_pb2_grpc import ModelAdminServiceServicer
from bascule_server.calls import CURRENT_CALL
from bascule_server.errors import Reason, ServiceError, invalid_field
from bascule_server.models import Models
from bascule_server.versions.models_folder import Published
from bascule_server.versions.plan import PlanChangedError, PlanError, complaints, unpublished, write_plan
from bascule_server.versions.watcher import Watcher

_log = structlog.get_logger()


class ModelAdminService(ModelAdminServiceServicer):
    """Changes the plans that ``watcher`` follows."""

    def __init__(self, models: Models, watcher: Watcher) -> None:
        self._models = models
        self._watcher = watcher

    async def GetServingPlan(self, request: pb.GetServingPlanRequest, _context: object) -> pb.GetServingPlanResponse:
        """The plan of a model."""
        return pb.GetServingPlanResponse(plan=_readable_plan(await self._published(request.model)))

    async def SetServingPlan(self, request: pb.SetServingPlanRequest, _context: object) -> pb.SetServingPlanResponse:
        """Another plan."""
        published = await self._published(request.model)
        for field, complaint in (*complaints(request.plan), *unpublished(request.plan, published.folders)):
            raise invalid_field(f"plan.{field}", complaint)
        return pb.SetServingPlanResponse(plan=await self._write(request.model, published, request.plan))

    async def RollBack(self, request: pb.RollBackRequest, _context: object) -> pb.RollBackResponse:
        """The version before the one that is stable."""
        published = await self._published(request.model)
        plan = _readable_plan(published)
        # Not what answers now: this worker may not have followed the plan yet.
        present = plan.stable or self._models.route_of(request.model).stable
        failed = self._watcher.failed_versions(request.model)
        older = [version for version in published.folders if version < present and version not in failed]
        if not older:
            raise ServiceError(Reason.NOTHING_TO_ROLL_BACK_TO)
        plan = pb.ServingPlan(revision=plan.revision, stable=max(older))
        return pb.RollBackResponse(plan=await self._write(request.model, published, plan))

    async def _published(self, model: str) -> Published:
        """What is published of a model, where the caller may ask about it now."""
        access = CURRENT_CALL.get().access
        if access.models is not None and model not in access.models:
            raise ServiceError(Reason.MODEL_NOT_ALLOWED)
        access.take(1)
        try:
            published = (await self._watcher.published()).get(model)
        except OSError as error:
            _log.error("plan not read", why=str(error))
            raise ServiceError(Reason.PLAN_FAILED) from None
        if published is None:
            raise ServiceError(Reason.MODEL_NOT_FOUND)
        return published

    async def _write(self, model: str, published: Published, plan: pb.ServingPlan) -> pb.ServingPlan:
        folder: Path = next(iter(published.folders.values())).parent
        try:
            written = await asyncio.to_thread(write_plan, folder, plan)
        except PlanChangedError:
            raise ServiceError(Reason.PLAN_CHANGED) from None
        except (OSError, PlanError) as error:
            _log.error("plan not written", why=str(error))
            raise ServiceError(Reason.PLAN_FAILED) from None
        _log.info("plan set", model=model, revision=written.revision)
        self._watcher.look_soon()
        return written


def _readable_plan(published: Published) -> pb.ServingPlan:
    if isinstance(published.plan, PlanError):
        _log.error("plan not read", why=str(published.plan))
        raise ServiceError(Reason.PLAN_FAILED)
    return published.plan
