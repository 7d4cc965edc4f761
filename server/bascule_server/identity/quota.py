"""How many rows a caller may have answered: so many a second, and some more at once after a while without any.

A token bucket: https://en.wikipedia.org/wiki/Token_bucket. Pure: the time is passed in.
"""


class Quota:
    """Of one caller, in one process."""

    def __init__(self, rows_per_second: float, burst_rows: float, now: float) -> None:
        """Begins with as many rows as may come at once.

        Args:
            rows_per_second: above 0.
            burst_rows: how many may come at once, at least 1.
            now: seconds on a clock that never goes back.
        """
        self.rows_per_second = rows_per_second
        self.burst_rows = burst_rows
        self._left = burst_rows
        self._at = now

    def take(self, row_count: int, now: float) -> float:
        """Takes rows where there are so many: returns 0 then, and else after how many seconds there may be.

        More than may come at once are taken where nothing has come for long enough, and must be made up for: otherwise
        they never could be.
        """
        self._left = min(self.burst_rows, self._left + (now - self._at) * self.rows_per_second)
        self._at = now
        needed = min(row_count, self.burst_rows)
        if self._left < needed:
            return (needed - self._left) / self.rows_per_second
        self._left -= row_count
        return 0.0
