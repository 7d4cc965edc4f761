"""Callers learn what is loaded and what it reads, also while it loads."""

from typing import Any

import grpc
import pytest

from bascule.v1 import model_service_pb2 as pb
from bascule.v1.artifact_pb2 import Manifest
from bascule.v1.recommendation_service_pb2 import ModelSelector, ModelVersion
from bascule_server.artifact.reading import ArtifactError
from bascule_server.errors import Reason


async def test_a_model_that_serves_is_told_with_its_manifest(run_server: Any, manifest: Manifest) -> None:
    async with run_server() as running:
        response = await running.models.GetModel(pb.GetModelRequest(model=ModelSelector(model="counting")))
        assert response.model.model_version == ModelVersion(model="counting", version=3)
        assert response.model.state == pb.MODEL_STATE_SERVING
        assert response.model.manifest == manifest


async def test_a_model_that_loads_is_listed_without_a_manifest(run_server: Any, never_loaded: Any) -> None:
    async with run_server(load=never_loaded) as running:
        (model,) = (await running.models.ListModels(pb.ListModelsRequest())).models
        assert model.state == pb.MODEL_STATE_LOADING
        assert not model.HasField("manifest")


async def test_a_model_that_failed_says_so_without_a_path_of_this_machine(run_server: Any) -> None:
    def load(_: object) -> None:
        raise ArtifactError("/home/somebody/models: damaged", Reason.FILE_DAMAGED)

    async with run_server(load=load) as running:
        await running.failed()
        (model,) = (await running.models.ListModels(pb.ListModelsRequest())).models
        assert model.state == pb.MODEL_STATE_FAILED
        assert model.error.message == Reason.FILE_DAMAGED.text


async def test_a_model_that_is_not_there_is_not_found(run_server: Any) -> None:
    async with run_server() as running:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await running.models.GetModel(pb.GetModelRequest(model=ModelSelector(model="x")))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
