"""With a certificate, calls come over TLS and in no other way, over both transports."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
import trustme
from pydantic import ValidationError

from bascule import AsyncClient, Query, Ranking
from bascule.v1 import recommendation_service_pb2 as pb
from bascule.v1.recommendation_service_pb2_grpc import RecommendationServiceStub
from bascule_server.config import ConfigError, ServerConfig
from bascule_server.credentials import server_certificate

REQUEST = pb.RecommendItemsRequest(query=pb.Query(user=pb.User(history=["a", "b"])))


class Pair(NamedTuple):
    """What a server has of an authority of its own."""

    certificate: Path
    private_key: Path
    trusted: bytes
    """The authority's own certificate, which callers have."""

    @property
    def fields(self) -> dict[str, Any]:
        return {"certificate": self.certificate, "private_key": self.private_key}


def new_pair(folder: Path, *, not_before: datetime | None = None, not_after: datetime | None = None) -> Pair:
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1", not_before=not_before, not_after=not_after)
    folder.mkdir()
    (folder / "key.pem").write_bytes(issued.private_key_pem.bytes())
    (folder / "certificate.pem").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    return Pair(folder / "certificate.pem", folder / "key.pem", authority.cert_pem.bytes())


def in_days(days: int) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return new_pair(tmp_path_factory.mktemp("tls") / "pair")


@pytest.fixture(scope="session")
def other_pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return new_pair(tmp_path_factory.mktemp("tls") / "other")


async def test_unary_calls_and_streams_are_answered_over_tls(run_server: Any, pair: Pair) -> None:
    credentials = grpc.ssl_channel_credentials(pair.trusted)
    async with (
        run_server(credentials=credentials, **pair.fields) as running,
        AsyncClient(f"127.0.0.1:{running.port}", credentials=credentials) as client,
    ):
        response = await running.recommendations.RecommendItems(REQUEST, timeout=10)
        assert response.ranking.scores == [2]
        queries = [Query(history=["a"] * count) for count in range(3)]
        scores = [ranking.scores.tolist() async for ranking in client.stream(queries) if isinstance(ranking, Ranking)]
        assert scores == [[0], [1], [2]]


async def test_a_caller_without_tls_or_with_another_authority_gets_no_answer(
    run_server: Any, pair: Pair, other_pair: Pair
) -> None:
    credentials = grpc.ssl_channel_credentials(pair.trusted)
    async with run_server(credentials=credentials, **pair.fields) as running:
        address = f"127.0.0.1:{running.port}"
        for channel in (
            grpc.aio.insecure_channel(address),
            grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(other_pair.trusted)),
        ):
            async with channel:
                with pytest.raises(grpc.aio.AioRpcError) as failed:
                    await RecommendationServiceStub(channel).RecommendItems(REQUEST, timeout=10)
                assert failed.value.code() == grpc.StatusCode.UNAVAILABLE
        assert (await running.recommendations.RecommendItems(REQUEST, timeout=10)).ranking.scores == [2]


def test_without_a_certificate_there_are_no_credentials() -> None:
    assert server_certificate(ServerConfig()) is None


def test_with_a_certificate_the_network_needs_no_permission(pair: Pair) -> None:
    assert ServerConfig(listen="0.0.0.0:1", **pair.fields).listen == "0.0.0.0:1"
    with pytest.raises(ValidationError, match="metrics_listen"):
        ServerConfig(metrics_listen="0.0.0.0:1", **pair.fields)


@pytest.mark.parametrize(("given", "missing"), [("certificate", "private_key"), ("private_key", "certificate")])
def test_half_a_pair_is_refused(given: str, missing: str, pair: Pair) -> None:
    with pytest.raises(ValidationError, match=f"{missing}: got none; expected a PEM file beside {given}"):
        ServerConfig(**{given: pair.fields[given]})


def test_a_key_of_another_certificate_is_refused(pair: Pair, other_pair: Pair) -> None:
    config = ServerConfig(certificate=pair.certificate, private_key=other_pair.private_key)
    with pytest.raises(ConfigError, match=r"certificate, private_key: no pair"):
        server_certificate(config)


def test_files_that_are_no_pem_or_not_there_are_refused_by_name(pair: Pair, tmp_path: Path) -> None:
    text = tmp_path / "text.pem"
    text.write_text("certificate")
    with pytest.raises(ConfigError, match=r"certificate: no certificate in the file; expected PEM"):
        server_certificate(ServerConfig(certificate=text, private_key=pair.private_key))
    with pytest.raises(ConfigError, match=r"private_key: no key in the file"):
        server_certificate(ServerConfig(certificate=pair.certificate, private_key=text))
    with pytest.raises(ConfigError, match=r"absent\.pem, which cannot be read: No such file"):
        server_certificate(ServerConfig(certificate=pair.certificate, private_key=tmp_path / "absent.pem"))


def test_a_certificate_that_has_expired_or_is_not_valid_yet_is_refused(tmp_path: Path) -> None:
    for name, start, end, complaint in (
        ("past", -2, -1, "it expired at"),
        ("future", 1, 2, "it is valid from"),
    ):
        pair = new_pair(tmp_path / name, not_before=in_days(start), not_after=in_days(end))
        with pytest.raises(ConfigError, match=complaint):
            server_certificate(ServerConfig(**pair.fields))


def test_whom_the_server_believes_needs_a_certificate_of_its_own(pair: Pair) -> None:
    with pytest.raises(ValidationError, match="certificate: got none; expected one beside client_authority"):
        ServerConfig(client_authority=pair.certificate)
