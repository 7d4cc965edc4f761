"""The loop that waits for the C core sees all else that a loop waits for, however busy it is."""

import asyncio
import socket
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from bascule_server.transports import core_loop
from bascule_server.transports.c_core import Event, Queue
from bascule_server.transports.core_loop import CoreEventLoop, new_core_loop


async def _reads_while_busy() -> bytes:
    """What comes in at a socket, while callbacks follow each other without end."""
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        came: asyncio.Future[bytes] = loop.create_future()

        def busy() -> None:
            if not came.done():
                loop.call_soon(busy)

        loop.add_reader(ours, lambda: came.set_result(ours.recv(1)))
        busy()
        theirs.send(b"x")
        try:
            return await asyncio.wait_for(came, 10)
        finally:
            loop.remove_reader(ours)


def test_what_comes_in_at_a_socket_is_seen_between_callbacks_that_never_end() -> None:
    with asyncio.Runner(loop_factory=new_core_loop) as runner:
        assert runner.run(_reads_while_busy()) == b"x"


def test_a_loop_that_has_nothing_to_do_sees_it_too() -> None:
    async def reads() -> bytes:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            loop.call_later(0.005, theirs.send, b"x")
            return await asyncio.wait_for(loop.sock_recv(ours, 1), 10)

    with asyncio.Runner(loop_factory=new_core_loop) as runner:
        assert runner.run(reads()) == b"x"


class _EndlessQueue(Queue):
    """Has one event after another."""

    def take(self, seconds: float) -> list[Event]:
        return [SimpleNamespace(tag=lambda _: None)]


def test_callbacks_have_their_turn_though_events_never_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core_loop, "TURN_SECONDS", 0.001)

    async def turns() -> None:
        for _ in range(3):
            await asyncio.sleep(0)
        await asyncio.sleep(0.002)

    with asyncio.Runner(loop_factory=lambda: CoreEventLoop(_EndlessQueue())) as runner:
        runner.run(asyncio.wait_for(turns(), 10))


class _OneEventQueue(Queue):
    """Has one event, and counts how often it is asked."""

    def __init__(self, tag: Callable[[object], None]) -> None:
        super().__init__()
        self._events: list[Event] = [SimpleNamespace(tag=tag)]
        self.asked = 0

    def take(self, seconds: float) -> list[Event]:
        self.asked += 1
        taken, self._events = self._events, []
        return taken


def test_what_comes_of_an_event_is_done_before_it_waits_for_others() -> None:
    asked: list[int] = []

    def handled(_: object) -> None:
        loop.call_soon(lambda: asked.append(queue.asked))
        loop.call_soon(loop.stop)

    queue = _OneEventQueue(handled)
    loop = CoreEventLoop(queue)
    loop.run_forever()
    loop.close()
    # For the event, and whether there is another.
    assert asked == [2]
