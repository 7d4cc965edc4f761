"""Of the versions that are known, the one is picked that a caller means."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.v1.artifact_pb2 import Manifest
from bascule.v1.model_service_pb2 import ModelState
from bascule.v1.recommendation_service_pb2 import ModelSelector, VersionLabel
from bascule_server.errors import Reason, ServiceError
from bascule_server.models import Models, Route
from bascule_server.servable import ServableVersion

STABLE, CANARY = VersionLabel.VERSION_LABEL_STABLE, VersionLabel.VERSION_LABEL_CANARY


def serving(*folders: str) -> Models:
    models = Models()
    for folder in folders:
        manifest = Manifest(model=Path(folder).parent.name, version=int(Path(folder).name))
        models.serve(models.announce(Path(folder)), ServableVersion(manifest, scorer=None))  # type: ignore[arg-type]
    return models


def answering(models: Models, user_id: str = "", **selector: Any) -> int:
    return models.serving(ModelSelector(**selector), user_id).name_and_version.version


def reason(models: Models, **selector: Any) -> set[Reason]:
    """Why nothing is picked, for an answer and for a look at it."""
    found = set()
    for pick in (models.serving, models.named):
        with pytest.raises(ServiceError) as caught:
            pick(ModelSelector(**selector))
        found.add(caught.value.reason)
    return found


def test_the_only_model_need_not_be_named() -> None:
    assert answering(serving("m/3")) == 3


def test_where_there_are_several_the_model_must_be_named() -> None:
    models = serving("a/1", "b/2")
    assert reason(models) == {Reason.INVALID_FIELD}
    assert answering(models, model="b") == 2


def test_the_newest_version_answers_where_nothing_else_is_said() -> None:
    models = serving("m/2", "m/10", "m/9")
    assert answering(models, model="m") == 10
    assert answering(models, model="m", version=2) == 2


@pytest.mark.parametrize("selector", [{"model": "x"}, {"version": 4}, {"version": -1}, {"model": "m", "version": 4}])
def test_what_is_not_there_is_not_found(selector: dict[str, Any]) -> None:
    assert reason(serving("m/3"), **selector) == {Reason.MODEL_NOT_FOUND}


def test_before_anything_was_looked_for_nothing_is_ready() -> None:
    assert reason(Models()) == {Reason.NOT_READY}


def test_a_version_that_is_being_loaded_is_known_but_not_ready() -> None:
    models = Models()
    models.announce(Path("m/3"))
    with pytest.raises(ServiceError) as caught:
        models.serving(ModelSelector())
    assert caught.value.reason is Reason.NOT_READY
    assert models.named(ModelSelector()).state == ModelState.MODEL_STATE_LOADING


def test_a_version_that_failed_is_known_and_never_ready() -> None:
    models = Models()
    models.fail(models.announce(Path("m/3")), ServiceError(Reason.FILE_DAMAGED))
    with pytest.raises(ServiceError) as caught:
        models.serving(ModelSelector())
    assert caught.value.reason is Reason.MODEL_NOT_FOUND
    assert models.named(ModelSelector()).state == ModelState.MODEL_STATE_FAILED


def test_an_older_version_answers_where_it_is_the_stable_one_though_a_newer_one_is_loaded() -> None:
    models = serving("m/1", "m/2")
    assert answering(models) == 2
    models.route("m", Route(stable=1))
    assert answering(models) == answering(models, label=STABLE) == models.named(ModelSelector()).version == 1
    assert answering(models, version=2) == 2


def test_a_canary_answers_its_share_of_the_users_and_each_user_always() -> None:
    models = serving("m/1", "m/2")
    models.route("m", Route(stable=1, canary=2, weight=0.25))
    users = [f"u{number}" for number in range(2_000)]
    answered = [answering(models, user) for user in users]
    assert 400 < answered.count(2) < 600  # six deviations from 500
    assert [answering(models, user, model="m") for user in users] == answered


def test_a_canary_answers_nobody_who_is_no_single_user_or_names_something_else() -> None:
    models = serving("m/1", "m/2")
    models.route("m", Route(stable=1, canary=2, weight=1.0))
    assert answering(models, "u1") == 2
    assert answering(models) == answering(models, "u1", label=STABLE) == answering(models, "u1", version=1) == 1
    assert answering(models, label=CANARY) == 2


def test_without_a_canary_that_serves_whoever_wants_it_is_told_and_the_others_are_answered() -> None:
    models = serving("m/1")
    models.route("m", Route(stable=1, canary=2, weight=1.0))
    assert answering(models, "u1") == 1
    with pytest.raises(ServiceError) as caught:
        models.serving(ModelSelector(label=CANARY))
    assert caught.value.reason is Reason.MODEL_NOT_FOUND


def test_what_was_forgotten_is_not_found() -> None:
    models = serving("m/1", "m/2")
    models.forget(models.named(ModelSelector(version=2)))
    assert answering(models) == 1
    assert reason(models, version=2) == {Reason.MODEL_NOT_FOUND}


@given(st.sets(st.tuples(st.sampled_from(["a", "b"]), st.integers(1, 200)), min_size=1))
def test_versions_are_known_by_name_and_then_number(versions: set[tuple[str, int]]) -> None:
    models = serving(*(f"{name}/{version}" for name, version in versions))
    assert [(known.model, known.version) for known in models.known()] == sorted(versions)
