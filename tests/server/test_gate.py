"""Who may call what: over both transports, each way to ask, and what is not allowed is denied."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from fixed_versions import FixedVersions
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from known_callers import (
    ASKING,
    DENIED,
    OK,
    UNAUTHENTICATED,
    Known,
    by,
    calls,
    client,
    code,
    first_of,
    token,
)
from structlog.testing import capture_logs

from bascule import BasculeError, PermissionDeniedError, Query, Ranking, UnavailableError
from bascule.standard_protos import health_pb2
from bascule.v1 import catalogue_service_pb2, model_admin_service_pb2
from bascule.v1.artifact_pb2 import Manifest
from bascule.v1.catalogue_service_pb2_grpc import CatalogueServiceStub
from bascule.v1.model_admin_service_pb2_grpc import ModelAdminServiceStub
from bascule_server.servable import ServableVersion


async def test_each_method_needs_a_known_caller_that_may_call_it_and_health_needs_nobody(
    run_server: Any, known: Known
) -> None:
    known.let("all")
    for method in ASKING:
        known.let(method, methods=[method])
    async with run_server(reflection=True, **known.fields) as running:
        for method, call in calls(running.channel).items():
            assert await code(call()) is UNAUTHENTICATED, method
            assert await code(call(**by("unknown"))) is UNAUTHENTICATED, method
            assert await code(call(**by("all"))) is OK, method
            for other in ASKING:
                assert await code(call(**by(other))) is (OK if other == method else DENIED), (method, other)
        assert (await running.health.Check(health_pb2.HealthCheckRequest())).status == 1
        assert len(await running.channel.unary_unary("/grpc.health.v1.Health/List")(b"")) > 0
        reflected = reflection_pb2_grpc.ServerReflectionStub(running.channel)
        asked = [reflection_pb2.ServerReflectionRequest(list_services="")]
        for presented, expected in (("ServerReflectionInfo", OK), ("GetModel", DENIED)):
            call = reflected.ServerReflectionInfo(asked, **by(presented))
            assert await code(first_of(call)) is expected


@pytest.mark.parametrize(
    "values",
    [
        ["all"],
        ["Basic all"],
        ["Bearer"],
        ["Bearer  all"],
        ["Bearer all", "Bearer all"],
        ["Bearer all "],
        ["Bearer ALL"],
    ],
)
async def test_what_is_no_bearer_token_lets_nobody_in(run_server: Any, known: Known, values: list[str]) -> None:
    known.let("all")
    async with run_server(**known.fields) as running:
        metadata = [("authorization", value) for value in values]
        for call in calls(running.channel).values():
            assert await code(call(metadata=metadata)) is UNAUTHENTICATED


async def test_a_caller_is_denied_with_a_reason_of_the_table_and_the_log_names_it(
    run_server: Any, known: Known
) -> None:
    known.let("shop", methods=["ScoreItems"])
    with capture_logs() as lines:
        async with run_server(**known.fields) as running, client(running, "shop") as shop, client(running) as nobody:
            with pytest.raises(PermissionDeniedError, match="METHOD_NOT_ALLOWED: The caller may not"):
                await shop.recommend("u")
            with pytest.raises(PermissionDeniedError, match="UNAUTHENTICATED: The call has no key, token"):
                await nobody.recommend("u")
            assert (await shop.score(["i"], user_id="u")).tolist() == [0]
            assert await nobody.is_serving()
    (logged,) = (line for line in lines if line.get("reason") == "METHOD_NOT_ALLOWED")
    assert logged["caller"] == "shop"


@asynccontextmanager
async def two_models(serve_in_process: Any, **fields: Any) -> AsyncIterator[grpc.aio.Channel]:
    from server.conftest import CountingScorer

    def load(folder: Path) -> ServableVersion:
        manifest = Manifest(model=folder.parent.name, version=1, dimension=2)
        return ServableVersion(manifest, CountingScorer())  # type: ignore[arg-type]  # all it needs

    source = FixedVersions([Path("books/1"), Path("films/1")], load)
    async with (
        serve_in_process(source, **fields) as served,
        grpc.aio.insecure_channel(f"127.0.0.1:{served.port}") as channel,
    ):
        # There is nothing to wait for but the models themselves.
        while [each.serving is None for each in served.server.models.known()] != [False, False]:  # noqa: ASYNC110
            await asyncio.sleep(0)
        yield channel


async def test_a_caller_asks_the_models_that_it_may_and_learns_of_no_other(serve_in_process: Any, known: Known) -> None:
    known.let("reader", models=["books", "absent"])
    known.let("all")
    async with two_models(serve_in_process, **known.fields) as channel:
        for model, expected in (
            ("books", OK),
            ("films", DENIED),
            ("nowhere", DENIED),
            ("absent", grpc.StatusCode.NOT_FOUND),
            ("", OK),
        ):
            for method, call in calls(channel, model).items():
                if method in ("ListModels", "StreamRecommendItems"):
                    continue
                assert await code(call(**by("reader"))) is expected, (model, method)
            message = await calls(channel, model)["StreamRecommendItems"](**by("reader"))
            assert message.results[0].error.code == expected.value[0], "each row of a message says so"
        listed = await calls(channel)["ListModels"](**by("reader"))
        assert [model.model_version.model for model in listed.models] == ["books"]
        assert await code(calls(channel)["RecommendItems"](**by("all"))) is grpc.StatusCode.INVALID_ARGUMENT
        assert await code(calls(channel, "films")["RecommendItems"](**by("all"))) is OK


async def test_what_listens_for_operators_has_the_same_gate(serve_in_process: Any, known: Known) -> None:
    from server.conftest import MANIFEST, CountingScorer

    known.let("editor", methods=["GetCatalogue", "GetServingPlan"])
    known.let("stranger", methods=["GetCatalogue", "GetServingPlan"], models=["other"])
    known.let("asker")
    source = FixedVersions([Path("counting/3")], lambda _: ServableVersion(MANIFEST, CountingScorer()))  # type: ignore[arg-type]
    fields = {"catalogue_listen": "127.0.0.1:0", "admin_listen": "127.0.0.1:0", **known.fields}
    async with serve_in_process(source, **fields) as served:
        ports = served.server.operator_ports
        async with (
            grpc.aio.insecure_channel(f"127.0.0.1:{ports['catalogue_listen']}") as catalogue_channel,
            grpc.aio.insecure_channel(f"127.0.0.1:{ports['admin_listen']}") as admin_channel,
        ):
            catalogue: Any = CatalogueServiceStub(catalogue_channel)
            admin: Any = ModelAdminServiceStub(admin_channel)
            item = catalogue_service_pb2.CatalogueItem(item_id="i")
            allowed = {
                catalogue.GetCatalogue: catalogue_service_pb2.GetCatalogueRequest(model="counting"),
                admin.GetServingPlan: model_admin_service_pb2.GetServingPlanRequest(model="counting"),
            }
            others = {
                catalogue.UpsertItems: catalogue_service_pb2.UpsertItemsRequest(items=[item]),
                catalogue.RetireItems: catalogue_service_pb2.RetireItemsRequest(item_ids=["i"]),
                admin.SetServingPlan: model_admin_service_pb2.SetServingPlanRequest(model="counting"),
                admin.RollBack: model_admin_service_pb2.RollBackRequest(model="counting"),
            }
            for call, request in (*allowed.items(), *others.items()):
                assert await code(call(request)) is UNAUTHENTICATED
                assert await code(call(request, **by("asker"))) is DENIED
            for call, request in others.items():
                assert await code(call(request, **by("editor"))) is DENIED
            for call, request in allowed.items():
                assert await code(call(request, **by("stranger"))) is DENIED
                # It may; the catalogue of a model that only counts cannot be followed.
                assert await code(call(request, **by("editor"))) not in (UNAUTHENTICATED, DENIED)


async def test_tokens_name_callers_until_they_expire(run_server: Any, known: Known) -> None:
    known.let("shop", subjects=["service:shop"])
    async with run_server(**known.fields) as running:
        call = calls(running.channel)["RecommendItems"]
        assert await code(call(**by(token("service:shop")))) is OK
        assert await code(call(**by(token("service:other")))) is UNAUTHENTICATED
        assert await code(call(**by(token("service:shop", seconds=-60)))) is UNAUTHENTICATED
        async with client(running, lambda: token("service:shop")) as shop:
            rankings = [ranking async for ranking in shop.stream([Query("u")] * 3)]
            assert all(isinstance(ranking, Ranking) for ranking in rankings)


async def test_a_certificate_names_a_caller_and_a_token_wins_over_it(
    run_server: Any, known: Known, tmp_path: Path
) -> None:
    authority = trustme.CA()
    issued, own = authority.issue_cert("127.0.0.1"), authority.issue_cert("shop.example", "also.example")
    (tmp_path / "certificate.pem").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    (tmp_path / "key.pem").write_bytes(issued.private_key_pem.bytes())
    (tmp_path / "clients.pem").write_bytes(authority.cert_pem.bytes())
    chain = b"".join(blob.bytes() for blob in own.cert_chain_pems)
    credentials = grpc.ssl_channel_credentials(authority.cert_pem.bytes(), own.private_key_pem.bytes(), chain)
    known.let("shop", certificates=["shop.example"], methods=["RecommendItems"])
    known.let("scorer", methods=["ScoreItems"])
    files = {
        "certificate": tmp_path / "certificate.pem",
        "private_key": tmp_path / "key.pem",
        "client_authority": tmp_path / "clients.pem",
    }
    async with run_server(credentials=credentials, **files, **known.fields) as running:
        asked = calls(running.channel)
        assert await code(asked["RecommendItems"]()) is OK
        assert await code(asked["BatchRecommendItems"]()) is DENIED
        assert await code(asked["ScoreItems"](**by("scorer"))) is OK
        assert await code(asked["RecommendItems"](**by("scorer"))) is DENIED
        assert await code(asked["RecommendItems"](**by("unknown"))) is UNAUTHENTICATED


async def test_an_unauthenticated_call_is_no_reason_to_try_again(run_server: Any, known: Known) -> None:
    known.let("shop")
    async with run_server(**known.fields) as running, client(running, "unknown") as stranger:
        with pytest.raises(BasculeError) as caught:
            await stranger.recommend("u")
        assert not isinstance(caught.value, UnavailableError)
        with pytest.raises(PermissionDeniedError):
            async for _ in stranger.stream(["u"]):
                pass
