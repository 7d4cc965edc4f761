"""The transport that drives gRPC's C core from its event loop, and hands over unary calls without a task for each."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias, cast

import grpc

from bascule_server.calls import Call
from bascule_server.errors import ServiceError
from bascule_server.faults import told
from bascule_server.identity import Presented
from bascule_server.interceptors import Surroundings
from bascule_server.quick_methods import QuickMethods
from bascule_server.transports.awaited_call import AwaitedCall
from bascule_server.transports.c_core import CoreServer, IncomingCall
from bascule_server.transports.core_loop import CoreEventLoop
from bascule_server.transports.messages import Metadata, check_size, host_of, lenient, readable, trailing_metadata
from bascule_server.transports.quick_call import QuickCall

CALLS_ASKED_FOR = 64
"""Calls that the core may hand over before it is asked again: as many come in together as wait."""

SWEEP_SECONDS = 1.0
"""How often calls are looked for whose message does not come, or whose answer is not taken."""

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class CoreTransport:
    """See ``Transport``. Made in a ``CoreEventLoop``, in which it runs."""

    def __init__(
        self,
        options: Sequence[tuple[str, int]],
        surroundings: Surroundings,
        quick_methods: QuickMethods,
        write_timeout_seconds: float = 120.0,
    ) -> None:
        loop = asyncio.get_running_loop()
        if not isinstance(loop, CoreEventLoop):
            raise TypeError(f"got {type(loop).__name__}; a CoreTransport runs in a CoreEventLoop")
        self._server = CoreServer(loop.queue, options)
        self._surroundings = surroundings
        self._quick_methods = quick_methods
        self._generic_handlers: list[grpc.GenericRpcHandler] = []
        self._handlers: dict[str, Handler | None] = {}
        self._write_timeout_seconds = write_timeout_seconds
        self._tasks: set[asyncio.Task[None]] = set()
        self._quick_calls: set[QuickCall] = set()
        self._sweeping: asyncio.TimerHandle | None = None

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """See ``Transport``."""
        self._generic_handlers.extend(generic_rpc_handlers)

    def add_registered_method_handlers(self, service_name: str, method_handlers: Mapping[str, Any]) -> None:
        """See ``Transport``. The generic handlers know these methods too."""

    def listen(self, address: str, credentials: grpc.ServerCredentials | None) -> int:
        """See ``Transport``."""
        return self._server.listen(address, credentials)

    async def start(self) -> None:
        """See ``Transport``."""
        self._server.start()
        for _ in range(CALLS_ASKED_FOR):
            self._server.request(self._arrived)
        self._sweep()

    async def close(self) -> None:
        """See ``Transport``."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        ended = asyncio.get_running_loop().create_future()
        self._server.stop(lambda: ended.set_result(None))
        for task in self._tasks:
            task.cancel()
        await ended
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _arrived(self, incoming: IncomingCall) -> None:
        self._server.request(self._arrived)
        if quick := self._quick_methods.get(incoming.method):
            if call := self._let_in(incoming):
                quick_call = QuickCall(incoming, call, quick, self._surroundings, self._quick_calls.discard)
                self._quick_calls.add(quick_call)
                incoming.receive(quick_call.received)
            return
        handler = self._handler(incoming)
        if handler is None:
            incoming.fail(grpc.StatusCode.UNIMPLEMENTED, "Method not found!", (), _ignore, is_watched=False)
            return
        # A stream is refused by its task, since grpc.aio's clients lose the status where they are faster to write.
        if call := self._call(incoming, is_stream=True) if handler.response_streaming else self._let_in(incoming):
            awaited = AwaitedCall(incoming, self._write_timeout_seconds)
            task = asyncio.create_task(self._serve(awaited, handler, call))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            incoming.watch(partial(_cancel_if, task))

    def _call(self, incoming: IncomingCall, *, is_stream: bool) -> Call:
        return self._surroundings.call(incoming.method, incoming.remaining_seconds, is_stream=is_stream)

    def _admit(self, incoming: IncomingCall, call: Call) -> None:
        check_size(incoming.metadata)
        presented = Presented(incoming.metadata, incoming.peer_names)
        self._surroundings.admit(call, presented, host_of(incoming.peer))

    def _let_in(self, incoming: IncomingCall) -> Call | None:
        """The unary call, unless it is refused, which costs little: its message is not read."""
        call = self._call(incoming, is_stream=False)
        try:
            self._admit(incoming, call)
            self._surroundings.door.let_in(call)
        except Exception as exception:  # noqa: BLE001 - nothing leaves but our own errors
            error = told(exception)
            self._surroundings.log.failed(call, error)
            code, metadata = error.reason.code, trailing_metadata(error)
            incoming.fail(code, str(error), metadata, _ignore, is_watched=False)
            return None
        return call

    def _sweep(self) -> None:
        """Ends calls whose message does not come, or whose answer is not taken. Without a timer for each."""
        now = time.monotonic()
        for quick_call in tuple(self._quick_calls):
            quick_call.sweep(now, self._write_timeout_seconds)
        self._sweeping = asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._sweep)

    def _handler(self, incoming: IncomingCall) -> Handler | None:
        """The handler of the call's method, looked up once where there is one."""
        found = self._handlers.get(incoming.method)
        if found is None:
            details = _CallDetails(incoming.method, incoming.metadata)
            asked = (generic.service(details) for generic in self._generic_handlers)
            found = next((handler for handler in asked if handler is not None), None)
            if found is not None:
                self._handlers[incoming.method] = found
        return found

    async def _serve(self, awaited: AwaitedCall, handler: Handler, call: Call) -> None:
        """Answers one call."""
        is_stream = handler.response_streaming
        try:
            async with self._surroundings.around(call, is_stream=is_stream):
                if is_stream:
                    self._admit(awaited.incoming, call)
                    await _answer_stream(awaited, handler)
                    return
                message = await awaited.only_message()
                self._surroundings.door.check(call)
                request = readable(lenient(handler)(message))
                response = _serialised(handler, await cast(Any, handler.unary_unary)(request, None))
            await awaited.answer(response)
        except ServiceError as error:
            await awaited.fail(error)


@dataclass(slots=True)
class _CallDetails:
    """What a generic handler is asked with; see ``grpc.HandlerCallDetails``."""

    method: str
    invocation_metadata: Metadata


async def _answer_stream(awaited: AwaitedCall, handler: Handler) -> None:
    requests: object
    if handler.request_streaming:
        requests, method = _requests(awaited, handler), handler.stream_stream
    else:
        requests, method = readable(lenient(handler)(await awaited.only_message())), handler.unary_stream
    async with aclosing(cast(Any, method)(requests, None)) as responses:
        async for response in responses:
            await awaited.send(_serialised(handler, response))
    await awaited.end()


async def _requests(awaited: AwaitedCall, handler: Handler) -> AsyncIterator[object]:
    deserialise = lenient(handler)
    while (message := await awaited.message()) is not None:
        yield readable(deserialise(message))


def _serialised(handler: Handler, response: object) -> bytes:
    return cast(Callable[[object], bytes], handler.response_serializer)(response)


def _cancel_if(task: asyncio.Task[None], is_cut_short: bool) -> None:
    if is_cut_short:
        task.cancel()


def _ignore(_: object) -> None:
    pass
