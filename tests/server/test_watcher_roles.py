"""The plan says which versions are loaded and whom they answer; each has its catalogue as it is now."""

from contextlib import suppress
from pathlib import Path

import pytest
from changing_versions import Scene, Silent
from structlog.testing import capture_logs

from bascule.v1.model_admin_service_pb2 import Canary, ServingPlan
from bascule.v1.recommendation_service_pb2 import ModelSelector, VersionLabel
from bascule_server.artifact.reading import ArtifactError
from bascule_server.errors import ServiceError
from bascule_server.models import KnownVersion
from bascule_server.servable import ServableVersion
from bascule_server.versions.models_folder import Loaded
from bascule_server.versions.plan import PlanError
from bascule_server.versions.watcher import RETRY_SECONDS


@pytest.fixture
async def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


async def test_the_stable_version_of_the_plan_answers_though_others_are_newer(scene: Scene) -> None:
    scene.shelf.publish("m/1", "m/2")
    await scene.look()
    scene.shelf.plans["m"] = ServingPlan(stable=1)
    await scene.look()
    scene.shelf.publish("m/3")
    await scene.look()
    assert scene.states == {"m/1": "SERVING"}
    scene.shelf.plans["m"] = ServingPlan()
    await scene.look()
    assert scene.states == {"m/3": "SERVING"}


async def test_a_stable_version_that_cannot_be_loaded_does_not_take_the_place_of_what_answers(scene: Scene) -> None:
    scene.shelf.publish("m/1", "m/2")
    await scene.look()
    scene.shelf.damaged = {"m/1"}
    scene.shelf.plans["m"] = ServingPlan(stable=1)
    await scene.look()
    assert scene.states == {"m/1": "FAILED", "m/2": "SERVING"}
    scene.shelf.damaged.clear()
    scene.now = RETRY_SECONDS
    await scene.look()
    assert scene.states == {"m/1": "SERVING"}


async def test_a_canary_a_shadow_and_others_are_loaded_beside_the_stable_one_and_forgotten(scene: Scene) -> None:
    scene.shelf.publish("m/1", "m/2", "m/3", "m/4", "m/5")
    scene.shelf.plans["m"] = ServingPlan(stable=4, canary=Canary(version=5, weight=1.0), shadow=3, also=[1])
    await scene.look()
    assert scene.shelf.loads == ["m/4", "m/5", "m/3", "m/1"]
    assert scene.answering == 4
    assert scene.serving(user_id="u").name_and_version.version == 5
    assert scene.serving(version=1).name_and_version.version == 1
    shadow = scene.models.shadow_of("m")
    assert shadow is not None
    assert shadow.name_and_version.version == 3
    del shadow
    scene.shelf.plans["m"] = ServingPlan(stable=4)
    await scene.look()
    await scene.disposed()
    assert scene.states == {"m/4": "SERVING"}
    assert scene.serving(user_id="u").name_and_version.version == 4
    assert scene.models.shadow_of("m") is None
    assert sorted(scene.shelf.released) == ["m/1", "m/3", "m/5"]


async def test_a_version_answers_before_those_with_other_roles_are_loaded(scene: Scene) -> None:
    answering: list[int] = []

    load_really = scene.shelf.load

    def load(folder: Path) -> Loaded:
        with suppress(ServiceError):
            answering.append(scene.answering)
        return load_really(folder)

    scene.shelf.load = load  # type: ignore[method-assign]
    scene.shelf.publish("m/1", "m/2", "m/3")
    scene.shelf.plans["m"] = ServingPlan(stable=1, canary=Canary(version=2), shadow=3)
    await scene.look()
    assert answering == [1, 1]


async def test_where_only_a_canary_is_published_it_answers_all(scene: Scene) -> None:
    scene.shelf.publish("m/2")
    scene.shelf.plans["m"] = ServingPlan(stable=1, canary=Canary(version=2, weight=0.1))
    await scene.look()
    assert scene.answering == 2
    assert scene.models.serving(ModelSelector(label=VersionLabel.VERSION_LABEL_CANARY)) is scene.serving()


async def test_a_plan_that_cannot_be_read_keeps_the_last_one_and_is_told_of_once(scene: Scene) -> None:
    scene.shelf.publish("m/1", "m/2")
    scene.shelf.plans["m"] = ServingPlan(stable=1)
    await scene.look()
    with capture_logs() as lines:
        for complaint in ("not a plan", "not a plan", "still not a plan"):
            scene.shelf.plans["m"] = PlanError(complaint)
            await scene.look()
    assert scene.states == {"m/1": "SERVING"}
    assert [line["why"] for line in lines] == ["not a plan", "still not a plan"]


async def test_with_a_plan_that_could_never_be_read_the_newest_version_answers(scene: Scene) -> None:
    scene.shelf.publish("m/1", "m/2")
    scene.shelf.plans["m"] = PlanError("not a plan")
    await scene.look()
    assert scene.answering == 2


class Revision:
    """What a catalogue that was changed once answers by."""

    scorer = Silent()
    revision = 1


class Catalogue:
    """Notes what it is told; see ``watcher.Catalogues``."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.is_damaged = False

    def follow(self, known: KnownVersion, _: ServableVersion) -> Revision:
        self.heard.append(f"follow {known.version}")
        if self.is_damaged:
            raise ArtifactError("the log is damaged")
        return Revision()

    def start(self, known: KnownVersion) -> None:
        assert known.serving is not None
        self.heard.append(f"start {known.version}")

    def unfollow(self, known: KnownVersion) -> None:
        self.heard.append(f"unfollow {known.version}")


async def test_a_version_serves_with_its_catalogue_as_it_is_now_and_follows_it_until_it_is_let_go(
    tmp_path: Path,
) -> None:
    catalogue = Catalogue()
    scene = Scene(tmp_path, catalogues=catalogue)
    scene.shelf.publish("m/1")
    await scene.look()
    assert scene.serving().name_and_version.catalogue_revision == 1
    assert scene.serving().scorer is Revision.scorer
    scene.shelf.publish("m/2")
    await scene.look()
    assert catalogue.heard == ["follow 1", "start 1", "follow 2", "start 2", "unfollow 1"]


async def test_a_version_whose_catalogue_cannot_be_read_has_failed_and_lets_go_of_its_copy(tmp_path: Path) -> None:
    catalogue = Catalogue()
    catalogue.is_damaged = True
    scene = Scene(tmp_path, catalogues=catalogue)
    scene.shelf.publish("m/1")
    with pytest.raises(ArtifactError, match="the log is damaged"):
        await scene.watcher.load_all()
    assert scene.states == {"m/1": "FAILED"}
    assert (scene.shelf.released, catalogue.heard) == (["m/1"], ["follow 1"])
