"""What the protections cost together: calls that a server answers in a second, with all of them and with none.

    python benchmarks/protections.py [--rounds 60] [--seconds 0.8]

``bascule serve`` of benchmarks/serving.py's model, one worker, asked by h2load with 8 connections of 8 calls each. With
every protection it knows callers by keys and tokens, with methods, models and quotas; loads only what a publisher
signed; takes plans from operators; and has its default limits. Without any it asks nobody, and its limits are so high
that they never bite. What cannot be turned off is on both sides: that versions are checked and followed, the choice of
what to refuse, fair shares, time-outs. Servers take turns in each round; medians of the rounds, and of the ratios
within a round, with their quartiles. TLS has rows of its own.
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
from serving_process import cpu_seconds
from serving_protocols import Bascule
from serving_servers import Running, free_ports, ours
from serving_weights import read_questions
from who_may_call import KEY, authentication, written_files

from bascule_server.artifact.signature import sign

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
WARM_UP_SECONDS = 0.3


class Way(NamedTuple):
    """One server, and one way to be known to it."""

    target: Target
    process_id: int
    neighbour: str = ""
    """Over which it is measured."""
    floor: float | None = None


def main() -> None:
    """Prints the table and writes the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=0.8)
    arguments = parser.parse_args()
    if what := missing():
        sys.exit(f"h2load is missing: {what}")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
        asked = ways(Path(folder), running)
        rates, costs = measured(asked, arguments.rounds, arguments.seconds)
    figures = []
    title = f"medians of {arguments.rounds} rounds of {arguments.seconds:g} s"
    table = Table("server", "calls/s", "us of CPU a call", "calls/s over", "CPU over", title=title)
    for name, way in asked.items():
        row = [Figure(name, statistics.median(rates[name]), "calls/s")]
        row.append(Figure(f"{name}, processor", statistics.median(costs[name]), "us of CPU a call"))
        said = []
        if other := way.neighbour:
            for what, found, floor in (("", rates, way.floor), ("processor ", costs, None)):
                ratios = [one / another for one, another in zip(found[name], found[other], strict=True)]
                low, middle, high = statistics.quantiles(ratios)
                row.append(Figure(f"{name}, {what}over {other}", middle, "ratio", floor))
                said.append(f"{middle:.3f} ({low:.2f} to {high:.2f}) {other}")
        table.add_row(name, f"{row[0].value:,.0f}", f"{row[1].value:,.0f}", *said)
        figures += row
    Console(width=160).print(table)
    print(f"floor of calls/s over: {FLOOR}; load average", *(f"{each:.1f}" for each in os.getloadavg()))
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
        (admin,) = free_ports(1)
        return f'admin_listen = "127.0.0.1:{admin}"\n' + publishers + authentication(folder)

    def way(server: Running, over: str, floor: float | None, said: str = "", authority: bytes = b"") -> Way:
        target = Target(server.address, protocol.path(1), protocol.request(question), said, authority)
        return Way(target, server.process_id, over, floor)

    bare = running.enter_context(ours("no protection", UNBOUNDED, model.models))
    guarded = running.enter_context(ours("every protection", every(), signed))
    bare_tls = running.enter_context(ours("TLS alone", UNBOUNDED + tls, model.models, credentials))
    both = running.enter_context(ours("TLS and protections", tls + every(), signed, credentials))
    return {
        "no protection": way(bare, "", None),
        "every protection, by a key": way(guarded, "no protection", FLOOR, KEY),
        "every protection, by a token": way(guarded, "no protection", FLOOR, token),
        "TLS alone": way(bare_tls, "no protection", None, "", certificate),
        "TLS and every protection, by a token": way(both, "TLS alone", FLOOR, token, certificate),
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


def measured(
    ways: Mapping[str, Way], rounds: int, seconds: float
) -> tuple[Mapping[str, list[float]], Mapping[str, list[float]]]:
    """Calls a second of each, and microseconds of the server's processors a call; a figure for each round.

    Every other round goes backwards, so that what changes with time does so for all.
    """
    rates: dict[str, list[float]] = {name: [] for name in ways}
    costs: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        for name in list(ways)[:: 1 if number % 2 == 0 else -1]:
            target, process_id = ways[name].target, ways[name].process_id
            closed_loop(target, WARM_UP_SECONDS)
            before = cpu_seconds(process_id)
            calls, rate = closed_loop(target, seconds)
            rates[name].append(rate)
            costs[name].append((cpu_seconds(process_id) - before) / calls * 1e6)
            print(f"round {number + 1}, {name}: {rate:,.0f} calls/s", flush=True)
    return rates, costs


if __name__ == "__main__":
    main()
