"""When a worker that died is replaced: at once, unless it dies again and again. Pure: no processes, no clock."""

STEADY_SECONDS = 10.0
"""A worker that served for so long did not die of its start."""

FIRST_DELAY_SECONDS = 0.1
LONGEST_DELAY_SECONDS = 10.0

MOST_DEATHS = 8
"""Deaths in a row, each soon after the start, after which there is little hope."""


class Restarts:
    """The deaths in one worker's place."""

    def __init__(self) -> None:
        self._deaths = 0

    def delay_after(self, served_seconds: float) -> float:
        """Seconds to wait before a new worker is started in the place of one that served for so long.

        None after the first death, then 0.1 s, and twice as long each time up to 10 s.
        """
        self._deaths = 1 if served_seconds >= STEADY_SECONDS else self._deaths + 1
        if self._deaths == 1:
            return 0.0
        return min(FIRST_DELAY_SECONDS * 2.0 ** min(self._deaths - 2, 16), LONGEST_DELAY_SECONDS)

    @property
    def are_hopeless(self) -> bool:
        """Whether workers died so often that nothing will mend it."""
        return self._deaths >= MOST_DEATHS
