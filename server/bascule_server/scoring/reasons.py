"""Why an item is recommended: the items of the query's history that are most like it."""

import numpy as np
from numpy.typing import NDArray

from bascule_server.retrieval.retriever import Retriever, products


def most_alike(
    recommended: NDArray[np.int64], history: NDArray[np.int64], count: int, similar: Retriever
) -> list[NDArray[np.int64]]:
    """Rows of the history for each recommended item: those of the largest cosine, of equals the one that came last.

    Args:
        recommended: int64 [items], rows of items.
        history: int64 [items], rows, oldest first; an item that is there several times counts at its newest place.
        count: how many of the history at most, from 1.
        similar: has vectors of length 1.
    """
    newest_first = np.array(list(dict.fromkeys(history[::-1].tolist())), np.int64)
    vectors = similar.vectors_of(newest_first)
    # Item by item, so that nothing depends on how many there are.
    return [
        newest_first[np.argsort(-products(vector, vectors), kind="stable")[:count]]
        for vector in similar.vectors_of(recommended)
    ]
