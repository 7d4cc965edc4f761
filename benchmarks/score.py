"""How fast `bascule score` is from Parquet to Parquet, over the scorer alone in a process of its own.

    python benchmarks/score.py [--users 1000000] [--rounds 1]

Users have histories of 20 items; 20 of 20,000 items are recommended to each. The server runs with its defaults and with
two workers, on the processors that the command uses too. Beside it the scorer answers the same histories in batches of
256, before and after each run. The table shows medians over the rounds, and ratios of the same round.
benchmarks/out/score.json holds it as a list of {figure, value, unit, floor, reach}.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
from figures import Figure, write_figures
from rich.console import Console
from rich.table import Table
from serving_child import environment, printed
from serving_model import ITEMS, Generated, generated
from serving_scorer import BATCH
from serving_servers import CORE, WORKERS, our_servers
from serving_weights import ITEM_COUNT, SEED, draw_histories, item_ids

SCORER_SECONDS = 8.0
SCORED = 8 * BATCH
"""Histories that the scorer gets, again and again."""
FLOOR, REACH = 0.6, 0.85


def main() -> None:
    """Prints the table and writes the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=1)
    arguments = parser.parse_args()
    model = generated(ITEMS)
    rates: dict[str, list[float]] = {CORE: [], WORKERS: []}
    ratios: dict[str, list[float]] = {CORE: [], WORKERS: []}
    with tempfile.TemporaryDirectory() as folder:
        users = write_users(Path(folder), arguments.users)
        for _ in range(arguments.rounds):
            for name, found in rates.items():
                before = scorer_rate(model, Path(folder))
                found.append(score_rate(name, model, users, arguments.users))
                ratios[name].append(found[-1] / statistics.mean([before, scorer_rate(model, Path(folder))]))
    report(arguments.users, rates, ratios)


def write_users(folder: Path, count: int) -> Path:
    """users.parquet, and for the scorer the histories of the first ones."""
    histories = draw_histories(count, ITEMS, SEED + 3)
    np.save(folder / "histories.npy", histories[:SCORED])
    ids = pl.Series(item_ids(np.arange(ITEMS, dtype=np.int32)))
    chosen = ids.gather(histories.ravel()).reshape((count, histories.shape[1])).arr.to_list()
    path = folder / "users.parquet"
    pl.DataFrame(
        {"user_id": pl.select(pl.format("u{}", pl.int_range(count))).to_series(), "history": chosen}
    ).write_parquet(path)
    return path


def scorer_rate(model: Generated, folder: Path) -> float:
    """Users a second of the scorer alone."""
    program = Path(__file__).with_name("serving_scorer.py")
    return float(
        printed([sys.executable, program, model.version, folder / "histories.npy", SCORER_SECONDS], environment())
    )


def score_rate(name: str, model: Generated, users: Path, count: int) -> float:
    """Rows a second of the command, its start included."""
    out = users.with_name("out.parquet")
    with our_servers(model.models)[name].start() as server:
        options = ["--count", str(ITEM_COUNT), "--server", server.address]
        began = time.perf_counter()
        printed([sys.executable, "-m", "bascule", "score", users, "--out", out, *options], environment())
        rate = count / (time.perf_counter() - began)
    written = pl.scan_parquet(out).select(pl.len(), pl.col("item_ids").list.len().min().alias("least")).collect()
    assert written.row(0) == (count, ITEM_COUNT), f"the output has {written.row(0)} rows and items; expected more"
    return rate


def report(count: int, rates: dict[str, list[float]], ratios: dict[str, list[float]]) -> None:
    """Prints the table and writes the file."""
    table = Table("server", "rows/s", "over the scorer in-process", title=f"bascule score, {count:,} users")
    figures = []
    for name, each in rates.items():
        ratio = statistics.median(ratios[name])
        table.add_row(name, f"{statistics.median(each):,.0f}", f"{ratio:.2f}")
        figures.append(Figure(f"bascule score, {name}: rows/s over the scorer", ratio, "ratio", FLOOR, REACH))
        figures.append(Figure(f"bascule score, {name}", statistics.median(each), "rows/s"))
    Console().print(table)
    write_figures("score", figures)


if __name__ == "__main__":
    main()
