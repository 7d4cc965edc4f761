"""``bascule inspect`` shows what an artifact is, and its exit status says whether the server would load it."""

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from google.protobuf import json_format
from rich.console import Console

from bascule.v1.artifact_pb2 import (
    BucketedFeature,
    CategoricalFeature,
    Feature,
    HistoryFeature,
    Manifest,
    MultiValuedFeature,
    Ranker,
    StandardisedFeature,
)
from bascule_server.artifact import file_names
from bascule_server.artifact.tables import artifact_tables
from bascule_server.commands.inspect import inspect


def run(folder: Path) -> Result:
    return CliRunner().invoke(inspect, [str(folder)], env={"COLUMNS": "200"})


def shown(manifest: Manifest) -> str:
    console = Console(width=200, markup=False)
    with console.capture() as capture:
        for table in artifact_tables(manifest):
            console.print(table)
    return capture.get()


def test_an_artifact_in_order_is_shown_with_status_0(artifact_folder: Path) -> None:
    result = run(artifact_folder)
    assert result.exit_code == 0
    assert result.stderr == ""
    assert "tiny" in result.stdout
    assert all(name in result.stdout for name in ("country", "age", "history", "genres", "item_vectors.npy"))
    assert result.stdout.endswith("in order: every file is whole, and the golden queries get the answers of training\n")


def test_a_damaged_artifact_is_shown_and_refused_with_status_1(artifact_folder: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(artifact_folder, tmp_path / "tiny" / "1"))
    (copied / file_names.USERS).unlink()
    result = run(copied)
    assert result.exit_code == 1
    assert "tiny" in result.stdout
    assert "in order" not in result.stdout
    assert result.stderr == f"Error: {copied}: users.parquet is missing\n"


@pytest.mark.parametrize("name", ["", "nowhere"])
def test_a_folder_that_is_no_artifact_is_refused_with_status_1(tmp_path: Path, name: str) -> None:
    result = run(tmp_path / name)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "manifest.json is missing" in result.stderr


def test_names_that_look_like_markup_are_shown_as_they_are(tmp_path: Path) -> None:
    folder = tmp_path / "odd" / "1"
    folder.mkdir(parents=True)
    manifest = Manifest(schema_version=1, model="odd", version=1, dimension=2, item_count=1)
    manifest.query_features.add(name="[/red]:smile:", standardised=StandardisedFeature(deviation=1))
    manifest.files.add(path="missing", sha256="0" * 64)
    (folder / file_names.MANIFEST).write_text(json_format.MessageToJson(manifest))
    result = run(folder)
    assert "[/red]:smile:" in result.stdout
    assert result.stderr.endswith("missing is missing\n")


def test_each_kind_of_feature_is_shown_with_its_detail() -> None:
    features = [
        Feature(name="history", history=HistoryFeature(max_length=50)),
        Feature(name="country", categorical=CategoricalFeature(size=1_200)),
        Feature(name="tags", multi_valued=MultiValuedFeature(size=7, max_count=3)),
        Feature(name="age", standardised=StandardisedFeature(mean=40, deviation=2.5)),
        Feature(name="price", bucketed=BucketedFeature(boundaries=[1, 2.5])),
    ]
    text = shown(Manifest(query_features=features))
    for detail in (
        "the newest 50 items",
        "1,200 categories",
        "up to 3 of 7 categories",
        "mean 40, deviation 2.5",
        "boundaries 1, 2.5",
    ):
        assert detail in text


def test_tables_of_what_there_is_not_are_left_out() -> None:
    titles = [table.title for table in artifact_tables(Manifest())]
    assert titles == [None, "query tower reads", "files"]


def test_what_a_ranking_tower_reads_of_the_context_is_shown() -> None:
    hour = Feature(name="hour", bucketed=BucketedFeature(boundaries=[12, 18]))
    text = shown(Manifest(ranker=Ranker(candidate_count=100, context=[hour])))
    assert "ranking tower reads of the context" in text
    assert "boundaries 12, 18" in text


def test_the_headline_metrics_are_shown_and_others_are_not() -> None:
    text = shown(Manifest(metrics={"ndcg@10": 0.25, "ndcg@10/popularity": 0.1}))
    assert "0.2500" in text
    assert "popularity" not in text
