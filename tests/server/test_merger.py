"""Merges are rare and never in the way: what came meanwhile is kept, and one that fails leaves what is served."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from bascule.v1.catalogue_service_pb2 import CatalogueChange, CatalogueItem
from bascule_server.living.follower import Follower
from bascule_server.living.log import CatalogueLog
from bascule_server.living.merge import Merge, Merged
from bascule_server.living.merger import REST, Merger
from bascule_server.living.retrieval import SegmentedRetriever
from bascule_server.living.version import LivingVersion, State
from bascule_server.scoring.query import Query, Question, Rank, Ranking
from bascule_server.servable import ServableVersion, load_servable

PATIENCE_SECONDS = 30.0


class Clock:
    """Stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def servable(artifact_folder: Path) -> ServableVersion:
    return load_servable(artifact_folder)


@pytest.fixture
def living(servable: ServableVersion, artifact_folder: Path) -> LivingVersion:
    return LivingVersion(servable, artifact_folder)


def come(living: LivingVersion, *item_ids: str) -> State:
    return living.apply([change_of(*item_ids)], living.state.revision + 1)


def change_of(*item_ids: str) -> CatalogueChange:
    return CatalogueChange(upserted=[CatalogueItem(item_id=each) for each in item_ids])


def go(living: LivingVersion, *item_ids: str) -> State:
    return living.apply([CatalogueChange(retired_item_ids=item_ids)], living.state.revision + 1)


def found(living: LivingVersion) -> list[str]:
    return found_by(living.state)


def found_by(state: State) -> list[str]:
    (ranking,) = state.scorer.answer([Question(Query(history=["i1"]), Rank(item_count=1_000))])
    assert isinstance(ranking, Ranking)
    return ranking.item_ids


def until_taken_over(merger: Merger) -> State:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (state := merger.look()) is None:
        assert time.monotonic() < deadline
    return state


def test_where_nothing_changed_nothing_is_merged(living: LivingVersion) -> None:
    assert living.to_merge() is None
    come(living, "new")
    Merger(living).merge_now()
    assert living.to_merge() is None
    go(living, "i2")
    assert living.to_merge() is not None


def test_a_merged_catalogue_is_searched_as_one(living: LivingVersion) -> None:
    expected = found(living)
    come(living, "new-1", "new-2")
    go(living, "i2", "i3", "new-2")
    before = found(living)
    assert set(before) == {*expected, "new-1"} - {"i2", "i3"}
    state = until_taken_over(Merger(living))
    assert state is living.state
    assert (found(living), state.revision, state.item_count, state.retired_count) == (before, 2, 119, 2)


def test_what_comes_and_goes_while_a_merge_runs_is_kept(living: LivingVersion) -> None:
    come(living, "new-1", "new-2", "new-3")
    merge = living.to_merge()
    assert merge is not None
    come(living, "new-2", "new-4")
    go(living, "new-3", "i2")
    before, counts = found(living), living.state[1:]
    living.take_over(merge.run())
    assert (found(living), living.state[1:]) == (before, counts)
    assert {"new-1", "new-2", "new-4"} < set(before)
    until_taken_over(Merger(living))
    assert (found(living), living.state[1:]) == (before, counts)


def test_after_a_merge_there_is_a_rest_a_hundred_times_as_long_as_it_took(
    living: LivingVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    took = iter([0.0, 0.25, 0.25, 0.25])
    monkeypatch.setattr(time, "thread_time", lambda: next(took))
    clock = Clock()
    merger = Merger(living, clock)
    come(living, "new-1")
    until_taken_over(merger)
    come(living, "new-2")
    clock.now = REST * 0.25 - 0.01
    assert merger.look() is None
    assert merger._merging is None
    clock.now = REST * 0.25
    until_taken_over(merger)
    assert living.to_merge() is None


def test_a_merge_that_fails_is_told_of_and_what_is_served_goes_on(
    living: LivingVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Merge) -> Merged:
        raise MemoryError

    monkeypatch.setattr(Merge, "run", fail)
    come(living, "new-1")
    merger, before = Merger(living), living.state
    with capture_logs() as logs:
        assert merger.look() is None
        until(lambda: merger.look() is None and bool(logs))
    assert [each["exception_type"] for each in logs] == ["MemoryError"]
    assert living.state is before
    assert merger.look() is None
    assert merger._merging is None


def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline


def test_while_a_thread_applies_and_merges_every_answer_is_that_of_its_revision(
    living: LivingVersion, servable: ServableVersion, artifact_folder: Path, tmp_path: Path
) -> None:
    plain, changes = LivingVersion(servable, artifact_folder), []
    expected = [found(plain)]
    for number in range(1, 21):
        changes.append(change_of(f"i{number}", f"new-{number % 6}"))
        expected.append(found_by(plain.apply(changes[-1:], number)))
    log, states = CatalogueLog(tmp_path / "catalogue.log"), [living.state]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bascule_server.living.merger.REST", 0)
        follower = Follower(CatalogueLog(log.path), living, states.append)
        follower.start()
        for revision, change in enumerate(changes, 1):
            log.append(change.SerializeToString())
            follower.look()

            def is_served() -> bool:
                state = states[-1]
                assert found_by(state) == expected[state.revision]
                return state.revision >= revision  # noqa: B023 - asked at once

            until(is_served)
        # A merge serves too, at the revision that there is.
        until(lambda: not isinstance(states[-1].scorer.retrievers.ranking, SegmentedRetriever))
        follower.end()
    assert found_by(states[-1]) == expected[20]


def test_everything_may_go_and_come_again(living: LivingVersion) -> None:
    go(living, *(f"i{number}" for number in range(120)))
    assert (living.state.item_count, living.to_merge()) == (0, None)
    assert found(living) == []
    come(living, "new")
    until_taken_over(Merger(living))
    assert found(living) == ["new"]
    go(living, "new")
    come(living, "i5")
    until_taken_over(Merger(living))
    assert found(living) == ["i5"]
    assert np.count_nonzero(living._is_gone) == 120
