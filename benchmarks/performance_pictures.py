"""The pictures of docs/performance.md, drawn from what lies in benchmarks/out.

python benchmarks/serving.py --rounds 3 --seconds 3 --rates 500 1000 2000 3000 4000 6000 8000
python benchmarks/catalogues.py
python benchmarks/performance_pictures.py
"""

import re
from collections.abc import Iterable, Mapping
from itertools import takewhile

import numpy as np
from figures import read_figures
from serving import LOADED
from serving_peers import MLSERVER, NO_WORK, TRITON, TRITON_TWICE
from serving_servers import AIO, CORE, WORKERS
from svg_pictures import PICTURES, Panel, Style, decades, lines_picture

from bascule_training.report.charts import Axis, Position, Scale, Series, line_chart

STYLES = {
    WORKERS: Style("#1750b5", width=3.0),
    CORE: Style("#1750b5", dashes="6 4"),
    AIO: Style("#8a5cc0"),
    TRITON: Style("#c4482a", width=3.0),
    TRITON_TWICE: Style("#c4482a", dashes="6 4"),
    MLSERVER: Style("#a97a12"),
    NO_WORK: Style("#b0a99a"),
    "bascule": Style("#1750b5", width=3.0),
}
LONGEST = 5_000.0
"""Milliseconds, of the scale."""
MOST_FAILED = 1.0
"""Percent of the calls; a server's line ends where more fail."""


def main() -> None:
    """Draws what there are figures of."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    if latencies := {each.figure: each.value for each in read_figures(LOADED)}:
        (PICTURES / "latency_by_load.svg").write_text(latency_picture(latencies), encoding="utf-8")
    if sizes := {each.figure: each.value for each in read_figures("catalogues")}:
        (PICTURES / "users_by_items.svg").write_text(sizes_picture(sizes), encoding="utf-8")


def latency_picture(values: Mapping[str, float]) -> str:
    """Latency of each server by the calls that arrive in a second, a panel for each share of them."""
    rates = _numbers(values, r": ([\d,]+) calls/s, p50")
    servers = [name for name in STYLES if f"{name}: {rates[0]:,} calls/s, p50, ms" in values]
    panels = []
    for share in ("p50", "p99"):
        series = []
        for server in reversed(servers):
            failed = [values[f"{server}: {rate:,} calls/s, failed, %"] for rate in rates]
            # Beyond that, what is answered at all is answered quickly, or is a refusal.
            kept = list(takewhile(lambda pair: pair[1] <= MOST_FAILED, zip(rates, failed, strict=True)))
            found = np.array([values[f"{server}: {rate:,} calls/s, {share}, ms"] for rate, _ in kept])
            series.append(Series(server, server, found.clip(max=LONGEST)))
        x, y = Axis("calls that arrive in a second", Scale.linear([0, rates[-1]])), Axis("ms", decades(0.05, LONGEST))
        panels.append(Panel(share, line_chart(series, [Position(rate, f"{rate:,}") for rate in rates], x, y)))
    title = "latency by the calls that arrive in a second, for each server"
    return lines_picture(title, panels, STYLES, servers)


def sizes_picture(values: Mapping[str, float]) -> str:
    """Users a second, and the time to start, by the number of items."""
    sizes = _numbers(values, r"^([\d,]+) items: ")
    panels = []
    for what, title, unit in (
        ("users/s, 64 a call, one worker", "one worker, 64 users a call", "users/s"),
        ("start to SERVING", "start to SERVING", "seconds"),
    ):
        found = np.array([values[f"{size:,} items: {what}"] for size in sizes])
        x, y = Axis("items", decades(sizes[0], sizes[-1])), Axis(unit, decades(found.min(), found.max()))
        positions = [Position(size, f"{size:,}") for size in sizes]
        panels.append(Panel(title, line_chart([Series("bascule", "bascule", found)], positions, x, y)))
    return lines_picture("users a second and time to start by the number of items", panels, STYLES, ["bascule"])


def _numbers(names: Iterable[str], pattern: str) -> list[int]:
    """The whole numbers that stand in names, in order."""
    matches = (re.search(pattern, name) for name in names)
    return sorted({int(match[1].replace(",", "")) for match in matches if match})


if __name__ == "__main__":
    main()
