"""A caller who stops reading is told so and does not keep the server's room; one who goes on reading keeps theirs."""

import asyncio
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from structlog.testing import capture_logs

from bascule.v1 import recommendation_service_pb2 as pb
from bascule.v1.recommendation_service_pb2_grpc import RecommendationServiceStub

QUERIES = [pb.Query(user=pb.User(history=["seen"]))] * 1_024
LARGE = pb.StreamRecommendItemsRequest(queries=QUERIES)
"""Its answer takes some 20 KB."""


@contextmanager
def small_window(port: int) -> Iterator[Any]:
    """A caller whose library takes no more than 64 KB that the caller does not read."""
    options = [("grpc.http2.bdp_probe", 0)]
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        yield RecommendationServiceStub(channel)


async def test_a_stream_whose_reader_has_stopped_ends_and_the_reader_is_told(run_server: Any) -> None:
    with capture_logs() as lines:
        async with run_server(write_timeout_seconds=0.2) as running:
            with small_window(running.port) as stub:
                call = stub.StreamRecommendItems(itertools.repeat(LARGE))
                while not any(line["event"] == "call" for line in lines):  # noqa: ASYNC110
                    await asyncio.sleep(0)
                with pytest.raises(grpc.RpcError):
                    await asyncio.to_thread(list, call)
                assert call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
                assert "No answer was taken" in call.details()
            others = await running.recommendations.BatchRecommendItems(pb.BatchRecommendItemsRequest(queries=QUERIES))
            assert len(others.results) == 1_024
    assert [line.get("reason") for line in lines if line["event"] == "call"] == ["READER_STOPPED", None]


async def test_a_slow_reader_who_goes_on_reading_gets_everything(run_server: Any) -> None:
    async with run_server(write_timeout_seconds=5.0) as running:
        with small_window(running.port) as stub:
            answers = await asyncio.to_thread(list, stub.StreamRecommendItems(itertools.repeat(LARGE, 20)))
            assert [len(answer.results) for answer in answers] == [1_024] * 20
