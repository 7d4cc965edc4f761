"""What it takes to begin: imports, a server of 20,000 items, and what the container's image holds beside its base.

    python benchmarks/cold_start.py [--rounds 11]

Each program runs in a process of its own, bytecode written before and files in the system's cache; times are medians,
less what Python itself takes. A server counts from its start to a health check that says SERVING. The image's packages
are those of requirements-server.txt, as they are installed here. benchmarks/out/cold_start.json holds the table as a
list of {figure, value, unit, floor, reach}.
"""

import argparse
import importlib.metadata
import re
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from figures import Figure, write_figures
from rich.console import Console
from rich.table import Table
from serving_child import environment, printed
from serving_model import generated
from serving_process import memory_bytes
from serving_servers import ours

LOCK = Path(__file__).parents[1] / "requirements-server.txt"
PROGRAMS = {
    "import bascule": "import bascule",
    "import bascule, and open a client": "import bascule; bascule.Client().close()",
    "import bascule_server.server": "import bascule_server.server",
}
LARGEST_SHOWN = 6


def main() -> None:
    """Prints the table and writes the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=11)
    arguments = parser.parse_args()
    figures = [*imports(arguments.rounds), *server(arguments.rounds), *packages()]
    table = Table("", "", "")
    for each in figures:
        table.add_row(each.figure, f"{each.value:,.3f}" if each.unit == "s" else f"{each.value:,.0f}", each.unit)
    Console().print(table)
    write_figures("cold_start", figures)


def imports(rounds: int) -> Iterator[Figure]:
    """Seconds that programs take, over a Python that does nothing."""
    variables = environment()
    variables.pop("PYTHONDONTWRITEBYTECODE", None)
    taken: dict[str, list[float]] = {"": [], **{name: [] for name in PROGRAMS}}
    for _ in range(rounds + 1):
        for name, seconds in taken.items():
            began = time.perf_counter()
            printed([sys.executable, "-c", PROGRAMS.get(name, "pass")], variables)
            seconds.append(time.perf_counter() - began)
    # The first round writes bytecode.
    medians = {name: statistics.median(seconds[1:]) for name, seconds in taken.items()}
    for name in PROGRAMS:
        yield Figure(name, medians[name] - medians[""], "s")


def server(rounds: int) -> Iterator[Figure]:
    """How long a server takes to start, and what it holds then."""
    seconds, held = [], []
    for _ in range(rounds):
        began = time.perf_counter()
        with ours("cold start", "", generated().models) as running:
            seconds.append(time.perf_counter() - began)
            held.append(memory_bytes(running.process_id) / 1e6)
    yield Figure("start to SERVING", statistics.median(seconds), "s")
    yield Figure("memory of the server (PSS)", statistics.median(held), "MB")


def packages() -> Iterator[Figure]:
    """Megabytes of what the image installs."""
    names = re.findall(r"^([a-z0-9._-]+)==", LOCK.read_text(encoding="utf-8"), re.MULTILINE | re.IGNORECASE)
    sizes = {name: size for name in names if (size := installed_bytes(name))}
    yield Figure("packages of the image", sum(sizes.values()) / 1e6, "MB")
    for name in sorted(sizes, key=lambda name: -sizes[name])[:LARGEST_SHOWN]:
        yield Figure(f"of these, {name}", sizes[name] / 1e6, "MB")


def installed_bytes(name: str) -> int:
    """The size of a package's files; 0 where it is for another platform."""
    try:
        files = importlib.metadata.files(name) or ()
    except importlib.metadata.PackageNotFoundError:
        return 0
    paths = (Path(str(file.locate())) for file in files if file.suffix != ".pyc")
    return sum(path.stat().st_size for path in paths if path.is_file())


if __name__ == "__main__":
    main()
