"""Calls with a second attempt where the first is slow, for threads and for event loops; see ``hedging``.

Both attempts compute the same: the methods change nothing. The answer that comes first is taken and the other attempt
cancelled; where one fails the other is waited for. The time-out is that of both together.
"""

# ruff: noqa: ASYNC109 - a time-out becomes the call's deadline; names are those of the generated stubs

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import cycle
from queue import SimpleQueue
from typing import Any

import grpc

from bascule.hedging import HedgeBudget, RecentLatencies


class HedgedStub:
    """The methods of one query and of many, over all the connections in turn.

    Args:
        stubs: The generated stub of each connection, two or more.
        method: ``HedgedMethod`` or ``AsyncHedgedMethod``.
    """

    def __init__(self, stubs: Sequence[Any], method: Callable[[Sequence[Any], HedgeBudget], Any]) -> None:
        budget = HedgeBudget()
        self.RecommendItems = method([stub.RecommendItems for stub in stubs], budget)
        self.BatchRecommendItems = method([stub.BatchRecommendItems for stub in stubs], budget)
        self.ScoreItems = method([stub.ScoreItems for stub in stubs], budget)
        self.EmbedQueries = method([stub.EmbedQueries for stub in stubs], budget)


class _Hedged:
    """What both kinds have in common: whose turn it is, and what is known of earlier calls."""

    def __init__(self, methods: Sequence[Any], budget: HedgeBudget) -> None:
        self._turns = cycle(zip(methods, [*methods[1:], methods[0]], strict=True))
        self._budget = budget
        self._latencies = RecentLatencies()


class HedgedMethod(_Hedged):
    """A method, called as the stub's."""

    def __call__(self, request: Any, timeout: float) -> Any:  # noqa: ANN401 - as the stub's
        """The response.

        Raises:
            grpc.RpcError: Every attempt failed; the error is that of the last to do so.
        """
        method, other = next(self._turns)
        self._budget.earn()
        start = time.monotonic()
        done: SimpleQueue[Any] = SimpleQueue()
        attempts = [method.future(request, timeout=timeout)]
        try:
            if self._is_slow(attempts[0]) and self._budget.spend():
                left = timeout - (time.monotonic() - start)
                attempts.append(other.future(request, timeout=max(left, 0.0)))
            for attempt in attempts:
                attempt.add_done_callback(done.put)
            return _first_answer(done.get() for _ in attempts)
        finally:
            self._latencies.add(time.monotonic() - start)
            for attempt in attempts:
                attempt.cancel()

    def _is_slow(self, attempt: Any) -> bool:  # noqa: ANN401 - gRPC's future
        """Waits for the attempt as long as most take; whether it takes longer."""
        if self._latencies.slow is None:
            return False
        try:
            attempt.exception(timeout=self._latencies.slow)
        except grpc.FutureTimeoutError:
            return True
        except grpc.FutureCancelledError:
            return False
        return False


def _first_answer(ended: Iterable[Any]) -> Any:  # noqa: ANN401 - a response
    for attempt in ended:
        # A call that a server cancelled has a code, where its exception would be one of futures and not of gRPC's.
        if attempt.code() is grpc.StatusCode.OK:
            return attempt.result()
    raise attempt


class AsyncHedgedMethod(_Hedged):
    """The same for an event loop."""

    async def __call__(self, request: Any, timeout: float) -> Any:  # noqa: ANN401 - as the stub's
        """The response; see ``HedgedMethod``."""
        method, other = next(self._turns)
        self._budget.earn()
        start = time.monotonic()
        attempts = [asyncio.create_task(_attempt(method, request, timeout))]
        try:
            if await self._is_slow(attempts[0]) and self._budget.spend():
                left = timeout - (time.monotonic() - start)
                attempts.append(asyncio.create_task(_attempt(other, request, max(left, 0.0))))
            return await _first_awaited(attempts)
        finally:
            self._latencies.add(time.monotonic() - start)
            for attempt in attempts:
                attempt.cancel()

    async def _is_slow(self, attempt: asyncio.Task[Any]) -> bool:
        if self._latencies.slow is None:
            return False
        done, _ = await asyncio.wait([attempt], timeout=self._latencies.slow)
        return not done


async def _attempt(method: Any, request: Any, timeout: float) -> Any:  # noqa: ANN401 - as the stub's
    return await method(request, timeout=timeout)


async def _first_awaited(attempts: Sequence[asyncio.Task[Any]]) -> Any:  # noqa: ANN401 - a response
    waiting = set(attempts)
    while True:
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        answered = [attempt for attempt in done if attempt.exception() is None]
        if answered or not waiting:
            return (answered or list(done))[0].result()
