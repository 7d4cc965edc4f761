"""The clock is set by an hour under load, forward and back: nothing ends that should not, and what follows goes on."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from certificate_files import CertificateFiles, credentials
from fault.asking import plainly
from fault.oracle import Oracle, publish, stage
from fault.steady_load import SteadyLoad
from fault.waiting import until
from fault.wall_clock import WallClock
from known_callers import Known, by, code, token

from bascule.v1 import recommendation_service_pb2 as pb
from bascule.v1.recommendation_service_pb2_grpc import RecommendationServiceStub

HOUR = 3_600
CALLS_A_SECOND = 100.0
WORKERS = 2
STEADY_SECONDS = 3.0
REQUEST = pb.RecommendItemsRequest(query=pb.Query(user=pb.User(user_id="u1")))

OK, UNAUTHENTICATED = grpc.StatusCode.OK, grpc.StatusCode.UNAUTHENTICATED
BEYOND_THE_QUOTA = grpc.StatusCode.RESOURCE_EXHAUSTED


class Scene:
    """A server whose clock is set, with all that could be about time: certificates, tokens, quotas, versions."""

    def __init__(self, folder: Path, serve: Any, oracle: Oracle, transport: str) -> None:
        self._files = CertificateFiles(folder)
        self._oracle = oracle
        self.models = folder / "models"
        self.models.mkdir()
        self.publish(1)
        self.authority = trustme.CA()
        self.exchange_certificate()
        known = Known(folder)
        known.let("load", subjects=["load"])
        # One row, and no other for a quarter of an hour.
        known.let("modest", rows_per_second=0.001, burst_rows=1)
        config = folder / "server.toml"
        config.write_text(f"""
transport = "{transport}"
log_call_every = 10
certificate = "{self._files.certificate}"
private_key = "{self._files.private_key}"
[authentication]
callers = "{known.callers}"
key_set = "{known.key_set}"
issuer = "issuer"
audience = "bascule"
""")
        self.clock = WallClock(folder)
        self.serving = serve(models=self.models, config=config, workers=WORKERS, environment=self.clock.environment)
        self.credentials = credentials(self.authority)

    def publish(self, version: int) -> None:
        publish(stage(self._oracle.artifact_of(version), self.models, version), self.models)

    def exchange_certificate(self) -> None:
        self._files.hold(self.authority.issue_cert("127.0.0.1"))

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Any]:
        """A stub with a connection of its own."""
        address, options = f"127.0.0.1:{self.serving.port()}", [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.secure_channel(address, self.credentials, options=options) as channel:
            yield RecommendationServiceStub(channel)

    def has_taken(self, count: int) -> bool:
        """Whether workers have taken as many changes of files so far."""
        taken: int = self.serving.count("file taken")
        return taken >= count

    async def seconds_ahead(self) -> float:
        """By how much the newest line of the log is ahead of the time."""
        count = len(self.serving.log)
        await until(lambda: len(self.serving.log) > count)
        written = datetime.fromisoformat(self.serving.log[-1]["timestamp"])
        return (written - datetime.now(UTC)).total_seconds()


def has_answered(load: SteadyLoad, version: int) -> bool:
    return load.report.versions[version] > 0


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_clock_that_is_set_by_an_hour_fails_no_call_and_stops_nothing(
    serve: Any, oracle: Oracle, tmp_path: Path, transport: str
) -> None:
    scene = Scene(tmp_path, serve, oracle, transport)
    serving = scene.serving
    address = f"127.0.0.1:{await asyncio.to_thread(serving.port)}"
    await until(lambda: serving.count("serving") == WORKERS)
    pids = serving.worker_pids()
    lasting, short = by(token("load", 8 * HOUR)), by(token("load", HOUR // 2))
    async with (
        plainly(address, scene.credentials, lasting["metadata"]) as asker,
        SteadyLoad(asker, oracle).running(CALLS_A_SECOND) as load,
        scene.connected() as kept,
    ):
        await asyncio.sleep(STEADY_SECONDS)
        print(f"\n{transport}, before: p99 {load.fresh_report().p99():.1f} ms")
        assert await code(kept.RecommendItems(REQUEST, **by("modest"))) is OK
        for version, ahead in enumerate((HOUR, 0, -HOUR, 0), 2):
            scene.clock.set(ahead)
            await asyncio.sleep(STEADY_SECONDS)
            assert await scene.seconds_ahead() == pytest.approx(ahead, abs=60)
            # Expiry is a matter of the wall clock: that of a token is the only one here.
            expected = UNAUTHENTICATED if ahead == HOUR else OK
            assert await code(kept.RecommendItems(REQUEST, **short)) is expected
            assert await code(kept.RecommendItems(REQUEST, **by("modest"))) is BEYOND_THE_QUOTA
            taken = serving.count("file taken")
            scene.exchange_certificate()
            await until(partial(scene.has_taken, taken + WORKERS))
            async with scene.connected() as fresh:
                assert await code(fresh.RecommendItems(REQUEST, **lasting)) is OK
            scene.publish(version)
            await until(partial(has_answered, load, version))
            report = load.fresh_report()
            print(
                f"    set to {ahead:+,} s: {len(report.calls)} calls, failed {dict(report.failed)}, "
                f"late {len(report.late)}; p99 {report.p99():.1f} ms"
            )
            assert not report.failed
            assert not report.wrong
            assert not report.late
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STEADY_SECONDS):
                while True:
                    for ahead in (HOUR, -HOUR):
                        scene.clock.set(ahead)
                        await asyncio.sleep(0.005)
        report = load.fresh_report()
        print(f"    set all the time: {len(report.calls)} calls, failed {dict(report.failed)}")
        assert not report.failed
    assert serving.worker_pids() == pids
    assert serving.count("worker hangs") == serving.count("worker died") == 0
