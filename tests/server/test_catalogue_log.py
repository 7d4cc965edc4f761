"""A log loses nothing that was acknowledged, gives nothing that is not whole, and tells a torn end from damage."""

import errno
import fcntl
import os
import signal
import struct
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bascule_server.living import log as catalogue_log
from bascule_server.living.log import (
    MAX_PAYLOAD_BYTES,
    CatalogueLog,
    LogDamagedError,
    LogFailedError,
    LogFullError,
    Record,
    encoded,
    parse,
)

payloads = st.lists(st.binary(min_size=1, max_size=40), max_size=5)


def written(contents: list[bytes], first: int = 1) -> bytes:
    return b"".join(encoded(Record(revision, each)) for revision, each in enumerate(contents, first))


@pytest.fixture
def log(tmp_path: Path) -> CatalogueLog:
    return CatalogueLog(tmp_path / "catalogue.log")


@given(payloads, st.integers(1, 2**40))
def test_records_come_back_as_they_were_written(contents: list[bytes], first: int) -> None:
    data = written(contents, first)
    records = [Record(first + place, each) for place, each in enumerate(contents)]
    assert parse(data, first) == (records, len(data), False)


@given(payloads, st.binary(min_size=1, max_size=40))
def test_torn_at_every_byte_the_records_before_are_whole_and_nothing_is_damaged(
    contents: list[bytes], last: bytes
) -> None:
    whole, data = written(contents), written([*contents, last])
    for size in range(len(whole), len(data)):
        records, valid_bytes, is_damaged = parse(data[:size], 1)
        assert (len(records), valid_bytes, is_damaged) == (len(contents), len(whole), False)


@given(payloads, st.binary(min_size=1, max_size=40), st.data())
def test_bytes_that_were_never_written_are_a_torn_end(contents: list[bytes], last: bytes, data: st.DataObject) -> None:
    whole, all_of_it = written(contents), written([*contents, last])
    size = data.draw(st.integers(len(whole), len(all_of_it) - 1))
    torn = all_of_it[:size] + bytes(len(all_of_it) - size)
    # Zeros may be what would have been written.
    if torn != all_of_it:
        assert parse(torn, 1)[1:] == (len(whole), False)


@given(payloads.filter(lambda contents: len(contents) > 1), st.data())
def test_a_flipped_bit_before_the_last_record_is_damage(contents: list[bytes], data: st.DataObject) -> None:
    whole = bytearray(written(contents))
    before_last = len(written(contents[:-1]))
    bit = data.draw(st.integers(0, 8 * before_last - 1))
    whole[bit // 8] ^= 1 << bit % 8
    records, valid_bytes, is_damaged = parse(bytes(whole), 1)
    assert is_damaged
    assert valid_bytes == len(written(contents[: len(records)])) <= bit // 8


@given(st.binary(max_size=200))
def test_whatever_bytes_there_are_they_are_read_without_a_fault(data: bytes) -> None:
    records, valid_bytes, _ = parse(data, 1)
    assert written([each.payload for each in records]) == data[:valid_bytes]


def test_more_than_one_record_can_be_torn_into_is_damage() -> None:
    rubbish = b"\xff" * (MAX_PAYLOAD_BYTES + 17)
    assert parse(rubbish, 1) == ([], 0, True)
    assert parse(rubbish[1:], 1) == ([], 0, False)


def test_content_that_looks_like_very_many_records_is_left_for_a_person_to_look_at() -> None:
    headers = struct.pack("<IQI", 3_000_000, 2, 0) * 100
    torn = encoded(Record(1, headers + bytes(4_000_000)))[:-1]
    assert parse(torn, 1) == ([], 0, True)


def test_what_is_appended_is_read_by_others_as_it_grows(log: CatalogueLog) -> None:
    reader = CatalogueLog(log.path)
    assert reader.read() == []
    assert [log.append(each) for each in (b"a", b"bc")] == [1, 2]
    assert reader.read() == [Record(1, b"a"), Record(2, b"bc")]
    assert reader.read() == []
    assert log.append(b"d") == 3
    assert (reader.read(), reader.revision) == ([Record(3, b"d")], 3)


def test_several_who_write_number_their_records_together(log: CatalogueLog) -> None:
    other = CatalogueLog(log.path)
    assert [each.append(b"x") for each in (log, other, other, log)] == [1, 2, 3, 4]


@settings(max_examples=50, deadline=None)
@given(contents=payloads, last=st.binary(min_size=1, max_size=20))
def test_a_torn_end_is_cut_off_by_who_writes_next(
    tmp_path_factory: pytest.TempPathFactory, contents: list[bytes], last: bytes
) -> None:
    whole, data = written(contents), written([*contents, last])
    path = tmp_path_factory.mktemp("log") / "catalogue.log"
    for size in range(len(whole), len(data)):
        path.write_bytes(data[:size])
        assert CatalogueLog(path).append(b"next") == len(contents) + 1
        assert path.read_bytes() == written([*contents, b"next"])


def test_a_reader_takes_a_record_only_when_it_is_whole(log: CatalogueLog) -> None:
    data = written([b"first", b"second"])
    for size in range(len(data) + 1):
        log.path.write_bytes(data[:size])
        read = CatalogueLog(log.path).read()
        assert len(read) == (size >= len(written([b"first"]))) + (size == len(data))


def test_a_torn_end_is_looked_at_again_when_the_file_has_changed_and_only_then(log: CatalogueLog) -> None:
    torn, whole = written([b"abc"])[:-1], written([b"ab"])
    log.path.write_bytes(torn)
    assert log.read() == []
    seen = log.path.stat().st_mtime_ns
    log.path.write_bytes(whole)
    os.utime(log.path, ns=(seen, seen))
    assert log.read() == []
    os.utime(log.path, ns=(seen, seen + 1))
    assert log.read() == [Record(1, b"ab")]


def test_while_a_record_is_written_nobody_reads(log: CatalogueLog) -> None:
    log.append(b"first")
    first = log.path.read_bytes()
    reader = CatalogueLog(log.path)
    with ThreadPoolExecutor() as threads, log.path.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        log.path.write_bytes(b"rubbish" * 10 + written([b"second"], 2))
        reading = threads.submit(reader.read)
        deadline = time.monotonic() + 30
        while open_files(log.path) < 2 and not reading.done():
            assert time.monotonic() < deadline
        log.path.write_bytes(first)
        fcntl.flock(file, fcntl.LOCK_UN)
        assert reading.result() == [Record(1, b"first")]


def open_files(path: Path) -> int:
    """How often this process has the file open."""
    count = 0
    for each in Path("/proc/self/fd").iterdir():
        # What lists them is gone by then.
        count += each.exists() and each.resolve() == path.resolve()
    return count


def test_behind_damage_nothing_is_read_or_written(log: CatalogueLog) -> None:
    data = bytearray(written([b"first", b"second", b"third"]))
    data[len(written([b"first"])) + 16] ^= 1
    log.path.write_bytes(data)
    reader = CatalogueLog(log.path)
    assert reader.read() == [Record(1, b"first")]
    for _ in range(2):
        with pytest.raises(LogDamagedError, match="damaged after revision 1"):
            reader.read()
    with pytest.raises(LogDamagedError):
        log.append(b"fourth")
    assert log.path.read_bytes() == bytes(data)


def test_a_log_that_became_shorter_is_damaged(log: CatalogueLog) -> None:
    log.append(b"first")
    reader = CatalogueLog(log.path)
    reader.read()
    log.path.write_bytes(b"")
    with pytest.raises(LogDamagedError):
        reader.read()


def test_a_log_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    with pytest.raises(LogFailedError):
        CatalogueLog(tmp_path / "missing" / "catalogue.log").append(b"x")


def test_what_the_disk_refuses_is_taken_back_before_anybody_reads_it(
    log: CatalogueLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.append(b"first")
    before = log.path.read_bytes()

    def refuse(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        with pytest.raises(LogFailedError, match="Input/output error"):
            log.append(b"refused")
    assert log.path.read_bytes() == before
    assert log.append(b"second") == 2
    assert CatalogueLog(log.path).read() == [Record(1, b"first"), Record(2, b"second")]


def test_a_log_that_is_full_stays_as_it_is(log: CatalogueLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue_log, "MAX_LOG_BYTES", 2 * 17)
    assert [log.append(each) for each in (b"a", b"b")] == [1, 2]
    with pytest.raises(LogFullError, match="got 34 bytes; expected at most 34"):
        log.append(b"c")
    assert log.path.read_bytes() == written([b"a", b"b"])


@pytest.mark.parametrize("payload", [b"", bytes(MAX_PAYLOAD_BYTES + 1)])
def test_a_payload_of_no_or_of_too_many_bytes_is_refused(log: CatalogueLog, payload: bytes) -> None:
    with pytest.raises(ValueError, match="expected 1 to"):
        log.append(payload)


WRITER = """
import sys
from pathlib import Path
from bascule_server.living.log import CatalogueLog
log = CatalogueLog(Path(sys.argv[1]))
while True:
    print(log.append(b"x" * 1_000), flush=True)
"""


def test_a_writer_that_is_killed_loses_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.log"
    acknowledged = 0
    for _ in range(3):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        for _ in range(20):
            acknowledged = int(writer.stdout.readline())
        os.kill(writer.pid, signal.SIGKILL)
        # What stood in the pipe was acknowledged as well.
        acknowledged = max([acknowledged, *(int(line) for line in writer.stdout if line.endswith("\n"))])
        writer.wait()
        writer.stdout.close()
        assert len(CatalogueLog(path).read()) >= acknowledged


def test_two_who_write_at_once_number_their_records_together(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.log"
    command = [sys.executable, "-c", WRITER, str(path)]
    writers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    revisions = [int(line) for writer in writers for _, line in zip(range(50), writer.stdout or (), strict=False)]
    for writer in writers:
        writer.kill()
        writer.communicate()
    assert len(set(revisions)) == 100
    assert len(CatalogueLog(path).read()) >= max(revisions)
