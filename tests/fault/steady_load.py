"""A steady load of mixed calls, open loop, and a checker of every answer."""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
from fault.asking import MESSAGES, ROWS, TIMEOUT_SECONDS, Answered, Asker
from fault.oracle import SCORED_ITEMS, USERS, Oracle

from bascule import BasculeError

SLACK_SECONDS = 1.0
"""How much later than its deadline a call may end on a busy machine."""


@dataclass
class Call:
    """One call, and what became of it."""

    kind: str
    meant: float
    """When it was to start, in seconds of the monotonic clock."""
    longest_seconds: float
    """That it may take."""
    began: float = np.nan
    """When it started."""
    ended: float = np.inf
    status: str = ""
    """OK, or the code and what was said."""
    versions: Counter[int] = field(default_factory=Counter)
    """Which version answered how many of its rows."""
    wrong: list[str] = field(default_factory=list)
    """What is not as it is to be: answers that are not those of the version that they name."""

    @property
    def seconds(self) -> float:
        """From when it was to start: a server that is slow has no less asked of it."""
        return self.ended - self.meant

    @property
    def own_seconds(self) -> float:
        """From when it did start."""
        return self.ended - self.began

    @property
    def is_late(self) -> bool:
        """Whether it ended later than it may."""
        return self.own_seconds > self.longest_seconds + SLACK_SECONDS


@dataclass
class Report:
    """What became of the calls that ended within a while, in the order of their ends."""

    calls: list[Call] = field(default_factory=list)
    versions: Counter[int] = field(default_factory=Counter)
    """Which version answered how many of the rows."""

    ok_count: int = 0
    """How many of the calls were answered."""

    def add(self, call: Call) -> None:
        self.calls.append(call)
        self.ok_count += call.status == "OK"
        self.versions += call.versions

    @property
    def failed(self) -> Counter[str]:
        """How many calls failed, by status."""
        return Counter(call.status for call in self.calls if call.status != "OK")

    @property
    def wrong(self) -> list[str]:
        return [complaint for call in self.calls for complaint in call.wrong]

    @property
    def late(self) -> list[Call]:
        return [call for call in self.calls if call.is_late]

    def p99(self) -> float:
        """In milliseconds, of single calls that were answered; NaN where there are none."""
        seconds = [call.seconds for call in self.calls if call.kind == "single" and call.status == "OK"]
        return float(np.percentile(seconds, 99)) * 1_000 if seconds else np.nan


class SteadyLoad:
    """Sends calls at a constant rate until it is left."""

    def __init__(self, asker: Asker, oracle: Oracle) -> None:
        self.report = Report()
        self.begun = 0
        """How many calls were."""
        self._asker = asker
        self._oracle = oracle
        self._calls: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def running(self, calls_a_second: float) -> AsyncIterator["SteadyLoad"]:
        """Four of ten calls are single ones; the others are batches, streams and scores."""
        sending = asyncio.create_task(self._send(1 / calls_a_second))
        try:
            yield self
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            await asyncio.gather(*self._calls)

    def fresh_report(self) -> Report:
        """What became of the calls until now; those that end later go into another report."""
        report, self.report = self.report, Report()
        return report

    async def _send(self, gap: float) -> None:
        kinds = itertools.cycle([self._single, self._batch, self._single, self._stream, self._score])
        users = itertools.cycle(USERS)
        start = time.monotonic()
        for number in itertools.count():
            meant = start + number * gap
            await asyncio.sleep(max(0.0, meant - time.monotonic()))
            asked, ask = [next(users) for _ in range(ROWS)], next(kinds)
            is_stream = ask == self._stream
            longest = self._asker.longest_stream_seconds if is_stream else TIMEOUT_SECONDS
            call = Call(ask.__name__.lstrip("_"), meant, longest)
            self._begin(self._watched(ask(call, asked), call))

    def _begin(self, watched: Coroutine[Any, Any, None]) -> None:
        self.begun += 1
        task = asyncio.create_task(watched)
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)

    async def _watched(self, asking: Coroutine[Any, Any, None], call: Call) -> None:
        call.began = time.monotonic()
        try:
            await asking
            call.status = "OK"
        except grpc.aio.AioRpcError as error:
            call.status = f"{error.code().name}: {error.details()}"
        except BasculeError as error:
            call.status = f"{error.code.name}: {error.message}"
        call.ended = time.monotonic()
        self.report.add(call)

    async def _single(self, call: Call, users: list[str]) -> None:
        self._check(call, users[:1], [await self._asker.single(users[0])])

    async def _batch(self, call: Call, users: list[str]) -> None:
        answers = await self._asker.batch(users)
        self._check(call, users, answers)
        if len(call.versions) > 1:
            call.wrong.append(f"versions {sorted(call.versions)} in one message")

    async def _stream(self, call: Call, users: list[str]) -> None:
        asked = users * MESSAGES
        self._check(call, asked, [answer async for answer in self._asker.stream(asked)])

    async def _score(self, call: Call, users: list[str]) -> None:
        scores = await self._asker.scores(users[0], SCORED_ITEMS)
        if not self._oracle.knows_scores(users[0], scores):
            call.wrong.append(f"scores {scores} for {users[0]}, which are those of no version")

    def _check(self, call: Call, users: Sequence[str], answers: Sequence[Answered]) -> None:
        if len(answers) != len(users):
            call.wrong.append(f"{len(answers)} rankings for {len(users)} users")
        for user_id, answer in zip(users, answers, strict=False):
            call.versions[answer.version] += 1
            if not self._oracle.agrees(user_id, answer.item_ids, answer.scores, answer.version):
                call.wrong.append(f"version {answer.version} for {user_id}: {list(answer.item_ids)}")
