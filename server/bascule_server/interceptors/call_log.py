"""What is written down of calls as they end: metrics of all, lines in the log for those that failed and some others.

Neither names users or items.
"""

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

import structlog
from grpc import StatusCode

from bascule_server.calls import Call
from bascule_server.errors import ServiceError

_log = structlog.get_logger()

_OK = StatusCode.OK.name
"""Kept, since to look up the name takes as long as to count the call."""

Observe: TypeAlias = Callable[[Call, str, float, str], None]
"""Is told of a call, the name of its status, how many seconds it took, and the name of the reason where it failed."""


class CallLog:
    """Writes for one server."""

    def __init__(self, every: int, slow_seconds: float, observe: Observe = lambda *_: None) -> None:
        """Logs each call that failed or took at least ``slow_seconds``.

        Of those that went well one of ``every``, and as many of those that were refused (UNAVAILABLE).

        ``observe`` is told of each call.
        """
        self._observe = observe
        self._slow_seconds = slow_seconds
        self._every = every
        self._turns = itertools.count()
        self._refusals = itertools.count()

    @contextmanager
    def around(self, call: Call) -> Iterator[None]:
        """Logs the call when it ends, however it ends."""
        try:
            yield
        except ServiceError as error:
            self.failed(call, error)
            raise
        except asyncio.CancelledError:
            self.left(call)
            raise
        else:
            self.answered(call)

    def answered(self, call: Call) -> None:
        """The call ended well."""
        seconds = time.monotonic() - call.start
        self._observe(call, _OK, seconds, "")
        if seconds >= self._slow_seconds or next(self._turns) % self._every == 0:
            _write(call, seconds, {"code": _OK})

    def failed(self, call: Call, error: ServiceError) -> None:
        """The call ended with an error."""
        seconds, code = time.monotonic() - call.start, error.reason.code
        self._observe(call, code.name, seconds, error.reason.name)
        # A server that refuses has no time to write that down each time.
        if code is not StatusCode.UNAVAILABLE or next(self._refusals) % self._every == 0:
            _write(call, seconds, {"code": code.name, "reason": error.reason.name, **error.metadata})

    def left(self, call: Call) -> None:
        """The call ended without an answer: its caller left, or its time was over."""
        now = time.monotonic()
        code = (StatusCode.DEADLINE_EXCEEDED if now >= call.deadline else StatusCode.CANCELLED).name
        self._observe(call, code, now - call.start, "")
        _write(call, now - call.start, {"code": code})


def _write(call: Call, seconds: float, outcome: dict[str, str]) -> None:
    # Probes come every second and say nothing new.
    write = _log.debug if call.is_probe else _log.info
    write(
        "call",
        method=call.method,
        rows=call.row_count,
        duration_ms=round(seconds * 1000, 3),
        queue_ms=round(call.queue_seconds * 1000, 3),
        **({"caller": call.access.caller} if call.access.caller else {}),
        **outcome,
    )
