"""How much of the scorer's speed reaches a caller: one server on this machine, asked in three ways.

    python benchmarks/serving.py --models models

Server, callers and scorer share the machine's cores, and each round measures all of them, so the ratios carry over to
other machines and the figures do not. The table shows medians over the rounds, and benchmarks/out/serving.json holds
them as a list of {figure, value, unit, floor, reach}.
"""

import argparse
import itertools
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
from figures import Figure, write_figures
from rich.console import Console
from rich.table import Table

from bascule import Client, Query, Ranking
from bascule_server import query as answering
from bascule_server.servable import ServableVersion, load_servable

ROUNDS = 5
SECONDS = 2.0
BATCH = 64
Work = TypeVar("Work")


def main() -> None:
    """Prints the table and writes the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=Path("models"))
    models = parser.parse_args().models
    folders = sorted(path.parent for path in models.glob("*/[0-9]*/manifest.json"))
    if not folders:
        sys.exit(f"{models}: no model there; `make demo` trains one")
    servable = load_servable(folders[-1])
    histories = random_histories(servable)
    with server(models) as address, Client(address, model=servable.model) as client:
        check(client, servable, histories)
        ways: dict[str, Callable[[], float]] = {
            "unary, one caller": lambda: calls_per_second(client, histories),
            "batches of 64": lambda: batch_rows_per_second(client, histories),
            "stream": lambda: stream_rows_per_second(client, histories),
            "scorer in this process, batches of 256": lambda: scorer_rows_per_second(servable, histories),
        }
        rounds = [{name: measure() for name, measure in ways.items()} for _ in range(ROUNDS)]
    report({name: statistics.median(each[name] for each in rounds) for name in rounds[0]}, servable)


def random_histories(servable: ServableVersion) -> list[list[str]]:
    """1,024 histories of 20 items."""
    random = np.random.default_rng(1)
    popular = servable.scorer.answer([answering.Question(answering.Query(), answering.Rank(item_count=1_000))])[0]
    assert isinstance(popular, answering.Ranking)
    return [random.choice(popular.item_ids, 20).tolist() for _ in range(1_024)]


def check(client: Client, servable: ServableVersion, histories: list[list[str]]) -> None:
    """Stops the benchmark unless the server answers as the scorer does."""
    served = client.recommend(history=histories[0])
    query = answering.Query(history=histories[0])
    scored = servable.scorer.answer([answering.Question(query, answering.Rank())])[0]
    assert isinstance(scored, answering.Ranking)
    assert served.item_ids == scored.item_ids


def calls_per_second(client: Client, histories: list[list[str]]) -> float:
    """One call after another, each for one user."""
    return repeated(itertools.cycle(histories), lambda history: len(client.recommend(history=history).item_ids) > 0)


def batch_rows_per_second(client: Client, histories: list[list[str]]) -> float:
    """One call after another, each for 64 users; users a second."""
    batches = [[Query(history=history) for history in histories[i : i + BATCH]] for i in range(0, 1_024, BATCH)]
    return BATCH * repeated(itertools.cycle(batches), lambda batch: len(client.recommend_many(batch)) == BATCH)


def stream_rows_per_second(client: Client, histories: list[list[str]]) -> float:
    """One stream; users a second."""
    end = time.perf_counter() + SECONDS
    queries = (
        Query(history=history)
        for history in itertools.takewhile(lambda _: time.perf_counter() < end, itertools.cycle(histories))
    )
    began = time.perf_counter()
    count = sum(isinstance(result, Ranking) for result in client.stream(queries))
    return count / (time.perf_counter() - began)


def scorer_rows_per_second(servable: ServableVersion, histories: list[list[str]]) -> float:
    """What there is to be had: the scorer alone; users a second."""
    questions = [answering.Question(answering.Query(history=history), answering.Rank()) for history in histories[:256]]
    return 256 * repeated(itertools.repeat(questions), lambda batch: len(servable.scorer.answer(batch)) == 256)


def repeated(work: Iterator[Work], do: Callable[[Work], bool]) -> float:
    """How often a second ``do`` succeeds."""
    began = time.perf_counter()
    for count, each in enumerate(work, 1):
        assert do(each)
        elapsed = time.perf_counter() - began
        if elapsed >= SECONDS:
            return count / elapsed
    raise ValueError("there was no work")


@contextmanager
def server(models: Path) -> Iterator[str]:
    """A server of the models in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        port_file = Path(folder) / "port"
        command = [sys.executable, "-m", "bascule", "serve", "--models", str(models), "--listen", "127.0.0.1:0"]
        process = subprocess.Popen([*command, "--port-file", str(port_file)], stdout=subprocess.DEVNULL)
        try:
            while not port_file.exists():
                if process.poll() is not None:
                    sys.exit("the server did not start")
                time.sleep(0.05)
            yield f"127.0.0.1:{port_file.read_text().strip()}"
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def report(medians: dict[str, float], servable: ServableVersion) -> None:
    """Prints the table and writes the file."""
    ceiling = medians["scorer in this process, batches of 256"]
    table = Table("", "users/s", "of the scorer", title=f"{servable.model}, {servable.manifest.item_count:,} items")
    for name, value in medians.items():
        table.add_row(name, f"{value:,.0f}", f"{value / ceiling:.2f}")
    Console().print(table)
    write_figures("serving", [Figure(name, value, "users/s") for name, value in medians.items()])


if __name__ == "__main__":
    main()
