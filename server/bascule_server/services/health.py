"""``grpc.health.v1``: whether the server answers, for load balancers, probes and clients.

The servicer of ``grpcio-health-checking`` forgets all watchers of a service when one of them leaves, and its watchers
keep a server that stops waiting; hence this one, upon its messages.
"""

# ruff: noqa: N802 - the methods are named by the protocol

import asyncio
from collections.abc import AsyncIterator, Iterable

from grpc_health.v1.health_pb2_grpc import HealthServicer

from bascule.standard_protos import health_pb2 as pb
from bascule_server.errors import Reason, ServiceError

SERVER = ""
"""The name under which the server as a whole is asked for."""


class Health(HealthServicer):  # type: ignore[misc]  # it has no types
    """The state of each service: NOT_SERVING until the models are proven, and again when the server stops."""

    def __init__(self, services: Iterable[str]) -> None:
        self._services = frozenset([SERVER, *services])
        self._serving = False
        self._closed = False
        self._changed = asyncio.Event()

    def set_serving(self, serving: bool) -> None:
        """Sets the state of all services and tells it to those that watch."""
        self._serving = serving
        self._tell()

    def close(self) -> None:
        """Ends the streams of those that watch."""
        self._closed = True
        self._tell()

    async def Check(self, request: pb.HealthCheckRequest, _context: object) -> pb.HealthCheckResponse:
        """The state of one service now."""
        if request.service not in self._services:
            raise ServiceError(Reason.SERVICE_NOT_FOUND)
        return pb.HealthCheckResponse(status=self._status(request.service))

    async def Watch(self, request: pb.HealthCheckRequest, _context: object) -> AsyncIterator[pb.HealthCheckResponse]:
        """The state of one service now and whenever it changes."""
        told = None
        while not self._closed:
            changed, status = self._changed, self._status(request.service)
            if status != told:
                yield pb.HealthCheckResponse(status=status)
                told = status
            await changed.wait()
        raise ServiceError(Reason.STOPPING)

    def statuses(self) -> dict[str, pb.HealthCheckResponse.ServingStatus.ValueType]:
        """The state of every service now, for ``List``."""
        return {service: self._status(service) for service in sorted(self._services)}

    def _status(self, service: str) -> pb.HealthCheckResponse.ServingStatus.ValueType:
        if service not in self._services:
            return pb.HealthCheckResponse.SERVICE_UNKNOWN
        return pb.HealthCheckResponse.SERVING if self._serving else pb.HealthCheckResponse.NOT_SERVING

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
