"""A server on a real port: each method's way from the wire and back, and how the server comes to rest."""

import asyncio
from threading import Timer
from typing import Any

import grpc
import pytest
from fault import raw_http2 as raw
from fixed_versions import FixedVersions
from structlog.testing import capture_logs

from bascule.standard_protos import error_details_pb2, health_pb2, status_pb2
from bascule.v1 import recommendation_service_pb2 as pb
from bascule_server.config import ServerConfig
from bascule_server.errors import Reason
from bascule_server.server import RECOMMEND_ITEMS, ListenError, Server

SERVED_BY = pb.ModelVersion(model="counting", version=3)


def history(length: int) -> pb.Query:
    return pb.Query(user=pb.User(history=["seen"] * length))


def user(user_id: str) -> pb.Query:
    return pb.Query(user=pb.User(user_id=user_id))


def message(sequence_id: int, *lengths: int) -> pb.StreamRecommendItemsRequest:
    return pb.StreamRecommendItemsRequest(sequence_id=sequence_id, queries=[history(length) for length in lengths])


def scores(results: Any) -> list[float]:
    return [result.ranking.scores[0] for result in results]


async def failure(call: Any) -> tuple[grpc.StatusCode, Reason]:
    """How a call ended: its code, and its reason by the details."""
    code = await call.code()
    details = status_pb2.Status.FromString(dict(tuple(await call.trailing_metadata()))["grpc-status-details-bin"])
    info = error_details_pb2.ErrorInfo()
    assert details.details[0].Unpack(info)
    return code, Reason[info.reason]


async def asked(running: Any) -> None:
    """Returns when the scorer was asked for the first time."""
    while not running.scorer.batches:  # noqa: ASYNC110
        await asyncio.sleep(0)


async def until_in_flight(running: Any) -> None:
    """Returns when the server knows of a call."""
    while not running.server._draining.call_count:  # noqa: ASYNC110
        await asyncio.sleep(0)


async def test_one_query_gets_one_ranking(run_server: Any) -> None:
    async with run_server() as running:
        response = await running.recommendations.RecommendItems(pb.RecommendItemsRequest(query=history(3)))
        assert (list(response.ranking.item_ids), list(response.ranking.scores)) == (["seen"], [3.0])
        assert response.served_by == SERVED_BY


async def test_a_batch_is_answered_in_order_and_one_bad_row_harms_no_other(run_server: Any) -> None:
    async with run_server(largest_batch=2) as running:
        request = pb.BatchRecommendItemsRequest(
            queries=[history(1), pb.Query(), history(2), user("nobody"), history(3)]
        )
        response = await running.recommendations.BatchRecommendItems(request)
        assert [result.error.code for result in response.results] == [0, 3, 0, 9, 0]
        assert scores([response.results[index] for index in (0, 2, 4)]) == [1, 2, 3]
        assert running.scorer.batches == [2, 2]


async def test_a_stream_is_answered_message_by_message(run_server: Any) -> None:
    async with run_server(stream_window=2) as running:
        responses = running.recommendations.StreamRecommendItems(message(index, index, 9) for index in range(20))
        answers = [(response.sequence_id, scores(response.results)) async for response in responses]
    assert answers == [(index, [index, 9]) for index in range(20)]


async def test_a_stream_goes_on_where_a_model_is_not_loaded(run_server: Any) -> None:
    async with run_server() as running:
        unknown = message(1, 1, 2)
        unknown.model.model = "x"
        first, second = [r async for r in running.recommendations.StreamRecommendItems([unknown, message(2, 5)])]
    assert [result.error.code for result in first.results] == [5, 5]
    assert not first.HasField("served_by")
    assert (scores(second.results), second.served_by) == ([5], SERVED_BY)


async def test_a_stream_ends_at_a_message_without_queries(run_server: Any) -> None:
    async with run_server() as running:
        call = running.recommendations.StreamRecommendItems([message(1, 1), message(2), message(3, 3)])
        assert (await call.read()).sequence_id == 1
        assert await failure(call) == (grpc.StatusCode.INVALID_ARGUMENT, Reason.INVALID_FIELD)


async def test_scores_come_in_the_order_asked(run_server: Any) -> None:
    async with run_server() as running:
        request = pb.ScoreItemsRequest(query=history(1), item_ids=["a", "b", "a"])
        response = await running.recommendations.ScoreItems(request)
        assert (list(response.scores), response.served_by) == ([0, 1, 2], SERVED_BY)


async def test_vectors_come_in_the_order_asked(run_server: Any) -> None:
    async with run_server() as running:
        request = pb.EmbedQueriesRequest(queries=[history(1), user("nobody"), history(2)])
        first, nobody, second = (await running.recommendations.EmbedQueries(request)).results
        assert [list(result.embedding.vector.values) for result in (first, second)] == [[1, 0.5], [2, 0.5]]
        assert nobody.error.code == 9


async def test_a_call_for_nothing_that_is_known_fails_with_its_reason(run_server: Any) -> None:
    async with run_server() as running:
        call = running.recommendations.RecommendItems(pb.RecommendItemsRequest(query=user("nobody")))
        assert await failure(call) == (grpc.StatusCode.FAILED_PRECONDITION, Reason.NOTHING_KNOWN)


async def test_a_model_that_loads_is_not_ready(run_server: Any, never_loaded: Any) -> None:
    async with run_server(load=never_loaded) as running:
        call = running.recommendations.RecommendItems(pb.RecommendItemsRequest(query=history(1)))
        assert await failure(call) == (grpc.StatusCode.UNAVAILABLE, Reason.NOT_READY)
        # Half a second, spread so that callers do not all come back together.
        assert 250 <= int(dict(tuple(await call.trailing_metadata()))["grpc-retry-pushback-ms"]) <= 750


async def test_what_is_too_much_is_refused_at_once(run_server: Any) -> None:
    async with run_server(max_rows=2) as running:
        running.scorer.may_answer.clear()
        held = running.recommendations.BatchRecommendItems(pb.BatchRecommendItemsRequest(queries=[history(1)] * 2))
        await asked(running)
        refused = running.recommendations.RecommendItems(pb.RecommendItemsRequest(query=history(1)))
        assert await failure(refused) == (grpc.StatusCode.UNAVAILABLE, Reason.OVERLOADED)
        running.scorer.may_answer.set()
        assert scores((await held).results) == [1, 1]


async def test_a_call_that_would_wait_too_long_is_refused_before_its_message_is_read(run_server: Any) -> None:
    async with run_server(max_queue_seconds=1e-6, largest_batch=1) as running:
        # Of two rows the second tells the pace, which is too slow in any case. Then one takes so long that the worker
        # computes those which come after it.
        await running.recommendations.BatchRecommendItems(pb.BatchRecommendItemsRequest(queries=[history(1)] * 2))
        running.scorer.may_answer.clear()
        Timer(0.05, running.scorer.may_answer.set).start()
        await running.recommendations.RecommendItems(pb.RecommendItemsRequest(query=history(1)))
        running.scorer.may_answer.clear()
        held = running.recommendations.BatchRecommendItems(pb.BatchRecommendItemsRequest(queries=[history(1)] * 9))
        while len(running.scorer.batches) < 4:  # noqa: ASYNC110
            await asyncio.sleep(0)
        for method in ("RecommendItems", "BatchRecommendItems", "ScoreItems", "EmbedQueries"):
            call = running.channel.unary_unary(f"/bascule.v1.RecommendationService/{method}")(
                b"no message of this method"
            )
            assert await failure(call) == (grpc.StatusCode.UNAVAILABLE, Reason.OVERLOADED)
        assert (await running.health.Check(health_pb2.HealthCheckRequest())).status == 1
        running.scorer.may_answer.set()
        assert scores((await held).results) == [1] * 9


async def test_a_call_without_a_deadline_gets_ours(run_server: Any) -> None:
    async with run_server(default_timeout_seconds=0.05) as running:
        running.scorer.may_answer.clear()
        call = running.recommendations.RecommendItems(pb.RecommendItemsRequest(query=history(1)))
        assert await failure(call) == (grpc.StatusCode.DEADLINE_EXCEEDED, Reason.DEADLINE_EXCEEDED)


async def test_rows_of_callers_who_left_are_never_computed(run_server: Any) -> None:
    async with run_server() as running:
        running.scorer.may_answer.clear()
        first = running.recommendations.RecommendItems(pb.RecommendItemsRequest(query=history(1)))
        await asked(running)
        left = running.recommendations.RecommendItems(pb.RecommendItemsRequest(query=history(2)), timeout=0.1)
        assert await left.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await running.health.Check(health_pb2.HealthCheckRequest())
        running.scorer.may_answer.set()
        await first
        last = await running.recommendations.RecommendItems(pb.RecommendItemsRequest(query=history(3)))
        assert last.ranking.scores == [3]
        assert running.scorer.batches == [1, 1]


async def test_a_port_that_is_taken_is_refused_in_one_sentence(run_server: Any) -> None:
    async with run_server() as running:
        second = Server(
            ServerConfig(listen=f"127.0.0.1:{running.port}", transport="aio"), FixedVersions([], lambda _: None)
        )
        with pytest.raises(ListenError, match=rf"got 127\.0\.0\.1:{running.port}, .* \(Address already in use\)"):
            second.listen()
        await second.close()


async def test_a_stopping_server_answers_what_is_in_flight(run_server: Any) -> None:
    async with run_server() as running:
        running.scorer.may_answer.clear()
        held = running.recommendations.RecommendItems(pb.RecommendItemsRequest(query=history(4)))
        await asked(running)
        watch = running.health.Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        stopping = asyncio.create_task(running.stop())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        running.scorer.may_answer.set()
        assert (await held).ranking.scores == [4]
        await stopping
        assert await watch.code() is grpc.StatusCode.UNAVAILABLE
        refused = running.recommendations.RecommendItems(pb.RecommendItemsRequest(query=history(1)))
        assert await failure(refused) == (grpc.StatusCode.UNAVAILABLE, Reason.STOPPING)


async def test_a_caller_who_takes_no_answer_holds_up_the_stop_and_has_nobody_else_refused(run_server: Any) -> None:
    request = pb.RecommendItemsRequest(query=history(4)).SerializeToString()
    async with run_server() as running:
        with raw.connection(running.port) as caller:
            caller.sendall(raw.greeting([(raw.INITIAL_WINDOW_SIZE, 0)]) + raw.acknowledgement())
            caller.sendall(raw.request_headers(1, RECOMMEND_ITEMS) + raw.message(1, request))
            await until_in_flight(running)
            watch = running.health.Watch(health_pb2.HealthCheckRequest())
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
            stopping = asyncio.create_task(running.stop())
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
            for _ in range(3):
                other = await running.recommendations.RecommendItems(pb.RecommendItemsRequest(query=history(1)))
                assert other.ranking.scores == [1]
            stream = running.recommendations.StreamRecommendItems([message(1, 7)])
            assert scores((await stream.read()).results) == [7]
            assert not stopping.done()
        await stopping


async def test_a_stopping_server_answers_what_its_streams_have_sent_and_says_why_they_end(run_server: Any) -> None:
    async with run_server() as running:
        call = running.recommendations.StreamRecommendItems()
        await call.write(message(1, 7))
        assert scores((await call.read()).results) == [7]
        await running.stop()
        assert await failure(call) == (grpc.StatusCode.UNAVAILABLE, Reason.STOPPING)


async def test_what_outlasts_the_grace_is_told_why_it_ends(run_server: Any) -> None:
    async with run_server(grace_seconds=0.05) as running:
        running.scorer.may_answer.clear()
        held = running.recommendations.RecommendItems(pb.RecommendItemsRequest(query=history(4)))
        await asked(running)
        await running.stop()
        assert await failure(held) == (grpc.StatusCode.UNAVAILABLE, Reason.STOPPING)


async def test_reflection_answers_only_where_it_is_asked_for(run_server: Any) -> None:
    from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest
    from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub

    request = ServerReflectionRequest(list_services="")
    async with run_server(reflection=True) as running:
        response = await ServerReflectionStub(running.channel).ServerReflectionInfo([request]).read()
        services = {service.name for service in response.list_services_response.service}
        assert "bascule.v1.RecommendationService" in services
    async with run_server() as running:
        # Nothing is sent: grpc.aio's client says INTERNAL by itself where it writes to a call that has ended already.
        call = ServerReflectionStub(running.channel).ServerReflectionInfo()
        assert await call.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_stream_whose_caller_leaves_is_cancelled_and_no_fault(run_server: Any) -> None:
    with capture_logs() as lines:
        async with run_server() as running:
            call = running.recommendations.StreamRecommendItems()
            for number in range(3):
                await call.write(message(number, *range(1, 100)))
            assert (await call.read()).sequence_id == 0
            call.cancel()
            while not any(line["event"] == "call" and line["rows"] for line in lines):  # noqa: ASYNC110
                await asyncio.sleep(0)
            # The next caller finds all in order.
            await running.recommendations.RecommendItems(pb.RecommendItemsRequest(query=history(3)))
    assert [line["code"] for line in lines if line["event"] == "call" and line["rows"] > 1] == ["CANCELLED"]
    assert not [line for line in lines if line["event"] == "fault"]


async def test_an_unknown_method_is_unimplemented(run_server: Any) -> None:
    async with run_server() as running:
        unknown = running.channel.unary_unary("/bascule.v1.RecommendationService/Nothing")
        assert await unknown(b"").code() is grpc.StatusCode.UNIMPLEMENTED
        other = running.channel.stream_stream("/nobody.Knows/It")
        assert await other().code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_message_that_is_too_large_is_refused(run_server: Any) -> None:
    async with run_server(max_request_bytes=1_024) as running:
        large = pb.RecommendItemsRequest(query=user("x" * 2_000))
        scores = pb.ScoreItemsRequest(query=large.query, item_ids=["a"])
        for call in (running.recommendations.RecommendItems(large), running.recommendations.ScoreItems(scores)):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
