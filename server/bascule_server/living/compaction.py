"""Rewrites a log to the state that it leads to: the last change of each item, once most of the others are superseded.

Of an item that came the last values are kept, and of one that went its id: a version that is made later may have it
again. So every version of the model comes to the same state by the shorter log as by the longer one, at the same
revision.

While the new file is written nobody waits. What was appended meanwhile is copied behind it, while nobody writes, and
then it takes the place of the other; see ``log_file``. Whoever follows goes on in it behind the revision they know.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

import structlog
from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp
from google.protobuf.unknown_fields import UnknownFieldSet

from bascule.v1.catalogue_service_pb2 import CatalogueChange, CatalogueItem
from bascule_server.living.log import MAX_FILE_BYTES, CatalogueLog
from bascule_server.living.log_file import beside, locked, take_place, write
from bascule_server.living.log_format import (
    MAX_PAYLOAD_BYTES,
    Header,
    LogDamagedError,
    Record,
    encoded,
    encoded_header,
)

MIN_BYTES = 1024 * 1024
"""A shorter log is left as it is."""
IDS_TOGETHER = 1_000
_ROOM_BYTES = 64 * 1024
"""What a change takes beside its items."""

_log = structlog.get_logger()


class _OfAnotherReleaseError(Exception):
    """There are changes that this release does not know whole."""


class LastChanges:
    """What is left of changes, of which later ones supersede earlier ones."""

    def __init__(self) -> None:
        self._items: dict[str, CatalogueItem | None] = {}
        """By id, in the order of their last changes; None: it went."""
        self._time = Timestamp()

    def add(self, change: CatalogueChange) -> None:
        """Takes the next change."""
        came = {item.item_id: item for item in change.upserted}
        for item_id, item in (*came.items(), *((item_id, None) for item_id in change.retired_item_ids)):
            self._items.pop(item_id, None)
            self._items[item_id] = item
        self._time = change.time

    def changes(self) -> Iterator[CatalogueChange]:
        """Few changes that lead to the same, with the time of the last: of items that went, and then that came."""
        gone = [item_id for item_id, item in self._items.items() if item is None]
        for start in range(0, len(gone), IDS_TOGETHER):
            yield CatalogueChange(time=self._time, retired_item_ids=gone[start : start + IDS_TOGETHER])
        together: list[CatalogueItem] = []
        size = _ROOM_BYTES
        for item in filter(None, self._items.values()):
            # With its tag and its length.
            item_size = item.ByteSize() + 8
            if together and (len(together) == IDS_TOGETHER or size + item_size > MAX_PAYLOAD_BYTES):
                yield CatalogueChange(time=self._time, upserted=together)
                together, size = [], _ROOM_BYTES
            together.append(item)
            size += item_size
        if together or not self._items:
            yield CatalogueChange(time=self._time, upserted=together)


def is_due(end: int, compacted_end: int) -> bool:
    """Whether a log of ``end`` bytes is compacted, whose first ``compacted_end`` bytes were.

    It may double, so that each byte is written anew about once; but one that is nearly as large as it may be is
    compacted before it is full.
    """
    return end > max(MIN_BYTES, min(2 * compacted_end, (compacted_end + MAX_FILE_BYTES) // 2))


class Compaction:
    """Compacts one log whenever it is due."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._not_before = 0
        """How many bytes the log has at least when it is tried again."""

    def is_due(self, log: CatalogueLog) -> bool:
        """Whether it is, by what was read of the log."""
        return log.end >= self._not_before and is_due(log.end, log.header.end)

    def run(self) -> None:
        """Compacts it, unless somebody else does. Where it cannot be it goes on, and is tried when it has doubled."""
        log = CatalogueLog(self._path)
        try:
            compact(log)
        except BlockingIOError:
            pass
        except OSError as error:
            self._put_off(log, str(error.strerror))
        except LogDamagedError:
            self._put_off(log, "it is damaged")
        except _OfAnotherReleaseError:
            self._put_off(log, "it has changes of another release")

    def _put_off(self, log: CatalogueLog, reason: str) -> None:
        self._not_before = 2 * log.end
        _log.warning("catalogue log not compacted", log=str(self._path), reason=reason)


def compact(log: CatalogueLog) -> None:
    """Has a shorter log take the place of that which ``log`` reads, from the beginning.

    Raises:
        BlockingIOError: somebody else does.
        OSError: it cannot be written; then it is as it was, or compacted.
        LogDamagedError: it is damaged.
    """
    last = LastChanges()
    with beside(log.path, waits=False) as new:
        while records := log.read():
            for change in _changes(records):
                last.add(change)
        compacted = b"".join(_encoded(log.revision, last.changes())) if log.revision else b""
        header = Header(log.revision, len(compacted))
        write(new, encoded_header(header) + compacted, 0)
        # So that little is left to do while others wait.
        os.fsync(new)
        with locked(log.path) as old:
            os.fchmod(new, stat.S_IMODE(os.fstat(old).st_mode))
            write(new, b"".join(map(encoded, log.read_all(old))), header.end)
            take_place(new, log.path)


def _changes(records: Sequence[Record]) -> Iterator[CatalogueChange]:
    for record in records:
        try:
            change = CatalogueChange.FromString(record.payload)
        except DecodeError:
            raise _OfAnotherReleaseError from None
        if len(UnknownFieldSet(change)):
            raise _OfAnotherReleaseError
        yield change


def _encoded(revision: int, changes: Iterator[CatalogueChange]) -> Iterator[bytes]:
    return (encoded(Record(revision, change.SerializeToString())) for change in changes)
