"""A steady load of mixed calls, open loop, and a checker of every answer."""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
from fault.oracle import ITEM_COUNT, USERS, Oracle

from bascule.v1 import recommendation_service_pb2 as pb
from bascule.v1.recommendation_service_pb2_grpc import RecommendationServiceStub

if TYPE_CHECKING:
    from bascule.v1.recommendation_service_pb2_grpc import RecommendationServiceAsyncStub

TIMEOUT_SECONDS = 3.0
SLACK_SECONDS = 1.0
"""How much later than its deadline a call may end on a busy machine."""
ROWS = 8
"""Of a batch, and of a message of a stream."""
MESSAGES = 3
"""Of a stream."""


@dataclass
class Report:
    """What became of the calls."""

    milliseconds: list[float] = field(default_factory=list)
    """Of single calls that were answered, from when they were meant to start, in the order of their ends."""
    statuses: Counter[str] = field(default_factory=Counter)
    versions: Counter[int] = field(default_factory=Counter)
    """Which version answered how many of the rows."""
    wrong: list[str] = field(default_factory=list)
    """Answers that are not those of the version that they name."""
    late: list[float] = field(default_factory=list)
    """Seconds of calls that ended later than they may."""

    @property
    def failed(self) -> dict[str, int]:
        """How many calls failed, by status."""
        return {status: count for status, count in self.statuses.items() if status != "OK"}

    def p99(self) -> float:
        """In milliseconds."""
        return float(np.percentile(self.milliseconds, 99))


class SteadyLoad:
    """Sends calls at a constant rate until it is left."""

    def __init__(
        self,
        address: str,
        oracle: Oracle,
        credentials: grpc.ChannelCredentials | None = None,
        metadata: Sequence[tuple[str, str]] = (),
    ) -> None:
        self.report = Report()
        self._oracle = oracle
        self._address = address
        self._credentials = credentials
        self._by: Any = {"timeout": TIMEOUT_SECONDS, "metadata": tuple(metadata)}
        """What each call has."""
        self._calls: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def running(self, calls_a_second: float) -> AsyncIterator["SteadyLoad"]:
        """Four of ten calls are single ones; the others are batches, streams and scores."""
        async with self._channel() as channel:
            await channel.channel_ready()
            sending = asyncio.create_task(self._send(RecommendationServiceStub(channel), 1 / calls_a_second))
            try:
                yield self
            finally:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
                await asyncio.gather(*self._calls)

    def _channel(self) -> grpc.aio.Channel:
        if self._credentials is None:
            return grpc.aio.insecure_channel(self._address)
        return grpc.aio.secure_channel(self._address, self._credentials)

    def fresh_report(self) -> Report:
        """What became of the calls until now; those that end later go into another report."""
        report, self.report = self.report, Report()
        return report

    async def _send(self, stub: "RecommendationServiceAsyncStub", gap: float) -> None:
        kinds = itertools.cycle([self._single, self._batch, self._single, self._stream, self._score])
        users = itertools.cycle(USERS)
        start = time.monotonic()
        for number in itertools.count():
            meant = start + number * gap
            await asyncio.sleep(max(0.0, meant - time.monotonic()))
            asked = [next(users) for _ in range(ROWS)]
            self._begin(self._watched(next(kinds)(stub, asked, meant), meant))

    def _begin(self, call: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(call)
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)

    async def _watched(self, call: Coroutine[Any, Any, None], meant: float) -> None:
        try:
            await call
            self.report.statuses["OK"] += 1
        except grpc.aio.AioRpcError as error:
            self.report.statuses[f"{error.code().name}: {error.details()}"] += 1
        seconds = time.monotonic() - meant
        if seconds > TIMEOUT_SECONDS + SLACK_SECONDS:
            self.report.late.append(seconds)

    async def _single(self, stub: "RecommendationServiceAsyncStub", users: list[str], meant: float) -> None:
        request = pb.RecommendItemsRequest(query=_query(users[0]), options=_OPTIONS)
        response = await stub.RecommendItems(request, **self._by)
        self.report.milliseconds.append((time.monotonic() - meant) * 1_000)
        self._check(users[:1], [response.ranking], response.served_by)

    async def _batch(self, stub: "RecommendationServiceAsyncStub", users: list[str], _: float) -> None:
        request = pb.BatchRecommendItemsRequest(queries=map(_query, users), options=_OPTIONS)
        response = await stub.BatchRecommendItems(request, **self._by)
        self._check(users, [result.ranking for result in response.results], response.served_by)

    async def _stream(self, stub: "RecommendationServiceAsyncStub", users: list[str], _: float) -> None:
        async def requests() -> AsyncIterator[pb.StreamRecommendItemsRequest]:
            for number in range(MESSAGES):
                yield pb.StreamRecommendItemsRequest(
                    queries=map(_query, users), options=_OPTIONS, sequence_id=number + 1
                )

        number = 0
        async for response in stub.StreamRecommendItems(requests(), **self._by):
            number += 1
            self._check(users, [result.ranking for result in response.results], response.served_by)
        if number != MESSAGES:
            self.report.wrong.append(f"{number} of {MESSAGES} messages of a stream were answered")

    async def _score(self, stub: "RecommendationServiceAsyncStub", users: list[str], _: float) -> None:
        request = pb.ScoreItemsRequest(query=_query(users[0]), item_ids=["i1", "i2"])
        response = await stub.ScoreItems(request, **self._by)
        if len(response.scores) != 2:
            self.report.wrong.append(f"{len(response.scores)} scores of 2 items")

    def _check(self, users: list[str], rankings: list[pb.Ranking], served_by: pb.ModelVersion) -> None:
        self.report.versions[served_by.version] += len(rankings)
        if len(rankings) != len(users):
            self.report.wrong.append(f"{len(rankings)} rankings for {len(users)} users")
        for user_id, ranking in zip(users, rankings, strict=False):
            if not self._oracle.agrees(user_id, ranking, served_by.version):
                self.report.wrong.append(f"version {served_by.version} for {user_id}: {list(ranking.item_ids)}")


_OPTIONS = pb.RankingOptions(item_count=ITEM_COUNT)


def _query(user_id: str) -> pb.Query:
    return pb.Query(user=pb.User(user_id=user_id))
