"""How much longer a search of ours in an index takes than FAISS called directly, and than scoring every item.

    python benchmarks/index.py [--items 1000000 10000000] [--rounds 7]

64 queries at a time look for their best 100 among clustered unit vectors of 64 components. The index is built and tuned
as training does, to a recall of .98, and read as the server does. FAISS searches the same lists, with the fewest probes
that reach the recall, once by their 8 bits a component alone, where these can reach it, and once with its own
refinement by the full vectors; the faster of the two counts. All run in turn in one thread; the table shows medians
over the rounds and ratios of the same round. Indexes are kept below benchmarks/out/index: remove that at will. At
10,000,000 items building takes minutes and about 6 GB of memory. benchmarks/out/index.json holds the table as a list of
{figure, value, unit, floor, reach}.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import faiss
import numpy as np
from clustered_items import clustered_items, queries_near
from figures import OUT, Figure, write_figures
from google.protobuf import json_format
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from bascule.v1.artifact_pb2 import ItemIndex
from bascule_server.retrieval.indexed import open_index
from bascule_server.retrieval.retriever import UNRESTRICTED, Retriever
from bascule_server.retrieval.retrievers import exact_retrievers
from bascule_training.publishing.item_index import build_index

COUNT = 100
RECALL = 0.98
BATCH = 64
QUERIES = 512
EXACT_QUERIES = 64
"""Exact search is not timed on more."""
MOST_PROBES = 256
"""What is not found with so many is not found for want of probes: 8 bits a component confuse it."""
REFINED = 1.25
"""How many times as many items as are wanted FAISS scores again, where it does."""
FLOOR, REACH = 1.15, 1.05

Search = Callable[[NDArray[np.float32]], list[NDArray[np.int64]]]


class Way(NamedTuple):
    """One way to search."""

    name: str
    search: Search
    recall: float


def main() -> None:
    """Prints the table and writes the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, nargs="+", default=(1_000_000, 10_000_000))
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    table = Table("items", "way", "recall@100", "us a query", "ours over it")
    figures: list[Figure] = []
    for items in arguments.items:
        figures += measured(items, arguments.rounds, table)
    Console().print(table)
    write_figures("index", figures)


def measured(items: int, rounds: int, table: Table) -> list[Figure]:
    """Compares all ways with so many items, and adds them to the table."""
    vectors = clustered_items(items)
    queries = queries_near(vectors, QUERIES)
    path, declared = kept_index(vectors)
    exact = exact_retrievers(vectors).ranking
    best = found_by(exact)(queries)
    direct = faiss.read_index(str(path))
    tried = [
        way("Bascule", found_by(open_index(path, declared, vectors)), queries, best),
        fewest_probes("FAISS", lambda probes: by_codes(direct, probes), queries, best),
        fewest_probes("FAISS, refined", lambda probes: refined(direct, vectors, probes), queries, best),
    ]
    ways = [each for each in tried if each is not None]
    times = [[microseconds(each.search, queries) for each in ways] for _ in range(rounds)]
    exact_time = microseconds(found_by(exact), queries[:EXACT_QUERIES])
    medians = [statistics.median(column) for column in zip(*times, strict=True)]
    for place, each in enumerate(ways):
        ratio = statistics.median(row[0] / row[place] for row in times)
        table.add_row(f"{items:,}", each.name, f"{each.recall:.4f}", f"{medians[place]:.0f}", f"{ratio:.2f}")
    table.add_row(f"{items:,}", "every item", "1", f"{exact_time:.0f}", f"{medians[0] / exact_time:.3f}")
    over_direct = statistics.median(row[0] / min(row[1:]) for row in times)
    of = f"index of {items:,} items, best {COUNT}, recall {ways[0].recall:.3f}"
    return [
        Figure(f"{of}: time over FAISS called directly", over_direct, "ratio, at most", FLOOR, REACH),
        Figure(f"{of}: time", medians[0], "us a query"),
        Figure(f"{of}: time over scoring every item", medians[0] / exact_time, "ratio"),
    ]


def kept_index(vectors: NDArray[np.float32]) -> tuple[Path, ItemIndex]:
    """The index, built unless it is there, tuned on other queries than are timed."""
    folder = OUT / "index"
    path, manifest = folder / f"{len(vectors)}.faiss", folder / f"{len(vectors)}.json"
    if not manifest.exists():
        folder.mkdir(parents=True, exist_ok=True)
        built = build_index(vectors, queries_near(vectors, 2 * QUERIES)[QUERIES:], RECALL)
        assert built is not None, "no depth reaches the recall"
        faiss.write_index(built.index, str(path))
        manifest.write_text(json_format.MessageToJson(built.declared))
    return path, json_format.Parse(manifest.read_text(), ItemIndex())


def found_by(retriever: Retriever) -> Search:
    """The rows that a retriever finds, a batch at a time."""

    def search(queries: NDArray[np.float32]) -> list[NDArray[np.int64]]:
        rows: list[NDArray[np.int64]] = []
        for start in range(0, len(queries), BATCH):
            part = queries[start : start + BATCH]
            rows += [each.rows for each in retriever.search(part, [COUNT] * len(part), [UNRESTRICTED] * len(part))]
        return rows

    return search


def by_codes(index: "faiss.IndexIVF", probes: int) -> Search:
    """FAISS, by 8 bits a component."""
    parameters = faiss.SearchParametersIVF(nprobe=probes)
    return in_batches(lambda queries: index.search(queries, COUNT, params=parameters)[1])


def refined(index: "faiss.IndexIVF", vectors: NDArray[np.float32], probes: int) -> Search:
    """FAISS, with its refinement by the full vectors."""
    over = faiss.IndexRefineFlat(index, faiss.swig_ptr(vectors))
    parameters = faiss.IndexRefineSearchParameters(
        k_factor=REFINED, base_index_params=faiss.SearchParametersIVF(nprobe=probes)
    )
    return in_batches(lambda queries: over.search(queries, COUNT, params=parameters)[1])


def in_batches(search: Callable[[NDArray[np.float32]], NDArray[np.int64]]) -> Search:
    """A search of FAISS, a batch at a time in one thread."""

    def searched(queries: NDArray[np.float32]) -> list[NDArray[np.int64]]:
        faiss.omp_set_num_threads(1)
        return [row for start in range(0, len(queries), BATCH) for row in search(queries[start : start + BATCH])]

    return searched


def fewest_probes(
    name: str, made: Callable[[int], Search], queries: NDArray[np.float32], best: Sequence[NDArray[np.int64]]
) -> Way | None:
    """With as few probes as reach the recall; None where no number of them does."""
    too_few, enough = 0, 1
    while (found := way(name, made(enough), queries, best)).recall < RECALL:
        if enough >= MOST_PROBES:
            return None
        too_few, enough = enough, enough * 2
    while enough - too_few > 1:
        probes = (too_few + enough) // 2
        tried = way(name, made(probes), queries, best)
        if tried.recall < RECALL:
            too_few = probes
        else:
            enough, found = probes, tried
    return found._replace(name=f"{name}, {enough} probes")


def way(name: str, search: Search, queries: NDArray[np.float32], best: Sequence[NDArray[np.int64]]) -> Way:
    """A way with its recall."""
    shares = [len(np.intersect1d(rows, right)) / COUNT for rows, right in zip(search(queries), best, strict=True)]
    return Way(name, search, float(np.mean(shares)))


def microseconds(search: Search, queries: NDArray[np.float32]) -> float:
    """A query's share of the time."""
    began = time.perf_counter()
    search(queries)
    return (time.perf_counter() - began) / len(queries) * 1e6


if __name__ == "__main__":
    main()
