"""What a server costs: processor time and memory, of the process and of all that it started."""

import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
# Of /proc/PID/stat, counted from the field behind the name, which may hold spaces: see proc(5).
_PARENT, _USER, _SYSTEM, _CHILDREN_USER, _CHILDREN_SYSTEM = 1, 11, 12, 13, 14


def cpu_seconds(process_id: int) -> float:
    """Processor seconds so far, of all its threads and processes, ended ones included."""
    fields = (_stat(each) for each in _family(process_id))
    places = (_USER, _SYSTEM, _CHILDREN_USER, _CHILDREN_SYSTEM)
    return sum(int(each[place]) for each in fields for place in places) / _TICKS_PER_SECOND


def memory_bytes(process_id: int) -> int:
    """Memory in use, shared pages divided among those that share them (PSS)."""
    return sum(_pss_bytes(each) for each in _family(process_id))


def _pss_bytes(process_id: int) -> int:
    for line in (PROC / str(process_id) / "smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return 1_024 * int(line.split()[1])
    raise ValueError(f"process {process_id} has no memory of its own")


def _family(process_id: int) -> Iterator[int]:
    """The process and its descendants."""
    children: dict[int, list[int]] = defaultdict(list)
    for path in PROC.iterdir():
        if path.name.isdecimal():
            with suppress(FileNotFoundError, ProcessLookupError):
                children[int(_stat(int(path.name))[_PARENT])].append(int(path.name))
    pending = [process_id]
    while pending:
        each = pending.pop()
        yield each
        pending += children[each]


def _stat(process_id: int) -> list[str]:
    return (PROC / str(process_id) / "stat").read_text().rpartition(")")[2].split()
