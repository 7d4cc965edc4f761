"""Decides when a version's catalogue is merged, and has it done in a thread of its own, beside what serves and follows.

A merge takes about as long as to load the retrievers, and the processor serves fewer queries meanwhile. So there is one
whenever something came or went since the last, but for a rest of ``REST`` times as long as that one took: however much
changes, merges take one part in ``REST`` of a core, and soon after the last change nothing is left to be merged.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

from bascule_server.faults import fault
from bascule_server.living.merge import Merge, Merged
from bascule_server.living.version import LivingVersion, State

REST = 100


class Merger:
    """Used by the thread that applies the changes."""

    def __init__(self, version: LivingVersion, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock`` tells seconds."""
        self._version = version
        self._clock = clock
        self._merging: Future[Merged] | None = None
        self._began = 0.0
        self._not_before = 0.0

    def merge_now(self) -> None:
        """Merges what came or went, before anybody is served."""
        merge = self._version.to_merge()
        if merge is not None:
            self._began = self._clock()
            self._version.take_over(merge.run())
            self._rest()

    def look(self) -> State | None:
        """Takes over what was merged meanwhile, and then there is a state that serves; or begins a merge where one is due.

        Where one fails, what is served goes on, and nothing is merged any more.
        """
        if self._merging is None:
            if self._clock() >= self._not_before and (merge := self._version.to_merge()) is not None:
                self._began = self._clock()
                self._merging = _in_a_thread(merge)
            return None
        if not self._merging.done():
            return None
        merging, self._merging = self._merging, None
        self._rest()
        if (exception := merging.exception()) is not None:
            self._not_before = float("inf")
            fault(exception)
            return None
        return self._version.take_over(merging.result())

    def _rest(self) -> None:
        now = self._clock()
        self._not_before = now + REST * (now - self._began)


def _in_a_thread(merge: Merge) -> "Future[Merged]":
    """Which the process does not wait for at its end."""
    future: Future[Merged] = Future()

    def run() -> None:
        try:
            future.set_result(merge.run())
        except BaseException as exception:  # noqa: BLE001 - whoever asks for the result is told
            future.set_exception(exception)

    threading.Thread(target=run, name="merge", daemon=True).start()
    return future
