"""Two towers beside factorisation: tastes of three kinds, features without a history, and growing logs.

    python benchmarks/two_towers_and_svd.py
    python benchmarks/two_towers_and_svd.py --only narrow growth --seeds 1 2 3

All data is generated. Prints a table for each part, writes benchmarks/out/two_towers_and_svd.json, a list of {figure,
value, unit, floor, reach}, and draws the pictures of docs/two_towers_and_svd.md from that file. A run with --only or
--seeds replaces the figures of what it ran; tables and pictures show means over the seeds that the file has, each a log
of its own. About 20 minutes on two idle cores.
"""

import argparse
import os
from collections.abc import Iterator, Sequence

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import features_alone
import linear_limits
import two_towers_pictures
from figures import Figure, write_figures
from fitted_towers import CUTOFF, Quality
from growth import costs
from rich.console import Console
from rich.table import Table
from two_towers_pictures import NAME, Values, over_seeds, read_values

SEEDED = (*linear_limits.LOGS, "features")
PARTS = (*SEEDED, "growth")
"""What can be measured alone."""


def main() -> None:
    """Measures, prints the tables, writes the file and draws the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    arguments = parser.parse_args()
    console = Console(width=140)
    for part in arguments.only:
        for found in measured(part, arguments.seeds, console):
            write_figures(NAME, found, keep_others=True)
    values = read_values()
    for part in arguments.only:
        console.print(growth_table(values) if part == "growth" else quality_table(part, values))
    two_towers_pictures.main()


def measured(part: str, seeds: Sequence[int], console: Console) -> Iterator[list[Figure]]:
    """What is to be written at once; lists, since the file is read before it is written and others may write it too."""
    if part == "growth":
        yield list(growth(console))
        return
    for seed in seeds:
        yield list(features(seed, console) if part == "features" else tastes(part, seed, console))


def tastes(name: str, seed: int, console: Console) -> Iterator[Figure]:
    """How well the models rank on one log of known tastes."""
    for each in linear_limits.found(name, seed):
        console.print(f"  {name}, seed {seed}: {each}", highlight=False)
        yield from _rows(f"{name}, {each.model}, {each.components} components", seed, each.quality)
    log = linear_limits.LOGS[name][0](seed)
    for components in linear_limits.COMPONENTS:
        share = linear_limits.kept_share(log, components)
        yield Figure(f"{name}, squares kept, {components} components, seed {seed}, share", share, "share")


def features(seed: int, console: Console) -> Iterator[Figure]:
    """How well users and items are ranked of whom only the features are known."""
    for each in features_alone.found(seed):
        console.print(f"  features, seed {seed}: {each}", highlight=False)
        yield from _rows(f"features, {each.group}, {each.model}", seed, each.quality)


def _rows(of: str, seed: int, quality: Quality) -> Iterator[Figure]:
    for metric, value in quality._asdict().items():
        yield Figure(f"{of}, seed {seed}, {metric}@{CUTOFF}", value, "mean over users")


def growth(console: Console) -> Iterator[Figure]:
    """Time and memory by the size of the log."""
    for size, distinct, way, cost in costs():
        console.print(f"  {distinct:,} interactions, {way}: {cost}", highlight=False)
        of = f"growth, {size} interactions, {way}"
        yield Figure(f"growth, {size} interactions, distinct", distinct, "interactions")
        yield Figure(f"{of}, CPU", cost.cpu_seconds, "seconds of all threads")
        yield Figure(f"{of}, clock", cost.seconds, "seconds")
        yield Figure(f"{of}, peak", cost.peak_mib, "MiB")
        yield Figure(f"{of}, before", cost.before_mib, "MiB")


def quality_table(part: str, values: Values) -> Table:
    """A line for each model, components or group; means and deviations over the seeds."""
    table = Table("", *(f"{metric}@{CUTOFF}" for metric in Quality._fields), title=part)
    names = dict.fromkeys(figure.split(", seed ")[0] for figure in values if figure.startswith(f"{part}, "))
    for name in names:
        if "squares kept" in name:
            continue
        spreads = [over_seeds(values, name, f"{metric}@{CUTOFF}") for metric in Quality._fields]
        table.add_row(name.removeprefix(f"{part}, "), *(f"{each.mean:.3f} ± {each.deviation:.3f}" for each in spreads))
    return table


def growth_table(values: Values) -> Table:
    """A line for each way and size."""
    columns = {"CPU": "CPU seconds", "clock": "seconds", "peak": "peak MiB", "before": "before fitting MiB"}
    table = Table("", *columns.values(), title="growth")
    names = [
        figure.removesuffix(", CPU") for figure in values if figure.startswith("growth, ") and figure.endswith(", CPU")
    ]
    for name in names:
        table.add_row(name.removeprefix("growth, "), *(f"{values[f'{name}, {column}']:,.1f}" for column in columns))
    return table


if __name__ == "__main__":
    main()
