"""A log loses nothing that was acknowledged, gives nothing that is not whole, and writes to no file that is none."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bascule_server.living import log as catalogue_log
from bascule_server.living.log import CatalogueLog, LogFailedError, LogFullError
from bascule_server.living.log_format import (
    HEADER_BYTES,
    MAX_PAYLOAD_BYTES,
    Header,
    LogDamagedError,
    LogFormatError,
    Record,
    encoded,
    encoded_header,
)

payloads = st.lists(st.binary(min_size=1, max_size=40), max_size=5)


def written(contents: list[bytes], first: int = 1) -> bytes:
    """A whole log, or the records of one from a later revision on."""
    records = b"".join(encoded(Record(revision, each)) for revision, each in enumerate(contents, first))
    return encoded_header(Header()) + records if first == 1 else records


@pytest.fixture
def log(tmp_path: Path) -> CatalogueLog:
    return CatalogueLog(tmp_path / "catalogue.log")


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
    for size in range(HEADER_BYTES, len(data) + 1):
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
    log.path.write_bytes(written([]))
    with pytest.raises(LogDamagedError):
        reader.read()


@pytest.mark.parametrize("content", [b"", b"x", b"item_id,title\n" * 100, bytes(1_000), written([b"first"])[1:]])
def test_a_file_that_is_no_log_is_refused_and_left_as_it_is(log: CatalogueLog, content: bytes) -> None:
    log.path.write_bytes(content)
    for _ in range(2):
        with pytest.raises(LogFormatError, match=r"catalogue\.log: got a file that is no log"):
            log.append(b"x")
        with pytest.raises(LogFormatError):
            log.read()
    assert log.is_damaged
    assert log.path.read_bytes() == content


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
    monkeypatch.setattr(catalogue_log, "MAX_FILE_BYTES", HEADER_BYTES + 2 * 17)
    assert [log.append(each) for each in (b"a", b"b")] == [1, 2]
    with pytest.raises(LogFullError, match="got 66 bytes, of which too few are superseded"):
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
