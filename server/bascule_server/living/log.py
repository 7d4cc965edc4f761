"""The log of a catalogue's changes: records behind each other in a file, each with a checksum.

    record   length of the payload (4 bytes), revision (8), CRC-32 of these and the payload (4), payload

Numbers are little-endian; revisions count from 1. A record is on the disk before its revision is acknowledged, and
whoever reads takes whole records alone. So what a crash leaves at the end, part of a record or bytes that were never
written, was not acknowledged to anybody: the next writer cuts it off. A record that is not whole though another one
follows is damage, and nothing behind it is read or written.

    LogFailedError    the log cannot be written
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
_HEADER = struct.Struct("<IQI")
_SUMMED = struct.Struct("<IQ")
_READ_BYTES = 64 * 1024 * 1024


class LogFailedError(Exception):
    """The log cannot be written."""


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
    return Parsed(records, place, _has_record_behind(data, place, first_revision + len(records)))


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
    return any(_record_at(data, place + 1 + later) is not None for later in np.flatnonzero(may_be).tolist())


class CatalogueLog:
    """Reads a log as it grows, and writes to it. Each object is used by one thread at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0
        self.revision = 0
        """Of the last record that was read."""
        self.is_damaged = False

    def read(self) -> list[Record]:
        """The records that were not read yet.

        Raises:
            LogDamagedError: there is damage behind those that were read before.
        """
        try:
            with self.path.open("rb") as file:
                return self._read(file.fileno())
        except FileNotFoundError:
            return []

    def append(self, payload: bytes) -> int:
        """Writes a change to the disk, behind all others; returns its revision.

        Raises:
            ValueError: the payload is empty or too large.
            LogFailedError: it cannot be written. It is not in the log, or is cut off when the log is written again.
            LogDamagedError: the log is damaged before its end.
        """
        if not 1 <= len(payload) <= MAX_PAYLOAD_BYTES:
            raise ValueError(f"got {len(payload):,} bytes; expected 1 to {MAX_PAYLOAD_BYTES:,}")
        try:
            with self._locked() as file:
                while self._read(file):
                    pass
                os.ftruncate(file, self._offset)
                record = Record(self.revision + 1, payload)
                _write(file, encoded(record), self._offset)
                os.fsync(file)
        except OSError as error:
            raise LogFailedError(f"{self.path}: {error.strerror}") from error
        return record.revision

    def _read(self, file: int) -> list[Record]:
        if self.is_damaged:
            raise LogDamagedError(f"{self.path}: damaged after revision {self.revision:,}")
        size = os.fstat(file).st_size
        if size == self._offset:
            return []
        parsed = parse(os.pread(file, _READ_BYTES, self._offset), self.revision + 1)
        self.is_damaged = size < self._offset or (parsed.is_damaged and not parsed.records)
        if self.is_damaged:
            raise LogDamagedError(f"{self.path}: damaged after revision {self.revision:,}")
        self._offset += parsed.valid_bytes
        self.revision += len(parsed.records)
        return parsed.records

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """The open file, which no other process writes to."""
        is_new = not self.path.exists()
        file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            if is_new:
                _sync_folder(self.path.parent)
            yield file
        finally:
            # Which gives up the lock too.
            os.close(file)


def _write(file: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, offset)
        view, offset = view[written:], offset + written


def _sync_folder(folder: Path) -> None:
    """Puts the name of a new file on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
