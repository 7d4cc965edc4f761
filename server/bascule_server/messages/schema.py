"""Which features a model reads and which attributes its items have: all that checking a query needs of a manifest."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bascule.v1.artifact_pb2 import AttributeKind, Feature, Manifest

_VALUE_KINDS = {
    "categorical": "category",
    "standardised": "number",
    "bucketed": "number",
    "multi_valued": "categories",
    "text": "category",
}
"""From how a feature becomes a tensor to the kind of its value in a query. The history is no feature of a query."""


@dataclass(frozen=True, slots=True, eq=False)
class Schema:
    """What a query of one model version may hold. Each is equal to itself alone, so that it can be a key."""

    feature_kinds: Mapping[str, str]
    """By feature, also of the context: ``category``, ``number`` or ``categories``, as in ``FeatureValue``."""
    attribute_kinds: Mapping[str, AttributeKind.ValueType]
    dimension: int
    """Number of components of a vector."""


def schema_of(manifest: Manifest) -> Schema:
    """The schema that a manifest declares."""
    return Schema(
        feature_kinds=value_kinds([*manifest.query_features, *manifest.ranker.context]),
        attribute_kinds={attribute.name: attribute.kind for attribute in manifest.attributes},
        dimension=manifest.dimension,
    )


def value_kinds(features: Iterable[Feature]) -> dict[str, str]:
    """By feature: ``category``, ``number`` or ``categories``, as in ``FeatureValue``."""
    transforms = {feature.name: feature.WhichOneof("kind") or "" for feature in features}
    return {name: _VALUE_KINDS[kind] for name, kind in transforms.items() if kind in _VALUE_KINDS}
