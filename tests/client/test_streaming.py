"""Streams that end early, break, or are left."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, aclosing, contextmanager
from dataclasses import dataclass, field
from itertools import count, islice
from typing import Any, TypeAlias

import grpc
import pytest

from bascule import AsyncClient, InternalError, InvalidRequestError, NotFoundError, Query, UnavailableError
from bascule.testing import LocalServer
from bascule.v1 import recommendation_service_pb2 as pb
from bascule.v1.recommendation_service_pb2_grpc import (
    RecommendationServiceServicer,
    add_RecommendationServiceServicer_to_server,
)


@dataclass
class Break:
    """How a stream goes: so many answers, then a status; without a status it goes on."""

    after: int
    code: grpc.StatusCode | None = grpc.StatusCode.UNAVAILABLE


@dataclass
class ScriptedStreams(RecommendationServiceServicer):
    """Answers each query with its user's id for the one item, and breaks its streams as told, one after another."""

    breaks: list[Break]
    received: list[list[int]] = field(default_factory=list)
    """The messages' numbers, for each stream."""
    alter: Callable[[pb.StreamRecommendItemsResponse], None] = lambda _: None

    def StreamRecommendItems(self, request_iterator: Any, context: Any) -> Any:  # noqa: N802
        plan = self.breaks.pop(0) if self.breaks else Break(0, None)
        numbers: list[int] = []
        context.send_initial_metadata(())  # the core repeats no call that has begun, so it is our client that does
        self.received.append(numbers)
        for request in request_iterator:
            numbers.append(request.sequence_id)
            if plan.code is not None and len(numbers) > plan.after:
                context.abort(plan.code, "as told")
            response = pb.StreamRecommendItemsResponse(sequence_id=request.sequence_id)
            for query in request.queries:
                response.results.add(ranking=pb.Ranking(item_ids=[query.user.user_id], scores=[1.0]))
            self.alter(response)
            yield response

    RecommendItems = BatchRecommendItems = ScoreItems = EmbedQueries = None  # type: ignore[assignment]


RunServicer: TypeAlias = Callable[[RecommendationServiceServicer], AbstractContextManager[str]]


@pytest.fixture
def run_servicer() -> RunServicer:
    """Runs a service on a free port and gives its address."""

    @contextmanager
    def run(servicer: RecommendationServiceServicer) -> Iterator[str]:
        running = grpc.server(ThreadPoolExecutor(max_workers=4), options=[("grpc.so_reuseport", 0)])
        add_RecommendationServiceServicer_to_server(servicer, running)
        port = running.add_insecure_port("127.0.0.1:0")
        running.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            running.stop(grace=None).wait()

    return run


def users(number: int) -> list[str]:
    return [str(each) for each in range(number)]


def first_items(results: Any) -> list[str]:
    return [result.item_ids[0] for result in results]


def furthest_ahead(client: Any, per_message: int, window: int) -> int:
    """How many queries of a stream without end are pulled and not yielded at the most, over 60 results."""
    pulled, yielded, furthest = 0, 0, 0

    def source() -> Iterator[str]:
        nonlocal pulled, furthest
        while True:
            pulled += 1
            furthest = max(furthest, pulled - yielded)
            yield str(pulled)

    results = client.stream(source(), queries_per_message=per_message, window=window)
    for _ in islice(results, 60):
        yielded += 1
    results.close()
    return furthest


@pytest.mark.parametrize(("per_message", "window"), [(1, 1), (4, 1), (1, 4), (5, 3)])
def test_a_stream_without_end_is_read_no_further_ahead_than_its_window(
    client: Any, per_message: int, window: int
) -> None:
    assert furthest_ahead(client, per_message, window) <= per_message * (window + 1)


def test_a_stream_that_breaks_is_resumed_and_only_what_is_unanswered_is_sent_again(
    connect: Any, run_servicer: RunServicer
) -> None:
    servicer = ScriptedStreams([Break(after=2), Break(after=1)])
    with run_servicer(servicer) as address, connect(address, timeout=20.0) as client:
        results = client.stream(users(12), queries_per_message=2, window=1)
        assert first_items(results) == users(12)
    assert servicer.received == [[0, 1, 2], [2, 3], [3, 4, 5]]


def test_with_many_messages_in_hand_each_row_still_comes_once(connect: Any, run_servicer: RunServicer) -> None:
    servicer = ScriptedStreams([Break(after=3), Break(after=5), Break(after=1)] * 5)
    with run_servicer(servicer) as address, connect(address, timeout=20.0) as client:
        assert first_items(client.stream(users(101), queries_per_message=4, window=8)) == users(101)


def test_the_end_of_a_server_is_survived_if_another_takes_its_place(connect: Any) -> None:
    server = LocalServer(lambda query: [(query.user_id, 1.0)])
    server.start()
    with connect(server.address, timeout=20.0) as client:
        results = client.stream(users(40), queries_per_message=1, window=2)
        before = first_items(islice(results, 10))
        server.stop()
        server.start()
        assert before + first_items(results) == users(40)
    server.stop()


def test_a_stream_that_breaks_again_and_again_without_an_answer_is_given_up(
    connect: Any, run_servicer: RunServicer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bascule.window.INITIAL_DELAY", 0.001)
    servicer = ScriptedStreams([Break(after=1)] + [Break(after=0)] * 100)
    with run_servicer(servicer) as address, connect(address, timeout=20.0) as client:
        results = client.stream(users(3), queries_per_message=1)
        assert next(results).item_ids == ["0"]
        # Without the server's text: grpc.aio loses it where the stream ends while a message is being sent.
        with pytest.raises(UnavailableError):
            next(results)


@pytest.mark.parametrize(
    ("code", "error"),
    [(grpc.StatusCode.INVALID_ARGUMENT, InvalidRequestError), (grpc.StatusCode.NOT_FOUND, NotFoundError)],
)
def test_a_stream_that_ends_for_another_reason_is_not_resumed(
    connect: Any, run_servicer: RunServicer, code: grpc.StatusCode, error: type[Exception]
) -> None:
    servicer = ScriptedStreams([Break(after=1, code=code)])
    with run_servicer(servicer) as address, connect(address, timeout=20.0) as client:
        results = client.stream(users(3), queries_per_message=1, window=1)
        assert next(results).item_ids == ["0"]
        with pytest.raises(error):
            next(results)
    assert len(servicer.received) == 1


def test_answers_that_break_the_contract_are_not_taken(connect: Any, run_servicer: RunServicer) -> None:
    def skip_a_number(response: pb.StreamRecommendItemsResponse) -> None:
        response.sequence_id += 1

    with (
        run_servicer(ScriptedStreams([], alter=skip_a_number)) as address,
        connect(address, timeout=20.0) as client,
        pytest.raises(InternalError, match="the server answered message 1; expected 0"),
    ):
        list(client.stream(["42"]))


def test_an_error_of_the_callers_own_comes_after_everything_before_it_is_answered(client: Any) -> None:
    def failing() -> Iterator[str]:
        yield from users(5)
        raise OSError("disk")

    answered: list[str] = []
    with pytest.raises(OSError, match="disk"):
        answered.extend(result.item_ids[0] for result in client.stream(failing(), queries_per_message=3))
    assert answered == [f"of-{user}" for user in users(5)]


def test_a_query_that_is_none_is_an_error_of_the_callers_own(client: Any) -> None:
    results = client.stream(["1", Query(features={"age": object()})])  # type: ignore[dict-item]
    assert next(results).item_ids[0] == "of-1"
    with pytest.raises(TypeError, match="the value of a feature"):
        next(results)


class Watching(ScriptedStreams):
    """Knows when its calls have ended."""

    def __init__(self) -> None:
        super().__init__([])
        self.ended = threading.Event()

    def StreamRecommendItems(self, request_iterator: Any, context: Any) -> Any:  # noqa: N802
        context.add_callback(self.ended.set)
        yield from super().StreamRecommendItems(request_iterator, context)


def test_leaving_the_iterator_ends_the_call(connect: Any, run_servicer: RunServicer) -> None:
    servicer = Watching()
    with run_servicer(servicer) as address, connect(address, timeout=20.0) as client:
        for _ in client.stream(map(str, count())):
            assert not servicer.ended.is_set()
            break
        assert servicer.ended.wait(20)


def test_streams_that_are_left_leave_no_thread_behind(server: LocalServer) -> None:
    from bascule import Client

    with Client(server.address) as client:
        for _ in range(5):
            next(client.stream(map(str, count())))
        reading = [thread for thread in threading.enumerate() if thread.name == "bascule-stream"]
        for thread in reading:
            thread.join(20)
        assert not any(thread.is_alive() for thread in reading)


async def test_answers_come_while_the_next_query_is_still_awaited(server: LocalServer) -> None:
    answered = asyncio.Event()

    async def one_after_the_other() -> AsyncIterator[str]:
        yield "1"
        await answered.wait()
        yield "2"

    items = []
    async with AsyncClient(server.address, timeout=20.0) as client:
        async for result in client.stream(one_after_the_other(), queries_per_message=1):
            items.append(result.item_ids[0])  # type: ignore[union-attr]
            answered.set()
    assert items == ["of-1", "of-2"]


async def test_queries_that_are_pulled_while_the_caller_is_busy_are_not_lost(server: LocalServer) -> None:
    may_go_on, is_over = asyncio.Event(), asyncio.Event()

    async def ending_meanwhile() -> AsyncIterator[str]:
        yield "1"
        yield "2"
        await may_go_on.wait()
        yield "3"
        is_over.set()

    items = []
    async with AsyncClient(server.address, timeout=20.0) as client:
        async for result in client.stream(ending_meanwhile(), queries_per_message=2):
            items.append(result.item_ids[0])  # type: ignore[union-attr]
            if len(items) == 2:
                may_go_on.set()
                await is_over.wait()
                await asyncio.sleep(0)
    assert items == ["of-1", "of-2", "of-3"]


async def test_cancelling_a_task_in_the_middle_of_a_stream_ends_the_call(run_servicer: RunServicer) -> None:
    servicer = Watching()
    begun = asyncio.Event()

    async def consume(client: AsyncClient) -> None:
        async def endless() -> AsyncIterator[str]:
            yield "1"
            await asyncio.Event().wait()

        async with aclosing(client.stream(endless(), queries_per_message=1)) as results:
            async for _ in results:
                begun.set()

    with run_servicer(servicer) as address:
        async with AsyncClient(address, timeout=20.0) as client:
            task = asyncio.create_task(consume(client))
            await begun.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await asyncio.to_thread(servicer.ended.wait, 20)


def test_connections_take_turns_with_the_messages_and_results_keep_their_order(
    connect: Any, run_servicer: RunServicer
) -> None:
    servicer = ScriptedStreams([])
    with run_servicer(servicer) as address, connect(address, timeout=20.0, connections=3) as client:
        assert first_items(client.stream(users(20), queries_per_message=2, window=2)) == users(20)
    # Ten messages over three streams, each of which counts its own.
    assert sorted(servicer.received, key=len, reverse=True) == [[0, 1, 2, 3], [0, 1, 2], [0, 1, 2]]


def test_one_connection_breaks_and_the_others_go_on(connect: Any, run_servicer: RunServicer) -> None:
    servicer = ScriptedStreams([Break(after=1), Break(after=9), Break(after=2), Break(after=0)])
    with run_servicer(servicer) as address, connect(address, timeout=20.0, connections=2) as client:
        assert first_items(client.stream(users(60), queries_per_message=2, window=4)) == users(60)


def test_no_more_connections_have_a_stream_than_there_are_messages(connect: Any, run_servicer: RunServicer) -> None:
    servicer = ScriptedStreams([])
    with run_servicer(servicer) as address, connect(address, timeout=20.0, connections=4) as client:
        assert first_items(client.stream(users(3), queries_per_message=2)) == users(3)
        assert first_items(client.stream([])) == []
    assert sorted(servicer.received) == [[0], [0]]


def test_a_window_is_that_of_each_connection(connect: Any, run_servicer: RunServicer) -> None:
    with run_servicer(ScriptedStreams([])) as address, connect(address, timeout=20.0, connections=3) as client:
        assert furthest_ahead(client, per_message=2, window=2) <= 2 * (3 * 2 + 1)
