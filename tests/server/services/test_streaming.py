"""A stream is answered in order, reads no further ahead than its window, and ends with what ended it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule_server.draining import Draining
from bascule_server.errors import Reason, ServiceError
from bascule_server.services.streaming import answer_in_order


class Requests:
    """Gives requests, and counts how many were taken."""

    def __init__(self, requests: Iterable[int], error: Exception | None = None) -> None:
        self._requests = iter(requests)
        self._error = error
        self.taken = 0

    def __aiter__(self) -> AsyncIterator[int]:
        return self

    async def __anext__(self) -> int:
        for request in self._requests:
            self.taken += 1
            return request
        if self._error:
            raise self._error
        raise StopAsyncIteration


async def settled() -> None:
    """Lets every task run until it waits."""
    for _ in range(50):
        await asyncio.sleep(0)


async def doubled(request: int) -> int:
    return 2 * request


@given(delays=st.lists(st.integers(0, 5), max_size=12), window=st.integers(1, 5))
def test_answers_keep_the_order_of_requests_however_long_each_takes(delays: list[int], window: int) -> None:
    async def answer(request: int) -> int:
        for _ in range(delays[request]):
            await asyncio.sleep(0)
        return 2 * request

    async def answers() -> list[int]:
        stream = answer_in_order(Requests(range(len(delays))), answer, window, Draining())
        return [response async for response in stream]

    assert asyncio.run(answers()) == [2 * request for request in range(len(delays))]


@pytest.mark.parametrize("window", [1, 3])
async def test_no_more_is_read_than_the_window_while_nobody_takes_answers(window: int) -> None:
    requests = Requests(range(100))
    stream = answer_in_order(requests, doubled, window, Draining())
    assert await anext(stream) == 0
    await settled()
    assert requests.taken == window
    assert await anext(stream) == 2
    await settled()
    assert requests.taken == window + 1


async def test_an_error_comes_after_the_answers_to_what_was_before_it() -> None:
    stream = answer_in_order(Requests([1, 2], error=ServiceError(Reason.MALFORMED_MESSAGE)), doubled, 4, Draining())
    assert [await anext(stream), await anext(stream)] == [2, 4]
    with pytest.raises(ServiceError) as caught:
        await anext(stream)
    assert caught.value.reason is Reason.MALFORMED_MESSAGE


async def test_a_failing_answer_ends_the_stream_and_abandons_the_rest() -> None:
    abandoned: list[int] = []
    stream = answer_in_order(Requests([0, 1, 2]), failing_first(abandoned), 3, Draining())
    with pytest.raises(ZeroDivisionError):
        await anext(stream)
    assert abandoned == [1, 2]


async def test_draining_answers_what_was_read_and_says_why_it_ends() -> None:
    draining, gate = Draining(), asyncio.Event()

    async def answer(request: int) -> int:
        await gate.wait()
        return request

    requests = Requests(range(100))
    stream = answer_in_order(requests, answer, 2, draining)
    first = asyncio.ensure_future(anext(stream))
    await settled()
    draining.begin()
    gate.set()
    assert [await first, await anext(stream)] == [0, 1]
    with pytest.raises(ServiceError) as caught:
        await anext(stream)
    assert caught.value.reason is Reason.STOPPING
    assert requests.taken == 2


def failing_first(abandoned: list[int]) -> Callable[[int], Awaitable[int]]:
    async def answer(request: int) -> int:
        try:
            await asyncio.sleep(0 if request == 0 else 60)
        except asyncio.CancelledError:
            abandoned.append(request)
            raise
        return 1 // request

    return answer
