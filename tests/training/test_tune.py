"""Real searches over a small tower on a small generated log."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import optuna
import polars as pl
import pytest

from bascule_training.config import HistoryBag, TrainingConfig, load_config
from bascule_training.config_text import config_text
from bascule_training.data.generate import generate, write
from bascule_training.prepared import prepare
from bascule_training.trainer import Trainer
from bascule_training.tune import Trial, TuneError, tune

CONFIG = """
model = "films"
[data]
interactions = "interactions.parquet"
[query]
history_length = 5
[tower]
kind = "history_bag"
dimension = 4
dropout = 0.25
temperature = 0.5
[fit]
epochs = 2
rows_per_batch = 24
learning_rate = 0.125
"""
"""Each setting but dropout lies outside of the range that is searched."""

OWN = {
    "fit.learning_rate": 0.125,
    "fit.rows_per_batch": 24,
    "tower.dimension": 4,
    "tower.dropout": 0.25,
    "tower.temperature": 0.5,
}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration beside its data."""
    folder = tmp_path_factory.mktemp("films")
    write(generate(users=40, items=30, interactions=400), folder)
    path = folder / "films.toml"
    path.write_text(CONFIG)
    return path


@pytest.fixture(scope="module")
def config(path: Path) -> TrainingConfig:
    return load_config(path)


def search(config: TrainingConfig, trials: int, database: Path) -> tuple[list[Trial], TrainingConfig]:
    """What was tried, and the best."""
    tried: list[Trial] = []
    best = tune(config, prepare(config), trials, database, tried.append)
    return tried, best


class Searched(NamedTuple):
    """A search that was called twice: for two trials in all, and then for four."""

    first: list[Trial]
    then: list[Trial]
    best: TrainingConfig
    database: Path

    @property
    def tried(self) -> list[Trial]:
        return self.first + self.then

    @property
    def study(self) -> optuna.Study:
        """What stands in the database."""
        return study(self.database)


def study(database: Path) -> optuna.Study:
    (name,) = optuna.get_all_study_names(f"sqlite:///{database}")
    return optuna.load_study(study_name=name, storage=f"sqlite:///{database}")


@pytest.fixture(scope="module")
def searched(config: TrainingConfig, tmp_path_factory: pytest.TempPathFactory) -> Searched:
    database = tmp_path_factory.mktemp("search") / "films.best.trials"
    first, _ = search(config, 2, database)
    then, best = search(config, 4, database)
    return Searched(first, then, best, database)


def test_the_first_trial_is_the_configuration_as_it_is(
    searched: Searched, config: TrainingConfig, tmp_path: Path
) -> None:
    first = searched.first[0]
    assert first.settings == OWN
    alone = config.model_copy(update={"fit": config.fit.model_copy(update={"refit": False})})
    fitted = Trainer(alone, prepare(alone), tmp_path, resume=False, observe=lambda _: None).fit()
    assert first.quality == max(quality for _, quality in fitted.curves[0])


def test_the_others_try_something_else(searched: Searched) -> None:
    for trial in searched.tried[1:]:
        assert set(trial.settings) == set(OWN)
        assert trial.settings["fit.learning_rate"] != OWN["fit.learning_rate"]


def test_a_search_goes_on_where_it_was_stopped(searched: Searched) -> None:
    assert [trial.number for trial in searched.first] == [1, 2]
    assert [trial.number for trial in searched.then] == [3, 4]
    assert len(searched.study.trials) == 4


def test_no_settings_are_tried_twice(searched: Searched) -> None:
    assert len({tuple(trial.settings.items()) for trial in searched.tried}) == 4


def test_the_best_so_far_is_told(searched: Searched) -> None:
    qualities = [trial.quality for trial in searched.tried if trial.quality is not None]
    assert len(qualities) == 4
    assert [trial.best_quality for trial in searched.tried] == [max(qualities[: count + 1]) for count in range(4)]


def test_what_comes_out_has_the_settings_of_the_best_trial_and_all_else_as_it_was(
    searched: Searched, config: TrainingConfig
) -> None:
    best = max(searched.tried, key=lambda trial: trial.quality or 0.0).settings
    assert isinstance(config.tower, HistoryBag)
    tower = {name: best[f"tower.{name}"] for name in ("dimension", "dropout", "temperature")}
    fit = {name: best[f"fit.{name}"] for name in ("learning_rate", "rows_per_batch")}
    assert searched.best == config.model_copy(
        update={"tower": config.tower.model_copy(update=tower), "fit": config.fit.model_copy(update=fit)}
    )


def test_what_comes_out_can_be_written_and_read_again(searched: Searched, tmp_path: Path) -> None:
    path = tmp_path / "best.toml"
    path.write_text(config_text(searched.best))
    assert load_config(path) == searched.best


def test_a_search_that_is_done_tries_nothing_more(searched: Searched, config: TrainingConfig) -> None:
    assert search(config, 3, searched.database) == ([], searched.best)


def with_other_last_items(path: Path, folder: Path) -> TrainingConfig:
    """The configuration and its data in another folder, where everybody's last interaction is with another item."""
    shutil.copytree(path.parent, folder, dirs_exist_ok=True)
    table = folder / "interactions.parquet"
    is_last = pl.int_range(pl.len()).over("user_id") == pl.len().over("user_id") - 1
    log = pl.read_parquet(table).sort("time", maintain_order=True)
    changed = pl.concat([log.filter(~is_last), log.filter(is_last).with_columns(pl.col("item_id").reverse())]).sort(
        "time", maintain_order=True
    )
    assert not changed.equals(log)
    changed.write_parquet(table)
    return load_config(folder / path.name)


def test_the_test_part_is_not_looked_at(searched: Searched, path: Path, tmp_path: Path) -> None:
    other = with_other_last_items(path, tmp_path)
    tried, _ = search(other, 2, tmp_path / "other.trials")
    assert [(trial.quality, trial.settings) for trial in tried] == [
        (trial.quality, trial.settings) for trial in searched.first
    ]
    # Nor does it tell searches apart.
    assert search(other, 4, searched.database)[0] == []


@pytest.mark.parametrize(
    "changed",
    [{"seed": 2}, {"query": {"history_length": 4}}],
    ids=["seed", "history"],
)
def test_trials_of_another_configuration_do_not_count(
    searched: Searched, config: TrainingConfig, tmp_path: Path, changed: dict[str, object]
) -> None:
    database = shutil.copyfile(searched.database, tmp_path / "copy.trials")
    other = TrainingConfig.model_validate(config.model_dump() | changed)
    tried, _ = search(other, 1, database)
    assert [(trial.number, trial.settings) for trial in tried] == [(1, OWN)]


def killed(study: optuna.Study) -> None:
    """What a killed process leaves: a trial that runs for ever."""
    study.ask()


def interrupted(study: optuna.Study) -> None:
    """What Ctrl-C leaves: a trial that failed."""
    study.tell(study.ask(), state=optuna.trial.TrialState.FAIL)


@pytest.mark.parametrize("stop", [killed, interrupted])
def test_a_trial_that_did_not_end_does_not_count(
    searched: Searched, config: TrainingConfig, tmp_path: Path, stop: Callable[[optuna.Study], None]
) -> None:
    database = tmp_path / "films.trials"
    stop(optuna.create_study(study_name=searched.study.study_name, storage=f"sqlite:///{database}"))
    tried, _ = search(config, 1, database)
    assert [(trial.number, trial.settings) for trial in tried] == [(1, OWN)]


def test_a_trial_far_behind_is_stopped_early_and_told_as_such(path: Path, tmp_path: Path) -> None:
    config, database = load_config(path, ["fit.epochs=5"]), tmp_path / "films.trials"
    ((own,), _) = search(config, 1, database)
    # Five more that were perfect from the first epoch on.
    perfect = optuna.create_trial(
        value=1.0,
        params=own.settings,
        distributions=study(database).trials[0].distributions,
        intermediate_values=dict.fromkeys(range(1, 6), 1.0),
    )
    study(database).add_trials([perfect] * 5)
    ((behind,), best) = search(config, 7, database)
    assert (behind.number, behind.quality, behind.best_quality) == (7, None, 1.0)
    trial = study(database).trials[-1]
    assert trial.state == optuna.trial.TrialState.PRUNED
    assert list(trial.intermediate_values) == [1, 2, 3]
    assert best.fit.learning_rate == own.settings["fit.learning_rate"]


def test_half_lives_are_searched_where_time_divides_the_parts(path: Path, tmp_path: Path) -> None:
    settings = ["data.split={ kind = 'global_time' }", "fit.half_life_days=30", "fit.epochs=1"]
    ((own,), best) = search(load_config(path, settings), 1, tmp_path / "films.trials")
    assert own.settings == OWN | {"fit.half_life_days": 30}
    assert best == load_config(path, settings)


@pytest.mark.parametrize("kind", ["ease", "spectral"])
def test_a_tower_in_closed_form_is_refused(path: Path, tmp_path: Path, kind: str) -> None:
    config = load_config(path, kind=kind)
    with pytest.raises(TuneError, match=f"the tower '{kind}' chooses its settings itself; tune one that is trained"):
        search(config, 1, tmp_path / "films.trials")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_the_place_of_the_database_is_refused(config: TrainingConfig, tmp_path: Path) -> None:
    with pytest.raises(TuneError, match=r"cannot keep trials there: unable to open database file; expected an SQLite"):
        search(config, 1, tmp_path)


def test_a_file_of_another_kind_is_refused_and_left_as_it_is(config: TrainingConfig, tmp_path: Path) -> None:
    database = tmp_path / "films.trials"
    database.write_text("my notes")
    with pytest.raises(TuneError, match=r"films\.trials: cannot keep trials there: file is not a database; expected"):
        search(config, 1, database)
    assert database.read_text() == "my notes"


def test_a_database_below_a_file_is_refused(config: TrainingConfig, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TuneError, match=r"File exists"):
        search(config, 1, tmp_path / "file" / "films.trials")
