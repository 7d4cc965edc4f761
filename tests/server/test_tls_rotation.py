"""Certificates are exchanged while the server serves: new ones are used, bad ones refused, and nothing is dropped."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from certificate_files import CertificateFiles, credentials
from fault.waiting import until
from structlog.testing import capture_logs

from bascule.v1 import recommendation_service_pb2 as pb
from bascule.v1.recommendation_service_pb2_grpc import RecommendationServiceStub

PATIENCE_SECONDS = 20.0
REQUEST = pb.RecommendItemsRequest(query=pb.Query(user=pb.User(history=["a", "b"])))


pytestmark = pytest.mark.usefixtures("looks_often")


@pytest.fixture
def files(tmp_path: Path) -> CertificateFiles:
    return CertificateFiles(tmp_path)


@asynccontextmanager
async def connected(port: int, authority: trustme.CA, own: trustme.LeafCert | None = None) -> AsyncIterator[Any]:
    """A stub with a connection of its own."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials(authority, own), options=options) as channel:
        yield RecommendationServiceStub(channel)


async def answers(port: int, authority: trustme.CA, own: trustme.LeafCert | None = None) -> bool:
    """Whether a new connection gets an answer, where callers believe this authority."""
    async with connected(port, authority, own) as stub:
        try:
            return bool((await stub.RecommendItems(REQUEST, timeout=10)).ranking.scores == [2])
        except grpc.aio.AioRpcError as error:
            if error.code() != grpc.StatusCode.UNAVAILABLE:
                raise
            return False


async def test_a_new_certificate_is_used_and_connections_that_are_up_go_on(
    run_server: Any, files: CertificateFiles
) -> None:
    old, new = trustme.CA(), trustme.CA()
    files.hold(old.issue_cert("127.0.0.1"))
    async with run_server(credentials=credentials(old), **files.pair) as running:
        stream = running.recommendations.StreamRecommendItems()
        await stream.write(pb.StreamRecommendItemsRequest(sequence_id=1, queries=[REQUEST.query]))
        assert (await stream.read()).sequence_id == 1
        with capture_logs() as lines:
            files.hold(new.issue_cert("127.0.0.1"))
            await until(lambda: any(line["event"] == "file taken" for line in lines), PATIENCE_SECONDS)
        assert await answers(running.port, new)
        assert not await answers(running.port, old)
        assert (await running.recommendations.RecommendItems(REQUEST, timeout=10)).ranking.scores == [2]
        await stream.write(pb.StreamRecommendItemsRequest(sequence_id=2, queries=[REQUEST.query]))
        assert (await stream.read()).sequence_id == 2


def _text(files: CertificateFiles, _: trustme.CA) -> None:
    files.certificate.write_text("half a certif")


def _another_key(files: CertificateFiles, authority: trustme.CA) -> None:
    files.private_key.write_bytes(authority.issue_cert("127.0.0.1").private_key_pem.bytes())


def _expired(files: CertificateFiles, authority: trustme.CA) -> None:
    from datetime import UTC, datetime, timedelta

    yesterday = datetime.now(UTC) - timedelta(days=1)
    files.hold(authority.issue_cert("127.0.0.1", not_before=yesterday - timedelta(days=1), not_after=yesterday))


def _absent(files: CertificateFiles, _: trustme.CA) -> None:
    files.certificate.unlink()


@pytest.mark.parametrize("spoil", [_text, _another_key, _expired, _absent])
async def test_a_bad_pair_is_refused_once_and_the_last_good_one_serves_until_the_next(
    run_server: Any, files: CertificateFiles, free_port: int, spoil: Callable[[CertificateFiles, trustme.CA], None]
) -> None:
    authority, next_authority = trustme.CA(), trustme.CA()
    files.hold(authority.issue_cert("127.0.0.1"))
    metrics = f"127.0.0.1:{free_port}"
    async with run_server(credentials=credentials(authority), metrics_listen=metrics, **files.pair) as running:
        with capture_logs() as lines:
            spoil(files, authority)
            await until(lambda: any(line["event"] == "file refused" for line in lines), PATIENCE_SECONDS)
            assert await answers(running.port, authority)
        warned = [line for line in lines if line["event"] == "file refused" and line["log_level"] == "warning"]
        # An expired pair is written in two steps, and in between it is none.
        assert len(warned) == 1 or spoil is _expired
        registry = running.server._metrics.registry
        count = registry.get_sample_value("bascule_files_changed_total", {"file": "certificate", "outcome": "refused"})
        assert count == len(warned)
        assert registry.get_sample_value("bascule_certificate_expiry_timestamp_seconds") > 1e9
        with capture_logs() as lines:
            files.hold(next_authority.issue_cert("127.0.0.1"))
            await until(lambda: any(line["event"] == "file taken" for line in lines), PATIENCE_SECONDS)
        assert await answers(running.port, next_authority)


async def test_callers_need_a_certificate_of_the_authority_that_the_server_believes_now(
    run_server: Any, files: CertificateFiles
) -> None:
    authority, believed, other = trustme.CA(), trustme.CA(), trustme.CA()
    files.hold(authority.issue_cert("127.0.0.1"))
    files.client_authority.write_bytes(believed.cert_pem.bytes())
    shop, stranger = believed.issue_cert("shop.example"), other.issue_cert("shop.example")
    fields = {**files.pair, "client_authority": files.client_authority}
    async with run_server(credentials=credentials(authority, shop), **fields) as running:
        assert await answers(running.port, authority, shop)
        assert not await answers(running.port, authority, stranger)
        assert not await answers(running.port, authority)
        with capture_logs() as lines:
            files.client_authority.write_bytes(other.cert_pem.bytes())
            await until(lambda: any(line["event"] == "file taken" for line in lines), PATIENCE_SECONDS)
        assert await answers(running.port, authority, stranger)
        assert not await answers(running.port, authority, shop)
        assert (await running.recommendations.RecommendItems(REQUEST, timeout=10)).ranking.scores == [2]
