"""Item vectors in 8 bits a component, and their products with queries by LiteRT's integer kernels.

That is a quarter of the memory to read, and whole numbers, of which a processor multiplies several times as many at a
time. Queries are quantised here too, so that what the kernels compute is exact but for one rounding, and what is lost
to quantisation is known for each query: the products say which items can be the best, and no more than that.
"""

import math
from typing import NamedTuple

import numpy as np
import structlog
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from bascule_server.retrieval.litert_layer import INPUT, OUTPUT, fully_connected
from bascule_server.retrieval.retriever import Vectors, lengths_of

_log = structlog.get_logger()

MOST_TOGETHER = 20
"""Queries that are multiplied together: more of them gain nothing and take memory. LiteRT's kernels take
a few at a time, 5 with AVX-512 VNNI, and as long for what is left over."""

WIDTH_STEP = 16
"""Behind the last item there are as many more as it takes to a multiple of it."""

QUERY_STEPS = 255
ITEM_STEPS = 127
"""To each side of 0."""

LARGEST_COMPONENT = 2.0**80
"""Of an item: with larger ones, products might not be finite."""
_SMALLEST_STEP = np.float32(2.0**-100)
_ITEMS_AT_ONCE = 20_000

_CHECKED_ITEMS = 1_000
_CHECKED_COUNTS = (1, 2, 3, 5, MOST_TOGETHER)
"""Of queries: kernels take a few at a time, and the rest in another way."""
_CHECKED_PRECISION = 2.0**-22
"""Relative: that of float32, after two roundings."""


class QuantisedQueries(NamedTuple):
    """Queries as multiples of whole numbers."""

    codes: NDArray[np.float32]
    """float32 [queries, dimension], whole numbers; the smallest of each query, or 0, and its largest, or 0, lie 255
    apart, unless all are 0."""
    steps: NDArray[np.float64]
    """float64 [queries], above 0: a query is about its codes times its step."""
    errors: NDArray[np.float64]
    """float64 [queries], the length of what that leaves out."""
    lengths: NDArray[np.float64]
    """float64 [queries], of the queries themselves."""


def quantised_queries(queries: NDArray[np.float32]) -> QuantisedQueries:
    """Quantises queries [queries, dimension] as ``fully_connected`` does, which finds nothing left to round."""
    wide = queries.astype(np.float64)
    low = np.minimum.reduce(wide, axis=1, keepdims=True, initial=0)
    high = np.maximum.reduce(wide, axis=1, keepdims=True, initial=0)
    steps = (high - low) / QUERY_STEPS
    steps[steps == 0] = 1
    codes = np.floor(wide / steps + 0.5)
    # Whatever was rounded, these two are as far apart as they have to be.
    lowest = np.floor(low / steps + 0.5)
    np.copyto(codes, lowest + QUERY_STEPS, where=(wide == high) & (low < high))
    errors = wide - codes * steps
    # No square of a float32 overflows or vanishes in float64.
    lengths = np.sqrt(np.vecdot(errors, errors)), np.sqrt(np.vecdot(wide, wide))
    return QuantisedQueries(codes.astype(np.float32), steps[:, 0], *lengths)


class QuantisedQuery(NamedTuple):
    """One query as ``QuantisedQueries`` has several."""

    codes: NDArray[np.float32]
    """float32 [1, dimension]."""
    step: float
    error: float
    length: float


def quantised_query(query: NDArray[np.float32]) -> QuantisedQuery:
    """The same for one query [dimension], in half the time."""
    wide = query.astype(np.float64)
    components = [*wide.tolist(), 0.0]
    low, high = min(components), max(components)
    step = (high - low) / QUERY_STEPS or 1.0
    codes = np.floor(wide / step + 0.5)
    highest = math.floor(low / step + 0.5) + QUERY_STEPS
    if low < high and highest != math.floor(high / step + 0.5):
        codes[wide == high] = highest
    error = wide - codes * step
    lengths = math.sqrt(float(error.dot(error))), math.sqrt(float(wide.dot(wide)))
    return QuantisedQuery(codes.astype(np.float32)[None], step, *lengths)


class QuantisedItems:
    """Multiplies quantised queries with all items. Called by one thread at a time."""

    def __init__(self, vectors: Vectors) -> None:
        """Takes vectors, float32 [items, dimension], at least one. Prefer ``quantised_items``, which checks them."""
        behind = -len(vectors) % WIDTH_STEP
        codes = np.zeros((len(vectors) + behind, vectors.shape[1]), np.int8)
        steps = np.ones(len(codes), np.float32)
        self.lengths = np.empty(len(vectors), np.float64)
        """float64 [items], of the quantised vectors."""
        self.errors = np.empty(len(vectors), np.float64)
        """float64 [items], the lengths of what quantisation leaves out."""
        for start in range(0, len(vectors), _ITEMS_AT_ONCE):
            part = slice(start, min(start + _ITEMS_AT_ONCE, len(vectors)))
            of_part = vectors[part]
            codes[part], steps[part] = _codes_and_steps(of_part)
            quantised = codes[part] * steps[part, None]
            self.lengths[part] = lengths_of(quantised)
            self.errors[part] = lengths_of(of_part - quantised)
        self.model = fully_connected(codes, steps)
        """For LiteRT, see ``fully_connected``."""
        self._interpreter = Interpreter(model_content=self.model, num_threads=1)
        self._row_count = 0
        """That the interpreter is prepared for."""

    def products(self, codes: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 [queries, width], in a place that the next call writes to: nothing may refer to it by then.

        The width is that of all items, and some zeros behind; see ``WIDTH_STEP``.

        Args:
            codes: of 1 to ``MOST_TOGETHER`` queries, see ``QuantisedQueries``.
        """
        interpreter = self._interpreter
        if len(codes) != self._row_count:
            # This takes 15 us where the layer was prepared before. A row takes 8 to 40, so a few of zeros take longer.
            interpreter.resize_tensor_input(INPUT, codes.shape)
            interpreter.allocate_tensors()
            self._row_count = len(codes)
        interpreter.set_tensor(INPUT, codes)
        interpreter.invoke()
        products: NDArray[np.float32] = interpreter.tensor(OUTPUT)()
        return products

    def computes_as_promised(self, vectors: Vectors) -> bool:
        """Whether products are those of whole numbers, on this machine and with this release of LiteRT.

        Args:
            vectors: those that it was made of.
        """
        random = np.random.default_rng(0)
        items = random.integers(0, len(vectors), _CHECKED_ITEMS)
        item_codes, steps = _codes_and_steps(vectors.take(items, axis=0))
        codes = np.empty((MOST_TOGETHER, vectors.shape[1]), np.float32)
        codes[:] = random.integers(-QUERY_STEPS, 1, codes.shape)
        codes[:, 0], codes[:, -1] = 0, -QUERY_STEPS
        # Whole numbers of less than 53 bits, so that nothing is rounded.
        exact = codes.astype(np.float64) @ item_codes.T.astype(np.float64) * steps
        for count in _CHECKED_COUNTS:
            lost = np.abs(self.products(codes[:count])[:, items] - exact[:count])
            if (lost > _CHECKED_PRECISION * np.abs(exact[:count])).any():
                return False
        return True


def quantised_items(vectors: Vectors) -> QuantisedItems | None:
    """Quantises vectors, float32 [items, dimension]; None where they are too large or it cannot be trusted."""
    starts = range(0, len(vectors), _ITEMS_AT_ONCE)
    if not all(np.abs(vectors[start : start + _ITEMS_AT_ONCE]).max() <= LARGEST_COMPONENT for start in starts):
        return None
    quantised = QuantisedItems(vectors)
    if quantised.computes_as_promised(vectors):
        return quantised
    _log.warning("LiteRT's products of 8 bits are wrong on this machine; items are scored in full, which takes longer")
    return None


def _codes_and_steps(vectors: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """int8 [items, dimension] and float32 [items]: vectors are about their codes times their step."""
    # What is too small for steps of float32 counts as lost.
    steps = np.maximum(np.abs(vectors).max(axis=1) / ITEM_STEPS, _SMALLEST_STEP)
    codes: NDArray[np.int8] = np.rint(vectors / steps[:, None]).astype(np.int8)
    return codes, steps
