"""Answers a stream of requests in order, several at a time, and reads no further ahead than that."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeVar

from bascule_server.draining import Draining
from bascule_server.errors import Reason, ServiceError

Request = TypeVar("Request")
Response = TypeVar("Response")


async def answer_in_order(
    requests: AsyncIterator[Request],
    answer: Callable[[Request], Awaitable[Response]],
    window: int,
    draining: Draining,
) -> AsyncIterator[Response]:
    """Yields the answer to each request.

    At most ``window`` requests are in hand: read, and their answers not yet taken. So whoever takes the answers sets
    the pace, and memory stays flat however slow they are. An exception from ``requests`` or ``answer`` is raised in
    its turn, after the answers to what came before it.

    Raises:
        ServiceError: STOPPING, when ``draining`` has begun and all that was read is answered.
    """
    room = asyncio.Semaphore(window)
    in_hand: asyncio.Queue[asyncio.Future[Response] | None] = asyncio.Queue()

    async def read() -> None:
        await room.acquire()
        async for request in requests:
            in_hand.put_nowait(asyncio.ensure_future(answer(request)))
            await room.acquire()

    reader = asyncio.create_task(read())
    reader.add_done_callback(lambda _: in_hand.put_nowait(None))
    try:
        with draining.cancelling(reader):
            while (response := await in_hand.get()) is not None:
                yield await response
                room.release()
        if reader.cancelled():
            raise ServiceError(Reason.STOPPING)
        reader.result()
    finally:
        await _abandon([reader, *_remaining(in_hand)])


def _remaining(in_hand: asyncio.Queue[asyncio.Future[Response] | None]) -> list[asyncio.Future[Response]]:
    return [future for _ in range(in_hand.qsize()) if (future := in_hand.get_nowait()) is not None]


async def _abandon(futures: Sequence[asyncio.Future[Any]]) -> None:
    for future in futures:
        future.cancel()
    await asyncio.gather(*futures, return_exceptions=True)
