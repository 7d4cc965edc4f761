"""The health is NOT_SERVING until proven and when stopping, and whoever watches is told."""

from typing import Any

import grpc
import pytest

from bascule.standard_protos import health_pb2 as pb

SERVICES = ["", "bascule.v1.RecommendationService", "bascule.v1.ModelService"]


@pytest.mark.parametrize("service", SERVICES)
async def test_a_server_with_its_models_serves(run_server: Any, service: str) -> None:
    async with run_server() as running:
        response = await running.health.Check(pb.HealthCheckRequest(service=service))
        assert response.status == pb.HealthCheckResponse.SERVING


async def test_a_server_that_loads_does_not_serve(run_server: Any, never_loaded: Any) -> None:
    async with run_server(load=never_loaded) as running:
        response = await running.health.Check(pb.HealthCheckRequest())
        assert response.status == pb.HealthCheckResponse.NOT_SERVING


async def test_an_unknown_service_is_not_found_but_can_be_watched(run_server: Any) -> None:
    async with run_server() as running:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await running.health.Check(pb.HealthCheckRequest(service="x"))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        watch = running.health.Watch(pb.HealthCheckRequest(service="x"))
        assert (await watch.read()).status == pb.HealthCheckResponse.SERVICE_UNKNOWN


async def test_all_who_watch_are_told_that_the_server_stops(run_server: Any) -> None:
    async with run_server() as running:
        watches = [running.health.Watch(pb.HealthCheckRequest(service=service)) for service in SERVICES]
        gone = running.health.Watch(pb.HealthCheckRequest())
        assert [(await watch.read()).status for watch in [*watches, gone]] == [pb.HealthCheckResponse.SERVING] * 4
        gone.cancel()
        await running.stop()
        assert [(await watch.read()).status for watch in watches] == [pb.HealthCheckResponse.NOT_SERVING] * 3
        for watch in watches:
            assert await watch.code() is grpc.StatusCode.UNAVAILABLE
