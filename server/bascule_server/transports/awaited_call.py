"""A call of the C core whose operations are awaited, by a task of its own."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from bascule_server.errors import Reason, ServiceError
from bascule_server.transports.c_core import IncomingCall
from bascule_server.transports.messages import present, trailing_metadata

Start: TypeAlias = Callable[[Callable[[Any], None]], None]
"""Starts an operation, and calls what it is given with the outcome."""


class AwaitedCall:
    """A call whose operations are awaited."""

    def __init__(self, incoming: IncomingCall, write_timeout_seconds: float) -> None:
        self.incoming = incoming
        self._write_timeout_seconds = write_timeout_seconds
        self._has_begun = False
        self._is_stuck = False

    async def message(self) -> bytes | None:
        """The next message; None at the end."""
        message: bytes | None = await _outcome(self.incoming.receive)
        return message

    async def only_message(self) -> bytes:
        """The message of a call that has one.

        Raises:
            ServiceError: MALFORMED_MESSAGE, it has none.
        """
        return present(await self.message())

    async def send(self, message: bytes) -> None:
        """Sends one of several messages, when the reader has room for it."""
        await self._begin()
        await self._sent(lambda then: self.incoming.send(message, then))

    async def end(self) -> None:
        """Ends a stream well."""
        await self._begin()
        await self._sent(self.incoming.end)

    async def answer(self, message: bytes) -> None:
        """Answers a call with its one message."""
        await self._sent(lambda then: self.incoming.answer(message, then))

    async def fail(self, error: ServiceError) -> None:
        """Ends the call with what is wrong."""
        if self._is_stuck:
            # A status would wait behind what the reader does not take.
            self.incoming.cut_off(error.reason.code, str(error))
            return
        code, metadata = error.reason.code, trailing_metadata(error)
        await _outcome(lambda then: self.incoming.fail(code, str(error), metadata, then, has_begun=self._has_begun))

    async def _begin(self) -> None:
        if not self._has_begun:
            self._has_begun = True
            await self._sent(self.incoming.begin)

    async def _sent(self, start: Start) -> None:
        """Raises ``ServiceError`` with READER_STOPPED where that could not be sent for too long."""
        try:
            async with asyncio.timeout(self._write_timeout_seconds):
                was_sent = await _outcome(start)
        except TimeoutError:
            self._is_stuck = True
            raise ServiceError(Reason.READER_STOPPED) from None
        if not was_sent:
            # The caller has left, of which the core tells in its own time.
            raise asyncio.CancelledError


def _outcome(start: Start) -> Awaitable[Any]:
    future = asyncio.get_running_loop().create_future()
    start(lambda outcome: None if future.done() else future.set_result(outcome))
    return future
