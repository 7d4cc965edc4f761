"""How much longer exact retrieval takes than the product that it cannot do without.

    python benchmarks/retrieval.py [--rounds 9]

64 queries look for their best among clustered unit vectors of 64 components, each but for 20 items that it must not
find. Beside it stands the bare product of the same queries with all items, into memory that is there already, by one
thread of the same BLAS. Both run in turn; the table shows medians over the rounds, in microseconds a query, and ratios
of the same round. benchmarks/out/retrieval.json holds them as a list of {figure, value, unit, floor, reach}.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
from clustered_items import clustered_items, queries_near
from figures import Figure, write_figures
from rich.console import Console
from rich.table import Table

from bascule_server.retrieval.retriever import Restriction
from bascule_server.retrieval.retrievers import exact_retrievers

CATALOGUES = (20_000, 200_000)
COUNTS = (20, 100)
QUERIES = 64
EXCLUDED = 20
SECONDS = 0.5
"""Of each way in each round."""
FLOOR, REACH = 2.0, 1.3


class Measured(NamedTuple):
    """Microseconds a query."""

    product: float
    retrieval: float
    ratio: float


def main() -> None:
    """Prints the table and writes the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    report({(items, count): measured(items, count, arguments.rounds) for items in CATALOGUES for count in COUNTS})


def measured(items: int, count: int, rounds: int) -> Measured:
    """Both ways in turn."""
    vectors = clustered_items(items)
    queries = queries_near(vectors, QUERIES)
    random = np.random.default_rng(1)
    restrictions = [Restriction(random.integers(0, items, EXCLUDED)) for _ in range(QUERIES)]
    retriever, out = exact_retrievers(vectors).ranking, np.empty((QUERIES, items), np.float32)
    counts = [count] * QUERIES
    pairs = [
        (
            microseconds(lambda: np.matmul(queries, vectors.T, out=out)),
            microseconds(lambda: retriever.search(queries, counts, restrictions)),
        )
        for _ in range(rounds)
    ]
    return Measured(
        statistics.median(product for product, _ in pairs),
        statistics.median(retrieval for _, retrieval in pairs),
        statistics.median(retrieval / product for product, retrieval in pairs),
    )


def microseconds(work: Callable[[], object]) -> float:
    """A query's share of the median time."""
    work()
    times: list[float] = []
    end = time.perf_counter() + SECONDS
    while not times or time.perf_counter() < end:
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times) / QUERIES * 1e6


def report(found: dict[tuple[int, int], Measured]) -> None:
    """Prints the table and writes the file."""
    table = Table("items", "best", "product, us a query", "retrieval, us a query", "ratio")
    figures = []
    for (items, count), each in found.items():
        table.add_row(f"{items:,}", str(count), f"{each.product:.0f}", f"{each.retrieval:.0f}", f"{each.ratio:.2f}")
        of = f"exact retrieval, {items:,} items, best {count}"
        figures.append(Figure(f"{of}: time over the bare product", each.ratio, "ratio, at most", FLOOR, REACH))
        figures.append(Figure(f"{of}: time", each.retrieval, "us a query"))
    Console().print(table)
    write_figures("retrieval", figures)


if __name__ == "__main__":
    main()
