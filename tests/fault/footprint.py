"""What a process takes of the machine."""

from pathlib import Path
from typing import NamedTuple


class Footprint(NamedTuple):
    """Of one process, or of several."""

    megabytes: float
    """In memory, what is shared with other processes by its part (PSS)."""
    descriptors: int
    """Files and sockets that are open."""
    threads: int


def footprint(pid: int) -> Footprint:
    """Of a process, now.

    Raises:
        OSError: there is none.
    """
    process = Path("/proc") / str(pid)
    return Footprint(
        proportional_megabytes(pid), len(list((process / "fd").iterdir())), len(list((process / "task").iterdir()))
    )


def proportional_megabytes(pid: int) -> float:
    """The memory of a process, what it shares with others by its part."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1_024
    raise ValueError(pid)
