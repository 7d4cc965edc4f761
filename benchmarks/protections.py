"""What the protections cost together: calls that a server answers in a second, with all of them and with none.

    python benchmarks/protections.py [--rounds 7] [--seconds 3]

``bascule serve`` of benchmarks/serving.py's model, one worker, asked by h2load with 8 connections of 8 calls each. With
every protection it knows callers by keys and tokens, with methods, models and quotas; loads only what a publisher
signed; takes plans from operators; counts for Prometheus; and has its default limits. Without any it asks nobody, and
its limits are so high that they never bite. What cannot be turned off is on both sides: that versions are checked and
followed, the choice of what to refuse, fair shares, time-outs. Servers take turns in each round; medians of the rounds,
and of the ratios within a round. TLS has rows of its own.
benchmarks/out/protections.json holds the table as a list of {figure, value, unit, floor, reach}.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import grpc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from figures import Figure, write_figures
from rich.console import Console
from rich.table import Table
from serving_child import printed
from serving_load import Target, closed_loop, missing
from serving_model import MODEL, generated
from serving_protocols import Bascule
from serving_servers import free_ports, ours
from serving_weights import read_questions
from who_may_call import KEY, authentication, written_files

from bascule_server.signature import sign

UNBOUNDED = """
max_rows = 1000000
max_queue_seconds = 86400.0
max_connections = 1000000
max_calls_per_connection = 1000000
max_request_bytes = 1073741824
max_response_bytes = 1073741824
default_timeout_seconds = 86400.0
max_timeout_seconds = 86400.0
"""
FLOOR = 0.9
"""Of what a server without protections answers."""
WARM_UP_SECONDS = 0.5


class Way(NamedTuple):
    """One server, and one way to be known to it."""

    target: Target
    neighbour: str = ""
    """Over which it is measured."""
    floor: float | None = None


def main() -> None:
    """Prints the table and writes the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=3.0)
    arguments = parser.parse_args()
    if what := missing():
        sys.exit(f"h2load is missing: {what}")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
        figures = measured(ways(Path(folder), running), arguments.rounds, arguments.seconds)
    table = Table("server", "calls/s", "over", title=f"medians of {arguments.rounds} rounds")
    speeds = {each.figure: each.value for each in figures if each.unit == "calls/s"}
    ratios = {each.figure: each for each in figures if each.unit == "ratio"}
    for name, speed in speeds.items():
        over = next((f"{ratio.value:.3f} {text}" for text, ratio in ratios.items() if text.startswith(f"{name}, ")), "")
        table.add_row(name, f"{speed:,.0f}", over)
    Console(width=160).print(table)
    print("load average", *(f"{each:.1f}" for each in os.getloadavg()))
    write_figures("protections", figures)


def ways(folder: Path, running: ExitStack) -> dict[str, Way]:
    """Starts the servers; the ways to ask them, by name."""
    model, token = generated(), written_files(folder)
    certificate, tls = _certificate(folder)
    credentials = grpc.ssl_channel_credentials(certificate)
    signed, publishers = _signed(folder, model.models)
    question = read_questions(model.weights).checked[:1]
    protocol = Bascule()

    def every() -> str:
        metrics, admin = free_ports(2)
        listen = f'metrics_listen = "127.0.0.1:{metrics}"\nadmin_listen = "127.0.0.1:{admin}"\n'
        return listen + publishers + authentication(folder)

    def ask(address: str, said: str = "", authority: bytes = b"") -> Target:
        return Target(address, protocol.path(1), protocol.request(question), said, authority)

    bare = running.enter_context(ours("no protection", UNBOUNDED, model.models)).address
    guarded = running.enter_context(ours("every protection", every(), signed)).address
    bare_tls = running.enter_context(ours("TLS alone", UNBOUNDED + tls, model.models, credentials)).address
    both = running.enter_context(ours("TLS and protections", tls + every(), signed, credentials)).address
    return {
        "no protection": Way(ask(bare)),
        "every protection, by a key": Way(ask(guarded, KEY), "no protection", FLOOR),
        "every protection, by a token": Way(ask(guarded, token), "no protection", FLOOR),
        "TLS alone": Way(ask(bare_tls, "", certificate), "no protection"),
        "TLS and every protection, by a token": Way(ask(both, token, certificate), "TLS alone", FLOOR),
    }


def _signed(folder: Path, models: Path) -> tuple[Path, str]:
    """A copy of the models with a publisher's signature, and the configuration that asks for it."""
    key, path = Ed25519PrivateKey.generate(), folder / "publisher.pem"
    path.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    signed = Path(shutil.copytree(models, folder / "models"))
    sign(signed / MODEL / "1", key)
    return signed, f'publishers = ["{path}"]\n'


def _certificate(folder: Path) -> tuple[bytes, str]:
    """A certificate for this machine that vouches for itself, and the configuration with it."""
    paths = folder / "certificate.pem", folder / "key.pem"
    request = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "1",
    ]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    printed([*request, *names, "-out", paths[0], "-keyout", paths[1]])
    return paths[0].read_bytes(), f'certificate = "{paths[0]}"\nprivate_key = "{paths[1]}"\n'


def measured(ways: Mapping[str, Way], rounds: int, seconds: float) -> list[Figure]:
    """Calls a second of each, and over its neighbour's in the same round."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        for name, way in ways.items():
            closed_loop(way.target, WARM_UP_SECONDS)
            found[name].append(closed_loop(way.target, seconds)[1])
            print(f"round {number + 1}, {name}: {found[name][-1]:,.0f} calls/s", flush=True)
    figures = [Figure(name, statistics.median(values), "calls/s") for name, values in found.items()]
    for name, way in ways.items():
        if way.neighbour:
            ratios = [a / b for a, b in zip(found[name], found[way.neighbour], strict=True)]
            figures.append(Figure(f"{name}, over {way.neighbour}", statistics.median(ratios), "ratio", way.floor))
    return figures


if __name__ == "__main__":
    main()
