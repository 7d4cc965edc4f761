import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner, Result

from bascule_training.commands.evaluate import evaluate


def run(*arguments: object) -> Result:
    return CliRunner().invoke(evaluate, [str(argument) for argument in arguments], env={"COLUMNS": "140"})


def check_refused(done: Result, sentence: str) -> None:
    assert done.exit_code == 2
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    assert sentence in done.stderr


@pytest.fixture
def logs(tiny_config: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Half of the log of the configuration, and the other half."""
    log = pl.read_parquet(tiny_config.parent / "interactions.parquet").sort("time")
    paths = tmp_path / "before.csv", tmp_path / "after.csv"
    log[: len(log) // 2].write_csv(paths[0])
    log[len(log) // 2 :].write_csv(paths[1])
    return paths


def test_it_prints_the_figures_beside_popularity_and_by_group(artifact_folder: Path, tiny_config: Path) -> None:
    done = run(artifact_folder, "--config", tiny_config)
    assert done.exit_code == 0, done.output
    for words in ("ndcg", "novelty", "@100", "tiny/1", "popularity", "±", "150 users", "known items", "history of "):
        assert words in done.stdout, words
    assert "Note" not in done.stdout


def test_it_evaluates_on_any_two_logs(artifact_folder: Path, logs: tuple[Path, Path]) -> None:
    done = run(artifact_folder, "--before", logs[0], "--after", logs[1])
    assert done.exit_code == 0, done.output
    assert "tiny/1" in done.stdout
    assert "Note: The model also reads country, age of a user" in done.stdout


def test_with_users_it_reads_their_features(artifact_folder: Path, tiny_config: Path, logs: tuple[Path, Path]) -> None:
    users = tiny_config.parent / "users.parquet"
    done = run(artifact_folder, "--before", logs[0], "--after", logs[1], "--users", users)
    assert done.exit_code == 0, done.output
    assert "also reads" not in done.stdout


def test_it_writes_the_figures_for_machines(artifact_folder: Path, tiny_config: Path, tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    done = run(artifact_folder, "--config", tiny_config, "--set", "evaluation.min_history=3", "--json", path)
    assert done.exit_code == 0, done.output
    written = json.loads(path.read_text())
    assert written["rules"]["min_history"] == 3
    assert 0 < written["evaluations"][0]["figures"]["recall@100"]["value"] <= 1


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--before", "a.csv"],
        ["--after", "a.csv"],
        ["--config", "a.toml", "--before", "a.csv", "--after", "b.csv"],
        ["--config", "a.toml", "--users", "a.csv"],
        ["--before", "a.csv", "--after", "b.csv", "--set", "seed=1"],
    ],
)
def test_it_wants_a_configuration_or_two_logs(options: list[str]) -> None:
    check_refused(run("models/tiny/1", *options), "expected either --config (with --set), or --before and --after")


def test_what_cannot_be_done_ends_with_status_2_and_one_sentence(
    artifact_folder: Path, tiny_config: Path, logs: tuple[Path, Path], tmp_path: Path
) -> None:
    check_refused(run(tmp_path, "--config", tiny_config), "manifest.json")
    check_refused(run(artifact_folder, "--config", tmp_path / "nothing.toml"), "nothing.toml: cannot be read")
    check_refused(run(artifact_folder, "--config", tiny_config, "--set", "evaluation.cases=1"), "evaluation.cases")
    check_refused(run(artifact_folder, "--before", tmp_path / "no.csv", "--after", logs[1]), "no.csv")
    path = tmp_path / "none" / "x.json"
    check_refused(run(artifact_folder, "--config", tiny_config, "--json", path), f"--json {path}: there is no folder")


def test_it_needs_no_tensorflow(artifact_folder: Path, tiny_config: Path) -> None:
    code = f"""
import sys
from bascule_training.commands.evaluate import evaluate
evaluate([{str(artifact_folder)!r}, "--config", {str(tiny_config)!r}], standalone_mode=False)
sys.exit("tensorflow" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0
