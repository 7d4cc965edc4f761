"""Builds a list of items that are unlike each other: maximal marginal relevance.

J. Carbonell and J. Goldstein, The use of MMR, diversity-based reranking for reordering documents and producing
summaries, SIGIR 1998. ``RankingOptions.diversity`` in the definitions of the API has the formula.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bascule_server.retrieval.retriever import Found
from bascule_server.scoring.query import Rank

POOL = 5
"""How many times as many items as are wanted are chosen from."""

MAX_POOL = 1_000


def pool_size(rank: Rank) -> int:
    """How many of the best items to choose from."""
    return max(rank.item_count, min(POOL * rank.item_count, MAX_POOL)) if rank.diversity else rank.item_count


def diversified(
    pool: Found, vectors: NDArray[np.float32], rank: Rank, has_room: Callable[[int], bool] = lambda _: True
) -> Found:
    """Takes items of the largest marginal relevance one by one, up to ``rank.item_count``.

    Args:
        pool: the best items, best first; of equals the first is taken.
        vectors: float32 [items, dimension], those of the pool.
        rank: with a diversity.
        has_room: is asked of each item's row in turn, and where it says no the item is passed over.
    """
    scores = pool.scores.astype(np.float64)
    spread = np.ptp(scores) if len(scores) else 0.0
    relevance = (1 - rank.diversity) * ((scores - scores.min()) / spread if spread else np.ones_like(scores))
    wide = vectors.astype(np.float64)
    lengths = np.sqrt(np.vecdot(wide, wide))
    directions = wide / np.where(lengths, lengths, 1.0)[:, None]
    likeness: NDArray[np.float64] | None = None
    is_left = np.ones(len(scores), np.bool_)
    taken: list[int] = []
    while len(taken) < rank.item_count and is_left.any():
        marginal = relevance if likeness is None else relevance - rank.diversity * likeness
        place = int(np.where(is_left, marginal, -np.inf).argmax())
        is_left[place] = False
        if has_room(int(pool.rows[place])):
            taken.append(place)
            # Row by row, so that nothing depends on how many there are.
            cosines = np.vecdot(directions, directions[place])
            likeness = cosines if likeness is None else np.maximum(likeness, cosines)
    return Found(pool.rows[taken], pool.scores[taken])
