from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from bascule_server.encoder import encode_histories
from bascule_training.model import TwoTowerModel
from bascule_training.packing import PackedBatch, packed_batches

Make = Callable[..., Any]


def batches(ring: Any, epochs: int = 1) -> Iterator[PackedBatch]:
    for epoch in range(epochs):
        yield from packed_batches(ring.run.histories, ring.run.history_length, 8, np.random.default_rng(epoch))


def losses(ring: Any, epochs: int = 1) -> list[float]:
    return [float(ring.run.model.step(batch)) for batch in batches(ring, epochs)]


def weights(model: TwoTowerModel) -> list[Any]:
    return [variable.numpy() for variable in model.variables]


@pytest.mark.parametrize("negatives", ["full", 64])
def test_the_loss_falls(ring: Make, negatives: object) -> None:
    found = losses(ring(negatives=negatives, epochs=30), epochs=30)
    assert np.mean(found[-6:]) < np.mean(found[:6]) / 2


def test_equal_seeds_learn_equal_weights_and_other_seeds_others(ring: Make) -> None:
    one, same, other = ring(seed=1), ring(seed=1), ring(seed=2)
    assert losses(one) == losses(same) != losses(other)
    for variable, expected in zip(weights(same.run.model), weights(one.run.model), strict=True):
        np.testing.assert_array_equal(variable, expected)


def test_a_small_catalogue_is_learned_whole_unless_told_otherwise(ring: Make) -> None:
    assert losses(ring(negatives="auto")) == losses(ring(negatives="full"))


def test_a_model_with_the_variables_of_another_goes_on_as_it(ring: Make) -> None:
    one, other = ring(seed=1, negatives=4), ring(seed=2, negatives=4)
    losses(one)
    for variable, value in zip(other.run.model.variables, weights(one.run.model), strict=True):
        variable.assign(value)
    assert losses(other) == losses(one)


def test_positions_that_only_fill_a_row_teach_nothing(ring: Make) -> None:
    (batch, *_) = batches(ring())
    first_row = np.arange(8)[:, None] == np.zeros(4, int)
    filled = [
        PackedBatch(
            np.where(first_row, batch.codes, code),
            np.where(first_row, batch.targets, target),
            np.where(first_row, batch.users, -1),
            first_row.astype(np.float32),
        )
        for code, target in ((0, 0), (3, 5))
    ]
    assert float(ring().run.model.step(filled[0])) == pytest.approx(float(ring().run.model.step(filled[1])), abs=1e-5)


def test_item_vectors_have_length_1_and_the_order_of_the_catalogue(ring: Make) -> None:
    model = ring().run.model
    vectors = model.item_vectors()
    assert vectors.dtype == np.float32
    assert vectors.shape == (12, 8)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    table = model.history_table().numpy()[1:]
    np.testing.assert_allclose(table / np.linalg.norm(table, axis=1, keepdims=True), vectors, atol=1e-6)


def test_query_vectors_have_length_1_for_an_empty_history_too(ring: Make) -> None:
    model = ring().run.model
    histories = encode_histories([np.array([], np.int64), np.array([3, 4])], 4)
    vectors = model.query_vectors(model.history_table(), {"history": tf.constant(histories)})
    assert vectors.shape == (2, 8)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_new_items_are_placed_by_their_features(ring: Make) -> None:
    made = ring(epochs=5)
    losses(made, epochs=5)
    left, right, left_again = made.run.model.new_item_vectors({"side": tf.constant([1, 2, 1])}).numpy()
    np.testing.assert_array_equal(left, left_again)
    np.testing.assert_allclose(np.linalg.norm(left), 1, atol=1e-6)
    assert np.abs(left - right).max() > 1e-3
