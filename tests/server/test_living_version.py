"""A catalogue that changed answers as one that had always held what it holds now, to the last bit."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from plain_walk import GENRES, Walk, assert_same, questions
from structlog.testing import capture_logs

from bascule.requests import feature_message
from bascule.v1.catalogue_service_pb2 import CatalogueChange, CatalogueItem
from bascule_server.artifact import file_names
from bascule_server.artifact.reading import read_manifest
from bascule_server.living import version as living_version
from bascule_server.living.compaction import compact
from bascule_server.living.log import CatalogueLog
from bascule_server.living.version import LivingVersion, State
from bascule_server.scoring.encoder import FeaturesEncoder, read_vocabularies
from bascule_server.scoring.query import AnyOf, InRange, Query, Question, Rank, Ranking
from bascule_server.scoring.tower import LiteRtTower
from bascule_server.servable import ServableVersion, load_servable

changed_ids = st.integers(0, 129).map("i{}".format) | st.integers(0, 9).map("new-{}".format)

values = st.fixed_dictionaries(
    {},
    optional={
        "title": st.sampled_from(["Horror No. 10", "another"]),
        "genres": st.lists(st.sampled_from(GENRES), max_size=3, unique=True),
        "year": st.integers(1_950, 2_023).map(float),
        "released": st.datetimes(datetime(1_975, 1, 1), datetime(2_024, 1, 1), timezones=st.just(UTC)),
    },
)

changes = st.lists(
    st.one_of(
        st.dictionaries(changed_ids, values, min_size=1, max_size=8),
        st.lists(changed_ids, min_size=1, max_size=8),
    ),
    max_size=6,
)
"""Each the values of items that come, by id, or the ids of items that go."""


def change_of(change: dict[str, dict[str, Any]] | list[str]) -> CatalogueChange:
    if isinstance(change, list):
        return CatalogueChange(retired_item_ids=change)
    return CatalogueChange(upserted=[item(item_id, **values) for item_id, values in change.items()])


def item(item_id: str, **values: Any) -> CatalogueItem:
    return CatalogueItem(item_id=item_id, values={name: feature_message(each) for name, each in values.items()})


class Placing:
    """Places one new item at a time."""

    def __init__(self, folder: Path) -> None:
        features = read_manifest(folder).item_features
        self._encoder = FeaturesEncoder(features, read_vocabularies(folder, features))
        self._tower = LiteRtTower(folder / file_names.ITEM_TOWER_LITERT)

    def vector(self, values: dict[str, Any]) -> NDArray[np.float32]:
        features = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
        (vector,) = self._tower.vectors(self._encoder.encode([features]))
        return np.asarray(vector)


def apply_to(walk: Walk, placing: Placing, changes: Sequence[dict[str, dict[str, Any]] | list[str]]) -> None:
    """Has the walk's catalogue hold what it does after the changes, in the order of its rows."""
    left = dict.fromkeys(walk.base_ids)
    came: dict[str, tuple[dict[str, Any], NDArray[np.float32], float]] = {}
    for change in changes:
        for item_id in change:
            left.pop(item_id, None)
            came.pop(item_id, None)
        for item_id, values in change.items() if isinstance(change, dict) else ():
            row = walk.base_rows.get(item_id)
            share = 0.0 if row is None else float(walk.base_shares[row])
            keeps = row is not None and share > 0
            came[item_id] = (values, walk.base_vectors[row] if keeps else placing.vector(values), share)
    kept = [walk.base_rows[item_id] for item_id in left]
    walk.holds(
        [walk.base_items[row] for row in kept] + [{"item_id": each, **values} for each, (values, _, _) in came.items()],
        np.concatenate([walk.base_vectors[kept], *(vector[None] for _, vector, _ in came.values())]),
        np.array([*walk.base_shares[kept], *(share for _, _, share in came.values())], np.float32),
    )


@pytest.fixture(scope="module")
def servable(artifact_folder: Path) -> ServableVersion:
    return load_servable(artifact_folder)


@pytest.fixture
def living(servable: ServableVersion, artifact_folder: Path) -> LivingVersion:
    return LivingVersion(servable, artifact_folder)


@pytest.fixture(scope="module")
def walk(artifact_folder: Path) -> Walk:
    return Walk(artifact_folder)


@pytest.fixture(scope="module")
def placing(artifact_folder: Path) -> Placing:
    return Placing(artifact_folder)


@pytest.fixture(scope="module", params=[0, 256], ids=["settled at once", "in the tail"])
def _tail(request: pytest.FixtureRequest) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(living_version, "TAIL_ITEMS", request.param)
        yield


@pytest.mark.usefixtures("_tail")
@settings(max_examples=100, derandomize=True, deadline=None)
@given(changes=changes, asked=st.lists(questions, min_size=1, max_size=4), is_one_by_one=st.booleans(), data=st.data())
def test_answers_are_those_of_a_catalogue_that_always_was_so(
    servable: ServableVersion,
    artifact_folder: Path,
    walk: Walk,
    placing: Placing,
    changes: list[Any],
    asked: list[Question],
    is_one_by_one: bool,
    data: st.DataObject,
) -> None:
    living = LivingVersion(servable, artifact_folder)
    merge = None
    for revision, change in enumerate(changes if is_one_by_one else (), 1):
        living.apply([change_of(change)], revision)
        if merge is not None and data.draw(st.booleans(), "takes over"):
            living.take_over(merge.run())
            merge = None
        elif merge is None and data.draw(st.booleans(), "begins to merge"):
            merge = living.to_merge()
    if changes and not is_one_by_one:
        living.apply([change_of(change) for change in changes], len(changes))
    apply_to(walk, placing, changes)
    expected = [walk.answer(question) for question in asked]
    for answer, each in zip(living.state.scorer.answer(asked), expected, strict=True):
        assert_same(answer, each)
    if (last := living.to_merge()) is not None:
        for answer, each in zip(living.take_over(last.run()).scorer.answer(asked), expected, strict=True):
            assert_same(answer, each)
    assert living.state.item_count == len(walk.items)
    assert living.state.revision == len(changes)


def ranked(state: State, query: Query, rank: Rank | None = None) -> Ranking:
    (ranking,) = state.scorer.answer([Question(query, rank or Rank(item_count=1_000))])
    assert isinstance(ranking, Ranking)
    return ranking


def applied(living: LivingVersion, *changes: CatalogueChange) -> State:
    return living.apply(changes, living.state.revision + len(changes))


HISTORY = Query(history=["i1", "i2", "i3"])


def test_counts_tell_what_came_and_what_went(living: LivingVersion) -> None:
    new = CatalogueChange(upserted=[item("new-1", year=1990.0), item("i1", title="again"), item("new-2")])
    state = applied(living, new)
    assert (state.item_count, state.upserted_count, state.retired_count) == (122, 3, 0)
    state = applied(living, CatalogueChange(retired_item_ids=["new-1", "i1", "i2", "nothing"]))
    assert (state.item_count, state.upserted_count, state.retired_count) == (119, 1, 2)
    state = applied(living, CatalogueChange(upserted=[item("i2")]))
    assert (state.item_count, state.upserted_count, state.retired_count) == (120, 2, 1)


def test_an_item_that_training_saw_keeps_its_vector_when_its_attributes_change(living: LivingVersion) -> None:
    before = ranked(living.state, HISTORY)
    state = applied(living, CatalogueChange(upserted=[item("i7", title="renamed", genres=["Drama"], year=1950.0)]))
    after = ranked(state, HISTORY, Rank(item_count=1_000, attributes=("title",)))
    scores = [dict(zip(each.item_ids, each.scores.tolist(), strict=True)) for each in (before, after)]
    assert scores[0] == scores[1]
    assert after.attributes is not None
    assert after.attributes[after.item_ids.index("i7")] == {"title": "renamed"}
    only = ranked(state, HISTORY, Rank(filters=(AnyOf("title", frozenset({"renamed"})),)))
    assert only.item_ids == ["i7"]


def test_a_state_goes_on_as_it_was_while_others_follow_it(living: LivingVersion) -> None:
    first = applied(living, CatalogueChange(upserted=[item("new-1", year=1990.0)]))
    expected = ranked(first, HISTORY).item_ids
    applied(living, CatalogueChange(retired_item_ids=["new-1", *expected[:50]]))
    assert ranked(first, HISTORY).item_ids == expected


def test_a_history_tells_of_items_that_went_and_keeps_out_those_that_changed(living: LivingVersion) -> None:
    before = ranked(living.state, HISTORY)
    state = applied(
        living, CatalogueChange(retired_item_ids=["i1"]), CatalogueChange(upserted=[item("i2"), item("new")])
    )
    after = ranked(state, HISTORY)
    assert after.unknown_item_ids == []
    assert [each for each in after.item_ids if each != "new"] == before.item_ids
    assert "new" not in ranked(state, Query(history=[*HISTORY.history, "new"])).item_ids


def test_values_that_the_model_does_not_declare_are_left_out(living: LivingVersion) -> None:
    state = applied(living, CatalogueChange(upserted=[item("new", colour="red", year="late", title="kept")]))
    ranking = ranked(state, HISTORY, Rank(filters=(AnyOf("title", frozenset({"kept"})),), attributes=("title", "year")))
    assert (ranking.item_ids, ranking.attributes) == (["new"], [{"title": "kept"}])
    assert (
        ranked(
            state, HISTORY, Rank(filters=(InRange("year", -np.inf, np.inf), AnyOf("title", frozenset({"kept"}))))
        ).item_ids
        == []
    )


def test_values_that_are_left_out_are_counted_while_their_items_are_there_and_told_of_once(
    living: LivingVersion,
) -> None:
    with capture_logs() as logs:
        state = applied(living, CatalogueChange(upserted=[item("new-1", colour="red", size=3.0), item("i1", year="x")]))
        assert state.left_out_count == 3
        merge = living.to_merge()
        assert merge is not None
        assert living.take_over(merge.run()).left_out_count == 3
        state = applied(living, CatalogueChange(upserted=[item("new-1", colour="red"), item("new-2", year=1990.0)]))
        assert state.left_out_count == 2
        assert applied(living, CatalogueChange(retired_item_ids=["new-1", "i1"])).left_out_count == 0
    assert logs == [
        {
            "event": "catalogue changes not served in full",
            "log_level": "warning",
            "model": "tiny",
            "version": 1,
            "left_out_values": ["colour", "size", "year"],
            "has_item_tower": True,
        }
    ]


def test_a_log_that_was_compacted_leads_to_the_same_state(
    living: LivingVersion, servable: ServableVersion, artifact_folder: Path, tmp_path: Path
) -> None:
    other, log = LivingVersion(servable, artifact_folder), CatalogueLog(tmp_path / "catalogue.log")
    for change in (
        CatalogueChange(upserted=[item("new-1", year=1990.0), item("new-2", title="kept"), item("i1", colour="red")]),
        CatalogueChange(retired_item_ids=["new-1", "i2", "nothing"]),
        CatalogueChange(upserted=[item("i2", year=2000.0), item("new-1", year=1955.0)]),
        CatalogueChange(retired_item_ids=["i3"]),
    ):
        log.append(change.SerializeToString())
        applied(living, change)
    compact(CatalogueLog(log.path))
    short = CatalogueLog(log.path)
    other.apply([CatalogueChange.FromString(each.payload) for each in short.read()], short.revision)
    assert other.state[1:] == living.state[1:]
    ask = Rank(item_count=1_000, attributes=("title", "year"))
    one, two = ranked(living.state, HISTORY, ask), ranked(other.state, HISTORY, ask)
    assert (one.item_ids, one.scores.tobytes(), one.attributes) == (two.item_ids, two.scores.tobytes(), two.attributes)


def test_a_model_that_cannot_place_items_says_how_many_there_are(
    living: LivingVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(living, "_tower", None)
    with capture_logs() as logs:
        state = applied(living, CatalogueChange(upserted=[item("new-1"), item("new-2"), item("i1")]))
        applied(living, CatalogueChange(upserted=[item("new-1")]))
    assert [each["has_item_tower"] for each in logs] == [False]
    assert (state.unplaced_count, state.item_count) == (2, 120)
    assert applied(living, CatalogueChange(retired_item_ids=["new-1"])).unplaced_count == 1


def test_many_items_come_to_stand_in_one_segment(living: LivingVersion) -> None:
    for start in range(0, 900, 100):
        many = [item(f"many-{number}", year=float(1950 + number % 70)) for number in range(start, start + 100)]
        state = applied(living, CatalogueChange(upserted=many))
    assert state.item_count == 120 + 900
    assert len(ranked(state, HISTORY).item_ids) == 1_000
    assert len(living._tail) < 300


def test_a_ranking_tower_orders_items_that_came_later_among_the_others(ranked_folder: Path) -> None:
    living = LivingVersion(load_servable(ranked_folder), ranked_folder)
    before = ranked(living.state, HISTORY, Rank(item_count=200))
    state = applied(living, CatalogueChange(upserted=[item("new", genres=["Drama"], year=1990.0)]))
    after = ranked(state, HISTORY, Rank(item_count=200))
    assert (before.is_ranked, after.is_ranked) == (True, True)
    assert sorted(after.item_ids) == sorted([*before.item_ids, "new"])
    merge = living.to_merge()
    assert merge is not None
    merged = ranked(living.take_over(merge.run()), HISTORY, Rank(item_count=200))
    assert (merged.item_ids, merged.scores.tobytes()) == (after.item_ids, after.scores.tobytes())
