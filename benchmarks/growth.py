"""What training costs as the log grows: mini-batches against factorisation, each in a process of its own.

    python benchmarks/growth.py svd log.npz

measures one way on one log and prints it as JSON. ``two_towers_and_svd.py`` calls it for all of them.

The log is generated: users of 50 interactions each, of which seven in ten are with items of the user's own taste, by
Zipf's law within it. Times are of the fitting alone, after the log was read and the libraries were imported; memory is
the most that the process ever held, and beside it what it held just before.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bascule_training.data.histories import Histories

LENGTH = 50
"""Interactions a user."""

CATALOGUES = {100_000: 2_000, 1_000_000: 7_000, 10_000_000: 25_000}
"""Items by the number of interactions."""

TASTES = 8
OWN_TASTE = 0.7
DRAWN = 2 * LENGTH
"""So many items are drawn for a user, of whom the first distinct ones are kept."""

DIMENSION = 64
"""Components of a vector; of EASE it is the catalogue."""

_KIBIBYTES = 1_024
"""In a mebibyte."""

Fit = Callable[[], object]


class Cost(NamedTuple):
    """What one way took on one log."""

    cpu_seconds: float
    """Of all threads together."""
    seconds: float
    """By the clock, which tells less where others use the machine."""
    peak_mib: float
    """The most that the process held."""
    before_mib: float
    """The most that it held before fitting: Python, the libraries and the log."""


def main() -> None:
    """Measures one way and prints its cost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("way", choices=WAYS)
    parser.add_argument("log", type=Path, help="an .npz file of item_rows, offsets and item_count")
    arguments = parser.parse_args()
    with np.load(arguments.log, allow_pickle=False) as log:
        histories, item_count = Histories(log["item_rows"], log["offsets"]), int(log["item_count"])
    print(json.dumps(measured(WAYS[arguments.way](histories, item_count))._asdict()))


def measured(fit: Fit) -> Cost:
    """Runs it and says what it took."""
    before = _peak_mib()
    began, began_cpu = time.perf_counter(), time.process_time()
    fit()
    return Cost(time.process_time() - began_cpu, time.perf_counter() - began, _peak_mib(), before)


def _peak_mib() -> float:
    # Not getrusage's ru_maxrss: a new process inherits the peak of the one that started it, which made the log.
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    if found is None:
        raise OSError("/proc/self/status has no line VmHWM; expected Linux, whose kernel writes it")
    return int(found[1]) / _KIBIBYTES


def costs(sizes: Mapping[int, int] = CATALOGUES) -> Iterator[tuple[int, int, str, Cost]]:
    """The number of interactions, that of distinct ones, the way and its cost, one after the other.

    Args:
        sizes: items by the number of interactions.
    """
    # Threads of a BLAS spin while they wait for each other, and that would count as CPU seconds.
    one_thread = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        for interaction_count, item_count in sizes.items():
            path = Path(folder) / f"{interaction_count}.npz"
            histories = generated(interaction_count, item_count)
            np.savez(path, item_rows=histories.item_rows, offsets=histories.offsets, item_count=item_count)
            for way in WAYS:
                if way == "EASE" and item_count > _ease_most():
                    continue
                command = [sys.executable, __file__, way, str(path)]
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=one_thread)
                yield (
                    interaction_count,
                    len(histories.item_rows),
                    way,
                    Cost(**json.loads(done.stdout.splitlines()[-1])),
                )


def _ease_most() -> int:
    from bascule_training.baselines import ease

    return ease.MAX_ITEMS


def generated(interaction_count: int, item_count: int, seed: int = 1) -> Histories:
    """Users with ``LENGTH`` interactions each, none with an item twice; some have less, where chance repeats itself."""
    random = np.random.default_rng(seed)
    user_count, size = interaction_count // LENGTH, item_count // TASTES
    tastes = np.where(
        random.random((user_count, DRAWN)) < OWN_TASTE,
        random.integers(0, TASTES, (user_count, 1)),
        random.integers(0, TASTES, (user_count, DRAWN)),
    )
    shares = np.cumsum(1.0 / np.arange(1, size + 1))
    places = np.searchsorted(shares, random.random((user_count, DRAWN)) * shares[-1])
    item_rows = random.permutation(item_count).astype(np.int32)[(tastes * size + places).ravel()]
    drawn = Histories(item_rows, np.arange(0, user_count * DRAWN + 1, DRAWN)).distinct()
    within = np.arange(len(drawn.item_rows)) - np.repeat(drawn.offsets[:-1], drawn.lengths)
    kept = np.minimum(drawn.lengths, LENGTH)
    return Histories(drawn.item_rows[within < LENGTH], np.concatenate([[0], np.cumsum(kept)]).astype(np.int64))


def two_towers(histories: Histories, item_count: int) -> Fit:
    """One epoch of the bag in mini-batches, under a softmax over sampled items; the model and the batches included."""
    from bascule_training.config import FitConfig, HistoryBag, ItemConfig, QueryConfig
    from bascule_training.data.examples import example_weights
    from bascule_training.data.features import history_feature
    from bascule_training.fitting.bags import bag_count, bag_examples
    from bascule_training.fitting.competitors import CompetitorSampler
    from bascule_training.fitting.feed import Feed
    from bascule_training.fitting.losses import sampled_softmax_loss
    from bascule_training.fitting.model import Inputs, TwoTowerModel
    from bascule_training.fitting.row_adam import RowAdam

    tower, length = HistoryBag(dimension=DIMENSION), QueryConfig().history_length

    def fit() -> None:
        sampler = CompetitorSampler(
            histories, item_count, in_batch=True, uniform_count=FitConfig().negative_count, masks=tower.default_masks
        )
        rows, weights = tower.default_rows_per_batch, example_weights(histories, None)
        make = partial(bag_examples, histories, weights, length, rows, tower.hides)
        feed = Feed(make, bag_count(histories, rows, tower.hides), sampler, seed=1)
        inputs = Inputs([history_feature(length, distinct=True)], [], {}, {}, np.ones(item_count, np.bool_))
        optimiser = RowAdam(tower.default_learning_rate, feed.batch_count)
        model = TwoTowerModel(
            tower,
            ItemConfig(),
            inputs,
            optimiser,
            lambda positive, candidates, step: sampled_softmax_loss(
                positive, candidates, step.log_q, step.target_log_q, step.is_known, step.weights
            ),
            seed=1,
        )
        total = sum(model.step(batch) for batch in feed.epoch(0))
        if not np.isfinite(float(total)):
            raise ValueError("got a loss that is no number; expected the epoch to be trained: lower the learning rate")

    return fit


def pure_svd(histories: Histories, item_count: int) -> Fit:
    """The strongest singular vectors of the sparse matrix of users by items."""
    from bascule_training.baselines.pure_svd import PureSvd

    return lambda: PureSvd.fit(histories, item_count, DIMENSION)


def ials(histories: Histories, item_count: int) -> Fit:
    """Alternating least squares."""
    from bascule_training.baselines.ials import SETTINGS, Ials

    return lambda: Ials.fit(histories, item_count, SETTINGS[0]._replace(factor_count=DIMENSION))


def ease(histories: Histories, item_count: int) -> Fit:
    """The inverse of a matrix of items by items."""
    from bascule_training.baselines.ease import Ease

    return lambda: Ease.fit(histories, item_count)


WAYS: Mapping[str, Callable[[Histories, int], Fit]] = {
    "two towers, one epoch": two_towers,
    "PureSVD": pure_svd,
    "iALS": ials,
    "EASE": ease,
}
"""By name: the imports and what fits."""


if __name__ == "__main__":
    main()
