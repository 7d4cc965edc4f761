"""Second attempts beside slow ones."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule import NotFoundError, UnavailableError
from bascule.hedging import HedgeBudget, RecentLatencies
from bascule.testing import LocalServer
from bascule.v1 import recommendation_service_pb2 as pb

PATIENCE_SECONDS = 20.0


def after(*seconds: float) -> RecentLatencies:
    latencies = RecentLatencies()
    for each in seconds:
        latencies.add(each)
    return latencies


def test_slow_is_longer_than_95_of_100() -> None:
    assert after(*range(1, 100)).slow is None
    assert after(*range(1, 101)).slow == 95


def test_calls_of_long_ago_do_not_count() -> None:
    assert after(*[9.0] * 500, *[1.0] * 500).slow == 1.0


@given(st.lists(st.booleans(), max_size=300))
def test_of_twenty_calls_one_at_most_is_attempted_twice(is_slow: list[bool]) -> None:
    budget = HedgeBudget()
    spent = 0
    for count, slow in enumerate(is_slow, start=1):
        budget.earn()
        spent += slow and budget.spend()
        assert spent <= count / 20 + 1e-9


def test_twenty_calls_bring_a_second_attempt() -> None:
    budget = HedgeBudget()
    for _ in range(21):
        budget.earn()
    assert [budget.spend(), budget.spend()] == [True, False]


class Stalling:
    """Answers at once, but an attempt that is told to stall when it is cancelled or as told."""

    def __init__(self) -> None:
        self.peers: list[str] = []
        self.stalls: list[grpc.StatusCode | None] = []
        """What becomes of the next attempts: None is to stall, a code to end with it."""
        self.cancelled = threading.Event()

    def answer(self, _request: bytes, context: Any) -> bytes:
        self.peers.append(context.peer())
        if self.stalls:
            code = self.stalls.pop(0)
            if code is not None:
                context.set_trailing_metadata((("grpc-retry-pushback-ms", "-1"),))
                context.abort(code, "as told")
            ended = threading.Event()
            if context.add_callback(ended.set) and not ended.wait(PATIENCE_SECONDS):
                raise AssertionError
            self.cancelled.set()
        return pb.RecommendItemsResponse(ranking=pb.Ranking(item_ids=["a"], scores=[1.0])).SerializeToString()


@contextmanager
def serving(answer: Callable[[bytes, Any], bytes]) -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(4))
    methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "RecommendItems": grpc.unary_unary_rpc_method_handler(answer)
    }
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("bascule.v1.RecommendationService", methods),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


@pytest.fixture
def stalling() -> Iterator[tuple[Stalling, str]]:
    """A server, and its address."""
    found = Stalling()
    with serving(found.answer) as address:
        yield found, address


@contextmanager
def warm(connect: Any, address: str, **options: Any) -> Iterator[Any]:
    """A client that knows how long calls take."""
    with connect(address, timeout=PATIENCE_SECONDS, connections=2, **options) as client:
        for _ in range(100):
            client.recommend("1")
        yield client


def test_a_slow_call_is_answered_over_the_other_connection_and_cancelled(
    stalling: tuple[Stalling, str], connect: Any
) -> None:
    found, address = stalling
    with warm(connect, address, hedge=True) as client:
        found.stalls.append(None)
        found.peers.clear()
        assert client.recommend("1").item_ids == ["a"]
        assert found.cancelled.wait(PATIENCE_SECONDS)
    assert len(set(found.peers)) == 2


def test_where_the_second_attempt_fails_the_first_is_waited_for(stalling: tuple[Stalling, str], connect: Any) -> None:
    found, address = stalling
    with connect(address, timeout=1.0, connections=2, hedge=True) as client:
        for _ in range(100):
            client.recommend("1")
        found.stalls += [None, grpc.StatusCode.UNAVAILABLE]
        with pytest.raises(Exception, match="DEADLINE_EXCEEDED"):
            client.recommend("1")


def test_the_error_of_a_single_attempt_is_as_ever(stalling: tuple[Stalling, str], connect: Any) -> None:
    found, address = stalling
    # It does not know yet how long calls take, so none is attempted twice.
    with connect(address, timeout=PATIENCE_SECONDS, connections=2, hedge=True) as client:
        found.stalls.append(grpc.StatusCode.UNAVAILABLE)
        with pytest.raises(UnavailableError, match="as told"):
            client.recommend("1")
        found.stalls.append(grpc.StatusCode.CANCELLED)
        with pytest.raises(Exception, match="CANCELLED: as told"):
            client.recommend("1")


def test_every_method_is_answered_as_without(server: LocalServer, connect: Any) -> None:
    with connect(server.address, connections=2, hedge=True) as hedging, connect(server.address) as plain:
        assert hedging.recommend("1").item_ids == plain.recommend("1").item_ids
        assert [each.item_ids for each in hedging.recommend_many(["1", "2"])] == [
            each.item_ids for each in plain.recommend_many(["1", "2"])
        ]
        assert hedging.score(["bread"], user_id="1") == plain.score(["bread"], user_id="1")
        assert [each.tolist() for each in hedging.embed(["1"])] == [each.tolist() for each in plain.embed(["1"])]
        with pytest.raises(NotFoundError):
            hedging.recommend("1", model="films")


def test_hedging_needs_another_connection(connect: Any) -> None:
    with pytest.raises(ValueError, match="hedge needs connections of at least 2, for the second attempt; got 1"):
        connect("127.0.0.1:1", hedge=True)
