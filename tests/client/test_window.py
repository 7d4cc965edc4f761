"""Which messages are in hand, and when a broken stream is tried again."""

from collections.abc import AsyncIterator, Iterator
from itertools import count
from random import Random

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule import BasculeError, Failure, InternalError, LimitExceededError, NotFoundError, Ranking, UnavailableError
from bascule.requests import query_message, stream_template
from bascule.v1 import recommendation_service_pb2 as pb
from bascule.window import AsyncSource, MessageWindow, Resumption, Source

BROKEN = UnavailableError(Failure(grpc.StatusCode.UNAVAILABLE, "gone"))


def response_to(request: pb.StreamRecommendItemsRequest) -> pb.StreamRecommendItemsResponse:
    response = pb.StreamRecommendItemsResponse(sequence_id=request.sequence_id)
    for query in request.queries:
        response.results.add(ranking=pb.Ranking(item_ids=[query.user.user_id], scores=[1]))
    return response


@given(st.integers(0, 40), st.integers(1, 5), st.integers(1, 4), st.randoms(use_true_random=False))
def test_each_query_is_answered_once_and_in_order_however_often_the_stream_breaks(
    query_count: int, per_message: int, size: int, random: Random
) -> None:
    source = Source(map(query_message, map(str, range(query_count))))
    window = MessageWindow(stream_template(), per_message, size)
    on_the_wire: list[pb.StreamRecommendItemsRequest] = []
    answered: list[str] = []
    while not source.is_exhausted or window.unanswered:
        move = random.choice(["pull", "answer", "break"])
        if move == "pull" and window.has_room and not source.is_exhausted:
            if queries := source.pull(per_message):
                on_the_wire.append(window.add(queries))
        elif move == "answer" and on_the_wire:
            results = window.answer(response_to(on_the_wire.pop(0)))
            answered += [result.item_ids[0] for result in results if isinstance(result, Ranking)]
        elif move == "break":
            on_the_wire = list(window.unanswered)
        assert len(window.unanswered) <= size
    assert answered == [str(number) for number in range(query_count)]


def test_an_answer_to_another_message_is_an_error() -> None:
    window = MessageWindow(stream_template(), 1, 2)
    window.add([query_message("a")])
    second = window.add([query_message("b")])
    with pytest.raises(InternalError, match="the server answered message 1; expected 0"):
        window.answer(response_to(second))


def test_an_answer_that_nobody_waits_for_is_an_error() -> None:
    with pytest.raises(InternalError, match="the server answered message 0; expected None"):
        MessageWindow(stream_template(), 1, 1).answer(pb.StreamRecommendItemsResponse())


@pytest.mark.parametrize(("per_message", "size"), [(0, 1), (1025, 1), (1, 0)])
def test_numbers_out_of_their_range_are_refused(per_message: int, size: int) -> None:
    with pytest.raises(ValueError, match=r"got (0|1025)"):
        MessageWindow(stream_template(), per_message, size)


def test_no_more_is_pulled_than_asked_for() -> None:
    numbers = count()
    source = Source(map(query_message, map(str, numbers)))
    assert len(source.pull(5)) == 5
    assert not source.is_exhausted
    assert next(numbers) == 5


def failing() -> Iterator[str]:
    yield "a"
    raise OSError("disk")


def test_what_came_before_an_error_of_the_caller_is_kept() -> None:
    source = Source(map(query_message, failing()))
    assert source.pull(2) == [query_message("a")]
    assert source.is_exhausted
    assert isinstance(source.error, OSError)


async def test_so_it_is_where_queries_are_awaited() -> None:
    async def awaited() -> AsyncIterator[pb.Query]:
        for query in failing():
            yield query_message(query)

    source = AsyncSource(awaited())
    assert await source.pull(1) == [query_message("a")]
    assert not source.is_exhausted
    assert await source.pull(1) == []
    assert source.is_exhausted
    assert isinstance(source.error, OSError)


def test_ctrl_c_while_pulling_is_not_kept() -> None:
    def interrupted() -> Iterator[pb.Query]:
        raise KeyboardInterrupt
        yield

    with pytest.raises(KeyboardInterrupt):
        Source(interrupted()).pull(1)


def test_tries_without_an_answer_between_them_are_counted() -> None:
    resumption = Resumption(max_tries=2)
    resumption.delay_after(BROKEN)
    resumption.delay_after(BROKEN)
    resumption.progressed()
    resumption.delay_after(BROKEN)
    resumption.delay_after(BROKEN)
    with pytest.raises(UnavailableError):
        resumption.delay_after(BROKEN)


def test_the_wait_doubles_up_to_two_seconds_and_is_up_to_a_fifth_longer() -> None:
    resumption = Resumption(max_tries=7)
    for seconds in [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]:
        assert seconds <= resumption.delay_after(BROKEN) <= seconds * 1.2


def test_each_try_is_told_with_its_error_and_its_wait() -> None:
    told: list[tuple[BasculeError, float]] = []
    resumption = Resumption(max_tries=2, on_break=lambda error, delay: told.append((error, delay)))
    waits = [resumption.delay_after(BROKEN), resumption.delay_after(BROKEN)]
    with pytest.raises(UnavailableError):
        resumption.delay_after(BROKEN)
    assert told == [(BROKEN, wait) for wait in waits]


def test_fewer_than_no_tries_are_refused() -> None:
    with pytest.raises(ValueError, match="max_tries is at least 0; got -1"):
        Resumption(max_tries=-1)


def test_the_server_may_ask_for_a_longer_wait() -> None:
    asked = UnavailableError(Failure(grpc.StatusCode.UNAVAILABLE, "full", retry_after=3.0))
    assert 3.0 <= Resumption().delay_after(asked) <= 3.6


def test_what_another_try_would_not_mend_is_raised_at_once() -> None:
    error: BasculeError = NotFoundError(Failure(grpc.StatusCode.NOT_FOUND, "no"))
    with pytest.raises(NotFoundError):
        Resumption().delay_after(error)


def test_a_message_that_is_too_large_is_not_sent_again() -> None:
    error = LimitExceededError(Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "larger than max"))
    with pytest.raises(LimitExceededError):
        Resumption().delay_after(error)
