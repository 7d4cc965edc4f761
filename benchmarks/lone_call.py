"""Where the time of a lone call goes, from the wire and back.

    python benchmarks/lone_call.py [--seconds 5]

The server runs in this process, with the transport `core`; h2load makes one call after another from a process of its
own. The clock is read where a call passes from one stage to the next; the table shows the median of each stage in
microseconds. What a caller waits for beyond that is the way through sockets, the kernel, gRPC's threads and the caller
itself. benchmarks/out/lone_call.json holds the table as a list of {figure, value, unit, floor, reach}.
"""

import argparse
import asyncio
import os
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
from figures import Figure, write_figures
from rich.console import Console
from rich.table import Table
from serving_load import Latency, Target, lone_caller
from serving_model import ITEMS, Generated, generated
from serving_protocols import Bascule
from serving_weights import read_questions

from bascule_server.config import ServerConfig
from bascule_server.scoring.scorer import Scorer
from bascule_server.server import Server, event_loop
from bascule_server.transports.c_core import IncomingCall
from bascule_server.transports.core_transport import CoreTransport
from bascule_server.transports.quick_call import QuickCall
from bascule_server.versions.copies import PrivateCopies
from bascule_server.versions.models_folder import ModelsFolder

SECONDS = 5.0
COME, QUEUED, SCORING, SCORED, SENDING, SENT = range(6)
STAGES = {
    (COME, QUEUED): "let in, its message read, parsed, validated and queued",
    (QUEUED, SCORING): "the batch formed",
    (SCORING, SCORED): "scored",
    (SCORED, SENDING): "the answer written, the call counted",
    (SENDING, SENT): "the answer sent",
}


def main() -> None:
    """Prints the table and writes the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    arguments = parser.parse_args()
    passed: list[tuple[int, float]] = []
    _note(passed, CoreTransport, "_arrived", COME, None)
    _note(passed, QuickCall, "received", None, QUEUED)
    _note(passed, Scorer, "answer", SCORING, SCORED)
    _note(passed, IncomingCall, "answer", SENDING, SENT)
    config = ServerConfig(listen="127.0.0.1:0", default_timeout_seconds=60.0)
    with asyncio.Runner(loop_factory=event_loop(config)) as runner:
        latency = runner.run(_loaded(config, generated(ITEMS), arguments.seconds))
    report(medians(passed), latency)


def _note(passed: list[tuple[int, float]], owner: type, name: str, before: int | None, after: int | None) -> None:
    """Has a method note when it begins, when it ends, or both."""
    method: Callable[..., Any] = getattr(owner, name)

    def noted(*arguments: object, **named: object) -> object:
        if before is not None:
            passed.append((before, time.perf_counter()))
        result = method(*arguments, **named)
        if after is not None:
            passed.append((after, time.perf_counter()))
        return result

    setattr(owner, name, noted)


async def _loaded(config: ServerConfig, model: Generated, seconds: float) -> Latency:
    """What a lone caller of a server in this event loop waits for."""
    server = Server(config, ModelsFolder(model.models, PrivateCopies()))
    await server.load()
    port = server.listen()
    await server.start()
    working = asyncio.create_task(server.work())
    protocol = Bascule()
    message = protocol.request(read_questions(model.weights).checked[:1])
    target = Target(f"127.0.0.1:{port}", protocol.path(1), message)
    try:
        with ThreadPoolExecutor(1) as executor:
            # Not by the loop itself, which looks more often where it waits for a thread.
            return await asyncio.wrap_future(executor.submit(lone_caller, target, seconds))
    finally:
        working.cancel()
        await server.close()


def medians(passed: list[tuple[int, float]]) -> dict[str, float]:
    """Microseconds of each stage, of what was noted in the order of time."""
    taken: dict[str, list[float]] = defaultdict(list)
    for (first, began), (second, ended) in pairwise(passed):
        if stage := STAGES.get((first, second)):
            taken[stage].append(1e6 * (ended - began))
    return {stage: float(np.median(taken[stage])) for stage in STAGES.values()}


def report(stages: Mapping[str, float], latency: Latency) -> None:
    """Prints the table and writes the file."""
    elsewhere = latency.p50 - sum(stages.values())
    found = {**stages, "sockets, kernel, other threads, the caller": elsewhere, "all of it, p50": latency.p50}
    table = Table("a lone call", "us", title=f"{ITEMS:,} items")
    for stage, value in found.items():
        table.add_row(stage, f"{value:.0f}")
    Console().print(table)
    write_figures("lone_call", [Figure(stage, value, "us") for stage, value in found.items()])


if __name__ == "__main__":
    main()
