"""What the core is told."""

import json
import mmap
from pathlib import Path

import grpc
import pytest

from bascule import Client, UnavailableError
from bascule.channel import CHANNEL_OPTIONS, SERVICE_CONFIG
from bascule.testing import LocalServer
from bascule.v1 import model_service_pb2, recommendation_service_pb2


@pytest.mark.parametrize("key", [key for key, _ in CHANNEL_OPTIONS])
def test_the_core_knows_every_option(key: str) -> None:
    binary = next(Path(grpc.__file__).parent.glob("_cython/cygrpc*.so"))
    with binary.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        assert content.find(key.encode() + b"\0") >= 0


def test_pings_come_no_more_often_than_a_server_with_grpcs_defaults_permits() -> None:
    options = dict(CHANNEL_OPTIONS)
    assert int(options["grpc.keepalive_time_ms"]) > 300_000
    assert "grpc.keepalive_permit_without_calls" not in options


def test_calls_of_every_service_are_repeated_when_nobody_could_compute_them() -> None:
    services = {
        service.full_name
        for module in (recommendation_service_pb2, model_service_pb2)
        for service in module.DESCRIPTOR.services_by_name.values()
    }
    (method_config,) = json.loads(dict(CHANNEL_OPTIONS)["grpc.service_config"])["methodConfig"]  # type: ignore[arg-type]
    assert {name["service"] for name in method_config["name"]} == services
    assert method_config["retryPolicy"]["retryableStatusCodes"] == ["UNAVAILABLE"]
    assert method_config["retryPolicy"]["maxAttempts"] == 4


def test_calls_are_spread_over_the_addresses_of_a_name() -> None:
    assert SERVICE_CONFIG["loadBalancingConfig"] == [{"round_robin": {}}]


def test_with_credentials_nothing_is_said_in_the_clear(server: LocalServer) -> None:
    with (
        Client(server.address, credentials=grpc.ssl_channel_credentials()) as client,
        pytest.raises(UnavailableError),
    ):
        client.recommend("42")
