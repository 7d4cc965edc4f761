"""Where the time of one call goes inside of the server, from the bytes of its message to the bytes of its answer.

    python benchmarks/call_budget.py [--items 20000]

The job is that of benchmarks/serving.py. Each stage runs alone, for 64 calls together and for one, in this process and
with nothing beside it; the table shows the lowest of many times, in microseconds a call. What the transport takes is
the difference to what a whole server takes, which benchmarks/serving.py measures. benchmarks/out/call_budget.json holds
the table as a list of {figure, value, unit, floor, reach}.
"""

import argparse
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
from figures import Figure, write_figures
from rich.console import Console
from rich.table import Table
from serving_model import ITEMS, generated

from bascule.v1 import recommendation_service_pb2 as pb
from bascule_server.messages.decoding import decode_ranking
from bascule_server.messages.encoding import encode_recommendation
from bascule_server.messages.schema import schema_of
from bascule_server.retrieval.quantised_items import MOST_TOGETHER, QuantisedItems, quantised_queries
from bascule_server.scoring.query import Embed, Question
from bascule_server.servable import ServableVersion, load_servable

ITEM_COUNT = 20
HISTORY_LENGTH = 20
BATCHES = (64, 1)
TIMES = 200
SERVED_BY = pb.ModelVersion(model="generated", version=1)


def main() -> None:
    """Prints the table and writes the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=ITEMS)
    arguments = parser.parse_args()
    model = generated(arguments.items)
    servable = load_servable(model.version)
    report({size: stages(servable, model.item_vectors, size) for size in BATCHES}, arguments.items)


def stages(servable: ServableVersion, item_vectors: Path, size: int) -> dict[str, float]:
    """Microseconds a call of each stage, for so many calls together."""
    schema, scorer = schema_of(servable.manifest), servable.scorer
    messages = requests(servable, size)

    def parse() -> list[pb.RecommendItemsRequest]:
        return [pb.RecommendItemsRequest.FromString(message) for message in messages]

    def decode(parsed: list[pb.RecommendItemsRequest]) -> list[Question]:
        return [decode_ranking(request, schema) for request in parsed]

    parsed = parse()
    questions = decode(parsed)
    embeds = [Question(question.query, Embed()) for question in questions]
    answers = scorer.answer(questions)
    rankings = fastest(lambda: scorer.answer(questions), size)
    vectors = fastest(lambda: scorer.answer(embeds), size)
    rough = fastest(rough_scores(item_vectors, size), size)
    return {
        "parse the message": fastest(parse, size),
        "validate, decode": fastest(lambda: decode(parsed), size),
        "look up ids, encode, query tower": vectors,
        "rough scores of all items": rough,
        "the rest of retrieval, ranking": rankings - vectors - rough,
        "write the answer": fastest(lambda: [encode_recommendation(answer, SERVED_BY) for answer in answers], size),
    }


def requests(servable: ServableVersion, size: int) -> list[bytes]:
    """Messages of users with random histories."""
    random = np.random.default_rng(1)
    item_ids = [f"i{row:06d}" for row in range(servable.manifest.item_count)]
    options = pb.RankingOptions(item_count=ITEM_COUNT)
    histories = [random.choice(item_ids, HISTORY_LENGTH).tolist() for _ in range(size)]
    queries = [pb.Query(user=pb.User(history=history)) for history in histories]
    return [pb.RecommendItemsRequest(query=query, options=options).SerializeToString() for query in queries]


def rough_scores(item_vectors: Path, size: int) -> Callable[[], object]:
    """The scores of all items by 8 bits a component for so many queries, as retrieval has them computed."""
    vectors = np.load(item_vectors)
    items = QuantisedItems(vectors)
    random = np.random.default_rng(2)
    codes = quantised_queries(random.normal(size=(size, vectors.shape[1])).astype(np.float32)).codes
    parts = [codes[start : start + MOST_TOGETHER] for start in range(0, size, MOST_TOGETHER)]

    def multiply() -> None:
        for part in parts:
            items.products(part)

    return multiply


def fastest(work: Callable[[], object], size: int) -> float:
    """Microseconds a call, of the fastest of many times."""
    seconds = []
    for _ in range(TIMES):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return min(seconds) / size * 1e6


def report(found: Mapping[int, Mapping[str, float]], items: int) -> None:
    """Prints the table and writes the file."""
    table = Table("us a call", *(f"{size} together" for size in found), title=f"{items:,} items")
    for stage in found[BATCHES[0]]:
        table.add_row(stage, *(f"{times[stage]:.1f}" for times in found.values()))
    table.add_row("all of it", *(f"{sum(times.values()):.1f}" for times in found.values()))
    Console().print(table)
    figures = [
        Figure(f"{stage}, {size} together", value, "us a call")
        for size, times in found.items()
        for stage, value in times.items()
    ]
    write_figures("call_budget", figures)


if __name__ == "__main__":
    main()
