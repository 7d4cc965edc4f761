"""How many rows the server holds at once: calls beyond that are refused at once, streams beyond that wait.

It bounds memory, so rows are counted, not calls, from the moment they are taken in until they are answered or given
up. How long they may wait is bounded by ``row_queue``.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from bascule_server.errors import Reason, ServiceError


class Admission:
    """Counts the rows of one event loop. Streams hold at most half of them, so that calls find room beside streams."""

    def __init__(self, max_rows: int) -> None:
        self._max_rows = max_rows
        self._max_stream_rows = max_rows // 2
        self._stream_turn = asyncio.Lock()
        self._freed = asyncio.Event()
        self.row_count = 0
        """Rows taken in and not yet answered."""
        self.stream_row_count = 0
        """Those of them that belong to streams."""

    @contextmanager
    def admit(self, row_count: int) -> Iterator[None]:
        """Holds the rows of a call. Raises ``ServiceError`` with OVERLOADED where there is no room for them."""
        self.enter(row_count)
        try:
            yield
        finally:
            self.leave(row_count)

    def enter(self, row_count: int) -> None:
        """Holds the rows of a call until ``leave``. Raises as ``admit``."""
        if not _fits(row_count, self.row_count, self._max_rows):
            raise ServiceError(Reason.OVERLOADED)
        self.row_count += row_count

    def leave(self, row_count: int) -> None:
        """Lets go of rows."""
        self.row_count -= row_count
        self._freed.set()

    @asynccontextmanager
    async def admit_from_stream(self, row_count: int) -> AsyncIterator[None]:
        """Holds the rows of a stream's message, as soon as there is room for them; first come, first served."""
        async with self._stream_turn:
            while not self._stream_fits(row_count):
                self._freed.clear()
                await self._freed.wait()
            self.stream_row_count += row_count
        self.row_count += row_count
        try:
            yield
        finally:
            self.stream_row_count -= row_count
            self.leave(row_count)

    def _stream_fits(self, row_count: int) -> bool:
        beside_streams = _fits(row_count, self.stream_row_count, self._max_stream_rows)
        return beside_streams and _fits(row_count, self.row_count, self._max_rows)


def _fits(row_count: int, held: int, limit: int) -> bool:
    # What is larger than the whole limit fits when it is alone, or it never would.
    return held == 0 or held + row_count <= limit
