"""Searches for a better configuration, on the training and the validation part alone.

Optuna's sampler proposes settings of the tower and of its fitting; a trial that is behind the median of the others at
its epoch is stopped. Trials stand in a database, so that a search goes on where it was stopped.
"""

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import optuna

from bascule_training.config import (
    ClosedFormTower,
    FitConfig,
    HistoryBag,
    HistoryTransformer,
    TrainingConfig,
    UserFeatures,
)
from bascule_training.data.tables import fingerprint
from bascule_training.fitting.fit import Epoch
from bascule_training.prepared import Prepared
from bascule_training.trainer import Event, Trainer

HALF_LIVES = (None, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0)
"""The half-lives that are tried where the parts are divided by time, in days."""


class TuneError(Exception):
    """There is nothing to search, or the trials cannot be kept."""


class Trial(NamedTuple):
    """One configuration was tried."""

    number: int
    """From 1, the trials of earlier calls included."""
    quality: float | None
    """NDCG@10 on validation; None where it was stopped early."""
    best_quality: float
    """Of all trials so far."""
    settings: dict[str, object]


_DONE = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
"""What counts as tried: neither a trial that was interrupted nor one whose process was killed."""


def tune(
    config: TrainingConfig, prepared: Prepared, trials: int, database: Path, observe: Callable[[Trial], object]
) -> TrainingConfig:
    """The configuration that was best.

    Args:
        config: where the search begins; what is not searched stays as it is.
        prepared: its data.
        trials: how many are to be tried in all, those in the database included; at least 1.
        database: an SQLite file, made where it is missing.
        observe: told of every trial.

    Raises:
        TuneError: the tower has nothing to search, or the database cannot be used.
    """
    if isinstance(config.tower, ClosedFormTower):
        raise TuneError(f"the tower {config.tower.kind!r} chooses its settings itself; tune one that is trained")
    study = _study(database, _identity(config, prepared))
    done = study.get_trials(deepcopy=False, states=_DONE)
    # A seed of its own for every call: with that of the last one the same random settings would be proposed again.
    study.sampler = optuna.samplers.TPESampler(seed=config.seed + len(done))

    def told(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        tried = study.get_trials(deepcopy=False, states=_DONE)
        quality = trial.value if trial.state == optuna.trial.TrialState.COMPLETE else None
        observe(Trial(len(tried), quality, study.best_value, dict(trial.params)))

    try:
        if not done and not study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.WAITING,)):
            study.enqueue_trial(_own_settings(config))
        if len(done) < trials:
            study.optimize(
                lambda trial: _quality(_proposed(config, trial), prepared, trial),
                n_trials=trials - len(done),
                callbacks=[told],
            )
        return _proposed(config, optuna.trial.FixedTrial(study.best_params))
    except optuna.exceptions.StorageInternalError as error:
        raise _unusable(database, error) from error


def _study(database: Path, name: str) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        return optuna.create_study(
            storage=f"sqlite:///{database.absolute()}",
            study_name=name,
            direction="maximize",
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=3),
        )
    except Exception as error:  # SQLAlchemy and Optuna have many
        raise _unusable(database, error) from error


def _unusable(database: Path, error: Exception) -> TuneError:
    reason = str(error.__cause__ or error).partition("\n")[0]  # the other lines of SQLAlchemy's are advertisements
    return TuneError(f"{database}: cannot keep trials there: {reason}; expected an SQLite file, or a place for one")


def _identity(config: TrainingConfig, prepared: Prepared) -> str:
    """Differs where trials cannot be compared; the test part, which is not looked at, makes no difference."""
    dataset = prepared.dataset
    digest = hashlib.sha256(config.model_dump_json(exclude={"data": {"interactions", "users", "items"}}).encode())
    for part in (dataset.splits.train, dataset.splits.validation):
        digest.update(fingerprint(part).encode())
    for table in (dataset.items, dataset.users):
        digest.update(table.write_ndjson().encode())
    return f"{config.model} {digest.hexdigest()[:16]}"


def _quality(config: TrainingConfig, prepared: Prepared, trial: optuna.Trial) -> float:
    """NDCG@10 on validation of one tower, trained on the training part."""
    best = 0.0

    def watch(event: Event) -> None:
        nonlocal best
        if isinstance(event, Epoch) and event.quality is not None:
            best = max(best, event.quality)
            trial.report(best, event.number)
            if trial.should_prune():
                raise optuna.TrialPruned

    alone: dict[str, object] = {"fit": config.fit.model_copy(update={"refit": False})}
    if isinstance(config.tower, HistoryTransformer | HistoryBag | UserFeatures):
        alone["tower"] = config.tower.model_copy(update={"copies": 1, "beside": ()})
    with tempfile.TemporaryDirectory() as folder:
        Trainer(config.model_copy(update=alone), prepared, Path(folder), resume=False, observe=watch).fit()
    return best


def _own_settings(config: TrainingConfig) -> dict[str, Any]:
    """What the configuration itself has for the settings that are searched."""
    tower, fit = config.tower, config.fit
    if isinstance(tower, ClosedFormTower):
        return {}
    own: dict[str, Any] = {
        "fit.learning_rate": fit.learning_rate or tower.default_learning_rate,
        "fit.rows_per_batch": fit.rows_per_batch or tower.default_rows_per_batch,
    }
    if isinstance(tower, HistoryTransformer | HistoryBag | UserFeatures):
        own |= {f"tower.{name}": getattr(tower, name) for name in ("dimension", "dropout", "temperature")}
    if config.data.split.kind == "global_time":
        own["fit.half_life_days"] = fit.half_life_days
    return own


def _proposed(config: TrainingConfig, trial: optuna.Trial | optuna.trial.FixedTrial) -> TrainingConfig:
    """The configuration with the settings of a trial. The ranges are widened to what the configuration has itself."""
    own = _own_settings(config)

    def between(name: str, low: float, high: float, *, log: bool = False) -> float:
        return trial.suggest_float(name, min(low, own[name]), max(high, own[name]), log=log)

    def one_of(name: str, *choices: float | None) -> object:
        return trial.suggest_categorical(name, choices if own[name] in choices else (*choices, own[name]))

    tower = config.tower
    rate = 1e-2 if isinstance(tower, HistoryBag) else 3e-3
    fit: dict[str, object] = {
        "learning_rate": between("fit.learning_rate", rate / 10, rate * 3, log=True),
        "rows_per_batch": one_of("fit.rows_per_batch", 16, 32, 64, 128),
    }
    if config.data.split.kind == "global_time":
        fit["half_life_days"] = one_of("fit.half_life_days", *HALF_LIVES)
    update: dict[str, object] = {"fit": FitConfig.model_validate(config.fit.model_dump() | fit)}
    if isinstance(tower, HistoryTransformer | HistoryBag | UserFeatures):
        changed = {
            "dimension": one_of("tower.dimension", 32, 64, 128, 256),
            "dropout": between("tower.dropout", 0.0, 0.8),
            "temperature": between("tower.temperature", 0.01, 0.2, log=True),
        }
        update["tower"] = tower.model_copy(update=changed)
    return config.model_copy(update=update)
