"""The stream, for threads.

The caller's own thread pulls queries, and only while the window has room and no answer waits. One more thread reads the
answers, so that a time-out can be kept and an answer that is there is seen; it holds no more than a window of them.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from itertools import cycle
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, TypeAlias

import grpc

from bascule.answers import RankingResult, broken_contract
from bascule.errors import BasculeError, DeadlineExceededError, Failure, error_from_rpc
from bascule.v1.recommendation_service_pb2 import Query, StreamRecommendItemsRequest, StreamRecommendItemsResponse
from bascule.window import MessageWindow, Resumption, Source

OpenStream: TypeAlias = Callable[[Iterator[StreamRecommendItemsRequest]], Any]
"""Starts the call: ``RecommendationServiceStub.StreamRecommendItems``."""

Event: TypeAlias = StreamRecommendItemsResponse | BasculeError | None
"""An answer, why the stream broke, or None at its orderly end."""


def recommend_stream(lanes: Sequence["Lane"], source: Source, timeout: float) -> Iterator[RankingResult]:
    """Yields a result for each query of the source, in order, over as many streams as it takes.

    The lanes take turns with the messages. ``timeout`` is how many seconds an answer may take. What the caller's
    iterable raises is raised when everything before it is answered.
    """
    turns = cycle(lanes)
    turn = next(turns)
    waiting: deque[Lane] = deque()
    try:
        while True:
            # Sends while there is room, and no answer that could be handed on at once.
            while turn.window.has_room and not source.is_exhausted and not (waiting and waiting[0].has_answer()):
                if queries := source.pull(turn.window.queries_per_message):
                    turn.send(queries)
                    waiting.append(turn)
                    turn = next(turns)
            if not waiting:
                break
            results = waiting[0].receive(timeout)
            waiting.popleft()
            yield from results
        for lane in lanes:
            lane.end(timeout)
    finally:
        for lane in lanes:
            lane.cancel()
    if source.error is not None:
        raise source.error


class Lane:
    """A stream, opened by its first message, and another in its place where it breaks.

    Attributes:
        window: what was sent and is not answered.
    """

    def __init__(self, open_stream: OpenStream, window: MessageWindow, resumption: Resumption) -> None:
        self._open_stream = open_stream
        self.window = window
        self._resumption = resumption
        self._stream: SyncStream | None = None

    def send(self, queries: Sequence[Query]) -> None:
        """Sends a message of these queries."""
        request = self.window.add(queries)
        if self._stream is None:
            self._stream = SyncStream(self._open_stream)
        self._stream.send(request)

    def has_answer(self) -> bool:
        """Whether ``receive`` would return, or raise, at once."""
        return self._stream is not None and self._stream.has_answer()

    def receive(self, timeout: float) -> list[RankingResult]:
        """The results of the oldest message that is not answered.

        Raises:
            BasculeError: The stream broke again and again, or there was no answer for ``timeout`` seconds.
        """
        while True:
            try:
                if self._stream is None:
                    self._stream = SyncStream(self._open_stream)
                    for request in self.window.unanswered:
                        self._stream.send(request)
                results = self.window.answer(self._stream.receive(timeout))
            except BasculeError as error:
                self.cancel()
                time.sleep(self._resumption.delay_after(error))
            else:
                self._resumption.progressed()
                return results

    def end(self, timeout: float) -> None:
        """Tells the server that nothing follows, and lets it end the stream."""
        if self._stream is not None:
            self._stream.end(timeout)

    def cancel(self) -> None:
        """Ends the stream at once, unless it has ended."""
        if self._stream is not None:
            self._stream.cancel()
            self._stream = None


class SyncStream:
    """One call, with both its ends at hand."""

    def __init__(self, open_stream: OpenStream) -> None:
        self._requests: SimpleQueue[StreamRecommendItemsRequest | None] = SimpleQueue()
        self._events: SimpleQueue[Event] = SimpleQueue()
        opened: Future[Any] = Future()
        Thread(target=self._read, args=(open_stream, opened), name="bascule-stream", daemon=True).start()
        self._call = opened.result()

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

    def _read(self, open_stream: OpenStream, opened: "Future[Any]") -> None:
        """Opens the stream and reads it to its end.

        Ctrl-C reaches the main thread alone. There it could come while gRPC has noted the call and not yet begun to
        listen for it, and then the channel would wait for the call for ever when it is closed.
        """
        try:
            call = open_stream(iter(self._requests.get, None))
        except BaseException as error:  # noqa: BLE001 - it is raised where the stream was asked for
            opened.set_exception(error)
            return
        opened.set_result(call)
        try:
            for response in call:
                self._events.put(response)
        except grpc.RpcError as error:
            self._events.put(error_from_rpc(error))
        else:
            self._events.put(None)
