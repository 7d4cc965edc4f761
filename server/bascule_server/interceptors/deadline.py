"""When a call is answered too late: at the caller's deadline, or at ours where the caller has none or a distant one."""

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from bascule_server.calls import Call
from bascule_server.errors import Reason, ServiceError


@dataclass(frozen=True, slots=True)
class TimeoutPolicy:
    """How long a call may take, in seconds. Streams may take as long as their caller allows."""

    default_seconds: float
    max_seconds: float

    def timeout(self, allowed_by_caller: float | None, *, is_stream: bool) -> float:
        """Seconds from now; infinite for a stream without a deadline."""
        if is_stream:
            return math.inf if allowed_by_caller is None else allowed_by_caller
        return min(self.default_seconds if allowed_by_caller is None else allowed_by_caller, self.max_seconds)


@asynccontextmanager
async def deadline(call: Call) -> AsyncIterator[None]:
    """Cancels what runs inside at the call's deadline. Raises ``ServiceError`` with DEADLINE_EXCEEDED then."""
    remaining = None if math.isinf(call.deadline) else call.deadline - time.monotonic()
    try:
        async with asyncio.timeout(remaining) as timeout:
            yield
    except TimeoutError:
        if not timeout.expired():
            raise
        raise ServiceError(Reason.DEADLINE_EXCEEDED) from None
