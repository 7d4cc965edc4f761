"""Callers that a server knows, with what they bring, and every way to ask it."""

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from bascule import AsyncClient
from bascule.v1 import model_service_pb2
from bascule.v1 import recommendation_service_pb2 as pb
from bascule.v1.model_service_pb2_grpc import ModelServiceStub
from bascule.v1.recommendation_service_pb2_grpc import RecommendationServiceStub
from bascule_server.identity.callers import METHODS

ALL_METHODS = sorted(METHODS)
FOR_OPERATORS = ("/bascule.v1.CatalogueService/", "/bascule.v1.ModelAdminService/")
ASKING = [name for name in ALL_METHODS if not METHODS[name][0].startswith(FOR_OPERATORS)]
QUERY = pb.Query(user=pb.User(history=["a", "b"]))
STREAM_TRIES = 5
SIGNER = ec.generate_private_key(ec.SECP256R1())


OK, UNAUTHENTICATED, DENIED = grpc.StatusCode.OK, grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED


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
        "StreamRecommendItems": lambda **by: first_of_stream(lambda: asked.StreamRecommendItems(stream, **by)),
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


async def first_of_stream(begin: Callable[[], Any]) -> Any:
    """The first answer. Older releases of grpc.aio say INTERNAL where a message fails before the status is there that
    says why; whoever asks again is told."""
    for _ in range(STREAM_TRIES - 1):
        try:
            return await first_of(begin())
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.INTERNAL:
                raise
    return await first_of(begin())


def by(presented: str) -> dict[str, Any]:
    return {"metadata": (("authorization", f"Bearer {presented}"),)}


async def code(call: Any) -> grpc.StatusCode:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        found: grpc.StatusCode = error.code()
        return found
    return grpc.StatusCode.OK
