"""What filters cost in an index and what they find, beside a search without them that is filtered afterwards.

    python benchmarks/filters.py [--items 1000000] [--rounds 5]

64 queries at a time look for their best 100 among clustered unit vectors of 64 components, in the index of
benchmarks/index.py, under filters that keep some of the items: evenly drawn ones, as one in stock is, or those that lie
nearest to some direction, as a genre does, from which the queries may be far away. Recall is the share of the best 100
that are allowed, or of all where there are fewer, which a search of every item finds. Filtering afterwards fetches the
best 100 / share, as one has to who expects the share among them, in lists as many as the index needs for those, and
again four times as many as long as fewer than there are were found, up to as many as the index is tuned for: then it
gives up. Both run in turn in one thread; times are medians over the rounds. benchmarks/out/filters.json holds the table
as a list of {figure, value, unit, floor, reach}.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
from clustered_items import clustered_items, queries_near
from figures import Figure, write_figures
from index import kept_index
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from bascule_server.retrieval.allowed import Allowed
from bascule_server.retrieval.indexed import open_index
from bascule_server.retrieval.retriever import UNRESTRICTED, Restriction, Retriever, best, products

COUNT = 100
BATCH = 64
QUERIES = 256
MOST_FETCHED = 1_000
"""An index is tuned for no more; beyond it every item is scored."""
SHARES = {0.00001: 0.99, 0.001: 1.0, 0.1: 0.98, 0.9: 0.98}
"""The shares of the items that filters keep, with the recall that is promised."""

Rows = list[NDArray[np.int64]]


class Filter(NamedTuple):
    """A filter to search under."""

    name: str
    share: float
    allowed: Allowed


def main() -> None:
    """Prints the table and writes the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    vectors = clustered_items(arguments.items)
    queries = queries_near(vectors, QUERIES)
    retriever = open_index(*kept_index(vectors), vectors)
    table = Table(
        *("filter keeps", "recall@100", "us a query", "filtered afterwards: recall", "us a query", "times ours"),
        title=f"{arguments.items:,} items, best {COUNT}, {BATCH} queries at a time",
    )
    figures: list[Figure] = []
    for each in filters(vectors):
        expected = by_scoring_all(vectors, queries, each.allowed)
        ways: list[Callable[[], Rows]] = [
            lambda each=each: filtered(retriever, queries, each.allowed),  # type: ignore[misc]
            lambda each=each: filtered_afterwards(retriever, queries, each),  # type: ignore[misc]
        ]
        recalls = [recall(way(), expected) for way in ways]
        times = [[microseconds(way) for way in ways] for _ in range(arguments.rounds)]
        ours, afterwards = (statistics.median(column) for column in zip(*times, strict=True))
        ratio = statistics.median(row[1] / row[0] for row in times)
        table.add_row(
            each.name, f"{recalls[0]:.4f}", f"{ours:.0f}", f"{recalls[1]:.4f}", f"{afterwards:.0f}", f"{ratio:.1f}"
        )
        figures += [
            Figure(f"{each.name}: recall@100", recalls[0], "share", SHARES[each.share]),
            Figure(f"{each.name}: time", ours, "us a query"),
            Figure(f"{each.name}: recall@100, filtered afterwards", recalls[1], "share"),
            Figure(f"{each.name}: time of filtering afterwards over ours", ratio, "ratio"),
        ]
    Console(width=140).print(table)
    write_figures("filters", figures)


def filters(vectors: NDArray[np.float32]) -> list[Filter]:
    """Of each share one that keeps evenly drawn items, and one that keeps those nearest to a direction."""
    random = np.random.default_rng(4)
    drawn = random.random(len(vectors))
    along = vectors @ random.standard_normal((vectors.shape[1],), np.float32)
    return [
        Filter(f"{100 * share:g} %, {kind}", share, Allowed(values <= np.quantile(values, share)))
        for kind, values in (("anywhere", drawn), ("on one side", along))
        for share in SHARES
    ]


def by_scoring_all(vectors: NDArray[np.float32], queries: NDArray[np.float32], allowed: Allowed) -> Rows:
    """The best of the allowed."""
    kept = vectors[allowed.rows]
    return [allowed.rows[best(np.arange(len(kept)), products(query, kept), COUNT).rows] for query in queries]


def filtered(retriever: Retriever, queries: NDArray[np.float32], allowed: Allowed) -> Rows:
    """What our search finds."""
    return found_by(retriever, queries, COUNT, Restriction(UNRESTRICTED.excluded, allowed))


def filtered_afterwards(retriever: Retriever, queries: NDArray[np.float32], each: Filter) -> Rows:
    """What is left of a search without the filter."""
    wanted = min(COUNT, each.allowed.count)
    left: dict[int, NDArray[np.int64]] = {}
    pending = np.arange(len(queries))
    fetched = min(int(COUNT / each.share), MOST_FETCHED)
    while len(pending):
        for query, rows in zip(pending.tolist(), found_by(retriever, queries[pending], fetched), strict=True):
            left[query] = rows[each.allowed.has(rows)][:COUNT]
        if fetched == MOST_FETCHED:
            break
        pending = np.array([query for query in pending.tolist() if len(left[query]) < wanted])
        fetched = min(4 * fetched, MOST_FETCHED)
    return [left[query] for query in range(len(queries))]


def found_by(
    retriever: Retriever, queries: NDArray[np.float32], count: int, restriction: Restriction = UNRESTRICTED
) -> Rows:
    """The rows that a retriever finds, a batch at a time."""
    rows: Rows = []
    for start in range(0, len(queries), BATCH):
        part = queries[start : start + BATCH]
        rows += [each.rows for each in retriever.search(part, [count] * len(part), [restriction] * len(part))]
    return rows


def recall(found: Sequence[NDArray[np.int64]], expected: Sequence[NDArray[np.int64]]) -> float:
    """The mean share of what was expected."""
    return float(
        np.mean([len(np.intersect1d(got, wanted)) / len(wanted) for got, wanted in zip(found, expected, strict=True)])
    )


def microseconds(way: Callable[[], Rows]) -> float:
    """A query's share of the time."""
    began = time.perf_counter()
    way()
    return (time.perf_counter() - began) / QUERIES * 1e6


if __name__ == "__main__":
    main()
