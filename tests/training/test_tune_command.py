import signal
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from click.testing import CliRunner, Result

from bascule_training.commands.tune import tune
from bascule_training.config import load_config
from bascule_training.data.generate import generate, write

CONFIG = """
model = "films"
[data]
interactions = "interactions.parquet"
[query]
history_length = 5
[tower]
kind = "history_bag"
dimension = 4
[fit]
epochs = 4
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A configuration beside its data."""
    write(generate(users=40, items=30, interactions=400), tmp_path)
    path = tmp_path / "films.toml"
    path.write_text(CONFIG)
    return path


def run(path: Path, *arguments: str) -> Result:
    return CliRunner().invoke(tune, [str(path), *arguments], env={"COLUMNS": "200"})


def check_refused(done: Result, sentence: str) -> None:
    assert done.exit_code == 2
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    assert sentence in done.stderr


def lines(done: Result) -> list[str]:
    assert done.exit_code == 0, done.output
    return done.stdout.splitlines()


def test_a_search_prints_its_trials_and_writes_the_best_beside_the_configuration(path: Path) -> None:
    first, second, wrote = lines(run(path, "--trials", "2", "--set", "fit.epochs=1"))
    assert first.startswith("trial 1: NDCG@10 0.")
    assert first.endswith(
        "fit.learning_rate 0.01, fit.rows_per_batch 64, tower.dimension 4, tower.dropout 0.5, tower.temperature 0.03"
    )
    assert second.startswith("trial 2: NDCG@10 0.")
    assert wrote == f"wrote {path.with_name('films.best.toml')}"
    assert load_config(path.with_name("films.best.toml")).model == "films"
    assert path.with_name("films.best.trials").is_file()


def test_it_goes_on_with_more_trials_and_says_which_were_stopped_early(path: Path) -> None:
    out = path.parent / "new" / "better.toml"
    assert len(lines(run(path, "--trials", "1", "--out", str(out)))) == 2
    storage = f"sqlite:///{out.with_suffix('.trials')}"
    (name,) = optuna.get_all_study_names(storage)
    study = optuna.load_study(study_name=name, storage=storage)
    # Five that were perfect from the first epoch on.
    own = study.trials[0]
    perfect = optuna.create_trial(
        value=1.0,
        params=own.params,
        distributions=own.distributions,
        intermediate_values=dict.fromkeys(range(1, 5), 1.0),
    )
    study.add_trials([perfect] * 5)
    behind, wrote = lines(run(path, "--trials", "7", "--out", str(out)))
    assert behind.startswith("trial 7: stopped early, best 1.0000; fit.learning_rate ")
    assert wrote == f"wrote {out}"
    assert lines(run(path, "--trials", "7", "--out", str(out))) == [wrote]


def test_ctrl_c_ends_it_with_status_130_and_what_was_tried_is_kept(path: Path) -> None:
    command = [sys.executable, "-m", "bascule", "tune", str(path), "--trials", "1000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        line = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
    assert line.startswith("trial 1: NDCG@10 0.")
    assert process.returncode == 130
    assert rest.endswith("Stopped. Call again to go on.\n")
    assert not path.with_name("films.best.toml").exists()
    # The line comes twice where the signal comes while it is written.
    tried = len({each for each in [line, *rest.splitlines(keepends=True)] if each.startswith("trial ")})
    again, wrote = lines(run(path, "--trials", str(tried + 1)))
    assert again.startswith(f"trial {tried + 1}: ")
    assert wrote.startswith("wrote ")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--set", "tower.kind=ease"], "the tower 'ease' chooses its settings itself; tune one that is trained"),
        (["--set", "fit.epoch=1"], "fit.epoch: Extra inputs are not permitted (got 1)"),
        (["--set", "data.interactions=nothing.parquet"], "nothing.parquet"),
    ],
)
def test_what_cannot_be_done_ends_with_status_2_and_one_sentence(
    path: Path, arguments: list[str], sentence: str
) -> None:
    check_refused(run(path, *arguments), sentence)
    assert sorted(left.name for left in path.parent.glob("films*")) == ["films.toml"]


def test_trials_that_cannot_be_kept_end_it_with_status_2(path: Path) -> None:
    path.with_name("films.best.trials").mkdir()
    check_refused(run(path), "films.best.trials: cannot keep trials there: unable to open database file")


def test_a_folder_in_the_place_of_the_best_is_refused_before_anything_is_tried(path: Path) -> None:
    done = run(path, "--out", str(path.parent))
    assert done.exit_code == 2
    assert "is a directory" in done.stderr
