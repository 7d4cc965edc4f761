"""Two ways to ask: plainly, where all that fails is seen, and by the project's client, which repeats what may be."""

import itertools
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import grpc
from fault.oracle import ITEM_COUNT

from bascule import AsyncClient, Query, Ranking
from bascule.answers import RankingResult
from bascule.v1 import recommendation_service_pb2 as pb
from bascule.v1.recommendation_service_pb2_grpc import RecommendationServiceStub

if TYPE_CHECKING:
    from bascule.v1.recommendation_service_pb2_grpc import RecommendationServiceAsyncStub

TIMEOUT_SECONDS = 3.0
ROWS = 8
"""Of a batch, and of a message of a stream."""
MESSAGES = 3
"""Of a stream."""

CLIENTS, CONNECTIONS = 4, 2
"""So many clients with so many connections each: they part a server's workers among them, and have budgets of their
own."""

GENERATIONS = 4
"""Of clients that are kept after others have taken their places."""


class Answered(NamedTuple):
    """A ranking, as it came."""

    item_ids: tuple[str, ...]
    scores: tuple[float, ...]
    version: int


class Asker(Protocol):
    """Asks in every way. What fails raises ``grpc.aio.AioRpcError`` or ``BasculeError``."""

    longest_stream_seconds: float
    """Within which a stream ends, whatever becomes of it."""

    async def single(self, user_id: str) -> Answered:
        """Through a call for one."""

    async def batch(self, user_ids: Sequence[str]) -> list[Answered]:
        """Through a call for several."""

    def stream(self, user_ids: Sequence[str]) -> AsyncIterator[Answered]:
        """Through a stream."""

    async def scores(self, user_id: str, item_ids: Sequence[str]) -> list[float]:
        """Of given items."""


class PlainCalls:
    """Repeats nothing."""

    longest_stream_seconds = TIMEOUT_SECONDS

    def __init__(self, stub: "RecommendationServiceAsyncStub", metadata: Sequence[tuple[str, str]]) -> None:
        self._stub = stub
        self._by: Any = {"timeout": TIMEOUT_SECONDS, "metadata": tuple(metadata)}

    async def single(self, user_id: str) -> Answered:
        request = pb.RecommendItemsRequest(query=_query(user_id), options=_OPTIONS)
        response = await self._stub.RecommendItems(request, **self._by)
        return _answered(response.ranking, response.served_by)

    async def batch(self, user_ids: Sequence[str]) -> list[Answered]:
        request = pb.BatchRecommendItemsRequest(queries=map(_query, user_ids), options=_OPTIONS)
        response = await self._stub.BatchRecommendItems(request, **self._by)
        return [_answered(result.ranking, response.served_by) for result in response.results]

    async def stream(self, user_ids: Sequence[str]) -> AsyncIterator[Answered]:
        async def requests() -> AsyncIterator[pb.StreamRecommendItemsRequest]:
            for number, start in enumerate(range(0, len(user_ids), ROWS), start=1):
                queries = map(_query, user_ids[start : start + ROWS])
                yield pb.StreamRecommendItemsRequest(queries=queries, options=_OPTIONS, sequence_id=number)

        async for response in self._stub.StreamRecommendItems(requests(), **self._by):
            for result in response.results:
                yield _answered(result.ranking, response.served_by)

    async def scores(self, user_id: str, item_ids: Sequence[str]) -> list[float]:
        request = pb.ScoreItemsRequest(query=_query(user_id), item_ids=item_ids)
        return list((await self._stub.ScoreItems(request, **self._by)).scores)


class Clients:
    """Several clients in turn, as of several processes."""

    # Each of its answers may take as long as a call, and its breaks wait for 4 s at most.
    longest_stream_seconds = MESSAGES * TIMEOUT_SECONDS + 4.0

    def __init__(self, target: str) -> None:
        self._target = target
        self._generations: deque[list[AsyncClient]] = deque()

    async def renew(self) -> None:
        """Has other clients ask from now on, with budgets that are full."""
        clients = [AsyncClient(self._target, timeout=TIMEOUT_SECONDS, connections=CONNECTIONS) for _ in range(CLIENTS)]
        self._generations.append(clients)
        for client in clients:
            await client.wait_ready()
        self._turns = itertools.cycle(clients)
        if len(self._generations) > GENERATIONS:
            # Their last calls have long ended.
            await _close(self._generations.popleft())

    async def close(self) -> None:
        """Ends all connections."""
        for clients in self._generations:
            await _close(clients)

    async def single(self, user_id: str) -> Answered:
        return _received(await next(self._turns).recommend(user_id, count=ITEM_COUNT))

    async def batch(self, user_ids: Sequence[str]) -> list[Answered]:
        return [_received(result) for result in await next(self._turns).recommend_many(user_ids, count=ITEM_COUNT)]

    async def stream(self, user_ids: Sequence[str]) -> AsyncIterator[Answered]:
        queries = [Query(user_id) for user_id in user_ids]
        async for result in next(self._turns).stream(queries, queries_per_message=ROWS, count=ITEM_COUNT):
            yield _received(result)

    async def scores(self, user_id: str, item_ids: Sequence[str]) -> list[float]:
        return [float(score) for score in await next(self._turns).score(item_ids, user_id=user_id)]


@asynccontextmanager
async def plainly(
    target: str, credentials: grpc.ChannelCredentials | None = None, metadata: Sequence[tuple[str, str]] = ()
) -> AsyncIterator[PlainCalls]:
    """One connection, with TLS where there are credentials; each call has the metadata."""
    channel = grpc.aio.secure_channel(target, credentials) if credentials else grpc.aio.insecure_channel(target)
    async with channel:
        await channel.channel_ready()
        yield PlainCalls(RecommendationServiceStub(channel), metadata)


@asynccontextmanager
async def with_clients(target: str) -> AsyncIterator[Clients]:
    """Eight connections."""
    clients = Clients(target)
    try:
        await clients.renew()
        yield clients
    finally:
        await clients.close()


_OPTIONS = pb.RankingOptions(item_count=ITEM_COUNT)


async def _close(clients: Sequence[AsyncClient]) -> None:
    for client in clients:
        await client.close()


def _query(user_id: str) -> pb.Query:
    return pb.Query(user=pb.User(user_id=user_id))


def _answered(ranking: pb.Ranking, served_by: pb.ModelVersion) -> Answered:
    return Answered(tuple(ranking.item_ids), tuple(ranking.scores), served_by.version)


def _received(result: RankingResult) -> Answered:
    if not isinstance(result, Ranking):
        raise result
    return Answered(tuple(result.item_ids), tuple(result.scores.tolist()), result.version)
