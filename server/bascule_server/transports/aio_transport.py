"""grpc.aio: the transport that stands on public interfaces alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any, NoReturn, TypeAlias, cast

import grpc

from bascule_server.errors import Reason, ServiceError
from bascule_server.identity import Presented
from bascule_server.interceptors import Surroundings
from bascule_server.transports.messages import Metadata, check_size, host_of, lenient, readable, trailing_metadata

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
UnaryMethod: TypeAlias = Callable[[object, Context], Awaitable[object]]
StreamMethod: TypeAlias = Callable[[object, Context], AsyncGenerator[object, None]]


class AioTransport:
    """See ``Transport``. Belongs to the event loop in which it is made."""

    def __init__(
        self,
        options: Sequence[tuple[str, int]],
        surroundings: Surroundings,
        write_timeout_seconds: float = 120.0,
    ) -> None:
        interceptor = _CallInterceptor(surroundings, write_timeout_seconds)
        self._server = grpc.aio.server(interceptors=[interceptor], options=options)

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """See ``Transport``."""
        self._server.add_generic_rpc_handlers(tuple(generic_rpc_handlers))

    def add_registered_method_handlers(self, service_name: str, method_handlers: Mapping[str, Any]) -> None:
        """See ``Transport``."""
        self._server.add_registered_method_handlers(service_name, dict(method_handlers))

    def listen(self, address: str, credentials: grpc.ServerCredentials | None) -> int:
        """See ``Transport``."""
        if credentials is None:
            return self._server.add_insecure_port(address)
        return self._server.add_secure_port(address, credentials)

    async def start(self) -> None:
        """See ``Transport``."""
        await self._server.start()

    async def close(self) -> None:
        """See ``Transport``."""
        await self._server.stop(None)


class _CallInterceptor(grpc.aio.ServerInterceptor):
    """Surrounds every handler, and turns what it raises into a status with its details."""

    def __init__(self, surroundings: Surroundings, write_timeout_seconds: float) -> None:
        self._surroundings = surroundings
        self._write_timeout_seconds = write_timeout_seconds

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
        answer, deserialise = cast(UnaryMethod, handler.unary_unary), lenient(handler)

        async def behaviour(message: bytes, context: Context) -> object:
            async with self._around(method, context, is_stream=False):
                return await answer(readable(deserialise(message)), context)

        # Deserialised above, since a call that is refused is not worth it.
        return grpc.unary_unary_rpc_method_handler(behaviour, None, handler.response_serializer)

    def _stream(self, handler: Handler, method: str) -> Handler:
        answer = cast(StreamMethod, handler.stream_stream or handler.unary_stream)
        read = _all_readable if handler.request_streaming else readable

        async def behaviour(request: object, context: Context) -> None:
            async with self._around(method, context, is_stream=True):
                responses = answer(read(request), context)
                # Written here instead of yielded: gRPC does not close a generator whose call is cancelled.
                async with aclosing(responses):
                    async for response in responses:
                        await self._write(context, response)

        if handler.request_streaming:
            return grpc.stream_stream_rpc_method_handler(behaviour, lenient(handler), handler.response_serializer)
        return grpc.unary_stream_rpc_method_handler(behaviour, lenient(handler), handler.response_serializer)

    async def _write(self, context: Context, response: object) -> None:
        try:
            async with asyncio.timeout(self._write_timeout_seconds):
                await context.write(response)
        except TimeoutError:
            raise ServiceError(Reason.READER_STOPPED) from None

    @asynccontextmanager
    async def _around(self, method: str, context: Context, *, is_stream: bool) -> AsyncIterator[None]:
        call = self._surroundings.call(method, context.time_remaining(), is_stream=is_stream)
        metadata = cast(Metadata, context.invocation_metadata() or ())
        try:
            async with self._surroundings.around(call, is_stream=is_stream):
                check_size(metadata)
                self._surroundings.admit(call, Presented(metadata, context.peer_identities), host_of(context.peer()))
                self._surroundings.door.check(call)
                yield
        except ServiceError as error:
            try:
                async with asyncio.timeout(self._write_timeout_seconds):
                    await _abort(context, error)
            except TimeoutError:
                # The status waits behind what the reader does not take: grpc.aio lets go of a call that is cancelled.
                raise asyncio.CancelledError from None


async def _all_readable(requests: object) -> AsyncIterator[object]:
    async for request in cast(AsyncIterator[object], requests):
        yield readable(request)


async def _abort(context: Context, error: ServiceError) -> NoReturn:
    await context.abort(error.reason.code, str(error), trailing_metadata(error))
