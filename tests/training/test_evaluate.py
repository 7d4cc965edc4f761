from pathlib import Path

import numpy as np
import polars as pl
import pytest

from bascule_server.artifact.reading import ArtifactError, read_manifest
from bascule_training.config import TrainingConfig, load_config
from bascule_training.data.tables import DataError
from bascule_training.evaluate import Evaluated, Log, as_json, evaluate, log_of_config, log_of_files
from bascule_training.evaluation.metrics import CUTOFFS, METRICS
from bascule_training.evaluation.protocol import EvaluationConfig


@pytest.fixture(scope="module")
def config(tiny_config: Path) -> TrainingConfig:
    return load_config(tiny_config)


@pytest.fixture(scope="module")
def log(config: TrainingConfig) -> Log:
    return log_of_config(config)


@pytest.fixture(scope="module")
def evaluated(artifact_folder: Path, log: Log) -> Evaluated:
    return evaluate(artifact_folder, log)


class TestOnAConfiguration:
    def test_the_model_has_the_figures_that_training_found(self, evaluated: Evaluated, artifact_folder: Path) -> None:
        found = evaluated.evaluations[0]
        for metric, value in read_manifest(artifact_folder).metrics.items():
            assert found.summary[metric] == pytest.approx(value), metric

    def test_it_has_the_name_of_the_version(self, evaluated: Evaluated) -> None:
        assert (evaluated.model, evaluated.version) == ("tiny", 1)
        assert [each.name for each in evaluated.evaluations] == ["tiny/1", "popularity"]

    def test_popularity_is_evaluated_on_the_same_cases(self, evaluated: Evaluated) -> None:
        model, popularity = evaluated.evaluations
        assert popularity.cases is model.cases
        assert popularity.summary["coverage@10"] < model.summary["coverage@10"]

    def test_its_own_configuration_gives_no_cause_for_doubt(self, evaluated: Evaluated) -> None:
        assert evaluated.notes == []

    def test_another_training_part_does(self, artifact_folder: Path, tiny_config: Path) -> None:
        other = load_config(tiny_config, ["data.split={ kind = 'random' }"])
        assert "may know the test part" in evaluate(artifact_folder, log_of_config(other)).notes[0]

    def test_the_rules_are_those_of_the_configuration(self, artifact_folder: Path, tiny_config: Path) -> None:
        config = load_config(tiny_config, ["evaluation.exclude_history=false", "evaluation.one_case_per=interaction"])
        found = evaluate(artifact_folder, log_of_config(config)).evaluations[0]
        assert found.cases.rules == EvaluationConfig(exclude_history=False, one_case_per="interaction")

    def test_groups_are_of_the_model_by_user_and_by_item(self, evaluated: Evaluated) -> None:
        names = [group.name for group in evaluated.groups]
        assert names[0] == "known items"
        assert sum(name.startswith("history of ") for name in names) > 1
        assert sum(name.startswith("items of ") for name in names) > 1

    def test_progress_tells_of_every_user(self, artifact_folder: Path, log: Log) -> None:
        told: list[int] = []
        found = evaluate(artifact_folder, log, told.append).evaluations[0]
        assert sum(told) == len(found.cases)


class TestOnFiles:
    @pytest.fixture
    def files(self, tmp_path: Path, config: TrainingConfig, log: Log) -> tuple[Path, Path, Path]:
        """What the users of the configuration did before, what they did after, and who they are."""
        paths = tmp_path / "before.parquet", tmp_path / "after.parquet", tmp_path / "users.parquet"
        log.known.write_parquet(paths[0])
        log.asked.write_parquet(paths[1])
        assert config.data.users is not None
        pl.read_parquet(config.data.users).write_parquet(paths[2])
        return paths

    def test_the_same_log_gives_the_same_figures(
        self, files: tuple[Path, Path, Path], artifact_folder: Path, evaluated: Evaluated
    ) -> None:
        found = evaluate(artifact_folder, log_of_files(*files))
        assert found.evaluations[0].summary == pytest.approx(evaluated.evaluations[0].summary)

    def test_without_users_the_model_knows_their_histories_alone(
        self, files: tuple[Path, Path, Path], artifact_folder: Path
    ) -> None:
        found = evaluate(artifact_folder, log_of_files(files[0], files[1], None))
        assert all(query.features == {} for query in found.evaluations[0].cases.queries)
        assert found.notes[0] == "The model also reads country, age of a user, of which nothing was given."

    def test_what_the_model_may_have_been_trained_on_is_said(
        self, files: tuple[Path, Path, Path], artifact_folder: Path, log: Log
    ) -> None:
        last = read_manifest(artifact_folder).training_data.last_time.seconds
        early = int((log.asked["time"] <= last).sum())
        assert early > 0
        note = f"{early} of the {len(log.asked)} interactions to find are not later than all that the model was trained"
        assert evaluate(artifact_folder, log_of_files(*files)).notes[0].startswith(note)
        log.asked.with_columns(pl.col("time") + 10**8).write_parquet(files[1])
        assert evaluate(artifact_folder, log_of_files(*files)).notes == []

    def test_a_feature_that_the_users_lack_is_named(
        self, files: tuple[Path, Path, Path], artifact_folder: Path
    ) -> None:
        pl.read_parquet(files[2]).rename({"age": "years"}).write_parquet(files[2])
        with pytest.raises(
            DataError, match="the model reads the feature 'age', which is no column of the users; there"
        ):
            evaluate(artifact_folder, log_of_files(*files))

    def test_a_value_of_another_kind_is_refused(self, files: tuple[Path, Path, Path], artifact_folder: Path) -> None:
        pl.read_parquet(files[2]).with_columns(age=pl.lit("old")).write_parquet(files[2])
        with pytest.raises(DataError, match="column 'age' of the users: got 'old'; the model reads it as standardised"):
            evaluate(artifact_folder, log_of_files(*files))

    def test_a_log_of_other_items_is_refused(self, artifact_folder: Path, log: Log) -> None:
        known, asked = (each.with_columns(item_id="x" + pl.col("item_id")) for each in (log.known, log.asked))
        with pytest.raises(DataError, match="items to find is among the 120 of tiny/1; is it a model of other data"):
            evaluate(artifact_folder, Log(known, asked))

    def test_nothing_new_is_refused(self, artifact_folder: Path, log: Log) -> None:
        with pytest.raises(DataError, match="there is nothing to evaluate on: none of the"):
            evaluate(artifact_folder, Log(log.known, log.known))


def test_what_is_no_artifact_is_refused(tmp_path: Path, log: Log) -> None:
    with pytest.raises(ArtifactError):
        evaluate(tmp_path, log)


def test_for_machines_every_figure_has_its_value_and_its_interval(evaluated: Evaluated) -> None:
    written = as_json(evaluated)
    assert (written["model"], written["version"], written["notes"]) == ("tiny", 1, [])
    assert written["rules"]["one_case_per"] == "user"
    model = evaluated.evaluations[0]
    assert (written["users"], written["relevant"], written["unknown"]) == (
        model.case_count,
        model.relevant_count,
        model.unknown_count,
    )
    figures = written["evaluations"][0]["figures"]
    assert set(figures) == {f"{name}@{k}" for name in (*METRICS, "novelty", "coverage", "gini") for k in CUTOFFS}
    assert set(figures["gini@10"]) == {"value"}
    for name in ("ndcg@10", "novelty@100"):
        assert figures[name]["low"] <= figures[name]["value"] <= figures[name]["high"]
        assert figures[name]["value"] == pytest.approx(np.mean(model.by_case[name]))
    assert [group["name"] for group in written["groups"]] == [group.name for group in evaluated.groups]
    assert {"name", "users", "relevant", "figures"} == set(written["groups"][0])
