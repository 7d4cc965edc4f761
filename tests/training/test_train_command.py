import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from bascule.v1.recommendation_service_pb2 import RankingPath
from bascule_server.scoring.query import Query, Question, Rank, Ranking
from bascule_server.servable import load_servable
from bascule_training.commands.train import train
from bascule_training.data.generate import generate, write

CONFIG = """
model = "films"
[data]
interactions = "interactions.parquet"
[query]
history_length = 5
[tower]
dimension = 4
[fit]
epochs = 40
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A configuration beside its data."""
    write(generate(users=40, items=30, interactions=400), tmp_path)
    path = tmp_path / "films.toml"
    path.write_text(CONFIG)
    return path


def run(path: Path, *arguments: str) -> Result:
    return CliRunner().invoke(
        train, [str(path), "--out", str(path.parent / "models"), *arguments], env={"COLUMNS": "80"}
    )


def check_refused(done: Result, sentence: str) -> None:
    assert done.exit_code == 2
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    assert sentence in done.stderr


def test_a_training_prints_its_table_and_where_it_published(path: Path) -> None:
    done = run(path, "--set", "fit.epochs=1", "--set", "model=shows")
    assert done.exit_code == 0, done.output
    folder = path.parent / "models" / "shows" / "1"
    assert done.stdout.endswith(f"\npublished {folder}\n")
    for word in (
        "fitting tower 1 ...",
        "epoch 1: loss ",
        "  NDCG@10 0.",
        "fitting tower 1 again, on the validation part too ...",
        "\n@10 ",
        "\n@20 ",
        "\n@100 ",
        "\nshows ",
        "\npopularity ",
        "\n40 users, 40 items to find",
        "\ntoo wide for 80 columns: mrr, map, gini, novelty; see metrics.json, report.html\n",
    ):
        assert word in done.stdout
    assert ["ndcg", "recall", "hr", "coverage"] in [line.split() for line in done.stdout.splitlines()]
    assert "epoch 2:" not in done.stdout
    assert load_servable(folder).model == "shows"


def test_a_baseline_is_published_in_the_place_of_the_configurations_model(path: Path) -> None:
    # The file's settings of another tower are no hindrance.
    done = run(path, "--model", "ease", "--set", "tower.dimension=16")
    assert done.exit_code == 0, done.output
    assert "solving for ease ..." in done.stdout
    assert "epoch" not in done.stdout
    servable = load_servable(path.parent / "models" / "films" / "1")
    assert servable.manifest.dimension <= 16
    (ranking,) = servable.scorer.answer([Question(Query(user_id="u1"), Rank(item_count=5))])
    assert isinstance(ranking, Ranking)
    assert len(set(ranking.item_ids)) == 5
    assert ranking.path == RankingPath.RANKING_PATH_PERSONALISED


def test_a_model_that_there_is_not_is_refused(path: Path) -> None:
    done = run(path, "--model", "lstm")
    assert done.exit_code == 2
    assert "'lstm' is not one of 'history_transformer', " in done.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--set", "fit.epoch=1"], "fit.epoch: Extra inputs are not permitted (got 1)"),
        (["--set", "fit.epochs"], "--set got 'fit.epochs'; expected key=value"),
        (["--set", "data.interactions=nothing.parquet"], "nothing.parquet"),
        (
            ["--set", "query.features=[{ name = 'city', kind = 'categorical' }]"],
            "the query feature 'city' is no column",
        ),
    ],
)
def test_what_cannot_be_done_ends_with_status_2_and_one_sentence(
    path: Path, arguments: list[str], sentence: str
) -> None:
    check_refused(run(path, *arguments), sentence)
    assert not (path.parent / "models").exists()


def test_a_missing_column_is_named(path: Path) -> None:
    table = path.parent / "interactions.parquet"
    pl.read_parquet(table).rename({"item_id": "film"}).write_parquet(table)
    check_refused(run(path), "'item_id'")


def test_a_missing_configuration_ends_with_status_2(tmp_path: Path) -> None:
    check_refused(run(tmp_path / "nothing.toml"), "nothing.toml: cannot be read")


def test_a_damaged_checkpoint_ends_with_status_2(path: Path) -> None:
    checkpoint = path.parent / "models" / "films" / ".checkpoint" / "first-1.npz"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(b"PK")
    check_refused(run(path, "--resume"), "damaged")


def test_models_that_would_lie_in_a_file_are_refused(path: Path) -> None:
    done = CliRunner().invoke(train, [str(path), "--out", str(path)])
    assert done.exit_code == 2
    assert "is a file" in done.stderr


def test_a_slip_in_the_configuration_does_not_wait_for_tensorflow(path: Path) -> None:
    code = f"""
import sys
from bascule_server.commands.failure import CommandFailed
from bascule_training.commands.train import train
try:
    train([{str(path)!r}, "--set", "fit.epochs=0"], standalone_mode=False)
except CommandFailed:
    sys.exit("tensorflow" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_is_published_is_signed_where_a_key_is_given(path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    (path.parent / "publisher.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    done = run(path, "--model", "popularity", "--sign", str(path.parent / "publisher.key"))
    assert done.exit_code == 0, done.output
    assert load_servable(path.parent / "models" / "films" / "1", [key.public_key()]).model == "films"


def test_a_key_that_cannot_be_used_is_refused_before_anything_is_trained(path: Path) -> None:
    check_refused(run(path, "--sign", str(path)), "expected a private Ed25519 key (PEM), without a password")
