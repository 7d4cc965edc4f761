"""Searches for a better configuration, on the training and the validation part alone.

Optuna's sampler proposes settings of the tower and of its fitting; a trial that is behind the median of the others at
its epoch is stopped. Trials stand in a database, so that a search goes on where it was stopped.
"""

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import optuna

from bascule_training.config import (
    ClosedFormTower,
    FitConfig,
    HistoryBag,
    HistoryTransformer,
    TrainingConfig,
    UserFeatures,
)
from bascule_training.fit import Epoch
from bascule_training.prepared import Prepared
from bascule_training.tables import fingerprint
from bascule_training.trainer import Event, Trainer

HALF_LIVES = (None, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0)
"""The half-lives that are tried where the parts are divided by time, in days."""


class TuneError(Exception):
    """There is nothing to search, or the trials cannot be kept."""


class Trial(NamedTuple):
    """One configuration was tried."""

    number: int
    quality: float | None
    """NDCG@10 on validation; None where it was stopped early."""
    best_quality: float
    settings: dict[str, object]


def tune(
    config: TrainingConfig, prepared: Prepared, trials: int, database: Path, observe: Callable[[Trial], object]
) -> TrainingConfig:
    """The configuration that was best.

    Args:
        config: where the search begins; what is not searched stays as it is.
        prepared: its data.
        trials: how many are to be tried in all, those in the database included.
        database: an SQLite file, made where it is missing.
        observe: told of every trial.

    Raises:
        TuneError: the tower has nothing to search, or the database cannot be used.
    """
    if isinstance(config.tower, ClosedFormTower):
        raise TuneError(f"the tower {config.tower.kind!r} chooses its settings itself; tune one that is trained")
    database.parent.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study(
            storage=f"sqlite:///{database.absolute()}",
            study_name=_identity(config, prepared),
            direction="maximize",
            load_if_exists=True,
            sampler=optuna.samplers.TPESampler(seed=config.seed),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=3),
        )
    except Exception as error:  # SQLAlchemy and Optuna have many
        raise TuneError(f"{database}: cannot keep trials there: {error}") from error
    if not study.trials:
        study.enqueue_trial(_defaults(config))

    def told(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        done = trial.state == optuna.trial.TrialState.COMPLETE
        best = study.best_value if any(each.state == optuna.trial.TrialState.COMPLETE for each in study.trials) else 0.0
        observe(Trial(trial.number, trial.value if done else None, best, dict(trial.params)))

    left = trials - sum(trial.state.is_finished() for trial in study.trials)
    if left > 0:
        study.optimize(
            lambda trial: _quality(_proposed(config, trial), prepared, trial), n_trials=left, callbacks=[told]
        )
    return _proposed(config, optuna.trial.FixedTrial(study.best_params))


def _identity(config: TrainingConfig, prepared: Prepared) -> str:
    """Differs where trials cannot be compared."""
    text = config.model_dump_json() + fingerprint(prepared.dataset.interactions)
    return f"{config.model} {hashlib.sha256(text.encode()).hexdigest()[:16]}"


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


def _defaults(config: TrainingConfig) -> dict[str, object]:
    """The configuration as it is, to be tried first."""
    tower, fit = config.tower, config.fit
    if isinstance(tower, ClosedFormTower):
        return {}
    found: dict[str, object] = {
        "fit.learning_rate": fit.learning_rate or tower.default_learning_rate,
        "fit.rows_per_batch": fit.rows_per_batch or tower.default_rows_per_batch,
    }
    if isinstance(tower, HistoryTransformer | HistoryBag | UserFeatures):
        found |= {f"tower.{name}": getattr(tower, name) for name in ("dimension", "dropout", "temperature")}
    if config.data.split.kind == "global_time":
        found["fit.half_life_days"] = fit.half_life_days
    return found


def _proposed(config: TrainingConfig, trial: optuna.Trial | optuna.trial.FixedTrial) -> TrainingConfig:
    """The configuration with the settings of a trial."""
    tower = config.tower
    rate = 1e-2 if isinstance(tower, HistoryBag) else 3e-3
    fit: dict[str, object] = {
        "learning_rate": trial.suggest_float("fit.learning_rate", rate / 10, rate * 3, log=True),
        "rows_per_batch": trial.suggest_categorical("fit.rows_per_batch", (16, 32, 64, 128)),
    }
    if config.data.split.kind == "global_time":
        fit["half_life_days"] = trial.suggest_categorical("fit.half_life_days", HALF_LIVES)
    update: dict[str, object] = {"fit": FitConfig.model_validate(config.fit.model_dump() | fit)}
    if isinstance(tower, HistoryTransformer | HistoryBag | UserFeatures):
        changed = {
            "dimension": trial.suggest_categorical("tower.dimension", (32, 64, 128, 256)),
            "dropout": trial.suggest_float("tower.dropout", 0.0, 0.8),
            "temperature": trial.suggest_float("tower.temperature", 0.01, 0.2, log=True),
        }
        update["tower"] = tower.model_copy(update=changed)
    return config.model_copy(update=update)
