"""What a catalogue that changes costs: how soon a change is served, how many come a second, and what a query pays.

    python benchmarks/living_catalogue.py [--items 20000] [--changes 50]

The model of benchmarks/serving.py has no item tower, so items that its catalogue has change their places in it: they
get the vectors that they had. Served soon: two workers on a real port, one change after another; from when it is
acknowledged until 32 calls over 16 connections all know of it. A second: calls of 1 and of 1,000 items, each on the
disk before it is acknowledged. A query: the scorer in this process, one thread, 64 queries at a time, with so many
items that came and others that went, in turn with the catalogue as it was; before these were merged and after. A merge:
the time of a core. While it is merged: queries one at a time, in turn without any merge and while another thread
merges, as often as a server does and without a rest. Of 200,000 items and more the model has an index.
benchmarks/out/living_catalogue.json holds the table as a list of {figure, value, unit, floor, reach}.
"""

import argparse
import os
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
from figures import Figure, write_figures
from options import microseconds
from rich.console import Console
from rich.table import Table
from serving_model import ITEMS, Generated, generated
from serving_servers import free_ports, ours
from serving_weights import ITEM_COUNT, item_ids, read_questions

from bascule import CatalogueClient, Client
from bascule.catalogue import ItemValues
from bascule.v1.catalogue_service_pb2 import CatalogueChange, CatalogueItem
from bascule_server.living.merge import Merge
from bascule_server.living.merger import REST, give_way
from bascule_server.living.version import LivingVersion
from bascule_server.scoring.query import Query, Question, Rank
from bascule_server.scoring.scorer import Scorer
from bascule_server.servable import ServableVersion, load_servable

CONNECTIONS = 16
ROUNDS = 7
SECONDS = 3.0
"""Of queries one at a time."""
CALLS = 30
"""Of each size, to tell how many items come a second."""


def main() -> None:
    """Prints the table and writes the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=ITEMS)
    parser.add_argument("--changes", type=int, default=50)
    arguments = parser.parse_args()
    model = generated(arguments.items)
    figures = [*served_soon(model, arguments.changes), *costs(model)]
    table = Table("figure", "value", "unit", title=f"{arguments.items:,} items")
    for each in figures:
        table.add_row(each.figure, f"{each.value:,.1f}", each.unit)
    Console().print(table)
    write_figures("living_catalogue", figures)


def served_soon(model: Generated, changes: int) -> list[Figure]:
    """How soon changes are served by two workers, and how many can be written."""
    (port,) = free_ports(1)
    with tempfile.TemporaryDirectory() as folder:
        # A log of its own, beside links to the model's files.
        models = Path(shutil.copytree(model.models, Path(folder) / "models", copy_function=os.link))
        config = f'workers = 2\ncatalogue_listen = "127.0.0.1:{port}"'
        with (
            ours("living", config, models) as running,
            CatalogueClient(f"127.0.0.1:{port}") as catalogue,
            Client(running.address, connections=CONNECTIONS) as client,
        ):
            seconds = [until_served(catalogue, client, number) for number in range(changes)]
            rates = [items_a_second(catalogue, count) for count in (1, 1_000)]
    return [
        Figure("from the acknowledgement until both workers serve it, median", statistics.median(seconds) * 1e3, "ms"),
        Figure("the longest", max(seconds) * 1e3, "ms", 1_000),
        Figure("items that come a second, one a call", rates[0], "items/s"),
        Figure("items that come a second, 1,000 a call", rates[1], "items/s"),
    ]


def until_served(catalogue: CatalogueClient, client: Client, number: int) -> float:
    """Seconds from the acknowledgement of a change."""
    revision = catalogue.upsert({item_ids(np.array([number], np.int32))[0]: {}})
    began = time.perf_counter()
    while not all(client.recommend(history=["x"]).catalogue_revision >= revision for _ in range(2 * CONNECTIONS)):
        pass
    return time.perf_counter() - began


def items_a_second(catalogue: CatalogueClient, count: int) -> float:
    """How many items come in calls of so many."""
    items: dict[str, ItemValues] = {item_id: {} for item_id in item_ids(np.arange(count, dtype=np.int32))}
    began = time.perf_counter()
    for _ in range(CALLS):
        catalogue.upsert(items)
    return CALLS * count / (time.perf_counter() - began)


def costs(model: Generated) -> list[Figure]:
    """What a query takes more, by how much has changed."""
    servable = load_servable(model.version)
    asked = [
        Question(Query(history=item_ids(history)), Rank(ITEM_COUNT))
        for history in read_questions(model.weights).checked
    ]
    found: list[Figure] = []
    for came, went in ((1, 0), (100, 0), (1_000, 0), (10_000, 0), (1_000, 1_000)):
        name = f"{came:,} items came" + (f", {went:,} went" if went else "")
        version = changed(model, servable, came, went)
        before, merge = version.state.scorer, version.to_merge()
        assert merge is not None
        seconds = [core_seconds(merge) for _ in range(ROUNDS)]
        after = version.take_over(merge.run()).scorer
        times = [[microseconds(scorer, asked) for scorer in (servable.scorer, before, after)] for _ in range(ROUNDS)]
        more, merged = (statistics.median(each[place] - each[0] for each in times) for place in (1, 2))
        found += [
            Figure(f"{name}: more a query", more, "us"),
            Figure(f"{name}: more a query, merged", merged, "us"),
            Figure(f"{name}: a merge", statistics.median(seconds) * 1e3, "ms"),
        ]
    found.append(Figure("nothing came: a query", microseconds(servable.scorer, asked), "us"))
    return [*found, *while_merged(version, asked)]


def while_merged(version: LivingVersion, asked: Sequence[Question]) -> list[Figure]:
    """What queries that come one at a time notice of merges: as often as a server makes them, and without a rest."""
    merge, scorer = changed_once_more(version), version.state.scorer
    rounds: list[list[float]] = []
    for _ in range(ROUNDS):
        times = [percentile(scorer, asked)]
        for rest in (REST, 0):
            is_over = threading.Event()
            merging = threading.Thread(target=merge_until, args=(merge, rest, is_over))
            merging.start()
            times.append(percentile(scorer, asked))
            is_over.set()
            merging.join()
        rounds.append(times)
    rested, restless = (statistics.median(each[place] / each[0] for each in rounds) for place in (1, 2))
    return [
        Figure("p99 of a query alone", statistics.median(each[0] for each in rounds), "us"),
        Figure("p99 while a server merges over p99 without", rested, "x"),
        Figure("p99 while one merge follows another over p99 without", restless, "x"),
    ]


def merge_until(merge: Merge, rest: float, is_over: threading.Event) -> None:
    """Merges, with the niceness of the thread that does so in a server, and so long a rest."""
    give_way()
    while not is_over.wait(rest * core_seconds(merge)):
        pass


def percentile(scorer: Scorer, asked: Sequence[Question]) -> float:
    """Microseconds, the 99th percentile of queries one at a time."""
    times: list[float] = []
    end = time.perf_counter() + SECONDS
    while (began := time.perf_counter()) < end:
        scorer.answer([asked[len(times) % len(asked)]])
        times.append(time.perf_counter() - began)
    return float(np.percentile(times, 99)) * 1e6


def core_seconds(merge: Merge) -> float:
    """How long a merge takes this thread."""
    began = time.thread_time()
    merge.run()
    return time.thread_time() - began


def changed_once_more(version: LivingVersion) -> Merge:
    """What there is to be merged after one more change."""
    (item_id,) = item_ids(np.array([0], np.int32))
    version.apply([CatalogueChange(upserted=[CatalogueItem(item_id=item_id)])], version.state.revision + 1)
    merge = version.to_merge()
    assert merge is not None
    return merge


def changed(model: Generated, servable: ServableVersion, came: int, went: int) -> LivingVersion:
    """With a catalogue from which the last items went, and whose first ones came again."""
    version = LivingVersion(servable, model.version)
    ids = item_ids(np.arange(len(servable.scorer.catalogue), dtype=np.int32))
    trained = [each for each, known in zip(ids, version.is_trained(ids), strict=True) if known]
    changes = [
        CatalogueChange(upserted=[CatalogueItem(item_id=each) for each in part]) for part in parts(trained[:came])
    ]
    changes += [CatalogueChange(retired_item_ids=part) for part in parts(ids[len(ids) - went :])]
    for revision, change in enumerate(changes, 1):
        version.apply([change], revision)
    return version


def parts(ids: Sequence[str]) -> list[Sequence[str]]:
    """As many as one change may have."""
    return [ids[start : start + 1_000] for start in range(0, len(ids), 1_000)]


if __name__ == "__main__":
    main()
