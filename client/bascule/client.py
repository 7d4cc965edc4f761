"""The client, for threads."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Self, Unpack

import grpc

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
from bascule.bearer_token import Token
from bascule.channel import DEFAULT_TARGET, checked_timeout, open_channels
from bascule.errors import BasculeError, rpc_errors
from bascule.hedged_calls import HedgedMethod, HedgedStub
from bascule.hedging import checked_hedge
from bascule.models import Model, read_model
from bascule.query import FeatureValue, Query, RankingOptions, VectorValues, VersionLabel
from bascule.ranking import Ranking
from bascule.requests import QueryLike
from bascule.standard_protos import health_pb2
from bascule.streaming import Lane, recommend_stream
from bascule.v1.model_service_pb2 import ListModelsRequest
from bascule.v1.model_service_pb2_grpc import ModelServiceStub
from bascule.v1.recommendation_service_pb2_grpc import RecommendationServiceStub
from bascule.window import MAX_TRIES, MessageWindow, OnBreak, Resumption, Source

DEFAULT_TIMEOUT = 10.0


class Client:
    """Asks a Bascule server, from any number of threads at once.

    It connects at the first call, and again whenever the connection is lost; calls that found no server able to compute
    them are repeated within their time-out. Use it as a context manager, or ``close`` it.

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
        self._channels = open_channels(target, credentials, connections, token)
        self._stubs = [RecommendationServiceStub(channel) for channel in self._channels]
        self._hedged = HedgedStub(self._stubs, HedgedMethod) if checked_hedge(connections, hedge=hedge) else None
        self._turns = itertools.cycle(self._stubs)
        self._models = ModelServiceStub(self._channels[0])
        self._health_check = health.health_check(self._channels[0])

    def recommend(
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
        with rpc_errors():
            response = self._recommendations.RecommendItems(request, timeout=self._seconds(timeout))
        return read_ranking(response.ranking, response.served_by)

    def recommend_many(
        self, queries: Iterable[QueryLike], *, timeout: float | None = None, **options: Unpack[RankingOptions]
    ) -> list[RankingResult]:
        """Ranks the catalogue for up to 1,024 queries, all by one version of the model.

        A str is the id of a user. Returns for each query, in their order, its ranking or why it has none.
        """
        request = requests.batch_request(queries, **self._with_model(options))
        if not request.queries:
            return []
        with rpc_errors():
            response = self._recommendations.BatchRecommendItems(request, timeout=self._seconds(timeout))
        return read_rankings(response, len(request.queries))

    def stream(
        self,
        queries: Iterable[QueryLike],
        *,
        queries_per_message: int = 64,
        window: int = 8,
        max_tries: int = MAX_TRIES,
        on_break: OnBreak | None = None,
        timeout: float | None = None,
        **options: Unpack[RankingOptions],
    ) -> Iterator[RankingResult]:
        """Ranks the catalogue for queries without end.

        Yields for each query, in their order and once, its ranking or why it has none. ``queries`` may be lazy, and may
        never end: it is read, in the thread that iterates, at most ``window`` messages of ``queries_per_message``
        queries for each connection ahead of the message whose results are being yielded. Each connection has a stream
        of its own, and they take turns with the messages. Where a server stops or the connection is lost,
        what is unanswered is sent again on a new stream; more than ``max_tries`` in a row without an answer raise
        ``UnavailableError``. Before the first five 3 s are waited in all, then 2 s before each: 300 are ten minutes.
        ``on_break`` is called before each try with the error and the seconds to wait. What ``queries`` raises is raised
        after everything before it has been yielded. Closing or dropping the iterator cancels the call.
        """
        source = Source(map(requests.query_message, queries))
        template = requests.stream_template(**self._with_model(options))
        lanes = [
            Lane(
                stub.StreamRecommendItems,
                MessageWindow(template, queries_per_message, window),
                Resumption(max_tries, on_break),
            )
            for stub in self._stubs
        ]
        return recommend_stream(lanes, source, self._seconds(timeout))

    def score(
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
        with rpc_errors():
            response = self._recommendations.ScoreItems(request, timeout=self._seconds(timeout))
        return read_scores(response, len(request.item_ids))

    def embed(
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
        with rpc_errors():
            response = self._recommendations.EmbedQueries(request, timeout=self._seconds(timeout))
        return read_embeddings(response, len(request.queries))

    def models(self, *, timeout: float | None = None) -> list[Model]:
        """Every version that the server knows, by name and then version."""
        with rpc_errors():
            response = self._models.ListModels(ListModelsRequest(), timeout=self._seconds(timeout))
        return [read_model(model) for model in response.models]

    def is_serving(self, *, timeout: float | None = None) -> bool:
        """Whether the server is there and ready, asked once."""
        try:
            with rpc_errors():
                response = self._health_check(health_pb2.HealthCheckRequest(), timeout=self._seconds(timeout))
        except BasculeError as error:
            if health.means_not_ready(error):
                return False
            raise
        return health.is_serving(response)

    def wait_ready(self, timeout: float = 30.0) -> None:
        """Waits until the server is there and ready.

        Raises:
            DeadlineExceededError: It was not within ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        while not self.is_serving(timeout=max(deadline - time.monotonic(), 0.001)):
            if time.monotonic() + health.POLL_SECONDS > deadline:
                raise health.not_ready(self._target, timeout)
            time.sleep(health.POLL_SECONDS)

    def close(self) -> None:
        """Ends the connections, and every call that is still in flight."""
        for channel in self._channels:
            channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _recommendations(self) -> RecommendationServiceStub | HedgedStub:
        """The connections take turns."""
        return self._hedged or next(self._turns)

    def _seconds(self, timeout: float | None) -> float:
        return self._timeout if timeout is None else checked_timeout(timeout)

    def _with_model(self, options: RankingOptions) -> RankingOptions:
        return {"model": self._model, **options}
