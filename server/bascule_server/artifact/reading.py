"""The folder of one model version: its files, its manifest, and the proof that it is whole.

    ArtifactError   what is wrong with the folder, in one sentence for a person

Nothing here reads more than the manifest allows or leaves the folder; docs/artifact.md describes the files.
"""

import errno
import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import TypeAlias

from google.protobuf import json_format

from bascule.v1.artifact_pb2 import Manifest
from bascule_server.artifact.file_names import MANIFEST, SIGNATURE
from bascule_server.artifact.manifest_checks import SCHEMA_VERSION, complaints
from bascule_server.errors import Reason

MAX_MANIFEST_BYTES = 4 * 1024 * 1024

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOMEM, errno.EMFILE, errno.ENFILE})
"""Numbers of errors that say that disk, memory or descriptors are used up, and nothing of the artifact."""


class ArtifactError(Exception):
    """The folder is no artifact, or not the one that its manifest describes."""

    def __init__(self, text: str, reason: Reason = Reason.FILE_INVALID) -> None:
        """Takes what is wrong.

        Args:
            text: for the operator; it may name files.
            reason: for callers.
        """
        super().__init__(text)
        self.reason = reason


Stamp: TypeAlias = tuple[int, int, int, int, int]
"""Which file lies at a path, and when it last changed: nobody but the superuser sets the last of these."""


@dataclass(frozen=True, slots=True)
class Verified:
    """A folder, as it was when its files were found to be those of the manifest."""

    folder: Path
    stamps: Mapping[str, Stamp]
    """Of each file, from before its bytes were read."""

    def check(self) -> None:
        """Checks that what was read of the folder since are the bytes that were verified.

        Raises:
            ArtifactError: a file came, went or changed in the meantime.
        """
        now = _stamps(self.folder)
        if now != self.stamps:
            changed = sorted(name for name in now.keys() | self.stamps.keys() if now.get(name) != self.stamps.get(name))
            raise ArtifactError(
                f"{self.folder}: {changed[0]} changed while it was loaded; publish a new version", Reason.FILE_CHANGED
            )


def read_manifest(folder: Path) -> Manifest:
    """Reads the manifest of an artifact and checks that it is in order by itself.

    Raises:
        ArtifactError: it is missing, no manifest, of a schema version that is not known, or of another folder.
    """
    return parse_manifest(folder, read_bytes(folder / MANIFEST))


def parse_manifest(folder: Path, content: bytes) -> Manifest:
    """The same from bytes that were read already.

    Raises:
        ArtifactError: as ``read_manifest``.
    """
    path = folder / MANIFEST
    try:
        manifest = json_format.Parse(content, Manifest(), ignore_unknown_fields=True)
    except (json_format.ParseError, UnicodeDecodeError, RecursionError) as error:
        raise ArtifactError(f"{path}: not a manifest: {error}", Reason.MANIFEST_INVALID) from error
    is_newer = manifest.schema_version > SCHEMA_VERSION
    for complaint in complaints(manifest, (folder.resolve().parent.name, folder.resolve().name)):
        raise ArtifactError(f"{path}: {complaint}", Reason.FORMAT_UNSUPPORTED if is_newer else Reason.MANIFEST_INVALID)
    return manifest


def read_bytes(path: Path) -> bytes:
    """What a manifest or its signature holds.

    Raises:
        ArtifactError: it is missing, a link, or too large.
    """
    try:
        with _opened(path) as file:
            content = file.read(MAX_MANIFEST_BYTES + 1)
    except OSError as error:
        raise ArtifactError(
            f"{path.parent}: {path.name} is missing or cannot be read; an artifact is the folder that `bascule train`"
            " wrote",
            Reason.FILE_MISSING,
        ) from error
    if len(content) > MAX_MANIFEST_BYTES:
        raise ArtifactError(
            f"{path}: got more than {MAX_MANIFEST_BYTES:,} bytes; expected at most that", Reason.MANIFEST_INVALID
        )
    return content


def verify(folder: Path, manifest: Manifest) -> Verified:
    """Checks that the folder holds exactly the files that the manifest names, byte for byte.

    What it returns can tell, after all of it was read, that this was still so.

    Raises:
        ArtifactError: a file is missing, added, a link, or differs in size or digest.
    """
    stamps = _stamps(folder)
    _check_files(folder, manifest, stamps)
    for file in manifest.files:
        path = folder / file.path
        if (digest := sha256(path)) != file.sha256:
            raise ArtifactError(
                f"{path}: damaged: its SHA-256 is {digest}; the manifest says {file.sha256}", Reason.FILE_DAMAGED
            )
    verified = Verified(folder, stamps)
    verified.check()
    return verified


def check_files(folder: Path, manifest: Manifest) -> None:
    """Checks that the folder holds exactly the files that the manifest names, by their names and sizes.

    Raises:
        ArtifactError: a file is missing, added, a link, or of another size.
    """
    _check_files(folder, manifest, _stamps(folder))


def _check_files(folder: Path, manifest: Manifest, stamps: Mapping[str, Stamp]) -> None:
    expected = {file.path: file for file in manifest.files}
    if missing := sorted(expected.keys() - stamps.keys()):
        raise ArtifactError(f"{folder}: {missing[0]} is missing", Reason.FILE_MISSING)
    if added := sorted(stamps.keys() - expected.keys()):
        raise ArtifactError(
            f"{folder}: {added[0]} is not in the manifest; remove it or publish a new version", Reason.FILE_MISSING
        )
    for name, file in expected.items():
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()) or path.is_symlink() or not path.is_file():
            raise ArtifactError(f"{path}: got a link; expected a plain file", Reason.FILE_MISSING)
        if (size := stamps[name][2]) != file.size_bytes:
            raise ArtifactError(
                f"{path}: got {size:,} bytes; the manifest says {file.size_bytes:,}", Reason.FILE_DAMAGED
            )


def _stamps(folder: Path) -> dict[str, Stamp]:
    """Of each file below the folder, but for the manifest and its signature, which are read once."""
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if not path.is_dir()}
    try:
        return {name: _stamp(path.lstat()) for name, path in paths.items() if name not in (MANIFEST, SIGNATURE)}
    except OSError as error:
        raise ArtifactError(
            f"{folder}: {error.filename} cannot be read: {error.strerror}", Reason.FILE_MISSING
        ) from error


def _stamp(status: os.stat_result) -> Stamp:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _opened(path: Path) -> BufferedReader:
    """Opens a plain file, and nothing else: no link, and nothing that would wait for somebody."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a plain file", str(path))
    return os.fdopen(descriptor, "rb")


def sha256(path: Path) -> str:
    """The SHA-256 digest of a file, in lower-case hexadecimal.

    Raises:
        ArtifactError: it cannot be read, or is no plain file.
    """
    try:
        with _opened(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read: {error.strerror}", Reason.FILE_MISSING) from error
