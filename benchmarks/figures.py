"""The file that a benchmark leaves beside its table: benchmarks/out/NAME.json, a list of figures."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

OUT = Path(__file__).parent / "out"


class Figure(NamedTuple):
    """One measured number."""

    figure: str
    """What it is of."""
    value: float
    unit: str
    floor: float | None = None
    """What it should not miss; None: nothing was promised."""
    reach: float | None = None
    """What it would be good to come to."""


def write_figures(name: str, figures: Iterable[Figure], *, keep_others: bool = False) -> None:
    """Writes benchmarks/out/NAME.json.

    Args:
        name: of the benchmark.
        figures: what was measured.
        keep_others: whether figures of other names that the file holds stay in it.
    """
    kept = read_figures(name) if keep_others else []
    found = {each.figure: each._asdict() for each in (*kept, *figures)}
    OUT.mkdir(exist_ok=True)
    _path(name).write_text(json.dumps(list(found.values()), indent=2) + "\n", encoding="utf-8")


def read_figures(name: str) -> list[Figure]:
    """What benchmarks/out/NAME.json holds; nothing where there is none."""
    path = _path(name)
    return [Figure(**each) for each in json.loads(path.read_text(encoding="utf-8"))] if path.exists() else []


def _path(name: str) -> Path:
    return OUT / f"{name}.json"
