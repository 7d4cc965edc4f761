"""Follows the log of one model, and has what serves know of each change soon after it is on the disk."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog
from google.protobuf.message import DecodeError

from bascule.v1.catalogue_service_pb2 import CatalogueChange
from bascule_server.faults import fault
from bascule_server.living.log import CatalogueLog
from bascule_server.living.log_format import LogDamagedError, LogFormatError, Record
from bascule_server.living.merger import Merger
from bascule_server.living.version import LivingVersion, State

LOOK_SECONDS = 0.1
"""How often it is looked whether the log has grown."""

_log = structlog.get_logger()


class Follower:
    """A thread of its own, once it is started. ``catch_up`` may be called before."""

    def __init__(self, log: CatalogueLog, version: LivingVersion, on_change: Callable[[State], None]) -> None:
        """Takes the log as one that only this object reads.

        Args:
            log: what is followed.
            version: what applies the changes.
            on_change: told of each state, in the thread that followed.
        """
        self._log_file = log
        self.version = version
        self._merger = Merger(version)
        self._on_change = on_change
        self._told = ""
        self._looks = threading.Event()
        self._has_ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="catalogue", daemon=True)

    @property
    def model(self) -> str:
        """The name of the model."""
        return self.version.manifest.model

    @property
    def log_path(self) -> Path:
        """Where the log is, or will be."""
        return self._log_file.path

    def start(self) -> None:
        """Follows from now on."""
        self._thread.start()

    def look(self) -> None:
        """Has it look at once."""
        self._looks.set()

    def end(self) -> None:
        """Follows no more."""
        self._has_ended.set()
        self._looks.set()

    def catch_up(self) -> None:
        """Applies what was written since.

        Raises:
            LogFormatError: the file is no log, or one of another format; it is not looked at again.
            OSError: the log cannot be read.
        """
        if self._log_file.is_damaged:
            return
        try:
            while records := self._log_file.read():
                self._apply(records)
        except LogFormatError:
            raise
        except LogDamagedError as error:
            _log.error("catalogue log damaged", log=str(error))

    def merge_now(self) -> None:
        """Merges what was caught up on, before anybody is served."""
        self._merger.merge_now()

    def _apply(self, records: Sequence[Record]) -> None:
        changes = [change for record in records if (change := _change_of(record)) is not None]
        self._on_change(self.version.apply(changes, records[-1].revision))

    def _follow(self) -> None:
        while not self._has_ended.is_set():
            self._looks.wait(LOOK_SECONDS)
            self._looks.clear()
            try:
                self.catch_up()
                if (state := self._merger.look()) is not None:
                    self._on_change(state)
            except OSError as error:
                self._tell_once(f"{self.log_path}: {error.strerror}")
            except LogFormatError as error:
                self._tell_once(str(error))
            except Exception as exception:  # noqa: BLE001 - what was served goes on being served
                fault(exception)
                return

    def _tell_once(self, complaint: str) -> None:
        """Logs why the log cannot be read, once; it may be read again later."""
        if complaint != self._told:
            self._told = complaint
            _log.error("catalogue log not read", log=complaint)


def _change_of(record: Record) -> CatalogueChange | None:
    """What a record says; None where it is of a release that writes others."""
    try:
        return CatalogueChange.FromString(record.payload)
    except DecodeError:
        _log.error("catalogue change not read", revision=record.revision)
        return None
