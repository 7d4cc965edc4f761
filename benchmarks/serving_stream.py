"""One stream of the Python client, in a process of its own: prints users a second.

python benchmarks/serving_stream.py ADDRESS HISTORIES.npy SECONDS

The client encodes and decodes beside the server, on the same processors.
"""

import sys
import time
from collections.abc import Iterator
from itertools import cycle

import numpy as np
from serving_weights import ITEM_COUNT, item_ids

from bascule import Client, Query, Ranking


def main(address: str, histories: str, seconds: float) -> None:
    """Streams for so long and prints how many rankings came a second, each with all of its items."""
    queries = [Query(history=item_ids(history)) for history in np.load(histories)]
    with Client(address) as client:
        _stream(client, queries, seconds / 5)  # the first messages find nothing prepared
        print(_stream(client, queries, seconds))


def _stream(client: Client, queries: list[Query], seconds: float) -> float:
    began = time.perf_counter()

    def endless() -> Iterator[Query]:
        for query in cycle(queries):
            if time.perf_counter() - began > seconds:
                return
            yield query

    results = client.stream(endless(), count=ITEM_COUNT, exclude_history=False)
    count = sum(isinstance(result, Ranking) and len(result.item_ids) == ITEM_COUNT for result in results)
    return count / (time.perf_counter() - began)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
