"""A server in this process, on a real port: what it answers, and how it comes to rest."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from bascule.v1 import model_service_pb2 as models_pb
from bascule.v1 import recommendation_service_pb2 as pb
from grpc_health.v1 import health_pb2


def history_of(length: int) -> pb.Query:
    return pb.Query(user=pb.User(history=["seen"] * length))


async def test_a_call_is_answered_by_the_model(run_server: Any) -> None:
    async with run_server() as running:
        response = await running.recommendations.RecommendItems(pb.RecommendItemsRequest(query=history_of(3)))
        assert (list(response.ranking.item_ids), list(response.ranking.scores)) == (["seen"], [3.0])
        assert response.served_by == pb.ModelVersion(model="counting", version=3)


async def test_stream(run_server: Any) -> None:
    async with run_server() as running:
        call = running.recommendations.StreamRecommendItems()
        await call.write(pb.StreamRecommendItemsRequest(sequence_id=1, queries=[history_of(1)]))
        print(await call.read())
        await running.server.stop()
        with pytest.raises(grpc.aio.AioRpcError) as e:
            while await call.read() is not grpc.aio.EOF: pass
        print(e.value)
