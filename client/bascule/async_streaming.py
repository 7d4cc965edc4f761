"""The stream, for an event loop: pulling queries and waiting for answers go on side by side."""

# ruff: noqa: ASYNC109 - the time-out is that of each answer

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from typing import Any, TypeAlias

import grpc
import grpc.aio

from bascule.answers import RankingResult, broken_contract, no_message
from bascule.errors import BasculeError, DeadlineExceededError, Failure, InternalError, UnavailableError, rpc_errors
from bascule.v1.recommendation_service_pb2 import Query, StreamRecommendItemsRequest, StreamRecommendItemsResponse
from bascule.window import AsyncSource, MessageWindow, Resumption

OpenStream: TypeAlias = Callable[[AsyncIterator[StreamRecommendItemsRequest]], Any]
"""Starts the call: ``RecommendationServiceAsyncStub.StreamRecommendItems``."""

FAILED_WRITE = "Internal error from Core"
"""The details of the status that ``grpc.aio`` makes up when a message cannot be sent."""


async def recommend_stream(
    lanes: Sequence["AsyncLane"], source: AsyncSource, timeout: float
) -> AsyncGenerator[RankingResult, None]:
    """Yields a result for each query of the source, in order, over as many streams as it takes.

    The lanes take turns with the messages. ``timeout`` is how many seconds an answer may take. What the caller's
    iterable raises is raised when everything before it is answered.
    """
    conversation = _Conversation(lanes, source, timeout)
    try:
        while conversation.goes_on():
            for result in await conversation.next_results():
                yield result
        for lane in lanes:
            await lane.end(timeout)
    finally:
        conversation.cancel()
    if source.error is not None:
        raise source.error


class _Conversation:
    """Pulls the next message's queries and waits for the oldest answer, side by side."""

    def __init__(self, lanes: Sequence["AsyncLane"], source: AsyncSource, timeout: float) -> None:
        self._lanes = lanes
        self._source = source
        self._timeout = timeout
        self._turns = cycle(lanes)
        self._turn = next(self._turns)
        self._waiting: deque[AsyncLane] = deque()
        self._pulling: asyncio.Task[list[Query]] | None = None
        self._receiving: asyncio.Task[list[RankingResult]] | None = None

    def goes_on(self) -> bool:
        """Starts what can be started; whether anything goes on."""
        if self._pulling is None and self._turn.window.has_room and not self._source.is_exhausted:
            self._pulling = asyncio.create_task(self._source.pull(self._turn.window.queries_per_message))
        if self._receiving is None and self._waiting:
            self._receiving = asyncio.create_task(self._waiting[0].receive(self._timeout))
        return self._pulling is not None or self._receiving is not None

    async def next_results(self) -> list[RankingResult]:
        """Waits until something is done; the results that came, if any."""
        await _first_done(self._pulling, self._receiving)
        if self._pulling is not None and self._pulling.done():
            queries, self._pulling = self._pulling.result(), None
            if queries:
                self._turn.send(queries)
                self._waiting.append(self._turn)
                self._turn = next(self._turns)
        if self._receiving is None or not self._receiving.done():
            return []
        results, self._receiving = self._receiving.result(), None
        self._waiting.popleft()
        return results

    def cancel(self) -> None:
        """Stops all of it at once."""
        for task in (self._pulling, self._receiving):
            if task is not None:
                task.cancel()
        for lane in self._lanes:
            lane.cancel()


async def _first_done(*tasks: asyncio.Task[Any] | None) -> None:
    await asyncio.wait([task for task in tasks if task is not None], return_when=asyncio.FIRST_COMPLETED)


@contextmanager
def _rpc_errors() -> Iterator[None]:
    """Where gRPC's errors become ours.

    When a server ends a stream while a message is being sent, ``grpc.aio`` may put an error of its own in the place of
    the server's status (https://github.com/grpc/grpc/issues/36066). What the status was is lost, and only another try
    can tell.
    """
    try:
        with rpc_errors():
            yield
    except InternalError as error:
        if error.message != FAILED_WRITE:
            raise
        message = "the stream ended while a message was being sent"
        raise UnavailableError(Failure(grpc.StatusCode.UNAVAILABLE, message)) from error


class AsyncLane:
    """A stream, opened by its first message, and another in its place where it breaks.

    Attributes:
        window: what was sent and is not answered.
    """

    def __init__(self, open_stream: OpenStream, window: MessageWindow, resumption: Resumption) -> None:
        self._open_stream = open_stream
        self.window = window
        self._resumption = resumption
        self._stream: AsyncStream | None = None
        self._is_broken = False

    def send(self, queries: Sequence[Query]) -> None:
        """Sends a message of these queries; of a stream that broke, with the next one."""
        request = self.window.add(queries)
        if self._stream is None and not self._is_broken:
            self._stream = AsyncStream(self._open_stream)
        if self._stream is not None:
            self._stream.send(request)

    async def receive(self, timeout: float) -> list[RankingResult]:
        """The results of the oldest message that is not answered.

        Raises:
            BasculeError: The stream broke again and again, or there was no answer for ``timeout`` seconds.
        """
        while True:
            try:
                if self._stream is None:
                    self._stream = AsyncStream(self._open_stream)
                    for request in self.window.unanswered:
                        self._stream.send(request)
                    self._is_broken = False
                results = self.window.answer(await self._stream.receive(timeout))
            except BasculeError as error:
                self.cancel()
                self._is_broken = True
                await asyncio.sleep(self._resumption.delay_after(error))
            else:
                self._resumption.progressed()
                return results

    async def end(self, timeout: float) -> None:
        """Tells the server that nothing follows, and lets it end the stream."""
        if self._stream is not None:
            await self._stream.end(timeout)

    def cancel(self) -> None:
        """Ends the stream at once, unless it has ended."""
        if self._stream is not None:
            self._stream.cancel()
            self._stream = None


class AsyncStream:
    """One call, with both its ends at hand."""

    def __init__(self, open_stream: OpenStream) -> None:
        self._requests: asyncio.Queue[StreamRecommendItemsRequest | None] = asyncio.Queue()
        self._call = open_stream(self._outgoing())

    def send(self, request: StreamRecommendItemsRequest) -> None:
        """Sends a message as soon as the connection takes it."""
        self._requests.put_nowait(request)

    async def receive(self, timeout: float) -> StreamRecommendItemsResponse:
        """Waits for the next answer.

        Raises:
            BasculeError: The stream broke, ended too early, or there was no answer for ``timeout`` seconds.
        """
        try:
            with _rpc_errors():
                async with asyncio.timeout(timeout):
                    response = await self._call.read()
        except TimeoutError:
            message = f"the server did not answer within {timeout:g} s"
            raise DeadlineExceededError(Failure(grpc.StatusCode.DEADLINE_EXCEEDED, message)) from None
        if isinstance(response, StreamRecommendItemsResponse):
            return response
        if response is None:
            raise no_message()
        raise broken_contract("the server ended the stream before it had answered everything")

    async def end(self, timeout: float) -> None:
        """Tells the server that nothing follows, and lets it end the call. How it does makes no difference any more."""
        self._requests.put_nowait(None)
        try:
            async with asyncio.timeout(timeout):
                await self._call.code()
        except TimeoutError:
            return

    def cancel(self) -> None:
        """Ends the call at once, unless it has ended."""
        self._call.cancel()

    async def _outgoing(self) -> AsyncIterator[StreamRecommendItemsRequest]:
        while (request := await self._requests.get()) is not None:
            yield request
