from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from bascule_training.fitting.checkpoint import CheckpointError, Progress
from bascule_training.fitting.fit import Epoch, Run, Step, fit

Make = Callable[..., Run]


class Done(NamedTuple):
    """A run that ended by itself."""

    run: Run
    quality_before: float
    steps: list[Step]
    epochs: list[Epoch]
    vectors: list[NDArray[np.float32]]
    """Of the items, after each epoch."""
    progress: Progress


def finish(run: Run, *, resume: bool = False) -> Done:
    def watched() -> Iterator[Step | Epoch]:
        progress = yield from fit(run, resume=resume)
        ended.append(progress)

    ended, steps, epochs, vectors = list[Progress](), list[Step](), list[Epoch](), list[NDArray[np.float32]]()
    before = quality(run)
    for event in watched():
        if isinstance(event, Step):
            steps.append(event)
        else:
            epochs.append(event)
            vectors.append(run.model.item_vectors())
    return Done(run, before, steps, epochs, vectors, ended[0])


def quality(run: Run) -> float:
    return run.validation.quality(run.model) if run.validation else np.nan


@pytest.fixture(scope="module")
def done(ring: Make, tmp_path_factory: pytest.TempPathFactory) -> Done:
    return finish(ring(tmp_path_factory.mktemp("done"), epochs=30, patience=3))


def test_the_order_of_the_ring_is_learned(done: Done) -> None:
    assert done.quality_before < 0.7
    assert quality(done.run) > 0.95


def test_every_epoch_sees_every_interaction_once(done: Done) -> None:
    assert sum(step.examples for step in done.steps) == len(done.epochs) * 96 * 4
    assert [epoch.number for epoch in done.epochs] == list(range(1, len(done.epochs) + 1))


def test_some_steps_tell_their_loss(done: Done) -> None:
    told = [step.loss for step in done.steps if step.loss is not None]
    assert 0 < len(told) < len(done.steps)
    assert told[-1] < told[0]


def test_training_ends_when_it_no_longer_gets_better_with_the_best_epochs_weights(done: Done) -> None:
    qualities = [epoch.quality or 0.0 for epoch in done.epochs]
    best = qualities.index(max(qualities))
    assert len(done.epochs) == best + 1 + 3 < 30
    np.testing.assert_array_equal(done.run.model.item_vectors(), done.vectors[best])
    assert np.abs(done.vectors[best] - done.vectors[-1]).max() > 0
    assert quality(done.run) == qualities[best]


def test_what_came_of_it_is_returned(done: Done) -> None:
    assert list(done.progress.curve) == [(epoch.loss, epoch.quality) for epoch in done.epochs]
    assert done.progress.best_quality == done.epochs[done.progress.best_epoch - 1].quality == quality(done.run)
    assert done.epochs[0].loss > done.epochs[-1].loss


def test_a_run_that_was_done_is_not_trained_again(ring: Make, done: Done) -> None:
    again = finish(ring(done.run.checkpoint.parent, epochs=30, patience=3), resume=True)
    assert (again.steps, again.epochs) == ([], [])
    assert again.progress.curve == done.progress.curve
    assert again.progress.best_epoch == done.progress.best_epoch
    np.testing.assert_array_equal(again.run.model.item_vectors(), done.run.model.item_vectors())


def test_without_validation_every_epoch_is_trained_and_the_last_one_counts(ring: Make, tmp_path: Path) -> None:
    blind = finish(ring(tmp_path, epochs=4, patience=1)._replace(validation=None))
    assert [epoch.quality for epoch in blind.epochs] == [None] * 4
    assert blind.progress.best_epoch == 4
    np.testing.assert_array_equal(blind.run.model.item_vectors(), blind.vectors[-1])


@pytest.mark.parametrize("negatives", ["full", "mixed"])
def test_a_run_that_was_stopped_goes_on_after_its_last_whole_epoch_as_if_it_had_not_been(
    ring: Make, tmp_path: Path, negatives: str
) -> None:
    whole = finish(ring(tmp_path, epochs=3, negatives=negatives))

    # Without resume it begins anew, though the other left a checkpoint there.
    stopped = ring(tmp_path, epochs=3, negatives=negatives)
    events = fit(stopped, resume=False)
    first = next(event for event in events if isinstance(event, Epoch))
    assert isinstance(next(events), Step)
    events.close()

    resumed = finish(ring(tmp_path, epochs=3, negatives=negatives), resume=True)
    assert [first, *resumed.epochs] == whole.epochs
    np.testing.assert_array_equal(resumed.run.model.item_vectors(), whole.run.model.item_vectors())


def test_the_checkpoint_of_another_run_is_refused(ring: Make, done: Done) -> None:
    with pytest.raises(CheckpointError, match="another configuration"):
        finish(ring(done.run.checkpoint.parent, seed=2), resume=True)


def test_a_damaged_checkpoint_is_refused(ring: Make, tmp_path: Path) -> None:
    run = ring(tmp_path)
    run.checkpoint.write_bytes(b"PK")
    with pytest.raises(CheckpointError, match="damaged"):
        finish(run, resume=True)
