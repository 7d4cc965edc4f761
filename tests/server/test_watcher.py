"""What serves follows what is published: a version answers once it is proven, and until another one does."""

import asyncio
import weakref
from pathlib import Path

import pytest
from changing_versions import Scene
from structlog.testing import capture_logs

from bascule_server.artifact.reading import ArtifactError
from bascule_server.versions import watcher as versions_watcher
from bascule_server.versions.models_folder import Loaded
from bascule_server.versions.watcher import RETRY_SECONDS


@pytest.fixture
async def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


async def test_a_newer_version_answers_once_it_is_loaded_and_the_older_one_until_then(scene: Scene) -> None:
    scene.shelf.publish("m/1")
    await scene.look()
    scene.shelf.publish("m/2")
    scene.shelf.may_load.clear()
    scene.shelf.begun.clear()
    looking = asyncio.create_task(scene.look())
    await asyncio.to_thread(scene.shelf.begun.wait, 30)
    assert scene.states == {"m/1": "SERVING", "m/2": "LOADING"}
    assert scene.answering == 1
    scene.shelf.may_load.set()
    await looking
    assert scene.states == {"m/2": "SERVING"}
    assert scene.answering == 2
    assert scene.told == ["m/1 LOADING", "m/1 SERVING", "m/2 LOADING", "m/2 SERVING", "m/1 UNSPECIFIED"]


async def test_of_many_versions_the_newest_alone_is_loaded_and_only_once(scene: Scene) -> None:
    scene.shelf.publish("m/1", "m/2", "m/10", "n/7")
    for _ in range(3):
        await scene.look()
    assert scene.shelf.loads == ["m/10", "n/7"]


async def test_a_version_is_disposed_of_after_its_last_call_by_the_thread_that_loads(scene: Scene) -> None:
    scene.shelf.publish("m/1")
    await scene.look()
    call = scene.serving()
    scorer = weakref.ref(call.scorer)
    scene.shelf.publish("m/2")
    await scene.look()
    await scene.disposed()
    assert scene.answering == 2
    assert call.name_and_version.version == 1
    assert (scene.shelf.released, scene.shelf.swept_by) == ([], [])
    del call
    await scene.disposed()
    assert (scene.shelf.released, scene.shelf.swept_by) == (["m/1"], ["loader_0"])
    assert scorer() is None


async def test_a_call_that_outlives_the_server_is_no_fault(scene: Scene) -> None:
    scene.shelf.publish("m/1")
    await scene.look()
    call = scene.serving()
    scene.shelf.publish("m/2")
    await scene.look()
    scene.loader.shutdown()
    del call  # pytest fails where an exception is raised by that
    assert scene.answering == 2


async def test_a_damaged_version_has_failed_and_what_served_goes_on(scene: Scene) -> None:
    scene.shelf.publish("m/1")
    await scene.look()
    scene.shelf.publish("m/2")
    scene.shelf.damaged = {"m/2"}
    with capture_logs() as lines:
        await scene.look()
        await scene.look()
    assert scene.states == {"m/1": "SERVING", "m/2": "FAILED"}
    assert scene.answering == 1
    assert scene.watcher.failed_versions("m") == {2}
    assert [line["why"] for line in lines if line["event"] == "version failed"] == ["m/2 is damaged"]
    assert scene.shelf.loads == ["m/1", "m/2"]


async def test_a_version_that_failed_is_tried_again_when_its_files_change(scene: Scene) -> None:
    scene.shelf.publish("m/1")
    scene.shelf.damaged = {"m/1"}
    for _ in range(2):
        scene.shelf.change("m/1")
        await scene.look()
        await scene.look()
    assert scene.shelf.loads == ["m/1", "m/1"]
    assert scene.states == {"m/1": "FAILED"}
    scene.shelf.damaged.clear()
    scene.shelf.change("m/1")
    await scene.look()
    assert scene.states == {"m/1": "SERVING"}
    assert scene.watcher.failed_versions("m") == set()


async def test_a_version_that_failed_is_tried_again_after_a_minute(scene: Scene) -> None:
    scene.shelf.publish("m/1")
    scene.shelf.damaged = {"m/1"}
    for scene.now in (0.0, RETRY_SECONDS - 1, RETRY_SECONDS, 2 * RETRY_SECONDS - 1):
        await scene.look()
    assert scene.shelf.loads == ["m/1", "m/1"]


async def test_files_that_change_while_they_are_read_are_read_again(scene: Scene) -> None:
    scene.shelf.publish("m/1")
    scene.shelf.damaged = {"m/1"}
    scene.shelf.may_load.clear()
    looking = asyncio.create_task(scene.look())
    await asyncio.to_thread(scene.shelf.begun.wait, 30)
    scene.shelf.change("m/1")
    scene.shelf.may_load.set()
    await looking
    await scene.look()
    assert scene.shelf.loads == ["m/1", "m/1"]


async def test_a_failed_version_that_is_removed_is_known_no_more(scene: Scene) -> None:
    scene.shelf.publish("m/1", "m/2")
    scene.shelf.damaged = {"m/2"}
    await scene.look()
    scene.shelf.remove("m/2")
    await scene.look()
    assert scene.states == {"m/1": "SERVING"}
    assert scene.told[-1] == "m/2 UNSPECIFIED"


async def test_whatever_loading_raises_concerns_that_version_alone_and_its_text_is_not_logged(scene: Scene) -> None:
    load_really = scene.shelf.load

    def load(folder: Path) -> Loaded:
        if folder.name == "2":
            raise RuntimeError("secret")
        return load_really(folder)

    scene.shelf.load = load  # type: ignore[method-assign]
    scene.shelf.publish("m/1", "m/2")
    with capture_logs() as lines:
        await scene.look()
    assert scene.states == {"m/1": "SERVING", "m/2": "FAILED"}
    assert "secret" not in str(lines)


async def test_where_the_newest_version_is_removed_the_one_before_answers(scene: Scene) -> None:
    scene.shelf.publish("m/1", "m/2")
    await scene.look()
    scene.shelf.remove("m/2")
    await scene.look()
    assert scene.states == {"m/1": "SERVING"}


@pytest.mark.parametrize("left", [[], ["m/1"]])
async def test_where_nothing_is_left_that_can_be_loaded_what_serves_goes_on(scene: Scene, left: list[str]) -> None:
    scene.shelf.publish("m/2")
    await scene.look()
    scene.shelf.damaged = {"m/1"}
    scene.shelf.publish(*left)
    scene.shelf.remove("m/2")
    await scene.look()
    assert scene.answering == 2
    scene.shelf.publish("m/3")
    await scene.look()
    assert scene.answering == 3
    assert "m/2" not in scene.states


async def test_at_the_start_an_older_version_answers_where_the_newest_is_damaged(scene: Scene) -> None:
    scene.shelf.publish("m/1", "m/2", "m/3")
    scene.shelf.damaged = {"m/3", "m/2"}
    await scene.watcher.load_all()
    assert scene.states == {"m/1": "SERVING", "m/2": "FAILED", "m/3": "FAILED"}


async def test_at_the_start_each_model_must_have_a_version_that_can_be_loaded(scene: Scene) -> None:
    with pytest.raises(ArtifactError, match="no model found"):
        await scene.watcher.load_all()
    scene.shelf.publish("m/1", "n/1")
    scene.shelf.damaged = {"n/1"}
    with pytest.raises(ArtifactError, match="n/1 is damaged"):
        await scene.watcher.load_all()


async def looked(scene: Scene, times: int) -> None:
    """Returns when ``run`` has looked so often more."""
    for _ in range(times):
        count = scene.shelf.look_count
        scene.watcher.look_soon()
        while scene.shelf.look_count == count:  # noqa: ASYNC110 - there is nothing to wait for
            await asyncio.sleep(0)
    # What follows from the last look is done before the next.
    count = scene.shelf.look_count
    scene.watcher.look_soon()
    while scene.shelf.look_count == count:  # noqa: ASYNC110
        await asyncio.sleep(0)


async def test_it_looks_at_once_where_it_is_asked_to_and_goes_on_after_failures(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(versions_watcher, "LOOK_SECONDS", 3_600.0)
    scene.shelf.publish("m/1")
    running = asyncio.create_task(scene.watcher.run())
    with capture_logs() as lines:
        for _ in range(2):
            scene.shelf.is_away = True
            await looked(scene, 2)
            scene.shelf.is_away = False
            await looked(scene, 1)
    running.cancel()
    assert scene.answering == 1
    complaints = [line["why"] for line in lines if line["event"] == "versions not followed"]
    assert complaints == ["cannot look for versions: the disk is away"] * 2


async def test_it_looks_by_itself_too(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions_watcher, "LOOK_SECONDS", 0.0)
    scene.shelf.publish("m/1")
    running = asyncio.create_task(scene.watcher.run())
    while scene.states != {"m/1": "SERVING"}:  # noqa: ASYNC110 - there is nothing to wait for
        await asyncio.sleep(0)
    running.cancel()
