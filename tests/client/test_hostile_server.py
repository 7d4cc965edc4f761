"""Whatever a server answers, the client gives an answer or raises an error of its own."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from random import Random
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from message_mutations import mutate

from bascule import BasculeError, CatalogueClient, Failure, InternalError, Ranking, UnavailableError
from bascule.answers import read_embeddings, read_ranking, read_rankings, read_scores
from bascule.errors import error_from_status, status_from_failure
from bascule.models import read_model
from bascule.standard_protos import health_pb2
from bascule.v1 import catalogue_service_pb2 as catalogue_pb
from bascule.v1 import model_service_pb2 as models_pb
from bascule.v1 import recommendation_service_pb2 as pb
from bascule.window import MAX_ASKED_DELAY, Resumption

ERROR = status_from_failure(Failure(grpc.StatusCode.NOT_FOUND, "none", "ITEM_NOT_FOUND", retry_after=1.0))
ATTRIBUTES = pb.ItemAttributes(
    values={"title": pb.FeatureValue(category="Heat"), "released": pb.FeatureValue(time=Timestamp(seconds=800_000_000))}
)
RANKING = pb.Ranking(
    item_ids=["a"],
    scores=[1],
    attributes=[ATTRIBUTES],
    because=[pb.LikeItems(item_ids=["b"])],
    path=pb.RANKING_PATH_COLD,
    shortfall=pb.SHORTFALL_CAP,
)
RESULTS = [pb.RankingResult(ranking=RANKING), pb.RankingResult(error=ERROR)]
MODEL = models_pb.Model(model_version=pb.ModelVersion(model="m", version=1), error=ERROR)
MODEL.manifest.query_features.add(name="age").standardised.deviation = 1

ANSWERS: dict[str, Message] = {
    "RecommendItems": pb.RecommendItemsResponse(ranking=RANKING),
    "BatchRecommendItems": pb.BatchRecommendItemsResponse(results=RESULTS),
    "StreamRecommendItems": pb.StreamRecommendItemsResponse(results=RESULTS),
    "ScoreItems": pb.ScoreItemsResponse(scores=[1, float("nan")]),
    "EmbedQueries": pb.EmbedQueriesResponse(results=[pb.EmbeddingResult(error=ERROR), pb.EmbeddingResult()]),
    "ListModels": models_pb.ListModelsResponse(models=[MODEL]),
    "Check": health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING),
    "UpsertItems": catalogue_pb.UpsertItemsResponse(revision=1),
    "RetireItems": catalogue_pb.RetireItemsResponse(revision=1, unknown_item_ids=["a"]),
    "GetCatalogue": catalogue_pb.GetCatalogueResponse(last_change_time=Timestamp(seconds=1)),
}

READERS: list[tuple[Message, Callable[[Any], object]]] = [
    (ANSWERS["RecommendItems"], lambda response: read_ranking(response.ranking, response.served_by)),
    (ANSWERS["BatchRecommendItems"], lambda response: read_rankings(response, 2)),
    (ANSWERS["StreamRecommendItems"], lambda response: read_rankings(response, 2)),
    (ANSWERS["ScoreItems"], lambda response: read_scores(response, 2)),
    (ANSWERS["EmbedQueries"], lambda response: read_embeddings(response, 2)),
    (MODEL, read_model),
    (ERROR, error_from_status),
]


@st.composite
def changed(draw: st.DrawFn, message: Message) -> Any:
    """The message, with some fields changed to whatever the definitions allow."""
    found = type(message)()
    found.CopyFrom(message)
    chance: Random = draw(st.randoms(use_true_random=False))
    for _ in range(draw(st.integers(1, 4))):
        mutate(found, chance)
    return found


@pytest.mark.parametrize(("message", "read"), READERS, ids=lambda part: getattr(type(part), "__name__", ""))
@given(data=st.data())
def test_whatever_a_message_holds_it_is_read_or_breaks_the_contract(
    message: Message, read: Callable[[Any], object], data: st.DataObject
) -> None:
    with suppress(InternalError):
        read(data.draw(changed(message)))


@given(changed(ANSWERS["RecommendItems"]))
def test_what_belongs_to_the_items_of_a_ranking_is_as_much_as_they_are(response: pb.RecommendItemsResponse) -> None:
    with suppress(InternalError):
        ranking = read_ranking(response.ranking, response.served_by)
        for parallel in (ranking.scores, ranking.attributes, ranking.because):
            assert parallel is None or len(parallel) == len(ranking.item_ids)


@pytest.mark.parametrize("seconds", [1e9, float(2**62), float("inf")])
def test_no_server_is_waited_for_longer_than_a_minute_or_so(seconds: float) -> None:
    error = UnavailableError(Failure(grpc.StatusCode.UNAVAILABLE, "busy", retry_after=seconds))
    assert Resumption().delay_after(error) <= 1.2 * MAX_ASKED_DELAY


class HostileServer:
    """Answers every method with the bytes, or ends it with the status, that it is told."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.says: Callable[[str, grpc.ServicerContext], list[bytes]] = lambda *_: []


class _AnyMethod(grpc.GenericRpcHandler):
    def __init__(self, server: HostileServer) -> None:
        self._server = server

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        name = details.method.rpartition("/")[2]
        if name.startswith("Stream"):
            return grpc.stream_stream_rpc_method_handler(
                lambda requests, context: iter(self._server.says(name, context)) if next(requests, None) else iter(())
            )
        return grpc.unary_unary_rpc_method_handler(lambda _, context: self._server.says(name, context)[0])


@pytest.fixture(scope="module")
def hostile() -> Iterator[HostileServer]:
    with ThreadPoolExecutor(4) as pool:
        server = grpc.server(pool)
        told = HostileServer(server.add_insecure_port("127.0.0.1:0"))
        server.add_generic_rpc_handlers((_AnyMethod(told),))
        server.start()
        yield told
        server.stop(None).wait()


CALLS: dict[str, Callable[[Any], object]] = {
    "RecommendItems": lambda client: client.recommend("u", count=2),
    "BatchRecommendItems": lambda client: client.recommend_many(["u", "v"]),
    "StreamRecommendItems": lambda client: list(client.stream(["u", "v"], max_tries=0)),
    "ScoreItems": lambda client: client.score(["a", "b"], user_id="u"),
    "EmbedQueries": lambda client: client.embed(["u", "v"]),
    "ListModels": lambda client: client.models(),
    "Check": lambda client: client.is_serving(),
}

CATALOGUE_CALLS: dict[str, Callable[[CatalogueClient], object]] = {
    "UpsertItems": lambda client: client.upsert({"a": {}}),
    "RetireItems": lambda client: client.retire(["a"]),
    "GetCatalogue": lambda client: client.state(),
}

BYTES = st.binary(max_size=60)
STATUS = st.tuples(st.sampled_from(list(grpc.StatusCode)[1:]), st.text(max_size=20), BYTES | changed(ERROR))
QUICKLY = settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])


def told(data: st.DataObject, name: str) -> Callable[[str, grpc.ServicerContext], list[bytes]]:
    answer = st.lists(BYTES | changed(ANSWERS[name]), min_size=1, max_size=3)
    said = data.draw(answer | STATUS)

    def says(_: str, context: grpc.ServicerContext) -> list[bytes]:
        if isinstance(said, tuple):
            code, text, details = said
            context.set_trailing_metadata((("grpc-status-details-bin", _serialised(details)),))
            context.abort(code, text)
        return list(map(_serialised, said))

    return says


def _serialised(said: bytes | Message) -> bytes:
    return said if isinstance(said, bytes) else said.SerializeToString()


@pytest.mark.parametrize("name", CALLS)
@QUICKLY
@given(data=st.data())
def test_a_client_that_is_answered_anything_gives_an_answer_or_an_error(
    hostile: HostileServer, connect: Any, name: str, data: st.DataObject
) -> None:
    hostile.says = told(data, name)
    # Calls are repeated as often as the status asks for, within so many seconds.
    with connect(f"127.0.0.1:{hostile.port}", timeout=0.5) as client, suppress(BasculeError):
        CALLS[name](client)


@pytest.mark.parametrize("name", CATALOGUE_CALLS)
@QUICKLY
@given(data=st.data())
def test_an_operators_client_does_too(hostile: HostileServer, name: str, data: st.DataObject) -> None:
    hostile.says = told(data, name)
    with CatalogueClient(f"127.0.0.1:{hostile.port}", timeout=0.5) as client, suppress(BasculeError):
        CATALOGUE_CALLS[name](client)


def test_a_server_that_answers_well_is_believed(hostile: HostileServer, connect: Any) -> None:
    hostile.says = lambda name, _: [ANSWERS[name].SerializeToString()]
    with connect(f"127.0.0.1:{hostile.port}", timeout=20.0) as client:
        assert isinstance(client.recommend("u"), Ranking)
        assert len(client.recommend_many(["u", "v"])) == len(client.embed(["u", "v"])) == 2
