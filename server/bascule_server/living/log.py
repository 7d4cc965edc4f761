"""The log of a catalogue's changes: records behind each other in a file, each with a checksum.

    record   length of the payload (4 bytes), revision (8), CRC-32 of these and the payload (4), payload

Numbers are little-endian; revisions count from 1. A record is on the disk before its revision is acknowledged, and
whoever reads takes whole records alone, never while one is written: one that the disk refuses is taken back before
anybody has seen it. So what a crash leaves at the end, part of a record or bytes that were never written, was not
acknowledged to anybody: the next writer cuts it off. A record that is not whole though another one follows is damage,
and nothing behind it is read or written.

    LogFailedError    the log cannot be written
    LogFullError      it is as large as it may be
    LogDamagedError   it is damaged before its end
"""

import fcntl
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

NAME = "catalogue.log"

MAX_PAYLOAD_BYTES = 16 * 1024 * 1024
MAX_LOG_BYTES = 256 * 1024 * 1024
"""A server reads all of it before it serves: of items of 100 bytes, some 20,000 a second."""
_HEADER = struct.Struct("<IQI")
_SUMMED = struct.Struct("<IQ")
_READ_BYTES = 64 * 1024 * 1024
_MAX_SUMMED_BYTES = 256 * 1024 * 1024
"""How much is summed at most to find a record behind a place at which none is, some 0.2 s."""


class LogFailedError(Exception):
    """The log cannot be written."""


class LogFullError(Exception):
    """The log is as large as it may be."""


class LogDamagedError(Exception):
    """The log is damaged before its end."""


class Record(NamedTuple):
    """One change."""

    revision: int
    payload: bytes


class Parsed(NamedTuple):
    """What some bytes of a log hold."""

    records: list[Record]
    valid_bytes: int
    """Where the last whole record ends."""
    is_damaged: bool
    """Whether what follows there is more than the torn end of a log."""


def encoded(record: Record) -> bytes:
    """A record as it stands in the file."""
    return _header(record) + record.payload


def parse(data: bytes, first_revision: int) -> Parsed:
    """Reads records of ascending revisions from ``first_revision``, as far as they are whole."""
    records: list[Record] = []
    place = 0
    while (record := _record_at(data, place)) is not None and record.revision == first_revision + len(records):
        records.append(record)
        place += _HEADER.size + len(record.payload)
    # One record is torn at most.
    is_longer = len(data) - place > _HEADER.size + MAX_PAYLOAD_BYTES
    return Parsed(records, place, is_longer or _has_record_behind(data, place, first_revision + len(records)))


def _header(record: Record) -> bytes:
    summed = _SUMMED.pack(len(record.payload), record.revision)
    return summed + struct.pack("<I", zlib.crc32(record.payload, zlib.crc32(summed)))


def _record_at(data: bytes, place: int) -> Record | None:
    """The whole record that begins there, or None."""
    start = place + _HEADER.size
    if start > len(data):
        return None
    length, revision, _ = _HEADER.unpack_from(data, place)
    # A record without content says nothing, and a stretch of zeros would look like one.
    if not 1 <= length <= MAX_PAYLOAD_BYTES or start + length > len(data):
        return None
    record = Record(revision, data[start : start + length])
    return record if _header(record) == data[place:start] else None


def _has_record_behind(data: bytes, place: int, revision: int) -> bool:
    """Whether a whole record, of this revision or a later one, begins anywhere behind a place at which none does."""
    behind = np.frombuffer(data, np.uint8)[place + 1 :].astype(np.uint32)
    if len(behind) < _HEADER.size:
        return False
    numbers = behind[:-3] | behind[1:-2] << 8 | behind[2:-1] << 16 | behind[3:] << 24
    # Of a header that begins at each place: the length, and both halves of the revision.
    lengths, low, high = numbers[:-8], numbers[4:-4], numbers[8:]
    may_be = (lengths >= 1) & (lengths <= MAX_PAYLOAD_BYTES) & (low >= revision) & (high == 0)
    places = np.flatnonzero(may_be)
    places = places[places + _HEADER.size + lengths[places] <= len(behind)]
    # Content that looks like many records: nothing is lost where it is taken for damage, which a person looks at.
    if int(lengths[places].sum(dtype=np.int64)) > _MAX_SUMMED_BYTES:
        return True
    return any(_record_at(data, place + 1 + later) is not None for later in places.tolist())


class CatalogueLog:
    """Reads a log as it grows, and writes to it. Each object is used by one thread at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0
        self.revision = 0
        """Of the last record that was read."""
        self.is_damaged = False
        self._seen = (0, 0)
        """Size and time of change, ns, of the file in which nothing new was whole: a torn end is looked at once."""

    def read(self) -> list[Record]:
        """The records that were not read yet.

        Raises:
            LogDamagedError: there is damage behind those that were read before.
        """
        try:
            with self.path.open("rb") as file:
                if self._is_seen(os.fstat(file.fileno())):
                    return []
                fcntl.flock(file, fcntl.LOCK_SH)
                return self._read(file.fileno())
        except FileNotFoundError:
            return []

    def append(self, payload: bytes) -> int:
        """Writes a change to the disk, behind all others; returns its revision.

        Raises:
            ValueError: the payload is empty or too large.
            LogFailedError: it cannot be written, and is not in the log.
            LogFullError: the log would be larger than it may be.
            LogDamagedError: the log is damaged before its end.
        """
        if not 1 <= len(payload) <= MAX_PAYLOAD_BYTES:
            raise ValueError(f"got {len(payload):,} bytes; expected 1 to {MAX_PAYLOAD_BYTES:,}")
        try:
            with self._locked() as file:
                while self._read(file):
                    pass
                record = Record(self.revision + 1, payload)
                data = encoded(record)
                if self._offset + len(data) > MAX_LOG_BYTES:
                    raise LogFullError(f"{self.path}: got {self._offset:,} bytes; expected at most {MAX_LOG_BYTES:,}")
                os.ftruncate(file, self._offset)
                _write(file, data, self._offset)
        except OSError as error:
            raise LogFailedError(f"{self.path}: {error.strerror}") from error
        return record.revision

    def _read(self, file: int) -> list[Record]:
        if self.is_damaged:
            raise LogDamagedError(f"{self.path}: damaged after revision {self.revision:,}")
        status = os.fstat(file)
        if self._is_seen(status):
            return []
        parsed = parse(os.pread(file, _READ_BYTES, self._offset), self.revision + 1)
        self.is_damaged = status.st_size < self._offset or (parsed.is_damaged and not parsed.records)
        if self.is_damaged:
            raise LogDamagedError(f"{self.path}: damaged after revision {self.revision:,}")
        if not parsed.records:
            self._seen = (status.st_size, status.st_mtime_ns)
        self._offset += parsed.valid_bytes
        self.revision += len(parsed.records)
        return parsed.records

    def _is_seen(self, status: os.stat_result) -> bool:
        """Whether a file of this status has nothing that was not read."""
        seen = (self._offset, status.st_mtime_ns), self._seen
        return not self.is_damaged and (status.st_size, status.st_mtime_ns) in seen

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """The open file, which nobody else writes to or reads."""
        file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            # Whoever made it may not have come to that.
            if not os.fstat(file).st_size:
                _sync_folder(self.path.parent)
            yield file
        finally:
            # Which gives up the lock too.
            os.close(file)


def _write(file: int, data: bytes, end: int) -> None:
    """Puts the data behind the end and on the disk, or takes it back."""
    try:
        view, offset = memoryview(data), end
        while view:
            written = os.pwrite(file, view, offset)
            view, offset = view[written:], offset + written
        os.fsync(file)
    except OSError:
        os.ftruncate(file, end)
        raise


def _sync_folder(folder: Path) -> None:
    """Puts the name of a new file on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
