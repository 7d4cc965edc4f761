"""The stream, for threads.

The caller's own thread pulls queries, and only while the window has room and no answer waits. One more thread reads the
answers, so that a time-out can be kept and an answer that is there is seen; it holds no more than a window of them.
"""

import time
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, TypeAlias

import grpc

from bascule.answers import RankingResult, broken_contract
from bascule.errors import BasculeError, DeadlineExceededError, Failure, error_from_rpc
from bascule.v1.recommendation_service_pb2 import StreamRecommendItemsRequest, StreamRecommendItemsResponse
from bascule.window import MessageWindow, Resumption, Source

OpenStream: TypeAlias = Callable[[Iterator[StreamRecommendItemsRequest]], Any]
"""Starts the call: ``RecommendationServiceStub.StreamRecommendItems``."""

Event: TypeAlias = StreamRecommendItemsResponse | BasculeError | None
"""An answer, why the stream broke, or None at its orderly end."""


def recommend_stream(
    open_stream: OpenStream, source: Source, window: MessageWindow, timeout: float, resumption: Resumption
) -> Iterator[RankingResult]:
    """Yields a result for each query of the source, in order, over as many streams as it takes.

    ``timeout`` is how many seconds an answer may take. What the caller's iterable raises is raised when everything
    before it is answered.
    """
    _pull(source, window)
    while window.unanswered:
        stream = SyncStream(open_stream)
        try:
            yield from _converse(stream, source, window, timeout, resumption)
            stream.end(timeout)
        except BasculeError as error:
            time.sleep(resumption.delay_after(error))
        finally:
            stream.cancel()
    if source.error is not None:
        raise source.error


def _converse(
    stream: "SyncStream", source: Source, window: MessageWindow, timeout: float, resumption: Resumption
) -> Iterator[RankingResult]:
    """What happens on one stream: what an earlier one left unanswered goes first."""
    for request in window.unanswered:
        stream.send(request)
    _fill(stream, source, window)
    while window.unanswered:
        results = window.answer(stream.receive(timeout))
        resumption.progressed()
        yield from results
        _fill(stream, source, window)


def _fill(stream: "SyncStream", source: Source, window: MessageWindow) -> None:
    """Sends messages while there is room for them, and no answer that could be handed on at once."""
    while window.has_room and not source.is_exhausted and not (window.unanswered and stream.has_answer()):
        request = _pull(source, window)
        if request is not None:
            stream.send(request)


def _pull(source: Source, window: MessageWindow) -> StreamRecommendItemsRequest | None:
    queries = source.pull(window.queries_per_message)
    return window.add(queries) if queries else None


class SyncStream:
    """One call, with both its ends at hand."""

    def __init__(self, open_stream: OpenStream) -> None:
        self._requests: SimpleQueue[StreamRecommendItemsRequest | None] = SimpleQueue()
        self._events: SimpleQueue[Event] = SimpleQueue()
        self._call = open_stream(iter(self._requests.get, None))
        Thread(target=self._read, name="bascule-stream", daemon=True).start()

    def send(self, request: StreamRecommendItemsRequest) -> None:
        """Sends a message as soon as the connection takes it."""
        self._requests.put(request)

    def has_answer(self) -> bool:
        """Whether ``receive`` would return, or raise, at once."""
        return not self._events.empty()

    def receive(self, timeout: float) -> StreamRecommendItemsResponse:
        """Waits for the next answer.

        Raises:
            BasculeError: The stream broke, ended too early, or there was no answer for ``timeout`` seconds.
        """
        try:
            event = self._events.get(timeout=timeout)
        except Empty:
            message = f"the server did not answer within {timeout:g} s"
            raise DeadlineExceededError(Failure(grpc.StatusCode.DEADLINE_EXCEEDED, message)) from None
        if isinstance(event, StreamRecommendItemsResponse):
            return event
        raise event or broken_contract("the server ended the stream before it had answered everything")

    def end(self, timeout: float) -> None:
        """Tells the server that nothing follows, and lets it end the call. How it does makes no difference any more."""
        self._requests.put(None)
        try:
            self._events.get(timeout=timeout)
        except Empty:
            return

    def cancel(self) -> None:
        """Ends the call at once, unless it has ended."""
        self._call.cancel()
        # gRPC reads the requests in a thread of its own, which waits for the next one.
        self._requests.put(None)

    def _read(self) -> None:
        try:
            for response in self._call:
                self._events.put(response)
        except grpc.RpcError as error:
            self._events.put(error_from_rpc(error))
        else:
            self._events.put(None)
