"""An event loop that waits for gRPC's C core: its events come between other callbacks, in the loop's own thread.

So nothing is handed from thread to thread, and what has come in while a batch was computed is taken in one go.
"""

import asyncio
import selectors
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any

from bascule_server.faults import fault
from bascule_server.transports.c_core import Event, Queue, handle

SLICE_SECONDS = 0.02
"""How long it waits for the core at a time. What else the loop waits for, such as signals, it sees then."""

TURN_SECONDS = 0.005
"""How long events are handled, as long as there are more, before other callbacks have their turn. Calls that wait to
be refused must not pile up in the core, nor must refusing them take all the time."""

HURRIED_SLICE_SECONDS = 0.001
"""The same while another thread works for the loop."""

LOOK_SECONDS = 0.001
"""How often at most it looks at what else it waits for: a call takes several turns of the loop."""


class CoreEventLoop(asyncio.SelectorEventLoop):
    """Runs a ``CoreTransport``; see ``new_core_loop``.

    Attributes:
        queue: of the C core.
    """

    def __init__(self, queue: Queue) -> None:
        self.queue = queue
        self._waits = _Selector(self.queue, self._handle_all)
        super().__init__(self._waits)

    def run_in_executor(
        self, executor: Executor | None, func: Callable[..., Any], *args: object
    ) -> asyncio.Future[Any]:
        """See ``asyncio``."""
        future = super().run_in_executor(executor, func, *args)
        self._waits.hurries += 1
        future.add_done_callback(self._waits.calm_down)
        return future

    def _handle_all(self, events: Sequence[Event]) -> None:
        """Handles the events, and those that came of it: what a caller has sent already is read at once."""
        end = self.time() + TURN_SECONDS
        while events:
            for event in events:
                try:
                    handle(event)
                except Exception as exception:  # noqa: BLE001 - it concerns one call alone
                    fault(exception)
            if self.time() >= end:
                return
            events = self.queue.take(0)

    def close(self) -> None:
        """See ``asyncio``. The transport is closed by now."""
        if not self.is_closed():
            self.queue.close()
        super().close()


def new_core_loop() -> CoreEventLoop:
    """For ``asyncio.Runner(loop_factory=new_core_loop)``."""
    return CoreEventLoop(Queue())


class _Selector(selectors.DefaultSelector):
    """Waits for the core first, has its events handled, and then looks at the files, unless it has just done so."""

    def __init__(self, queue: Queue, on_events: Callable[[Sequence[Event]], None]) -> None:
        super().__init__()
        self._queue = queue
        self._on_events = on_events
        self._looked = -LOOK_SECONDS
        """When it last looked at the files."""
        self.hurries = 0
        """How many results of other threads are awaited."""

    def calm_down(self, _: object) -> None:
        """One of them is there."""
        self.hurries -= 1

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """See ``selectors``. Returns early, as it may, though nothing is there."""
        longest = HURRIED_SLICE_SECONDS if self.hurries else SLICE_SECONDS
        events = self._queue.take(longest if timeout is None else min(timeout, longest))
        if events:
            self._on_events(events)
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return []
        self._looked = now
        return super().select(0)
