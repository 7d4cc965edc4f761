"""``bascule.v1.ModelService``: which models there are, what they read and how good they were found to be."""

# ruff: noqa: N802 - the methods are named by the protocol

from bascule.v1 import model_service_pb2 as pb
from bascule.v1.model_service_pb2_grpc import ModelServiceServicer
from bascule_server.calls import CURRENT_CALL
from bascule_server.errors import to_status
from bascule_server.models import KnownVersion, Models, Names


class ModelService(ModelServiceServicer):
    """Tells of the versions in ``models``, also of those that do not answer yet."""

    def __init__(self, models: Models) -> None:
        self._models = models

    async def GetModel(self, request: pb.GetModelRequest, _context: object) -> pb.GetModelResponse:
        """One version of a model."""
        return pb.GetModelResponse(model=_model(self._models.named(request.model, _allowed())))

    async def ListModels(self, _request: pb.ListModelsRequest, _context: object) -> pb.ListModelsResponse:
        """Every version, by name and then version."""
        return pb.ListModelsResponse(models=[_model(known) for known in self._models.known(_allowed())])


def _allowed() -> Names:
    """The models that the caller may ask. The call counts as a row."""
    access = CURRENT_CALL.get().access
    access.take(1)
    return access.models


def _model(known: KnownVersion) -> pb.Model:
    return pb.Model(
        model_version=known.name_and_version,
        state=known.state,
        error=None if known.error is None else to_status(known.error),
        manifest=known.manifest,
    )
