"""What is kept of an output that is not complete."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode
from hypothesis import given, settings
from hypothesis import strategies as st

from bascule import Failure, NotFoundError
from bascule.cli import output_parts
from bascule.cli.output_file import OUTPUT_FORMATS
from bascule.cli.output_parts import Conditions, OutputParts, ResumeError

CONDITIONS = Conditions(input_sha256="ab", model="groceries", version=7, count=10, columns={"user_id": "customer"})
ERROR = NotFoundError(Failure(StatusCode.NOT_FOUND, "no", "USER_NOT_FOUND"))

suffixes = pytest.mark.parametrize("suffix", OUTPUT_FORMATS)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output_parts, "PART_ROWS", 3)


def open_parts(out: Path, conditions: Conditions = CONDITIONS, *, resume: bool = False) -> OutputParts:
    return OutputParts(out, OUTPUT_FORMATS[out.suffix], conditions, resume=resume)


def write(parts: OutputParts, stop: int) -> None:
    """Writes the rows that are not there yet; every fourth fails."""
    for number in range(parts.row_count, stop):
        row = {"user_id": str(number), "item_ids": None, "scores": None, "path": None}
        if number % 4 == 3:
            parts.write_failed(row, ERROR)
        else:
            parts.write(row)


def write_and_break(out: Path, stop: int, error: type[BaseException] = KeyboardInterrupt, *, resume: bool) -> None:
    def run() -> None:
        with open_parts(out, resume=resume) as parts:
            write(parts, stop)
            raise error

    with pytest.raises(error):
        run()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def complete(out: Path, row_count: int, *, resume: bool = False) -> dict[str, bytes]:
    with open_parts(out, resume=resume) as parts:
        write(parts, row_count)
    return contents(out.parent)


@suffixes
@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_before_the_first_part_an_exception_leaves_no_trace(
    tmp_path: Path, suffix: str, error: type[BaseException]
) -> None:
    (tmp_path / f"out{suffix}").write_text("earlier")
    write_and_break(tmp_path / f"out{suffix}", 2, error, resume=False)
    assert contents(tmp_path) == {f"out{suffix}": b"earlier"}


@suffixes
def test_nothing_but_the_files_is_left(tmp_path: Path, suffix: str) -> None:
    assert set(complete(tmp_path / f"out{suffix}", 8)) == {f"out{suffix}", f"out{suffix}.failed.jsonl"}
    assert set(complete(tmp_path / f"out{suffix}", 2)) == {f"out{suffix}"}


@suffixes
@settings(max_examples=20)
@given(st.lists(st.integers(0, 12), max_size=4), st.integers(0, 12))
def test_however_often_it_breaks_the_file_is_that_of_one_run(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, stops: list[int], row_count: int
) -> None:
    whole, broken = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("broken")
    for stop in stops:
        write_and_break(broken / f"out{suffix}", min(stop, row_count), resume=True)
    expected = complete(whole / f"out{suffix}", row_count)
    assert complete(broken / f"out{suffix}", row_count, resume=True) == expected


def test_without_resume_what_is_there_is_not_thrown_away(tmp_path: Path) -> None:
    write_and_break(tmp_path / "out.csv", 3, resume=False)
    before = contents(tmp_path / "out.csv.parts")
    with pytest.raises(ResumeError, match="go on with --resume, or remove the folder"):
        open_parts(tmp_path / "out.csv")
    assert contents(tmp_path / "out.csv.parts") == before


@pytest.mark.parametrize(
    ("field", "value"),
    [("input_sha256", "cd"), ("model", "films"), ("version", 8), ("count", 20), ("columns", {})],
)
def test_rows_of_other_conditions_are_not_mixed(tmp_path: Path, field: str, value: Any) -> None:
    write_and_break(tmp_path / "out.csv", 3, resume=False)
    before = contents(tmp_path / "out.csv.parts")
    with pytest.raises(ResumeError, match=f"holds rows of {field} .*; got {value}"):
        open_parts(tmp_path / "out.csv", replace(CONDITIONS, **{field: value}), resume=True)
    assert contents(tmp_path / "out.csv.parts") == before


def test_a_living_run_is_left_alone(tmp_path: Path) -> None:
    with (
        open_parts(tmp_path / "out.csv"),
        pytest.raises(ResumeError, match="belongs to a run that goes on"),
    ):
        open_parts(tmp_path / "out.csv", resume=True)


def test_a_folder_of_someone_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out.csv.parts").mkdir()
    (tmp_path / "out.csv.parts" / "letter.txt").write_text("dear")
    with pytest.raises(ResumeError, match=r"holds letter\.txt, which is of no run"):
        open_parts(tmp_path / "out.csv", resume=True)
    assert contents(tmp_path / "out.csv.parts") == {"letter.txt": b"dear"}


KILLED_AT = """
import os, signal, sys
from pathlib import Path
from grpc import StatusCode
from bascule import Failure, NotFoundError
from typing import Any
from bascule.cli import output_parts
from bascule.cli.output_file import OUTPUT_FORMATS

steps = int(sys.argv[2])

def step(event, _):
    global steps
    if event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree"):
        steps -= 1
        if steps < 0:
            os.kill(os.getpid(), signal.SIGKILL)

output_parts.PART_ROWS = 3
conditions = output_parts.Conditions("ab", "groceries", 7, 10, {"user_id": "customer"})
error = NotFoundError(Failure(StatusCode.NOT_FOUND, "no", "USER_NOT_FOUND"))
sys.addaudithook(step)
with output_parts.OutputParts(Path(sys.argv[1]), OUTPUT_FORMATS[".csv"], conditions, resume=True) as parts:
    for number in range(8):
        row = {"user_id": str(number), "item_ids": None, "scores": None, "path": None}
        if number % 4 == 3:
            parts.write_failed(row, error)
        else:
            parts.write(row)
"""
"""Writes eight rows, and is killed before so many files were made, renamed or removed."""


def test_a_kill_before_any_change_of_a_file_loses_no_row(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    expected = complete(tmp_path / "whole" / "out.csv", 8)
    for steps in range(100):
        folder = tmp_path / str(steps)
        folder.mkdir()
        command = [sys.executable, "-c", KILLED_AT, str(folder / "out.csv"), str(steps)]
        status = subprocess.run(command, check=False).returncode
        if status == 0:
            break
        assert status == -9
        assert complete(folder / "out.csv", 8, resume=True) == expected
    assert contents(folder) == expected
    assert steps > 10
