"""The golden queries of an artifact: what was asked of the model in training, and what training computed.

They are computed there with the towers themselves, before these are exported. A server that gets the same answers
from the exported files therefore serves the model that was trained, and the replay warms it up.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from bascule.v1.recommendation_service_pb2 import Query as QueryMessage
from bascule_server.artifact import file_names
from bascule_server.artifact.reading import ArtifactError
from bascule_server.artifact.stored_arrays import UNREADABLE, stored_arrays
from bascule_server.retrieval.retriever import Found

VECTOR_TOLERANCE = 1e-4
"""How far a component of a vector may lie from what training computed, relative to the vector's length. The kernels
of two machines round differently, by about 1e-6; a wrong table, layer or encoding shows at 1e-2 and more."""


@dataclass(frozen=True, slots=True)
class GoldenQueries:
    """Queries and their answers, in parallel."""

    queries: Sequence[QueryMessage]
    """Users who are not in the data, each with at least one item that the model knows."""
    vectors: NDArray[np.float32]
    """float32 [queries, dimension], of the query tower."""
    rows: NDArray[np.int64]
    """int64 [queries, items], the best items, best first; nothing is excluded."""
    scores: NDArray[np.float32]
    """float32 [queries, items], parallel to ``rows``."""
    ranked: Sequence[Found] | None = None
    """As many items for each query, by the ranking tower; None where there is none."""


def write_golden(path: Path, golden: GoldenQueries) -> None:
    """Writes the golden queries as arrays without pickle: the messages lie end to end, parted by ``offsets``."""
    messages = [query.SerializeToString(deterministic=True) for query in golden.queries]
    np.savez(
        path,
        allow_pickle=False,
        messages=np.frombuffer(b"".join(messages), np.uint8),
        offsets=np.cumsum([0, *map(len, messages)]),
        vectors=golden.vectors,
        rows=golden.rows,
        scores=golden.scores,
        **_of_ranking(golden.ranked),
    )


def _of_ranking(ranked: Sequence[Found] | None) -> dict[str, NDArray[Any]]:
    if ranked is None:
        return {}
    return {
        "ranked_rows": np.stack([found.rows for found in ranked]),
        "ranked_scores": np.stack([found.scores for found in ranked]),
    }


def _ranked(arrays: Mapping[str, NDArray[Any]]) -> list[Found] | None:
    if "ranked_rows" not in arrays:
        return None
    return [Found(*pair) for pair in zip(arrays["ranked_rows"], arrays["ranked_scores"], strict=True)]


def read_golden(folder: Path) -> GoldenQueries:
    """Reads the golden queries of an artifact.

    Raises:
        ArtifactError: they cannot be read, or are none.
    """
    path = folder / file_names.GOLDEN
    try:
        with stored_arrays(path) as arrays:
            messages, offsets = arrays["messages"].tobytes(), arrays["offsets"].tolist()
            golden = GoldenQueries(
                [QueryMessage.FromString(messages[a:b]) for a, b in pairwise(offsets)],
                arrays["vectors"],
                arrays["rows"],
                arrays["scores"],
                _ranked(arrays),
            )
    except (*UNREADABLE, DecodeError) as error:
        raise ArtifactError(f"{path}: not golden queries: {error}") from error
    if not golden.queries or {len(golden.vectors), len(golden.rows), len(golden.scores)} != {len(golden.queries)}:
        raise ArtifactError(f"{path}: got {len(golden.queries)} queries and other numbers of answers")
    return golden
