from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bascule_server.scoring.encoder import encode_histories
from bascule_training.fitting.fit import Run
from bascule_training.fitting.model import StepTensors, TwoTowerModel
from bascule_training.towers.two_towers import TwoTowers

Make = Callable[..., Run]

SAMPLED = ["uniform", "in_batch", "mixed"]


def losses(run: Run, epoch: int = 0) -> list[float]:
    return [float(run.model.step(batch)) for batch in run.feed.epoch(epoch)]


def first_batch(run: Run) -> StepTensors:
    """The first batch, as arrays."""
    batch = next(run.feed.epoch(0))
    assert isinstance(batch, StepTensors)
    return StepTensors(*(tensor.numpy() for tensor in batch))


@pytest.fixture(scope="module")
def learned(ring: Make) -> tuple[TwoTowers, list[float]]:
    """A model that learned against sampled negatives, and its mean loss in every epoch."""
    run = ring(Path(), negatives="mixed", epochs=10)
    return run.model, [float(np.mean(losses(run, epoch))) for epoch in range(10)]


def test_the_loss_against_sampled_negatives_falls(learned: tuple[TwoTowers, list[float]]) -> None:
    assert learned[1][-1] < learned[1][0] / 2


@pytest.mark.parametrize("negatives", SAMPLED)
def test_equal_seeds_learn_equal_weights(ring: Make, negatives: str) -> None:
    one, same = ring(Path(), negatives=negatives), ring(Path(), negatives=negatives)
    assert losses(one) == losses(same)
    for variable, expected in zip(same.model.variables, one.model.variables, strict=True):
        np.testing.assert_array_equal(variable.numpy(), expected.numpy())


def test_another_seed_begins_elsewhere(ring: Make) -> None:
    one, other = ring(Path(), seed=1), ring(Path(), seed=2)
    assert np.abs(one.model.item_vectors() - other.model.item_vectors()).max() > 1e-3


@pytest.mark.parametrize("negatives", ["full", "uniform"])
def test_positions_that_only_fill_a_row_teach_nothing(ring: Make, negatives: str) -> None:
    run = ring(Path(), negatives=negatives)
    model, batch = run.model, first_batch(run)
    begin = [variable.numpy() for variable in model.variables]
    is_first = np.broadcast_to(np.arange(4)[:, None] == 0, (4, 4))  # of the rows
    counts = is_first.reshape(16, 1)
    after = []
    for code, target in ((0, 0), (3, 5)):
        for variable, value in zip(model.variables, begin, strict=True):
            variable.assign(value)
        filled = batch._replace(
            codes=np.where(is_first, batch.codes, code).astype(np.int32),
            targets=np.where(counts, batch.targets, target).astype(np.int32),
            users=np.where(is_first, batch.users, -1).astype(np.int32),
            weights=counts.astype(np.float32),
        )
        after.append((float(model.step(filled)), model.item_vectors()))
    assert after[0][0] == pytest.approx(after[1][0], abs=1e-6)
    np.testing.assert_allclose(after[0][1], after[1][1], atol=1e-6)


def test_item_vectors_have_length_1_before_their_bias(learned: tuple[TwoTowers, list[float]]) -> None:
    model, _ = learned
    vectors = model.item_vectors()
    assert vectors.dtype == np.float32
    assert vectors.shape == (12, 16 + 1)
    np.testing.assert_allclose(np.linalg.norm(vectors[:, :16], axis=1), 1, atol=1e-6)
    table = model.query_tower().variables[-1].numpy()[1:]  # what the query tower reads of the items
    np.testing.assert_allclose(table / np.linalg.norm(table, axis=1, keepdims=True), vectors[:, :16], atol=1e-6)


def test_query_vectors_have_length_1_and_a_1_for_the_bias(learned: tuple[TwoTowers, list[float]]) -> None:
    model, _ = learned
    histories = encode_histories([np.array([], np.int64), np.array([3, 4])], 4)
    vectors = model.query_tower().vectors({"history": histories})
    assert vectors.shape == (2, 16 + 1)
    np.testing.assert_allclose(np.linalg.norm(vectors[:, :16], axis=1), 1, atol=1e-6)
    assert vectors[:, 16].tolist() == [1, 1]


def test_a_bias_raises_an_items_score_by_its_logit_in_units_of_a_score(ring: Make) -> None:
    model = ring(Path()).model
    assert isinstance(model, TwoTowerModel)
    (biases,) = [variable for variable in model.items.variables if variable.name == "biases"]
    biases.assign(np.arange(13, dtype=np.float32)[:, None])  # row 0: of an item whose id is not known
    np.testing.assert_allclose(model.item_vectors()[:, 16], model.temperature * np.arange(1, 13), rtol=1e-5)
    tower = model.item_tower()
    assert tower is not None
    assert tower.vectors({"side": np.array([1])})[0, 16] == 0


def test_new_items_are_placed_by_their_features(learned: tuple[TwoTowers, list[float]]) -> None:
    tower = learned[0].item_tower()
    assert tower is not None
    vectors = tower.vectors({"side": np.array([1, 2, 1])})
    np.testing.assert_allclose(np.linalg.norm(vectors[:, :16], axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(vectors[0], vectors[2], atol=1e-6)
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-3


@pytest.mark.parametrize("negatives", ["full", *SAMPLED])
def test_items_that_training_does_not_see_are_no_negatives(ring: Make, negatives: str) -> None:
    run = ring(Path(), unseen=2, negatives=negatives)
    losses(run)
    biases = run.model.item_vectors()[:, 16]
    assert np.abs(biases[:12]).min() > 0
    assert biases[12:].tolist() == [0, 0]
