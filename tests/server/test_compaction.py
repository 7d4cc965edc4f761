"""A compacted log leads to what the whole one led to, at the same revision, whoever reads it and whatever is killed."""

import errno
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from bascule.v1.catalogue_service_pb2 import CatalogueChange, CatalogueItem
from bascule.v1.recommendation_service_pb2 import FeatureValue
from bascule_server.living import compaction
from bascule_server.living.compaction import Compaction, LastChanges, compact, is_due
from bascule_server.living.log import MAX_FILE_BYTES, MAX_LOG_BYTES, CatalogueLog, LogFullError
from bascule_server.living.log_file import beside
from bascule_server.living.log_format import LogDamagedError, Record

MIB = 1024 * 1024


def upserting(*item_ids: str, number: float = 0.0, seconds: int = 1) -> CatalogueChange:
    values = {"year": FeatureValue(number=number)}
    change = CatalogueChange(upserted=[CatalogueItem(item_id=each, values=values) for each in item_ids])
    change.time.FromSeconds(seconds)
    return change


def retiring(*item_ids: str, seconds: int = 1) -> CatalogueChange:
    change = CatalogueChange(retired_item_ids=item_ids)
    change.time.FromSeconds(seconds)
    return change


ids = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=4)
changes = st.builds(
    lambda item_ids, number, comes, seconds: (
        upserting(*item_ids, number=number, seconds=seconds) if comes else retiring(*item_ids, seconds=seconds)
    ),
    ids,
    st.integers(0, 9).map(float),
    st.booleans(),
    st.integers(1, 2**33),
)


class Kept:
    """What somebody knows who follows a log: the items that came, in their order, and those that went."""

    def __init__(self) -> None:
        self.came: dict[str, CatalogueItem] = {}
        self.went: set[str] = set()
        self.time = 0

    def follow(self, changes: Iterable[CatalogueChange]) -> "Kept":
        for change in changes:
            for item_id, item in {each.item_id: each for each in change.upserted}.items():
                self.came.pop(item_id, None)
                self.came[item_id] = item
                self.went.discard(item_id)
            for item_id in change.retired_item_ids:
                self.came.pop(item_id, None)
                self.went.add(item_id)
            self.time = change.time.seconds
        return self

    @property
    def all(self) -> tuple[list[tuple[str, CatalogueItem]], set[str], int]:
        return list(self.came.items()), self.went, self.time


class Reader:
    """Follows a log."""

    def __init__(self, path: Path) -> None:
        self.log, self.kept = CatalogueLog(path), Kept()

    def read(self) -> "Reader":
        while records := self.log.read():
            assert {each.revision for each in records} >= {self.log.revision}
            self.kept.follow(changes_of(records))
        return self


def changes_of(records: Sequence[Record]) -> list[CatalogueChange]:
    return [CatalogueChange.FromString(record.payload) for record in records]


def appended(path: Path, changes: Iterable[CatalogueChange]) -> int:
    log = CatalogueLog(path)
    return max([log.append(change.SerializeToString()) for change in changes])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "catalogue.log"


@given(st.lists(changes, max_size=12))
def test_the_last_changes_lead_to_what_all_led_to(many: list[CatalogueChange]) -> None:
    last = LastChanges()
    for change in many:
        last.add(change)
    left = list(last.changes())
    assert Kept().follow(left).all == Kept().follow(many).all
    ids = [each for change in left for each in (*(item.item_id for item in change.upserted), *change.retired_item_ids)]
    assert len(ids) == len(set(ids))


@given(st.lists(changes, max_size=12), st.lists(changes, max_size=12))
def test_who_knows_a_part_comes_to_the_same_by_the_last_changes(
    known: list[CatalogueChange], more: list[CatalogueChange]
) -> None:
    last = LastChanges()
    for change in (*known, *more):
        last.add(change)
    assert Kept().follow([*known, *last.changes()]).all == Kept().follow([*known, *more]).all


@settings(max_examples=60)
@given(
    st.lists(
        changes.map(lambda change: ("append", change)) | st.sampled_from([("compact", None), ("read", None)]),
        max_size=25,
    )
)
def test_whenever_a_log_is_compacted_writers_and_readers_go_on_as_if_it_were_not(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, Any]]
) -> None:
    path = tmp_path_factory.mktemp("log") / "catalogue.log"
    writers, readers, written = [CatalogueLog(path), CatalogueLog(path)], [Reader(path), Reader(path)], []
    for number, (step, change) in enumerate(steps):
        if step == "append":
            written.append(change)
            assert writers[number % 2].append(change.SerializeToString()) == len(written)
        elif step == "read":
            readers[number % 2].read()
        elif written:
            compact(CatalogueLog(path))
    expected = Kept().follow(written).all
    for reader in (*readers, Reader(path)):
        assert reader.read().kept.all == expected
        assert reader.log.revision == len(written)


def test_many_changes_of_few_items_become_few_bytes(path: Path) -> None:
    appended(path, (upserting("a", "b", number=float(number)) for number in range(300)))
    before = path.stat().st_size
    compact(CatalogueLog(path))
    assert path.stat().st_size < before / 100
    reader = Reader(path).read()
    assert reader.log.revision == 300
    assert [item.values["year"].number for item in reader.kept.came.values()] == [299, 299]


def test_compacted_records_are_as_large_as_one_call_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    last = LastChanges()
    last.add(upserting(*(f"item-{number}" for number in range(2_500))))
    last.add(retiring(*(f"gone-{number}" for number in range(1_001))))
    assert [len(change.upserted) for change in last.changes()] == [0, 0, 1_000, 1_000, 500]
    assert [len(change.retired_item_ids) for change in last.changes()][:2] == [1_000, 1]
    monkeypatch.setattr(compaction, "MAX_PAYLOAD_BYTES", 80_000)
    sizes = [change.ByteSize() for change in last.changes()]
    assert max(sizes) <= 80_000
    assert len(sizes) > 5


class Killed(BaseException):
    """The process ended there."""


STEPS = ("ftruncate", "pwrite", "fsync", "fchmod", "rename")


def killed_at(number: int, work: Callable[[], object]) -> bool:
    """Whether ``work`` came to its step of this number, and was ended right before it."""
    taken = iter(range(1_000))

    def counted(step: Callable[..., Any]) -> Callable[..., Any]:
        def take(*arguments: Any) -> Any:
            if next(taken) == number:
                raise Killed
            return step(*arguments)

        return take

    with pytest.MonkeyPatch.context() as patch:
        for step in STEPS:
            patch.setattr(os, step, counted(getattr(os, step)))
        try:
            work()
        except Killed:
            return True
    return False


def test_killed_between_any_two_steps_nothing_is_lost(path: Path) -> None:
    many = [upserting("a", "b"), retiring("a"), upserting("c", number=3.0), upserting("a")]
    appended(path, many)
    whole = path.read_bytes()
    number = 0
    while killed_at(number, lambda: compact(CatalogueLog(path))):
        reader = Reader(path).read()
        assert (reader.log.revision, reader.kept.all) == (4, Kept().follow(many).all)
        number += 1
        path.write_bytes(whole)
    assert number >= len(STEPS)
    assert appended(path, [retiring("c")]) == 5
    assert Reader(path).read().kept.all == Kept().follow([*many, retiring("c")]).all


def test_killed_before_the_name_is_on_the_disk_the_next_writer_puts_it_there_before_the_change(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    appended(path, [upserting("a"), upserting("a")])
    writer, other = CatalogueLog(path), CatalogueLog(path)
    for each in (writer, other):
        each.append(upserting("a").SerializeToString())
    before = path.stat().st_ino
    steps = next(number for number in range(100) if not killed_at(number, lambda: compact(CatalogueLog(path))))
    assert killed_at(steps - 1, lambda: compact(CatalogueLog(path)))
    assert path.stat().st_ino != before
    flushed: list[bool] = []
    flush = os.fsync

    def note(file: int) -> None:
        flushed.append(stat.S_ISDIR(os.fstat(file).st_mode))
        flush(file)

    monkeypatch.setattr(os, "fsync", note)
    for each in (writer, other, writer):
        each.append(upserting("a").SerializeToString())
    assert flushed == [True, False, True, False, False]


def test_killed_before_a_first_log_has_its_name_the_next_writer_makes_it(path: Path) -> None:
    number = 0
    while killed_at(number, lambda: appended(path, [upserting("a")])):
        number += 1
        assert Reader(path).read().log.revision in (0, 1)
    assert number >= 4
    # Some were killed when all of it was on the disk but for the last word.
    assert Reader(path).read().log.revision >= 1


def test_torn_behind_the_compacted_part_what_was_compacted_is_there_and_torn_within_nothing_is_served(
    path: Path,
) -> None:
    many = [upserting("a", "b"), retiring("a")]
    appended(path, many)
    compact(CatalogueLog(path))
    compacted = path.stat().st_size
    appended(path, [upserting("c")])
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        if size >= compacted:
            assert Reader(path).read().kept.all == Kept().follow(many).all
        else:
            reader = Reader(path)
            with pytest.raises(LogDamagedError):
                reader.read()
            assert reader.kept.all == Kept().all


def test_a_disk_that_refuses_leaves_the_log_as_it_was_until_it_has_doubled(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    appended(path, (upserting("a") for _ in range(10)))
    before = path.read_bytes()
    monkeypatch.setattr(compaction, "MIN_BYTES", 100)
    log, again = CatalogueLog(path), Compaction(path)
    log.read()
    assert again.is_due(log)

    def refuse(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with capture_logs() as logs, monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        again.run()
    assert [each["reason"] for each in logs] == ["No space left on device"]
    assert path.read_bytes() == before
    assert not again.is_due(log)
    appended(path, (upserting("a") for _ in range(12)))
    log.read()
    assert again.is_due(log)
    again.run()
    assert path.stat().st_size < len(before)


@pytest.mark.parametrize("payload", [b"\xff", b"\x7a\x01x"], ids=["not a change", "with a field of a later release"])
def test_a_log_with_what_this_release_does_not_know_is_left_as_it_is(path: Path, payload: bytes) -> None:
    appended(path, [upserting("a")])
    CatalogueLog(path).append(payload)
    before = path.read_bytes()
    with capture_logs() as logs:
        Compaction(path).run()
    assert [each["reason"] for each in logs] == ["it has changes of another release"]
    assert path.read_bytes() == before


def test_while_somebody_compacts_a_log_nobody_else_does(path: Path) -> None:
    appended(path, [upserting("a"), upserting("a")])
    before = path.read_bytes()
    with beside(path, waits=False):
        Compaction(path).run()
        assert path.read_bytes() == before
    Compaction(path).run()
    assert path.stat().st_size < len(before)


def test_a_compacted_log_may_be_read_by_those_who_might_read_the_other(path: Path) -> None:
    appended(path, [upserting("a")])
    path.chmod(0o600)
    compact(CatalogueLog(path))
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_log_that_leads_to_less_than_was_read_is_another_one(path: Path) -> None:
    appended(path, [upserting("a"), upserting("b")])
    reader = Reader(path).read()
    path.unlink()
    appended(path, [upserting("a")])
    compact(CatalogueLog(path))
    with pytest.raises(LogDamagedError, match="damaged after revision 2"):
        reader.read()


def test_a_log_may_double_and_is_compacted_before_it_is_full() -> None:
    assert [is_due(size, 32) for size in (MIB, MIB + 1)] == [False, True]
    assert [is_due(size, 3 * MIB) for size in (6 * MIB, 6 * MIB + 1)] == [False, True]
    assert [is_due(size * MIB, 256 * MIB) for size in (288, 289)] == [False, True]
    assert (MAX_LOG_BYTES, MAX_FILE_BYTES) == (256 * MIB, 320 * MIB)


def test_a_log_is_full_where_too_much_is_not_superseded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bascule_server.living.log.MAX_LOG_BYTES", 100)
    appended(path, (upserting("a") for _ in range(20)))
    compact(CatalogueLog(path))
    appended(path, [upserting(f"item-{number}") for number in range(20)])
    compact(CatalogueLog(path))
    with pytest.raises(LogFullError, match="of which too few are superseded"):
        appended(path, [upserting("a")])


WRITER = """
import sys
from pathlib import Path
from bascule.v1.catalogue_service_pb2 import CatalogueChange, CatalogueItem
from bascule_server.living.log import CatalogueLog
log = CatalogueLog(Path(sys.argv[1]))
while True:
    number = log.revision + 1
    change = CatalogueChange(upserted=[CatalogueItem(item_id=f"{sys.argv[2]}-{number % 7}")])
    print(log.append(change.SerializeToString()), flush=True)
"""

COMPACTOR = """
import sys
from pathlib import Path
from bascule_server.living.compaction import compact
from bascule_server.living.log import CatalogueLog
while True:
    compact(CatalogueLog(Path(sys.argv[1])))
    print("compacted", flush=True)
"""


def test_writers_and_compactors_that_are_killed_lose_nothing_that_was_acknowledged(path: Path) -> None:
    appended(path, [upserting("first")])
    acknowledged = 1
    reader = Reader(path)
    for _ in range(2):
        writers = [started(WRITER, path, name) for name in "xy"]
        compactor = started(COMPACTOR, path)
        for writer in writers:
            acknowledged = max(acknowledged, *(int(line) for line, _ in zip(lines(writer), range(15), strict=False)))
            reader.read()
        assert next(lines(compactor)) == "compacted\n"
        for process in (compactor, *writers):
            os.kill(process.pid, signal.SIGKILL)
            rest = process.communicate()[0].splitlines()
            acknowledged = max([acknowledged, *(int(line) for line in rest if line.isdigit())])
        assert reader.read().log.revision >= acknowledged
        fresh = Reader(path).read()
        assert fresh.log.revision == reader.log.revision
        assert fresh.kept.all == reader.kept.all


def started(program: str, *arguments: object) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def lines(process: "subprocess.Popen[str]") -> Iterator[str]:
    assert process.stdout is not None
    return iter(process.stdout.readline, "")
