"""The spectral tower: the strongest directions of users by items and features, damped, in closed form.

EASE's matrix is almost that: off its diagonal it is the sum over all eigenvectors of the items' Gram matrix, each
weighed by s / (s + penalty), times a scale of the item. Few directions of a matrix in which popular items are scaled
down rank as well, in a fraction of the numbers.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, hstack

from bascule.v1.artifact_pb2 import Feature
from bascule_training.baselines.singular import strongest
from bascule_training.closed_form.linear_towers import LinearTowers
from bascule_training.data.histories import Histories
from bascule_training.towers.feature_embedding import code_count

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
    read = [feature for feature in users.features if feature.name in users.tensors]
    columns = [histories.matrix(item_count), *(_indicator(feature, users.tensors[feature.name]) for feature in read)]
    scales = [np.maximum(column.sum(axis=0), 1.0).astype(np.float64) ** -SCALING for column in columns]
    scaled = hstack([column.multiply(scale) for column, scale in zip(columns, scales, strict=True)], "csr")
    found = strongest(scaled, dimension)
    strengths = found.values**2
    damped = strengths / (strengths + DAMPING * strengths[min(DAMPING_RANK, len(strengths)) - 1])
    parts = np.split(found.right, np.cumsum([column.shape[1] for column in columns])[:-1])
    left = [(scale[:, None] * part * damped).astype(np.float32) for scale, part in zip(scales, parts, strict=True)]
    right = (parts[0] / scales[0][:, None]).astype(np.float32)
    # Code 0 of a feature is no category and adds nothing.
    categories = {
        feature.name: np.concatenate([np.zeros_like(rows[:1]), rows])
        for feature, rows in zip(read, left[1:], strict=True)
    }
    return LinearTowers(left[0], right, users.features, categories)


def _indicator(feature: Feature, tensor: NDArray[np.int32]) -> csr_array:
    """float32 [users, codes - 1], 1 where the user has the code; code 0 is left out."""
    codes = tensor.reshape(len(tensor), -1)
    rows, places = np.nonzero(codes)
    # As wide as the feature is declared: a code that no user has may well be asked for later.
    shape = (len(codes), code_count(feature) - 1)
    matrix = csr_array((np.ones(len(rows), np.float32), (rows, codes[rows, places] - 1)), shape=shape)
    matrix.sum_duplicates()
    matrix.data[:] = 1.0
    return matrix
