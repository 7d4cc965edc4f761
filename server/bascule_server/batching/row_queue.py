"""The rows that wait for the model: who is let in, who is next, and who has waited in vain.

A queue that only grows serves nobody: its last caller has left before it is served. So a call is let in where its
first row's turn would come soon enough, as far as one can tell from what waits and from what a row took lately; and
where that was an error, the rows at the front that have waited too long are refused, for those behind them, which
still have time. Under overload each batch is shared among the callers, so that one who asks too much waits for
oneself alone, and is refused alone.
"""

from collections import Counter
from collections.abc import Sequence

from bascule_server.batching.batch_forming import Job, Rows, count_rows, form_batch
from bascule_server.calls import Call
from bascule_server.errors import Reason, ServiceError

PATIENCE = 0.25
"""The share of the time that a call has left for which it may wait; the rest is for the work, and for the way back."""

STREAM_SHARE = 0.1
"""The part of the rows that streams get where calls would have all of them."""

EXPECTED_SECONDS = 0.1
"""For which calls are expected whose messages are yet to come: some never have rows, since their callers leave or what
they ask is not valid."""

SEARCH_SECONDS = 0.01
"""How often rows of callers who left are looked for, before others are refused for them. Between batches they count."""

KEPT = 0.8
"""How much of a batch's weight is left at the next one, in what a row took lately."""


class RowQueue:
    """What waits for one model after the other. Knows of time only what it is told."""

    def __init__(self, max_wait_seconds: float) -> None:
        """``max_wait_seconds``: for which a row of a call may wait, whatever time its call has."""
        self._max_wait_seconds = max_wait_seconds
        self._waiting: list[Rows] = []
        self._calls: Counter[str] = Counter()
        """Rows of calls that wait, by caller; who was served last comes last."""
        self._call_row_count = 0
        self._expected: dict[str, int] = {}
        self._expected_count = 0
        """Calls let in since the last batch whose messages are yet to come, by caller and in all."""
        self._expected_since = 0.0
        self._searched = -SEARCH_SECONDS
        """When rows of callers who left were last looked for."""
        self._rows_per_call = 1.0
        """Of late."""
        self._stream_credit = 0.0
        """Rows that streams are owed."""
        self._rows = self._seconds = 0.0
        """Of batches under load of late, older ones counting less."""

    def __len__(self) -> int:
        """How many jobs wait, at least in part."""
        return len(self._waiting)

    @property
    def row_seconds(self) -> float:
        """How long a row took of late where many waited, with all that was done beside it; 0 where nobody knows."""
        return self._seconds / self._rows if self._rows else 0.0

    @property
    def limit(self) -> float:
        """How many rows of calls may wait at this pace, for callers with time enough."""
        return self._max_wait_seconds / self.row_seconds if self._rows else float("inf")

    def computed(self, row_count: int, seconds: float, *, under_load: bool) -> None:
        """Learns from a batch how long rows take, in ``seconds`` since the one before or since it began.

        Rows take longer where few wait, alone ten times as long, and after a pause; only ``under_load`` they tell what
        many will take, or where they are quicker than that.
        """
        if under_load or seconds < row_count * self.row_seconds:
            self._rows = KEPT * self._rows + row_count
            self._seconds = KEPT * self._seconds + seconds

    def let_in(self, call: Call, now: float) -> None:
        """Expects rows of a call, whose message is yet to come.

        How many rows it has does not matter: they are what others wait for.

        Raises:
            ServiceError: OVERLOADED, they would wait too long.
        """
        if now - self._expected_since > EXPECTED_SECONDS:
            self._expect_none()
            self._expected_since = now
        expected, per_call = self._expected, self._rows_per_call
        self._refuse_if(call, now, per_call * self._expected_count, per_call * expected.get(call.caller, 0))
        expected[call.caller] = expected.get(call.caller, 0) + 1
        self._expected_count += 1

    def check(self, call: Call, now: float) -> None:
        """Raises the same for a call whose message is there."""
        self._refuse_if(call, now, 0, 0)

    def _refuse_if(self, call: Call, now: float, expected: float, own_expected: float) -> None:
        patience = max(0.0, self._patience_seconds(call, now))
        if self._comes_in_time(call, expected, own_expected, patience):
            return
        if now - self._searched >= SEARCH_SECONDS:
            self._searched = now
            self._drop_ended(now)
            self._count_calls()
            if self._comes_in_time(call, expected, own_expected, patience):
                return
        raise ServiceError(Reason.OVERLOADED)

    def _comes_in_time(self, call: Call, expected: float, own_expected: float, patience: float) -> bool:
        """Whether the turn of a caller's next row does."""
        row_seconds = self.row_seconds
        # Nearly always, even the last of all rows has its turn in time.
        if (self._call_row_count + expected) * row_seconds <= patience:
            return True
        # Before that, each other caller gets as many rows as the caller has waiting, and one more.
        own, callers = self._calls[call.caller] + own_expected, max(len(self._calls), len(self._expected))
        return (own + 1) * callers * row_seconds <= patience

    def _patience_seconds(self, call: Call, now: float) -> float:
        return min(self._max_wait_seconds, PATIENCE * (call.deadline - now))

    def put(self, job: Job) -> None:
        """Has a job wait, one with at least one question."""
        count = len(job.questions)
        self._waiting.append(Rows(job, 0, count))
        if job.interactive:
            self._calls[job.call.caller] += count
            self._call_row_count += count
            if expected := self._expected.get(job.call.caller, 0):
                self._expected[job.call.caller] = expected - 1
                self._expected_count -= 1
            self._rows_per_call += (1 - KEPT) * (count - self._rows_per_call)

    def take(self, largest: int, now: float) -> list[Rows]:
        """The next batch, of at most so many rows; says to those why whose time is over."""
        self._drop_ended(now)
        excess = count_rows(self._waiting) - largest
        if excess > 0:
            self._drop_late(excess, now)
        batch, self._waiting = form_batch(self._waiting, largest, self._calls, int(self._stream_credit))
        for caller in {rows.job.call.caller for rows in batch if rows.job.interactive}:
            # Who was served comes last.
            self._calls.pop(caller, None)
        self._count_calls()
        self._expect_none()
        self._credit_streams(batch)
        return batch

    def delay(self) -> None:
        """Tells those who wait that it takes a while."""
        for rows in self._waiting:
            rows.job.on_delay()

    def _drop_ended(self, now: float) -> None:
        """Those that nobody wants any more."""
        self._waiting = [rows for rows in self._waiting if not _ended(rows.job, now)]

    def _drop_late(self, excess: int, now: float) -> None:
        """Refuses up to ``excess`` rows that have waited too long, the earliest first."""
        kept = []
        for rows in self._waiting:
            if rows.count <= excess and self._is_late(rows, now):
                excess -= rows.count
                rows.job.result.set_exception(ServiceError(Reason.OVERLOADED))
            else:
                kept.append(rows)
        self._waiting = kept

    def _is_late(self, rows: Rows, now: float) -> bool:
        """Whether rows have waited too long, and none of their job have been computed."""
        job = rows.job
        waited = now - job.arrival
        return job.interactive and not rows.start and waited > self._patience_seconds(job.call, job.arrival)

    def _expect_none(self) -> None:
        self._expected.clear()
        self._expected_count = 0

    def _count_calls(self) -> None:
        calls = Counter[str](dict.fromkeys(self._calls, 0))
        for rows in self._waiting:
            if rows.job.interactive:
                calls[rows.job.call.caller] += rows.count
        self._calls = +calls
        self._call_row_count = self._calls.total()

    def _credit_streams(self, batch: Sequence[Rows]) -> None:
        """Owes streams their share of a batch, less what they got of it."""
        if all(rows.job.interactive for rows in self._waiting):
            self._stream_credit = 0.0
            return
        given = count_rows(rows for rows in batch if not rows.job.interactive)
        self._stream_credit = max(0.0, self._stream_credit + STREAM_SHARE * count_rows(batch) - given)


def _ended(job: Job, now: float) -> bool:
    """Whether nobody wants the job's answers any more; who still looks for them is told."""
    if not job.is_over(now):
        return False
    if not job.result.done():
        job.result.set_exception(ServiceError(Reason.DEADLINE_EXCEEDED))
    return True
