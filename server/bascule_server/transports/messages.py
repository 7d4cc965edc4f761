"""From bytes to messages, and from errors to what goes over the wire, alike in all transports."""

import math
from collections.abc import Callable
from typing import Any, Final, TypeAlias, cast

import grpc

from bascule_server.errors import Reason, ServiceError, to_status

Metadata: TypeAlias = tuple[tuple[str, str | bytes], ...]

_MALFORMED: Final = object()
"""Stands for bytes that are no message: gRPC would answer UNKNOWN to an exception from a deserializer."""


def lenient(handler: "grpc.RpcMethodHandler[Any, Any]") -> Callable[[bytes], object]:
    """The handler's deserializer, one that raises nothing; see ``readable``."""
    strict = cast(Callable[[bytes], object], handler.request_deserializer)

    def deserialise(serialised: bytes) -> object:
        try:
            return strict(serialised)
        except Exception:  # noqa: BLE001 - whatever a deserializer raises, the bytes are to blame
            return _MALFORMED

    return deserialise


def readable(request: object) -> object:
    """A request that ``lenient`` deserialised. Raises ``ServiceError`` with MALFORMED_MESSAGE where it could not."""
    if request is _MALFORMED:
        raise ServiceError(Reason.MALFORMED_MESSAGE)
    return request


def trailing_metadata(error: ServiceError) -> Metadata:
    """What goes with the status of a call that failed."""
    details: tuple[str, str | bytes] = ("grpc-status-details-bin", to_status(error).SerializeToString())
    if error.retry_delay_seconds is None:
        return (details,)
    return (details, ("grpc-retry-pushback-ms", str(math.ceil(error.retry_delay_seconds * 1000))))
