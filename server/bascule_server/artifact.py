"""The folder of one model version: its files, its manifest, and the proof that it is whole.

    ArtifactError   what is wrong with the folder, in one sentence for a person

Nothing here reads more than the manifest allows or leaves the folder; docs/artifact.md describes the files.
"""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from zipfile import BadZipFile
from zlib import error as ZlibError  # noqa: N812 - it is a class

from google.protobuf import json_format

from bascule.v1.artifact_pb2 import Manifest

MANIFEST = "manifest.json"
QUERY_TOWER_LITERT = "query_tower.tflite"
QUERY_TOWER_SAVED_MODEL = "query_tower"
ITEM_TOWER_LITERT = "item_tower.tflite"
ITEM_TOWER_SAVED_MODEL = "item_tower"
ITEMS = "items.parquet"
ITEM_VECTORS = "item_vectors.npy"
INDEX = "index.faiss"
RANKER = "ranker.tflite"
RANKER_ITEMS = "ranker_items.npz"
USERS = "users.parquet"
GOLDEN = "golden.npz"
METRICS = "metrics.json"
REPORT = "report.html"

SCHEMA_VERSION = 1
"""The newest ``Manifest.schema_version`` that this code reads, and the one that it writes."""

MAX_MANIFEST_BYTES = 4 * 1024 * 1024
MAX_FILES = 1_000
MAX_DIMENSION = 4_096
MAX_ITEMS = 100_000_000

UNREADABLE_ARRAYS = (OSError, EOFError, ValueError, KeyError, TypeError, RuntimeError, BadZipFile, ZlibError)
"""What numpy and zipfile raise at arrays that they did not write."""

_MODEL_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_CHUNK_BYTES = 1024 * 1024


class ArtifactError(Exception):
    """The folder is no artifact, or not the one that its manifest describes."""


def is_model_name(name: str) -> bool:
    """Whether ``name`` may name a model: lower-case letters, digits, ``_`` and ``-``, beginning with a letter."""
    return _MODEL_NAME.fullmatch(name) is not None


def read_manifest(folder: Path) -> Manifest:
    """Reads the manifest of an artifact and checks that it is in order by itself.

    Raises:
        ArtifactError: it is missing, no manifest, of a schema version that is not known, or of another folder.
    """
    path = folder / MANIFEST
    if not path.is_file() or path.is_symlink():
        raise ArtifactError(f"{folder}: {MANIFEST} is missing; an artifact is the folder that `bascule train` wrote")
    if path.stat().st_size > MAX_MANIFEST_BYTES:
        raise ArtifactError(f"{path}: got {path.stat().st_size:,} bytes; expected at most {MAX_MANIFEST_BYTES:,}")
    try:
        manifest = json_format.Parse(path.read_bytes(), Manifest(), ignore_unknown_fields=True)
    except (json_format.ParseError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path}: not a manifest: {error}") from error
    for complaint in _complaints(manifest, folder):
        raise ArtifactError(f"{path}: {complaint}")
    return manifest


def verify(folder: Path, manifest: Manifest) -> None:
    """Checks that the folder holds exactly the files that the manifest names, byte for byte.

    Raises:
        ArtifactError: a file is missing, added, a link, or differs in size or digest.
    """
    check_files(folder, manifest)
    for file in manifest.files:
        path = folder / file.path
        if (digest := sha256(path)) != file.sha256:
            raise ArtifactError(f"{path}: damaged: its SHA-256 is {digest}; the manifest says {file.sha256}")


def check_files(folder: Path, manifest: Manifest) -> None:
    """Checks that the folder holds exactly the files that the manifest names, by their names and sizes.

    Raises:
        ArtifactError: a file is missing, added, a link, or of another size.
    """
    expected = {file.path: file for file in manifest.files}
    present = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if not path.is_dir()}
    if missing := sorted(expected.keys() - present.keys()):
        raise ArtifactError(f"{folder}: {missing[0]} is missing")
    if added := sorted(present.keys() - expected.keys() - {MANIFEST}):
        raise ArtifactError(f"{folder}: {added[0]} is not in the manifest; remove it or publish a new version")
    for name, file in expected.items():
        path = present[name]
        if path.is_symlink() or not path.is_file() or not path.resolve().is_relative_to(folder.resolve()):
            raise ArtifactError(f"{path}: got a link; expected a plain file")
        if path.stat().st_size != file.size_bytes:
            raise ArtifactError(f"{path}: got {path.stat().st_size:,} bytes; the manifest says {file.size_bytes:,}")


def sha256(path: Path) -> str:
    """The SHA-256 digest of a file, in lower-case hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _complaints(manifest: Manifest, folder: Path) -> Iterator[str]:
    if not 1 <= manifest.schema_version <= SCHEMA_VERSION:
        yield f"got schema version {manifest.schema_version}; this release reads 1 to {SCHEMA_VERSION}; update bascule"
    if not is_model_name(manifest.model):
        yield f"got the model name {manifest.model!r}; expected lower-case letters, digits, '_' and '-'"
    place = (folder.resolve().parent.name, folder.resolve().name)
    if (manifest.model, str(manifest.version)) != place:
        yield f"says {manifest.model}/{manifest.version}, but lies in {'/'.join(place)}; a version cannot be renamed"
    if not 1 <= manifest.dimension <= MAX_DIMENSION:
        yield f"got dimension {manifest.dimension}; expected 1 to {MAX_DIMENSION:,}"
    if not 1 <= manifest.item_count <= MAX_ITEMS:
        yield f"got {manifest.item_count} items; expected 1 to {MAX_ITEMS:,}"
    if len(manifest.files) > MAX_FILES:
        yield f"got {len(manifest.files):,} files; expected at most {MAX_FILES:,}"
    for file in manifest.files:
        parts = PurePosixPath(file.path).parts
        if not parts or file.path.startswith("/") or ".." in parts or "\\" in file.path or "\0" in file.path:
            yield f"got the path {file.path!r}; expected one inside the folder"
