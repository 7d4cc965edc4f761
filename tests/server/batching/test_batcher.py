"""Batches are what waits; whatever is in a batch, everybody gets their own answers."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import numpy as np
import pytest

from bascule.v1.recommendation_service_pb2 import RankingPath
from bascule_server.batching.batcher import Batcher
from bascule_server.batching.row_queue import RowQueue
from bascule_server.calls import Call
from bascule_server.errors import Reason, ServiceError
from bascule_server.messages.encoding import RowAnswer
from bascule_server.scoring.query import Answer, Query, QueryVector, Question, Rank


class Doubling:
    """Answers a question with twice the length of its history."""

    def answer(self, questions: Sequence[Question]) -> list[Answer]:
        return [vector(2 * len(question.query.history)) for question in questions]


def vector(number: float) -> QueryVector:
    return QueryVector(np.array([number], np.float32), RankingPath.RANKING_PATH_HISTORY)


def number(answer: RowAnswer) -> float:
    assert isinstance(answer, QueryVector)
    return float(answer.vector[0])


def question(length: int) -> Question:
    return Question(Query(history=["i"] * length), Rank())


ONE = Doubling()


@asynccontextmanager
async def running(
    largest: int, clock: Callable[[], float] = lambda: 0.0, queue: RowQueue | None = None
) -> AsyncIterator[Batcher]:
    with ThreadPoolExecutor(1) as worker:
        batcher = Batcher(largest, worker, RowQueue(60.0) if queue is None else queue, clock=clock)
        task = asyncio.create_task(batcher.run())
        try:
            yield batcher
        finally:
            task.cancel()
            await asyncio.wait([task])


async def ask(batcher: Batcher, lengths: Sequence[int], call: Call | None = None) -> list[float]:
    questions = [question(length) for length in lengths]
    answers = await batcher.answer(ONE, questions, call or Call("/m"), interactive=True)
    return [number(answer) for answer in answers]


async def test_everybody_gets_their_own_answers_in_order() -> None:
    async with running(largest=4) as batcher:
        asked = [[1], [2, 3, 4, 5, 6, 7], [], [8, 9]]
        answers = await asyncio.gather(*(ask(batcher, lengths) for lengths in asked))
    assert answers == [[2.0 * length for length in lengths] for lengths in asked]


class Gate:
    """Answers 0 once it is opened, and tells when it was asked."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.asked, self.open = threading.Event(), threading.Event()

    def answer(self, questions: Sequence[Question]) -> list[Answer]:
        self.batches.append(len(questions))
        self.asked.set()
        self.open.wait(timeout=30)
        return [vector(0) for _ in questions]


async def test_what_comes_while_the_model_is_busy_becomes_one_batch() -> None:
    gate = Gate()
    async with running(largest=8) as batcher:
        first = asyncio.create_task(batcher.answer(gate, [question(1)], Call("/m"), interactive=True))
        await asyncio.to_thread(gate.asked.wait, 30)
        others = [
            asyncio.create_task(batcher.answer(gate, [question(1)] * 2, Call("/m"), interactive=True)) for _ in range(3)
        ]
        await asyncio.sleep(0)
        gate.open.set()
        await asyncio.gather(first, *others)
    assert gate.batches == [1, 6]


async def test_the_pace_is_learnt_from_whole_batches_that_follow_another() -> None:
    queue = RowQueue(60.0)

    async def pace_after(row_count: int) -> float:
        await ask(batcher, [1] * row_count)
        for _ in range(10):
            # It is learnt when the answers are out; then comes a pause.
            await asyncio.sleep(0)
        return queue.row_seconds

    async with running(largest=2, clock=time.monotonic, queue=queue) as batcher:
        assert [await pace_after(count) for count in (1, 2, 3)] == [0, 0, 0]
        assert await pace_after(4) > 0


async def test_a_row_that_expires_while_it_waits_is_dropped() -> None:
    gate, now = Gate(), [0.0]
    async with running(largest=8, clock=lambda: now[0]) as batcher:
        first = asyncio.create_task(batcher.answer(gate, [question(1)], Call("/m"), interactive=True))
        await asyncio.to_thread(gate.asked.wait, 30)
        late = asyncio.create_task(batcher.answer(gate, [question(1)], Call("/m", deadline=1.0), interactive=True))
        await asyncio.sleep(0)
        now[0] = 1.0
        gate.open.set()
        await first
        with pytest.raises(ServiceError) as caught:
            await late
    assert caught.value.reason is Reason.DEADLINE_EXCEEDED
    assert gate.batches == [1]


async def test_the_wait_for_the_model_is_noted_at_the_call() -> None:
    gate, now, call = Gate(), [0.0], Call("/m")
    async with running(largest=8, clock=lambda: now[0]) as batcher:
        first = asyncio.create_task(batcher.answer(gate, [question(1)], Call("/m"), interactive=True))
        await asyncio.to_thread(gate.asked.wait, 30)
        second = asyncio.create_task(batcher.answer(gate, [question(1)], call, interactive=True))
        await asyncio.sleep(0)
        now[0] = 2.5
        gate.open.set()
        await asyncio.gather(first, second)
    assert call.queue_seconds == 2.5


class Failing:
    """Has no answer for anybody."""

    def answer(self, questions: Sequence[Question]) -> list[Answer]:
        raise ValueError("secret")


class Short:
    """Loses the last answer."""

    def answer(self, questions: Sequence[Question]) -> list[Answer]:
        return [vector(0) for _ in questions[1:]]


@pytest.mark.parametrize("scorer", [Failing(), Short()])
async def test_a_failing_batch_fails_its_rows_and_no_later_ones(scorer: Failing | Short) -> None:
    async with running(largest=8) as batcher:
        answers = await batcher.answer(scorer, [question(1)] * 2, Call("/m"), interactive=True)
        assert [answer.reason for answer in answers if isinstance(answer, ServiceError)] == [Reason.INTERNAL] * 2
        assert await ask(batcher, [3]) == [6.0]
