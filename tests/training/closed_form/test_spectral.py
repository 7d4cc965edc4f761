from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bascule.v1.artifact_pb2 import CategoricalFeature, Feature, MultiValuedFeature
from bascule_server.scoring.encoder import HISTORY, encode_histories
from bascule_training.closed_form import spectral
from bascule_training.closed_form.spectral import UserCodes, fit_spectral
from bascule_training.data.features import history_feature
from bascule_training.data.histories import Histories

ITEMS, LENGTH = 5, 4
USERS = [[0, 1, 2], [0, 1], [0, 3], [0, 2, 3], [0, 4], [1, 4], [2, 3], [0, 1, 4]]
TRAIN = Histories(
    np.array([row for user in USERS for row in user], np.int32), np.cumsum([0, *map(len, USERS)]).astype(np.int64)
)
X = TRAIN.matrix(ITEMS).toarray().astype(np.float64)

FEATURES = [
    history_feature(LENGTH, distinct=True),
    Feature(name="country", categorical=CategoricalFeature(size=3)),
    Feature(name="tags", multi_valued=MultiValuedFeature(size=2, max_count=2)),
]
TENSORS: dict[str, NDArray[Any]] = {
    "country": np.array([1, 1, 2, 2, 0, 1, 2, 1], np.int32),
    "tags": np.array([[1, 0], [1, 2], [0, 0], [2, 0], [2, 1], [1, 1], [0, 0], [2, 0]], np.int32),
}
"""Nobody has the third country."""
NOTHING = UserCodes([], {})


def scores(dimension: int, users: UserCodes, inputs: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
    towers = fit_spectral(TRAIN, ITEMS, dimension, users)
    scores: NDArray[np.float32] = towers.query_tower().vectors(inputs) @ towers.item_vectors().T
    return scores


def codes(*histories: list[int]) -> NDArray[np.int32]:
    return encode_histories([np.array(history, np.int64) for history in histories], LENGTH, distinct=True)


def test_all_directions_without_damping_give_the_history_back(monkeypatch: pytest.MonkeyPatch) -> None:
    # Of a direction nothing is lost, and what the scaling takes from an item it gives back.
    monkeypatch.setattr(spectral, "DAMPING", 0.0)
    np.testing.assert_allclose(scores(ITEMS, NOTHING, {HISTORY: codes(*USERS)}), X, atol=1e-5)


def test_few_directions_are_the_damped_ones_of_the_scaled_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spectral, "DAMPING_RANK", 2)
    scale = X.sum(axis=0) ** -0.25
    values, vectors = np.linalg.eigh((X * scale).T @ (X * scale))
    strengths, directions = values[::-1][:3], vectors[:, ::-1][:, :3]
    damped = strengths / (strengths + 0.8 * strengths[1])
    expected = (X * scale) @ (directions * damped) @ directions.T / scale
    np.testing.assert_allclose(scores(3, NOTHING, {HISTORY: codes(*USERS)}), expected, atol=1e-5)


def test_what_features_add_is_added_to_the_history() -> None:
    users = UserCodes(FEATURES, TENSORS)
    history, empty = codes([0, 3]), codes([])
    tags, none = np.array([[2, 1]], np.int32), np.zeros((1, 2), np.int32)
    country, nowhere = np.array([2], np.int32), np.zeros(1, np.int32)
    together = scores(4, users, {HISTORY: history, "country": country, "tags": tags})
    parts = [
        scores(4, users, {HISTORY: history, "country": nowhere, "tags": none}),
        scores(4, users, {HISTORY: empty, "country": country, "tags": none}),
        scores(4, users, {HISTORY: empty, "country": nowhere, "tags": tags}),
    ]
    assert all(np.abs(part).max() > 0.01 for part in parts)
    np.testing.assert_allclose(together, sum(parts), atol=1e-5)


def test_a_category_is_taken_for_an_item() -> None:
    """As columns of the matrix, items or not, the vectors of a query are the same."""
    country = TENSORS["country"]
    columns = [[*user, *([4 + code] if code else [])] for user, code in zip(USERS, country.tolist(), strict=True)]
    as_items = Histories(
        np.array([row for user in columns for row in user], np.int32), np.cumsum([0, *map(len, columns)])
    )
    towers = fit_spectral(as_items, ITEMS + 2, 4, NOTHING)
    expected = towers.query_tower().vectors({HISTORY: codes([0, 5])}) @ towers.item_vectors()[:ITEMS].T
    users = UserCodes(FEATURES, {"country": country})
    got = scores(4, users, {HISTORY: codes([0]), "country": np.array([1], np.int32)})
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_a_category_that_nobody_has_and_an_absent_one_add_nothing() -> None:
    inputs = {HISTORY: codes([], []), "country": np.array([3, 0], np.int32), "tags": np.zeros((2, 2), np.int32)}
    np.testing.assert_allclose(scores(4, UserCodes(FEATURES, TENSORS), inputs), 0, atol=1e-6)
