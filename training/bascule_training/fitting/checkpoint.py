"""Saves and restores a training run between epochs: one file, replaced whole."""

import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


class CheckpointError(Exception):
    """The file is no checkpoint of this run, or cannot be written."""


_DAMAGE = (OSError, ValueError, KeyError, EOFError, NotImplementedError, RuntimeError, TypeError, zipfile.BadZipFile)
"""What reading a damaged file may raise."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run has come, and the best that it found."""

    epoch: int
    """How many epochs are done."""
    best_epoch: int
    best_quality: float
    best: Sequence[NDArray[Any]]
    """The variables of the best epoch."""
    curve: Sequence[tuple[float, float]] = ()
    """Mean loss and quality of every epoch done."""


def save(path: Path, run: str, progress: Progress, variables: Sequence[NDArray[Any]]) -> None:
    """Writes a checkpoint in the place of the last one.

    Args:
        path: the file.
        run: tells runs apart, so that one is not continued as another.
        progress: how far it has come.
        variables: the state now.

    Raises:
        CheckpointError: it cannot be written there.
    """
    arrays = {
        "run": np.array(run),
        "counts": np.array([progress.epoch, progress.best_epoch, len(variables), len(progress.best)]),
        "best_quality": np.array(progress.best_quality),
        "curve": np.array(progress.curve, np.float64).reshape(-1, 2),
    }
    arrays |= {f"now_{index}": array for index, array in enumerate(variables)}
    arrays |= {f"best_{index}": array for index, array in enumerate(progress.best)}
    try:
        _replace(path, arrays)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be written: {error.strerror}") from error


def restore(path: Path, run: str) -> tuple[Progress, list[NDArray[Any]]] | None:
    """Reads a checkpoint: how far the run had come, and its state then; None where there is none.

    Raises:
        CheckpointError: it is damaged, or of a run with another configuration or other data.
    """
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            found = str(arrays["run"])
            epoch, best_epoch, variable_count, best_count = arrays["counts"].tolist()
            best = _numbered(arrays, "best", best_count)
            curve = [(loss, quality) for loss, quality in arrays["curve"].tolist()]
            progress = Progress(epoch, best_epoch, float(arrays["best_quality"]), best, curve)
            variables = _numbered(arrays, "now", variable_count)
    except _DAMAGE as error:
        raise CheckpointError(f"{path}: damaged: {error}; remove it and train from the start") from error
    if found != run:
        raise CheckpointError(
            f"{path}: of a run with another configuration or other data; train without --resume to start anew"
        )
    return progress, variables


def _replace(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_suffix(".staged.npz")
    with staged.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # taken for the keyword `allow_pickle`
        file.flush()
        os.fsync(file.fileno())
    staged.replace(path)


def _numbered(arrays: Mapping[str, NDArray[Any]], name: str, count: int) -> list[NDArray[Any]]:
    return [arrays[f"{name}_{index}"] for index in range(count)]
