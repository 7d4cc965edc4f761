"""What a server holds for a stream whose reader has stopped: its memory, second by second.

    python benchmarks/stopped_reader.py [--seconds 60]

A caller sends messages of 64 users as fast as the server takes them, reads 50 answers, reads none for a minute while
it would still send, and reads 50 more. The server's memory counts shared pages once (PSS). The table shows it before
the pause, at its most and its least in the pause, and after it, with either transport.
benchmarks/out/stopped_reader.json holds the growth as a list of {figure, value, unit, floor, reach}.
"""

import argparse
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import grpc
from figures import Figure, write_figures
from rich.console import Console
from rich.table import Table
from serving_model import Generated, generated
from serving_process import memory_bytes
from serving_servers import AIO, CORE, our_servers
from serving_weights import ITEM_COUNT, item_ids, read_questions

from bascule.v1 import recommendation_service_pb2 as pb
from bascule.v1.recommendation_service_pb2_grpc import RecommendationServiceStub

READ = 50
"""Answers before the pause, and after it."""
FLOOR, REACH = 10, 2
"""MB that count as flat."""


class Measured(NamedTuple):
    """Megabytes of a server."""

    before: float
    least: float
    most: float
    after: float
    sent_in_pause: int
    """Messages that left the caller while it read nothing."""


def main() -> None:
    """Prints the table and writes the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="of the pause")
    arguments = parser.parse_args()
    model = generated()
    found = {name: measured(name, model, arguments.seconds) for name in (CORE, AIO)}
    table = Table("server", "before", "in the pause", "after", "messages sent in it", title="memory (PSS), MB")
    for name, each in found.items():
        pause = f"{each.least:.1f} - {each.most:.1f}"
        table.add_row(name, f"{each.before:.1f}", pause, f"{each.after:.1f}", str(each.sent_in_pause))
    Console().print(table)
    write_figures(
        "stopped_reader",
        [
            Figure(
                f"{name}: growth while a stream's reader has stopped",
                each.most - each.before,
                "MB, at most",
                FLOOR,
                REACH,
            )
            for name, each in found.items()
        ],
    )


def measured(name: str, model: Generated, seconds: float) -> Measured:
    """One server, one stream."""
    histories = read_questions(model.weights).checked
    queries = [pb.Query(user=pb.User(history=item_ids(history))) for history in histories]
    options = pb.RankingOptions(item_count=ITEM_COUNT)
    sent = 0

    def messages() -> Iterator[pb.StreamRecommendItemsRequest]:
        nonlocal sent
        while True:
            sent += 1
            yield pb.StreamRecommendItemsRequest(sequence_id=sent, queries=queries, options=options)

    with our_servers(model.models)[name].start() as server, grpc.insecure_channel(server.address) as channel:
        answers = RecommendationServiceStub(channel).StreamRecommendItems(messages(), timeout=10 * seconds)
        last = read(answers, READ)
        before = memory_bytes(server.process_id) / 1e6
        began, in_pause = time.monotonic(), []
        sent_before = sent
        while time.monotonic() - began < seconds:
            time.sleep(1)
            in_pause.append(memory_bytes(server.process_id) / 1e6)
        sent_in_pause = sent - sent_before
        assert read(answers, READ) == last + READ, "answers were lost"
        after = memory_bytes(server.process_id) / 1e6
        answers.cancel()
    return Measured(before, min(in_pause), max(in_pause), after, sent_in_pause)


def read(answers: Any, how_many: int) -> int:  # noqa: ANN401 - grpcio's
    """Reads answers, each of them whole, and returns the number of the last."""
    for _ in range(how_many):
        answer = next(answers)
        assert all(len(result.ranking.item_ids) == ITEM_COUNT for result in answer.results)
    return int(answer.sequence_id)


if __name__ == "__main__":
    main()
