"""A scorer that one can do in the head, and real servers on free loopback ports that answer with it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any, TypeAlias

import grpc
import numpy as np
import pytest
from fixed_versions import FixedVersions
from grpc_health.v1.health_pb2_grpc import HealthStub
from known_callers import Known

from bascule.v1.artifact_pb2 import (
    AttributeKind,
    CategoricalFeature,
    Feature,
    HistoryFeature,
    Manifest,
    MultiValuedFeature,
    StandardisedFeature,
)
from bascule.v1.model_service_pb2_grpc import ModelServiceStub
from bascule.v1.recommendation_service_pb2 import RankingPath
from bascule.v1.recommendation_service_pb2_grpc import RecommendationServiceStub
from bascule_server import server
from bascule_server.messages.schema import Schema, schema_of
from bascule_server.models import Models
from bascule_server.scoring.item_ids import ItemIds
from bascule_server.scoring.query import (
    Answer,
    ItemScores,
    NothingKnownError,
    QueryVector,
    Question,
    Rank,
    Ranking,
    Score,
)
from bascule_server.servable import ServableVersion
from bascule_server.server import Server

MANIFEST = Manifest(schema_version=1, model="counting", version=3, dimension=2, item_count=3)
MANIFEST.query_features.extend(
    [
        Feature(name="history", history=HistoryFeature(max_length=4)),
        Feature(name="country", categorical=CategoricalFeature(vocabulary="c.json", size=2)),
        Feature(name="age", standardised=StandardisedFeature(mean=0, deviation=1)),
        Feature(name="tags", multi_valued=MultiValuedFeature(vocabulary="t.json", size=2, max_count=2)),
    ]
)
MANIFEST.attributes.add(name="title", kind=AttributeKind.ATTRIBUTE_KIND_CATEGORICAL)
MANIFEST.attributes.add(name="genres", kind=AttributeKind.ATTRIBUTE_KIND_MULTI_VALUED)
MANIFEST.attributes.add(name="year", kind=AttributeKind.ATTRIBUTE_KIND_NUMERIC)
MANIFEST.attributes.add(name="released", kind=AttributeKind.ATTRIBUTE_KIND_TIME)


(SEEN,) = ItemIds(["seen"]).listed([np.array([0])])


@dataclass
class CountingScorer:
    """Ranks the one item ``seen`` with the length of the history for its score, so that each row shows whose it is.

    It knows nothing of the user ``nobody``, fails at the user ``broken``, and answers only while ``may_answer``.
    """

    batches: list[int] = field(default_factory=list)
    """How many rows each batch had."""
    may_answer: Event = field(default_factory=Event)

    def __post_init__(self) -> None:
        self.may_answer.set()

    def answer(self, questions: Sequence[Question]) -> list[Answer]:
        self.batches.append(len(questions))
        self.may_answer.wait(timeout=30)
        return [self._answer(question) for question in questions]

    def _answer(self, question: Question) -> Answer:
        query, ask = question.query, question.ask
        if query.user_id == "broken":
            raise RuntimeError("the secret of the user called broken")
        if query.user_id == "nobody":
            return NothingKnownError()
        length = len(query.history)
        match ask:
            case Rank():
                return Ranking(SEEN, np.array([length], np.float32), RankingPath.RANKING_PATH_HISTORY, [])
            case Score(item_ids):
                scores = np.arange(len(item_ids), dtype=np.float32)
                return ItemScores(scores, RankingPath.RANKING_PATH_HISTORY, [])
            case _:
                return QueryVector(np.array([length, 0.5], np.float32), RankingPath.RANKING_PATH_HISTORY)


@dataclass
class Running:
    """A server that runs, and what it takes to talk to it."""

    server: Server
    port: int
    loop: asyncio.AbstractEventLoop
    """The server's."""
    working: "Future[None]"
    channel: grpc.aio.Channel
    scorer: CountingScorer
    recommendations: Any
    models: Any
    health: Any

    async def failed(self) -> None:
        """Returns when loading failed."""
        with pytest.raises(Exception):  # noqa: B017, PT011 - whatever it was
            await asyncio.wrap_future(self.working)

    async def stop(self) -> None:
        """Has the server come to rest."""
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self.server.stop(), self.loop))


RunServer: TypeAlias = Callable[..., AbstractAsyncContextManager[Running]]


@pytest.fixture
def manifest() -> Manifest:
    return MANIFEST


@pytest.fixture
def schema() -> Schema:
    return schema_of(MANIFEST)


@pytest.fixture
def known(tmp_path: Path) -> Known:
    """Files that say who may call."""
    return Known(tmp_path)


@pytest.fixture
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has servers look at their files all the time."""
    monkeypatch.setattr(server, "LOOK_SECONDS", 0.01)


@pytest.fixture
def never_loaded() -> Iterator[Callable[[Path], None]]:
    """Loads until the test is over."""
    is_over = Event()

    def load(_: Path) -> None:
        is_over.wait(timeout=30)

    yield load
    is_over.set()


@pytest.fixture
def run_server(serve_in_process: Any) -> RunServer:
    """Runs a server with the model ``counting``, version 3; other keywords are fields of the configuration."""

    @asynccontextmanager
    async def run(
        load: Callable[[Path], Any] | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        **fields: Any,
    ) -> AsyncIterator[Running]:
        scorer = CountingScorer()
        source = FixedVersions([Path("counting/3")], load or (lambda _: ServableVersion(MANIFEST, scorer)))  # type: ignore[arg-type]
        async with (
            serve_in_process(source, **fields) as served,
            _channel(served.port, credentials) as channel,
        ):
            stubs = RecommendationServiceStub(channel), ModelServiceStub(channel), HealthStub(channel)
            running = Running(served.server, served.port, served.loop, served.working, channel, scorer, *stubs)
            if load is None:
                await channel.channel_ready()
                await _until_serving(served.server.models)
            try:
                yield running
            finally:
                scorer.may_answer.set()

    return run


def _channel(port: int, credentials: grpc.ChannelCredentials | None) -> grpc.aio.Channel:
    if credentials is None:
        return grpc.aio.insecure_channel(f"127.0.0.1:{port}")
    return grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials)


async def _until_serving(models: Models) -> None:
    # There is nothing to wait for but the models themselves: a server tells nobody in its own process.
    while not models.known() or any(known.serving is None for known in models.known()):  # noqa: ASYNC110
        await asyncio.sleep(0)
