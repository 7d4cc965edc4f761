"""A version is chosen by its role, by every method of both clients, from a server that has two versions of a model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fault.oracle import publish, stage

from bascule import NotFoundError
from bascule.v1.model_admin_service_pb2 import Canary, ServingPlan
from bascule_server.versions.plan import write_plan


@pytest.fixture
def models(artifact_folder: Path, tmp_path: Path) -> Path:
    for version in (1, 2):
        publish(stage(artifact_folder, tmp_path, version), tmp_path)
    return tmp_path


def ways(client: Any) -> list[Callable[..., Any]]:
    """Every method that takes a label."""
    return [
        lambda **label: [client.recommend("u1", **label)],
        lambda **label: client.recommend_many(["u1"], **label),
        lambda **label: list(client.stream(["u1"], **label)),
        lambda **label: client.score(["i1"], user_id="u1", **label),
        lambda **label: client.embed(["u1"], **label),
    ]


def failed(way: Callable[..., Any], **label: str) -> NotFoundError:
    """The error of a call, or that of the row of a stream."""
    try:
        (result,) = way(**label)
    except NotFoundError as error:
        return error
    assert isinstance(result, NotFoundError)
    return result


def test_the_version_of_the_role_answers_whoever_the_user_is(serve: Any, connect: Any, models: Path) -> None:
    write_plan(models / "tiny", ServingPlan(stable=1, canary=Canary(version=2, weight=0.0)))
    with connect(f"127.0.0.1:{serve(models=models).port()}") as client:
        for way in ways(client):
            for label, version in ((None, 1), ("stable", 1), ("canary", 2)):
                # Vectors and scores do not say who made them.
                assert {getattr(each, "version", version) for each in way(label=label)} == {version}


def test_where_there_is_no_canary_none_is_found(serve: Any, connect: Any, models: Path) -> None:
    with connect(f"127.0.0.1:{serve(models=models).port()}") as client:
        for way in ways(client):
            assert len(way(label="stable")) == 1
            assert failed(way, label="canary").reason == "MODEL_NOT_FOUND"
