"""The port that workers share, and that nobody else gets while they come and go."""

import socket

from bascule_server.config import ServerConfig


def bound(config: ServerConfig) -> socket.socket:
    """A socket that keeps the port for the workers, which share it, and for nobody else.

    Raises:
        OSError: the port cannot be had.
    """
    # First without sharing, which would be granted beside another server that shares.
    with bound_alone(config) as trial:
        family, address = trial.family, trial.getsockname()
    keeper = socket.socket(family, socket.SOCK_STREAM)
    keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    keeper.bind(address)
    return keeper


def bound_alone(config: ServerConfig) -> socket.socket:
    """A socket that has the port for itself.

    Raises:
        OSError: the port cannot be had; the system's own reason, which gRPC's core would keep from us.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM)[0]
    found = socket.socket(family, kind, protocol)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
    except OSError:
        found.close()
        raise
    return found
