"""How a supervisor hears that a worker is alive, and sees that it hangs.

A thread of the worker writes a beat to its standard output, as long as the event loop goes round. The supervisor counts
its own ticks since the last one, and not seconds: when the whole machine stood still, nobody is to blame.

A worker that someone stopped (SIGSTOP) says so in its state, which is looked at with each tick:
that tells it at once from one that is only busy.
"""

import asyncio
import os
import threading
import time
from pathlib import Path

SERVING = b"serving\n"
"""What a worker says on its standard output, once it does."""

BEAT = b"beat\n"
BEAT_SECONDS = 0.5

HUNG_SECONDS = 10.0
"""An event loop that did not go round for so long hangs. A load of a large model may hold it up for a second or two."""

TICK_SECONDS = 0.2
MOST_SILENT_TICKS = int(2 * HUNG_SECONDS / TICK_SECONDS)
MOST_STOPPED_TICKS = 2
"""One may be someone who looks at the process."""

_STOPPED = "T"
_NEVER_HEARD = -(10**9)
"""Before its first beat a worker reads its program, for as long as that takes."""


class Silence:
    """What a supervisor has not heard of a worker. Pure: no processes, no clock."""

    def __init__(self) -> None:
        self._silent_ticks = _NEVER_HEARD
        self._stopped_ticks = 0

    def heard(self) -> None:
        """Notes that it gave a sign of life."""
        self._silent_ticks = 0

    def tick(self, state: str) -> bool:
        """Notes that a tick passed. Whether the worker hangs.

        Args:
            state: the letter of its state; see ``state_of``.
        """
        self._silent_ticks += 1
        self._stopped_ticks = self._stopped_ticks + 1 if state == _STOPPED else 0
        return self._silent_ticks > MOST_SILENT_TICKS or self._stopped_ticks >= MOST_STOPPED_TICKS


def state_of(process_id: int) -> str:
    """The letter of a process's state, such as S for one that sleeps; see proc(5). Nothing where it has ended."""
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


class Pulse:
    """The worker's side. ``keep`` runs in its event loop, for which a thread vouches."""

    def __init__(self, file_number: int) -> None:
        """``file_number`` is where the beats are written."""
        self._file_number = file_number
        self._last_round = time.monotonic()
        threading.Thread(target=self._beat, name="pulse", daemon=True).start()

    async def keep(self) -> None:
        """Tells the thread that the loop goes round, until it is cancelled."""
        while True:
            self._last_round = time.monotonic()
            await asyncio.sleep(BEAT_SECONDS)

    def _beat(self) -> None:
        while True:
            if time.monotonic() - self._last_round < HUNG_SECONDS:
                try:
                    os.write(self._file_number, BEAT)
                except OSError:
                    # There is no supervisor any more, which another thread sees too.
                    return
            time.sleep(BEAT_SECONDS)
