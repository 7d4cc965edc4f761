"""What bad input gets, from a real server: each line of the promise in the definitions of the API."""

import math
from collections.abc import Sequence
from typing import Any

import grpc
import pytest
from structlog.testing import capture_logs

from bascule.standard_protos import error_details_pb2, status_pb2
from bascule.v1 import model_service_pb2 as models_pb
from bascule.v1 import recommendation_service_pb2 as pb
from bascule.v1.model_service_pb2_grpc import ModelServiceStub
from bascule.v1.recommendation_service_pb2_grpc import RecommendationServiceStub
from bascule_server.scoring.catalogue import read_catalogue
from bascule_server.scoring.query import Answer, Question

INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
SERVICE = "/bascule.v1.RecommendationService"


@pytest.fixture(scope="session")
def known_items(servable: Any, artifact_folder: Any) -> list[str]:
    """Three items of the catalogue."""
    return read_catalogue(artifact_folder, servable.manifest).item_ids.of(range(3))


@pytest.fixture
def stub(channel: grpc.aio.Channel) -> Any:
    return RecommendationServiceStub(channel)


def user(**fields: Any) -> pb.Query:
    return pb.Query(user=pb.User(**fields))


def feature(name: str, **kind: Any) -> pb.Query:
    return user(features={name: pb.FeatureValue(**kind)})


async def status_of(call: Any) -> tuple[grpc.StatusCode, status_pb2.Status]:
    """How a call ended: its code and its details, which must agree."""
    code = await call.code()
    status = status_pb2.Status.FromString(dict(tuple(await call.trailing_metadata()))["grpc-status-details-bin"])
    assert status.code == code.value[0]
    return code, status


def info(status: status_pb2.Status) -> error_details_pb2.ErrorInfo:
    details = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(details)
    assert details.domain == "bascule"
    return details


def violation(status: status_pb2.Status) -> tuple[str, str]:
    details = error_details_pb2.BadRequest()
    assert status.details[1].Unpack(details)
    (found,) = details.field_violations
    return found.field, found.description


# 0xff begins no field; field 1 of a selector is the model's name, here three bytes that are no UTF-8.
@pytest.mark.parametrize("sent", [b"\xff", b"\x0a\x05\x0a\x03\xff\xfe\xfd"], ids=["no message", "no UTF-8"])
@pytest.mark.parametrize("method", ["RecommendItems", "BatchRecommendItems", "ScoreItems", "EmbedQueries"])
async def test_bytes_that_are_no_message_are_invalid(channel: Any, method: str, sent: bytes) -> None:
    code, status = await status_of(channel.unary_unary(f"{SERVICE}/{method}")(sent))
    assert (code, info(status).reason) == (INVALID, "MALFORMED_MESSAGE")


async def test_bytes_that_are_no_message_are_invalid_in_a_stream_after_what_was_before(channel: Any) -> None:
    good = pb.StreamRecommendItemsRequest(sequence_id=5, queries=[user()]).SerializeToString()
    call = channel.stream_stream(f"{SERVICE}/StreamRecommendItems")([good, b"\xff"])
    assert pb.StreamRecommendItemsResponse.FromString(await call.read()).sequence_id == 5
    code, status = await status_of(call)
    assert (code, info(status).reason) == (INVALID, "MALFORMED_MESSAGE")


async def test_a_negative_count_is_invalid(stub: Any) -> None:
    request = pb.RecommendItemsRequest(query=user(), options=pb.RankingOptions(item_count=-1))
    code, status = await status_of(stub.RecommendItems(request))
    assert (code, *violation(status)) == (INVALID, "options.item_count", "got -1; expected 0 to 1,000")


@pytest.mark.parametrize(("count", "got"), [(0, "0"), (1_025, "1,025")])
async def test_an_empty_batch_and_one_above_the_limit_are_invalid(stub: Any, count: int, got: str) -> None:
    expected = (INVALID, "queries", f"got {got}; expected 1 to 1,024")
    queries = [user()] * count
    calls: Sequence[Any] = [
        stub.BatchRecommendItems(pb.BatchRecommendItemsRequest(queries=queries)),
        stub.EmbedQueries(pb.EmbedQueriesRequest(queries=queries)),
        stub.StreamRecommendItems([pb.StreamRecommendItemsRequest(queries=queries)]),
    ]
    for call in calls:
        code, status = await status_of(call)
        assert (code, *violation(status)) == expected


BAD_QUERIES = [
    (feature("age", number=math.nan), '.user.features["age"]', "got nan; expected a finite number"),
    (feature("age", number=math.inf), '.user.features["age"]', "got inf; expected a finite number"),
    (
        pb.Query(vector=pb.Vector(values=[-math.inf] * 16)),
        ".vector.values[0]",
        "got -inf; expected a number from -1e+18 to 1e+18",
    ),
    (feature("age", category="old"), '.user.features["age"]', "got category; expected number"),
    (feature("shoe", number=44), '.user.features["shoe"]', 'got "shoe"; expected a declared feature: age, country'),
    (user(history=["i"] * 10_001), ".user.history", "got 10,001; expected at most 10,000"),
    (pb.Query(), "", "got no subject; expected one of user, item_id, vector"),
]


@pytest.mark.parametrize(("query", "path", "text"), BAD_QUERIES)
async def test_a_bad_query_is_invalid_by_itself(stub: Any, query: pb.Query, path: str, text: str) -> None:
    code, status = await status_of(stub.RecommendItems(pb.RecommendItemsRequest(query=query)))
    assert (code, *violation(status)) == (INVALID, f"query{path}", text)


@pytest.mark.parametrize(("query", "path", "text"), BAD_QUERIES)
async def test_a_bad_row_of_a_batch_or_message_has_its_own_status_and_every_other_is_answered(
    stub: Any, query: pb.Query, path: str, text: str
) -> None:
    alone = (await stub.RecommendItems(pb.RecommendItemsRequest(query=user(user_id="u1")))).ranking
    rows = [user(user_id="u1"), query, user(user_id="u1")]
    batch = await stub.BatchRecommendItems(pb.BatchRecommendItemsRequest(queries=rows))
    message = await stub.StreamRecommendItems([pb.StreamRecommendItemsRequest(queries=rows)]).read()
    for first, bad, last in (batch.results, message.results):
        assert (bad.error.code, *violation(bad.error)) == (3, f"queries[1]{path}", text)
        assert (first.ranking, last.ranking) == (alone, alone)


async def test_a_count_above_a_thousand_is_taken_as_a_thousand(stub: Any) -> None:
    request = pb.RecommendItemsRequest(query=user(), options=pb.RankingOptions(item_count=1_001))
    assert len((await stub.RecommendItems(request)).ranking.item_ids) == 120, "all that the catalogue has"


async def test_an_unknown_user_gets_what_is_popular_and_the_ranking_says_so(stub: Any) -> None:
    ranking = (await stub.RecommendItems(pb.RecommendItemsRequest(query=user(user_id="stranger")))).ranking
    assert (ranking.path, len(ranking.item_ids)) == (pb.RANKING_PATH_POPULAR, 10)


async def test_an_unknown_user_with_known_features_is_answered_by_the_cold_path(stub: Any) -> None:
    ranking = (await stub.RecommendItems(pb.RecommendItemsRequest(query=feature("age", number=30)))).ranking
    assert (ranking.path, len(ranking.item_ids)) == (pb.RANKING_PATH_COLD, 10)


async def test_unknown_items_of_a_history_are_skipped_and_listed(stub: Any, known_items: list[str]) -> None:
    async def ranking(history: list[str]) -> pb.Ranking:
        request = pb.RecommendItemsRequest(query=user(history=history))
        found: pb.Ranking = (await stub.RecommendItems(request)).ranking
        return found

    without = await ranking(known_items)
    with_unknown = await ranking([*known_items, "retired", "retired"])
    assert list(with_unknown.unknown_item_ids) == ["retired"]
    assert (with_unknown.path, with_unknown.item_ids) == (pb.RANKING_PATH_HISTORY, without.item_ids)
    nothing_known = await ranking(["retired", "gone"])
    assert nothing_known.path == pb.RANKING_PATH_POPULAR
    assert list(nothing_known.unknown_item_ids) == ["retired", "gone"]


@pytest.mark.parametrize("selector", [pb.ModelSelector(model="x"), pb.ModelSelector(model="tiny", version=9)])
async def test_an_unknown_model_or_version_is_not_found(channel: grpc.aio.Channel, selector: pb.ModelSelector) -> None:
    stub: Any = RecommendationServiceStub(channel)
    models: Any = ModelServiceStub(channel)
    calls = [
        stub.RecommendItems(pb.RecommendItemsRequest(model=selector, query=user())),
        stub.BatchRecommendItems(pb.BatchRecommendItemsRequest(model=selector, queries=[user()])),
        stub.ScoreItems(pb.ScoreItemsRequest(model=selector, query=user(), item_ids=["i"])),
        stub.EmbedQueries(pb.EmbedQueriesRequest(model=selector, queries=[user()])),
        models.GetModel(models_pb.GetModelRequest(model=selector)),
    ]
    for call in calls:
        code, status = await status_of(call)
        assert (code, info(status).reason) == (NOT_FOUND, "MODEL_NOT_FOUND")


async def test_an_unknown_item_is_not_found(stub: Any) -> None:
    code, status = await status_of(stub.RecommendItems(pb.RecommendItemsRequest(query=pb.Query(item_id="gone"))))
    assert (code, info(status).reason) == (NOT_FOUND, "ITEM_NOT_FOUND")


class Broken:
    """A scorer with a bug, whose exception tells a secret."""

    def answer(self, questions: Sequence[Question]) -> list[Answer]:
        raise RuntimeError(f"the secret of {questions[0].query.user_id}")


async def test_a_fault_of_ours_is_internal_with_an_id_that_the_log_has_too(serving_with: Any) -> None:
    with capture_logs() as lines:
        async with serving_with(Broken()) as channel:
            stub: Any = RecommendationServiceStub(channel)
            call = stub.RecommendItems(pb.RecommendItemsRequest(query=user(user_id="somebody")))
            code, status = await status_of(call)
    assert (code, info(status).reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    (fault,) = (line for line in lines if line["event"] == "fault")
    assert info(status).metadata["error_id"] == fault["error_id"]
    assert not any(word in f"{status}{lines}" for word in ("secret", "somebody"))
