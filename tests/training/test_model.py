from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bascule_server.encoder import encode_histories
from bascule_training.model import TwoTowerModel
from bascule_training.packing import PackedBatch, packed_batches

Make = Callable[..., Any]


def batches(ring: Any, epoch: int = 0) -> list[PackedBatch]:
    return list(packed_batches(ring.run.histories, ring.run.history_length, 4, np.random.default_rng(epoch)))


def losses(ring: Any, epoch: int = 0) -> list[float]:
    return [float(ring.run.model.step(batch)) for batch in batches(ring, epoch)]


@pytest.fixture(scope="module")
def learned(ring: Make) -> tuple[TwoTowerModel, list[float]]:
    """A model that learned against drawn negatives, and its mean loss in every epoch."""
    made = ring(Path(), negatives=64, epochs=10)
    return made.run.model, [float(np.mean(losses(made, epoch))) for epoch in range(10)]


def test_the_loss_against_drawn_negatives_falls(learned: tuple[TwoTowerModel, list[float]]) -> None:
    assert learned[1][-1] < learned[1][0] / 2


def test_equal_seeds_learn_equal_weights_and_a_small_catalogue_is_learned_whole(ring: Make) -> None:
    one, same = ring(Path(), negatives="auto"), ring(Path(), negatives="full")
    assert losses(one) == losses(same)
    for variable, expected in zip(same.run.model.variables, one.run.model.variables, strict=True):
        np.testing.assert_array_equal(variable.numpy(), expected.numpy())


def test_another_seed_begins_elsewhere(ring: Make) -> None:
    one, other = ring(Path(), seed=1), ring(Path(), seed=2)
    assert np.abs(one.run.model.item_vectors() - other.run.model.item_vectors()).max() > 1e-3


def test_positions_that_only_fill_a_row_teach_nothing(ring: Make) -> None:
    made = ring(Path())
    model, (batch, *_) = made.run.model, batches(made)
    begin = [variable.numpy() for variable in model.variables]
    is_first = np.broadcast_to(np.arange(4)[:, None] == 0, (4, 4))
    after = []
    for code, target in ((0, 0), (3, 5)):
        for variable, value in zip(model.variables, begin, strict=True):
            variable.assign(value)
        codes, targets = np.where(is_first, batch.codes, code), np.where(is_first, batch.targets, target)
        users = np.where(is_first, batch.users, -1)
        loss = model.step(PackedBatch(codes, targets, users, is_first.astype(np.float32)))
        after.append((float(loss), model.item_vectors()))
    assert after[0][0] == pytest.approx(after[1][0], abs=1e-6)
    np.testing.assert_allclose(after[0][1], after[1][1], atol=1e-6)


def test_item_vectors_have_length_1_and_the_order_of_the_catalogue(learned: tuple[TwoTowerModel, list[float]]) -> None:
    model, _ = learned
    vectors = model.item_vectors()
    assert vectors.dtype == np.float32
    assert vectors.shape == (12, 16)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    table = model.query_tower().variables[-1].numpy()[1:]  # what the query tower reads of the items
    np.testing.assert_allclose(table / np.linalg.norm(table, axis=1, keepdims=True), vectors, atol=1e-6)


def test_query_vectors_have_length_1_for_an_empty_history_too(learned: tuple[TwoTowerModel, list[float]]) -> None:
    model, _ = learned
    histories = encode_histories([np.array([], np.int64), np.array([3, 4])], 4)
    vectors = model.query_tower().vectors({"history": histories})
    assert vectors.shape == (2, 16)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_new_items_are_placed_by_their_features(learned: tuple[TwoTowerModel, list[float]]) -> None:
    tower = learned[0].item_tower()
    assert tower is not None
    vectors = tower.vectors({"side": np.array([1, 2, 1])})
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(vectors[0], vectors[2], atol=1e-6)
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-3
