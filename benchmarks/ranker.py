"""What a ranking tower adds to retrieval on a data set that is parted by time: both figures on the same users.

    python benchmarks/ranker.py --data FOLDER [--set movietweetings] [--seeds 3] [--model KIND]

Trains the set's configuration in training/protocols with a ranking tower, as `bascule train` does; all is chosen on the
validation part. The tower of MovieTweetings reads genres and the year too. Its settings were found there; those of
Online Retail, which has no features of items here, are the same. On two cores a seed takes up to ten minutes;
`--model ease` retrieves by a tower in closed form and takes one or two. benchmarks/out/ranker_SET.json holds a list of
{figure, value, unit}.
"""

import argparse
import os
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from figures import OUT, Figure, write_figures
from public_data import write_tables
from rich.console import Console
from rich.table import Table

from bascule_training.config import KINDS, FeatureConfig, RankerConfig, load_config
from bascule_training.evaluation.evaluated import difference, over_seeds
from bascule_training.train import Trained, train

PROTOCOLS = Path(__file__).parent.parent / "training" / "protocols"
FEATURES = {
    "movietweetings": (
        FeatureConfig(name="genres", kind="multi_valued"),
        FeatureConfig(name="year", kind="standardised"),
    ),
    "online_retail": (),
}
"""By data set, what the tower reads of items."""
METRICS = ("ndcg@10", "recall@10", "recall@20", "coverage@10")


def main() -> None:
    """Trains, prints the table and writes the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder of the data sets; see public_data.py")
    parser.add_argument("--set", dest="name", choices=FEATURES, default="movietweetings")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--model", choices=KINDS, help="retrieves by this kind of tower, in the place of the protocol's"
    )
    arguments = parser.parse_args()
    write_tables(arguments.data, OUT / "data")
    console = Console(width=120)
    runs = []
    for seed in range(1, arguments.seeds + 1):
        runs.append(trained(arguments.name, seed, arguments.model))
        ranked, unranked = (evaluation.summary["ndcg@10"] for evaluation in runs[-1].evaluations)
        console.print(f"seed {seed}: NDCG@10 {ranked:.4f} ranked, {unranked:.4f} by retrieval alone", highlight=False)
    found = list(figures(runs))
    write_figures(f"ranker_{arguments.name}", found)
    table = Table("", "value", "", title=f"{arguments.name}, by time: {len(runs[0].evaluations[0].weights):,} users")
    for each in found:
        table.add_row(each.figure, f"{each.value:.4f}", each.unit)
    console.print(table)


def trained(name: str, seed: int, kind: str | None = None) -> Trained:
    """One model with a ranking tower, and its evaluations: ranked, and by retrieval alone."""
    config = load_config(PROTOCOLS / f"{name}.toml", [f"seed={seed}"], kind)
    items = OUT / "data" / f"{name}_items.parquet" if FEATURES[name] else None
    data = config.data.model_copy(update={"items": items})
    config = config.model_copy(update={"data": data, "ranker": RankerConfig(features=FEATURES[name])})
    with tempfile.TemporaryDirectory() as folder:
        return train(config, Path(folder), resume=False, observe=lambda _: None, with_baselines=False)


def figures(runs: Sequence[Trained]) -> Iterator[Figure]:
    """Means over the seeds: retrieval and ranking together, then apart."""
    ranked, unranked = ([run.evaluations[place] for run in runs] for place in (0, 1))
    for metric in METRICS:
        for name, evaluations in (("retrieval and ranking", ranked), ("retrieval alone", unranked)):
            mean, deviation = over_seeds(evaluations)[metric]
            yield Figure(f"{metric}, {name}", mean, f"mean of {len(runs)} seeds, deviation {deviation:.4f}")
        if metric in ranked[0].by_case:
            ahead = difference(ranked, unranked, metric)
            interval = f"95 % from {ahead.interval.low:+.4f} to {ahead.interval.high:+.4f}"
            yield Figure(f"{metric}, ahead", ahead.mean, f"standard error {ahead.standard_error:.4f}, {interval}")
    apart = [run.ranking.figures() for run in runs if run.ranking is not None]
    for name in apart[0]:
        yield Figure(name, statistics.mean(each[name] for each in apart), f"mean of {len(runs)} seeds")


if __name__ == "__main__":
    main()
