"""What the core is told."""

import json
import mmap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from bascule import AsyncClient, Client, UnavailableError
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


class Peers:
    """Answers every call with an empty message, and keeps in mind which connection brought it."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def answer(self, _request: bytes, context: Any) -> bytes:
        self.seen.append(context.peer())
        return b""


@pytest.fixture
def peers() -> Iterator[tuple[Peers, str]]:
    """A server, and its address."""
    found = Peers()
    server = grpc.server(ThreadPoolExecutor(1))
    methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "RecommendItems": grpc.unary_unary_rpc_method_handler(found.answer)
    }
    service = grpc.method_handlers_generic_handler("bascule.v1.RecommendationService", methods)
    server.add_generic_rpc_handlers((service,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield found, f"127.0.0.1:{port}"
    server.stop(None).wait()


@pytest.mark.parametrize("count", [1, 3])
def test_calls_take_the_connections_in_turn(peers: tuple[Peers, str], count: int) -> None:
    found, address = peers
    with Client(address, connections=count) as client:
        for _ in range(2 * count):
            client.recommend("1")
    assert len(set(found.seen)) == count
    assert found.seen[:count] == found.seen[count:]


async def test_calls_of_tasks_take_the_connections_in_turn_too(peers: tuple[Peers, str]) -> None:
    found, address = peers
    async with AsyncClient(address, connections=2) as client:
        for _ in range(4):
            await client.recommend("1")
    assert len(set(found.seen)) == 2


@pytest.mark.parametrize("count", [0, -1])
def test_a_client_has_at_least_one_connection(count: int) -> None:
    with pytest.raises(ValueError, match=f"connections is at least 1; got {count}"):
        Client("127.0.0.1:1", connections=count)
