"""The spectral tower: the strongest directions of users by items and features, damped, in closed form.

EASE's matrix is almost that: off its diagonal it is the sum over all eigenvectors of the items' Gram matrix, each
weighed by s / (s + penalty), times a scale of the item. Few directions of a matrix in which popular items are scaled
down rank as well, in a fraction of the numbers.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from bascule.v1.artifact_pb2 import Feature
from bascule_training.histories import Histories
from bascule_training.linear_towers import LinearTowers

SCALING = 0.25
"""The power of an item's count that its column is divided by, and its vector multiplied with."""

DAMPING = 0.8
"""A direction of strength s counts s / (s + damping * the strength of the direction at ``DAMPING_RANK``)."""

DAMPING_RANK = 16

DIMENSIONS = (16, 32, 48, 64, 128, 256)
"""The numbers of directions that are tried."""


class UserCodes(NamedTuple):
    """The query features of all users of the histories, as far as they are codes."""

    features: Sequence[Feature]
    tensors: Mapping[str, NDArray[Any]]
    """int32 [users] or [users, max_count] by the feature's name; 0 for none."""


def fit_spectral(histories: Histories, item_count: int, dimension: int, users: UserCodes) -> LinearTowers:
    """Solves for the towers.

    Args:
        histories: of the users to learn from.
        item_count: of the catalogue.
        dimension: the number of directions.
        users: features, whose categories are taken for items that users had.
    """
    named = {feature.name: users.tensors[feature.name] for feature in users.features if feature.name in users.tensors}
    columns = [histories.matrix(item_count), *(_indicator(tensor) for tensor in named.values())]
    scales = [np.maximum(column.sum(axis=0), 1.0).astype(np.float64) ** -SCALING for column in columns]
    scaled = np.concatenate([column.toarray() * scale for column, scale in zip(columns, scales, strict=True)], axis=1)
    values, directions = np.linalg.eigh(scaled.T.astype(np.float64) @ scaled)
    kept = np.argsort(values)[::-1][:dimension]
    strengths = np.maximum(values[kept], 0.0)
    damped = strengths / (strengths + DAMPING * strengths[min(DAMPING_RANK, len(kept)) - 1])
    parts = np.split(directions[:, kept], np.cumsum([column.shape[1] for column in columns])[:-1])
    left = [(scale[:, None] * part * damped).astype(np.float32) for scale, part in zip(scales, parts, strict=True)]
    right = (parts[0] / scales[0][:, None]).astype(np.float32)
    # Code 0 of a feature is no category and adds nothing.
    categories = {
        name: np.concatenate([np.zeros_like(rows[:1]), rows]) for name, rows in zip(named, left[1:], strict=True)
    }
    return LinearTowers(left[0], right, users.features, categories)


def _indicator(tensor: NDArray[np.int32]) -> csr_array:
    """float32 [users, codes - 1], 1 where the user has the code; code 0 is left out."""
    codes = tensor.reshape(len(tensor), -1)
    rows, places = np.nonzero(codes)
    matrix = csr_array(
        (np.ones(len(rows), np.float32), (rows, codes[rows, places] - 1)), shape=(len(codes), max(int(codes.max()), 1))
    )
    matrix.sum_duplicates()
    matrix.data[:] = 1.0
    return matrix
