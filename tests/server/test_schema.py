"""The schema is what the manifest declares."""

from bascule.v1.artifact_pb2 import AttributeKind, Manifest
from bascule_server.schema import schema_of


def test_features_have_the_kind_of_their_values_and_the_history_is_none(manifest: Manifest) -> None:
    assert schema_of(manifest).feature_kinds == {"country": "category", "age": "number", "tags": "categories"}


def test_attributes_and_dimension_are_those_of_the_manifest(manifest: Manifest) -> None:
    schema = schema_of(manifest)
    assert schema.dimension == 2
    assert schema.attribute_kinds["year"] == AttributeKind.ATTRIBUTE_KIND_NUMERIC
