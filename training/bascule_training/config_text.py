"""Writes a configuration as the TOML file that it could have been read from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import BaseModel


def config_text(config: BaseModel, *, paths: bool = True) -> str:
    """The configuration as TOML, defaults included.

    Args:
        config: a configuration or a section of one.
        paths: whether paths are written whole. Else only the names of the files are, which is what others may know.
    """
    text: str = tomli_w.dumps(_plain(config.model_dump(exclude_none=True), paths=paths))
    return text


def _plain(value: Any, *, paths: bool) -> Any:  # noqa: ANN401 - whatever a configuration holds
    match value:
        case Mapping():
            return {name: _plain(each, paths=paths) for name, each in value.items()}
        case list() | tuple():
            return [_plain(each, paths=paths) for each in value]
        case Path():
            return str(value) if paths else value.name
        case _:
            return value
