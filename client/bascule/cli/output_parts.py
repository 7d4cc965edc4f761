"""The rows that are done, kept beside the output until it is complete, so that a run that was killed can be resumed.

    OUT.parts/
        run.json                     what the rows were made of
        000000032768.parquet         up to row 32,768, from where the part before ends
        000000032768.failed.jsonl    which rows of the part failed, and why; not there where none did

A file is written under another name, flushed to disk and renamed, and a part after its failed rows: what has its name
is complete. ``run.json`` comes first and goes first; a folder without it holds nothing that counts. The folder of a
living run is locked.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bascule.cli.output_file import (
    OutputFormat,
    OutputRow,
    join_json_lines,
    write_json_lines,
)
from bascule.errors import BasculeError

PART_ROWS = 32_768
"""Rows that are in memory at once, and the most that have to be scored again after a kill."""

RUN_FILE = "run.json"

PART_NAME = "[0-9]" * 12


class ResumeError(Exception):
    """What an earlier run left cannot be gone on with, or is not to be thrown away: what to do about it."""


@dataclass(frozen=True)
class Conditions:
    """What makes the rows what they are. Rows that were made of something else do not belong into the same file."""

    input_sha256: str
    model: str
    version: int
    count: int
    columns: Mapping[str, str]

    def check(self, earlier: Mapping[str, Any], folder: Path) -> None:
        """Raises ResumeError where an earlier run had others."""
        for field in fields(self):
            now, then = getattr(self, field.name), earlier.get(field.name)
            if now != then:
                raise ResumeError(
                    f"{folder} holds rows of {field.name} {then}; got {now}. "
                    "Resume with what they were made of, or remove the folder to start anew"
                )


class OutputParts:
    """A context manager that puts the file into its place at the end, and keeps the parts after an exception.

    Args:
        out: The file to write; ``OUT.failed.jsonl`` is written beside it where rows failed, and removed where none did.
        output_format: Its kind.
        conditions: What the rows are made of.
        resume: Whether to go on where an earlier run ended, if there is one. Without it, one that ended is an error.

    Raises:
        ResumeError: The parts of an earlier run are in the way, or of other conditions.
        OSError: The folder cannot be made.
    """

    def __init__(self, out: Path, output_format: OutputFormat, conditions: Conditions, *, resume: bool) -> None:
        self.folder = out.with_name(f"{out.name}.parts")
        self.failed_path = out.with_name(f"{out.name}.failed.jsonl")
        self._out = out
        self._format = output_format
        self._rows: list[OutputRow] = []
        self._failed: list[OutputRow] = []
        self._lock = _locked(self.folder)
        try:
            self._begin(conditions, resume=resume)
        except BaseException:
            os.close(self._lock)
            raise
        self._parts = sorted(self.folder.glob(f"{PART_NAME}{out.suffix.lower()}"))
        self.row_count = int(self._parts[-1].stem) if self._parts else 0
        """Rows that are written, those of the earlier run too."""
        self.failed_count = sum(_count_lines(path) for path in self._failed_parts())
        """Those of them that have no ranking."""

    @property
    def kept_row_count(self) -> int:
        """Rows that would be there after a kill."""
        return self.row_count - len(self._rows)

    def write(self, row: OutputRow) -> None:
        """Adds the next row."""
        self._rows.append(row)
        self.row_count += 1
        if len(self._rows) == PART_ROWS:
            self._write_part()

    def write_failed(self, row: OutputRow, error: BasculeError) -> None:
        """Adds the next row, which has no ranking, and notes why."""
        reason = error.reason or error.code.name
        number, user_id = self.row_count + 1, row["user_id"]
        self._failed.append({"row": number, "user_id": user_id, "reason": reason, "message": error.message})
        self.failed_count += 1
        self.write(row)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
            if kind is None or not self._parts:
                _remove(self.folder)
        finally:
            os.close(self._lock)

    def _begin(self, conditions: Conditions, *, resume: bool) -> None:
        run_file = self.folder / RUN_FILE
        if not run_file.exists():
            _refuse_what_is_not_ours(self.folder)
            for leftover in self.folder.iterdir():
                leftover.unlink()
            _write_whole(run_file, lambda path: path.write_text(json.dumps(asdict(conditions))))
        elif resume:
            conditions.check(json.loads(run_file.read_text()), self.folder)
        else:
            raise ResumeError(
                f"{self.folder} holds the rows of a run that did not end; go on with --resume, or remove the folder "
                "to start anew"
            )

    def _write_part(self) -> None:
        part = self.folder / f"{self.row_count:012}{self._out.suffix.lower()}"
        if self._failed:
            _write_whole(_failed_of(part), lambda path: write_json_lines(path, self._failed))
        else:
            _failed_of(part).unlink(missing_ok=True)
        _write_whole(part, lambda path: self._format.write_part(path, self._rows))
        self._parts.append(part)
        self._rows.clear()
        self._failed.clear()

    def _finish(self) -> None:
        if self._rows or not self._parts:
            self._write_part()
        if failed := self._failed_parts():
            self._put(self.failed_path, lambda path: join_json_lines(failed, path))
        else:
            self.failed_path.unlink(missing_ok=True)
        self._put(self._out, lambda path: self._format.join(self._parts, path))

    def _put(self, path: Path, write: Callable[[Path], object]) -> None:
        whole = self.folder / "whole"
        _write_whole(whole, write)
        whole.replace(path)

    def _failed_parts(self) -> list[Path]:
        return [failed for failed in map(_failed_of, self._parts) if failed.exists()]


def _failed_of(part: Path) -> Path:
    return part.with_name(f"{part.stem}.failed.jsonl")


def _locked(folder: Path) -> int:
    """The folder, made where it is not there, open and locked; the lock ends with the process, however that ends."""
    folder.mkdir(exist_ok=True)
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise ResumeError(f"{folder} belongs to a run that goes on; wait for it, or choose another --out") from None
    return lock


def _refuse_what_is_not_ours(folder: Path) -> None:
    for path in folder.iterdir():
        name = path.name.removesuffix(".new")
        if name not in (RUN_FILE, "whole") and not path.match(f"{PART_NAME}.*"):
            raise ResumeError(f"{folder} is in the way: it holds {path.name}, which is of no run; move it elsewhere")


def _write_whole(path: Path, write: Callable[[Path], object]) -> None:
    new = path.with_name(f"{path.name}.new")
    write(new)
    with new.open("rb") as file:
        os.fsync(file.fileno())
    new.replace(path)


def _remove(folder: Path) -> None:
    with suppress(FileNotFoundError):
        (folder / RUN_FILE).unlink()
    shutil.rmtree(folder)


def _count_lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file)
