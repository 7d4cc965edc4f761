"""Whether a server is ready, by the standard health service, for which the generated stubs have no need."""

from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio

from bascule.errors import BasculeError, DeadlineExceededError, Failure, UnavailableError
from bascule.standard_protos import health_pb2

POLL_SECONDS = 0.1
"""How long to wait before asking again."""


def health_check(channel: grpc.Channel | grpc.aio.Channel) -> Callable[..., Any]:
    """The method ``Check``, to be called, or called and awaited, with a ``HealthCheckRequest``."""
    return channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
        response_deserializer=health_pb2.HealthCheckResponse.FromString,
    )


def is_serving(response: health_pb2.HealthCheckResponse) -> bool:
    """Whether the server as a whole answers."""
    return response.status == health_pb2.HealthCheckResponse.SERVING


def means_not_ready(error: BasculeError) -> bool:
    """Whether the error says no more than that nobody answers, or not yet."""
    return isinstance(error, UnavailableError | DeadlineExceededError)


def not_ready(target: str, timeout: float) -> DeadlineExceededError:
    """The error for a server that did not become ready."""
    message = f"{target} was not ready within {timeout:g} s"
    return DeadlineExceededError(Failure(grpc.StatusCode.DEADLINE_EXCEEDED, message))
