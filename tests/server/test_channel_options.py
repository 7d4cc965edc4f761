"""Every option that we set is one that gRPC's core knows: it ignores others without a word."""

from pathlib import Path

import pytest
from grpc._cython import cygrpc  # type: ignore[attr-defined]

from bascule_server.channel_options import channel_options
from bascule_server.config import ServerConfig

OPTIONS = dict(channel_options(ServerConfig(max_connection_age_seconds=90.0, max_request_bytes=2_048)))


@pytest.fixture(scope="module")
def core() -> bytes:
    return Path(cygrpc.__file__).read_bytes()


@pytest.mark.parametrize("key", OPTIONS)
def test_the_core_knows_the_option(key: str, core: bytes) -> None:
    assert f"{key}\0".encode() in core


def test_values_are_those_of_the_configuration() -> None:
    assert OPTIONS["grpc.max_connection_age_ms"] == 90_000
    assert OPTIONS["grpc.max_receive_message_length"] == 2_048


def test_the_port_is_never_shared() -> None:
    assert OPTIONS["grpc.so_reuseport"] == 0


def test_connections_grow_as_old_as_they_like_by_default() -> None:
    assert "grpc.max_connection_age_ms" not in dict(channel_options(ServerConfig()))
