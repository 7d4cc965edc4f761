"""The newest version of each model is found, loaded and picked, and nothing else."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.v1.artifact_pb2 import Manifest
from bascule.v1.model_service_pb2 import ModelState
from bascule.v1.recommendation_service_pb2 import ModelSelector
from bascule_server.artifact import ArtifactError
from bascule_server.errors import Reason, ServiceError
from bascule_server.models import Models, newest_versions
from bascule_server.servable import ServableVersion


def publish(root: Path, *names: str) -> None:
    for name in names:
        (root / name).mkdir(parents=True)
        (root / name / "manifest.json").touch()


def names(root: Path) -> list[str]:
    return [folder.relative_to(root).as_posix() for folder in newest_versions(root)]


def test_the_newest_version_of_each_model_is_found(tmp_path: Path) -> None:
    publish(tmp_path, "movies/9", "movies/10", "books/2")
    assert names(tmp_path) == ["books/2", "movies/10"]


def test_what_is_no_version_of_a_model_is_passed_over(tmp_path: Path) -> None:
    publish(tmp_path, "m/1", ".m/5", "m/.9", "m/latest", "m/-3", "m/03", "m/2.tmp", "m/²")
    (tmp_path / "m/7").mkdir()
    (tmp_path / "notes.txt").touch()
    assert names(tmp_path) == ["m/1"]


@pytest.mark.parametrize("root", ["", "absent"])
def test_no_model_at_all_is_said_in_one_sentence(tmp_path: Path, root: str) -> None:
    with pytest.raises(ArtifactError, match="no model found; expected <model>/<version>/"):
        newest_versions(tmp_path / root)


@pytest.fixture
def loaded(manifest: Manifest) -> Callable[..., Models]:
    """Models of which all but those named ``damaged`` are loaded."""

    def load(folder: Path) -> ServableVersion:
        if folder.parent.name == "damaged":
            raise ArtifactError("damaged")
        return ServableVersion(manifest, scorer=None)  # type: ignore[arg-type]

    def make(*folders: str) -> Models:
        models = Models(map(Path, folders), load)
        with ThreadPoolExecutor(1) as worker:
            asyncio.run(models.load(worker))
        return models

    return make


def reason(pick: Callable[[ModelSelector], Any], **selector: Any) -> Reason:
    with pytest.raises(ServiceError) as caught:
        pick(ModelSelector(**selector))
    return caught.value.reason


def test_the_only_model_need_not_be_named(loaded: Any) -> None:
    assert loaded("m/3").serving(ModelSelector()).name_and_version.version == 3


def test_where_there_are_several_the_model_must_be_named(loaded: Any) -> None:
    models = loaded("a/1", "b/2")
    assert reason(models.serving) is Reason.INVALID_FIELD
    assert models.serving(ModelSelector(model="b")).name_and_version.model == "b"


def test_the_newest_version_is_meant_where_none_is_named(loaded: Any) -> None:
    models = loaded("m/2", "m/10", "m/9")
    assert models.serving(ModelSelector(model="m")).name_and_version.version == 10
    assert models.serving(ModelSelector(model="m", version=2)).name_and_version.version == 2


@pytest.mark.parametrize("selector", [{"model": "x"}, {"version": 4}, {"version": -1}, {"model": "m", "version": 4}])
def test_what_is_not_there_is_not_found(loaded: Any, selector: dict[str, Any]) -> None:
    models = loaded("m/3")
    assert reason(models.serving, **selector) is Reason.MODEL_NOT_FOUND
    assert reason(models.named, **selector) is Reason.MODEL_NOT_FOUND


def test_a_version_that_is_being_loaded_is_known_but_not_ready() -> None:
    models = Models([Path("m/3")])
    assert reason(models.serving) is Reason.NOT_READY
    assert models.named(ModelSelector()).state == ModelState.MODEL_STATE_LOADING


def test_a_version_that_failed_is_known_and_never_ready(manifest: Manifest) -> None:
    def load(_: Path) -> ServableVersion:
        raise ArtifactError("damaged")

    models = Models([Path("m/3")], load)
    with ThreadPoolExecutor(1) as worker, pytest.raises(ArtifactError):
        asyncio.run(models.load(worker))
    assert reason(models.serving) is Reason.MODEL_NOT_FOUND
    assert models.named(ModelSelector()).state == ModelState.MODEL_STATE_FAILED


@given(st.sets(st.tuples(st.sampled_from(["a", "b"]), st.integers(1, 200)), min_size=1))
def test_versions_are_known_by_name_and_then_number(versions: set[tuple[str, int]]) -> None:
    models = Models([Path(name) / str(version) for name, version in versions])
    assert [(known.model, known.version) for known in models.known()] == sorted(versions)
