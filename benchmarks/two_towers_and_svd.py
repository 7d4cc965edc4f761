"""Two towers beside factorisation: tastes of three kinds, features without a history, and growing logs.

    python benchmarks/two_towers_and_svd.py
    python benchmarks/two_towers_and_svd.py --only growth

All data is generated. Prints a table for each part, writes benchmarks/out/two_towers_and_svd.json, a list of {figure,
value, unit, floor, reach}, and draws the pictures of docs/two_towers_and_svd.md from that file. A run with --only
replaces the figures of what it ran.

About 15 minutes on two cores. Means and standard deviations are over three seeds, each a log of its own.
"""

import argparse
import os
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import partial

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import features_alone
import linear_limits
import two_towers_pictures
from figures import Figure, write_figures
from fitted_towers import CUTOFF, Quality
from growth import costs
from rich.console import Console
from rich.table import Table
from two_towers_pictures import NAME


def main() -> None:
    """Measures, prints the tables, writes the file and draws the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    console = Console(width=140)
    for part in parser.parse_args().only:
        write_figures(NAME, PARTS[part](console), keep_others=True)
    two_towers_pictures.main()


def tastes(name: str, console: Console) -> Iterator[Figure]:
    """How well the models rank on one log of known tastes."""
    by_model: dict[tuple[str, int], list[Quality]] = defaultdict(list)
    for seed in linear_limits.SEEDS:
        for each in linear_limits.found(name, seed):
            by_model[each.model, each.components].append(each.quality)
            console.print(f"  {name}, seed {seed}: {each}", highlight=False)
    table = Table("model", "components", title=f"{name} tastes")
    rows = [((model, f"{components or ''}"), seeds) for (model, components), seeds in by_model.items()]
    _show(table, rows, console)
    for (model, components), seeds in by_model.items():
        yield from _rows(f"{name}, {model}, {components} components", seeds)
    log = linear_limits.LOGS[name][0](linear_limits.SEEDS[0])
    for components in linear_limits.COMPONENTS:
        share = linear_limits.kept_share(log, components)
        console.print(f"  rank {components} keeps {share:.3f} of the squared chances", highlight=False)
        yield Figure(f"{name}, squared chances kept by rank {components}", share, "share, seed 1")


def features(console: Console) -> Iterator[Figure]:
    """How well users and items are ranked of whom only the features are known."""
    by_model: dict[tuple[str, str], list[Quality]] = defaultdict(list)
    for seed in features_alone.SEEDS:
        for each in features_alone.found(seed):
            by_model[each.group, each.model].append(each.quality)
            console.print(f"  features, seed {seed}: {each}", highlight=False)
    _show(Table("who", "model", title="features alone"), sorted(by_model.items()), console)
    for (group, model), seeds in by_model.items():
        yield from _rows(f"features, {group}, {model}", seeds)


def growth(console: Console) -> Iterator[Figure]:
    """Time and memory by the size of the log."""
    table = Table("interactions", "way", title="what training costs")
    for column in ("CPU seconds", "seconds", "peak MiB", "before fitting MiB"):
        table.add_column(column, justify="right")
    for size, distinct, way, cost in costs():
        cells = (cost.cpu_seconds, cost.seconds, cost.peak_mib, cost.before_mib)
        table.add_row(f"{distinct:,}", way, *(f"{cell:,.1f}" for cell in cells))
        console.print(f"  {distinct:,} interactions, {way}: {cost}", highlight=False)
        of = f"growth, {size} interactions, {way}"
        yield Figure(f"{of}, CPU", cost.cpu_seconds, "seconds of all threads")
        yield Figure(f"{of}, clock", cost.seconds, "seconds")
        yield Figure(f"{of}, peak", cost.peak_mib, "MiB")
        yield Figure(f"{of}, before", cost.before_mib, "MiB")
    console.print(table)


def _show(table: Table, rows: Iterable[tuple[tuple[str, str], list[Quality]]], console: Console) -> None:
    for metric in Quality._fields:
        table.add_column(f"{metric}@{CUTOFF}", justify="right")
    for names, seeds in rows:
        columns = zip(*seeds, strict=True)
        table.add_row(*names, *(f"{statistics.mean(each):.3f} ± {statistics.stdev(each):.3f}" for each in columns))
    console.print(table)


def _rows(of: str, seeds: list[Quality]) -> Iterator[Figure]:
    for metric, values in zip(Quality._fields, zip(*seeds, strict=True), strict=True):
        yield Figure(f"{of}, {metric}@{CUTOFF}", statistics.mean(values), f"mean of {len(values)} seeds")
        yield Figure(f"{of}, {metric}@{CUTOFF}, deviation", statistics.stdev(values), f"of {len(values)} seeds")


PARTS: dict[str, Callable[[Console], Iterator[Figure]]] = {
    **{name: partial(tastes, name) for name in linear_limits.LOGS},
    "features": features,
    "growth": growth,
}
"""What can be measured alone."""


if __name__ == "__main__":
    main()
