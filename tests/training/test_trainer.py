"""The towers of a configuration, trained on walks around a ring, where the order tells everything."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from bascule_training.config import TrainingConfig, load_config
from bascule_training.fitting.fit import Epoch, Step
from bascule_training.prepared import prepare
from bascule_training.trainer import Event, Fitted, Stage, Trainer

CONFIG = """
model = "ring"
[data]
interactions = "{name}.parquet"
[query]
history_length = 4
[tower]
dimension = 16
dropout = 0.05
[fit]
epochs = 4
rows_per_batch = 4
learning_rate = 3e-2
negative_count = 64
"""
AGAIN = "fitting tower 1 again, on the validation part too"
ITEMS, USERS, STEPS = 20, 100, 6


def write(folder: Path, name: str, at_validation: str | None) -> Path:
    """Everybody walks a ring of items from six steps: four to train on, one to validate and one to test with.

    ``at_validation`` is what everybody has instead of their fifth step.
    """
    rows = [
        (f"u{user}", at_validation if at_validation and step == STEPS - 2 else str((user + step) % ITEMS), step)
        for step in range(STEPS)
        for user in range(USERS)
    ]
    pl.DataFrame(rows, ["user_id", "item_id", "time"], orient="row").write_parquet(folder / f"{name}.parquet")
    path = folder / f"{name}.toml"
    path.write_text(CONFIG.format(name=name))
    return path


@pytest.fixture(scope="module")
def ring_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("ring"), "ring", None)


def fitted(
    config: TrainingConfig,
    checkpoints: Path,
    *,
    resume: bool = False,
    observe: Callable[[Event], None] = lambda _: None,
) -> Fitted:
    return Trainer(config, prepare(config), checkpoints, resume=resume, observe=observe).fit()


def quality(config: TrainingConfig, checkpoints: Path) -> float:
    return prepare(config).validation.quality(fitted(config, checkpoints).model)


@pytest.mark.parametrize(
    "settings",
    [
        ["fit.negatives=mixed"],
        ["fit.negatives=mixed", "fit.correction=refined"],
        ["fit.negatives=in_batch", "fit.correction=none"],
        ["fit.loss=gbce", "fit.negatives=uniform", "fit.negative_count=16"],
        ["fit.loss=contrastive"],
    ],
    ids=" ".join,
)
def test_every_loss_over_sampled_negatives_learns(ring_config: Path, tmp_path: Path, settings: list[str]) -> None:
    # By chance it is 0.3.
    assert quality(load_config(ring_config, ["fit.refit=false", "fit.epochs=10", *settings]), tmp_path) > 0.7


def test_a_small_catalogue_is_learned_whole_unless_told_otherwise(ring_config: Path, tmp_path: Path) -> None:
    quick = ["fit.epochs=1", "fit.refit=false", "fit.rows_per_batch=50"]
    auto, full, mixed = (
        fitted(load_config(ring_config, [*quick, f"fit.negatives={negatives}"]), tmp_path / negatives).curves[0]
        for negatives in ("auto", "full", "mixed")
    )
    assert auto == full != mixed


def test_the_published_model_has_seen_the_validation_part_for_as_many_epochs_as_were_best(
    tmp_path: Path,
) -> None:
    path = write(tmp_path, "late", "late")  # an item that is in the validation part alone
    events: list[Event] = []
    config = load_config(path)
    prepared = prepare(config)
    again = Trainer(config, prepared, tmp_path / "again", resume=False, observe=events.append).fit()
    assert prepared.validation.quality(again.model) > 0.5
    first = fitted(load_config(path, ["fit.refit=false"]), tmp_path / "first")
    assert prepared.validation.quality(first.model) < 0.2
    assert first.curves == again.curves  # they are of the first time

    qualities = [quality for _, quality in again.curves[0]]
    best = 1 + qualities.index(max(qualities))
    stages = [event for event in events if isinstance(event, Stage)]
    assert [(stage.title, stage.examples) for stage in stages] == [
        ("fitting tower 1", 4 * USERS * (STEPS - 2)),
        ("solving for popularity", 0),
        (AGAIN, best * USERS * (STEPS - 1)),
    ]
    after = events[events.index(stages[-1]) :]
    assert [event.number for event in after if isinstance(event, Epoch)] == list(range(1, best + 1))
    assert sum(event.examples for event in after if isinstance(event, Step)) == stages[-1].examples


@pytest.mark.parametrize("stops_again", [False, True], ids=["the first time", "again"])
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(
    ring_config: Path, tmp_path: Path, stops_again: bool
) -> None:
    config = load_config(ring_config, ["fit.epochs=3"])
    whole = fitted(config, tmp_path / "whole")
    state = {"again": False, "epochs": 0}

    def stop(event: Event) -> None:
        """In the middle of the second epoch of a stage."""
        if isinstance(event, Stage):
            state.update(again=event.title == AGAIN, epochs=0)
        elif isinstance(event, Epoch):
            state["epochs"] += 1
        elif state == {"again": stops_again, "epochs": 1}:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fitted(config, tmp_path / "stopped", observe=stop)
    events: list[Event] = []
    resumed = fitted(config, tmp_path / "stopped", resume=True, observe=events.append)
    np.testing.assert_array_equal(resumed.model.item_vectors(), whole.model.item_vectors())
    assert resumed.curves == whole.curves
    places = [place for place, event in enumerate(events) if isinstance(event, Stage)]
    begin = places[1] if stops_again else places[0]
    # What was done is not done again.
    assert [event for event in events[:begin] if isinstance(event, Step)] == []
    assert next(event.number for event in events[begin:] if isinstance(event, Epoch)) == 2


def test_copies_and_what_is_solved_for_stand_side_by_side(ring_config: Path, tmp_path: Path) -> None:
    quick = ["fit.epochs=1", "tower.copies=2"]
    alone, beside = (
        fitted(load_config(ring_config, [*quick, *more]), tmp_path / str(len(more)))
        for more in ([], ["tower.beside=['ease']"])
    )
    one, other = np.split(alone.model.item_vectors(), 2, axis=1)
    assert one.shape == (ITEMS, 17)
    assert np.abs(one - other).max() > 1e-3
    assert len(alone.curves) == 2
    np.testing.assert_array_equal(beside.model.item_vectors()[:, :34], alone.model.item_vectors())
