"""Puts load on a server over gRPC: h2load for closed loops, a generator of our own for open ones.

Both send the same message over and over. A closed loop has a fixed number of calls under way, and sends the next when
one is answered; an open loop sends at a constant rate, as users do who do not know of each other.
"""

import json
import re
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

import grpc
import numpy as np
from serving_child import printed
from serving_cpp import open_loop_program
from serving_protocols import call

CONNECTIONS = 8
STREAMS = 8
"""Calls under way on each connection."""
_HEADERS = ("--header=content-type: application/grpc", "--header=te: trailers")
_PREFIX_BYTES = 5
"""Before each message: whether it is compressed, and its length."""


class LoadError(Exception):
    """Calls failed, or the load could not be made."""


class Target(NamedTuple):
    """What is called."""

    address: str
    path: str
    """``/SERVICE/METHOD``."""
    message: bytes
    token: str = ""
    """That says who calls; empty: nobody says so."""
    authority: bytes = b""
    """Whom to trust, PEM: calls go over TLS then. Empty: in plain text."""

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Sent with each call."""
        return (("authorization", f"Bearer {self.token}"),) if self.token else ()

    def channel(self) -> grpc.Channel:
        """A connection of a real client."""
        if not self.authority:
            return grpc.insecure_channel(self.address)
        return grpc.secure_channel(self.address, grpc.ssl_channel_credentials(self.authority))


class Latency(NamedTuple):
    """Of calls, in microseconds."""

    p50: float
    p99: float
    p99_9: float
    failed: float
    """Share of the calls that failed."""


def missing() -> str | None:
    """What to install, where something is missing."""
    return None if shutil.which("h2load") else "apt-get install nghttp2-client"


def closed_loop(target: Target, seconds: float) -> tuple[int, float]:
    """Keeps CONNECTIONS x STREAMS calls under way.

    Returns:
        How many calls were answered, and how many a second.

    Raises:
        LoadError: a call failed.
    """
    said = _h2load(target, seconds, f"--clients={CONNECTIONS}", f"--max-concurrent-streams={STREAMS}")
    calls = _checked_calls(said, _answer_bytes(target))
    return calls, _number(r"finished in .*?, ([\d.]+) req/s", said)


def lone_caller(target: Target, seconds: float) -> Latency:
    """One call after another.

    Raises:
        LoadError: a call failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "calls.tsv"
        said = _h2load(target, seconds, "--clients=1", "--max-concurrent-streams=1", f"--log-file={log}")
        _checked_calls(said, _answer_bytes(target))
        # Of each call: when it began, its HTTP status, and how many microseconds it took.
        taken = np.loadtxt(log, dtype=np.int64, usecols=2)
    p50, p99, p99_9 = np.quantile(taken, (0.5, 0.99, 0.999)).tolist()
    return Latency(p50, p99, p99_9, 0.0)


def open_loop(target: Target, rate: float, seconds: float) -> Latency:
    """``rate`` calls a second, whatever becomes of them; latency counts from when each was meant to start."""
    with tempfile.TemporaryDirectory() as folder:
        message = Path(folder) / "message"
        message.write_bytes(target.message)
        program = open_loop_program()
        said = json.loads(printed([program, target.address, target.path, message, rate, seconds, CONNECTIONS]))
    return Latency(said["p50"], said["p99"], said["p99_9"], said["failed"] / said["calls"])


def _h2load(target: Target, seconds: float, *options: str) -> str:
    """What h2load says of a run."""
    with tempfile.NamedTemporaryFile() as body:
        body.write(b"\0" + len(target.message).to_bytes(4, "big") + target.message)
        body.flush()
        command = ["h2load", f"--duration={1_000 * seconds:.0f}ms", f"--data={body.name}", *_HEADERS, *options]
        command += [f"--header={name}: {value}" for name, value in target.metadata]
        return printed([*command, f"http{'s' if target.authority else ''}://{target.address}{target.path}"])


def _answer_bytes(target: Target) -> int:
    """The size of an answer, as a real client gets it."""
    with target.channel() as channel:
        return len(call(channel, target.path, target.message, target.metadata))


def _checked_calls(said: str, answer_bytes: int) -> int:
    """How many calls were answered.

    h2load sees HTTP, where a gRPC call that failed is a success without data: so the data is counted.
    """
    done, succeeded = (int(_number(rf"(\d+) {what}", said)) for what in ("done", "succeeded"))
    data = _number(r"\((\d+)\) data", said)
    per_answer = _PREFIX_BYTES + answer_bytes
    # At the end, answers to the calls under way may have begun to come.
    most = (done + CONNECTIONS * STREAMS) * per_answer
    if not done or succeeded != done or not done * per_answer <= data <= most:
        raise LoadError(f"calls failed; expected {per_answer} bytes for each:\n{said}")
    return done


def _number(pattern: str, said: str) -> float:
    found = re.search(pattern, said)
    if found is None:
        raise LoadError(f"h2load did not say {pattern}:\n{said}")
    return float(found[1])
