"""How much memory `bascule train` takes, by the length of the log.

    python benchmarks/memory.py
    python benchmarks/memory.py --interactions 1000000 --epochs 2

Each log is generated, 50 interactions a user with 50,000 items, and trained on as examples/generated.toml has it:
a transformer with features, for some epochs, then again with the validation part, evaluated beside the baselines and
published. Both commands run in processes of their own, and the figures are what the system says of the second:
the largest resident memory that it had at any time, and the processor time of all its threads.

benchmarks/out/memory.json holds them as a list of {figure, value, unit, floor, reach}.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from figures import Figure, write_figures
from rich.console import Console
from rich.table import Table

CONFIG = Path(__file__).parents[1] / "examples" / "generated.toml"
LOGS = (1_000_000, 10_000_000)
INTERACTIONS_PER_USER = 50
ITEMS = 50_000
MOST_GB = 4.0
"""What ten million interactions should not exceed."""


class Used(NamedTuple):
    """What a process took."""

    gigabytes: float
    """10^9 bytes, the peak of its resident memory."""
    cpu_minutes: float


def main() -> None:
    """Prints the table and writes the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--interactions", type=int, nargs="+", default=LOGS, help="the lengths of the logs")
    parser.add_argument("--epochs", type=int, default=1)
    arguments = parser.parse_args()
    report({count: trained_on(count, arguments.epochs) for count in sorted(arguments.interactions)})


def trained_on(interactions: int, epochs: int) -> Used:
    """What training on a generated log takes."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        users = str(interactions // INTERACTIONS_PER_USER)
        sizes = ["--interactions", str(interactions), "--users", users, "--items", str(ITEMS)]
        run(["data", "generate", "--out", str(data), *sizes])
        tables = {f"data.{name}": data / f"{name}.parquet" for name in ("interactions", "users", "items")}
        settings = [f"{key}={value}" for key, value in {**tables, "fit.epochs": epochs}.items()]
        chosen = [word for setting in settings for word in ("--set", setting)]
        return run(["train", str(CONFIG), "--out", str(Path(folder) / "models"), *chosen])


def run(arguments: Sequence[str]) -> Used:
    """Runs a command of Bascule's to its end.

    The parent has to be small: until a process is another program it counts with the memory of its parent.
    """
    process = subprocess.Popen([sys.executable, "-m", "bascule", *arguments])
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"bascule {' '.join(arguments)} ended with {process.returncode}")
    kilobytes = usage.ru_maxrss / 1_024 if sys.platform == "darwin" else usage.ru_maxrss
    return Used(kilobytes * 1_024 / 1e9, (usage.ru_utime + usage.ru_stime) / 60)


def report(used: Mapping[int, Used]) -> None:
    """Prints the table and writes the file."""
    table = Table("interactions", "peak GB", "CPU minutes", title=f"bascule train, {ITEMS:,} items")
    figures = []
    for count, each in used.items():
        table.add_row(f"{count:,}", f"{each.gigabytes:.2f}", f"{each.cpu_minutes:.1f}")
        name = f"{count:,} interactions"
        floor = MOST_GB if count <= max(LOGS) else None
        figures += [
            Figure(f"peak memory, {name}", each.gigabytes, "GB, at most", floor=floor),
            Figure(f"processor time, {name}", each.cpu_minutes, "CPU minutes"),
        ]
    if len(used) > 1:
        (few, first), *_, (many, last) = used.items()
        growth = 1e9 * (last.gigabytes - first.gigabytes) / (many - few)
        table.caption = f"{growth:.0f} bytes more for every further interaction"
        figures.append(Figure("memory for every further interaction", growth, "bytes"))
    Console().print(table)
    write_figures("memory", figures)


if __name__ == "__main__":
    main()
