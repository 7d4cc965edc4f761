"""What a target competes with, side by side: raw in-batch negatives, corrected ones, mixed ones, even ones, everything.

    python benchmarks/negatives.py --data FOLDER [--seeds 1]

One tower each, trained from the configurations in training/protocols as `bascule train` does, on two data sets: Amazon
Beauty, where the next item is asked for, with the transformer, and MovieLens 100K `ua`, where order says nothing, with
the bag. By default the transformer takes mixed negatives there, corrected, and the bag the full softmax. Figures are of
the validation part, of the best epoch; all ways see as many epochs. A quarter of an hour on two cores for each seed.
benchmarks/out/negatives.json holds a list of {figure, value, unit, floor, reach}.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from figures import OUT, Figure, write_figures
from public_data import write_tables
from quality import PROTOCOLS
from rich.console import Console
from rich.table import Table

from bascule_training.config import load_config
from bascule_training.fitting.fit import Epoch
from bascule_training.prepared import Prepared, prepare
from bascule_training.trainer import Event, Trainer

EPOCHS = {"beauty": 8, "movielens_ua_alone": 60}
"""Of each training; a whole one takes 40 and 120."""

WAYS = {
    "in-batch, raw": ("negatives=in_batch", "correction=none"),
    "in-batch, logQ": ("negatives=in_batch",),
    "in-batch, refined logQ": ("negatives=in_batch", "correction=refined"),
    "mixed, logQ": ("negatives=mixed",),
    "even": ("negatives=uniform",),
    "full softmax": ("negatives=full",),
}


class Tried(NamedTuple):
    """What came of one way with one seed."""

    quality: float
    """NDCG@10 on validation at the best epoch."""
    cpu_seconds: float


def main() -> None:
    """Prints a table for each data set and writes the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder of the data sets; see public_data.py")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=EPOCHS, default=list(EPOCHS))
    arguments = parser.parse_args()
    write_tables(arguments.data, OUT / "data")
    for protocol in arguments.only:
        found = compare(protocol, range(1, arguments.seeds + 1))
        Console().print(table(protocol, found))
        figures = [
            Figure(f"{protocol}, {way}: NDCG@10", statistics.mean(each.quality for each in tried), "validation")
            for way, tried in found.items()
        ]
        write_figures("negatives", figures, keep_others=True)


def compare(protocol: str, seeds: range) -> dict[str, list[Tried]]:
    """Every way with every seed; the ways take turns."""
    found: dict[str, list[Tried]] = {way: [] for way in WAYS}
    prepared = prepare(load_config(PROTOCOLS / f"{protocol}.toml"))
    for seed in seeds:
        for way, settings in WAYS.items():
            found[way].append(tried(protocol, settings, seed, prepared))
    return found


def tried(protocol: str, settings: tuple[str, ...], seed: int, prepared: Prepared) -> Tried:
    """Trains one tower."""
    epochs = EPOCHS[protocol]
    changed = (f"seed={seed}", f"fit.epochs={epochs}", "fit.refit=false", "tower.beside=[]")
    config = load_config(PROTOCOLS / f"{protocol}.toml", [*changed, *(f"fit.{setting}" for setting in settings)])
    qualities: list[float] = []

    def watch(event: Event) -> None:
        if isinstance(event, Epoch) and event.quality is not None:
            qualities.append(event.quality)

    began = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        Trainer(config, prepared, Path(folder), resume=False, observe=watch).fit()
    return Tried(max(qualities), time.process_time() - began)


def table(protocol: str, found: dict[str, list[Tried]]) -> Table:
    """A line a way."""
    seeds = len(next(iter(found.values())))
    shown = Table("", title=f"{protocol}, {EPOCHS[protocol]} epochs, {seeds} seeds")
    shown.add_column("NDCG@10 on validation", justify="right")
    shown.add_column("lowest to highest", justify="right")
    shown.add_column("CPU seconds", justify="right")
    for way, tried in found.items():
        qualities = [each.quality for each in tried]
        shown.add_row(
            way,
            f"{statistics.mean(qualities):.4f}",
            f"{min(qualities):.4f} - {max(qualities):.4f}",
            f"{statistics.median(each.cpu_seconds for each in tried):.0f}",
        )
    return shown


if __name__ == "__main__":
    main()
