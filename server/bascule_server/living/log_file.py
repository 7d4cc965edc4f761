"""How the file of a log comes to be, and is exchanged: as a whole, whenever the process or the machine dies.

The new file is written beside the log, flushed to the disk and renamed, and the folder is flushed. Whoever does that
has it locked from before it has a name until that name is on the disk. Should they die in between, the next one to
write flushes the folder first: nobody writes to a log that could still be lost.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BESIDE = ".new"


@contextmanager
def beside(path: Path, *, waits: bool) -> Iterator[int]:
    """An empty file beside the log at ``path``, which nobody else writes to.

    Raises:
        BlockingIOError: somebody else does, and it is not waited for.
        OSError: it cannot be had.
    """
    with _locked(_beside(path), os.O_CREAT | os.O_NOFOLLOW, waits=waits) as file:
        # Who wrote it last may have died over that.
        os.ftruncate(file, 0)
        yield file


@contextmanager
def locked(path: Path) -> Iterator[int]:
    """The log at ``path``, which nobody else writes to or reads.

    Raises:
        OSError: it cannot be had.
    """
    with _locked(path, 0, waits=True) as file:
        yield file


def take_place(file: int, path: Path) -> None:
    """Has the file ``beside`` be the log at ``path``, on the disk."""
    os.fsync(file)
    _beside(path).rename(path)
    keep_name(path)


def keep_name(path: Path) -> None:
    """Puts it on the disk that the file at ``path`` has that name."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write(file: int, data: bytes, offset: int) -> None:
    """Writes all of it there."""
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, offset)
        view, offset = view[written:], offset + written


@contextmanager
def _locked(path: Path, flags: int, *, waits: bool) -> Iterator[int]:
    while True:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC | flags, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX if waits else fcntl.LOCK_EX | fcntl.LOCK_NB)
            # While it was waited for, another file may have taken its place.
            if _is_at(file, path):
                yield file
                return
        finally:
            # Which gives up the lock too.
            os.close(file)


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def _beside(path: Path) -> Path:
    return path.with_name(path.name + BESIDE)
