from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from bascule_training.fitting.row_adam import RowAdam

RATE, STEPS = 0.1, 20


def adam(*weights: Any, steps: int = STEPS) -> RowAdam:
    optimiser = RowAdam(RATE, steps)
    optimiser.build(weights)
    return optimiser


def table(rows: int = 4) -> Any:
    """A Keras variable [rows, 2]: 0, 1, 2, ..."""
    return keras.Variable(np.arange(2.0 * rows).reshape(rows, 2), dtype="float32")


def rows(indices: Sequence[int], values: Any) -> tf.IndexedSlices:
    return tf.IndexedSlices(tf.constant(values, tf.float32), tf.constant(indices))


def random_gradients(count: int) -> list[NDArray[np.float32]]:
    random = np.random.default_rng(1)
    return [random.normal(size=(4, 2)).astype(np.float32) for _ in range(count)]


def test_the_first_step_goes_by_the_rate_against_the_sign() -> None:
    weight = keras.Variable([1.0, 1.0, 1.0], dtype="float32")
    adam(weight).apply([tf.constant([0.001, -7.0, 0.0])], [weight])
    np.testing.assert_allclose(weight.numpy(), [0.9, 1.1, 1.0], rtol=1e-4)


def test_dense_gradients_give_adam() -> None:
    ours, theirs = table(), table()
    optimiser = adam(ours)
    schedule = keras.optimizers.schedules.CosineDecay(RATE, STEPS)
    reference = keras.optimizers.Adam(schedule, beta_1=0.9, beta_2=0.98, epsilon=1e-8)
    for gradient in random_gradients(5):
        optimiser.apply([tf.constant(gradient)], [ours])
        reference.apply([tf.constant(gradient)], [theirs])
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-6, atol=1e-6)


def test_sparse_gradients_of_every_row_give_the_same_as_dense_ones() -> None:
    sparse, dense = table(), table()
    by_rows, whole = adam(sparse), adam(dense)
    order = [2, 0, 3, 1]
    for gradient in random_gradients(5):
        by_rows.apply([rows(order, gradient[order])], [sparse])
        whole.apply([tf.constant(gradient)], [dense])
    np.testing.assert_allclose(sparse.numpy(), dense.numpy(), rtol=1e-6, atol=1e-6)
    for one, other in zip(by_rows.variables[-2:], whole.variables[-2:], strict=True):  # the moments
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-6, atol=1e-7)


def test_rows_that_a_step_did_not_use_do_not_change_by_a_bit() -> None:
    weight = table()
    optimiser = adam(weight)
    optimiser.apply([rows([0, 1, 2, 3], np.ones((4, 2)))], [weight])
    before = [variable.numpy() for variable in (weight, *optimiser.variables[1:])]
    optimiser.apply([rows([2], [[1.0, 1.0]])], [weight])
    for old, variable in zip(before, (weight, *optimiser.variables[1:]), strict=True):
        new = variable.numpy()
        np.testing.assert_array_equal(new[[0, 1, 3]], old[[0, 1, 3]])
        assert np.all(new[2] != old[2])


def test_a_row_that_is_used_now_and_then_goes_as_far_as_by_adam() -> None:
    ours, theirs = table(), table()
    # The rate is as good as constant, and a use every 40 steps lets all moves of Adam fade in between.
    by_rows, whole = adam(ours, steps=10**9), adam(theirs, steps=10**9)
    for step in range(1, 401):
        gradient = np.zeros((4, 2), np.float32)
        if step % 40 == 0:
            gradient[1] = [1.0, -2.0]
        whole.apply([tf.constant(gradient)], [theirs])
        by_rows.apply([rows([1], gradient[[1]]) if step % 40 == 0 else rows([0], [[0.0, 0.0]])], [ours])
    moved = [weight.numpy()[1] - table().numpy()[1] for weight in (ours, theirs)]
    np.testing.assert_allclose(moved[0], moved[1], rtol=0.1)
    np.testing.assert_array_equal(ours.numpy()[[0, 2, 3]], table().numpy()[[0, 2, 3]])


def test_moments_fade_as_those_of_adam() -> None:
    ours, theirs = table(), table()
    by_rows, whole = adam(ours), adam(theirs)
    random = np.random.default_rng(1)
    for used in ([0, 1, 2, 3], [2], [1, 2], [2], [0, 1, 2, 3]):
        gradient = np.zeros((4, 2), np.float32)
        gradient[used] = random.normal(size=(len(used), 2))
        by_rows.apply([rows(used, gradient[used])], [ours])
        whole.apply([tf.constant(gradient)], [theirs])
    for one, other in zip(by_rows.variables[-2:], whole.variables[-2:], strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-5, atol=1e-7)


def test_a_row_used_twice_gets_the_sum_of_its_gradients() -> None:
    repeated, summed = table(), table()
    adam(repeated).apply([rows([1, 3, 1], [[1.0, -2.0], [5.0, 5.0], [2.0, 3.0]])], [repeated])
    adam(summed).apply([rows([1, 3], [[3.0, 1.0], [5.0, 5.0]])], [summed])
    np.testing.assert_array_equal(repeated.numpy(), summed.numpy())


def test_a_weight_without_gradient_stays() -> None:
    weight, other = table(), table()
    adam(weight, other).apply([None, tf.ones((4, 2))], [weight, other])
    np.testing.assert_array_equal(weight.numpy(), table().numpy())


def test_after_the_last_step_nothing_moves() -> None:
    weight = table()
    optimiser = adam(weight, steps=2)
    moved = []
    for _ in range(4):
        before = weight.numpy()
        optimiser.apply([tf.ones((4, 2))], [weight])
        moved.append(before - weight.numpy())
    # With a gradient that is always 1 a step is the rate: all of it, half at half of the steps, then none.
    np.testing.assert_allclose([step[0, 0] for step in moved], [RATE, RATE / 2, 0, 0], rtol=1e-4)


def test_another_number_of_gradients_than_weights_is_an_error() -> None:
    weight = table()
    with pytest.raises(ValueError, match="zip"):
        adam(weight).apply([], [weight])


def trained(weights: Sequence[Any], optimiser: RowAdam) -> Callable[[tf.Tensor], tf.Tensor]:
    """A step that is traced: from the table, the rows given are read twice; the other weight is read whole."""

    @tf.function  # type: ignore[untyped-decorator]
    def step(indices: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            read = tf.gather(weights[0].value, indices) + tf.gather(weights[0].value, indices[::-1])
            loss = tf.reduce_sum(tf.square(tf.matmul(read, weights[1].value)))
        gradients = tape.gradient(loss, [weight.value for weight in weights])
        assert isinstance(gradients[0], tf.IndexedSlices)
        optimiser.apply(gradients, weights)
        return loss

    checked: Callable[[tf.Tensor], tf.Tensor] = step
    return checked


def test_what_is_gathered_from_a_value_is_updated_by_rows_in_a_traced_step() -> None:
    weights = [table(6), keras.Variable([[1.0], [-1.0]], dtype="float32")]
    step = trained(weights, adam(*weights))
    losses = [float(step(tf.constant([1, 4, 1]))) for _ in range(5)]
    assert losses[-1] < losses[0]
    assert step.experimental_get_tracing_count() == 1  # type: ignore[attr-defined]
    np.testing.assert_array_equal(weights[0].numpy()[[0, 2, 3, 5]], table(6).numpy()[[0, 2, 3, 5]])


def test_a_run_that_goes_on_from_its_variables_ends_where_it_would_have() -> None:
    batches = [tf.constant(batch) for batch in ([0, 1], [1, 2], [3, 3], [2, 0])]

    def fresh() -> tuple[list[Any], RowAdam]:
        weights = [table(), keras.Variable([[1.0], [-1.0]], dtype="float32")]
        return weights, adam(*weights)

    weights, optimiser = fresh()
    step = trained(weights, optimiser)
    for batch in batches[:2]:
        step(batch)
    saved = [variable.numpy() for variable in (*weights, *optimiser.variables)]
    for batch in batches[2:]:
        step(batch)

    resumed, restored = fresh()
    for variable, value in zip((*resumed, *restored.variables), saved, strict=True):
        variable.assign(value)
    step = trained(resumed, restored)
    for batch in batches[2:]:
        step(batch)
    for one, other in zip((*weights, *optimiser.variables), (*resumed, *restored.variables), strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


@pytest.fixture
def determinism() -> Any:
    keras.utils.set_random_seed(1)
    tf.config.experimental.enable_op_determinism()


@pytest.mark.usefixtures("determinism")
def test_two_runs_are_equal_to_the_bit_where_operations_are_deterministic() -> None:
    def run() -> NDArray[np.float32]:
        weights = [
            keras.Variable(np.sin(np.arange(400.0)).reshape(200, 2), dtype="float32"),
            keras.Variable([[0.3], [-0.7]]),
        ]
        step = trained(weights, adam(*weights))
        random = np.random.default_rng(1)
        for _ in range(5):
            step(tf.constant(random.integers(0, 200, 1_000)))
        found: NDArray[np.float32] = weights[0].numpy()
        return found

    np.testing.assert_array_equal(run(), run())
