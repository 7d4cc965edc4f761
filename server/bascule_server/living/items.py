"""From an item's message to its values: by what the model declares of items, features and attributes alike."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeAlias

from bascule.v1.artifact_pb2 import AttributeKind, Manifest
from bascule.v1.catalogue_service_pb2 import CatalogueItem
from bascule.v1.recommendation_service_pb2 import FeatureValue as FeatureValueMessage
from bascule_server.errors import ServiceError, invalid_field
from bascule_server.messages.decoding import decode_value
from bascule_server.messages.field_checks import MAX_ID_BYTES, checked_id, quoted
from bascule_server.messages.schema import value_kinds
from bascule_server.scoring.query import FeatureValue

_ATTRIBUTE_KINDS = {
    AttributeKind.ATTRIBUTE_KIND_CATEGORICAL: "category",
    AttributeKind.ATTRIBUTE_KIND_NUMERIC: "number",
    AttributeKind.ATTRIBUTE_KIND_MULTI_VALUED: "categories",
    AttributeKind.ATTRIBUTE_KIND_TIME: "time",
}


ItemSchema: TypeAlias = Mapping[str, str]
"""What an item of one model version may hold: by the name of a feature or attribute, the kind of its value, as in
``FeatureValue``. Of a feature and an attribute with one name it is that of the feature."""


def item_schema(manifest: Manifest) -> ItemSchema:
    """The schema that a manifest declares."""
    attributes = {each.name: _ATTRIBUTE_KINDS[each.kind] for each in manifest.attributes if each.kind}
    return attributes | value_kinds(manifest.item_features)


def decode_values(item: CatalogueItem, path: str, schema: ItemSchema) -> dict[str, FeatureValue]:
    """The values of an item, by name. Raises ``ServiceError`` where one is not what the schema says."""
    found = {name: _decoded(name, message, path, schema) for name, message in item.values.items()}
    return {name: value for name, value in found.items() if value is not None}


class Readable(NamedTuple):
    """What a version can read of an item, which may have come to an earlier one."""

    values: dict[str, FeatureValue]
    """By name."""
    left_out: list[str]
    """The names of values that are not what the schema says."""


def readable_values(item: CatalogueItem, schema: ItemSchema) -> Readable:
    """Its values, as far as they are what the schema says."""
    found = Readable({}, [])
    for name, message in item.values.items():
        try:
            value = _decoded(name, message, "", schema)
        except ServiceError:
            found.left_out.append(name)
            continue
        if value is not None:
            found.values[name] = value
    return found


def checked_item_id(item_id: str, parent: str, name: str) -> str:
    """An item's id: from 1 to 256 bytes."""
    if not item_id:
        raise invalid_field(f"{parent}.{name}" if parent else name, f"got none; expected 1 to {MAX_ID_BYTES} bytes")
    return checked_id(item_id, parent, name)


def checked_ids(item_ids: Iterable[str], name: str) -> list[str]:
    """Several of them."""
    return [checked_item_id(item_id, "", f"{name}[{index}]") for index, item_id in enumerate(item_ids)]


def _decoded(name: str, message: FeatureValueMessage, item_path: str, schema: ItemSchema) -> FeatureValue | None:
    path = f"{item_path}.values[{quoted(name)}]"
    return decode_value("feature or attribute of items", name, message, schema, path)
