"""What each option of a recommendation costs, alone: microseconds a query, 64 queries at a time, 20,000 items.

    python benchmarks/options.py [--items 20000] [--rounds 9]

The model of serving.py with attributes beside it: a brand of 200, one to three of 50 tags, a price. Every option runs
in turn with a query that has none, in this process and one thread; the table shows medians over rounds and what an
option adds in the same round. The last rows are of the same model with a ranking tower for 100 candidates that reads
the attributes, without and with a context of two features, and say what it adds to that model without ranking.
benchmarks/out/options.json holds it as a list of {figure, value, unit, floor, reach}.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
from figures import Figure, write_figures
from rich.console import Console
from rich.table import Table
from serving_model import ITEMS, Generated, generated
from serving_weights import CHECKED, ITEM_COUNT, item_ids, read_questions

from bascule.v1.artifact_pb2 import (
    BucketedFeature,
    CategoricalFeature,
    Feature,
    MultiValuedFeature,
    StandardisedFeature,
)
from bascule_server.artifact.reading import read_manifest
from bascule_server.retrieval.retrievers import open_retrievers
from bascule_server.scoring.catalogue import Catalogue
from bascule_server.scoring.columns import Categories, Column, Numbers
from bascule_server.scoring.encoder import FeaturesEncoder, QueryEncoder
from bascule_server.scoring.item_ids import ItemIds
from bascule_server.scoring.known_users import read_known_users
from bascule_server.scoring.query import AnyOf, Cap, InRange, NoneOf, Query, Question, Rank
from bascule_server.scoring.ranker_inputs import RankerInputs, RankerItems
from bascule_server.scoring.ranking_stage import RankingStage
from bascule_server.scoring.scorer import Scorer
from bascule_server.scoring.subject import Subjects
from bascule_server.scoring.tower import LiteRtTower, open_query_tower
from bascule_training.publishing.export import convert_to_litert, export_ranker
from bascule_training.ranking.tower import RankingTower, mean_tower

SECONDS = 0.3
"""Of each measurement."""
BRANDS, TAGS = 200, 50
CANDIDATES = 100
DEVICES = ["phone", "tv"]
CONTEXT = (
    Feature(name="device", categorical=CategoricalFeature(vocabulary="device.json", size=len(DEVICES))),
    Feature(name="hour", bucketed=BucketedFeature(boundaries=[6.0, 12.0, 18.0])),
)
ITEM_FEATURES = (
    Feature(name="brand", categorical=CategoricalFeature(size=BRANDS)),
    Feature(name="tags", multi_valued=MultiValuedFeature(size=TAGS, max_count=3)),
    Feature(name="price", standardised=StandardisedFeature(deviation=1)),
)


class Option(NamedTuple):
    """What is asked beside whom it is for."""

    name: str
    rank: Rank
    excluded: int = 0
    candidates: int = 0
    ranker: str = ""
    """``alone`` or ``context``: what the model has for a second stage."""


PLAIN = Option("none", Rank(item_count=ITEM_COUNT, exclude_history=False))
UNRANKED = Option(
    "skip_ranking, where there is a ranking tower", replace(PLAIN.rank, skip_ranking=True), ranker="alone"
)
OPTIONS = (
    PLAIN,
    Option("exclude_history", Rank(item_count=ITEM_COUNT)),
    *(Option(f"{count:,} excluded ids", PLAIN.rank, excluded=count) for count in (10, 1_000, 10_000)),
    *(Option(f"{count:,} candidate ids", PLAIN.rank, candidates=count) for count in (40, 1_000, 10_000)),
    Option("a filter that keeps half", Rank(ITEM_COUNT, False, (InRange("price", 50.0, 100.0),))),
    Option("a filter that keeps 1 in 200", Rank(ITEM_COUNT, False, (AnyOf("brand", frozenset(["b7"])),))),
    Option(
        "three filters",
        Rank(
            ITEM_COUNT,
            False,
            (
                InRange("price", 20.0, 90.0),
                AnyOf("tags", frozenset(["t1", "t2", "t3", "t4"])),
                NoneOf("brand", frozenset(["b1", "b2"])),
            ),
        ),
    ),
    Option("a cap of two a brand", Rank(ITEM_COUNT, False, cap=Cap("brand", 2))),
    Option("min_score", Rank(ITEM_COUNT, False, min_score=0.0)),
    Option("diversity", Rank(ITEM_COUNT, False, diversity=0.5)),
    Option("because_count of 3", Rank(ITEM_COUNT, False, because_count=3)),
    Option("three attributes returned", Rank(ITEM_COUNT, False, attributes=("brand", "tags", "price"))),
    Option("100 items", Rank(100, False)),
    Option("1,000 items", Rank(1_000, False)),
    UNRANKED,
    Option("a ranking tower", PLAIN.rank, ranker="alone"),
    Option("a ranking tower that reads a context", PLAIN.rank, ranker="context"),
)


def main() -> None:
    """Prints the table and writes the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=ITEMS)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), arguments.items, arguments.rounds)


def measure(folder: Path, item_count: int, round_count: int) -> None:
    """The same; the ranking towers lie in ``folder`` meanwhile."""
    model = generated(item_count)
    stages = {
        "": None,
        "alone": ranking_stage(folder / "alone", item_count, ()),
        "context": ranking_stage(folder / "context", item_count, CONTEXT),
    }
    scorers = {name: scorer_with_attributes(model, item_count, stage) for name, stage in stages.items()}
    asked = {option: questions(model, option, item_count) for option in OPTIONS}
    rounds = [
        {option: microseconds(scorers[option.ranker], each) for option, each in asked.items()}
        for _ in range(round_count)
    ]
    table = Table("option", "us a query", "more than none", title=f"{item_count:,} items, {CHECKED} queries at a time")
    figures = []
    for option in OPTIONS:
        taken = statistics.median(each[option] for each in rounds)
        base = UNRANKED if option.ranker and option is not UNRANKED else PLAIN
        more = statistics.median(each[option] - each[base] for each in rounds)
        table.add_row(option.name, f"{taken:.0f}", f"{more:+.0f}" if option is not PLAIN else "")
        figures.append(Figure(f"{option.name}: time", taken, "us a query"))
    Console().print(table)
    write_figures("options", figures)


def scorer_with_attributes(model: Generated, item_count: int, stage: RankingStage | None = None) -> Scorer:
    """The scorer of the model, for a catalogue that has attributes."""
    random = np.random.default_rng(5)
    brands = random.integers(0, BRANDS, item_count).tolist()
    tags = [tuple(f"t{tag}" for tag in set(random.integers(0, TAGS, 3).tolist())) for _ in range(item_count)]
    columns: dict[str, Column] = {
        "brand": Categories([(f"b{brand}",) for brand in brands], multi_valued=False),
        "tags": Categories(tags, multi_valued=True),
        "price": Numbers(random.uniform(0.0, 100.0, item_count)),
    }
    manifest = read_manifest(model.version)
    ids = ItemIds(item_ids(np.arange(item_count, dtype=np.int32)))
    catalogue = Catalogue(ids, np.ones(item_count, np.float32), columns)
    encoder = QueryEncoder(manifest.query_features, {})
    subjects = Subjects(catalogue, read_known_users(model.version, item_count), encoder.features)
    retrievers = open_retrievers(model.version, manifest)
    return Scorer(catalogue, subjects, encoder, open_query_tower(model.version), retrievers, stage)


def ranking_stage(folder: Path, item_count: int, context: Sequence[Feature]) -> RankingStage:
    """A ranking tower with drawn weights: how long it takes does not depend on them."""
    random = np.random.default_rng(7)
    features = {
        "brand": random.integers(1, BRANDS + 1, item_count).astype(np.int32),
        "tags": random.integers(1, TAGS + 1, (item_count, 3)).astype(np.int32),
        "price": random.normal(size=item_count).astype(np.float32),
    }
    items = RankerItems(random.normal(size=(item_count, 7)).astype(np.float32), features)
    encoder = FeaturesEncoder(context, {"device.json": DEVICES}) if context else None
    tower = mean_tower([RankingTower(items.number_count, context, ITEM_FEATURES, seed=seed) for seed in range(3)])
    export_ranker(folder, tower, items.number_count, context, ITEM_FEATURES)
    path = folder / "ranker.tflite"
    convert_to_litert(folder, path)
    return RankingStage(RankerInputs(items, CANDIDATES, encoder), LiteRtTower(path), CANDIDATES)


def questions(model: Generated, option: Option, item_count: int) -> list[Question]:
    """An option for as many users as the benchmarks ask for in one call."""
    random = np.random.default_rng(6)

    def drawn(count: int) -> list[str]:
        return item_ids(random.choice(item_count, count, replace=False).astype(np.int32)) if count else []

    return [
        Question(
            Query(
                history=item_ids(history),
                features={"device": "tv", "hour": 21.0} if option.ranker == "context" else {},
                excluded_item_ids=drawn(option.excluded),
                candidate_item_ids=drawn(option.candidates),
            ),
            option.rank,
        )
        for history in read_questions(model.weights).checked
    ]


def microseconds(scorer: Scorer, asked: Sequence[Question]) -> float:
    """A query's share of the median time."""
    scorer.answer(asked)
    times: list[float] = []
    end = time.perf_counter() + SECONDS
    while not times or time.perf_counter() < end:
        began = time.perf_counter()
        scorer.answer(asked)
        times.append(time.perf_counter() - began)
    return statistics.median(times) / len(asked) * 1e6


if __name__ == "__main__":
    main()
