"""The configuration of one training run: a TOML file, checked before anything is read or computed.

What is wrong becomes a ``ConfigError`` that names the field and the value.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveInt, ValidationError, field_validator

from bascule_server.artifact import is_model_name
from bascule_server.encoder import HISTORY
from bascule_training.splits import Given, LeaveOneOut, Split
from bascule_training.tables import InteractionColumns

_TENSOR_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_SETTING_KEY = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


class ConfigError(Exception):
    """The configuration is wrong."""


class Section(BaseModel):
    """Part of a configuration: unknown names are refused, and nothing changes after the check."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


class FeatureConfig(Section):
    """One column that a tower reads, and how it becomes a tensor."""

    name: str = Field(min_length=1, max_length=64)
    """The column's name."""
    kind: Literal["categorical", "multi_valued", "standardised", "bucketed"]
    buckets: int = Field(default=10, ge=2, le=1_000)
    """``bucketed``: how many, of about equal numbers of rows."""
    max_count: int = Field(default=8, ge=1, le=256)
    """``multi_valued``: how many categories are read."""

    @field_validator("name")
    @classmethod
    def _is_free(cls, name: str) -> str:
        if name == HISTORY:
            raise ValueError("'history' is the name of the user's history; give the column another name")
        # The exported towers have an argument of this name, beside Python's own "self".
        if not _TENSOR_NAME.fullmatch(name) or name == "self":
            raise ValueError(
                "expected letters, digits and '_', beginning with a letter, and not 'self'; rename the column"
            )
        return name


def _distinct_features(features: tuple[FeatureConfig, ...]) -> tuple[FeatureConfig, ...]:
    _distinct(tuple(feature.name for feature in features))
    return features


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    for place, name in enumerate(names):
        if name in names[:place]:
            raise ValueError(f"{name!r} twice; expected each column once")
    return names


Features = Annotated[tuple[FeatureConfig, ...], AfterValidator(_distinct_features)]


class DataConfig(Section):
    """Where the data lies and how it is read. Paths are relative to the configuration's folder."""

    interactions: Path
    users: Path | None = None
    items: Path | None = None
    columns: InteractionColumns = InteractionColumns()
    min_value: float | None = None
    """Interactions with a lower value are left out: ratings below 4, say."""
    deduplicate: bool = False
    """Whether only the first interaction of a user with an item counts."""
    split: Split = Field(default=LeaveOneOut(), discriminator="kind")


class QueryConfig(Section):
    """What the query tower reads."""

    history_length: int = Field(default=50, ge=1, le=1_000)
    """How many items of a history are read: the newest."""
    features: Features = ()
    publish_users: bool = True
    """Whether the artifact holds users' histories and features, so that a user's id alone gets a personal answer."""


class ItemConfig(Section):
    """What the item tower reads, and which columns of the items can be filtered on, capped and returned."""

    features: Features = ()
    attributes: Annotated[tuple[str, ...], AfterValidator(_distinct)] = ()
    id_dropout: float = Field(default=0.1, ge=0, lt=1)
    """How often training hides an item's id from its tower, so that the features alone can place a new item. Used only
    where there are item features."""


class TowerConfig(Section):
    """The query tower: a causal transformer over the history. docs/training.md describes it."""

    dimension: int = Field(default=64, ge=2, le=4_096)
    blocks: int = Field(default=1, ge=1, le=8)
    dropout: float = Field(default=0.2, ge=0, lt=1)
    temperature: float = Field(default=0.07, gt=0, le=10)
    """What the cosine of query and item is divided by before the softmax."""


class FitConfig(Section):
    """How the towers are trained."""

    epochs: PositiveInt = 40
    patience: PositiveInt = 5
    """Training ends when so many evaluations on the validation part in a row were no better than the best."""
    rows_per_batch: int = Field(default=16, ge=1, le=4_096)
    """Rows of ``history_length`` positions; each position is an example."""
    learning_rate: float = Field(default=1e-3, gt=0, le=1)
    negatives: Literal["auto", "full"] | PositiveInt = "auto"
    """``full``: the softmax runs over the whole catalogue. A number: over that many items, drawn evenly. ``auto``: full
    up to 50,000 items, else 2,048."""

    @field_validator("negatives", mode="before")
    @classmethod
    def _is_word_or_number(cls, negatives: object) -> object:
        # A union would complain of its first member alone.
        if negatives in ("auto", "full") or (type(negatives) is int and negatives >= 1):
            return negatives
        raise ValueError("expected 'auto', 'full' or a number of at least 1")


class TrainingConfig(Section):
    """One training run."""

    model: str
    seed: int = Field(default=1, ge=0, lt=2**31)
    data: DataConfig
    query: QueryConfig = QueryConfig()
    item: ItemConfig = ItemConfig()
    tower: TowerConfig = TowerConfig()
    fit: FitConfig = FitConfig()

    @field_validator("model")
    @classmethod
    def _is_name(cls, name: str) -> str:
        if not is_model_name(name):
            raise ValueError("expected lower-case letters, digits, '_' and '-', beginning with a letter")
        return name


Setting = Annotated[str, "key=value, the key with dots: fit.epochs=3"]


def load_config(path: Path, settings: Sequence[Setting] = ()) -> TrainingConfig:
    """Reads a configuration; each of ``settings`` replaces one of its values.

    Raises:
        ConfigError: it cannot be read, or a value is wrong.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    except ValueError as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error
    for setting in settings:
        _replace(values, setting)
    try:
        config = TrainingConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{path}: {_first(error)}") from error
    return _beside(config, path.parent)


def _replace(values: dict[str, Any], setting: Setting) -> None:
    key, separator, text = setting.partition("=")
    if not separator or not _SETTING_KEY.fullmatch(key):
        raise ConfigError(f"--set got {setting!r}; expected key=value, such as fit.epochs=3")
    *parents, name = key.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise ConfigError(f"--set got {setting!r}; {parent!r} is a value, not a section")
    values[name] = _toml_value(text)


def _toml_value(text: str) -> Any:  # noqa: ANN401 - whatever TOML can say
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except ValueError:
        return text


def _first(error: ValidationError) -> str:
    problem = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in problem["loc"])
    got = "" if isinstance(problem["input"], Mapping) else f" (got {problem['input']!r})"
    return f"{field}: {problem['msg'].removeprefix('Value error, ')}{got}"


def _beside(config: TrainingConfig, folder: Path) -> TrainingConfig:
    """The configuration with the paths of its data made absolute."""
    data = config.data.model_copy(update=_absolute(config.data, folder, ("interactions", "users", "items")))
    if isinstance(data.split, Given):
        split = data.split.model_copy(update=_absolute(data.split, folder, ("validation", "test")))
        data = data.model_copy(update={"split": split})
    return config.model_copy(update={"data": data})


def _absolute(section: BaseModel, folder: Path, names: Sequence[str]) -> dict[str, Path]:
    paths = {name: getattr(section, name) for name in names}
    return {name: (folder / path).absolute() for name, path in paths.items() if path is not None}
