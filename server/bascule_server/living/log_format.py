"""How the log of a catalogue stands in its file: a header, and records behind each other, each with a checksum.

    header   magic (8 bytes), format (4), revision (8), bytes of the compacted records (8), CRC-32 of all of these (4)
    record   length of the payload (4 bytes), revision (8), CRC-32 of these and the payload (4), payload

Numbers are little-endian. The compacted records come first: they lead to the state at the header's revision, which each
of them has, and were written before the file had its name. Behind them stands one record for each further change, with
the revisions that follow. A log that was never compacted has none, and the revision 0.

    LogDamagedError      the log is damaged before its end
      LogFormatError     the file is no log, or a log of another format
"""

import struct
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

MAX_PAYLOAD_BYTES = 16 * 1024 * 1024

MAGIC = b"\x89bascule"
"""Not of ASCII alone, so that no text begins like that."""
FORMAT = 1

_HEADER = struct.Struct("<8sIQQ")
_SUM = struct.Struct("<I")
HEADER_BYTES = _HEADER.size + _SUM.size

_RECORD = struct.Struct("<IQI")
_SUMMED = struct.Struct("<IQ")
_MAX_SUMMED_BYTES = 256 * 1024 * 1024
"""How much is summed at most to find a record behind a place at which none is, some 0.2 s."""


class LogDamagedError(Exception):
    """The log is damaged before its end."""


class LogFormatError(LogDamagedError):
    """The file is no log, or a log of another format."""


class Header(NamedTuple):
    """How a log begins."""

    revision: int = 0
    """That of the state which the compacted records lead to."""
    compacted_bytes: int = 0

    @property
    def end(self) -> int:
        """Where the compacted records end."""
        return HEADER_BYTES + self.compacted_bytes


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


def encoded_header(header: Header) -> bytes:
    """A header as it stands in the file."""
    summed = _HEADER.pack(MAGIC, FORMAT, *header)
    return summed + _SUM.pack(zlib.crc32(summed))


def parse_header(data: bytes, path: Path) -> Header:
    """Reads the first bytes of the file at ``path``.

    Raises:
        LogFormatError: they are not those of a log, or those of another format.
        LogDamagedError: the header is damaged.
    """
    if data[: len(MAGIC)] != MAGIC:
        raise LogFormatError(
            f"{path}: got a file that is no log of a catalogue, and is left as it is; move it away, and where it is an"
            " older log, publish a version that was trained with its items"
        )
    if len(data) < HEADER_BYTES:
        raise LogDamagedError(f"{path}: got {len(data)} bytes; a log has a header of {HEADER_BYTES}")
    _, number, revision, compacted_bytes = _HEADER.unpack_from(data)
    if number != FORMAT:
        raise LogFormatError(
            f"{path}: got a log of format {number}, and it is left as it is; expected format {FORMAT}: use the release"
            " that wrote it"
        )
    header = Header(revision, compacted_bytes)
    if encoded_header(header) != data[:HEADER_BYTES]:
        raise LogDamagedError(f"{path}: the header is damaged")
    return header


def encoded(record: Record) -> bytes:
    """A record as it stands in the file."""
    return _header_of(record) + record.payload


def parse(data: bytes, first_revision: int) -> Parsed:
    """Reads records of ascending revisions from ``first_revision``, as far as they are whole."""
    records, place = _records(data, first_revision, 1)
    # One record is torn at most.
    is_longer = len(data) - place > _RECORD.size + MAX_PAYLOAD_BYTES
    return Parsed(records, place, is_longer or _has_record_behind(data, place, first_revision + len(records)))


def parse_compacted(data: bytes, header: Header) -> list[Record] | None:
    """Reads the compacted records; None where they are not whole."""
    records, place = _records(data[: header.compacted_bytes], header.revision, 0)
    return records if place == header.compacted_bytes else None


def _records(data: bytes, first_revision: int, step: int) -> tuple[list[Record], int]:
    """The whole records from the beginning, and where the last of them ends."""
    records: list[Record] = []
    place = 0
    while (record := _record_at(data, place)) is not None:
        if record.revision != first_revision + step * len(records):
            break
        records.append(record)
        place += _RECORD.size + len(record.payload)
    return records, place


def _header_of(record: Record) -> bytes:
    summed = _SUMMED.pack(len(record.payload), record.revision)
    return summed + _SUM.pack(zlib.crc32(record.payload, zlib.crc32(summed)))


def _record_at(data: bytes, place: int) -> Record | None:
    """The whole record that begins there, or None."""
    start = place + _RECORD.size
    if start > len(data):
        return None
    length, revision, _ = _RECORD.unpack_from(data, place)
    # A record without content says nothing, and a stretch of zeros would look like one.
    if not 1 <= length <= MAX_PAYLOAD_BYTES or start + length > len(data):
        return None
    record = Record(revision, data[start : start + length])
    return record if _header_of(record) == data[place:start] else None


def _has_record_behind(data: bytes, place: int, revision: int) -> bool:
    """Whether a whole record, of this revision or a later one, begins anywhere behind a place at which none does."""
    behind = np.frombuffer(data, np.uint8)[place + 1 :].astype(np.uint32)
    if len(behind) < _RECORD.size:
        return False
    numbers = behind[:-3] | behind[1:-2] << 8 | behind[2:-1] << 16 | behind[3:] << 24
    # Of a header that begins at each place: the length, and both halves of the revision.
    lengths, low, high = numbers[:-8], numbers[4:-4], numbers[8:]
    may_be = (lengths >= 1) & (lengths <= MAX_PAYLOAD_BYTES) & (low >= revision) & (high == 0)
    places = np.flatnonzero(may_be)
    places = places[places + _RECORD.size + lengths[places] <= len(behind)]
    # Content that looks like many records: nothing is lost where it is taken for damage, which a person looks at.
    if int(lengths[places].sum(dtype=np.int64)) > _MAX_SUMMED_BYTES:
        return True
    return any(_record_at(data, place + 1 + later) is not None for later in places.tolist())
