from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bascule_training.classic.config import ClassicConfig
from bascule_training.commands import train
from bascule_training.config import KINDS, ClosedFormTower, ConfigError, HistoryBag, HistoryTransformer, load_config
from bascule_training.data.splits import Given, GlobalTime, LeaveOneOut

SMALLEST = """
model = "films"
[data]
interactions = "log.parquet"
"""


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smallest configuration."""
    path = tmp_path_factory.mktemp("config") / "films.toml"
    path.write_text(SMALLEST)
    return path


def complaint(path: Path, *settings: str) -> str:
    with pytest.raises(ConfigError) as refused:
        load_config(path, settings)
    return str(refused.value)


def test_the_smallest_configuration_needs_a_model_and_interactions(path: Path) -> None:
    config = load_config(path)
    assert config.model == "films"
    assert config.data.split == LeaveOneOut()
    assert config.fit.negatives == "auto"


def test_paths_are_relative_to_the_configurations_folder(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path("/"))
    config = load_config(path, ["data.users=tables/users.csv"])
    assert config.data.interactions == path.parent / "log.parquet"
    assert config.data.users == path.parent / "tables" / "users.csv"
    assert config.data.items is None


def test_a_configuration_named_relatively_has_absolute_paths(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    assert load_config(Path(path.name)).data.interactions == path.parent / "log.parquet"


def test_an_absolute_path_stays(path: Path) -> None:
    assert load_config(path, ["data.items=/data/items.csv"]).data.items == Path("/data/items.csv")


def test_the_files_of_a_given_split_are_relative_to_the_folder_too(path: Path) -> None:
    split = load_config(path, ["data.split.kind=given", "data.split.test=test.tsv"]).data.split
    assert split == Given(validation=None, test=path.parent / "test.tsv")


def test_a_date_of_toml_is_a_moment(path: Path) -> None:
    settings = ["data.split.kind=global_time", "data.split.validation_from=1970-01-02", "data.split.test_from=0.9"]
    assert load_config(path, settings).data.split == GlobalTime(validation_from=86_400, test_from=0.9)


@pytest.mark.parametrize(
    ("setting", "field", "value"),
    [
        ("fit.epoch=3", "fit.epoch", "3"),
        ("colour=blue", "colour", "'blue'"),
        ("model=Films", "model", "'Films'"),
        ("model=../films", "model", "'../films'"),
        ("seed=-1", "seed", "-1"),
        ("data.columns.users=uid", "data.columns.users", "'uid'"),
        ("data.min_value=high", "data.min_value", "'high'"),
        ("data.split.kind=weekly", "data.split", "'weekly'"),
        ("data.split={ kind = 'random', test_fraction = 2 }", "data.split.test_fraction", "2"),
        ("query.history_length=0", "query.history_length", "0"),
        ("query.features=[{ name = 'history', kind = 'categorical' }]", "query.features.0.name", "'history'"),
        ("query.features=[{ name = 'age', kind = 'number' }]", "query.features.0.kind", "'number'"),
        ("query.features=[{ name = 'age', kind = 'bucketed', buckets = 1 }]", "query.features.0.buckets", "1"),
        ("query.features=[{ name = '../age', kind = 'bucketed' }]", "query.features.0.name", "'../age'"),
        ("query.features=[{ name = 'self', kind = 'bucketed' }]", "query.features.0.name", "'self'"),
        ("item.features=[{ name = 'tags', kind = 'multi_valued', max_count = 0 }]", "item.features.0.max_count", "0"),
        ("item.id_dropout=1", "item.id_dropout", "1"),
        ("item.attributes=title", "item.attributes", "'title'"),
        ("tower.dimension=1", "tower.dimension", "1"),
        ("tower.dropout=1.5", "tower.dropout", "1.5"),
        ("tower.temperature=0", "tower.temperature", "0"),
        ("tower.temperature=nan", "tower.temperature", "nan"),
        ("tower.kind=lstm", "tower", "'lstm'"),
        ("tower.kind=3", "tower", "3"),
        ("tower=3", "tower", "3"),
        ("tower.beside=['classic']", "tower.beside.0", "'classic'"),
        ("tower.beside=['ease', 'ease']", "tower.beside", "'ease' twice"),
        ("tower={ kind = 'history_bag', blocks = 2 }", "tower.blocks", "2"),
        ("tower={ kind = 'spectral', dropout = 0.1 }", "tower.dropout", "0.1"),
        ("tower={ kind = 'classic', layers = [64, 0] }", "tower.layers.1", "0"),
        ("fit.epochs=0", "fit.epochs", "0"),
        ("fit.learning_rate=-0.1", "fit.learning_rate", "-0.1"),
        ("fit.negatives=half", "fit.negatives", "'half'"),
        ("fit.negative_count=0", "fit.negative_count", "0"),
        ("fit.half_life_days=0", "fit.half_life_days", "0"),
        ("evaluation.min_history=-1", "evaluation.min_history", "-1"),
        ("fit=3", "fit", "3"),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_field(path: Path, setting: str, field: str, value: str) -> None:
    text = complaint(path, setting)
    assert f"{field}: " in text
    assert value in text
    assert "\n" not in text


def test_an_unknown_word_is_told_which_there_are(path: Path) -> None:
    assert "'auto', 'full', 'uniform', 'in_batch' or 'mixed'" in complaint(path, "fit.negatives=half")
    assert "history_transformer, history_bag, features, classic, spectral, ease" in complaint(path, "tower.kind=lstm")


def test_a_tower_without_a_kind_is_a_transformer(path: Path) -> None:
    assert load_config(path).tower == HistoryTransformer()
    assert load_config(path, ["tower.blocks=2"]).tower == HistoryTransformer(blocks=2)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_tower_is_read_with_its_own_defaults(path: Path, kind: str) -> None:
    features = "query.features=[{ name = 'country', kind = 'categorical' }]"
    tower = load_config(path, [f"tower.kind={kind}", features]).tower
    assert tower.kind == kind
    assert tower == type(tower)(kind=kind)


def test_the_command_offers_every_kind_of_tower() -> None:
    assert set(train.KINDS) == set(KINDS)


def test_a_kind_that_is_asked_for_takes_the_place_of_the_files_tower(tmp_path: Path) -> None:
    path = tmp_path / "films.toml"
    path.write_text(f"{SMALLEST}[tower]\nblocks = 2\ndimension = 128\n")
    assert load_config(path, kind="ease").tower == ClosedFormTower(kind="ease")
    assert load_config(path, ["tower.dimension=8"], kind="history_bag").tower == HistoryBag(dimension=8)


@pytest.mark.parametrize("kind", ["features", "classic"])
def test_a_tower_that_reads_no_history_needs_features(path: Path, kind: str) -> None:
    text = complaint(path, f"tower.kind={kind}")
    assert text == (f"{path}: the tower '{kind}' reads the user's features alone; name some in query.features")
    assert not load_config(
        path, [f"tower.kind={kind}", "query.features=[{ name = 'country', kind = 'categorical' }]"]
    ).reads_history


def test_the_classic_tower_embeds_codes_alone(path: Path) -> None:
    standardised = "query.features=[{ name = 'age', kind = 'standardised' }]"
    assert "'age' is standardised; expected it bucketed" in complaint(path, "tower.kind=classic", standardised)
    bucketed = "query.features=[{ name = 'age', kind = 'bucketed' }]"
    assert load_config(path, ["tower.kind=classic", bucketed]).tower == ClassicConfig()


@pytest.mark.parametrize("loss", ["gbce", "contrastive"])
def test_a_loss_that_needs_samples_is_refused_with_the_whole_catalogue(path: Path, loss: str) -> None:
    text = complaint(path, f"fit.loss={loss}", "fit.negatives=full")
    assert text.startswith(f"{path}: fit: the loss '{loss}' needs sampled negatives; expected 'uniform'")
    assert load_config(path, [f"fit.loss={loss}"]).fit.negatives == "auto"


@pytest.mark.parametrize("tower", ["query", "item"])
def test_a_feature_declared_twice_is_refused(path: Path, tower: str) -> None:
    twice = "[{ name = 'age', kind = 'bucketed' }, { name = 'age', kind = 'standardised' }]"
    assert f"{tower}.features: " in (text := complaint(path, f"{tower}.features={twice}"))
    assert "'age' twice" in text


def test_outcomes_without_a_ranking_tower_are_refused(path: Path) -> None:
    text = complaint(path, "data.outcomes=outcomes.parquet")
    assert "a ranking tower alone learns from data.outcomes; add a section [ranker]" in text
    with_ranker = load_config(path, ["data.outcomes=outcomes.parquet", "ranker.candidate_count=50"])
    assert with_ranker.data.outcomes == path.parent / "outcomes.parquet"


def test_a_feature_is_of_the_query_or_of_its_context_and_no_other_column(path: Path) -> None:
    hour = "[{ name = 'hour', kind = 'bucketed' }]"
    text = complaint(path, f"query.features={hour}", f"ranker.context={hour}")
    assert "'hour' is in query.features and in ranker.context; expected it in one" in text
    text = complaint(path, "ranker.context=[{ name = 'time', kind = 'bucketed' }]")
    assert text.startswith(f"{path}: ranker.context: 'time' is the name of another column of the log")


def test_an_attribute_named_twice_is_refused(path: Path) -> None:
    assert "'title' twice" in complaint(path, "item.attributes=['title', 'year', 'title']")


def test_a_missing_value_is_refused_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "films.toml"
    path.write_text('model = "films"\n[data]\n')
    assert complaint(path).startswith(f"{path}: data.interactions: ")


def test_what_is_not_toml_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "films.toml"
    path.write_text("model = \n")
    assert complaint(path).startswith(f"{path}: not TOML")


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_what_cannot_be_read_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "films.toml"
    if content is not None:
        path.write_bytes(content)
    assert complaint(path).startswith(f"{path}: cannot be read")


def test_nothing_changes_after_the_check(path: Path) -> None:
    config = load_config(path)
    with pytest.raises(ValidationError, match="frozen"):
        config.seed = 2  # type: ignore[misc]  # what is refused here


def test_a_later_setting_wins(path: Path) -> None:
    assert load_config(path, ["fit.epochs=3", "fit.epochs=4"]).fit.epochs == 4


def test_a_setting_goes_before_the_file(path: Path) -> None:
    assert load_config(path, ["model=books"]).model == "books"


def test_text_needs_no_quotes(path: Path) -> None:
    assert load_config(path, ["data.columns.user=visitor id"]).data.columns.user == "visitor id"
    assert load_config(path, ['data.columns.user="visitor id"']).data.columns.user == "visitor id"


def test_a_value_may_hold_an_equals_sign(path: Path) -> None:
    assert load_config(path, ["data.columns.user=a=b"]).data.columns.user == "a=b"


@pytest.mark.parametrize("setting", ["", "fit.epochs", "=3"])
def test_a_setting_without_key_or_value_is_refused(path: Path, setting: str) -> None:
    assert complaint(path, setting).startswith(f"--set got {setting!r}; expected key=value")


def test_a_setting_below_a_value_is_refused(path: Path) -> None:
    assert "'model' is a value, not a section" in complaint(path, "model.name=films")


@given(st.integers(1, 10**6))
def test_a_whole_number_reaches_its_field(path: Path, epochs: int) -> None:
    assert load_config(path, [f"fit.epochs={epochs}"]).fit.epochs == epochs


@given(st.floats(1e-9, 1))
def test_a_fraction_reaches_its_field_unchanged(path: Path, rate: float) -> None:
    assert load_config(path, [f"fit.learning_rate={rate!r}"]).fit.learning_rate == rate


@given(st.text("abz_ äß-", min_size=1).filter(str.strip).filter(lambda text: text == text.strip()))
def test_a_word_reaches_its_field_unchanged(path: Path, column: str) -> None:
    assert load_config(path, [f"data.columns.user={column}"]).data.columns.user == column


def check_is_taken_or_refused(path: Path, setting: str) -> None:
    try:
        config = load_config(path, [setting])
    except ConfigError as error:
        sentence = str(error)
    else:
        sentence = ""
        assert config.data.interactions.is_absolute()
    assert "\n" not in sentence


@given(st.text())
def test_any_setting_is_either_taken_or_refused_in_one_sentence(path: Path, setting: str) -> None:
    check_is_taken_or_refused(path, setting)


@given(st.sampled_from(["seed", "fit.epochs", "tower.dropout", "item.attributes", "data.min_value"]), st.text())
def test_any_value_is_either_taken_or_refused_in_one_sentence(path: Path, key: str, text: str) -> None:
    check_is_taken_or_refused(path, f"{key}={text}")
