"""Between gRPC and the services: surrounds every handler, and turns what it raises into a status with its details."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, nullcontext
from typing import Any, Final, NoReturn, TypeAlias, cast

import grpc

from bascule_server.calls import CURRENT_CALL, Call
from bascule_server.draining import Draining
from bascule_server.errors import Reason, ServiceError, to_status
from bascule_server.interceptors.call_log import call_log
from bascule_server.interceptors.deadline import TimeoutPolicy, deadline
from bascule_server.interceptors.error_boundary import error_boundary

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
UnaryMethod: TypeAlias = Callable[[object, Context], Awaitable[object]]
StreamMethod: TypeAlias = Callable[[object, Context], AsyncGenerator[object, None]]

_MALFORMED: Final = object()
"""Stands for bytes that are no message: gRPC would answer UNKNOWN to an exception from a deserializer."""


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Surrounds every call, from the outside in: log, error boundary, draining, deadline."""

    def __init__(self, timeouts: TimeoutPolicy, draining: Draining) -> None:
        self._timeouts = timeouts
        self._draining = draining

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """The method's handler, surrounded; none where there is no such method."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        surrounded = self._stream if handler.response_streaming else self._unary
        return surrounded(handler, handler_call_details.method)

    def _unary(self, handler: Handler, method: str) -> Handler:
        answer = cast(UnaryMethod, handler.unary_unary)

        async def behaviour(request: object, context: Context) -> object:
            async with self._surroundings(method, context, is_stream=False):
                return await answer(_readable(request), context)

        return grpc.unary_unary_rpc_method_handler(behaviour, _lenient(handler), handler.response_serializer)

    def _stream(self, handler: Handler, method: str) -> Handler:
        answer = cast(StreamMethod, handler.stream_stream or handler.unary_stream)
        readable = _all_readable if handler.request_streaming else _readable

        async def behaviour(request: object, context: Context) -> None:
            async with self._surroundings(method, context, is_stream=True):
                responses = answer(readable(request), context)
                # Written here instead of yielded: gRPC does not close a generator whose call is cancelled.
                async with aclosing(responses):
                    async for response in responses:
                        await context.write(response)

        if handler.request_streaming:
            return grpc.stream_stream_rpc_method_handler(behaviour, _lenient(handler), handler.response_serializer)
        return grpc.unary_stream_rpc_method_handler(behaviour, _lenient(handler), handler.response_serializer)

    @asynccontextmanager
    async def _surroundings(self, method: str, context: Context, *, is_stream: bool) -> AsyncIterator[None]:
        timeout = self._timeouts.timeout(context.time_remaining(), is_stream=is_stream)
        call = Call(method, time.monotonic() + timeout)
        CURRENT_CALL.set(call)
        task = cast(asyncio.Task[None], asyncio.current_task())
        draining = nullcontext() if call.is_probe else self._draining.in_flight(task, is_stream=is_stream)
        try:
            with call_log(call), error_boundary(), draining:
                async with deadline(call):
                    yield
        except ServiceError as error:
            await _abort(context, error)


def _lenient(handler: Handler) -> Callable[[bytes], object]:
    strict = cast(Callable[[bytes], object], handler.request_deserializer)

    def deserialise(serialised: bytes) -> object:
        try:
            return strict(serialised)
        except Exception:  # noqa: BLE001 - whatever a deserializer raises, the bytes are to blame
            return _MALFORMED

    return deserialise


def _readable(request: object) -> object:
    if request is _MALFORMED:
        raise ServiceError(Reason.MALFORMED_MESSAGE)
    return request


async def _all_readable(requests: object) -> AsyncIterator[object]:
    async for request in cast(AsyncIterator[object], requests):
        yield _readable(request)


async def _abort(context: Context, error: ServiceError) -> NoReturn:
    status = to_status(error)
    metadata: list[tuple[str, str | bytes]] = [("grpc-status-details-bin", status.SerializeToString())]
    if error.reason.retry_delay_seconds is not None:
        metadata.append(("grpc-retry-pushback-ms", str(round(error.reason.retry_delay_seconds * 1000))))
    await context.abort(error.reason.code, status.message, tuple(metadata))
