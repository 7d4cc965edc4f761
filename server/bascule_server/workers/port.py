"""The port that workers share, and that nobody else gets while they come and go."""

import socket

from bascule_server.config import host_and_port


def bound(address: str) -> socket.socket:
    """A socket that keeps the port for the workers, which share it, and for nobody else.

    Args:
        address: with the port, as the configuration has it.

    Raises:
        OSError: the port cannot be had.
    """
    # First without sharing, which would be granted beside another server that shares.
    with bound_alone(address) as trial:
        family, found = trial.family, trial.getsockname()
    keeper = socket.socket(family, socket.SOCK_STREAM)
    keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    keeper.bind(found)
    return keeper


def bound_alone(address: str) -> socket.socket:
    """A socket that has the port for itself.

    Raises:
        OSError: the port cannot be had; the system's own reason, which gRPC's core would keep from us.
    """
    host, port = host_and_port(address)
    family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    found = socket.socket(family, kind, protocol)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(place)
    except OSError:
        found.close()
        raise
    return found


def with_port(address: str, port: socket.socket) -> str:
    """The address with the port that a socket has, which may have been any that was free."""
    host, _ = host_and_port(address)
    number = port.getsockname()[1]
    return f"[{host}]:{number}" if ":" in host else f"{host}:{number}"
