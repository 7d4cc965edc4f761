"""What the ranking tower reads of a query and its candidates: made here for training, evaluation and serving alike.

A ranking tower is trained beside towers that have not seen the validation part, on lists of that time, and serves
beside towers that have, on lists of later. So every number is relative to the list that it is in: how far a candidate
is above or below the others, in deviations. What is popular changes, and what being more popular than the others of a
list means lasts; and no component of a vector is read, which means something else after every fit.

What is read of the context of a query is the same for all its candidates, and says something by what it goes with: the
features of the items then stand beside it as they are.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bascule_server.artifact import file_names
from bascule_server.artifact.reading import ArtifactError
from bascule_server.artifact.stored_arrays import UNREADABLE, stored_arrays
from bascule_server.retrieval.retriever import Found
from bascule_server.scoring.encoder import Encodable, FeaturesEncoder

NUMBERS = "numbers"
"""The name of the ranking tower's input of numbers."""

CONTEXT, ITEM = "context_", "item_"
"""What the names of its other inputs begin with, before the name of the feature: where it reads the context, these are
the features of the context and of the items."""

NEWEST = 20
"""So many of the newest items of a history are compared with a candidate."""

LARGEST_NUMBER = 8.0
"""Deviations; what lies beyond is taken as that."""

VectorsOf: TypeAlias = Callable[[NDArray[np.int64]], NDArray[np.float32]]

_LEAST_DEVIATION = np.float32(1e-3)
"""What differs less within a list says nothing, and may be rounded otherwise elsewhere."""
_FEATURE = "feature_"


class RankerItems(NamedTuple):
    """What the ranking tower reads of each item, by row."""

    numbers: NDArray[np.float32]
    """float32 [items, numbers], such as how popular it is and was of late."""
    features: Mapping[str, NDArray[Any]]
    """By name: float32 [items] of a number, standardised, or int32 [items] or [items, values] of codes, from 1; 0 for
    none."""

    @property
    def number_count(self) -> int:
        """How many numbers there are of a candidate."""
        of_features = sum(2 if _is_number(tensor) else 1 for tensor in self.features.values())
        return 1 + _LIKENESSES + int(self.numbers.shape[1]) + of_features


_LIKENESSES = 3


class RankerInputs:
    """Makes the numbers of a query's candidates."""

    def __init__(self, items: RankerItems, candidate_count: int, context: FeaturesEncoder | None = None) -> None:
        """Takes what is read of items, how many candidates are ranked, and what encodes the context that is read."""
        # Behind all others one that nothing is known of, for those that came after the version was made.
        self._item_count = len(items.numbers)
        self._numbers = np.vstack([items.numbers, items.numbers.min(axis=0, keepdims=True)])
        self._measures = [
            _Measure(tensor) if _is_number(tensor) else _Codes(tensor) for tensor in items.features.values()
        ]
        self._candidate_count = candidate_count
        self._context = context
        self._features = {} if context is None else {name: _and_none(each) for name, each in items.features.items()}

    def of(self, found: Found, subject: Encodable, directions_of: VectorsOf) -> dict[str, NDArray[Any]]:
        """``NUMBERS``: float32 [candidates, numbers], each in deviations from the mean of the candidates.

        The first is not that, but how far the score is below the best, in deviations of the best ``candidate_count``.
        Then come the largest and the mean cosine with the newest items of the history and that with the last, the
        numbers of the item, and of each feature how the item goes with these items, after the number itself where it is
        one.

        Where the context is read, also the tensors of its features, equal for all candidates, and those of the items'.

        Args:
            found: the candidates, best first by retrieval, at least one.
            subject: whom the query is for.
            directions_of: the vectors of length 1 of the items in some rows, float32 [rows, dimension].
        """
        rows, newest = np.minimum(found.rows, self._item_count), subject.history[-NEWEST:]
        relative = [
            *_likeness(found.rows, newest, directions_of),
            *self._numbers[rows].T,
            *(column for measure in self._measures for column in measure.of(rows, newest)),
        ]
        standing = _standing(found.scores, self._candidate_count)
        numbers = np.column_stack([standing, *map(_within, relative)])
        made = {NUMBERS: np.clip(numbers, -LARGEST_NUMBER, LARGEST_NUMBER).astype(np.float32)}
        return made if self._context is None else made | self._beside(self._context, rows, subject)

    def _beside(self, context: FeaturesEncoder, rows: NDArray[np.int64], subject: Encodable) -> dict[str, NDArray[Any]]:
        """The tensors [candidates, ...] of the features of the context and of the items."""
        of_context = context.encode([subject.features]).items()
        return {f"{CONTEXT}{name}": np.repeat(tensor, len(rows), axis=0) for name, tensor in of_context} | {
            f"{ITEM}{name}": tensor[rows] for name, tensor in self._features.items()
        }


class _Measure:
    """A feature that is a number."""

    def __init__(self, values: NDArray[np.float32]) -> None:
        self._values = _and_none(values)

    def of(self, rows: NDArray[np.int64], newest: NDArray[np.int64]) -> list[NDArray[np.float32]]:
        """float32 [candidates] each: the number, and how near it is to the mean of the history's, 0 without one."""
        values = self._values[rows]
        return [values, -np.abs(values - self._values[newest].mean()) if len(newest) else np.zeros_like(values)]


class _Codes:
    """A feature of categories or words."""

    def __init__(self, codes: NDArray[np.int32]) -> None:
        known = codes.reshape(len(codes), -1)
        self._codes = _and_none(known)
        self._shares = _shares(known, int(known.max(initial=0)) + 1)

    def of(self, rows: NDArray[np.int64], newest: NDArray[np.int64]) -> list[NDArray[np.float32]]:
        """float32 [candidates]: by how much more often the history has an item's codes than all items have them.

        The mean over the item's codes, in shares of items; 0 without a history, or without a code.
        """
        codes = self._codes[rows]
        if not len(newest):
            return [np.zeros(len(rows), np.float32)]
        more = _shares(self._codes[newest], len(self._shares)) - self._shares
        return [(more[codes].sum(axis=1) / np.maximum(np.count_nonzero(codes, axis=1), 1)).astype(np.float32)]


def _and_none(tensor: NDArray[Any]) -> NDArray[Any]:
    """The tensor [items, ...], and behind it one item of which nothing is known."""
    return np.concatenate([tensor, np.zeros_like(tensor, shape=(1, *tensor.shape[1:]))])


def _is_number(tensor: NDArray[Any]) -> bool:
    return np.issubdtype(tensor.dtype, np.floating)


def _shares(codes: NDArray[np.int32], size: int) -> NDArray[np.float32]:
    """float32 [size], the share of items [items, values] that have each code; 0 of code 0, which is none."""
    shares = (np.bincount(codes.ravel(), minlength=size) / len(codes)).astype(np.float32)
    shares[0] = 0
    return shares


def _within(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 [candidates], in deviations from the mean."""
    relative: NDArray[np.float32] = (values - values.mean()) / np.maximum(values.std(), _LEAST_DEVIATION)
    return relative


def _standing(scores: NDArray[np.float32], candidate_count: int) -> NDArray[np.float32]:
    """float32 [candidates], how far below the best score each is, in deviations of the best ``candidate_count``."""
    deviation = np.std(scores[:candidate_count])
    standing: NDArray[np.float32] = (scores - scores[0]) / np.maximum(deviation, np.float32(1e-6))
    return standing


def _likeness(
    rows: NDArray[np.int64], newest: NDArray[np.int64], directions_of: VectorsOf
) -> list[NDArray[np.float32]]:
    """float32 [candidates] each, the largest and the mean cosine with the newest items and that with the last."""
    if not len(newest):
        return [np.zeros(len(rows), np.float32)] * _LIKENESSES
    # Pair by pair, so that nothing depends on how many there are.
    cosines = np.vecdot(directions_of(rows)[:, None], directions_of(newest))
    return [cosines.max(axis=1), cosines.mean(axis=1), cosines[:, -1]]


def write_ranker_items(path: Path, items: RankerItems) -> None:
    """Writes them as arrays without pickle."""
    features = {f"{_FEATURE}{name}": tensor for name, tensor in items.features.items()}
    np.savez(path, allow_pickle=False, **{NUMBERS: items.numbers}, **features)


def read_ranker_items(folder: Path, item_count: int) -> RankerItems:
    """Reads those of an artifact.

    Raises:
        ArtifactError: they cannot be read, or are not of so many items.
    """
    path = folder / file_names.RANKER_ITEMS
    try:
        with stored_arrays(path) as arrays:
            tensors = {name: arrays[name] for name in arrays}
            numbers = tensors.pop(NUMBERS)
    except UNREADABLE as error:
        raise ArtifactError(f"{path}: not what a ranking tower reads of items: {error}") from error
    for name, tensor in {NUMBERS: numbers, **tensors}.items():
        if not tensor.shape or len(tensor) != item_count:
            raise ArtifactError(f"{path}: {name!r} has the shape {tensor.shape}; expected {item_count:,} items")
    if numbers.dtype != np.float32 or numbers.ndim != 2:
        raise ArtifactError(
            f"{path}: got numbers of {numbers.dtype} {numbers.shape}; expected float32 [items, numbers]"
        )
    for name, tensor in tensors.items():
        if not name.startswith(_FEATURE) or tensor.dtype not in (np.float32, np.int32):
            raise ArtifactError(f"{path}: got {name!r} of {tensor.dtype}; expected features of float32 or int32")
    return RankerItems(numbers, {name.removeprefix(_FEATURE): tensor for name, tensor in tensors.items()})
