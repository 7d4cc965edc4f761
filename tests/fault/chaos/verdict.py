"""What may be while faults strike, and the table of what was."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np
from fault.chaos import stalls
from fault.chaos.run import Struck
from fault.steady_load import Call
from rich.table import Table

MAY_FAIL: Mapping[str, Set[str]] = {
    "server restarted": {"UNAVAILABLE"},
    "overload": {"UNAVAILABLE"},
    stalls.NAME: {"UNAVAILABLE", "DEADLINE_EXCEEDED"},
}
"""With which codes calls may fail, by the fault; the others cost no call, since clients repeat what a worker loses."""

AFTERWARDS_SECONDS = 0.5
"""For which a fault may still be felt."""

MOST_TIMES_P99, LEAST_P99_MILLISECONDS = 5.0, 100.0
"""Afterwards p99 is at most so many times what it was, or so much: others use this machine too."""
MOST_TIMES_MEMORY = 1.2


@dataclass(frozen=True)
class Measured:
    """While nothing happens."""

    p99_milliseconds: float
    megabytes: float


def complaints(
    calls: Sequence[Call], begun: int, faults: Sequence[Struck], published: Set[int], before: Measured, after: Measured
) -> Iterator[str]:
    """Whatever is not as it is promised.

    Args:
        calls: that ended.
        begun: how many calls were.
        faults: that struck, and the stalls of the machine.
        published: the versions that were published whole.
        before: measured before the first fault.
        after: measured after the last one.
    """
    if len(calls) != begun:
        yield f"{begun} calls were begun, and {len(calls)} ended"
    for call in calls:
        yield from call.wrong
        if unknown := set(call.versions) - published:
            yield f"versions {unknown} answered, which were not published whole"
        if call.is_late and not any(fault.fault == stalls.NAME and _is_during(fault, call) for fault in faults):
            yield f"a call ({call.kind}) ended after {call.own_seconds:.1f} s; it may {call.longest_seconds:.1f} s"
        if call.status != "OK" and not any(_excuses(fault, call) for fault in faults):
            beside = sorted({fault.fault for fault in faults if _is_during(fault, call)}) or "no fault"
            yield f"a call ({call.kind}) failed after {call.own_seconds:.1f} s, beside {beside}: {call.status}"
    for fault in faults:
        if math.isinf(fault.recovered):
            yield f"{fault.fault}: did not recover"
    if after.p99_milliseconds > max(MOST_TIMES_P99 * before.p99_milliseconds, LEAST_P99_MILLISECONDS):
        yield f"p99 is {after.p99_milliseconds:.1f} ms; it was {before.p99_milliseconds:.1f} ms"
    if after.megabytes > MOST_TIMES_MEMORY * before.megabytes:
        yield f"memory is {after.megabytes:.0f} MB; it was {before.megabytes:.0f} MB"


def table(calls: Sequence[Call], faults: Sequence[Struck], title: str) -> Table:
    """A row for each kind of fault. A call belongs to all those that it met; a failed one to those that excuse it."""
    shown = Table(title=title)
    shown.add_column("fault")
    for name in ("times", "calls", "failed", "wrong", "late", "p99 ms", "recovery s, median", "most"):
        shown.add_column(name, justify="right")
    for kind in sorted({fault.fault for fault in faults}):
        those = [fault for fault in faults if fault.fault == kind]
        during = [call for call in calls if any(_is_during(fault, call) for fault in those)]
        seconds = [fault.recovery_seconds for fault in those]
        recovery = (f"{np.median(seconds):.2f}", f"{max(seconds):.2f}")
        shown.add_row(
            kind,
            str(len(those)),
            *_figures(during, [call for call in during if _belongs(call, kind, faults)]),
            *recovery,
        )
    quiet = [call for call in calls if not any(_is_during(fault, call) for fault in faults)]
    shown.add_section()
    shown.add_row("none", "", *_figures(quiet, quiet), "", "")
    shown.add_row("all", str(len(faults)), *_figures(calls, calls), "", "")
    return shown


def _figures(calls: Sequence[Call], accountable: Sequence[Call]) -> list[str]:
    codes = Counter(_code(call) for call in accountable if call.status != "OK")
    singles = [call.seconds for call in calls if call.kind == "single" and call.status == "OK"]
    return [
        str(len(calls)),
        ", ".join(f"{count} {code}" for code, count in codes.items()) or "0",
        str(sum(len(call.wrong) for call in calls)),
        str(sum(call.is_late for call in calls)),
        f"{1_000 * np.percentile(singles, 99):.0f}" if singles else "",
    ]


def _belongs(call: Call, kind: str, faults: Sequence[Struck]) -> bool:
    excused = {fault.fault for fault in faults if _excuses(fault, call)}
    return not excused or kind in excused


def _excuses(fault: Struck, call: Call) -> bool:
    return _is_during(fault, call) and _code(call) in MAY_FAIL.get(fault.fault, ())


def _is_during(fault: Struck, call: Call) -> bool:
    return call.ended >= fault.began and call.meant <= fault.recovered + AFTERWARDS_SECONDS


def _code(call: Call) -> str:
    return call.status.partition(":")[0]
