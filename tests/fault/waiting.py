"""Waiting for what processes do, who tell nobody."""

import asyncio
from collections.abc import Callable

PATIENCE_SECONDS = 60.0


async def until(is_so: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
    """Returns when it is so.

    Raises:
        TimeoutError: it is not within so many seconds.
    """
    async with asyncio.timeout(seconds):
        while not is_so():  # noqa: ASYNC110 - processes tell nobody
            await asyncio.sleep(0.01)
