"""What a server says about the models that it has."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from bascule.errors import BasculeError, error_from_status
from bascule.v1 import artifact_pb2, model_service_pb2


class ModelState(StrEnum):
    """The state of one version of a model."""

    LOADING = "loading"
    SERVING = "serving"
    FAILED = "failed"
    UNKNOWN = "unknown"
    """One that this version of the client does not know."""


class ValueKind(StrEnum):
    """What a feature or an attribute holds."""

    CATEGORY = "category"
    """A str."""
    NUMBER = "number"
    """An int or a float, finite."""
    CATEGORIES = "categories"
    """A sequence of str."""
    TIME = "time"
    """A moment: a datetime with a time zone. Attributes alone."""
    UNKNOWN = "unknown"
    """Something that this version of the client does not know."""


@dataclass(frozen=True, slots=True)
class Model:
    """One version of a model. What its artifact says is empty until the server has read it."""

    name: str
    version: int
    state: ModelState
    item_count: int
    dimension: int
    """Components of its vectors."""
    metrics: Mapping[str, float]
    """How good it was found to be on the test split, such as ``ndcg@10``."""
    features: Mapping[str, ValueKind]
    """The features that ``Query.features`` may hold, those of the context that a ranking tower reads among them. The
    history has a field of its own."""
    attributes: Mapping[str, ValueKind]
    """The items' attributes that can be filtered on, capped and returned."""
    error: BasculeError | None = None
    """Why it failed, where it did."""


_STATES = {
    model_service_pb2.MODEL_STATE_LOADING: ModelState.LOADING,
    model_service_pb2.MODEL_STATE_SERVING: ModelState.SERVING,
    model_service_pb2.MODEL_STATE_FAILED: ModelState.FAILED,
}

_FEATURE_KINDS = {
    "categorical": ValueKind.CATEGORY,
    "standardised": ValueKind.NUMBER,
    "bucketed": ValueKind.NUMBER,
    "multi_valued": ValueKind.CATEGORIES,
    "text": ValueKind.CATEGORY,
}

_ATTRIBUTE_KINDS = {
    artifact_pb2.ATTRIBUTE_KIND_CATEGORICAL: ValueKind.CATEGORY,
    artifact_pb2.ATTRIBUTE_KIND_NUMERIC: ValueKind.NUMBER,
    artifact_pb2.ATTRIBUTE_KIND_MULTI_VALUED: ValueKind.CATEGORIES,
    artifact_pb2.ATTRIBUTE_KIND_TIME: ValueKind.TIME,
}


def read_model(message: model_service_pb2.Model) -> Model:
    """The model that a message describes."""
    manifest = message.manifest
    return Model(
        name=message.model_version.model,
        version=message.model_version.version,
        state=_STATES.get(message.state, ModelState.UNKNOWN),
        item_count=manifest.item_count,
        dimension=manifest.dimension,
        metrics=dict(manifest.metrics),
        features={
            feature.name: _FEATURE_KINDS.get(feature.WhichOneof("kind") or "", ValueKind.UNKNOWN)
            for feature in (*manifest.query_features, *manifest.ranker.context)
            if not feature.HasField("history")
        },
        attributes={
            attribute.name: _ATTRIBUTE_KINDS.get(attribute.kind, ValueKind.UNKNOWN) for attribute in manifest.attributes
        },
        error=error_from_status(message.error) if message.HasField("error") else None,
    )
