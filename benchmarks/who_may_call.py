"""What it costs to ask who calls: processor time of the server.

    python benchmarks/who_may_call.py [--rounds 15] [--calls 6400]

Two servers of benchmarks/serving.py's model run beside each other: one that asks nobody, and one that knows callers by
keys and tokens. They are asked in turn, 64 calls at a time; medians of the rounds, and of what one takes more than
another in the same round.
benchmarks/out/who_may_call.json holds the table as a list of {figure, value, unit, floor, reach}.
"""

import argparse
import asyncio
import hashlib
import json
import statistics
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from figures import Figure, write_figures
from rich.console import Console
from rich.table import Table
from serving_model import MODEL, generated
from serving_process import cpu_seconds
from serving_servers import Running, ours

from bascule.v1 import recommendation_service_pb2 as pb
from bascule.v1.recommendation_service_pb2_grpc import RecommendationServiceStub

TOGETHER = 64
KEY = "k" * 43
REQUEST = pb.RecommendItemsRequest(query=pb.Query(user=pb.User(history=[f"i{n}" for n in range(20)])))


class Kind(NamedTuple):
    """One way to be known."""

    address: str
    process_id: int
    metadata: tuple[tuple[str, str], ...] | None
    neighbour: str
    """Against which it is measured."""


def main() -> None:
    """Prints the table and writes the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, default=6_400)
    arguments = parser.parse_args()
    models = generated().models
    with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
        token = written_files(Path(folder))
        plain = running.enter_context(ours("open", "", models))
        asking = running.enter_context(ours("asking", authentication(Path(folder)), models))
        kinds = {
            "nobody is asked": _kind(plain, None, ""),
            "nobody is asked, and a token is sent": _kind(plain, token, "nobody is asked"),
            "known by a key": _kind(asking, KEY, "nobody is asked, and a token is sent"),
            "known by a token": _kind(asking, token, "nobody is asked, and a token is sent"),
        }
        figures = asyncio.run(measured(kinds, arguments.rounds, arguments.calls))
    table = Table("figure", "value", "unit", title=f"{TOGETHER} calls together")
    for each in figures:
        table.add_row(each.figure, f"{each.value:,.1f}", each.unit)
    Console().print(table)
    write_figures("who_may_call", figures)


def _kind(running: Running, token: str | None, neighbour: str) -> Kind:
    metadata = None if token is None else (("authorization", f"Bearer {token}"),)
    return Kind(running.address, running.process_id, metadata, neighbour)


def written_files(folder: Path) -> str:
    """Writes callers and their issuer's keys, and returns a token."""
    key = ec.generate_private_key(ec.SECP256R1())
    entry = {**jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": "1"}
    (folder / "key_set.json").write_text(json.dumps({"keys": [entry]}))
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    (folder / "callers.toml").write_text(
        f'[shop]\nkeys = ["sha256:{digest}"]\nsubjects = ["shop"]\nmethods = ["RecommendItems"]\nmodels = ["{MODEL}"]\n'
        "rows_per_second = 1e9\n"
    )
    claims = {"iss": "issuer", "aud": "bascule", "sub": "shop", "exp": time.time() + 86_400}
    return jwt.encode(claims, key, "ES256", headers={"kid": "1"})


def authentication(folder: Path) -> str:
    """The configuration with these files."""
    return (
        f'[authentication]\ncallers = "{folder}/callers.toml"\nkey_set = "{folder}/key_set.json"\n'
        'issuer = "issuer"\naudience = "bascule"\n'
    )


async def measured(kinds: Mapping[str, Kind], rounds: int, calls: int) -> list[Figure]:
    """Microseconds of the server's processors a call, for each kind and over its neighbour."""
    stubs: dict[str, Any] = {
        name: RecommendationServiceStub(grpc.aio.insecure_channel(kind.address)) for name, kind in kinds.items()
    }
    found: dict[str, list[float]] = {name: [] for name in kinds}
    for number in range(rounds + 1):
        for name, kind in kinds.items():
            before = cpu_seconds(kind.process_id)
            await asyncio.gather(*(_ask(stubs[name], kind.metadata, calls // TOGETHER) for _ in range(TOGETHER)))
            if number:  # the first is to warm up
                found[name].append((cpu_seconds(kind.process_id) - before) / calls * 1e6)
    figures = [Figure(name, statistics.median(values), "us of CPU a call") for name, values in found.items()]
    for name, kind in kinds.items():
        if kind.neighbour:
            more = [a - b for a, b in zip(found[name], found[kind.neighbour], strict=True)]
            figures.append(Figure(f"{name}: more than where {kind.neighbour}", statistics.median(more), "us"))
    return figures


async def _ask(stub: Any, metadata: tuple[tuple[str, str], ...] | None, count: int) -> None:  # noqa: ANN401 - generated
    for _ in range(count):
        await stub.RecommendItems(REQUEST, metadata=metadata, timeout=30)


if __name__ == "__main__":
    main()
