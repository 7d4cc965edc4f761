"""The methods of a server, called with bytes and without a port: what stands between a message and its answer."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import aclosing
from pathlib import Path
from typing import Any, cast

import grpc

from bascule_server.calls import CURRENT_CALL, Call
from bascule_server.config import ServerConfig
from bascule_server.errors import ServiceError
from bascule_server.server import RECOMMEND_ITEMS, Server
from bascule_server.transports.core_loop import new_core_loop
from bascule_server.transports.messages import lenient, readable
from bascule_server.versions.copies import PrivateCopies
from bascule_server.versions.models_folder import ModelsFolder

PATIENCE_SECONDS = 60.0


class InProcessCalls:
    """Everything that ``bascule serve`` is made of but the wire. Nothing is caught that a method raises."""

    def __init__(self, models: Path) -> None:
        """Loads the models, which may change where their catalogue and their plan do."""
        self._loop = new_core_loop()
        self._working = self._loop.run_until_complete(self._started(models))

    async def _started(self, models: Path) -> "asyncio.Task[None]":
        anywhere = "127.0.0.1:0"
        config = ServerConfig(listen=anywhere, catalogue_listen=anywhere, admin_listen=anywhere)
        self._server = Server(config, ModelsFolder(models, PrivateCopies()))
        transports: list[Any] = [self._server._transport, *self._server._operator_transports.values()]
        self._handlers = [handler for transport in transports for handler in transport._generic_handlers]
        self._quick_methods = transports[0]._quick_methods
        await self._server.load()
        return asyncio.create_task(self._server.work())

    def answers(self, method: str, message: bytes) -> list[bytes]:
        """What a method, by its full name, answers to a message; a stream to the same message twice.

        Raises:
            ServiceError: what the caller is told instead.
        """
        found: list[bytes] = self._run(self._answers(method, message))
        return found

    def quick_answer(self, message: bytes) -> bytes:
        """What ``RecommendItems`` answers to a transport that hands over calls without tasks. Raises as ``answers``."""
        found: bytes = self._run(self._quick_answer(message))
        return found

    def _run(self, answering: Coroutine[Any, Any, Any]) -> Any:
        found = self._loop.run_until_complete(asyncio.wait_for(answering, PATIENCE_SECONDS))
        if self._working.done():
            self._working.result()
        return found

    async def _answers(self, method: str, message: bytes) -> list[bytes]:
        CURRENT_CALL.set(Call(method))
        handler: Any = self._handler(method)
        deserialise = lenient(handler)
        if not handler.response_streaming:
            response = await handler.unary_unary(readable(deserialise(message)), None)
            return [handler.response_serializer(response)]

        async def requests() -> AsyncIterator[object]:
            for _ in range(2):
                yield readable(deserialise(message))

        async with aclosing(handler.stream_stream(requests(), None)) as responses:
            return [handler.response_serializer(response) async for response in responses]

    async def _quick_answer(self, message: bytes) -> bytes:
        call = Call(RECOMMEND_ITEMS)
        CURRENT_CALL.set(call)
        reply = _Reply()
        self._quick_methods[RECOMMEND_ITEMS](message, call, reply)
        try:
            return await reply.answer
        finally:
            reply.when_over()

    def _handler(self, method: str) -> "grpc.RpcMethodHandler[Any, Any]":
        details = cast(grpc.HandlerCallDetails, _Details(method))
        return next(found for each in self._handlers if (found := each.service(details)) is not None)


class _Details:
    invocation_metadata = ()

    def __init__(self, method: str) -> None:
        self.method = method


class _Reply:
    """See ``transport.Reply``."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.when_over: Any = lambda: None

    @property
    def is_over(self) -> bool:
        return self.answer.done()

    def send(self, message: bytes) -> None:
        self.answer.set_result(message)

    def fail(self, error: ServiceError) -> None:
        self.answer.set_exception(error)

    def delay(self) -> None:
        pass
