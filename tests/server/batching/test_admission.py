"""Rows are held up to the limit, refused beyond it, and given back exactly once."""

import asyncio
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule_server.batching.admission import Admission
from bascule_server.errors import Reason, ServiceError


def test_rows_beyond_the_limit_are_refused() -> None:
    admission = Admission(max_rows=10)
    with admission.admit(6), admission.admit(4), pytest.raises(ServiceError) as caught, admission.admit(1):
        pass
    assert caught.value.reason is Reason.OVERLOADED
    assert admission.row_count == 0


def test_a_call_above_the_whole_limit_is_taken_when_it_is_alone() -> None:
    admission = Admission(max_rows=10)
    with admission.admit(11):
        assert admission.row_count == 11


def test_rows_are_given_back_when_the_call_fails() -> None:
    admission = Admission(max_rows=10)
    with pytest.raises(ZeroDivisionError), admission.admit(10):
        raise ZeroDivisionError
    assert admission.row_count == 0


@given(st.lists(st.integers(1, 12), max_size=20))
def test_what_is_held_never_exceeds_the_limit(sizes: list[int]) -> None:
    admission = Admission(max_rows=12)
    with ExitStack() as held:
        for size in sizes:
            try:
                held.enter_context(admission.admit(size))
            except ServiceError:
                assert admission.row_count + size > 12
            assert admission.row_count <= 12
    assert admission.row_count == 0


async def test_streams_leave_half_of_the_room_to_calls() -> None:
    admission = Admission(max_rows=10)
    async with admission.admit_from_stream(5):
        waiting = asyncio.create_task(hold_from_stream(admission, 1))
        await asyncio.sleep(0)
        assert admission.stream_row_count == 5
        with admission.admit(5):
            assert admission.row_count == 10
        assert not waiting.done()
    await waiting
    assert (admission.row_count, admission.stream_row_count) == (0, 0)


async def test_streams_are_served_first_come_first_served() -> None:
    admission, order = Admission(max_rows=4), list[int]()

    async def stream(size: int) -> None:
        async with admission.admit_from_stream(size):
            order.append(size)

    async with admission.admit_from_stream(2):
        waiting = [asyncio.create_task(stream(size)) for size in (2, 1)]
        await asyncio.sleep(0)
    await asyncio.gather(*waiting)
    assert order == [2, 1]


async def test_a_stream_that_leaves_while_it_waits_takes_nothing() -> None:
    admission = Admission(max_rows=4)
    async with admission.admit_from_stream(2):
        waiting = asyncio.create_task(hold_from_stream(admission, 2))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
    await hold_from_stream(admission, 2)
    assert (admission.row_count, admission.stream_row_count) == (0, 0)


async def hold_from_stream(admission: Admission, row_count: int) -> None:
    async with admission.admit_from_stream(row_count):
        pass
