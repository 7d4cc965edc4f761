"""The configuration of one training run: a TOML file, checked before anything is read or computed.

What is wrong becomes a ``ConfigError`` that names the field and the value.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    PositiveInt,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)

from bascule_server.artifact.manifest_checks import is_model_name
from bascule_server.scoring.encoder import HISTORY
from bascule_training.classic.config import ClassicConfig
from bascule_training.data.splits import Given, LeaveOneOut, Split
from bascule_training.data.tables import CANONICAL_COLUMNS, InteractionColumns
from bascule_training.evaluation.protocol import EvaluationConfig

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
    kind: Literal["categorical", "multi_valued", "standardised", "bucketed", "text"]
    buckets: int | None = Field(default=None, ge=2, le=2**20)
    """``bucketed``: how many, of about equal numbers of rows; 10 unless given. ``text``: how many the n-grams are
    hashed into; 16,384 unless given."""
    max_count: int | None = Field(default=None, ge=1, le=256)
    """``multi_valued``: how many categories are read; 8 unless given. ``text``: how many n-grams; 32 unless given."""

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

ClosedForm = Literal["spectral", "ease", "svd", "ials", "itemknn", "popularity"]
"""Towers that are solved for."""

Dimension = Annotated[int, Field(ge=2, le=4_096)]
"""Components of a vector."""
Masks = Literal["target", "known"]
Dropout = Annotated[float, Field(ge=0, lt=1)]
Temperature = Annotated[float, Field(gt=0, le=10)]
"""What the cosine of query and item is divided by before the softmax; where it is learned, at the start."""


class DataConfig(Section):
    """Where the data lies and how it is read. Paths are relative to the configuration's folder."""

    interactions: Path
    users: Path | None = None
    items: Path | None = None
    outcomes: Path | None = None
    """What users turned to among what they were shown, for a ranking tower to learn from."""
    columns: InteractionColumns = InteractionColumns()
    min_value: float | None = None
    """Interactions with a lower value are left out: ratings below 4, say."""
    deduplicate: bool = False
    """Whether only the first interaction of a user with an item counts."""
    min_item_interactions: PositiveInt = 1
    """Items with fewer interactions before the test are left out of training and of the catalogue."""
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
    bias: bool = True
    """Whether an item has a learned bias, which tells how popular it is."""


class GradientTower(Section):
    """A query tower that is trained by gradient, and how many of it."""

    dimension: Dimension = 64
    copies: int = Field(default=1, ge=1, le=16)
    """How many are trained from different seeds and concatenated."""
    beside: Annotated[tuple[ClosedForm, ...], AfterValidator(_distinct)] = ("popularity",)
    """Towers that are solved for and concatenated, frozen; validation decides how much each counts."""


class HistoryTransformer(GradientTower):
    """A causal transformer over the history, trained to predict the next item at every place of it."""

    kind: Literal["history_transformer"] = "history_transformer"
    blocks: int = Field(default=1, ge=1, le=8)
    dropout: Dropout = 0.4
    temperature: Temperature = 0.07
    learn_temperature: bool = False
    default_learning_rate: ClassVar[float] = 2e-3
    default_rows_per_batch: ClassVar[int] = 32
    # To tell what came next from what came at another time is what it learns: on Amazon Beauty, masking all that the
    # user had took NDCG@10 on validation from .0725 to .0678.
    default_masks: ClassVar[Masks] = "target"


class HistoryBag(GradientTower):
    """The history without its order, trained to predict those items of it that were hidden."""

    kind: Literal["history_bag"] = "history_bag"
    dropout: Dropout = 0.5
    temperature: Temperature = 0.03
    learn_temperature: bool = True
    hides: Literal["any", "newest"] = "any"
    """Which items are hidden: any of a history, or its newest, which suits data that is parted by time."""
    default_learning_rate: ClassVar[float] = 1e-2
    default_rows_per_batch: ClassVar[int] = 64
    default_masks: ClassVar[Masks] = "known"


class UserFeatures(GradientTower):
    """The user's features alone, trained to predict the user's items."""

    kind: Literal["features"] = "features"
    dropout: Dropout = 0.2
    temperature: Temperature = 0.07
    learn_temperature: bool = True
    default_learning_rate: ClassVar[float] = 6e-3
    default_rows_per_batch: ClassVar[int] = 64
    default_masks: ClassVar[Masks] = "known"


TrainedTower = HistoryTransformer | HistoryBag | UserFeatures


class ClosedFormTower(Section):
    """A tower that is solved for and not trained by gradient: a baseline, or the spectral tower."""

    kind: ClosedForm
    dimension: Dimension = 64


def _kind(tower: object) -> object:
    kind = tower.get("kind", "history_transformer") if isinstance(tower, Mapping) else getattr(tower, "kind", None)
    return "closed_form" if kind in get_args(ClosedForm) else kind


Tower = Annotated[
    Annotated[HistoryTransformer, Tag("history_transformer")]
    | Annotated[HistoryBag, Tag("history_bag")]
    | Annotated[UserFeatures, Tag("features")]
    | Annotated[ClassicConfig, Tag("classic")]
    | Annotated[ClosedFormTower, Tag("closed_form")],
    Discriminator(_kind),
]

KINDS = ("history_transformer", "history_bag", "features", "classic", *get_args(ClosedForm))
"""What ``tower.kind`` may be."""


class FitConfig(Section):
    """How a tower is trained by gradient."""

    epochs: PositiveInt = 40
    patience: PositiveInt = 5
    """Training ends when so many evaluations on the validation part in a row were no better than the best."""
    rows_per_batch: int | None = Field(default=None, ge=1, le=4_096)
    """How many histories are in a step; of the transformer, rows of ``history_length`` positions. None: the tower's own
    default."""
    learning_rate: float | None = Field(default=None, gt=0, le=1)
    """At the start. None: the tower's own default."""
    loss: Literal["softmax", "gbce", "contrastive"] = "softmax"
    negatives: Literal["auto", "full", "uniform", "in_batch", "mixed"] = "auto"
    """What a target competes with: the whole catalogue, items drawn evenly, the other targets of the batch, or both of
    the last. ``auto``: ``full`` where a step then has at most 8,388,608 scores, else ``mixed``."""
    negative_count: int = Field(default=1_024, ge=1, le=65_536)
    """How many items are drawn evenly for a step."""
    correction: Literal["logq", "refined", "none"] = "logq"
    """How sampled negatives are corrected by the logarithms of their probabilities."""
    masks: Masks | None = None
    """Which sampled items are no negatives: the target itself, or all that the user is known to have had. None: the
    tower's own default."""
    half_life_days: float | None = Field(default=None, gt=0)
    """An interaction counts half as much for every so many days that it is older than the newest. None: all alike."""
    refit: bool = True
    """Whether the published model is trained again on training and validation part together, for as many epochs as were
    best on validation."""

    @model_validator(mode="after")
    def _go_together(self) -> Self:
        if self.loss != "softmax" and self.negatives == "full":
            raise ValueError(
                f"the loss {self.loss!r} needs sampled negatives; expected 'uniform', 'in_batch' or 'mixed'"
            )
        return self


class IndexConfig(Section):
    """When the artifact gets an index, so that not every item is scored, and how good that has to be."""

    min_items: int = Field(default=200_000, ge=100)
    """Smaller catalogues have none: to score 200,000 items takes about twice as long as all else that a call takes."""
    recall: float = Field(default=0.98, gt=0, lt=1)
    """The share of the best items that is found."""


class RankerConfig(Section):
    """A ranking tower, which orders anew the best items by retrieval."""

    candidate_count: int = Field(default=100, ge=10, le=1_000)
    """How many of the best items by retrieval are ranked."""
    features: Features = ()
    """Columns of the items that it reads. None: those that the item tower reads."""
    context: Features = ()
    """Columns of the outcomes, or else of the interactions, that it reads of the context of a query."""

    @property
    def context_kinds(self) -> dict[str, str]:
        """The kinds of the columns of the context, by name."""
        return {feature.name: feature.kind for feature in self.context}

    @field_validator("context")
    @classmethod
    def _are_no_other_columns(cls, context: tuple[FeatureConfig, ...]) -> tuple[FeatureConfig, ...]:
        for feature in context:
            if feature.name in CANONICAL_COLUMNS:
                raise ValueError(f"{feature.name!r} is the name of another column of the log; rename this one")
        return context


class TrainingConfig(Section):
    """One training run."""

    model: str
    seed: int = Field(default=1, ge=0, lt=2**31)
    data: DataConfig
    query: QueryConfig = QueryConfig()
    item: ItemConfig = ItemConfig()
    tower: Tower = HistoryTransformer()
    fit: FitConfig = FitConfig()
    index: IndexConfig = IndexConfig()
    ranker: RankerConfig | None = None
    """None: retrieval alone orders the items."""
    evaluation: EvaluationConfig = EvaluationConfig()

    @property
    def reads_history(self) -> bool:
        """Whether the query tower reads the history."""
        return self.tower.kind not in ("features", "classic")

    @field_validator("model")
    @classmethod
    def _is_name(cls, name: str) -> str:
        if not is_model_name(name):
            raise ValueError("expected lower-case letters, digits, '_' and '-', beginning with a letter")
        return name

    @field_validator("tower", mode="before")
    @classmethod
    def _has_kind(cls, tower: object) -> object:
        kind = tower.get("kind", KINDS[0]) if isinstance(tower, Mapping) else getattr(tower, "kind", None)
        if kind not in KINDS:
            raise ValueError(f"got the kind {kind!r}; expected one of {', '.join(KINDS)}")
        return tower

    @model_validator(mode="after")
    def _go_together(self) -> Self:
        if not self.reads_history and not self.query.features:
            raise ValueError(
                f"the tower {self.tower.kind!r} reads the user's features alone; name some in query.features"
            )
        if self.data.outcomes is not None and self.ranker is None:
            raise ValueError(
                "a ranking tower alone learns from data.outcomes; add a section [ranker], or leave them out"
            )
        if self.ranker is not None:
            of_query = {feature.name for feature in self.query.features}
            for feature in self.ranker.context:
                if feature.name in of_query:
                    raise ValueError(f"{feature.name!r} is in query.features and in ranker.context; expected it in one")
        if self.tower.kind == "classic":
            for feature in self.query.features:
                if feature.kind == "standardised":
                    raise ValueError(
                        f"the classic tower embeds codes, and the feature {feature.name!r} is standardised;"
                        " expected it bucketed"
                    )
        return self


Setting = Annotated[str, "key=value, the key with dots: fit.epochs=3"]


def load_config(path: Path, settings: Sequence[Setting] = (), kind: str | None = None) -> TrainingConfig:
    """Reads a configuration.

    Args:
        path: of the TOML file.
        settings: each replaces one of its values.
        kind: where given, the query tower is one of this kind with its defaults, whatever the file says of it.

    Raises:
        ConfigError: it cannot be read, or a value is wrong.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    except ValueError as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error
    if kind is not None:
        values["tower"] = {"kind": kind}
    for setting in settings:
        _replace(values, setting)
    try:
        config = TrainingConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{path}: {_first(error, values)}") from error
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


def _first(error: ValidationError, values: Mapping[str, Any]) -> str:
    problem = error.errors(include_url=False)[0]
    field = _field(problem["loc"], values)
    got = "" if isinstance(problem["input"], Mapping) else f" (got {problem['input']!r})"
    return f"{field}{': ' if field else ''}{problem['msg'].removeprefix('Value error, ')}{got}"


def _field(location: Sequence[str | int], values: Any) -> str:  # noqa: ANN401 - whatever TOML can say
    """The name of a field as the file has it: without the kinds that pydantic puts between a section and its fields."""
    parts = []
    for place, part in enumerate(location, 1):
        is_kind = isinstance(values, Mapping) and part not in values and place < len(location)
        if not is_kind:
            parts.append(str(part))
            values = values[part] if place < len(location) else None
    return ".".join(parts)


def _beside(config: TrainingConfig, folder: Path) -> TrainingConfig:
    """The configuration with the paths of its data made absolute."""
    data = config.data.model_copy(update=_absolute(config.data, folder, ("interactions", "users", "items", "outcomes")))
    if isinstance(data.split, Given):
        split = data.split.model_copy(update=_absolute(data.split, folder, ("validation", "test")))
        data = data.model_copy(update={"split": split})
    return config.model_copy(update={"data": data})


def _absolute(section: BaseModel, folder: Path, names: Sequence[str]) -> dict[str, Path]:
    paths = {name: getattr(section, name) for name in names}
    return {name: (folder / path).absolute() for name, path in paths.items() if path is not None}
