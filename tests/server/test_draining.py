"""Draining takes no more, lets everything in flight end, and tells what it gives up why."""

import asyncio
from typing import Any

import pytest

from bascule_server.draining import Draining
from bascule_server.errors import Reason, ServiceError


def begin_call(draining: Draining, may_end: asyncio.Event, *, is_stream: bool = False) -> asyncio.Task[str]:
    async def answer() -> str:
        task: asyncio.Task[Any] | None = asyncio.current_task()
        assert task is not None
        with draining.in_flight(task, is_stream=is_stream):
            await may_end.wait()
        return "answered"

    return asyncio.create_task(answer())


async def failure(call: asyncio.Task[str]) -> Reason:
    with pytest.raises(ServiceError) as caught:
        await call
    return caught.value.reason


async def test_streams_are_refused_before_calls_are() -> None:
    draining, open_gate = Draining(), asyncio.Event()
    open_gate.set()
    draining.begin()
    assert await failure(begin_call(draining, open_gate, is_stream=True)) is Reason.STOPPING
    assert await begin_call(draining, open_gate) == "answered"
    draining.refuse()
    assert await failure(begin_call(draining, open_gate)) is Reason.STOPPING


async def test_what_is_in_flight_is_waited_for() -> None:
    draining, gate = Draining(), asyncio.Event()
    call = begin_call(draining, gate)
    await asyncio.sleep(0)
    draining.refuse()
    ended = asyncio.create_task(draining.calls_ended(60))
    await asyncio.sleep(0)
    assert not ended.done()
    gate.set()
    await ended
    assert call.result() == "answered"


class Held:
    """A call without a task."""

    def fail(self, error: ServiceError) -> None:
        raise AssertionError(error)


async def test_calls_that_come_meanwhile_are_not_waited_for() -> None:
    draining, gate = Draining(), asyncio.Event()
    first, second = Held(), Held()
    draining.enter(first)
    task = begin_call(draining, gate)
    await asyncio.sleep(0)
    ended = asyncio.create_task(draining.calls_ended(60))
    await asyncio.sleep(0)
    draining.enter(second)
    gate.set()
    await task
    assert not ended.done()
    draining.leave(first)
    await ended
    draining.leave(second)
    assert draining.call_count == 0


async def test_streams_are_waited_for_without_calls() -> None:
    draining, gate = Draining(), asyncio.Event()
    call = begin_call(draining, gate)
    await asyncio.sleep(0)
    await draining.streams_ended(60)
    assert not call.done()
    gate.set()
    await call


async def test_what_is_given_up_says_that_the_server_stops() -> None:
    draining, gate = Draining(), asyncio.Event()
    call = begin_call(draining, gate, is_stream=True)
    await asyncio.sleep(0)
    await draining.streams_ended(0)
    draining.give_up()
    assert await failure(call) is Reason.STOPPING


async def test_a_caller_who_leaves_is_no_server_that_stops() -> None:
    draining = Draining()
    call = begin_call(draining, asyncio.Event())
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_readers_are_cancelled_when_draining_begins_and_after() -> None:
    draining = Draining()
    readers = [asyncio.create_task(asyncio.sleep(60)) for _ in range(2)]
    with draining.cancelling(readers[0]):
        draining.begin()
        with draining.cancelling(readers[1]):
            await asyncio.wait(readers)
    assert [reader.cancelled() for reader in readers] == [True, True]
