from collections.abc import Callable
from itertools import takewhile
from typing import Any

import numpy as np
import pytest

from bascule_training.checkpoint import CheckpointError
from bascule_training.fit import Epoch, Step, fit, validation_quality

Make = Callable[..., Any]


def epochs(ring: Any, *, resume: bool = False) -> list[Epoch]:
    return [event for event in fit(ring.run, ring.config, resume=resume) if isinstance(event, Epoch)]


def stop_after_one_epoch(ring: Any) -> Epoch:
    events = fit(ring.run, ring.config, resume=False)
    epoch = next(event for event in events if isinstance(event, Epoch))
    events.close()  # type: ignore[attr-defined]  # the generator behind the iterator
    return epoch


def quality(ring: Any) -> float:
    return validation_quality(ring.run.model, ring.run.encoder, ring.run.validation)


def test_the_order_of_the_ring_is_learned(ring: Make) -> None:
    made = ring(epochs=25, patience=25)
    assert quality(made) < 0.7
    epochs(made)
    assert quality(made) > 0.95


def test_the_steps_of_an_epoch_see_every_interaction_once(ring: Make) -> None:
    made = ring(epochs=1)
    *steps, epoch = fit(made.run, made.config, resume=False)
    assert all(isinstance(step, Step) for step in steps)
    assert sum(step.examples for step in steps) == 48 * 4
    assert steps[0].loss > 0
    assert isinstance(epoch, Epoch)


@pytest.mark.parametrize("negatives", ["full", 4])
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(ring: Make, negatives: object) -> None:
    whole = ring(epochs=4, negatives=negatives)
    expected = epochs(whole)
    first = stop_after_one_epoch(ring(epochs=4, negatives=negatives))
    resumed = ring(epochs=4, negatives=negatives)
    assert [first, *epochs(resumed, resume=True)] == expected
    np.testing.assert_array_equal(resumed.run.model.item_vectors(), whole.run.model.item_vectors())


def test_a_run_stopped_within_an_epoch_begins_that_epoch_anew(ring: Make) -> None:
    expected = epochs(ring(epochs=2))
    events = fit((stopped := ring(epochs=2)).run, stopped.config, resume=False)
    list(takewhile(lambda event: isinstance(event, Step), events))
    next(events)
    events.close()  # type: ignore[attr-defined]  # the generator behind the iterator
    assert epochs(ring(epochs=2), resume=True) == expected[1:]


def test_a_run_that_was_done_is_not_trained_again(ring: Make) -> None:
    done = ring(epochs=2)
    epochs(done)
    again = ring(epochs=2)
    assert list(fit(again.run, again.config, resume=True)) == []
    np.testing.assert_array_equal(again.run.model.item_vectors(), done.run.model.item_vectors())


def test_without_resume_a_run_begins_anew(ring: Make) -> None:
    first = stop_after_one_epoch(ring(epochs=2))
    assert epochs(ring(epochs=2))[0] == first


def test_the_checkpoint_of_another_run_is_refused(ring: Make) -> None:
    stop_after_one_epoch(ring(epochs=2))
    with pytest.raises(CheckpointError, match="another configuration"):
        epochs(ring(epochs=2, seed=2), resume=True)


def test_a_damaged_checkpoint_is_refused(ring: Make) -> None:
    made = ring(epochs=2)
    made.run.checkpoint.write_bytes(b"PK")
    with pytest.raises(CheckpointError, match="damaged"):
        epochs(made, resume=True)


def test_training_ends_when_it_no_longer_gets_better_with_the_best_epochs_weights(ring: Make) -> None:
    made = ring(epochs=60, patience=3)
    judged: list[Epoch] = []
    vectors = []
    for event in fit(made.run, made.config, resume=False):
        if isinstance(event, Epoch):
            judged.append(event)
            vectors.append(made.run.model.item_vectors())
    best = max(range(len(judged)), key=lambda place: judged[place].quality)
    assert judged[best].is_best
    assert len(judged) == best + 1 + 3 < 60
    np.testing.assert_array_equal(made.run.model.item_vectors(), vectors[best])
    assert np.abs(vectors[best] - vectors[-1]).max() > 0
    assert quality(made) == judged[best].quality
