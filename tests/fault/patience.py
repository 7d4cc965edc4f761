"""Waiting for what processes do, of which they tell nobody."""

import asyncio
from collections.abc import Callable

PATIENCE_SECONDS = 60.0


async def until(is_so: Callable[[], bool]) -> None:
    """Returns when it is so. Raises ``TimeoutError`` where it does not come to that."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not is_so():  # noqa: ASYNC110 - processes tell nobody
            await asyncio.sleep(0.01)
