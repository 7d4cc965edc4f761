"""The plan of a model is read as it was set and changed by one at a time; a file that holds none is told of."""

import errno
import json
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.v1.model_admin_service_pb2 import Canary, ServingPlan
from bascule_server.versions.plan import (
    MAX_ALSO,
    MAX_BYTES,
    NAME,
    PlanChangedError,
    PlanError,
    complaints,
    read_plan,
    roles,
    unpublished,
    write_plan,
)


@st.composite
def plans(draw: st.DrawFn) -> ServingPlan:
    """Valid plans that were never set."""
    versions = draw(st.lists(st.integers(1, 2**63 - 1), max_size=3 + MAX_ALSO, unique=True))
    stable, canary, shadow, *also = [*versions, 0, 0, 0]
    weight = draw(st.floats(0, 1)) if canary else 0.0
    return ServingPlan(
        stable=stable, canary=Canary(version=canary, weight=weight), shadow=shadow, also=filter(None, also)
    )


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of which each example makes what it needs."""
    return tmp_path_factory.mktemp("plans")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@given(plans())
def test_a_plan_is_read_as_it_was_set(scratch: Path, plan: ServingPlan) -> None:
    (scratch / NAME).unlink(missing_ok=True)
    written = write_plan(scratch, plan)
    assert read_plan(scratch) == written
    plan.revision = 1
    assert written == plan
    assert [each.name for each in scratch.iterdir()] == [NAME]


def test_where_there_is_no_file_the_plan_is_empty_and_of_revision_0(folder: Path) -> None:
    assert read_plan(folder) == ServingPlan()


def read(folder: Path, text: bytes) -> ServingPlan | PlanError:
    (folder / NAME).write_bytes(text)
    try:
        return read_plan(folder)
    except PlanError as error:
        return error


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda value: st.lists(value) | st.dictionaries(st.sampled_from(["version", "weight", "more"]), value),
)
likely = st.dictionaries(
    st.sampled_from(["revision", "stable", "canary", "shadow", "also", "", "@type", "[a.b]"]) | st.text(), values
)


@given(
    st.binary()
    | st.text().map(str.encode)
    | values.map(lambda value: json.dumps(value).encode())
    | likely.map(lambda fields: json.dumps(fields).encode())
)
def test_whatever_the_file_holds_is_a_valid_plan_or_told_of(scratch: Path, text: bytes) -> None:
    found = read(scratch, text)
    if isinstance(found, ServingPlan):
        assert list(complaints(found)) == []
    else:
        assert str(found).startswith(f"{scratch / NAME}: ")


@pytest.mark.parametrize("text", [b"", b"null", b"5", b"\xff", b"[" * 60_000, b'{"canary":' * 6_000, b'{"stable":'])
def test_what_is_no_plan_is_told_of(folder: Path, text: bytes) -> None:
    assert "not a plan" in str(read(folder, text))


def test_a_file_that_is_too_large_is_not_read_whole(folder: Path) -> None:
    assert read(folder, b"{}" + b" " * (MAX_BYTES - 2)) == ServingPlan()
    assert "got more than 65,536 bytes" in str(read(folder, b"{}" + b" " * (MAX_BYTES - 1)))


def test_what_is_no_file_is_told_of(folder: Path) -> None:
    (folder / NAME).mkdir()
    with pytest.raises(PlanError, match=r"plan\.json: cannot be read: Is a directory"):
        read_plan(folder)


def test_only_the_present_revision_may_be_replaced(folder: Path) -> None:
    for revision in (0, 1, 2):
        assert write_plan(folder, ServingPlan(revision=revision, stable=7)).revision == revision + 1
    for revision in (-1, 0, 2, 4):
        with pytest.raises(PlanChangedError):
            write_plan(folder, ServingPlan(revision=revision, stable=8))
    assert read_plan(folder) == ServingPlan(revision=3, stable=7)


def test_a_plan_that_cannot_be_read_is_not_replaced(folder: Path) -> None:
    (folder / NAME).write_bytes(b"mine")
    with pytest.raises(PlanError):
        write_plan(folder, ServingPlan(stable=7))
    assert (folder / NAME).read_bytes() == b"mine"


def test_where_the_disk_is_full_the_present_plan_is_as_it_was(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "no room")

    present = write_plan(folder, ServingPlan(stable=7))
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(OSError, match="no room"):
            write_plan(folder, ServingPlan(revision=1, stable=8))
    assert read_plan(folder) == present
    assert [each.name for each in folder.iterdir()] == [NAME]
    assert write_plan(folder, ServingPlan(revision=1, stable=8)).revision == 2


def test_where_the_file_cannot_be_made_the_present_plan_is_as_it_was(folder: Path) -> None:
    present = write_plan(folder, ServingPlan(stable=7))
    (folder / f"{NAME}.part").mkdir()
    with pytest.raises(IsADirectoryError):
        write_plan(folder, ServingPlan(revision=1, stable=8))
    assert read_plan(folder) == present


def test_of_many_who_write_at_once_each_changes_what_it_has_read(folder: Path) -> None:
    def add(writer: int) -> list[int]:
        revisions: list[int] = []
        while len(revisions) < 5:
            plan = read_plan(folder)
            plan.stable = writer
            try:
                revisions.append(write_plan(folder, plan).revision)
            except PlanChangedError:
                continue
        return revisions

    with ThreadPoolExecutor(4) as writers:
        revisions = [revision for each in writers.map(add, range(1, 5)) for revision in each]
    assert sorted(revisions) == list(range(1, 21))
    assert read_plan(folder).revision == 20


WRONG: list[tuple[ServingPlan, list[str]]] = [
    (ServingPlan(revision=-1), ["revision"]),
    (ServingPlan(revision=2**63 - 1), ["revision"]),
    (ServingPlan(stable=-1), ["stable"]),
    (ServingPlan(shadow=-1), ["shadow"]),
    (ServingPlan(also=[1, -1]), ["also[1]"]),
    (ServingPlan(canary=Canary(version=-1)), ["canary.version"]),
    (ServingPlan(canary=Canary(version=1, weight=1.01)), ["canary.weight"]),
    (ServingPlan(canary=Canary(version=1, weight=-0.01)), ["canary.weight"]),
    (ServingPlan(canary=Canary(version=1, weight=math.nan)), ["canary.weight"]),
    (ServingPlan(canary=Canary(weight=0.5)), ["canary.version"]),
    (ServingPlan(stable=3, shadow=3), ["stable", "shadow"]),
    (ServingPlan(canary=Canary(version=3), also=[2, 3]), ["canary.version", "also[1]"]),
    (ServingPlan(also=[2, 2]), ["also[0]", "also[1]"]),
    (ServingPlan(also=range(1, 10)), ["also"]),
]


@pytest.mark.parametrize(("plan", "fields"), WRONG)
def test_each_field_that_is_wrong_is_named_and_such_a_file_is_not_read(
    folder: Path, plan: ServingPlan, fields: list[str]
) -> None:
    assert [field for field, _ in complaints(plan)] == fields
    text = json.dumps(
        {
            "revision": plan.revision,
            "stable": plan.stable,
            "shadow": plan.shadow,
            "also": list(plan.also),
            "canary": {"version": plan.canary.version, "weight": str(plan.canary.weight).replace("nan", "NaN")},
        }
    )
    assert f"{NAME}: {fields[0]}: got " in str(read(folder, text.encode()))


@given(plans())
def test_of_a_plan_in_order_there_is_nothing_to_complain(plan: ServingPlan) -> None:
    assert list(complaints(plan)) == []
    assert list(unpublished(plan, roles(plan).values())) == []


def test_a_version_that_is_not_published_is_named_with_those_that_are() -> None:
    plan = ServingPlan(stable=2, canary=Canary(version=3), shadow=10, also=[5, 1])
    assert list(unpublished(plan, {10, 2, 1})) == [
        ("canary.version", "got 3; expected one that is published: 1, 2, 10"),
        ("also[0]", "got 5; expected one that is published: 1, 2, 10"),
    ]
    assert list(unpublished(ServingPlan(), [])) == []
