"""Publishes an artifact: staged beside its final place, flushed to disk, and renamed into it.

A reader sees the whole of a version or nothing of it, whenever the writer is stopped. What a killed writer leaves is
removed by the next one: a writer holds a lock on its folder while it lives.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from google.protobuf import json_format

from bascule.v1.artifact_pb2 import File, Manifest
from bascule_server.artifact import file_names
from bascule_server.artifact.reading import sha256

_STAGED = ".staged-"
"""How the names of staged folders begin; a server passes over names with a dot."""


class PublishError(Exception):
    """The artifact could not be put into its place."""


@contextmanager
def staged(models: Path, model: str) -> Iterator[Path]:
    """A folder for the files of the model's next version; what is left of it at the end is removed.

    It has the final names, so that the server's own loader reads it: ``models/.staged-.../<model>/<version>``. Staged
    folders of runs that were killed are removed first.

    Raises:
        PublishError: nothing can be written there.
    """
    version = 1 + max((int(path.name) for path in (models / model).glob("[0-9]*") if path.name.isdecimal()), default=0)
    try:
        models.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(models)
        root, lock = _locked_folder(models)
    except OSError as error:
        raise PublishError(f"{models}: cannot be written to: {error.strerror}") from error
    try:
        folder = root / model / str(version)
        folder.mkdir(parents=True)
        yield folder
    finally:
        shutil.rmtree(root, ignore_errors=True)
        os.close(lock)


def _locked_folder(models: Path) -> tuple[Path, int]:
    """A new folder, and the descriptor that holds its lock until it is closed or the process ends."""
    while True:
        root = Path(tempfile.mkdtemp(prefix=_STAGED, dir=models))
        try:
            lock = os.open(root, os.O_RDONLY)
        except FileNotFoundError:
            continue  # another run took it for abandoned
        # Where a file system has no locks, nobody else gets one either, and the folder is safe without.
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        if root.is_dir():
            return root, lock
        os.close(lock)  # taken for abandoned before it was locked


def _remove_abandoned(models: Path) -> None:
    """Removes the staged folders whose writers are dead."""
    for root in models.glob(f"{_STAGED}*"):
        # Locked by a living writer, removed by another run, or not ours to remove: none is a reason not to train.
        with suppress(OSError):
            lock = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(root)
            finally:
                os.close(lock)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Writes the manifest of a staged folder, and into it every file that lies there."""
    del manifest.files[:]
    about_them = {folder / file_names.MANIFEST, folder / file_names.SIGNATURE}
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path not in about_them)
    for path in paths:
        name = path.relative_to(folder).as_posix()
        manifest.files.append(File(path=name, size_bytes=path.stat().st_size, sha256=sha256(path)))
    text = json_format.MessageToJson(manifest, preserving_proto_field_name=True)
    (folder / file_names.MANIFEST).write_text(text + "\n", encoding="utf-8")


def publish(folder: Path, models: Path) -> Path:
    """Flushes a staged folder and renames it into its place below ``models``, which it returns.

    Raises:
        PublishError: the version was published by somebody else in the meantime.
    """
    place = models / folder.parent.name / folder.name
    place.parent.mkdir(exist_ok=True)
    for path in folder.rglob("*"):
        _flush(path)
    _flush(folder)
    try:
        folder.rename(place)
    except OSError as error:
        raise PublishError(f"{place}: another run published this version first; train again for the next") from error
    _flush(place.parent)
    return place


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
