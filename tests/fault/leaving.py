"""Callers who leave: each cancels one call, or one stream, at a moment that it is told."""

import asyncio
from typing import Any

import grpc
from fault.open_loop import MESSAGE, METHOD

from bascule.v1 import recommendation_service_pb2 as pb

STREAM = "/bascule.v1.RecommendationService/StreamRecommendItems"
STREAM_MESSAGE = pb.StreamRecommendItemsRequest(queries=[pb.Query(user=pb.User(history=["i"]))] * 3).SerializeToString()


async def leave_a_call(channel: grpc.aio.Channel, pause: int) -> None:
    method: Any = channel.unary_unary(METHOD)
    call = method(MESSAGE, timeout=10)
    for _ in range(pause):
        await asyncio.sleep(0)
    call.cancel()
    await asyncio.wait([asyncio.ensure_future(call.code())])


async def leave_a_stream(channel: grpc.aio.Channel, pause: int) -> None:
    call: Any = channel.stream_stream(STREAM)()
    try:
        for _ in range(pause % 3):
            await call.write(STREAM_MESSAGE)
        if pause % 3 and pause % 2:
            await call.read()
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
        pass
    call.cancel()
    await call.code()
