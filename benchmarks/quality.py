"""How well models rank, on public data under published protocols, beside baselines that were fitted in the same run.

    python benchmarks/quality.py --data FOLDER [--seeds 3] [--only NAME ...]

Trains from the configurations in training/protocols, each as `bascule train` does, and evaluates what was published.
Everything is chosen on validation parts alone. An hour or two on two cores. The table shows means and deviations over
the seeds; benchmarks/out/quality.json holds a list of {figure, value, unit, floor, reach}. A run with --only replaces
the figures of what it ran.
"""

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from figures import OUT, Figure, read_figures, write_figures
from public_data import write_tables
from rich.console import Console
from rich.table import Table

from bascule_training.config import TrainingConfig, load_config
from bascule_training.evaluation.evaluated import Evaluation, difference, over_seeds
from bascule_training.evaluation.groups import GroupFigures, by_knowledge, figures
from bascule_training.fitting.fit import Epoch
from bascule_training.train import train
from bascule_training.trainer import Event, Stage

HERE = Path(__file__).parent
PROTOCOLS = HERE.parent / "training" / "protocols"


class Target(NamedTuple):
    """A figure that is asked for."""

    metric: str
    label: str
    floor: float
    reach: float
    seeds: int = 0
    """At least so many are run."""


TARGETS = {
    "movielens_ua": [Target("ndcg@10", "MovieLens 100K `ua`, NDCG@10", 0.316, 0.325)],
    "movielens_ua_alone": [Target("ndcg@10", "MovieLens 100K `ua`, one tower by gradient, NDCG@10", 0.295, 0.316)],
    "movielens_tutorial": [Target("recall@100", "MovieLens 100K, tutorial's split, top-100 accuracy", 0.29, 0.33)],
    "beauty": [
        Target("recall@10", "Amazon Beauty, recall@10", 0.095, 0.102, seeds=5),
        Target("ndcg@10", "Amazon Beauty, NDCG@10", 0.057, 0.062, seeds=5),
    ],
    "movietweetings": [Target("recall@20", "MovieTweetings 100K by time, recall@20", 0.239, 0.26)],
    "online_retail": [Target("recall@20", "Online Retail by time, recall@20", 0.105, 0.12)],
}


class Seeds(NamedTuple):
    """The evaluations of one protocol."""

    models: list[Evaluation]
    """One a seed."""
    baselines: list[Evaluation]
    cpu_minutes: list[float]
    """Of each seed, without the baselines; of all cores together."""


def main() -> None:
    """Trains, prints the table and writes the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder of the data sets; see public_data.py")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=TARGETS, default=list(TARGETS))
    arguments = parser.parse_args()
    write_tables(arguments.data, OUT / "data")
    console = Console(width=140)
    for name in arguments.only:
        config = load_config(PROTOCOLS / f"{name}.toml")
        if not config.data.interactions.exists():
            console.print(f"{name}: left out, its data set is not in {arguments.data}")
            continue
        seeds = run(config, max(arguments.seeds, *(target.seeds for target in TARGETS[name])), console)
        console.print(table(name, seeds))
        found = [figure for target in TARGETS[name] for figure in rows(target, seeds)]
        write_figures("quality", found, keep_others=True)
    console.print(summary(read_figures("quality")))


def summary(figures: list[Figure]) -> Table:
    """What was promised, and what it came to; a protocol that did not run now is as it ran last."""
    shown = Table("", "mean", "floor", "reach", "", title=f"commit {commit()}")
    for each in figures:
        if each.floor is not None:
            shown.add_row(each.figure, f"{each.value:.4f}", f"{each.floor:g}", f"{each.reach:g}", each.unit)
    return shown


def run(config: TrainingConfig, seed_count: int, console: Console) -> Seeds:
    """Trains and evaluates with each seed; the baselines, which have none, once."""
    models, baselines, minutes = [], [], []
    for seed in range(1, seed_count + 1):
        began = time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            trained = train(
                config.model_copy(update={"seed": seed}),
                Path(folder),
                resume=False,
                observe=lambda event: show(event, console),
                with_baselines=seed == 1,
            )
        model, *others = trained.evaluations
        baselines += others
        models.append(model)
        minutes.append((time.process_time() - began) / 60)
        console.print(f"{config.model}, seed {seed}: NDCG@10 {model.summary['ndcg@10']:.4f}", highlight=False)
    return Seeds(models, baselines, minutes)


def show(event: Event, console: Console) -> None:
    """A line for what takes long."""
    match event:
        case Stage():
            console.print(f"  {event.title} ...", highlight=False)
        case Epoch(number=number, quality=float(quality)) if number % 20 == 0:
            console.print(f"  epoch {number}: NDCG@10 on validation {quality:.4f}", highlight=False)


def rows(target: Target, seeds: Seeds) -> Iterator[Figure]:
    """The figures of one target, as they stand in the file."""
    mean, deviation = over_seeds(seeds.models)[target.metric]
    unit = f"mean of {len(seeds.models)} seeds, deviation {deviation:.4f}"
    yield Figure(target.label, mean, unit, target.floor, target.reach)
    for baseline in seeds.baselines:
        ahead = difference(seeds.models, [baseline], target.metric)
        of = f"{target.label}: {baseline.name}"
        yield Figure(of, baseline.summary[target.metric], baseline.settings or "as it is")
        error = f"standard error {ahead.standard_error:.4f}"
        yield Figure(f"{target.label}: ahead of {baseline.name}", ahead.mean, error)
    for group in apart(seeds):
        of = f"{target.label}, apart: {group.name}"
        yield Figure(of, group.means()[target.metric], f"{group.relevant_count} to find, seed 1")
    unit = "minutes a seed, the first with baselines"
    yield Figure(f"{target.label}: CPU minutes", statistics.median(seeds.cpu_minutes), unit)


def apart(seeds: Seeds) -> list[GroupFigures]:
    """What the main figures leave out where a protocol says so: cold items, and users with short histories."""
    model = seeds.models[0]
    if model.cases.rules.cold_items == "counted":
        return []
    return figures(model, [group for group in by_knowledge(model.cases) if group.name != "known items"])


def table(name: str, seeds: Seeds) -> Table:
    """A line for the model and each baseline."""
    targets = TARGETS[name]
    shown = Table("", title=f"{name}, {len(seeds.models)} seeds, commit {commit()}")
    for target in targets:
        shown.add_column(f"{target.metric}\nfloor {target.floor:g}, reach {target.reach:g}", justify="right")
        shown.add_column("model ahead by", justify="right")
    spreads = over_seeds(seeds.models)
    means = [f"{spreads[target.metric].mean:.4f} ± {spreads[target.metric].deviation:.4f}" for target in targets]
    shown.add_row("[bold]model[/bold]", *(cell for mean in means for cell in (mean, "")))
    for baseline in seeds.baselines:
        line = []
        for target in targets:
            ahead = difference(seeds.models, [baseline], target.metric)
            line += [f"{baseline.summary[target.metric]:.4f}", f"{ahead.mean:+.4f} ± {ahead.standard_error:.4f}"]
        shown.add_row(f"{baseline.name} {baseline.settings}", *line)
    for group in apart(seeds):
        cells = [(f"{group.means()[target.metric]:.4f}", "") for target in targets]
        shown.add_row(f"apart: {group.name}, {group.relevant_count:,}", *(cell for pair in cells for cell in pair))
    shown.caption = f"CPU minutes a seed: {', '.join(f'{minutes:.1f}' for minutes in seeds.cpu_minutes)}"
    return shown


def commit() -> str:
    """The commit that ran, with a + where files differ from it."""
    command = ["git", "-C", str(HERE), "describe", "--always", "--dirty=+"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


if __name__ == "__main__":
    main()
