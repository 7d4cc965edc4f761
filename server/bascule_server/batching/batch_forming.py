"""Which rows are computed together: those who wait for just this answer first, and each caller a fair share."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from bascule_server.batching.fair_shares import fair_shares
from bascule_server.calls import Call
from bascule_server.errors import ServiceError
from bascule_server.messages.encoding import RowAnswer
from bascule_server.scoring.query import Answer, Question


class Scorer(Protocol):
    """What answers questions: one version of a model."""

    def answer(self, questions: Sequence[Question]) -> list[Answer]:
        """An answer for each question, in their order. Called by one thread at a time."""


class Result(Protocol):
    """Where the answers to a job's questions go, once; ``asyncio.Future`` is one."""

    def done(self) -> bool:
        """Whether nobody waits any more."""

    def set_result(self, answers: list[RowAnswer], /) -> None:
        """Gives an answer for each question, in their order."""

    def set_exception(self, error: ServiceError, /) -> None:
        """Says why there are none."""


@dataclass(eq=False, slots=True)
class Job:
    """What one message asks of one version of a model."""

    scorer: Scorer
    questions: Sequence[Question]
    interactive: bool
    """Whether somebody waits for just this answer: such rows go first."""
    call: Call
    arrival: float
    """In seconds, on the clock of the call's deadline."""
    result: Result
    on_delay: Callable[[], None] = lambda: None
    """Is called where the answers are not computed on the spot; maybe several times."""
    answers: list[RowAnswer] = field(default_factory=list)
    """Those of the first rows. A job's rows are computed in order, whatever batches they are in."""

    def is_over(self, now: float) -> bool:
        """Whether nobody wants the answers any more: the deadline passed, or the caller left."""
        return self.result.done() or now >= self.call.deadline


@dataclass(eq=False, slots=True)
class Rows:
    """Rows of a job, from ``start`` to before ``stop``. Never changed; to be frozen would cost each call more."""

    job: Job
    start: int
    stop: int

    @property
    def questions(self) -> Sequence[Question]:
        """What these rows ask."""
        return self.job.questions[self.start : self.stop]

    @property
    def count(self) -> int:
        """How many they are."""
        return self.stop - self.start


class Formed(NamedTuple):
    """What is to become of the rows that wait."""

    batch: list[Rows]
    """Computed now."""
    waiting: list[Rows]
    """Wait on."""


def form_batch(waiting: Sequence[Rows], largest: int, callers: Iterable[str] = (), stream_rows: int = 0) -> Formed:
    """Takes what waits, up to ``largest`` rows, all of one scorer: interactive ones first, then by arrival.

    Where not all fit, callers get max-min fair shares. A job that does not fit whole is split.

    Args:
        waiting: by arrival.
        largest: rows, from 1.
        callers: in the order in which they get the rows that cannot be shared; others come after them.
        stream_rows: how many rows of streams come before the interactive ones.
    """
    calls = [rows for rows in waiting if rows.job.interactive]
    streams = [rows for rows in waiting if not rows.job.interactive]
    first = next(iter(streams if stream_rows and streams else calls or streams), None)
    if first is None:
        return Formed([], [])
    order = dict.fromkeys(callers, 0)
    of_streams, streams = _share(streams, first.job.scorer, min(stream_rows, largest), order)
    room = largest - count_rows(of_streams)
    of_calls, calls = _share(calls, first.job.scorer, room, order)
    more, streams = _share(streams, first.job.scorer, room - count_rows(of_calls), order)
    return Formed([*of_calls, *of_streams, *more], [*calls, *streams])


def _share(waiting: list[Rows], scorer: Scorer, room: int, order: Mapping[str, int]) -> tuple[list[Rows], list[Rows]]:
    """The scorer's rows that find room, and the others."""
    if count_rows(waiting) <= room and all(rows.job.scorer is scorer for rows in waiting):
        return waiting, []
    demands = Counter(order)
    for rows in waiting:
        if rows.job.scorer is scorer:
            demands[rows.job.call.caller] += rows.count
    shares = fair_shares(demands, room)
    taken, rest = [], []
    for rows in waiting:
        caller = rows.job.call.caller
        count = min(rows.count, shares[caller]) if rows.job.scorer is scorer else 0
        if count:
            shares[caller] -= count
            taken.append(Rows(rows.job, rows.start, rows.start + count))
        if count < rows.count:
            rest.append(Rows(rows.job, rows.start + count, rows.stop) if count else rows)
    return taken, rest


def count_rows(waiting: Iterable[Rows]) -> int:
    """How many they are."""
    return sum(rows.count for rows in waiting)
