"""One line in the log for each call, which names neither users nor items."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from grpc import StatusCode

from bascule_server.calls import Call
from bascule_server.errors import ServiceError

_log = structlog.get_logger()


@contextmanager
def call_log(call: Call) -> Iterator[None]:
    """Logs the call when it ends, however it ends."""
    start = time.monotonic()
    outcome = {"code": StatusCode.OK.name}
    try:
        yield
    except ServiceError as error:
        outcome = {"code": error.reason.code.name, "reason": error.reason.name, **error.metadata}
        raise
    except asyncio.CancelledError:
        expired = time.monotonic() >= call.deadline
        outcome = {"code": (StatusCode.DEADLINE_EXCEEDED if expired else StatusCode.CANCELLED).name}
        raise
    finally:
        # Probes come every second and say nothing new.
        write = _log.debug if call.is_probe else _log.info
        write(
            "call",
            method=call.method,
            rows=call.row_count,
            duration_ms=round((time.monotonic() - start) * 1000, 3),
            queue_ms=round(call.queue_seconds * 1000, 3),
            **outcome,
        )
