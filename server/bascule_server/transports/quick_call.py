"""A unary call of the C core that no task waits for."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable

from bascule_server.calls import Call
from bascule_server.errors import Reason, ServiceError
from bascule_server.faults import told
from bascule_server.interceptors import Surroundings
from bascule_server.quick_methods import QuickMethod
from bascule_server.transports.c_core import IncomingCall
from bascule_server.transports.messages import present, trailing_metadata


def _nothing() -> None:
    pass


class QuickCall:
    """A unary call that no task waits for; see ``Reply``."""

    __slots__ = (
        *("_call", "_has_message", "_incoming", "_is_watched", "_method", "_on_left", "_over_since", "_surroundings"),
        *("_timer", "is_over", "when_over"),
    )

    def __init__(
        self,
        incoming: IncomingCall,
        call: Call,
        method: QuickMethod,
        surroundings: Surroundings,
        on_left: Callable[[QuickCall], None],
    ) -> None:
        self._incoming = incoming
        self._call = call
        self._method = method
        self._surroundings = surroundings
        self._on_left = on_left
        self._has_message = False
        self._is_watched = False
        self._over_since = math.inf
        self._timer: asyncio.TimerHandle | None = None
        self.is_over = False
        self.when_over: Callable[[], None] = _nothing

    def received(self, message: bytes | None) -> None:
        """Has the call answered, now that its message is there."""
        self._has_message = True
        if self.is_over:
            return
        try:
            self._surroundings.draining.enter(self)
            self._surroundings.door.check(self._call)
            self._method(present(message), self._call, self)
        except Exception as exception:  # noqa: BLE001 - nothing leaves but our own errors
            self.fail(told(exception))

    def send(self, message: bytes) -> None:
        """See ``Reply``."""
        self._end()
        self._surroundings.log.answered(self._call)
        self._incoming.answer(message, self._leave, is_watched=self._is_watched)

    def fail(self, error: ServiceError) -> None:
        """See ``Reply``."""
        if self.is_over:
            return
        self._end()
        self._surroundings.log.failed(self._call, error)
        code, metadata = error.reason.code, trailing_metadata(error)
        self._incoming.fail(code, str(error), metadata, self._leave, is_watched=self._is_watched)

    def delay(self) -> None:
        """See ``Reply``."""
        if self.is_over or self._is_watched:
            return
        self._is_watched = True
        self._incoming.watch(self._left)
        remaining = max(0.0, self._call.deadline - time.monotonic())
        self._timer = asyncio.get_running_loop().call_later(remaining, self.fail, _LATE)

    def sweep(self, now: float, write_timeout_seconds: float) -> None:
        """Ends the call where its message did not come in time, or its answer was not taken for so long."""
        if self.is_over:
            if now - self._over_since >= write_timeout_seconds:
                self._over_since = math.inf
                self.cut_off()
        elif not self._has_message and now >= self._call.deadline:
            self.fail(_LATE)

    def cut_off(self) -> None:
        """Ends the call at once with READER_STOPPED, whatever is under way."""
        self._incoming.cut_off(Reason.READER_STOPPED.code, Reason.READER_STOPPED.text)

    def _end(self) -> None:
        self.is_over = True
        self._over_since = time.monotonic()
        if self._timer is not None:
            self._timer.cancel()
        self.when_over()

    def _left(self, is_cut_short: bool) -> None:
        if is_cut_short and not self.is_over:
            self._end()
            self._surroundings.log.left(self._call)
            self._leave(False)

    def _leave(self, _: bool) -> None:
        self._surroundings.draining.leave(self)
        self._on_left(self)


_LATE = ServiceError(Reason.DEADLINE_EXCEEDED)
