"""What a page of the documentation says: its tables and its code."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from pydantic_core import PydanticUndefined

from bascule_training.config import HistoryTransformer
from bascule_training.data.splits import LeaveOneOut

ROOT = Path(__file__).parents[1]


def code_blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def table(page: Path, *heading: str) -> list[list[str]]:
    """The rows of all tables that have these columns."""
    rows, inside = [], False
    for line in page.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if not cells:
            inside = False
        elif cells == list(heading):
            inside = True
        elif inside and not set(line) <= set("|-"):
            rows.append(cells)
    assert rows, f"{page.name} has no table with the columns {heading}"
    return rows


def names_in(cells: Iterator[str]) -> set[str]:
    return {cell.strip("`") for cell in cells}


def toml_value(value: object) -> str:
    """A default as TOML has it; bools and texts as JSON has them too."""
    match value:
        case None:
            return "none"
        case LeaveOneOut() | HistoryTransformer():
            return f'`{{ kind = "{value.kind}" }}`'
        case _ if value is PydanticUndefined:
            return "required"
        case _:
            return f"`{json.dumps(value)}`"
