"""The server's own copies of artifacts: what was checked is what is used, whatever becomes of the published folder.

Item vectors and indexes are mapped into memory. Were the published files mapped, whoever truncates one would end the
server with SIGBUS, and whoever writes into one would change answers. A copy lies in a folder that belongs to the user
of the server alone; all workers of the machine map the same one. What nobody uses is removed whenever another copy is
made or a version is let go, and so is what a server that ended left behind.

    <temporary folder>/bascule-<user>/<digest of the manifest>/<model>/<version>/...
                                      <digest of the manifest>.lock   held by those who use it
                                      lock                            held by the one who copies or removes
"""

import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bascule_server.artifact.file_names import MANIFEST
from bascule_server.artifact.reading import (
    NO_ROOM,
    ArtifactError,
    check_files,
    parse_manifest,
    read_bytes,
    read_manifest,
)
from bascule_server.errors import Reason

_CHUNK_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class PrivateCopy:
    """A copy that is used."""

    folder: Path
    """``<model>/<version>`` with the files that the manifest names, not yet checked."""
    _lock: int

    def release(self) -> None:
        """Says that it is used no more; what is mapped of it stays mapped."""
        os.close(self._lock)


class PrivateCopies:
    """The copies of one user of one machine."""

    def __init__(self, root: Path | None = None) -> None:
        """``root`` is made where it is missing; by default it is below the temporary folder, so ``TMPDIR`` moves it."""
        self._root = root or Path(tempfile.gettempdir()) / f"bascule-{os.getuid()}"

    def take(self, folder: Path, check: Callable[[bytes], None] = lambda _: None) -> PrivateCopy:
        """A copy of the artifact in ``folder``: one that is there, or a new one.

        Args:
            folder: of the artifact.
            check: is given the bytes of the manifest, which are those of the copy; raises ``ArtifactError``.

        Raises:
            ArtifactError: the folder is no artifact, lacks files, or cannot be copied.
        """
        try:
            manifest = read_bytes(folder / MANIFEST)
            check(manifest)
            parse_manifest(folder, manifest)
            with self._alone():
                self._sweep()
                return self._taken(folder, manifest, self._root / hashlib.sha256(manifest).hexdigest()[:32])
        except OSError as error:
            raise ArtifactError(
                f"{folder}: cannot be copied to {self._root}: {error.strerror}; make room there, or name another place"
                " in the environment variable TMPDIR",
                _reason(error, folder),
            ) from error

    def sweep(self) -> None:
        """Removes what nobody uses: of versions that were let go, and of servers that were killed."""
        with suppress(OSError, ArtifactError), self._alone():
            self._sweep()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Holds off other workers: one copies, or sweeps, at a time."""
        self._make_root()
        descriptor = os.open(self._root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _sweep(self) -> None:
        for lock_path in self._root.glob("*.lock"):
            lock = os.open(lock_path, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            finally:
                os.close(lock)
            _remove(lock_path.with_suffix(""))
            lock_path.unlink()

    def _taken(self, folder: Path, manifest: bytes, place: Path) -> PrivateCopy:
        lock = os.open(place.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        part = place.with_suffix(".part")
        try:
            fcntl.flock(lock, fcntl.LOCK_SH)
            if not place.exists():
                _remove(place)
                _copy_artifact(folder, manifest, part / folder.parent.name / folder.name)
                part.rename(place)
        except BaseException:
            # It may have taken what room there was.
            shutil.rmtree(part, ignore_errors=True)
            os.close(lock)
            raise
        return PrivateCopy(place / folder.parent.name / folder.name, lock)

    def _make_root(self) -> None:
        # Whatever else is there, one is told below.
        with suppress(FileExistsError):
            self._root.mkdir(mode=0o700, parents=True)
        found = self._root.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
            raise ArtifactError(
                f"{self._root}: got a file, a link, or a folder that others may use; expected a folder of this user"
                " alone: remove it, or name another place in the environment variable TMPDIR",
                Reason.LOAD_FAILED,
            )


def _reason(error: OSError, folder: Path) -> Reason:
    """Why an artifact could not be copied: for want of room, or because a file of its ``folder`` cannot be read."""
    if error.errno in NO_ROOM:
        return Reason.NO_ROOM
    is_read = isinstance(error.filename, str | Path) and Path(error.filename).is_relative_to(folder)
    return Reason.FILE_MISSING if is_read else Reason.LOAD_FAILED


def _copy_artifact(folder: Path, manifest: bytes, target: Path) -> None:
    target.mkdir(mode=0o700, parents=True)
    (target / MANIFEST).write_bytes(manifest)
    copied = read_manifest(target)
    check_files(folder, copied)
    for file in copied.files:
        (target / file.path).parent.mkdir(parents=True, exist_ok=True)
        _copy_file(folder / file.path, target / file.path, file.size_bytes)


def _copy_file(source: Path, target: Path, size: int) -> None:
    """Copies at most ``size`` bytes. On file systems that can, both share the bytes on the disk."""
    reading = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        with os.fdopen(reading, "rb", closefd=False) as read, target.open("wb") as written:
            try:
                while size > 0 and (count := os.copy_file_range(reading, written.fileno(), size)):
                    size -= count
            except OSError:
                # Not between these two places: then by reading and writing, from where it ended.
                while size > 0 and (chunk := read.read(min(size, _CHUNK_BYTES))):
                    written.write(chunk)
                    size -= len(chunk)
    finally:
        os.close(reading)


def _remove(place: Path) -> None:
    for path in (place, place.with_suffix(".part")):
        shutil.rmtree(path, ignore_errors=True)
