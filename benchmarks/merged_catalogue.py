"""What a merged catalogue takes of a worker's memory, and what of the best items its index finds.

    python benchmarks/merged_catalogue.py [--items 200000]

The model of benchmarks/serving.py. Memory: what is private to this process, more than before, once 10,000 items came
and once they are merged. Recall, where the model has an index, which it has of 200,000 items and more: a tenth as many
items come as there are, each near to another, and as many go; the share of the best items of all that are there that
the merged index finds for 400 queries, and the same of the index as it was. benchmarks/out/merged_catalogue.json holds
the table as a list of {figure, value, unit, floor, reach}.
"""

import argparse
import os
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ.setdefault("_RJEM_MALLOC_CONF", "dirty_decay_ms:0,muzzy_decay_ms:0")

import numpy as np
from figures import Figure, write_figures
from living_catalogue import changed
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from serving_model import Generated, generated
from serving_weights import draw_histories, item_ids

from bascule_server.footprint import give_back
from bascule_server.living.merged_retrievers import Base
from bascule_server.retrieval.retriever import UNRESTRICTED, Retriever, best, products
from bascule_server.scoring.query import Embed, Query, QueryVector, Question
from bascule_server.servable import ServableVersion, load_servable

CAME = 10_000
QUERIES = 400
ITEM_COUNTS = (30, 100, 300, 1_000)


def main() -> None:
    """Prints the table and writes the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=200_000)
    arguments = parser.parse_args()
    model = generated(arguments.items)
    figures = memory(model)
    servable = load_servable(model.version)
    if servable.manifest.HasField("index"):
        figures += recall(model, servable)
    table = Table("figure", "value", "unit", title=f"{arguments.items:,} items")
    for each in figures:
        table.add_row(each.figure, f"{each.value:,.3f}", each.unit)
    Console().print(table)
    write_figures("merged_catalogue", figures)


def memory(model: Generated) -> list[Figure]:
    """How much more there is to one worker alone."""
    servable = load_servable(model.version)
    before = private_mebibytes()
    version = changed(model, servable, CAME, 0)
    # A server keeps nothing of it either.
    del servable
    came = private_mebibytes() - before
    merge = version.to_merge()
    assert merge is not None
    version.take_over(merge.run())
    del merge
    merged = private_mebibytes() - before
    return [
        Figure(f"{CAME:,} items came: memory", came, "MiB"),
        Figure(f"{CAME:,} items came: memory, merged", merged, "MiB"),
    ]


def private_mebibytes() -> float:
    """What this process alone has in memory and wrote to."""
    give_back()
    lines = Path("/proc/self/smaps_rollup").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("Private_Dirty:"))


def recall(model: Generated, servable: ServableVersion) -> list[Figure]:
    """What is found of the best items."""
    random = np.random.default_rng(0)
    vectors: NDArray[np.float32] = np.load(model.item_vectors)
    many = len(vectors) // 10
    near = vectors[random.integers(0, len(vectors), many)]
    came = (near + 0.3 * vectors.std() * random.normal(size=near.shape)).astype(np.float32)
    is_gone = np.zeros(len(vectors), np.bool_)
    is_gone[random.choice(len(vectors), many, replace=False)] = True
    merged = Base(vectors, servable.scorer.retrievers).merged(came, is_gone)
    present = np.concatenate([~is_gone, np.ones(many, np.bool_)])
    queries = query_vectors(servable, len(vectors))
    figures: list[Figure] = []
    for count in ITEM_COUNTS:
        of_merged = share_found(merged.ranking, queries, np.concatenate([vectors, came]), present, count)
        of_base = share_found(servable.scorer.retrievers.ranking, queries, vectors, np.ones(len(vectors), bool), count)
        figures += [
            Figure(f"of the best {count:,}, found, merged", of_merged, ""),
            Figure(f"of the best {count:,}, found, as it was", of_base, ""),
        ]
    return figures


def query_vectors(servable: ServableVersion, item_count: int) -> NDArray[np.float32]:
    """float32 [queries, dimension]."""
    histories = draw_histories(QUERIES, item_count, 99)
    answers = servable.scorer.answer([Question(Query(history=item_ids(each)), Embed()) for each in histories])
    return np.stack([each.vector for each in answers if isinstance(each, QueryVector)])


def share_found(
    retriever: Retriever,
    queries: NDArray[np.float32],
    vectors: NDArray[np.float32],
    present: NDArray[np.bool_],
    count: int,
) -> float:
    """The mean share of the best items that are there, by a walk over all of them, that is found."""
    rows = np.flatnonzero(present)
    found = retriever.search(queries, [count] * len(queries), [UNRESTRICTED] * len(queries))
    wanted = (best(rows, products(query, vectors[rows]), count) for query in queries)
    return float(np.mean([np.isin(each.rows, got.rows).mean() for each, got in zip(wanted, found, strict=True)]))


if __name__ == "__main__":
    main()
