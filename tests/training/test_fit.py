from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from bascule_training.checkpoint import CheckpointError
from bascule_training.fit import Epoch, Step, fit, validation_quality

Make = Callable[..., Any]


def epochs(ring: Any, *, resume: bool = False) -> list[Epoch]:
    return [event for event in fit(ring.run, ring.config, resume=resume) if isinstance(event, Epoch)]


def quality(ring: Any) -> float:
    return validation_quality(ring.run.model, ring.run.encoder, ring.run.validation)


class Done(NamedTuple):
    """A run that ended by itself."""

    ring: Any
    quality_before: float
    steps: list[Step]
    epochs: list[Epoch]
    vectors: list[Any]
    """Of the items, after each epoch."""


@pytest.fixture(scope="module")
def done(ring: Make, tmp_path_factory: pytest.TempPathFactory) -> Done:
    made = ring(tmp_path_factory.mktemp("done"), epochs=30, patience=3)
    found = Done(made, quality(made), [], [], [])
    for event in fit(made.run, made.config, resume=False):
        if isinstance(event, Step):
            found.steps.append(event)
        else:
            found.epochs.append(event)
            found.vectors.append(made.run.model.item_vectors())
    return found


def test_the_order_of_the_ring_is_learned(done: Done) -> None:
    assert done.quality_before < 0.7
    assert quality(done.ring) > 0.95


def test_every_epoch_sees_every_interaction_once(done: Done) -> None:
    assert sum(step.examples for step in done.steps) == len(done.epochs) * 96 * 4
    assert [epoch.number for epoch in done.epochs] == list(range(1, len(done.epochs) + 1))


def test_some_steps_tell_their_loss(done: Done) -> None:
    told = [step.loss for step in done.steps if step.loss is not None]
    assert 0 < len(told) < len(done.steps)
    assert told[-1] < told[0]


def test_training_ends_when_it_no_longer_gets_better_with_the_best_epochs_weights(done: Done) -> None:
    best = max(range(len(done.epochs)), key=lambda place: done.epochs[place].quality)
    assert done.epochs[best].is_best
    assert len(done.epochs) == best + 1 + 3 < 30
    np.testing.assert_array_equal(done.ring.run.model.item_vectors(), done.vectors[best])
    assert np.abs(done.vectors[best] - done.vectors[-1]).max() > 0
    assert quality(done.ring) == done.epochs[best].quality


def test_a_run_that_was_done_is_not_trained_again(ring: Make, done: Done) -> None:
    again = ring(done.ring.run.checkpoint.parent, epochs=30, patience=3)
    assert list(fit(again.run, again.config, resume=True)) == []
    np.testing.assert_array_equal(again.run.model.item_vectors(), done.ring.run.model.item_vectors())


def test_a_run_that_was_stopped_goes_on_after_its_last_whole_epoch_as_if_it_had_not_been(
    ring: Make, tmp_path: Path
) -> None:
    whole = ring(tmp_path, epochs=4, negatives=64)
    expected = epochs(whole)

    # Without resume it begins anew, though the other left a checkpoint there.
    stopped = ring(tmp_path, epochs=4, negatives=64)
    events = fit(stopped.run, stopped.config, resume=False)
    first = next(event for event in events if isinstance(event, Epoch))
    assert isinstance(next(events), Step)
    events.close()  # type: ignore[attr-defined]  # the generator behind the iterator

    resumed = ring(tmp_path, epochs=4, negatives=64)
    assert [first, *epochs(resumed, resume=True)] == expected
    np.testing.assert_array_equal(resumed.run.model.item_vectors(), whole.run.model.item_vectors())


def test_the_checkpoint_of_another_run_is_refused(ring: Make, done: Done) -> None:
    other = ring(done.ring.run.checkpoint.parent, seed=2)
    with pytest.raises(CheckpointError, match="another configuration"):
        epochs(other, resume=True)


def test_a_damaged_checkpoint_is_refused(ring: Make, tmp_path: Path) -> None:
    made = ring(tmp_path)
    made.run.checkpoint.write_bytes(b"PK")
    with pytest.raises(CheckpointError, match="damaged"):
        epochs(made, resume=True)
