"""The scorer alone, called in the process, in batches of 256: prints users a second.

python benchmarks/serving_scorer.py ARTIFACT HISTORIES.npy SECONDS

It is what a server could reach at most that had nothing else to do.
"""

import sys
import time
from itertools import cycle
from pathlib import Path

import numpy as np
from serving_weights import ITEM_COUNT, item_ids

from bascule_server.scoring.query import Query, Question, Rank, Ranking
from bascule_server.servable import load_servable

BATCH = 256


def main(folder: str, histories: str, seconds: float) -> None:
    """Scores for so long and prints how many rankings came a second."""
    scorer = load_servable(Path(folder)).scorer
    rank = Rank(item_count=ITEM_COUNT, exclude_history=False)
    questions = [Question(Query(history=item_ids(history)), rank) for history in np.load(histories)]
    batches = [questions[start : start + BATCH] for start in range(0, len(questions), BATCH)]
    for batch in batches:
        scorer.answer(batch)
    began = time.perf_counter()
    count = 0
    for batch in cycle(batches):
        count += sum(isinstance(answer, Ranking) for answer in scorer.answer(batch))
        taken = time.perf_counter() - began
        if taken > seconds:
            print(count / taken)
            return


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
