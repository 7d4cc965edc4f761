"""What is done about an exception that nobody foresaw: an id for the caller, and the same with its place for the log.

The exception's text goes to neither, since it may hold what the caller sent.
"""

import secrets
import traceback

import structlog

from bascule_server.errors import Reason, ServiceError

_log = structlog.get_logger()


def told(exception: BaseException) -> ServiceError:
    """What the caller is told of ``exception``: itself where it is meant for callers, else that of a ``fault``."""
    return exception if isinstance(exception, ServiceError) else fault(exception)


def fault(exception: BaseException) -> ServiceError:
    """Logs where ``exception`` was raised and returns what the caller is told."""
    error_id = secrets.token_hex(8)
    frames = traceback.extract_tb(exception.__traceback__)
    _log.error(
        "fault",
        error_id=error_id,
        exception_type=type(exception).__qualname__,
        frames=[f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in frames],
    )
    return ServiceError(Reason.INTERNAL, metadata={"error_id": error_id})
