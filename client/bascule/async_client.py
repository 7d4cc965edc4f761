"""The client, for an event loop."""

# ruff: noqa: ASYNC109 - a time-out travels to the server as the call's deadline, which no block around it would do

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeAlias, Unpack

import grpc
import grpc.aio

from bascule import health, requests
from bascule.answers import (
    EmbeddingResult,
    RankingResult,
    read_embeddings,
    read_ranking,
    read_rankings,
    read_scores,
)
from bascule.arrays import Float32Array
from bascule.async_answer import answered
from bascule.async_streaming import AsyncLane, OpenStream, recommend_stream
from bascule.bearer_token import Token, check_token
from bascule.channel import DEFAULT_TARGET, checked_connections, checked_timeout, open_async_channels
from bascule.client import DEFAULT_TIMEOUT
from bascule.errors import BasculeError
from bascule.hedged_calls import AsyncHedgedMethod, HedgedStub
from bascule.hedging import checked_hedge
from bascule.models import Model, read_model
from bascule.query import FeatureValue, Query, RankingOptions, VectorValues, VersionLabel
from bascule.ranking import Ranking
from bascule.requests import QueryLike
from bascule.standard_protos import health_pb2
from bascule.v1 import recommendation_service_pb2 as pb
from bascule.v1.model_service_pb2 import ListModelsRequest
from bascule.v1.model_service_pb2_grpc import ModelServiceStub
from bascule.v1.recommendation_service_pb2_grpc import RecommendationServiceStub
from bascule.window import MAX_TRIES, AsyncSource, MessageWindow, OnBreak, Resumption

if TYPE_CHECKING:
    StreamCall: TypeAlias = grpc.aio.StreamStreamCall[pb.StreamRecommendItemsRequest, pb.StreamRecommendItemsResponse]
    from bascule.v1.model_service_pb2_grpc import ModelServiceAsyncStub
    from bascule.v1.recommendation_service_pb2_grpc import RecommendationServiceAsyncStub


class AsyncClient:
    """Asks a Bascule server, from any number of tasks of one event loop at once.

    It is ``Client`` with ``await``: the same arguments, answers and errors. It belongs to the event loop in which its
    first call is made. Use it as an asynchronous context manager, or ``close`` it.

    Args:
        target: Address and port, such as ``127.0.0.1:50051``, or any name that gRPC resolves. Calls are spread over all
            addresses of a name.
        model: The model to ask where a call names none. Empty: the only one that the server has.
        timeout: How many seconds a call may take, its repetitions included, where it does not say so itself; in a
            stream, each answer. A service that is itself waited for passes on what is left to it:
            ``timeout=context.time_remaining() - margin``.
        credentials: For an encrypted connection, such as ``grpc.ssl_channel_credentials()`` returns.
        token: What tells the server who calls: a key or a token, or a function that returns the one of the moment and
            is called for each call and stream. Without ``credentials`` it is sent to this machine alone.
        connections: How many connections calls are spread over in turn. A server with several workers gives each
            connection to one of them, so have some for each.
        hedge: Whether a call that takes longer than 95 of 100 do is made a second time over another connection, and the
            answer that comes first taken; not the stream. At most one call in twenty is computed twice for it.

    Every method raises ``BasculeError`` for what the server, or the way to it, does wrong, and ``ValueError`` or
    ``TypeError`` for arguments that cannot be sent.
    """

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        model: str = "",
        timeout: float = DEFAULT_TIMEOUT,
        credentials: grpc.ChannelCredentials | None = None,
        token: Token | None = None,
        connections: int = 1,
        hedge: bool = False,
    ) -> None:
        self._target = target
        self._model = model
        self._timeout = checked_timeout(timeout)
        self._credentials = credentials
        self._token = token
        check_token(token, target, credentials)
        self._connections = checked_connections(connections)
        self._hedge = checked_hedge(connections, hedge=hedge)

    async def recommend(
        self,
        user_id: str = "",
        *,
        history: Sequence[str] = (),
        features: Mapping[str, FeatureValue] | None = None,
        item_id: str | None = None,
        vector: VectorValues | None = None,
        excluded: Sequence[str] = (),
        candidates: Sequence[str] | None = None,
        timeout: float | None = None,
        **options: Unpack[RankingOptions],
    ) -> Ranking:
        """Ranks the catalogue for a user, an item or a vector.

        The arguments are the fields of ``Query``, with ``excluded`` and ``candidates`` for its item ids, and the
        ``RankingOptions``.
        """
        query = Query(user_id, history, features or {}, item_id, vector, excluded, candidates)
        request = requests.ranking_request(query, **self._with_model(options))
        response = await answered(self._recommendations.RecommendItems, request, self._seconds(timeout))
        return read_ranking(response.ranking, response.served_by)

    async def recommend_many(
        self, queries: Iterable[QueryLike], *, timeout: float | None = None, **options: Unpack[RankingOptions]
    ) -> list[RankingResult]:
        """Ranks the catalogue for up to 1,024 queries, all by one version of the model.

        A str is the id of a user. Returns for each query, in their order, its ranking or why it has none.
        """
        request = requests.batch_request(queries, **self._with_model(options))
        if not request.queries:
            return []
        response = await answered(self._recommendations.BatchRecommendItems, request, self._seconds(timeout))
        return read_rankings(response, len(request.queries))

    def stream(
        self,
        queries: Iterable[QueryLike] | AsyncIterable[QueryLike],
        *,
        queries_per_message: int = 64,
        window: int = 8,
        max_tries: int = MAX_TRIES,
        on_break: OnBreak | None = None,
        timeout: float | None = None,
        **options: Unpack[RankingOptions],
    ) -> AsyncGenerator[RankingResult, None]:
        """Ranks the catalogue for queries without end.

        As ``Client.stream``, of queries that come from an iterable or an asynchronous iterable. An iterator that is
        left before its end cancels the call when it is collected, or at once by its ``aclose``.
        """
        source = AsyncSource(_query_messages(queries))
        template = requests.stream_template(**self._with_model(options))
        lanes = [
            AsyncLane(
                self._open_stream(place),
                MessageWindow(template, queries_per_message, window),
                Resumption(max_tries, on_break),
            )
            for place in range(self._connections)
        ]
        return recommend_stream(lanes, source, self._seconds(timeout))

    async def score(
        self,
        item_ids: Sequence[str],
        *,
        user_id: str = "",
        history: Sequence[str] = (),
        features: Mapping[str, FeatureValue] | None = None,
        item_id: str | None = None,
        vector: VectorValues | None = None,
        model: str = "",
        version: int = 0,
        label: VersionLabel | None = None,
        timeout: float | None = None,
    ) -> Float32Array:
        """The scores of 1 to 10,000 given items, equal to those that ``recommend`` gives them.

        Returns float32 [items], in the order of ``item_ids``; NaN where the catalogue does not have the item.
        """
        query = Query(user_id, history, features or {}, item_id, vector)
        request = requests.score_request(query, item_ids, model or self._model, version, label)
        response = await answered(self._recommendations.ScoreItems, request, self._seconds(timeout))
        return read_scores(response, len(request.item_ids))

    async def embed(
        self,
        queries: Iterable[QueryLike],
        *,
        model: str = "",
        version: int = 0,
        label: VersionLabel | None = None,
        timeout: float | None = None,
    ) -> list[EmbeddingResult]:
        """The vectors that the query tower makes of up to 1,024 queries.

        Returns for each query, in their order, float32 [dimension] or why it has none.
        """
        request = requests.embed_request(queries, model or self._model, version, label)
        if not request.queries:
            return []
        response = await answered(self._recommendations.EmbedQueries, request, self._seconds(timeout))
        return read_embeddings(response, len(request.queries))

    async def models(self, *, timeout: float | None = None) -> list[Model]:
        """Every version that the server knows, by name and then version."""
        response = await answered(self._models.ListModels, ListModelsRequest(), self._seconds(timeout))
        return [read_model(model) for model in response.models]

    async def is_serving(self, *, timeout: float | None = None) -> bool:
        """Whether the server is there and ready, asked once."""
        try:
            request = health_pb2.HealthCheckRequest()
            response = await answered(self._health_check, request, self._seconds(timeout))
        except BasculeError as error:
            if health.means_not_ready(error):
                return False
            raise
        return health.is_serving(response)

    async def wait_ready(self, timeout: float = 30.0) -> None:
        """Waits until the server is there and ready.

        Raises:
            DeadlineExceededError: It was not within ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        while not await self.is_serving(timeout=max(deadline - time.monotonic(), 0.001)):
            if time.monotonic() + health.POLL_SECONDS > deadline:
                raise health.not_ready(self._target, timeout)
            await asyncio.sleep(health.POLL_SECONDS)

    async def close(self) -> None:
        """Ends the connections, and every call that is still in flight."""
        await asyncio.gather(*(channel.close() for channel in self._channels))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def _open_stream(self, place: int) -> OpenStream:
        """What opens a stream on one of the connections."""

        def open_stream(messages: AsyncIterator[pb.StreamRecommendItemsRequest]) -> StreamCall:
            return self._stubs[place].StreamRecommendItems(messages)

        return open_stream

    # An asynchronous channel belongs to the event loop that runs when it is made, so it is made when it is needed.

    @cached_property
    def _channels(self) -> list[grpc.aio.Channel]:
        return open_async_channels(self._target, self._credentials, self._connections, self._token)

    @cached_property
    def _stubs(self) -> list[RecommendationServiceAsyncStub]:
        return [RecommendationServiceStub(channel) for channel in self._channels]

    @cached_property
    def _turns(self) -> Iterator[RecommendationServiceAsyncStub]:
        return itertools.cycle(self._stubs)

    @cached_property
    def _hedged(self) -> HedgedStub | None:
        return HedgedStub(self._stubs, AsyncHedgedMethod) if self._hedge else None

    @property
    def _recommendations(self) -> RecommendationServiceAsyncStub | HedgedStub:
        """The connections take turns."""
        return self._hedged or next(self._turns)

    @cached_property
    def _models(self) -> ModelServiceAsyncStub:
        return ModelServiceStub(self._channels[0])

    @cached_property
    def _health_check(self) -> Callable[..., Any]:
        return health.health_check(self._channels[0])

    def _seconds(self, timeout: float | None) -> float:
        return self._timeout if timeout is None else checked_timeout(timeout)

    def _with_model(self, options: RankingOptions) -> RankingOptions:
        return {"model": self._model, **options}


async def _query_messages(queries: Iterable[QueryLike] | AsyncIterable[QueryLike]) -> AsyncIterator[pb.Query]:
    if isinstance(queries, AsyncIterable):
        async for query in queries:
            yield requests.query_message(query)
    else:
        for query in queries:
            yield requests.query_message(query)
