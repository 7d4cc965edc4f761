"""Certificates are exchanged under load: new ones are used, bad ones are refused, and no call fails."""

import asyncio
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from certificate_files import CertificateFiles, credentials
from fault.asking import plainly
from fault.oracle import Oracle
from fault.steady_load import SteadyLoad
from fault.waiting import until

from bascule.v1 import recommendation_service_pb2 as pb
from bascule.v1.recommendation_service_pb2_grpc import RecommendationServiceStub

CALLS_A_SECOND = 50.0
REQUEST = pb.RecommendItemsRequest(query=pb.Query(user=pb.User(user_id="u1")))


async def is_answered(address: str, by: grpc.ChannelCredentials) -> bool:
    """Whether a connection of its own gets an answer."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.secure_channel(address, by, options=options) as channel:
        stub: Any = RecommendationServiceStub(channel)
        with suppress(grpc.aio.AioRpcError):
            return bool((await stub.RecommendItems(REQUEST, timeout=10)).ranking.item_ids)
    return False


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("workers", [1, 2])
async def test_certificates_are_exchanged_and_bad_ones_refused_and_no_call_fails(
    serve: Any, tiny_oracle: Oracle, tmp_path: Path, workers: int
) -> None:
    first, second, callers, strangers = (trustme.CA() for _ in range(4))
    shop, stranger = callers.issue_cert("shop.example"), strangers.issue_cert("shop.example")
    yesterday = datetime.now(UTC) - timedelta(days=1)
    expired = first.issue_cert("127.0.0.1", not_before=yesterday - timedelta(days=1), not_after=yesterday)
    files = CertificateFiles(tmp_path)
    files.hold(first.issue_cert("127.0.0.1"))
    files.client_authority.write_bytes(callers.cert_pem.bytes())
    config = tmp_path / "server.toml"
    fields = {**files.pair, "client_authority": files.client_authority}
    config.write_text("".join(f'{field} = "{path}"\n' for field, path in fields.items()))
    serving = serve(config=config, workers=workers)
    address = f"127.0.0.1:{await asyncio.to_thread(serving.port)}"
    await until(lambda: serving.count("serving") == workers)

    def have_said(event: str, count: int) -> bool:
        said: int = serving.count(event)
        return said >= count

    async with (
        plainly(address, credentials(first, shop)) as asker,
        SteadyLoad(asker, tiny_oracle).running(CALLS_A_SECOND) as load,
    ):
        assert not await is_answered(address, credentials(first, stranger))
        refused, taken = serving.count("file refused"), serving.count("file taken")
        files.hold(expired)
        await until(partial(have_said, "file refused", refused + workers))
        assert await is_answered(address, credentials(first, shop)), "the last good one serves on"
        files.certificate.write_text("half a certif")
        await until(partial(have_said, "file refused", refused + 2 * workers))
        assert await is_answered(address, credentials(first, shop)), "the last good one serves on"
        began = time.monotonic()
        files.hold(second.issue_cert("127.0.0.1"))
        await until(partial(have_said, "file taken", taken + workers))
        seconds = time.monotonic() - began
        assert await is_answered(address, credentials(second, shop))
        assert not await is_answered(address, credentials(first, shop))
        files.client_authority.write_bytes(strangers.cert_pem.bytes())
        await until(partial(have_said, "file taken", taken + 2 * workers))
        assert await is_answered(address, credentials(second, stranger))
        assert not await is_answered(address, credentials(second, shop))
        report = load.fresh_report()
    print(
        f"\n{workers} workers: a new certificate is used after {seconds:.1f} s; two bad ones are refused; "
        f"{len(report.calls)} calls beside that, failed {dict(report.failed)}, p99 {report.p99():.1f} ms"
    )
    assert not report.failed
    assert not report.wrong
    assert not report.late
    assert not load.report.failed
