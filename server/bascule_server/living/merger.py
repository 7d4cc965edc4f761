"""Decides when a version's catalogue is merged, and has it done in a thread of its own, beside what serves.

There is a merge whenever something came or went since the last one, but for a rest of ``REST`` times as long as that
one took a core. So however much changes, merges take one part in ``REST`` of a core; and soon after the last change
nothing is left to be merged.
"""

import math
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import NamedTuple

from bascule_server.faults import fault
from bascule_server.living.merge import Merge, Merged
from bascule_server.living.version import LivingVersion, State

REST = 100

NICENESS = 10
"""How much the thread gives way to those that serve: a tenth of their share of a core, where there are not cores
enough."""


class _Done(NamedTuple):
    merged: Merged
    seconds: float
    """How long it took a core."""


class Merger:
    """Used by the thread that applies the changes."""

    def __init__(self, version: LivingVersion, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock`` tells seconds."""
        self._version = version
        self._clock = clock
        self._merging: Future[_Done] | None = None
        self._not_before = 0.0

    def merge_now(self) -> None:
        """Merges what came or went, before anybody is served."""
        if (merge := self._version.to_merge()) is not None:
            self._take_over(_run(merge))

    def look(self) -> State | None:
        """Begins a merge where one is due; or takes over one that is done, and returns the state that serves then.

        Where one fails, what is served goes on, and nothing is merged any more.
        """
        if self._merging is None:
            if self._clock() >= self._not_before and (merge := self._version.to_merge()) is not None:
                self._merging = _in_a_thread(merge)
            return None
        if not self._merging.done():
            return None
        merging, self._merging = self._merging, None
        if (exception := merging.exception()) is not None:
            self._not_before = math.inf
            fault(exception)
            return None
        return self._take_over(merging.result())

    def _take_over(self, done: _Done) -> State:
        self._not_before = self._clock() + REST * done.seconds
        return self._version.take_over(done.merged)


def give_way() -> None:
    """Has this thread give way to others."""
    with suppress(OSError):  # Linux alone knows it of each thread
        niceness = os.getpriority(os.PRIO_PROCESS, 0) + NICENESS
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness)


def _run(merge: Merge) -> _Done:
    began = time.thread_time()
    return _Done(merge.run(), time.thread_time() - began)


def _in_a_thread(merge: Merge) -> Future[_Done]:
    """The result of a merge that the process does not wait for at its end."""
    future: Future[_Done] = Future()

    def run() -> None:
        try:
            give_way()
            future.set_result(_run(merge))
        except BaseException as exception:  # noqa: BLE001 - whoever asks for the result is told
            future.set_exception(exception)

    threading.Thread(target=run, name="merge", daemon=True).start()
    return future
