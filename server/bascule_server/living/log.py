"""The log of a catalogue's changes, which grows behind and is now and then exchanged for a shorter one.

Revisions count from 1. A record is on the disk before its revision is acknowledged, and whoever reads takes whole
records alone, never while one is written: one that the disk refuses is taken back before anybody has seen it. So what a
crash leaves at the end, part of a record or bytes that were never written, was not acknowledged to anybody: the next
writer cuts it off. A record that is not whole though another one follows is damage, and nothing behind it is read or
written.

    LogFailedError    the log cannot be written
    LogFullError      it is as large as it may be

See also ``log_format``, for what else can be wrong with it, and ``compaction``.
"""

import fcntl
import os
from pathlib import Path
from typing import NamedTuple

from bascule_server.living.log_file import beside, keep_name, locked, take_place, write
from bascule_server.living.log_format import (
    HEADER_BYTES,
    MAX_PAYLOAD_BYTES,
    Header,
    LogDamagedError,
    Record,
    encoded,
    encoded_header,
    parse,
    parse_compacted,
    parse_header,
)

NAME = "catalogue.log"

MAX_LOG_BYTES = 256 * 1024 * 1024
"""Of what is not superseded, as far as it was compacted. A server reads all of it before it serves."""
MAX_FILE_BYTES = MAX_LOG_BYTES + MAX_LOG_BYTES // 4
"""With what is superseded, and what was not compacted yet."""

_READ_BYTES = 64 * 1024 * 1024


class LogFailedError(Exception):
    """The log cannot be written."""


class LogFullError(Exception):
    """The log is as large as it may be."""


class _Piece(NamedTuple):
    """Part of a file, read while nobody wrote."""

    seen: tuple[int, int, int]
    """The number of the file, its size, and when it changed, ns."""
    header: Header
    is_exchanged: bool
    """Whether it is another file than that which was read before."""
    data: bytes


class CatalogueLog:
    """Reads a log as it grows, and writes to it. Each object is used by one thread at a time.

    Attributes:
        path: of the file, which need not be there.
        revision: of the last change that was read.
        header: of the file.
        end: in bytes, of what was read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.revision = 0
        self.header = Header()
        self.end = HEADER_BYTES
        self._at = 0
        """The revision of the last change before the end, which is below ``revision`` after a file was exchanged."""
        self._seen = (0, 0, 0)
        """The file in which nothing was left to read: a torn end is looked at once."""
        self._damage: LogDamagedError | None = None
        self._named = (0, self.header)
        """The file of which the name is on the disk for sure: whoever gave it that name may have died over it."""

    @property
    def is_damaged(self) -> bool:
        """Whether nothing more is read or written."""
        return self._damage is not None

    def read(self) -> list[Record]:
        """The records that were not read yet; compacted ones of the same revision all together.

        Raises:
            LogFormatError: the file is no log, or one of another format.
            LogDamagedError: there is damage behind those that were read before.
        """
        while True:
            try:
                with self.path.open("rb") as file:
                    if self._is_seen(os.fstat(file.fileno())):
                        return []
                    fcntl.flock(file, fcntl.LOCK_SH)
                    piece = self._piece(file.fileno())
            except FileNotFoundError:
                return []
            # What takes long, others need not wait for.
            records = self._taken(piece)
            if records or self._seen == piece.seen:
                return records

    def append(self, payload: bytes) -> int:
        """Writes a change to the disk, behind all others; returns its revision.

        Raises:
            ValueError: the payload is empty or too large.
            LogFailedError: it cannot be written, and is not in the log.
            LogFullError: the log would be larger than it may be.
            LogFormatError: the file is no log, or one of another format.
            LogDamagedError: the log is damaged before its end.
        """
        if not 1 <= len(payload) <= MAX_PAYLOAD_BYTES:
            raise ValueError(f"got {len(payload):,} bytes; expected 1 to {MAX_PAYLOAD_BYTES:,}")
        try:
            if not self.path.exists():
                _make(self.path)
            with locked(self.path) as file:
                self.read_all(file)
                record = Record(self.revision + 1, payload)
                data = encoded(record)
                if self.header.compacted_bytes > MAX_LOG_BYTES or self.end + len(data) > MAX_FILE_BYTES:
                    raise LogFullError(f"{self.path}: got {self.end:,} bytes, of which too few are superseded")
                if (named := (os.fstat(file).st_ino, self.header)) != self._named:
                    keep_name(self.path)
                    self._named = named
                os.ftruncate(file, self.end)
                _write_or_take_back(file, data, self.end)
        except OSError as error:
            raise LogFailedError(f"{self.path}: {error.strerror}") from error
        return record.revision

    def read_all(self, file: int) -> list[Record]:
        """The records that were not read yet, of the file at the path, which is locked. Raises as ``read``."""
        found: list[Record] = []
        while not self._is_seen(os.fstat(file)):
            found += self._taken(self._piece(file))
        return found

    def _piece(self, file: int) -> _Piece:
        """What follows in a file that nobody writes to, or the beginning of one that was exchanged."""
        self._check()
        status = os.fstat(file)
        try:
            header = parse_header(os.pread(file, HEADER_BYTES, 0), self.path)
        except LogDamagedError as error:
            self._damage = error
            raise
        # Of two logs of one history with the same header, one is the beginning of the other.
        is_exchanged = header != self.header or not self._at
        start, size = self.end, _READ_BYTES
        if is_exchanged and header.revision > self.revision:
            start, size = HEADER_BYTES, header.compacted_bytes
        elif is_exchanged:
            start = header.end
        is_shorter = status.st_size < max(start, header.end)
        data = b"" if is_shorter else os.pread(file, size, start)
        piece = _Piece((status.st_ino, status.st_size, status.st_mtime_ns), header, is_exchanged, data)
        self._check(is_damaged=is_shorter)
        return piece

    def _taken(self, piece: _Piece) -> list[Record]:
        """The records of a piece that were not read yet."""
        known = self.revision
        if piece.is_exchanged:
            self.header, self.end, self._at = piece.header, piece.header.end, piece.header.revision
            if piece.header.revision > known:
                compacted = parse_compacted(piece.data, piece.header)
                self._check(is_damaged=compacted is None)
                self.revision = piece.header.revision
                return compacted or []
        parsed = parse(piece.data, self._at + 1)
        self.end += parsed.valid_bytes
        self._at += len(parsed.records)
        self.revision = max(known, self._at)
        if not parsed.records:
            # A log that does not lead to what was read before is another one.
            self._check(is_damaged=parsed.is_damaged or self._at < known)
            self._seen = piece.seen
        return [record for record in parsed.records if record.revision > known]

    def _check(self, *, is_damaged: bool = False) -> None:
        if is_damaged:
            self._damage = LogDamagedError(f"{self.path}: damaged after revision {self.revision:,}")
        if self._damage is not None:
            raise type(self._damage)(*self._damage.args)

    def _is_seen(self, status: os.stat_result) -> bool:
        """Whether a file of this status has nothing that was not read."""
        return not self.is_damaged and (status.st_ino, status.st_size, status.st_mtime_ns) == self._seen


def _make(path: Path) -> None:
    """Makes a log without changes, unless somebody else does."""
    with beside(path, waits=True) as file:
        if not path.exists():
            write(file, encoded_header(Header()), 0)
            take_place(file, path)


def _write_or_take_back(file: int, data: bytes, end: int) -> None:
    """Puts the data behind the end and on the disk, or takes it back."""
    try:
        write(file, data, end)
        os.fsync(file)
    except OSError:
        os.ftruncate(file, end)
        raise
