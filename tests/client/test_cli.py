"""The command line, against a real server."""

import importlib.metadata
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import click
import polars as pl
import pytest
from click.testing import CliRunner, Result

from bascule import Query, ValueKind
from bascule import cli as cli_package
from bascule.cli import bascule
from bascule.testing import LocalServer

Run: TypeAlias = Callable[..., Result]


@pytest.fixture
def run(server: LocalServer) -> Run:
    """Runs a command against the server."""

    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(bascule, arguments, env={"BASCULE_SERVER": server.address, "COLUMNS": "200"})

    return invoke


def test_a_user_gets_a_table(run: Run) -> None:
    result = run("recommend", "--user", "42", "--count", "2")
    assert result.exit_code == 0
    assert [line.split() for line in result.stdout.splitlines()[1:]] == [
        ["1", "of-42", "3.0000"],
        ["2", "bread", "2.0000"],
    ]
    assert "groceries version 7" in result.stderr


def test_json_is_one_object(run: Run) -> None:
    result = run("recommend", "--history", "a, b", "--count", "1", "--json")
    answer = json.loads(result.stdout)
    assert answer["items"] == [{"item_id": "of-", "score": 3.0}]
    assert (answer["model"], answer["version"], answer["path"]) == ("groceries", 7, "personalised")


@pytest.mark.parametrize("arguments", [(), ("--item", "a", "--user", "1"), ("--user", "1", "--count", "0")])
def test_wrong_usage_is_exit_status_2(run: Run, arguments: tuple[str, ...]) -> None:
    result = run("recommend", *arguments)
    assert result.exit_code == 2
    assert "Error: " in result.stderr


def test_an_error_is_one_line_and_exit_status_2(run: Run) -> None:
    result = run("recommend", "--user", "42", "--model", "films")
    assert result.exit_code == 2
    assert result.stderr == "Error: MODEL_NOT_FOUND: No such model or version is loaded.\n"


def test_models_are_a_table(run: Run) -> None:
    result = run("models")
    assert result.exit_code == 0
    assert "groceries" in result.stdout
    assert "age (number), country (category), tags (categories)" in result.stdout


def test_health_is_in_the_exit_status(run: Run, server: LocalServer) -> None:
    assert run("health").exit_code == 0
    server.is_serving = False
    assert run("health").exit_code == 1
    server.stop()
    assert run("health").exit_code == 1


def test_the_version_is_shown(run: Run) -> None:
    assert importlib.metadata.version("bascule") in run("--version").stdout


def test_a_command_that_cannot_be_imported_is_not_there(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    absent = importlib.metadata.EntryPoint("fly", "bascule_wings.fly:fly", "bascule.commands")
    monkeypatch.setattr(cli_package, "_entry_points", lambda: {"fly": absent})
    assert "fly" not in run("--help").stdout
    assert "No such command 'fly'" in run("fly").stderr


def test_a_command_whose_libraries_are_missing_says_what_to_install(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def callback() -> None:
        raise ModuleNotFoundError("No module named 'wings'", name="wings")

    class Present(importlib.metadata.EntryPoint):
        def load(self) -> click.Command:
            return click.Command("fly", callback=callback)

    monkeypatch.setattr(
        cli_package, "_entry_points", lambda: {"fly": Present("fly", "bascule_server.fly:fly", "bascule.commands")}
    )
    result = run("fly")
    assert result.exit_code == 2
    assert "'fly' needs wings, which is not installed: pip install 'bascule[server]'" in result.stderr


def test_ctrl_c_is_exit_status_130(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("bascule.client.Client.models", interrupt)
    assert run("models").exit_code == 130


def test_without_click_the_command_says_what_to_install() -> None:
    program = "import sys; sys.modules['click'] = None; from bascule.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "bascule: the command line needs more than the client: pip install 'bascule[cli]'\n"


def test_listing_the_commands_loads_no_heavy_library() -> None:
    program = """
import sys
from click.testing import CliRunner
from bascule.cli import bascule
assert "score" in CliRunner().invoke(bascule, ["--help"]).stdout
print(*{name.partition(".")[0] for name in sys.modules})
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"tensorflow", "polars", "rich"} & set(done.stdout.split())


def test_the_module_runs_as_a_program(server: LocalServer) -> None:
    command = [sys.executable, "-m", "bascule", "health", "--server", server.address]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "SERVING\n")


def write_users(path: Path) -> Path:
    table = pl.DataFrame({"user_id": ["1", "broken", "2"], "age": [31, 41, None], "shoe_size": [42, 43, 44]})
    match path.suffix:
        case ".parquet":
            table.write_parquet(path)
        case ".csv":
            table.write_csv(path)
        case _:
            table.write_ndjson(path)
    return path


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_a_file_is_scored_and_failed_rows_are_listed(run: Run, tmp_path: Path, suffix: str) -> None:
    users, out = write_users(tmp_path / f"users{suffix}"), tmp_path / "recs.jsonl"
    result = run("score", str(users), "--out", str(out), "--count", "1")
    assert result.exit_code == 1, result.output
    assert [json.loads(line) for line in out.read_text().splitlines()] == [
        {"user_id": "1", "item_ids": ["of-1"], "scores": [3.0], "path": "personalised"},
        {"user_id": "broken", "item_ids": None, "scores": None, "path": None},
        {"user_id": "2", "item_ids": ["of-2"], "scores": [3.0], "path": "personalised"},
    ]
    (failed,) = [json.loads(line) for line in (tmp_path / "recs.jsonl.failed.jsonl").read_text().splitlines()]
    assert failed == {
        "row": 2,
        "user_id": "broken",
        "reason": "INTERNAL",
        "message": "the test's function raised ValueError: no taste",
    }
    assert "not read, since the model has no such features: shoe_size" in result.stderr


def test_where_all_is_well_the_list_of_an_earlier_run_goes(run: Run, tmp_path: Path) -> None:
    users, out = tmp_path / "users.csv", tmp_path / "recs.parquet"
    users.write_text("user_id\n1\n2\n")
    (tmp_path / "recs.parquet.failed.jsonl").write_text("earlier\n")
    result = run("score", str(users), "--out", str(out))
    assert result.exit_code == 0, result.output
    assert pl.read_parquet(out)["user_id"].to_list() == ["1", "2"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["recs.parquet", "users.csv"]


def test_features_and_history_are_asked(tmp_path: Path) -> None:
    seen: list[Query] = []

    def note(query: Query) -> list[tuple[str, float]]:
        seen.append(query)
        return []

    users = tmp_path / "users.csv"
    users.write_text("user_id,history,age,height\n1,a|b,31,180\n")
    with LocalServer(note, features={"age": ValueKind.NUMBER}) as server:
        arguments = ["score", str(users), "--out", str(tmp_path / "recs.csv"), "--server", server.address]
        assert CliRunner().invoke(bascule, arguments).exit_code == 0
    assert seen == [Query("1", ("a", "b"), {"age": 31.0})]


def test_columns_may_have_other_names(tmp_path: Path) -> None:
    seen: list[Query] = []

    def note(query: Query) -> list[tuple[str, float]]:
        seen.append(query)
        return []

    users = tmp_path / "users.csv"
    users.write_text("customer,clicks,years,user_id\n1,a|b,31,no\n")
    with LocalServer(note, features={"age": ValueKind.NUMBER}) as server:
        arguments = ["score", str(users), "--out", str(tmp_path / "recs.csv"), "--server", server.address]
        columns = "user_id=customer, history=clicks, age=years"
        result = CliRunner().invoke(bascule, [*arguments, "--columns", columns])
    assert result.exit_code == 0, result.output
    assert seen == [Query("1", ("a", "b"), {"age": 31.0})]
    assert "not read, since the model has no such features: user_id" in result.stderr


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ("user_id", "expected NAME=COLUMN,...; got 'user_id'"),
        ("user_id=", "expected NAME=COLUMN,...; got 'user_id='"),
        ("shoes=size", "got shoes"),
        ("history=clicks", "no column clicks; there are: user_id"),
    ],
)
def test_columns_that_cannot_be_read_are_named(run: Run, tmp_path: Path, columns: str, sentence: str) -> None:
    (tmp_path / "users.csv").write_text("user_id\n1\n")
    result = run("score", str(tmp_path / "users.csv"), "--out", str(tmp_path / "o.csv"), "--columns", columns)
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["users.csv"]


@pytest.mark.parametrize(
    ("users", "out", "sentence"),
    [
        ("name\nx\n", "recs.csv", "no column user_id; there are: name"),
        ("user_id\n1,2\n", "recs.csv", "line 2: more or fewer cells than the 1 columns"),
        ("user_id\n1\n", "recs.xlsx", "expected a file that ends in .parquet, .csv, .jsonl"),
        ("user_id\n1\n", "users.csv", "is the input itself"),
        ("user_id\n1\n", "nowhere/recs.csv", "No such file or directory"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_leaves_nothing(
    run: Run, tmp_path: Path, users: str, out: str, sentence: str
) -> None:
    (tmp_path / "users.csv").write_text(users)
    result = run("score", str(tmp_path / "users.csv"), "--out", str(tmp_path / out))
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["users.csv"]


def test_a_model_that_there_is_not_is_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "users.csv").write_text("user_id\n1\n")
    result = run("score", str(tmp_path / "users.csv"), "--out", str(tmp_path / "o.csv"), "--model", "films")
    assert result.exit_code == 2
    assert "the server has no model 'films' that is ready; ready are: groceries" in result.stderr
