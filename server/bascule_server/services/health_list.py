"""``grpc.health.v1.Health/List``: the state of every service in one answer.

The protocol has this method; the releases of ``grpcio-health-checking`` that stand beside TensorFlow lack it and its
messages. A process can register a message once, and a later release of theirs will, so the answer is encoded here:

    message HealthListResponse { map<string, HealthCheckResponse> statuses = 1; }

https://github.com/grpc/grpc-proto/blob/master/grpc/health/v1/health.proto
"""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import grpc

from bascule.standard_protos import health_pb2
from bascule_server.wire import varint, with_length

Statuses: TypeAlias = Mapping[str, health_pb2.HealthCheckResponse.ServingStatus.ValueType]
"""The state of each service by its name."""


def list_handler(statuses: Callable[[], Statuses]) -> grpc.GenericRpcHandler:
    """Answers ``List`` with what ``statuses`` says, and knows no other method. The request has no fields to read."""

    async def answer(_request: bytes, _context: object) -> bytes:
        return encode_statuses(statuses())

    handler = grpc.unary_unary_rpc_method_handler(answer, request_deserializer=bytes, response_serializer=bytes)
    return grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"List": handler})


def encode_statuses(statuses: Statuses) -> bytes:
    """The bytes of a ``HealthListResponse``. A map is a repeated field of entries with a key 1 and a value 2."""
    return b"".join(
        _field(
            1, _field(1, name.encode()) + _field(2, health_pb2.HealthCheckResponse(status=status).SerializeToString())
        )
        for name, status in statuses.items()
    )


def _field(number: int, value: bytes) -> bytes:
    return varint(number << 3 | 2) + with_length(value)
