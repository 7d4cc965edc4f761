"""Who waits for the model is let in, served and refused so that what is computed is wanted, in time and fairly."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule_server.batching.batch_forming import Formed, Job, Rows, form_batch
from bascule_server.batching.row_queue import RowQueue
from bascule_server.calls import Call
from bascule_server.errors import Reason, ServiceError
from bascule_server.messages.encoding import RowAnswer
from bascule_server.scoring.query import Answer, Query, Question, Rank


class Mute:
    """Is never asked."""

    def answer(self, questions: Sequence[Question]) -> list[Answer]:
        raise NotImplementedError


ONE, OTHER = Mute(), Mute()
ASKED = Question(Query(history=["i"]), Rank())


def job(
    size: int,
    caller: str = "a",
    *,
    interactive: bool = True,
    scorer: Mute = ONE,
    deadline: float = 1_000.0,
    arrival: float = 0.0,
) -> Job:
    loop = asyncio.new_event_loop()
    result: asyncio.Future[list[RowAnswer]] = loop.create_future()
    loop.close()
    return Job(scorer, [ASKED] * size, interactive, Call("/m", deadline, caller=caller), arrival, result)


def waiting(*sizes: int, interactive: bool = True, scorer: Mute = ONE, caller: str = "a") -> list[Rows]:
    return [Rows(job(size, caller, interactive=interactive, scorer=scorer), 0, size) for size in sizes]


def sizes(rows: Sequence[Rows]) -> list[int]:
    return [each.count for each in rows]


def callers(rows: Sequence[Rows]) -> list[str]:
    return [each.job.call.caller for each in rows]


def test_a_batch_is_what_waits() -> None:
    formed = form_batch(waiting(1, 2, 3), largest=10)
    assert (sizes(formed.batch), formed.waiting) == ([1, 2, 3], [])


def test_a_job_that_does_not_fit_is_split() -> None:
    formed = form_batch(waiting(3, 4, 1), largest=5)
    assert (sizes(formed.batch), sizes(formed.waiting)) == ([3, 2], [2, 1])
    assert [(rows.start, rows.stop) for rows in formed.waiting] == [(2, 4), (0, 1)]


def test_interactive_rows_go_first_and_else_the_earlier_ones() -> None:
    bulk, interactive = waiting(4, interactive=False), waiting(1, 2)
    formed = form_batch([*bulk, *interactive], largest=4)
    assert [rows.job for rows in formed.batch] == [interactive[0].job, interactive[1].job, bulk[0].job]
    assert (sizes(formed.batch), sizes(formed.waiting)) == ([1, 2, 1], [3])


def test_a_batch_is_of_one_scorer() -> None:
    formed = form_batch([*waiting(1), *waiting(1, scorer=OTHER), *waiting(1)], largest=9)
    assert [rows.job.scorer for rows in formed.batch] == [ONE, ONE]
    assert [rows.job.scorer for rows in formed.waiting] == [OTHER]


def test_callers_share_a_batch_whoever_came_first() -> None:
    formed = form_batch([*waiting(9, 9), *waiting(1, 1, caller="b"), *waiting(7, caller="c")], largest=10)
    assert (sizes(formed.batch), callers(formed.batch)) == ([4, 1, 1, 4], ["a", "b", "b", "c"])


def test_streams_get_the_rows_that_they_are_owed_and_what_calls_leave() -> None:
    both = [*waiting(6), *waiting(9, interactive=False)]
    assert sizes(form_batch(both, largest=4, stream_rows=1).batch) == [3, 1]
    assert sizes(form_batch(both, largest=9, stream_rows=1).batch) == [6, 1, 2]


@given(
    st.lists(st.tuples(st.integers(1, 9), st.booleans(), st.booleans(), st.sampled_from("ab")), max_size=8),
    st.integers(1, 12),
    st.integers(0, 12),
)
def test_no_row_is_lost_or_doubled(jobs: list[tuple[int, bool, bool, str]], largest: int, stream_rows: int) -> None:
    start = [
        rows
        for size, interactive, is_one, caller in jobs
        for rows in waiting(size, interactive=interactive, scorer=ONE if is_one else OTHER, caller=caller)
    ]
    seen: dict[Job, list[int]] = {rows.job: [] for rows in start}
    left = start
    while left:
        formed: Formed = form_batch(left, largest, stream_rows=stream_rows)
        assert 0 < sum(sizes(formed.batch)) <= largest
        for rows in formed.batch:
            seen[rows.job].extend(range(rows.start, rows.stop))
        left = formed.waiting
    assert all(rows == list(range(len(job.questions))) for job, rows in seen.items())


def at_pace(seconds_per_row: float, max_wait_seconds: float = 1.0) -> RowQueue:
    """A queue that has seen rows computed at this pace."""
    queue = RowQueue(max_wait_seconds)
    queue.computed(10, 10 * seconds_per_row, under_load=True)
    return queue


def lets_in(queue: RowQueue, caller: str = "a", *, deadline: float = 1_000.0, now: float = 0.0) -> bool:
    try:
        queue.check(Call("/m", deadline, caller=caller), now)
    except ServiceError as error:
        return error.reason is not Reason.OVERLOADED
    return True


def test_calls_whose_messages_are_yet_to_come_are_counted_with_the_rows_of_others() -> None:
    queue = at_pace(0.1)
    for _ in range(50):
        queue.put(job(4))
        queue.take(4, now=0.0)
    for _ in range(3):
        queue.let_in(Call("/m", 1_000.0, caller="a"), 0.0)
    with pytest.raises(ServiceError):
        queue.let_in(Call("/m", 1_000.0, caller="a"), 0.0)
    # One of them has come; and one whose message never comes is forgotten.
    queue.put(job(4))
    assert lets_in(queue)
    queue.take(4, now=0.0)
    for _ in range(3):
        queue.let_in(Call("/m", 1_000.0, caller="a"), 0.0)


def test_calls_that_never_have_rows_shut_nobody_out_for_longer_than_a_tenth_of_a_second() -> None:
    queue = at_pace(0.1)
    for _ in range(11):
        # Their callers leave, or ask for what is not valid, and no batch is ever computed.
        queue.let_in(Call("/m", 1_000.0, caller="a"), 0.0)
    with pytest.raises(ServiceError):
        queue.let_in(Call("/m", 1_000.0, caller="a"), 0.1)
    queue.let_in(Call("/m", 1_000.0, caller="a"), 0.2)


def test_as_many_rows_wait_as_are_computed_in_time() -> None:
    queue = at_pace(0.1)
    assert queue.limit == 10
    for _ in range(11):
        assert lets_in(queue)
        queue.put(job(1))
    assert not lets_in(queue)
    queue.take(2, now=0.0)
    assert lets_in(queue)


def test_the_limit_follows_the_pace() -> None:
    queue = at_pace(0.1)
    assert queue.limit == pytest.approx(10)
    for _ in range(50):
        queue.computed(10, 10 * 0.5, under_load=True)
    assert queue.limit == pytest.approx(2, rel=0.01)


def test_a_row_alone_says_nothing_of_the_pace_of_many_unless_it_is_quicker() -> None:
    queue = RowQueue(1.0)
    queue.computed(1, 0.5, under_load=False)
    assert queue.limit == float("inf")
    queue.computed(10, 10 * 0.1, under_load=True)
    queue.computed(1, 0.5, under_load=False)
    assert queue.limit == pytest.approx(10)
    for _ in range(50):
        queue.computed(1, 0.05, under_load=False)
    assert queue.limit == pytest.approx(20, rel=0.01)


def test_all_are_let_in_while_nobody_knows_how_long_rows_take() -> None:
    queue = RowQueue(1.0)
    queue.put(job(1_000))
    assert lets_in(queue)


def test_a_call_with_less_time_may_wait_less() -> None:
    queue = at_pace(0.1)
    queue.put(job(4))
    assert not lets_in(queue, deadline=1.0)
    assert lets_in(queue, deadline=2.0)
    assert not lets_in(queue, deadline=2.0, now=1.0)


def test_a_call_is_let_in_whatever_its_time_where_nobody_waits() -> None:
    assert lets_in(at_pace(100.0), deadline=0.1)


def test_who_has_nothing_waiting_is_let_in_beside_one_who_has_too_much() -> None:
    queue = at_pace(0.1)
    queue.put(job(1_000, "hog"))
    assert not lets_in(queue, "hog")
    assert lets_in(queue, "other")
    queue.put(job(5, "other"))
    assert not lets_in(queue, "other")


def test_many_callers_may_not_wait_longer_than_one() -> None:
    queue = at_pace(0.1)
    for number in range(11):
        queue.put(job(1, str(number)))
    assert not lets_in(queue, "another")


def test_rows_that_cannot_be_shared_go_round() -> None:
    queue = RowQueue(1.0)
    queue.put(job(3, "a"))
    queue.put(job(3, "b"))
    assert [callers(queue.take(1, now=0.0)) for _ in range(4)] == [["a"], ["b"], ["a"], ["b"]]


def test_streams_get_a_tenth_where_calls_would_have_all() -> None:
    queue = RowQueue(1.0)
    queue.put(job(1_000))
    queue.put(job(1_000, interactive=False))
    batches = [queue.take(1, now=0.0) for _ in range(100)]
    assert sum(not rows.job.interactive for batch in batches for rows in batch) == pytest.approx(9, abs=1)


def test_what_nobody_wants_any_more_is_never_computed() -> None:
    queue, late, left = RowQueue(1.0), job(1, deadline=5.0), job(2)
    for each in (late, left, job(3)):
        queue.put(each)
    left.result.set_exception(ServiceError(Reason.STOPPING))
    assert sizes(queue.take(9, now=5.0)) == [3]
    error = late.result.exception()  # type: ignore[attr-defined]  # a future
    assert error.reason is Reason.DEADLINE_EXCEEDED
    assert not queue


def test_nobody_is_refused_for_rows_of_callers_who_left() -> None:
    queue, left = at_pace(0.1), [job(5), job(4), job(9)]
    for each in left:
        queue.put(each)
    queue.put(job(8))
    assert not lets_in(queue, now=0.0)
    for each in left:
        each.result.set_exception(ServiceError(Reason.STOPPING))
    # They are looked for a hundred times a second at most, since to refuse must cost little.
    assert not lets_in(queue, now=0.009)
    assert lets_in(queue, now=0.01)
    assert sizes(queue.take(99, now=0.01)) == [8]


def test_rows_that_waited_too_long_are_refused_for_those_that_have_time() -> None:
    queue, early = RowQueue(1.0), job(2, arrival=0.0)
    queue.put(early)
    queue.put(job(2, arrival=1.5))
    assert sizes(queue.take(2, now=2.0)) == [2]
    error = early.result.exception()  # type: ignore[attr-defined]  # a future
    assert error.reason is Reason.OVERLOADED
    assert not queue


def test_no_more_are_refused_than_others_take_the_place_of() -> None:
    queue = RowQueue(1.0)
    for arrival in (0.0, 0.1, 0.2):
        queue.put(job(1, arrival=arrival))
    assert [rows.job.arrival for rows in queue.take(2, now=9.0)] == [0.1, 0.2]
    assert not queue


def test_nobody_is_refused_where_all_are_served_at_once() -> None:
    queue = RowQueue(1.0)
    queue.put(job(2, arrival=0.0))
    assert sizes(queue.take(2, now=900.0)) == [2]


def test_rows_of_streams_are_never_refused() -> None:
    queue = RowQueue(1.0)
    queue.put(job(9, interactive=False))
    assert sizes(queue.take(2, now=900.0)) == [2]
    assert len(queue) == 1


@given(st.lists(st.tuples(st.integers(1, 5), st.sampled_from("abc"), st.integers(0, 6)), max_size=30))
def test_no_slot_is_lost(steps: list[tuple[int, str, int]]) -> None:
    queue = at_pace(1.0, max_wait_seconds=8.0)
    for size, caller, taken in steps:
        if lets_in(queue, caller):
            queue.put(job(size, caller))
        if taken:
            queue.take(taken, now=0.0)
    while queue:
        assert queue.take(3, now=0.0)
    assert lets_in(queue, deadline=0.001)
