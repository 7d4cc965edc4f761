"""Nothing leaves a handler but our own errors: any other becomes INTERNAL, with an id and without its text."""

from collections.abc import Iterator
from contextlib import contextmanager

from grpc.aio import AbortError

from bascule_server.errors import ServiceError
from bascule_server.faults import fault


@contextmanager
def error_boundary() -> Iterator[None]:
    """Raises ``ServiceError`` in the place of whatever exception is raised inside."""
    try:
        yield
    except (ServiceError, AbortError):
        raise
    except Exception as exception:
        raise fault(exception) from exception
