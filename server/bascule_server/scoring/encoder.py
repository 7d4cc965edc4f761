"""Turns raw values of declared features into the tensors that a tower reads.

Training, evaluation and serving all encode here, from the features that the manifest declares, so that a model is
served what it was trained on. The comments of ``artifact.proto`` define each kind.
"""

import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bascule.v1.artifact_pb2 import Feature, HistoryFeature
from bascule_server.artifact.reading import ArtifactError
from bascule_server.errors import Reason
from bascule_server.scoring.n_grams import n_grams
from bascule_server.scoring.query import FeatureValue

HISTORY = "history"
"""The name of the history feature and of its tensor."""


class FeatureEncoder(Protocol):
    """Encodes the values of one feature."""

    def encode(self, values: Sequence[FeatureValue | None]) -> NDArray[Any]:
        """The tensor [rows, ...] of the values, one a row; None where a row has none."""

    def knows(self, value: FeatureValue) -> bool:
        """Whether the tower can tell this value from an absent one."""


class CategoricalEncoder:
    """int32 [rows]: 1 + the place in the vocabulary, or 0."""

    def __init__(self, vocabulary: Sequence[str]) -> None:
        self._codes: dict[FeatureValue | None, int] = {value: code for code, value in enumerate(vocabulary, 1)}

    def encode(self, values: Sequence[FeatureValue | None]) -> NDArray[np.int32]:
        """See ``FeatureEncoder``."""
        return np.array([self._codes.get(value, 0) for value in values], np.int32)

    def knows(self, value: FeatureValue) -> bool:
        """See ``FeatureEncoder``."""
        return value in self._codes


class MultiValuedEncoder:
    """int32 [rows, max_count]: 1 + the places in the vocabulary, filled up with 0."""

    def __init__(self, vocabulary: Sequence[str], max_count: int) -> None:
        self._codes = {value: code for code, value in enumerate(vocabulary, 1)}
        self._max_count = max_count

    def encode(self, values: Sequence[FeatureValue | None]) -> NDArray[np.int32]:
        """See ``FeatureEncoder``."""
        return _filled_up([self._known(value)[: self._max_count] for value in values], self._max_count)

    def knows(self, value: FeatureValue) -> bool:
        """See ``FeatureEncoder``."""
        return bool(self._known(value))

    def _known(self, value: FeatureValue | None) -> list[int]:
        categories = value if isinstance(value, tuple) else ()
        return [self._codes[category] for category in categories if category in self._codes]


class TextEncoder:
    """int32 [rows, max_count]: 1 + the buckets of the n-grams, each bucket once, filled up with 0."""

    def __init__(self, buckets: int, max_count: int) -> None:
        self._buckets = buckets
        self._max_count = max_count

    def encode(self, values: Sequence[FeatureValue | None]) -> NDArray[np.int32]:
        """See ``FeatureEncoder``."""
        return _filled_up([self._codes(value) for value in values], self._max_count)

    def knows(self, value: FeatureValue) -> bool:
        """See ``FeatureEncoder``."""
        return bool(self._codes(value))

    def _codes(self, value: FeatureValue | None) -> list[int]:
        codes: dict[int, None] = {}
        for n_gram in n_grams(value) if isinstance(value, str) else ():
            codes[1 + zlib.crc32(n_gram.encode()) % self._buckets] = None
            if len(codes) == self._max_count:
                break
        return list(codes)


def _filled_up(rows: Sequence[Sequence[int]], max_count: int) -> NDArray[np.int32]:
    """int32 [rows, max_count]: each row's codes, then zeros."""
    tensor = np.zeros((len(rows), max_count), np.int32)
    for row, codes in enumerate(rows):
        tensor[row, : len(codes)] = codes
    return tensor


MAX_DEVIATIONS = 1e6
"""How far from the mean a standardised number is taken to be at most: beyond, a tower's float32 sums overflow."""


class StandardisedEncoder:
    """float32 [rows]: (value - mean) / deviation, from -1e6 to 1e6, or 0."""

    def __init__(self, mean: float, deviation: float) -> None:
        self._mean = mean
        self._deviation = deviation

    def encode(self, values: Sequence[FeatureValue | None]) -> NDArray[np.float32]:
        """See ``FeatureEncoder``."""
        with np.errstate(over="ignore"):
            deviations = (_numbers(values) - self._mean) / self._deviation
        bounded: NDArray[np.float64] = np.clip(deviations, -MAX_DEVIATIONS, MAX_DEVIATIONS)
        return np.nan_to_num(bounded).astype(np.float32)

    def knows(self, value: FeatureValue) -> bool:  # noqa: ARG002 - whatever it is
        """See ``FeatureEncoder``."""
        return True


class BucketedEncoder:
    """int32 [rows]: 1 + the number of boundaries that the value is not below, or 0."""

    def __init__(self, boundaries: Sequence[float]) -> None:
        self._boundaries = np.array(boundaries, np.float64)

    def encode(self, values: Sequence[FeatureValue | None]) -> NDArray[np.int32]:
        """See ``FeatureEncoder``."""
        numbers = _numbers(values)
        buckets = 1 + np.searchsorted(self._boundaries, numbers, side="right")
        return np.where(np.isnan(numbers), 0, buckets).astype(np.int32)

    def knows(self, value: FeatureValue) -> bool:  # noqa: ARG002 - whatever it is
        """See ``FeatureEncoder``."""
        return True


def _numbers(values: Sequence[FeatureValue | None]) -> NDArray[np.float64]:
    return np.array([np.nan if value is None else value for value in values], np.float64)


def feature_encoder(feature: Feature, vocabularies: Mapping[str, Sequence[str]]) -> FeatureEncoder:
    """The encoder of a declared feature that is not the history; ``vocabularies`` by path."""
    match feature.WhichOneof("kind"):
        case "categorical":
            return CategoricalEncoder(vocabularies[feature.categorical.vocabulary])
        case "multi_valued":
            return MultiValuedEncoder(vocabularies[feature.multi_valued.vocabulary], feature.multi_valued.max_count)
        case "text":
            return TextEncoder(feature.text.buckets, feature.text.max_count)
        case "standardised":
            return StandardisedEncoder(feature.standardised.mean, feature.standardised.deviation)
        case "bucketed":
            return BucketedEncoder(feature.bucketed.boundaries)
        case kind:
            raise ArtifactError(
                f"feature {feature.name!r}: got kind {kind}; this release does not read it", Reason.FORMAT_UNSUPPORTED
            )


class FeaturesEncoder:
    """Encodes all the features of one tower but the history."""

    def __init__(self, features: Sequence[Feature], vocabularies: Mapping[str, Sequence[str]]) -> None:
        self._encoders = {
            feature.name: feature_encoder(feature, vocabularies)
            for feature in features
            if feature.WhichOneof("kind") != "history"
        }

    def encode(self, rows: Sequence[Mapping[str, FeatureValue]]) -> dict[str, NDArray[Any]]:
        """The tensor [rows, ...] of each feature by its name; a row may lack any feature."""
        return {name: encoder.encode([row.get(name) for row in rows]) for name, encoder in self._encoders.items()}

    def knows_any(self, values: Mapping[str, FeatureValue]) -> bool:
        """Whether the tower can tell these values from none at all."""
        return any(name in self._encoders and self._encoders[name].knows(value) for name, value in values.items())


def encode_histories(
    histories: Sequence[NDArray[np.int64]], max_length: int, *, distinct: bool = False
) -> NDArray[np.int32]:
    """int32 [rows, max_length]: 1 + the row of each item, the newest last, filled up with 0 at the front.

    Args:
        histories: rows of known items, oldest first.
        max_length: how many of the newest items are kept.
        distinct: whether each item is kept once, at its newest place, and the others before ``max_length`` counts.
    """
    tensor = np.zeros((len(histories), max_length), np.int32)
    for row, history in enumerate(histories):
        newest = (_distinct(history) if distinct else history)[-max_length:]
        tensor[row, max_length - len(newest) :] = newest + 1
    return tensor


def _distinct(history: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each item of a history at its newest place alone."""
    newest_first = dict.fromkeys(history[::-1].tolist())
    return np.array(list(newest_first), np.int64)[::-1]


def history_length(features: Sequence[Feature]) -> int:
    """How many items the declared history feature holds; 0 where none is declared."""
    return _declared_history(features).max_length


def _declared_history(features: Sequence[Feature]) -> HistoryFeature:
    return next((feature.history for feature in features if feature.WhichOneof("kind") == "history"), HistoryFeature())


class Encodable(Protocol):
    """One whom the query tower is to read."""

    @property
    def history(self) -> NDArray[np.int64]:
        """int64 [items], rows of known items, oldest first."""

    @property
    def features(self) -> Mapping[str, FeatureValue]:
        """Values of declared features by name."""


class QueryEncoder:
    """Encodes all that the query tower reads."""

    def __init__(self, features: Sequence[Feature], vocabularies: Mapping[str, Sequence[str]]) -> None:
        self.features = FeaturesEncoder(features, vocabularies)
        self._history = _declared_history(features)

    @property
    def history_length(self) -> int:
        """How many items of a history the tower reads, the newest; 0 where it reads none."""
        return self._history.max_length

    def encode(self, subjects: Sequence[Encodable]) -> dict[str, NDArray[Any]]:
        """The tensor [rows, ...] of each feature by its name, one subject a row."""
        tensors = self.features.encode([subject.features for subject in subjects])
        if self._history.max_length:
            tensors[HISTORY] = encode_histories(
                [subject.history for subject in subjects], self._history.max_length, distinct=self._history.distinct
            )
        return tensors


def read_vocabularies(folder: Path, features: Sequence[Feature]) -> dict[str, list[str]]:
    """The vocabularies of the features, by their path in the artifact.

    Raises:
        ArtifactError: one cannot be read, or is not as large as its feature says.
    """
    vocabularies: dict[str, list[str]] = {}
    for feature in features:
        for kind in (feature.categorical, feature.multi_valued):
            if kind.vocabulary:
                vocabularies[kind.vocabulary] = _read_vocabulary(folder / kind.vocabulary, kind.size)
    return vocabularies


def _read_vocabulary(path: Path, size: int) -> list[str]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path}: not a vocabulary: {error}") from error
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ArtifactError(f"{path}: not a vocabulary: expected one JSON array of strings")
    if len(values) != size or len(set(values)) != size:
        raise ArtifactError(f"{path}: got {len(set(values)):,} distinct values; the manifest says {size:,}")
    return values
