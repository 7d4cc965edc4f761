"""What the size of the catalogue costs: users/s, time to start, memory of one worker more.

    python benchmarks/catalogues.py [--items 20000 100000 1000000 10000000] [--rounds 5]

The model and the job are those of serving.py; from 200,000 items on its artifact has an index. Users a second are those
of one worker, 64 users a call, from h2load with 8 connections of 8 calls under way each. A server starts from files
that are in the system's cache. Memory counts shared pages once (PSS): what three workers have and two have not. The
catalogues take turns, and the table shows medians over the rounds. To write the model of ten million items takes a
quarter of an hour and 15 GB of memory; models are kept below benchmarks/out/serving. benchmarks/out/catalogues.json
holds the table as a list of {figure, value, unit, floor, reach}.
"""

import argparse
import statistics
import time
from collections import defaultdict
from typing import NamedTuple

import grpc
import numpy as np
from figures import Figure, write_figures
from rich.console import Console
from rich.table import Table
from serving_load import Target, closed_loop
from serving_model import Generated, generated
from serving_process import memory_bytes
from serving_protocols import Bascule, call
from serving_servers import ours
from serving_weights import CHECKED, Questions, read_questions

CATALOGUES = (20_000, 100_000, 1_000_000, 10_000_000)
SECONDS = 3.0
SMALL, LARGE = 100_000, 10_000_000
"""Users/s with the one are promised over users/s with the other."""
MEASURED = 1_000_000
"""Items for which memory and start are promised."""


class Measured(NamedTuple):
    """Of one server."""

    users_per_second: float
    start_seconds: float
    recall: float
    """The share of the right 20 items that it answers."""


def main() -> None:
    """Prints the table and writes the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, nargs="+", default=CATALOGUES)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    models = {items: generated(items) for items in arguments.items}
    rounds: dict[int, list[Measured]] = defaultdict(list)
    for _ in range(arguments.rounds):
        for items, model in models.items():
            rounds[items].append(measured(model))
    report(rounds, {items: worker_bytes(model) for items, model in models.items()})


def measured(model: Generated) -> Measured:
    """Starts a server and puts load on it."""
    questions, protocol = read_questions(model.weights), Bascule()
    began = time.perf_counter()
    with ours("catalogue", "", model.models) as running:
        start_seconds = time.perf_counter() - began
        target = Target(running.address, protocol.path(CHECKED), protocol.request(questions.checked))
        with grpc.insecure_channel(running.address) as channel:
            answer = protocol.answer(call(channel, target.path, target.message), CHECKED)
        closed_loop(target, SECONDS / 3)
        _, calls_per_second = closed_loop(target, SECONDS)
    return Measured(CHECKED * calls_per_second, start_seconds, recall(answer.rows, questions))


def recall(rows: np.ndarray[tuple[int, ...], np.dtype[np.int64]], questions: Questions) -> float:
    """The mean share of the right items."""
    shares = [np.isin(right, found).mean() for found, right in zip(rows, questions.answers.rows, strict=True)]
    return float(np.mean(shares))


def worker_bytes(model: Generated) -> int:
    """What a third worker adds to two."""
    found = []
    for workers in (2, 3):
        with ours("catalogue", f"workers = {workers}", model.models) as running:
            found.append(memory_bytes(running.process_id))
    return found[1] - found[0]


def report(rounds: dict[int, list[Measured]], worker: dict[int, int]) -> None:
    """Prints the table and writes the file."""
    table = Table("items", "users/s", "start, s", "one worker more, MB", "recall@20")
    figures = []
    for items, each in rounds.items():
        speed, start, found = (statistics.median(column) for column in zip(*each, strict=True))
        table.add_row(f"{items:,}", f"{speed:,.0f}", f"{start:.1f}", f"{worker[items] / 1e6:.0f}", f"{found:.3f}")
        is_promised = items == MEASURED
        figures += [
            Figure(f"{items:,} items: users/s, 64 a call, one worker", speed, "users/s"),
            Figure(f"{items:,} items: start to SERVING", start, "s, at most", *((4.0, 1.5) if is_promised else ())),
            Figure(
                f"{items:,} items: one worker more",
                worker[items] / 1e6,
                "MB, at most",
                *((150.0, 80.0) if is_promised else ()),
            ),
        ]
    if {SMALL, LARGE} <= rounds.keys():
        pairs = zip(rounds[SMALL], rounds[LARGE], strict=True)
        ratio = statistics.median(large.users_per_second / small.users_per_second for small, large in pairs)
        figures.append(Figure(f"users/s with {LARGE:,} items over {SMALL:,}", ratio, "ratio", 0.3, 0.6))
        table.caption = f"users/s with {LARGE:,} items over {SMALL:,}: {ratio:.2f}"
    Console().print(table)
    write_figures("catalogues", figures)


if __name__ == "__main__":
    main()
