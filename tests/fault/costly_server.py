"""A server process whose model takes a given time for each row, so that a slow machine can offer it ten times too much.

    python costly_server.py ROW_MILLISECONDS CONFIG.toml

prints its port. Everything but the model is what ``bascule serve`` runs. The model answers each row with its one item,
and sleeps, since what is to be measured is the server and not how many others use the machine.
"""

import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from fixed_versions import FixedVersions

from bascule.v1.artifact_pb2 import Feature, HistoryFeature, Manifest
from bascule.v1.recommendation_service_pb2 import RankingPath
from bascule_server.config import ServerConfig, read_config
from bascule_server.logs import configure_logs
from bascule_server.scoring.item_ids import ItemIds
from bascule_server.scoring.query import Answer, Question, Ranking
from bascule_server.servable import ServableVersion
from bascule_server.server import Server, event_loop

MANIFEST = Manifest(schema_version=1, model="costly", version=1, dimension=2, item_count=1)
MANIFEST.query_features.append(Feature(name="history", history=HistoryFeature(max_length=4)))

(ITEM,) = ItemIds(["i"]).listed([np.array([0])])
ANSWER = Ranking(ITEM, np.array([1], np.float32), RankingPath.RANKING_PATH_HISTORY, [])


class CostlyScorer:
    """Takes its time for each row."""

    def __init__(self, row_seconds: float) -> None:
        self._row_seconds = row_seconds

    def answer(self, questions: Sequence[Question]) -> list[Answer]:
        time.sleep(self._row_seconds * len(questions))
        return [ANSWER] * len(questions)


async def serve(config: ServerConfig, row_seconds: float) -> None:
    servable = ServableVersion(MANIFEST, CostlyScorer(row_seconds))  # type: ignore[arg-type]  # answers all the same
    server = Server(config, FixedVersions([Path("costly/1")], lambda _: servable))
    await server.load()
    port = server.listen()
    await server.start()
    print(port, flush=True)
    await server.work()


def main() -> None:
    row_milliseconds, path = sys.argv[1:]
    config = read_config(Path(path), {"listen": "127.0.0.1:0"})
    configure_logs(config.log_level)
    with asyncio.Runner(loop_factory=event_loop(config)) as runner:
        runner.run(serve(config, float(row_milliseconds) / 1_000))


if __name__ == "__main__":
    main()
