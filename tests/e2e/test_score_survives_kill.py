"""``bascule score`` while the server, or the command itself, is killed: each row once, in order."""

import csv
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from bascule import Query
from bascule.testing import LocalServer

PATIENCE_SECONDS = 60
PART_ROWS = 1_000

SCORE = f"""
from bascule.cli import bascule, output_parts
output_parts.PART_ROWS = {PART_ROWS}
bascule()
"""
"""The command, with parts so small that there are several."""

suffixes = pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])


@contextmanager
def scoring(users: Path, out: Path, address: str, *options: str) -> Iterator[subprocess.Popen[str]]:
    """A running ``bascule score``, killed at the end where it has not ended."""
    command = [sys.executable, "-c", SCORE, "score", str(users), "--out", str(out), "--server", address, *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def score(*arguments: Any) -> tuple[int, str]:
    """The exit status and what was said on stderr."""
    with scoring(*arguments) as process:
        _, stderr = process.communicate(timeout=PATIENCE_SECONDS)
        return process.returncode, stderr


def until(is_so: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline


def parts_of(out: Path) -> list[Path]:
    return sorted(out.with_name(f"{out.name}.parts").glob("[0-9]*[0-9]" + out.suffix))


def write_users(path: Path, user_ids: list[str]) -> Path:
    frame = pl.DataFrame({"user_id": user_ids})
    if path.suffix == ".parquet":
        frame.write_parquet(path)
    elif path.suffix == ".csv":
        frame.write_csv(path)
    else:
        frame.write_ndjson(path)
    return path


def rows_of(path: Path) -> list[tuple[str, list[str]]]:
    """The users and their items."""
    if path.suffix == ".parquet":
        return [(user_id, items or []) for user_id, items, *_ in pl.read_parquet(path).iter_rows()]
    with path.open(newline="") as file:
        if path.suffix == ".csv":
            return [
                (row["user_id"], row["item_ids"].split("|") if row["item_ids"] else []) for row in csv.DictReader(file)
            ]
        return [(row["user_id"], row["item_ids"] or []) for row in map(json.loads, file)]


class Gate:
    """Ranks for each user an item of the user's own, up to a number; the users after it wait until it is opened."""

    def __init__(self, last: int) -> None:
        self.last = last
        self.opened = threading.Event()
        self.asked: list[int] = []

    def rank(self, query: Query) -> list[tuple[str, float]]:
        number = int(query.user_id)
        if number > self.last:
            self.opened.wait(PATIENCE_SECONDS)
        self.asked.append(number)
        if number % 1_000 == 7:
            raise ValueError("no taste")
        return [(f"of-{number}", 1.0)]


@suffixes
@pytest.mark.parametrize("part_count", [0, 1, 3])
def test_after_a_kill_of_the_command_it_is_gone_on_with(tmp_path: Path, suffix: str, part_count: int) -> None:
    numbers = list(range(3_500))
    users = write_users(tmp_path / f"users{suffix}", [str(number) for number in numbers])
    out = tmp_path / f"out{suffix}"
    gate = Gate(last=part_count * PART_ROWS + 300)
    with LocalServer(gate.rank, model="groceries", version=7) as server:
        try:
            with scoring(users, out, server.address) as process:
                until(lambda: len(parts_of(out)) == part_count and gate.asked != [], process)
        finally:
            gate.opened.set()
        assert len(parts_of(out)) == part_count
        assert not out.exists()
    resumed = Gate(last=len(numbers))
    with LocalServer(resumed.rank, model="groceries", version=7) as server:
        status, said = score(users, out, server.address, "--resume")
    assert status == 1, said
    assert sorted(resumed.asked) == numbers[part_count * PART_ROWS :]
    assert rows_of(out) == [(str(number), [] if number % 1_000 == 7 else [f"of-{number}"]) for number in numbers]
    failed = [json.loads(line) for line in (tmp_path / f"out{suffix}.failed.jsonl").read_text().splitlines()]
    assert [(row["row"], row["user_id"]) for row in failed] == [(n + 1, str(n)) for n in (7, 1_007, 2_007, 3_007)]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [users.name, out.name, f"{out.name}.failed.jsonl"]
    )


def test_ctrl_c_leaves_what_is_done_and_says_how_to_go_on(tmp_path: Path) -> None:
    users, out = write_users(tmp_path / "users.csv", [str(number) for number in range(2_000)]), tmp_path / "out.csv"
    gate = Gate(last=PART_ROWS + 300)
    with LocalServer(gate.rank) as server:
        try:
            with scoring(users, out, server.address) as process:
                until(lambda: len(parts_of(out)) == 1, process)
                process.send_signal(signal.SIGINT)
                _, said = process.communicate(timeout=PATIENCE_SECONDS)
        finally:
            gate.opened.set()
    assert process.returncode == 130
    assert f"1,000 rows are done, in {out}.parts; go on with --resume" in said
    assert len(parts_of(out)) == 1


def test_rows_of_another_version_are_not_mixed_in(tmp_path: Path) -> None:
    users, out = write_users(tmp_path / "users.csv", [str(number) for number in range(2_000)]), tmp_path / "out.csv"
    gate = Gate(last=PART_ROWS + 300)
    with LocalServer(gate.rank, version=7) as server:
        try:
            with scoring(users, out, server.address) as process:
                until(lambda: len(parts_of(out)) == 1, process)
        finally:
            gate.opened.set()
    with LocalServer(gate.rank, version=8) as server:
        status, said = score(users, out, server.address)
        assert status == 2
        assert f"{out}.parts holds the rows of a run that did not end; go on with --resume" in said
        status, said = score(users, out, server.address, "--resume")
    assert status == 2
    assert f"{out}.parts holds rows of version 7; got 8." in said
    assert len(parts_of(out)) == 1


def test_a_server_that_is_killed_and_started_again_is_waited_for(serve: Any, tmp_path: Path) -> None:
    user_ids = [f"u{number}" for number in range(20_000)]
    users, out = write_users(tmp_path / "users.parquet", user_ids), tmp_path / "out.parquet"
    first = serve()
    address = f"127.0.0.1:{first.port()}"
    with scoring(users, out, address) as process:
        until(lambda: len(parts_of(out)) >= 2, process)
        first.process.kill()
        first.ended()
        assert process.poll() is None
        serve(listen=address).port()
        _, said = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, said
    assert [user_id for user_id, _ in rows_of(out)] == user_ids
    assert all(len(items) == 10 for _, items in rows_of(out))
    assert "The server is away (UNAVAILABLE: " in said
    assert "The server is back." in said
