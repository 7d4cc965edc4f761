"""What may stand in a manifest: every count, every size and every number that memory is taken for has a bound here."""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import PurePosixPath

from bascule.v1.artifact_pb2 import Feature, ItemIndex, Manifest

SCHEMA_VERSION = 1
"""The newest ``Manifest.schema_version`` that this code reads, and the one that it writes."""

MAX_FILES = 1_000
MAX_FILE_BYTES = 1 << 44
MAX_DIMENSION = 4_096
MAX_ITEMS = 100_000_000
MAX_FEATURES = 1_000
"""Of queries, of items, and attributes, each."""
MAX_HISTORY = 10_000
MAX_CODES = 10_000
"""Categories of one value."""
MAX_N_GRAMS = 256
MAX_CATEGORIES = 100_000_000
MAX_BUCKETS = 1 << 20
MAX_BOUNDARIES = 10_000
MAX_LISTS = 1 << 20
MAX_DEPTHS = 100
MAX_CANDIDATES = 1_000
MAX_NOTES = 10_000
"""Metrics, and versions of libraries, each."""
MAX_NAME_LENGTH = 256
MAX_PATH_LENGTH = 1_024

_MODEL_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def is_model_name(name: str) -> bool:
    """Whether ``name`` may name a model: lower-case letters, digits, ``_`` and ``-``, beginning with a letter."""
    return _MODEL_NAME.fullmatch(name) is not None


def complaints(manifest: Manifest, place: tuple[str, str]) -> Iterator[str]:
    """What is wrong with a manifest by itself, a sentence each.

    Args:
        manifest: as it was read.
        place: the names of the folder above its own, and of its own.
    """
    if not 1 <= manifest.schema_version <= SCHEMA_VERSION:
        yield f"got schema version {manifest.schema_version}; this release reads 1 to {SCHEMA_VERSION}; update bascule"
    if not is_model_name(manifest.model):
        yield f"got the model name {manifest.model!r}; expected lower-case letters, digits, '_' and '-'"
    if (manifest.model, str(manifest.version)) != place:
        yield f"says {manifest.model}/{manifest.version}, but lies in {'/'.join(place)}; a version cannot be renamed"
    yield from _outside("dimension", manifest.dimension, 1, MAX_DIMENSION)
    yield from _outside("item_count", manifest.item_count, 1, MAX_ITEMS)
    yield from _outside("popularity_half_life_days", manifest.popularity_half_life_days, 0, math.inf)
    for name in ("metrics", "library_versions"):
        notes = getattr(manifest, name)
        yield from _outside(f"number of {name}", len(notes), 0, MAX_NOTES)
        yield from _names(name, list(notes))
    for name in ("query_features", "item_features"):
        yield from _features(name, getattr(manifest, name))
    yield from _outside("number of attributes", len(manifest.attributes), 0, MAX_FEATURES)
    yield from _names("attributes", [attribute.name for attribute in manifest.attributes])
    if manifest.HasField("index"):
        yield from _index(manifest.index, manifest.item_count)
    if manifest.HasField("ranker"):
        yield from _outside("ranker.candidate_count", manifest.ranker.candidate_count, 1, MAX_CANDIDATES)
        yield from _features("ranker.context", manifest.ranker.context)
    yield from _files(manifest)


def _features(name: str, features: Sequence[Feature]) -> Iterator[str]:
    yield from _outside(f"number of {name}", len(features), 0, MAX_FEATURES)
    yield from _names(name, [feature.name for feature in features])
    for feature in features:
        kind = feature.WhichOneof("kind")
        if kind is not None:
            for complaint in _KINDS[kind](feature):
                yield f"{name}: {feature.name!r}: {complaint}"


def _categorical(feature: Feature) -> Iterator[str]:
    yield from _path(feature.categorical.vocabulary)
    yield from _outside("size", feature.categorical.size, 0, MAX_CATEGORIES)


def _multi_valued(feature: Feature) -> Iterator[str]:
    yield from _path(feature.multi_valued.vocabulary)
    yield from _outside("size", feature.multi_valued.size, 0, MAX_CATEGORIES)
    yield from _outside("max_count", feature.multi_valued.max_count, 1, MAX_CODES)


def _standardised(feature: Feature) -> Iterator[str]:
    yield from _outside("mean", abs(feature.standardised.mean), 0, math.inf)
    if not 0 < feature.standardised.deviation < math.inf:
        yield f"got deviation {feature.standardised.deviation}; expected a finite number above 0"


def _bucketed(feature: Feature) -> Iterator[str]:
    boundaries = feature.bucketed.boundaries
    yield from _outside("number of boundaries", len(boundaries), 0, MAX_BOUNDARIES)
    if not all(map(math.isfinite, boundaries)) or any(a >= b for a, b in pairwise(boundaries)):
        yield "got boundaries out of order; expected finite numbers, strictly ascending"


def _history(feature: Feature) -> Iterator[str]:
    yield from _outside("max_length", feature.history.max_length, 0, MAX_HISTORY)


def _text(feature: Feature) -> Iterator[str]:
    yield from _outside("buckets", feature.text.buckets, 1, MAX_BUCKETS)
    yield from _outside("max_count", feature.text.max_count, 1, MAX_N_GRAMS)


_KINDS: dict[str, Callable[[Feature], Iterator[str]]] = {
    "categorical": _categorical,
    "standardised": _standardised,
    "bucketed": _bucketed,
    "multi_valued": _multi_valued,
    "history": _history,
    "text": _text,
}


def _index(index: ItemIndex, item_count: int) -> Iterator[str]:
    yield from _outside("index.lists", index.lists, 1, min(MAX_LISTS, max(item_count, 1)))
    yield from _outside("number of index.depths", len(index.depths), 1, MAX_DEPTHS)


def _files(manifest: Manifest) -> Iterator[str]:
    if len(manifest.files) > MAX_FILES:
        yield f"got {len(manifest.files):,} files; expected at most {MAX_FILES:,}"
    paths = [file.path for file in manifest.files]
    if len(set(paths)) != len(paths):
        yield "names a file twice"
    for file in manifest.files:
        yield from _path(file.path)
        for complaint in _outside("size_bytes", file.size_bytes, 0, MAX_FILE_BYTES):
            yield f"{file.path}: {complaint}"
        if not _SHA256.fullmatch(file.sha256):
            yield f"{file.path}: got a digest that is none; expected 64 hexadecimal digits in lower case"


def _path(path: str) -> Iterator[str]:
    parts = PurePosixPath(path).parts
    is_inside = parts and not path.startswith("/") and not {"..", "."} & set(path.split("/"))
    if not is_inside or len(path) > MAX_PATH_LENGTH or "\\" in path or "\0" in path:
        yield f"got the path {path[:MAX_PATH_LENGTH]!r}; expected one inside the folder"


def _names(what: str, names: Sequence[str]) -> Iterator[str]:
    if len(set(names)) != len(names):
        yield f"{what}: got a name twice"
    if not all(1 <= len(name) <= MAX_NAME_LENGTH for name in names):
        yield f"{what}: got a name without characters or with more than {MAX_NAME_LENGTH}"


def _outside(what: str, number: float, smallest: float, largest: float) -> Iterator[str]:
    """A complaint about a number that is not finite, or not from ``smallest`` to ``largest``."""
    if math.isfinite(number) and smallest <= number <= largest:
        return
    up_to = "" if math.isinf(largest) else f" to {largest:,}"
    yield f"got {what} {number:,}; expected {smallest:,}{up_to or ' or more'}"
