"""When the machine itself stood still: the load started its own calls late, whatever the server did."""

from collections.abc import Sequence

from fault.chaos.run import Struck
from fault.steady_load import Call

NAME = "machine stood still"
STALL_SECONDS = 0.25
"""A call that starts so much later than it was meant to shows a stall."""


def stalls(calls: Sequence[Call]) -> list[Struck]:
    """One for each stall, as if it were a fault."""
    found: list[Struck] = []
    for call in sorted(calls, key=lambda call: call.meant):
        if call.began - call.meant < STALL_SECONDS:
            continue
        if found and call.meant <= found[-1].over:
            found[-1].over = found[-1].recovered = max(found[-1].over, call.began)
        else:
            found.append(Struck(NAME, call.meant, call.began, call.began))
    return found
