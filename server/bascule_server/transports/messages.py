"""From bytes to messages, and from errors to what goes over the wire, alike in all transports."""

import itertools
import math
from collections.abc import Callable
from functools import cache
from typing import Any, Final, TypeAlias, cast

import grpc

from bascule_server.channel_options import MAX_METADATA_BYTES
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


def present(message: bytes | None) -> bytes:
    """The message. Raises ``ServiceError`` with MALFORMED_MESSAGE where there is none."""
    if message is None:
        raise ServiceError(Reason.MALFORMED_MESSAGE)
    return message


_SPREAD = itertools.cycle([0.5 + (step * 0.618) % 1 for step in range(16)])
"""By what the delays of refusals are multiplied, in turn: from 0.5 to 1.5, and neighbours lie apart. So callers who
were refused together do not come back together."""


def trailing_metadata(error: ServiceError) -> Metadata:
    """What goes with the status of a call that failed."""
    if error.reason.retry_delay_seconds is not None:
        return _refusal(error.reason, next(_SPREAD))
    return _metadata(error)


@cache
def _refusal(reason: Reason, spread: float) -> Metadata:
    """Made once: a server that refuses has no time."""
    return _metadata(ServiceError(reason, retry_delay_seconds=spread * (reason.retry_delay_seconds or 0.0)))


def _metadata(error: ServiceError) -> Metadata:
    details: tuple[str, str | bytes] = ("grpc-status-details-bin", to_status(error).SerializeToString())
    if error.retry_delay_seconds is None:
        return (details,)
    return (details, ("grpc-retry-pushback-ms", str(math.ceil(error.retry_delay_seconds * 1000))))


def check_size(metadata: Metadata) -> None:
    """Raises ``ServiceError`` with METADATA_TOO_LARGE where it is.

    The core refuses that by itself, but only to callers who have said that they know its limit.
    """
    if sum([len(key) + len(value) for key, value in metadata]) > MAX_METADATA_BYTES:
        raise ServiceError(Reason.METADATA_TOO_LARGE)


def host_of(peer: str) -> str:
    """The host of a peer as gRPC writes it, such as ``ipv4:127.0.0.1`` of ``ipv4:127.0.0.1:50051``."""
    return peer.rpartition(":")[0]
