"""What the core is told."""

import mmap
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from bascule import AsyncClient, Client, DeadlineExceededError, UnavailableError
from bascule.channel import CHANNEL_OPTIONS, SERVICE_CONFIG
from bascule.testing import LocalServer
from bascule.v1 import model_service_pb2, recommendation_service_pb2


@pytest.mark.parametrize("key", ["grpc.service_config", *(key for key, _ in CHANNEL_OPTIONS)])
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
    (method_config,) = SERVICE_CONFIG["methodConfig"]
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
    with serving(found.answer) as address:
        yield found, address


@contextmanager
def serving(answer: Callable[[bytes, Any], bytes]) -> Iterator[str]:
    """The address of a server that recommends so."""
    server = grpc.server(ThreadPoolExecutor(1))
    methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "RecommendItems": grpc.unary_unary_rpc_method_handler(answer)
    }
    service = grpc.method_handlers_generic_handler("bascule.v1.RecommendationService", methods)
    server.add_generic_rpc_handlers((service,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
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


class Refusing:
    """Answers no call, says when it may be repeated, and counts."""

    def __init__(self, pushback_ms: int) -> None:
        self.attempts = 0
        self._metadata = (("grpc-retry-pushback-ms", str(pushback_ms)),)

    def answer(self, _request: bytes, context: Any) -> bytes:
        self.attempts += 1
        context.set_trailing_metadata(self._metadata)
        context.abort(grpc.StatusCode.UNAVAILABLE, "full")
        raise AssertionError


def attempts_at(refusing: Refusing, calls: int, connections: int = 1) -> int:
    """How many attempts so many calls make, one after another."""
    with serving(refusing.answer) as address, Client(address, connections=connections) as client:
        for _ in range(calls):
            with pytest.raises(UnavailableError):
                client.recommend("1")
    return refusing.attempts


def test_a_call_is_repeated_up_to_three_times_when_the_server_says() -> None:
    assert attempts_at(Refusing(pushback_ms=1), calls=1) == 4


def test_a_call_is_not_repeated_where_the_server_forbids_it() -> None:
    assert attempts_at(Refusing(pushback_ms=-1), calls=5) == 5


def test_the_time_out_is_that_of_all_attempts_together() -> None:
    refusing = Refusing(pushback_ms=60_000)
    with (
        serving(refusing.answer) as address,
        Client(address, timeout=0.3) as client,
        pytest.raises((DeadlineExceededError, UnavailableError)),
    ):
        client.recommend("1")
    assert refusing.attempts == 1


@pytest.mark.parametrize("connections", [1, 2, 4])
def test_a_server_that_refuses_everything_is_not_burdened_with_repetitions(connections: int) -> None:
    assert 100 < attempts_at(Refusing(pushback_ms=1), calls=100, connections=connections) <= 150
