"""What the ranking tower reads of a query and its candidates: made here for training, evaluation and serving alike.

Everything is comparable between two fits of the same towers, since a ranking tower is trained beside towers that have
not seen the validation part, and serves beside towers that have: scores are taken relative to one another, likeness as
a cosine, and nothing reads a vector's components.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias
from zipfile import BadZipFile
from zlib import error as ZlibError  # noqa: N812 - it is a class

import numpy as np
from numpy.typing import NDArray

from bascule_server import artifact
from bascule_server.artifact import ArtifactError
from bascule_server.encoder import Encodable, FeaturesEncoder
from bascule_server.retrieval import Found

NUMBERS = "numbers"
"""The name of the tensor of numbers: those that follow here, then those of the item."""

QUERY_NUMBERS = 3
"""Of a candidate for its query: its standing, the largest and the mean cosine."""

NEWEST = 10
"""So many of the newest items of a history are compared with a candidate."""

VectorsOf: TypeAlias = Callable[[NDArray[np.int64]], NDArray[np.float32]]

_LEAST_DEVIATION = np.float32(1e-6)
_UNREADABLE = (OSError, EOFError, ValueError, KeyError, TypeError, RuntimeError, BadZipFile, ZlibError)


class RankerItems(NamedTuple):
    """What the ranking tower reads of each item, by row."""

    numbers: NDArray[np.float32]
    """float32 [items, numbers], such as how popular it is and was of late."""
    features: Mapping[str, NDArray[Any]]
    """[items, ...], the item features as ``encoder`` makes them, by name."""


class RankerInputs:
    """Makes the tensors of a query's candidates."""

    def __init__(self, items: RankerItems, features: FeaturesEncoder, candidate_count: int) -> None:
        """Takes what is read of items, the encoder of the query's features, and how many candidates are ranked."""
        # Behind all others one that nothing is known of, for those that came after the version was made.
        self._item_count = len(items.numbers)
        self._items = RankerItems(
            _with_unknown(items.numbers, items.numbers.min(axis=0, keepdims=True)),
            {name: _with_unknown(tensor, np.zeros_like(tensor[:1])) for name, tensor in items.features.items()},
        )
        self._features = features
        self._candidate_count = candidate_count

    def of(self, found: Found, subject: Encodable, directions_of: VectorsOf) -> dict[str, NDArray[Any]]:
        """The tensor [candidates, ...] of each input by its name.

        Args:
            found: the candidates, best first by retrieval, at least one.
            subject: whom the query is for.
            directions_of: the vectors of length 1 of the items in some rows, float32 [rows, dimension].
        """
        rows = np.minimum(found.rows, self._item_count)
        of_query = [_standing(found.scores, self._candidate_count)]
        of_query += _likeness(found.rows, subject.history[-NEWEST:], directions_of)
        numbers = np.concatenate([np.stack(of_query, axis=1), self._items.numbers[rows]], axis=1)
        tensors = {NUMBERS: numbers}
        tensors |= {item_input(name): tensor[rows] for name, tensor in self._items.features.items()}
        for name, tensor in self._features.encode([subject.features]).items():
            tensors[query_input(name)] = np.repeat(tensor, len(found.rows), axis=0)
        return tensors


def _with_unknown(tensor: NDArray[Any], unknown: NDArray[Any]) -> NDArray[Any]:
    return np.concatenate([tensor, unknown])


def query_input(name: str) -> str:
    """The name of the input of a query feature."""
    return f"query_{name}"


def item_input(name: str) -> str:
    """The name of the input of an item feature."""
    return f"item_{name}"


def _standing(scores: NDArray[np.float32], candidate_count: int) -> NDArray[np.float32]:
    """float32 [candidates], how far below the best score each is, in deviations of the best ``candidate_count``."""
    deviation = np.std(scores[:candidate_count])
    standing: NDArray[np.float32] = (scores - scores[0]) / np.maximum(deviation, _LEAST_DEVIATION)
    return standing


def _likeness(
    rows: NDArray[np.int64], newest: NDArray[np.int64], directions_of: VectorsOf
) -> list[NDArray[np.float32]]:
    """float32 [candidates], the largest and the mean cosine with the newest items; 0 where there are none."""
    if not len(newest):
        return [np.zeros(len(rows), np.float32)] * 2
    # Pair by pair, so that nothing depends on how many there are.
    cosines = np.vecdot(directions_of(rows)[:, None], directions_of(newest))
    return [cosines.max(axis=1), cosines.mean(axis=1)]


def write_ranker_items(path: Path, items: RankerItems) -> None:
    """Writes them as arrays without pickle."""
    features = {item_input(name): tensor for name, tensor in items.features.items()}
    np.savez(path, allow_pickle=False, **{NUMBERS: items.numbers}, **features)


def read_ranker_items(folder: Path, item_count: int) -> RankerItems:
    """Reads those of an artifact.

    Raises:
        ArtifactError: they cannot be read, or are not of so many items.
    """
    path = folder / artifact.RANKER_ITEMS
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            tensors = {name: arrays[name] for name in arrays.files}
            numbers = tensors.pop(NUMBERS)
    except _UNREADABLE as error:
        raise ArtifactError(f"{path}: not what a ranking tower reads of items: {error}") from error
    for name, tensor in {NUMBERS: numbers, **tensors}.items():
        if not tensor.shape or len(tensor) != item_count:
            raise ArtifactError(f"{path}: {name!r} has the shape {tensor.shape}; expected {item_count:,} items")
    if numbers.dtype != np.float32 or numbers.ndim != 2:
        raise ArtifactError(
            f"{path}: got numbers of {numbers.dtype} {numbers.shape}; expected float32 [items, numbers]"
        )
    return RankerItems(numbers, {name.removeprefix("item_"): tensor for name, tensor in tensors.items()})
