"""Both runners keep one promise: the same vectors, and a row's vector whatever rows stand beside it."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bascule_server.artifact import file_names
from bascule_server.artifact.reading import ArtifactError
from bascule_server.scoring.tower import LiteRtTower, QueryTower, SavedModelTower, open_query_tower

MOST_ROWS = 70
"""Two full batches of the largest padded size, and a rest."""


def random_inputs(row_count: int) -> dict[str, NDArray[Any]]:
    """What the query tower of ``tiny`` reads: 120 items, 8 countries."""
    rng = np.random.default_rng(0)
    return {
        "history": rng.integers(0, 121, (row_count, 12)).astype(np.int32),
        "country": rng.integers(0, 9, row_count).astype(np.int32),
        "age": rng.normal(size=row_count).astype(np.float32),
    }


def cut(inputs: dict[str, NDArray[Any]], rows: slice) -> dict[str, NDArray[Any]]:
    return {name: tensor[rows] for name, tensor in inputs.items()}


@pytest.fixture(scope="module")
def litert_tower(artifact_folder: Path) -> QueryTower:
    return LiteRtTower(artifact_folder / file_names.QUERY_TOWER_LITERT)


@pytest.fixture(scope="module")
def saved_model_tower(artifact_folder: Path) -> QueryTower:
    return SavedModelTower(artifact_folder / file_names.QUERY_TOWER_SAVED_MODEL)


@pytest.fixture(params=["litert_tower", "saved_model_tower"])
def tower(request: pytest.FixtureRequest) -> QueryTower:
    named: QueryTower = request.getfixturevalue(request.param)
    return named


def test_a_vector_of_length_1_for_each_row(tower: QueryTower) -> None:
    vectors = tower.vectors(random_inputs(5))
    assert vectors.shape == (5, 16)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_a_row_is_the_same_to_the_last_bit_in_a_batch_of_any_size(tower: QueryTower) -> None:
    inputs = random_inputs(MOST_ROWS)
    alone = np.concatenate([tower.vectors(cut(inputs, slice(row, row + 1))) for row in range(MOST_ROWS)])
    for size in range(1, MOST_ROWS + 1):
        assert np.array_equal(tower.vectors(cut(inputs, slice(0, size))), alone[:size])


def test_a_row_is_the_same_to_the_last_bit_in_any_place(tower: QueryTower) -> None:
    inputs = random_inputs(MOST_ROWS)
    vectors = tower.vectors(inputs)
    assert np.array_equal(tower.vectors({name: tensor[::-1] for name, tensor in inputs.items()}), vectors[::-1])


def test_what_was_asked_before_changes_nothing(tower: QueryTower) -> None:
    inputs = random_inputs(4)
    first = tower.vectors(inputs)
    kept = first.copy()
    tower.vectors(random_inputs(MOST_ROWS))
    assert np.array_equal(first, kept)
    assert np.array_equal(tower.vectors(inputs), kept)


def test_one_about_whom_nothing_is_known_still_has_a_finite_vector(tower: QueryTower) -> None:
    inputs = {name: np.zeros_like(tensor) for name, tensor in random_inputs(1).items()}
    assert np.isfinite(tower.vectors(inputs)).all()


def test_the_order_of_the_inputs_does_not_matter(tower: QueryTower) -> None:
    inputs = random_inputs(2)
    assert np.array_equal(tower.vectors(inputs), tower.vectors(dict(reversed(inputs.items()))))


def test_both_runners_compute_the_same_vectors(litert_tower: QueryTower, saved_model_tower: QueryTower) -> None:
    inputs = random_inputs(MOST_ROWS)
    assert np.allclose(litert_tower.vectors(inputs), saved_model_tower.vectors(inputs), rtol=0, atol=1e-5)


def test_litert_is_preferred_and_tensorflow_the_fallback(artifact_folder: Path, tmp_path: Path) -> None:
    assert isinstance(open_query_tower(artifact_folder), LiteRtTower)
    name = file_names.QUERY_TOWER_SAVED_MODEL
    shutil.copytree(artifact_folder / name, tmp_path / name)
    assert isinstance(open_query_tower(tmp_path), SavedModelTower)


def _nothing(folder: Path) -> None:
    """Leaves the folder empty."""


def _text_as_litert(folder: Path) -> None:
    (folder / file_names.QUERY_TOWER_LITERT).write_text("no model")


def _empty_saved_model(folder: Path) -> None:
    (folder / file_names.QUERY_TOWER_SAVED_MODEL).mkdir()


@pytest.mark.parametrize(
    ("fill", "complaint"),
    [
        (_nothing, r"neither query_tower.tflite nor query_tower/"),
        (_text_as_litert, "cannot be opened"),
        (_empty_saved_model, "cannot be opened"),
    ],
)
def test_a_folder_without_a_tower_that_runs_is_refused(
    tmp_path: Path, fill: Callable[[Path], None], complaint: str
) -> None:
    fill(tmp_path)
    with pytest.raises(ArtifactError, match=complaint):
        open_query_tower(tmp_path)
