"""Who may call what: over both transports, each way to ask, and what is not allowed is denied."""

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import jwt
import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric import ec
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from structlog.testing import capture_logs

from bascule import (
    AsyncClient,
    BasculeError,
    LimitExceededError,
    PermissionDeniedError,
    Query,
    Ranking,
    UnavailableError,
)
from bascule.standard_protos import health_pb2
from bascule.v1 import catalogue_service_pb2, model_service_pb2
from bascule.v1 import recommendation_service_pb2 as pb
from bascule.v1.artifact_pb2 import Manifest
from bascule.v1.catalogue_service_pb2_grpc import CatalogueServiceStub
from bascule.v1.model_service_pb2_grpc import ModelServiceStub
from bascule.v1.recommendation_service_pb2_grpc import RecommendationServiceStub
from bascule_server import server
from bascule_server.config import ServerConfig
from bascule_server.errors import ServiceError
from bascule_server.identity import Gate, Presented, gate, gate_of
from bascule_server.identity.callers import METHODS
from bascule_server.identity.tokens import LEEWAY_SECONDS, Tokens, Verified
from bascule_server.models import Models
from bascule_server.servable import ServableVersion

ALL_METHODS = sorted(METHODS)
ASKING = [name for name in ALL_METHODS if name not in ("UpsertItems", "RetireItems", "GetCatalogue")]
QUERY = pb.Query(user=pb.User(history=["a", "b"]))
SIGNER = ec.generate_private_key(ec.SECP256R1())


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "LOOK_SECONDS", 0.01)


class Known:
    """The files that say who may call."""

    def __init__(self, folder: Path) -> None:
        self.callers = folder / "callers.toml"
        self.key_set = folder / "keys.json"
        entry = jwt.algorithms.ECAlgorithm.to_jwk(SIGNER.public_key(), as_dict=True)
        self.key_set.write_text(json.dumps({"keys": [{**entry, "kid": "1"}]}))
        self._tables: dict[str, dict[str, Any]] = {}

    def let(self, name: str, **fields: Any) -> None:
        """Knows a caller; its key is its name. Without methods it may call all that ask."""
        known = {"keys": [digest(name)], "methods": ASKING, "models": ["*"], **fields}
        self._tables[name] = known
        self._write()

    def forget(self, name: str) -> None:
        del self._tables[name]
        self._write()

    def _write(self) -> None:
        self.callers.write_text(
            "".join(
                f"[{name}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in fields.items())
                for name, fields in self._tables.items()
            )
        )

    @property
    def fields(self) -> dict[str, Any]:
        tokens = {"key_set": self.key_set, "issuer": "issuer", "audience": "bascule"}
        return {"authentication": {"callers": self.callers, **tokens}}


def digest(key: str) -> str:
    return f"sha256:{hashlib.sha256(key.encode()).hexdigest()}"


def token(subject: str, seconds: float = 3600) -> str:
    claims = {"iss": "issuer", "aud": "bascule", "sub": subject, "exp": time.time() + seconds}
    return jwt.encode(claims, SIGNER, "ES256", headers={"kid": "1"})


@pytest.fixture
def known(tmp_path: Path) -> Known:
    return Known(tmp_path)


def client(running: Any, presented: Any = None, **options: Any) -> AsyncClient:
    return AsyncClient(f"127.0.0.1:{running.port}", token=presented, **options)


def calls(channel: grpc.aio.Channel, model: str = "") -> dict[str, Callable[..., Any]]:
    """Each method of recommendations and models, with a request of one query."""
    asked: Any = RecommendationServiceStub(channel)
    models: Any = ModelServiceStub(channel)
    selector = pb.ModelSelector(model=model)
    stream = [pb.StreamRecommendItemsRequest(model=selector, queries=[QUERY])]
    return {
        "RecommendItems": lambda **by: asked.RecommendItems(
            pb.RecommendItemsRequest(model=selector, query=QUERY), **by
        ),
        "BatchRecommendItems": lambda **by: asked.BatchRecommendItems(
            pb.BatchRecommendItemsRequest(model=selector, queries=[QUERY]), **by
        ),
        "StreamRecommendItems": lambda **by: first_of(asked.StreamRecommendItems(stream, **by)),
        "ScoreItems": lambda **by: asked.ScoreItems(
            pb.ScoreItemsRequest(model=selector, query=QUERY, item_ids=["i"]), **by
        ),
        "EmbedQueries": lambda **by: asked.EmbedQueries(pb.EmbedQueriesRequest(model=selector, queries=[QUERY]), **by),
        "GetModel": lambda **by: models.GetModel(model_service_pb2.GetModelRequest(model=selector), **by),
        "ListModels": lambda **by: models.ListModels(model_service_pb2.ListModelsRequest(), **by),
    }


async def first_of(call: Any) -> Any:
    message = await call.read()
    if message is grpc.aio.EOF:
        raise grpc.aio.AioRpcError(await call.code(), grpc.aio.Metadata(), await call.trailing_metadata())
    return message


def by(presented: str) -> dict[str, Any]:
    return {"metadata": (("authorization", f"Bearer {presented}"),)}


async def code(call: Any) -> grpc.StatusCode:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        found: grpc.StatusCode = error.code()
        return found
    return grpc.StatusCode.OK


OK, UNAUTHENTICATED, DENIED = grpc.StatusCode.OK, grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED


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

    models = Models([Path("books/1"), Path("films/1")], load)
    async with (
        serve_in_process(models, **fields) as served,
        grpc.aio.insecure_channel(f"127.0.0.1:{served.port}") as channel,
    ):
        # There is nothing to wait for but the models themselves.
        while any(each.serving is None for each in models.known()):  # noqa: ASYNC110
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


async def test_the_catalogue_has_the_same_gate(run_server: Any, known: Known) -> None:
    known.let("editor", methods=["GetCatalogue"])
    known.let("asker")
    async with (
        run_server(catalogue_listen="127.0.0.1:0", load=lambda _: None, **known.fields) as running,
        grpc.aio.insecure_channel(f"127.0.0.1:{running.server.catalogue_port}") as channel,
    ):
        stub: Any = CatalogueServiceStub(channel)
        for call, request in (
            (
                stub.UpsertItems,
                catalogue_service_pb2.UpsertItemsRequest(items=[catalogue_service_pb2.CatalogueItem(item_id="i")]),
            ),
            (stub.RetireItems, catalogue_service_pb2.RetireItemsRequest(item_ids=["i"])),
            (stub.GetCatalogue, catalogue_service_pb2.GetCatalogueRequest()),
        ):
            assert await code(call(request)) is UNAUTHENTICATED
            assert await code(call(request, **by("asker"))) is DENIED
        # It may; there is just no model.
        allowed = await code(stub.GetCatalogue(catalogue_service_pb2.GetCatalogueRequest(), **by("editor")))
        assert allowed not in (UNAUTHENTICATED, DENIED)


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


async def until(running: Any, expected: grpc.StatusCode, presented: str) -> None:
    async with asyncio.timeout(20):
        while await code(calls(running.channel)["RecommendItems"](**by(presented))) is not expected:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_callers_come_and_go_while_the_server_serves_and_a_bad_file_changes_nothing(
    run_server: Any, known: Known
) -> None:
    known.let("old")
    async with run_server(**known.fields) as running:
        stream: Any = running.recommendations.StreamRecommendItems(**by("old"))
        await stream.write(pb.StreamRecommendItemsRequest(sequence_id=1, queries=[QUERY]))
        assert (await stream.read()).sequence_id == 1
        with capture_logs() as lines:
            known.callers.write_text("[old")
            async with asyncio.timeout(20):
                while not any(line["event"] == "file refused" for line in lines):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        await until(running, OK, "old")
        known.let("new")
        await until(running, OK, "new")
        known.forget("old")
        await until(running, UNAUTHENTICATED, "old")
        await stream.write(pb.StreamRecommendItemsRequest(sequence_id=2, queries=[QUERY]))
        assert await code(stream.read()) is grpc.StatusCode.UNAVAILABLE, "begin another, which will say who calls"


async def test_a_stream_goes_on_with_another_token_when_the_first_is_withdrawn(run_server: Any, known: Known) -> None:
    known.let("first")
    known.let("second")
    tokens = iter(["first", "second", "third"])
    async with run_server(**known.fields) as running, client(running, lambda: next(tokens)) as asking:

        async def queries() -> AsyncIterator[Query]:
            yield Query("a")
            known.forget("first")
            await until(running, UNAUTHENTICATED, "first")
            yield Query("b", ["x"])

        stream = asking.stream(queries(), queries_per_message=1, window=1)
        scores = [ranking.scores.tolist() async for ranking in stream if isinstance(ranking, Ranking)]
        assert scores == [[0], [1]]
        assert next(tokens) == "third"


async def test_calls_beyond_the_quota_are_refused_with_when_to_try_again(run_server: Any, known: Known) -> None:
    known.let("shop", rows_per_second=0.001, burst_rows=7.0)
    known.let("other", rows_per_second=0.001)
    async with run_server(**known.fields) as running, client(running, "shop") as shop:
        await shop.recommend("u")
        await shop.score(["i"], user_id="u")
        await shop.recommend_many(["u", "u"])
        await shop.embed(["u"])
        await shop.models()
        with pytest.raises(LimitExceededError, match="QUOTA_EXCEEDED") as caught:
            await shop.recommend_many(["u", "u"])
        assert caught.value.retry_after == pytest.approx(1_000, rel=0.01), "one row is left, and one is to come"
        await shop.recommend("u")
        for refused in (shop.recommend("u"), shop.score(["i"], user_id="u"), shop.embed(["u"]), shop.models()):
            with pytest.raises(LimitExceededError):
                await refused
        async with client(running, "other") as other:
            assert (await other.recommend("u")).item_ids == ["seen"], "each caller has a quota of its own"


async def test_a_stream_waits_for_its_quota_and_a_call_of_its_caller_is_refused_meanwhile(
    run_server: Any, known: Known
) -> None:
    known.let("shop", rows_per_second=20.0, burst_rows=1.0)
    async with run_server(**known.fields) as running, client(running, "shop") as shop:
        start = time.monotonic()
        queries = [Query("u")] * 9
        answered = [ranking async for ranking in shop.stream(queries, queries_per_message=3, timeout=60)]
        assert all(isinstance(ranking, Ranking) for ranking in answered)
        assert time.monotonic() - start >= 6 / 20, "after the first message at once, three rows and three rows"


async def test_an_unauthenticated_call_is_no_reason_to_try_again(run_server: Any, known: Known) -> None:
    known.let("shop")
    async with run_server(**known.fields) as running, client(running, "unknown") as stranger:
        with pytest.raises(BasculeError) as caught:
            await stranger.recommend("u")
        assert not isinstance(caught.value, UnavailableError)
        with pytest.raises(PermissionDeniedError):
            async for _ in stranger.stream(["u"]):
                pass


class CountedTokens(Tokens):
    """Counts how often a token is checked."""

    count = 0

    def verified(self, token: str) -> Verified | None:
        self.count += 1
        return super().verified(token)


class Remembering:
    """A gate without a server, with a clock of its own."""

    def __init__(self, known: Known) -> None:
        _, self.files = gate_of(ServerConfig(**known.fields))
        self.now = time.time()
        callers, key_set = self.files
        self.tokens = CountedTokens(key_set, "issuer", "bascule")  # type: ignore[arg-type]
        self.gate = Gate(callers, self.tokens, clock=lambda: self.now)  # type: ignore[arg-type]

    def look(self) -> None:
        for _ in range(2):
            for file in self.files:
                file.look(lambda *_: None)

    def caller(self, presented: str, method: str = "GetModel") -> str:
        (full_name,) = METHODS[method]
        metadata = [("authorization", f"Bearer {presented}")]
        try:
            return self.gate.access(full_name, Presented(metadata, list)).caller
        except ServiceError as error:
            return error.reason.name


def test_a_token_is_checked_once_until_it_expires(known: Known) -> None:
    known.let("shop", subjects=["s"])
    remembering, presented = Remembering(known), token("s", seconds=60)
    expires = remembering.now + 60 + LEEWAY_SECONDS
    for now, count in ((remembering.now, 1), (remembering.now, 1), (expires - 2, 1), (expires + 2, 2)):
        remembering.now = now
        assert (remembering.caller(presented), remembering.tokens.count) == ("shop", count)


def test_nothing_is_remembered_of_a_caller_or_a_key_that_was_withdrawn(known: Known) -> None:
    known.let("shop", subjects=["s"])
    remembering, presented = Remembering(known), token("s")
    assert (remembering.caller(presented), remembering.caller("shop")) == ("shop", "shop")
    known.key_set.write_text("{")
    remembering.look()
    assert remembering.caller(presented) == "shop", "a bad file changes nothing"
    other = ec.generate_private_key(ec.SECP256R1()).public_key()
    entry = jwt.algorithms.ECAlgorithm.to_jwk(other, as_dict=True)
    known.key_set.write_text(json.dumps({"keys": [{**entry, "kid": "1"}]}))
    remembering.look()
    assert (remembering.caller(presented), remembering.caller("shop")) == ("UNAUTHENTICATED", "shop")
    known.forget("shop")
    remembering.look()
    assert remembering.caller("shop") == "UNAUTHENTICATED"


def test_a_quota_outlives_a_file_that_is_read_again_with_the_same_limits(known: Known) -> None:
    known.let("shop", rows_per_second=0.001, burst_rows=5.0)
    remembering = Remembering(known)
    (method,) = METHODS["GetModel"]
    presented = Presented([("authorization", "Bearer shop")], list)
    remembering.gate.access(method, presented).take(5)
    known.let("other")
    remembering.look()
    assert remembering.caller("other") == "other"
    with pytest.raises(ServiceError, match="more rows a second"):
        remembering.gate.access(method, presented).take(1)
    known.let("shop", rows_per_second=0.001, burst_rows=6.0)
    remembering.look()
    remembering.gate.access(method, presented).take(6)


def test_no_more_is_remembered_than_the_limit(known: Known, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "MAX_REMEMBERED", 2)
    for name in ("a", "b", "c"):
        known.let(name)
    remembering = Remembering(known)
    for name in ("a", "b", "c", "unknown", "a"):
        assert remembering.caller(name) == (name if name != "unknown" else "UNAUTHENTICATED")
    assert len(remembering.gate._remembered) == 2
