import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner

from bascule_training.commands.data import data


def test_generate_writes_three_tables_and_says_so(tmp_path: Path) -> None:
    arguments = ["generate", "--out", str(tmp_path), "--users", "20", "--items", "30", "--interactions", "200"]
    done = CliRunner().invoke(data, arguments)
    assert done.exit_code == 0
    assert done.output == f"{tmp_path}: 200 interactions of 20 users with 30 items\n"
    assert pl.read_parquet(tmp_path / "interactions.parquet").columns == ["user_id", "item_id", "time"]
    assert pl.read_parquet(tmp_path / "users.parquet").columns == ["user_id", "age", "country"]
    assert pl.read_parquet(tmp_path / "items.parquet").columns == [
        "item_id",
        "title",
        "genres",
        "year",
        "price",
        "released",
    ]


def test_equal_seeds_write_equal_files(tmp_path: Path) -> None:
    for name in ("one", "two"):
        arguments = ["generate", "--out", str(tmp_path / name), "--users", "20", "--interactions", "100", "--seed", "3"]
        assert CliRunner().invoke(data, arguments).exit_code == 0
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--interactions", "10"], "Error: got 10 interactions; expected from 1,000"),
        (["--items", "7"], "7 is not in the range"),
    ],
)
def test_an_impossible_shape_ends_with_status_2(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = CliRunner().invoke(data, ["generate", "--out", str(tmp_path / "out"), *arguments])
    assert done.exit_code == 2
    assert message in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_made_ends_with_status_2(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = CliRunner().invoke(data, ["generate", "--out", str(tmp_path / "file" / "out"), "--users", "20"])
    assert done.exit_code == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("Error: ")


def test_a_failed_download_ends_with_status_2_and_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"NO_INDEX": "1", "FIND_LINKS": str(tmp_path), "CONFIG_FILE": "/dev/null"}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    done = CliRunner().invoke(data, ["movielens", "--out", str(tmp_path / "out")])
    assert done.exit_code == 2
    assert done.stderr.startswith("Error: pip could not download recbole==1.2.1")
    assert done.stderr.count("\n") == 1


def test_help_says_that_movielens_must_not_be_passed_on() -> None:
    assert "must not be passed on" in " ".join(CliRunner().invoke(data, ["movielens", "--help"]).output.split())


def test_the_command_is_listed_without_loading_polars_or_numpy() -> None:
    code = "import sys, bascule_training.commands.data; sys.exit(bool({'numpy', 'polars'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
