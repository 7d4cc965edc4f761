"""The retrievers of one model version, by what is looked for."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bascule.v1.artifact_pb2 import Manifest
from bascule_server.artifact import file_names
from bascule_server.artifact.reading import ArtifactError
from bascule_server.artifact.stored_arrays import UNREADABLE
from bascule_server.retrieval.exact import ExactRetriever
from bascule_server.retrieval.indexed import open_index
from bascule_server.retrieval.quantised_items import quantised_items
from bascule_server.retrieval.retriever import Retriever, lengths_of

_UNIT_TOLERANCE = 1e-5


class Retrievers(NamedTuple):
    """One for each kind of score. None is shared with another version, since they keep memory of their own."""

    ranking: Retriever
    """By the product of the query's vector and the item's."""
    similar: Retriever
    """By the cosine of the two."""


def exact_retrievers(vectors: NDArray[np.float32]) -> Retrievers:
    """Score every item. ``vectors`` is float32 [items, dimension], in the order of the catalogue."""
    return _retrievers(vectors, None)


def open_retrievers(folder: Path, manifest: Manifest) -> Retrievers:
    """Those of an artifact: with its index where it has one.

    Raises:
        ArtifactError: the vectors or the index cannot be read, or are not what the manifest says.
    """
    vectors = read_vectors(folder, manifest)
    if not manifest.HasField("index"):
        return _retrievers(vectors, None)
    return _retrievers(vectors, open_index(folder / file_names.INDEX, manifest.index, vectors))


def _retrievers(vectors: NDArray[np.float32], ranking: Retriever | None) -> Retrievers:
    lengths = lengths_of(vectors)
    # A second copy of large catalogues would cost more memory than the few searches that go past the index are worth.
    quantised = quantised_items(vectors) if ranking is None else None
    ranking = ranking or ExactRetriever(vectors, lengths, quantised=quantised)
    if are_unit(lengths):
        return Retrievers(ranking, ranking)
    return Retrievers(ranking, ExactRetriever(vectors, lengths, by_cosine=True, quantised=quantised))


def are_unit(lengths: NDArray[np.float64]) -> bool:
    """Whether the product with vectors of these lengths [items] is the cosine."""
    return np.allclose(lengths, 1.0, rtol=0, atol=_UNIT_TOLERANCE)


def read_vectors(folder: Path, manifest: Manifest) -> NDArray[np.float32]:
    """float32 [items, dimension], those of an artifact, mapped.

    Raises:
        ArtifactError: they cannot be read, or are not what the manifest says.
    """
    path = folder / file_names.ITEM_VECTORS
    try:
        vectors = np.lib.format.open_memmap(path, mode="r")
    except UNREADABLE as error:
        raise ArtifactError(f"{path}: not an array: {error}") from error
    expected = (manifest.item_count, manifest.dimension)
    if vectors.dtype != np.float32 or vectors.shape != expected:
        raise ArtifactError(f"{path}: got {vectors.dtype} {vectors.shape}; the manifest says float32 {expected}")
    return np.asarray(vectors)
