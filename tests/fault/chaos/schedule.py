"""When which fault strikes, drawn from a seed.

Faults of one lane strike one after another, each when the server has recovered from the one before; the three lanes do
not know of each other, so that a worker dies while a version is loaded and others leave their calls.
"""

import random
from collections.abc import Mapping, Sequence
from typing import NamedTuple

LANES: Mapping[str, Sequence[str]] = {
    "processes": (
        *("worker killed", "worker stopped", "worker killed", "worker stopped"),
        *("workers exchanged", "server restarted"),
    ),
    "versions": (
        *("new version", "damaged version", "written file by file", "files spoiled", "version removed", "rolled back"),
    ),
    "callers": (
        *("overload", "calls left", "garbage", "rapid resets", "slow reader", "slow writer"),
        *("idle sockets", "huge metadata", "gzip bomb"),
    ),
}
"""The faults, by lane. All of a lane strike once before one strikes again."""

GAP_SECONDS = {"processes": (5.0, 11.0), "versions": (3.0, 7.0), "callers": (3.5, 8.0)}
"""Between the starts of two faults of a lane, from and to."""


class Strike(NamedTuple):
    """A fault that is to come."""

    at: float
    """Seconds after the first fault may come."""
    lane: str
    fault: str
    seed: int
    """Of what is left to chance within the fault."""


def drawn(seed: int, seconds: float) -> list[Strike]:
    """The faults of so many seconds, in their order: the same for the same seed, and the first of a longer schedule."""
    strikes = []
    for lane, faults in LANES.items():
        chance, left = random.Random(f"{seed} {lane}"), list[str]()
        at = chance.uniform(0, GAP_SECONDS[lane][0])
        while at < seconds:
            left = left or chance.sample(faults, len(faults))
            strikes.append(Strike(at, lane, left.pop(), chance.randrange(1 << 32)))
            at += chance.uniform(*GAP_SECONDS[lane])
    return sorted(strikes)
