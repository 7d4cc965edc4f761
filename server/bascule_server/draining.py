"""How the server comes to rest: streams end first, calls go on until the last moment, and none is cut off.

    calls_ended()   whoever holds up a call, such as by taking no answer, is waited for while all others are served
    begin()         no new streams; those that are open end after what they have read
    refuse()        no new calls either

A call is in flight for as long as its task, which ends only when its status is on the wire; one that has no task, from
``enter`` to ``leave``.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeAlias

from bascule_server.errors import Reason, ServiceError

Task: TypeAlias = asyncio.Task[Any]


class Ending(Protocol):
    """A call that has no task."""

    def fail(self, error: ServiceError) -> None:
        """Ends it with a status that says why; nothing where it has ended already."""


class Draining:
    """The calls in flight in one event loop, and the tasks that read their streams."""

    def __init__(self) -> None:
        self._takes_streams = True
        self._takes_calls = True
        self._given_up = False
        self._streams: set[Task] = set()
        self._calls: set[Task] = set()
        self._readers: set[Task] = set()
        self._entered: set[Ending] = set()
        self._awaited: set[Ending] = set()
        """Those that ``calls_ended`` waits for."""
        self._awaited_left = asyncio.Event()

    @property
    def call_count(self) -> int:
        """Calls in flight, streams aside."""
        return len(self._calls) + len(self._entered)

    def enter(self, call: Ending) -> None:
        """Knows a call that has no task, until ``leave``.

        Raises:
            ServiceError: STOPPING, where calls are not taken any more.
        """
        if not self._takes_calls:
            raise ServiceError(Reason.STOPPING)
        self._entered.add(call)

    def leave(self, call: Ending) -> None:
        """Such a call has its status."""
        self._entered.discard(call)
        if call in self._awaited:
            self._awaited.discard(call)
            if not self._awaited:
                self._awaited_left.set()

    @contextmanager
    def in_flight(self, task: Task, *, is_stream: bool) -> Iterator[None]:
        """Knows the call that ``task`` answers until that is done.

        Raises:
            ServiceError: STOPPING, where such calls are not taken any more, and in the place of an answer for which
                the server will not wait.
        """
        known = self._streams if is_stream else self._calls
        known.add(task)
        task.add_done_callback(known.discard)
        if not (self._takes_streams if is_stream else self._takes_calls):
            raise ServiceError(Reason.STOPPING)
        try:
            yield
        except asyncio.CancelledError:
            if not self._given_up:
                raise
            task.uncancel()
            raise ServiceError(Reason.STOPPING) from None

    @contextmanager
    def cancelling(self, reader: Task) -> Iterator[None]:
        """Cancels ``reader`` when draining begins, so that its stream reads no more."""
        if not self._takes_streams:
            reader.cancel()
        self._readers.add(reader)
        try:
            yield
        finally:
            self._readers.discard(reader)

    def begin(self) -> None:
        """Refuses streams from now on and has those that are open end after what they have read."""
        self._takes_streams = False
        for reader in self._readers:
            reader.cancel()

    def refuse(self) -> None:
        """Refuses all calls from now on."""
        self._takes_calls = False

    async def streams_ended(self, timeout_seconds: float) -> None:
        """Returns when the streams have ended that are in flight now, or the time is over."""
        await _ended(self._streams, timeout_seconds)

    async def calls_ended(self, timeout_seconds: float) -> None:
        """Returns when the calls have ended that are in flight now, streams aside, or the time is over."""
        self._awaited, self._awaited_left = set(self._entered), asyncio.Event()
        if not self._awaited:
            self._awaited_left.set()
        left = asyncio.ensure_future(self._awaited_left.wait())
        await _ended({*self._calls, left}, timeout_seconds)
        left.cancel()

    async def all_ended(self, timeout_seconds: float) -> None:
        """Returns when the calls and streams have ended that are in flight now, or the time is over."""
        await asyncio.gather(self.calls_ended(timeout_seconds), self.streams_ended(timeout_seconds))

    def give_up(self) -> None:
        """Ends what is in flight: with a status that says why, which something cut off would lack."""
        self._given_up = True
        for call in list(self._entered):
            call.fail(ServiceError(Reason.STOPPING))
        for task in self._streams | self._calls:
            task.cancel()


async def _ended(tasks: set[Task], timeout_seconds: float) -> None:
    if tasks:
        await asyncio.wait(set(tasks), timeout=timeout_seconds)
