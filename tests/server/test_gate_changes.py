"""Callers come and go, and what they bring expires, while the server serves."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from known_callers import (
    OK,
    QUERY,
    UNAUTHENTICATED,
    Known,
    by,
    calls,
    client,
    code,
    token,
)
from structlog.testing import capture_logs

from bascule import Query, Ranking
from bascule.v1 import recommendation_service_pb2 as pb
from bascule_server.config import ServerConfig
from bascule_server.errors import ServiceError
from bascule_server.identity import Gate, Presented, gate, gate_of
from bascule_server.identity.callers import METHODS
from bascule_server.identity.tokens import LEEWAY_SECONDS, Tokens, Verified

pytestmark = pytest.mark.usefixtures("looks_often")


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
