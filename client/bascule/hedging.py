"""When a call is worth a second attempt beside the first, and how often there may be one. Pure: no sockets, no clock.

A second attempt starts when the first has taken longer than 95 of 100 recent calls of its method did: what is slow by
chance is then answered by the other (Dean and Barroso, The Tail at Scale, 2013).
"""

import math
from collections import deque

from bascule.channel import checked_connections

MAX_SHARE = 0.05
"""Second attempts for each call."""

MIN_CALLS = 100
"""Calls of a method before there are second attempts: a percentile of fewer says little."""

WINDOW_CALLS = 500
"""Calls that count as recent."""

REFRESH_CALLS = 20
"""Calls between two looks at which of the recent were slow."""

MAX_SAVED = 10.0
"""Second attempts that may come in a row after calls that needed none."""


def checked_hedge(connections: int, *, hedge: bool) -> bool:
    """Whether to hedge.

    Raises:
        ValueError: There is no other connection for a second attempt.
    """
    if hedge and checked_connections(connections) < 2:
        raise ValueError(f"hedge needs connections of at least 2, for the second attempt; got {connections}")
    return hedge


class RecentLatencies:
    """How long the last calls of one method took."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=WINDOW_CALLS)
        self._count = 0
        self._slow: float | None = None

    def add(self, seconds: float) -> None:
        """Notes a call. One that was given up counts as long as it was waited for."""
        self._seconds.append(seconds)
        self._count += 1
        if self._count >= MIN_CALLS and self._count % REFRESH_CALLS == 0:
            ordered = sorted(self._seconds.copy())
            self._slow = ordered[math.ceil(0.95 * len(ordered)) - 1]

    @property
    def slow(self) -> float | None:
        """The 95th percentile, in seconds; None before 100 calls."""
        return self._slow


class HedgeBudget:
    """Second attempts: at most one for twenty calls, whenever it is counted."""

    def __init__(self) -> None:
        self._saved = 0.0

    def earn(self) -> None:
        """Notes a call."""
        self._saved = min(self._saved + MAX_SHARE, MAX_SAVED)

    def spend(self) -> bool:
        """Takes a second attempt, where there is one."""
        if self._saved < 1:
            return False
        self._saved -= 1
        return True
