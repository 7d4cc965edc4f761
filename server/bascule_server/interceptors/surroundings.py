"""Surrounds each call, from the outside in: log, error boundary, draining, deadline. Before: identity, and the door."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from typing import Protocol, cast

from bascule_server.calls import CURRENT_CALL, Call
from bascule_server.draining import Draining
from bascule_server.identity import Access, Presented
from bascule_server.interceptors.call_log import CallLog
from bascule_server.interceptors.deadline import TimeoutPolicy, deadline
from bascule_server.interceptors.error_boundary import error_boundary


class Door(Protocol):
    """Where calls are refused before their messages are read."""

    def let_in(self, call: Call) -> None:
        """A call has come. Raises ``ServiceError`` where it is refused."""

    def check(self, call: Call) -> None:
        """Its message is there. Raises ``ServiceError`` where it is refused after all."""


class _OpenDoor:
    def let_in(self, call: Call) -> None:
        pass

    def check(self, call: Call) -> None:
        pass


OPEN_DOOR = _OpenDoor()


class Gatekeeper(Protocol):
    """What decides who may call."""

    def access(self, method: str, presented: Presented) -> Access:
        """See ``Gate``."""


class Surroundings:
    """What all calls of one server have around them."""

    def __init__(
        self,
        timeouts: TimeoutPolicy,
        draining: Draining,
        log: CallLog,
        gate: Gatekeeper | None = None,
        door: Door = OPEN_DOOR,
    ) -> None:
        """``gate`` is None where everybody may call."""
        self._timeouts = timeouts
        self._gate = gate
        self.draining = draining
        self.log = log
        self.door = door

    def call(self, method: str, allowed_seconds: float | None, *, is_stream: bool) -> Call:
        """A call that begins now.

        Args:
            method: full name.
            allowed_seconds: until the caller's deadline; None where there is none.
            is_stream: whether it may last.
        """
        now = time.monotonic()
        return Call(method, now + self._timeouts.timeout(allowed_seconds, is_stream=is_stream), now)

    def admit(self, call: Call, presented: Presented, host: str) -> None:
        """Finds out who calls, and what the caller may have.

        Args:
            call: whose caller it is.
            presented: what the caller proves itself with.
            host: where the call came from, by which those are known who prove nothing.

        Raises:
            ServiceError: UNAUTHENTICATED or METHOD_NOT_ALLOWED.
        """
        if self._gate is not None:
            call.access = self._gate.access(call.method, presented)
            call.access.check()
        call.caller = call.access.caller or host

    @asynccontextmanager
    async def around(self, call: Call, *, is_stream: bool) -> AsyncIterator[None]:
        """Surrounds what the running task does to answer ``call``. Of exceptions, raises ``ServiceError`` alone."""
        CURRENT_CALL.set(call)
        task = cast(asyncio.Task[None], asyncio.current_task())
        draining = nullcontext() if call.is_probe else self.draining.in_flight(task, is_stream=is_stream)
        with self.log.around(call), error_boundary(), draining:
            async with deadline(call):
                yield
