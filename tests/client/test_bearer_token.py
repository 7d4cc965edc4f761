"""A token goes with each call and stream, as it is at that moment, and never over the network in plain text."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule import AsyncClient, BasculeError, CatalogueClient, Client
from bascule.bearer_token import is_loopback


class Hearing(grpc.GenericRpcHandler):
    """Answers nothing, and keeps what each call says of its caller."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> None:
        metadata = dict(handler_call_details.invocation_metadata or ())
        method = handler_call_details.method.rpartition("/")[2]
        self.heard.append((method, metadata.get("authorization")))


@pytest.fixture
def hearing() -> Iterator[tuple[str, Hearing]]:
    handler = Hearing()
    server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}", handler
    server.stop(None).wait()


async def test_every_method_brings_the_token_of_the_moment(hearing: tuple[str, Hearing]) -> None:
    address, handler = hearing
    numbers = iter(range(100))
    with Client(address, token=lambda: f"t{next(numbers)}") as client:
        for call in (
            lambda: client.recommend("u"),
            lambda: client.recommend_many(["u"]),
            lambda: list(client.stream(["u"])),
            lambda: client.score(["i"], user_id="u"),
            lambda: client.embed(["u"]),
            client.models,
            client.is_serving,
        ):
            with pytest.raises(BasculeError):
                call()
    async with AsyncClient(address, token=lambda: f"t{next(numbers)}") as asking:
        with pytest.raises(BasculeError):
            await asking.recommend("u")
        with pytest.raises(BasculeError):
            async for _ in asking.stream(["u"]):
                pass
    with CatalogueClient(address, token="fixed") as catalogue, pytest.raises(BasculeError):
        catalogue.retire(["i"])
    methods = ["RecommendItems", "BatchRecommendItems", "StreamRecommendItems", "ScoreItems", "EmbedQueries"]
    methods += ["ListModels", "Check", "RecommendItems", "StreamRecommendItems"]
    *of_moments, last = handler.heard
    assert last == ("RetireItems", "Bearer fixed")
    assert [token for _, token in of_moments] == [f"Bearer t{number}" for number in range(len(of_moments))]
    # A stream of grpc.aio that is refused while it writes may lose the status, and is then begun again.
    heard = [method for method, _ in of_moments]
    assert heard == [*methods, *["StreamRecommendItems"] * (len(heard) - len(methods))]


def test_both_attempts_of_a_hedged_call_bring_it(hearing: tuple[str, Hearing]) -> None:
    address, handler = hearing
    with Client(address, token="t", connections=2, hedge=True) as client, pytest.raises(BasculeError):
        client.recommend("u")
    assert {token for _, token in handler.heard} == {"Bearer t"}


@pytest.mark.parametrize("target", ["10.0.0.1:1", "example.org:1", "dns:///example.org:1", "127.0.0.1:1,10.0.0.1:1"])
def test_without_encryption_a_token_does_not_leave_the_machine(target: str) -> None:
    for made in (Client, AsyncClient, CatalogueClient):
        with pytest.raises(ValueError, match="encrypted connection alone; got the target"):
            made(target, token="t")
        made(target)
        made(target, token="t", credentials=grpc.ssl_channel_credentials())


@pytest.mark.parametrize(
    "target",
    ["127.0.0.1:1", "localhost:1", "localhost", "[::1]:1", "unix:/run/b", "dns:///localhost:1", "ipv4:127.0.0.1:1"],
)
def test_this_machine_needs_no_encryption(target: str) -> None:
    Client(target, token="t").close()


@given(st.text(max_size=40))
def test_no_text_is_taken_for_this_machine_by_accident(target: str) -> None:
    if is_loopback(target):
        assert any(word in target for word in ("localhost", "127.", "::1", "0:1", ":0001", "unix:"))


@pytest.mark.parametrize("token", ["", "a b", "a\n", "ä", b"a", 1])
def test_what_is_no_token_is_refused_before_it_is_sent(token: Any) -> None:
    with pytest.raises(ValueError, match="visible ASCII"):
        Client("127.0.0.1:1", token=token)
    with Client("127.0.0.1:1", token=lambda: token) as client, pytest.raises(ValueError, match="visible ASCII"):
        client.recommend("u")


def test_a_proxy_of_the_environment_does_not_get_it(
    hearing: tuple[str, Hearing], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, handler = hearing
    for name in ("http_proxy", "grpc_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("no_grpc_proxy", raising=False)
    with Client(address, token="t") as client, pytest.raises(BasculeError):
        client.recommend("u", timeout=5)
    assert handler.heard == [("RecommendItems", "Bearer t")]
