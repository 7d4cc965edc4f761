"""The stream, for an event loop: pulling queries and waiting for answers go on side by side."""

# ruff: noqa: ASYNC109 - the time-out is that of each answer

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Any, TypeAlias

import grpc
import grpc.aio

from bascule.answers import RankingResult, broken_contract
from bascule.errors import BasculeError, DeadlineExceededError, Failure, InternalError, UnavailableError, rpc_errors
from bascule.v1.recommendation_service_pb2 import Query, StreamRecommendItemsRequest, StreamRecommendItemsResponse
from bascule.window import AsyncSource, MessageWindow, Resumption

OpenStream: TypeAlias = Callable[[AsyncIterator[StreamRecommendItemsRequest]], Any]
"""Starts the call: ``RecommendationServiceAsyncStub.StreamRecommendItems``."""

FAILED_WRITE = "Internal error from Core"
"""The details of the status that ``grpc.aio`` makes up when a message cannot be sent."""


async def recommend_stream(
    open_stream: OpenStream, source: AsyncSource, window: MessageWindow, timeout: float, resumption: Resumption
) -> AsyncGenerator[RankingResult, None]:
    """Yields a result for each query of the source, in order, over as many streams as it takes.

    ``timeout`` is how many seconds an answer may take. What the caller's iterable raises is raised when everything
    before it is answered.
    """
    pulling = Pulling(source, window)
    try:
        await pulling.finish()
        while window.unanswered:
            stream = AsyncStream(open_stream)
            try:
                async with aclosing(_converse(stream, pulling, window, timeout, resumption)) as results:
                    async for result in results:
                        yield result
                await stream.end(timeout)
            except BasculeError as error:
                await asyncio.sleep(resumption.delay_after(error))
            finally:
                stream.cancel()
    finally:
        pulling.cancel()
    if source.error is not None:
        raise source.error


async def _converse(
    stream: "AsyncStream", pulling: "Pulling", window: MessageWindow, timeout: float, resumption: Resumption
) -> AsyncGenerator[RankingResult, None]:
    """What happens on one stream: what an earlier one left unanswered goes first."""
    for request in window.unanswered:
        stream.send(request)
    receiving: asyncio.Task[StreamRecommendItemsResponse] | None = None
    try:
        while window.unanswered or not pulling.is_over:
            if receiving is None and window.unanswered:
                receiving = asyncio.create_task(stream.receive(timeout))
            await _first_done(receiving, pulling.task)
            if (request_pulled := pulling.take()) is not None:
                stream.send(request_pulled)
            if receiving is not None and receiving.done():
                results = window.answer(receiving.result())
                receiving = None
                resumption.progressed()
                for result in results:
                    yield result
    finally:
        if receiving is not None:
            receiving.cancel()


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


class Pulling:
    """Pulls one message's queries at a time, while there is room. It outlives a stream that broke: nothing is lost."""

    def __init__(self, source: AsyncSource, window: MessageWindow) -> None:
        self._source = source
        self._window = window
        self._task: asyncio.Task[list[Query]] | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come, and all that came has been taken."""
        return self._task is None and self._source.is_exhausted

    @property
    def task(self) -> asyncio.Task[list[Query]] | None:
        """What pulls now or has pulled, started where there is room."""
        if self._task is None and self._window.has_room and not self._source.is_exhausted:
            self._task = asyncio.create_task(self._source.pull(self._window.queries_per_message))
        return self._task

    def take(self) -> StreamRecommendItemsRequest | None:
        """The next message, if its queries have been pulled."""
        if self._task is None or not self._task.done():
            return None
        queries = self._task.result()
        self._task = None
        return self._window.add(queries) if queries else None

    async def finish(self) -> None:
        """Waits for the next message and puts it into the window."""
        if self.task is not None:
            await asyncio.wait([self.task])
            self.take()

    def cancel(self) -> None:
        """Stops pulling."""
        if self._task is not None:
            self._task.cancel()


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
