"""How long a training step takes, by the size of the catalogue and beside the same model written by other means.

    python benchmarks/training.py
    python benchmarks/training.py --keras-rs-python PYTHON --tfrs-python PYTHON

The others are in benchmarks/other_trainers.py. The two last need packages that Bascule does not: give the Python of an
environment with keras-rs, and of one with tensorflow-recommenders and tf-keras; without them they are left out.

A step is that of a transformer of 64 components over 32 rows of 50 items: 1,600 examples, each with 2,624 candidates,
the targets of the batch and 1,024 items drawn evenly, under a sampled softmax with the logQ correction. Generated
histories, of 50 items each, have popular and rare items by Zipf's law.

What differs: Bascule's time includes the making of its batches and their negatives; the others read ready-made batches
of Bascule's from memory. Bascule has one learned bias for each distance of two items, the others an embedding for each
position. Bascule's Adam leaves alone the rows of the table that a step did not use; theirs moves all of them by their
fading moments, as Adam is defined. Bascule's operations are deterministic; theirs need not be.

The ways run in turn, and the table shows medians over the rounds; the ratios carry over to other machines, the times do
not. benchmarks/out/training.json holds them as a list of {figure, value, unit, floor, reach}.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import tensorflow as tf
from figures import Figure, write_figures
from other_trainers import STEPS
from rich.console import Console
from rich.table import Table

from bascule_training.config import FitConfig, HistoryTransformer, ItemConfig
from bascule_training.data.examples import example_weights
from bascule_training.data.features import history_feature
from bascule_training.data.histories import Histories
from bascule_training.fitting.competitors import CompetitorSampler
from bascule_training.fitting.feed import Feed
from bascule_training.fitting.losses import sampled_softmax_loss
from bascule_training.fitting.model import Inputs, StepTensors, TwoTowerModel
from bascule_training.fitting.packing import batch_count, packed_examples
from bascule_training.fitting.row_adam import RowAdam

CATALOGUES = (20_000, 200_000, 2_000_000)
ROUNDS = 5
LENGTH = 50
ROWS = 32
USERS = 20_000
OURS = "bascule"
OTHERS = Path(__file__).with_name("other_trainers.py")
MOST_GROWTH = 1.5
READY_BATCHES = 16
BATCHES_AHEAD = 5
Measure = Callable[[], float]
"""Takes some steps; returns the seconds of one."""
Way = TypeVar("Way", int, str)


def main() -> None:
    """Prints the table and writes the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keras-rs-python", default=sys.executable)
    parser.add_argument("--tfrs-python", default=sys.executable)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    arguments = parser.parse_args()
    pythons = {"keras": sys.executable, "keras-rs": arguments.keras_rs_python, "tfrs": arguments.tfrs_python}
    feeds = {items: feed(items) for items in CATALOGUES}
    ours = {items: measure(items, feeds[items]) for items in CATALOGUES}
    by_size = alternating(ours, arguments.rounds)
    growth = statistics.median(
        last / first for first, last in zip(by_size[CATALOGUES[0]], by_size[CATALOGUES[-1]], strict=True)
    )
    print(f"step time, {CATALOGUES[-1]:,} items by {CATALOGUES[0]:,}: {growth:.2f}", flush=True)
    times = {}
    for items in CATALOGUES:
        times[items] = beside(ours[items], items, feeds[items], pythons, arguments.rounds)
        print(f"{items:,} items: {said(times[items])}", flush=True)
    report(growth, times)


def feed(item_count: int) -> Feed:
    """Batches from generated histories."""
    random = np.random.default_rng(1)
    shares = np.cumsum(1.0 / np.arange(1, item_count + 1))
    places = np.searchsorted(shares, random.random(USERS * LENGTH) * shares[-1])
    item_rows = random.permutation(item_count).astype(np.int32)[places]
    histories = Histories(item_rows, np.arange(0, USERS * LENGTH + 1, LENGTH))
    sampler = CompetitorSampler(
        histories,
        item_count,
        in_batch=True,
        uniform_count=FitConfig().negative_count,
        masks=HistoryTransformer.default_masks,
    )
    make = partial(packed_examples, histories, example_weights(histories, None), LENGTH, ROWS)
    return Feed(make, batch_count(histories, LENGTH, ROWS), sampler, seed=1)


def measure(item_count: int, batches: Feed) -> Measure:
    """Bascule's step, with the making of its batches."""
    tower = HistoryTransformer()
    inputs = Inputs([history_feature(LENGTH, distinct=False)], [], {}, {}, np.ones(item_count, np.bool_))
    optimiser = RowAdam(tower.default_learning_rate, batches.batch_count)
    model = TwoTowerModel(tower, ItemConfig(), inputs, optimiser, loss, seed=1)
    endless = (batch for number in count() for batch in batches.epoch(number))

    def steps(number: int) -> float:
        began = time.perf_counter()
        losses = [model.step(batch) for batch in islice(endless, number)]
        assert np.isfinite(losses).all()
        return (time.perf_counter() - began) / number

    def seconds() -> float:
        steps(BATCHES_AHEAD)  # these were made while others ran
        return steps(STEPS)

    seconds()  # the first steps are traced
    return seconds


def loss(positive: tf.Tensor, candidates: tf.Tensor, step: StepTensors) -> tf.Tensor:
    """As a configuration has it by default."""
    return sampled_softmax_loss(positive, candidates, step.log_q, step.target_log_q, step.is_known, step.weights)


def alternating(ways: Mapping[Way, Measure], rounds: int) -> dict[Way, list[float]]:
    """Seconds a step of each way in each round."""
    found = [{way: seconds() for way, seconds in ways.items()} for _ in range(rounds)]
    return {way: [each[way] for each in found] for way in ways}


def beside(
    ours: Measure, item_count: int, batches: Feed, pythons: Mapping[str, str], rounds: int
) -> dict[str, list[float] | str]:
    """Seconds a step of every way in each round, or why there are none."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        write_batches(batches, folder / "batches.npz")
        found: dict[str, Measure | str] = {OURS: ours}
        for way, python in pythons.items():
            command = [python, str(OTHERS), way, str(item_count), str(folder / "batches.npz")]
            found[way] = stack.enter_context(other(command))
        times = alternating({way: each for way, each in found.items() if not isinstance(each, str)}, rounds)
        return {way: each if isinstance(each, str) else times[way] for way, each in found.items()}


def write_batches(batches: Feed, path: Path) -> None:
    """Writes some batches for the others, each tensor [batches, ...]; a query's target has its place in rows."""
    ready = list(islice(batches.epoch(0), READY_BATCHES))
    for batch in ready:
        assert np.array_equal(batch.rows[: ROWS * LENGTH], batch.targets[:, 0])
    names = ("codes", "users", "rows", "log_q")
    arrays = {name: np.stack([getattr(batch, name).numpy() for batch in ready]) for name in names}
    np.savez(path, **arrays)  # type: ignore[arg-type]  # taken for the keyword `allow_pickle`


@contextmanager
def other(command: Sequence[str]) -> Iterator[Measure | str]:
    """One of the others in a process of its own; or what is not installed."""
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)
        assert process.stdin is not None
        assert process.stdout is not None
        answers, questions = process.stdout, process.stdin

        def answer() -> str:
            if line := answers.readline().strip():
                return line
            errors.seek(0)
            sys.exit(f"{' '.join(command)} ended:\n{errors.read()[-2_000:]}")

        def seconds() -> float:
            print(file=questions, flush=True)
            return float(answer())

        try:
            said = answer()
            yield seconds if said == "ready" else said
        finally:
            questions.close()
            process.wait(60)


def said(ways: Mapping[str, list[float] | str]) -> str:
    """The median step of each way in a line."""
    told = ((way, each if isinstance(each, str) else f"{statistics.median(each):.3f} s") for way, each in ways.items())
    return ", ".join(f"{way} {what}" for way, what in told)


def report(growth: float, times: Mapping[int, Mapping[str, list[float] | str]]) -> None:
    """Prints the table and writes the file."""
    examples = ROWS * LENGTH
    title = (
        f"{examples:,} examples a step; {CATALOGUES[-1]:,} items take {growth:.2f} times as long as {CATALOGUES[0]:,}"
    )
    table = Table("items", "", "ms a step", "examples/s", "of bascule's", title=title)
    name = f"step time, {CATALOGUES[-1]:,} items by {CATALOGUES[0]:,}"
    figures = [Figure(name, growth, "ratio, at most", floor=MOST_GROWTH)]
    for items, ways in times.items():
        ours = ways[OURS]
        assert not isinstance(ours, str)
        for way, found in ways.items():
            if isinstance(found, str):
                table.add_row(f"{items:,}", way, found)
                continue
            seconds = statistics.median(found)
            share = statistics.median(our / other for our, other in zip(ours, found, strict=True))
            table.add_row(f"{items:,}", way, f"{1_000 * seconds:.0f}", f"{examples / seconds:,.0f}", f"{share:.2f}")
            of = f"{way}, {items:,} items"
            figures += [
                Figure(of, examples / seconds, "examples/s"),
                Figure(f"{of}: share of bascule's examples/s", share, "ratio"),
            ]
    Console().print(table)
    write_figures("training", figures)


if __name__ == "__main__":
    main()
