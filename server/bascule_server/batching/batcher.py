"""Gathers the rows of all calls into batches, has them scored, and gives every call its own back.

A batch is what waits at the moment when the model is free. A row that comes alone is computed at once, and the busier
the model is, the larger its batches become. A transport that brings calls one at a time needs a window for that, which
opens only under load.

A short batch is computed on the spot, since handing it over takes longer; a long one in a thread of its own, so that
meanwhile the server listens, refuses and tells its health.
"""

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor

from bascule_server.batching.batch_forming import Job, Result, Rows, Scorer
from bascule_server.batching.row_queue import RowQueue
from bascule_server.calls import Call
from bascule_server.faults import fault
from bascule_server.messages.encoding import RowAnswer
from bascule_server.scoring.query import Answer, Question

MAX_BATCH_SECONDS = 0.02
"""How long a batch may take to compute, as far as one can tell before: so long others wait that come after it. One that
takes longer though it is a single row, or nobody knows how long, is computed by the worker."""


FULL_SECONDS = 0.015
"""A batch that took longer, or had as many rows as gain anything, tells how long rows take where many wait; but not the
first after a pause."""

WHOLE_ROWS = 64
"""Larger batches are cut to multiples of it: towers and retrieval compute so many rows in one go, or half of them, and
a remainder takes nearly as long."""


ROUND_SECONDS = 0.001
ROUNDS_SHARE = 0.3
"""After each batch the event loop goes round once for every millisecond that it took, which adds little to that: a call
may need ten rounds to come in, each of which would wait for another batch where streams always have one. Under a flood
of calls a round takes long; so much of the batch's time is all that they get."""


class Batcher:
    """Shared by all calls of one event loop. ``run`` must run for answers to come."""

    def __init__(
        self,
        largest_batch: int,
        worker: Executor,
        queue: RowQueue,
        window_seconds: float = 0.0,
        in_flight: Callable[[], int] = lambda: 0,
        observe: Callable[[int, float, float], None] = lambda *_: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Takes what computes.

        Args:
            largest_batch: rows.
            worker: has one thread, since a scorer is called by one thread at a time.
            queue: where rows wait; this batcher's alone.
            window_seconds: how long to gather rows, where more calls are in flight than wait here.
            in_flight: how many calls are.
            observe: told of each batch: its rows, the longest that one waited, and how long it took, in seconds.
            clock: that of the calls' deadlines.
        """
        self._largest_batch = largest_batch
        self._worker = worker
        self._window_seconds = window_seconds
        self._in_flight = in_flight
        self._observe = observe
        self._clock = clock
        self._queue = queue
        self._arrived = asyncio.Event()
        self._row_seconds = math.inf
        """How long a row took in the last batch."""

    def let_in(self, call: Call) -> None:
        """Raises ``ServiceError`` with OVERLOADED where rows of the call would wait too long; else expects them.

        It takes no time to speak of, and asks for no more than what is known before a call's message is read.
        """
        self._queue.let_in(call, self._clock())

    def check(self, call: Call) -> None:
        """Raises the same for a call that was let in, where others were faster with their messages."""
        self._queue.check(call, self._clock())

    def submit(
        self,
        scorer: Scorer,
        questions: Sequence[Question],
        call: Call,
        result: Result,
        *,
        interactive: bool,
        on_delay: Callable[[], None] = lambda: None,
    ) -> None:
        """Has questions, at least one, answered.

        INTERNAL where scoring failed, DEADLINE_EXCEEDED where it is late, OVERLOADED where others are more likely to
        have their answers in time.

        ``on_delay`` is called, maybe several times, where that is not done on the spot.
        """
        self._queue.put(Job(scorer, questions, interactive, call, self._clock(), result, on_delay))
        self._arrived.set()

    async def answer(
        self, scorer: Scorer, questions: Sequence[Question], call: Call, *, interactive: bool
    ) -> list[RowAnswer]:
        """An answer for each question, in their order; INTERNAL where scoring failed.

        Raises:
            ServiceError: DEADLINE_EXCEEDED, where the call's deadline passed before all were computed; OVERLOADED.
        """
        if not questions:
            return []
        result: asyncio.Future[list[RowAnswer]] = asyncio.get_running_loop().create_future()
        self.submit(scorer, questions, call, result, interactive=interactive)
        return await result

    async def run(self) -> None:
        """Answers batch after batch, until it is cancelled."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            if self._window_seconds and self._in_flight() > len(self._queue):
                await asyncio.sleep(self._window_seconds)
            began, is_first = self._clock(), True
            while self._queue:
                row_count = await self._answer_batch()
                # What came in meanwhile joins the next batch.
                await self._let_others_work(self._clock() - began)
                ended = self._clock()
                if row_count:
                    is_large = row_count >= min(WHOLE_ROWS, self._largest_batch) or ended - began >= FULL_SECONDS
                    self._queue.computed(row_count, ended - began, under_load=is_large and not is_first)
                began, is_first = ended, False

    async def _let_others_work(self, batch_seconds: float) -> None:
        """Has the event loop go round, for a share of the time that the batch took; see ``ROUNDS_SHARE``."""
        end = time.monotonic() + ROUNDS_SHARE * batch_seconds
        for _ in range(1 + int(batch_seconds / ROUND_SECONDS)):
            await asyncio.sleep(0)
            if time.monotonic() >= end:
                return

    async def _answer_batch(self) -> int:
        """Answers the rows whose turn it is, and returns how many they were."""
        now = self._clock()
        batch = self._queue.take(self._room(), now)
        if self._queue:
            self._queue.delay()
        for rows in batch:
            rows.job.call.queue_seconds = max(rows.job.call.queue_seconds, now - rows.job.arrival)
        if not batch:
            return 0
        questions = [question for rows in batch for question in rows.questions]
        is_short = self._row_seconds * len(questions) <= MAX_BATCH_SECONDS
        if not is_short:
            for rows in batch:
                rows.job.on_delay()
        answers = await self._score(batch[0].job.scorer, questions, on_the_spot=is_short)
        seconds = self._clock() - now
        self._row_seconds = seconds / len(questions)
        self._observe(len(questions), now - min(rows.job.arrival for rows in batch), seconds)
        _hand_out(answers, batch)
        return len(questions)

    def _room(self) -> int:
        """How many rows to compute together."""
        if math.isinf(self._row_seconds) or not self._row_seconds:
            return self._largest_batch
        rows = max(1, int(MAX_BATCH_SECONDS / self._row_seconds))
        return min(self._largest_batch, rows - rows % WHOLE_ROWS if rows > WHOLE_ROWS else rows)

    async def _score(self, scorer: Scorer, questions: list[Question], *, on_the_spot: bool) -> Sequence[RowAnswer]:
        try:
            if on_the_spot:
                answers = scorer.answer(questions)
            else:
                answers = await asyncio.get_running_loop().run_in_executor(self._worker, scorer.answer, questions)
            _check_count(answers, questions)
        except Exception as exception:  # noqa: BLE001 - whatever it is, it concerns this batch alone
            return [fault(exception)] * len(questions)
        return answers


def _check_count(answers: Sequence[Answer], questions: Sequence[Question]) -> None:
    if len(answers) != len(questions):
        raise ValueError(f"the scorer gave {len(answers)} answers to {len(questions)} questions")


def _hand_out(answers: Sequence[RowAnswer], batch: Sequence[Rows]) -> None:
    start = 0
    for rows in batch:
        job, stop = rows.job, start + rows.count
        job.answers.extend(answers[start:stop])
        if rows.stop == len(job.questions) and not job.result.done():
            job.result.set_result(job.answers)
        start = stop
