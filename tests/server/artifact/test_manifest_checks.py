"""A manifest is in order by itself or refused: every count and every number that memory is taken for has a bound."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bascule.v1.artifact_pb2 import Manifest
from bascule_server.artifact import file_names
from bascule_server.artifact.manifest_checks import complaints
from bascule_server.artifact.reading import ArtifactError, read_manifest

PLACE = ("m", "1")
DIGEST = "0" * 64


def good() -> Manifest:
    manifest = Manifest(schema_version=1, model="m", version=1, dimension=2, item_count=3)
    manifest.query_features.add(name="history").history.max_length = 4
    manifest.query_features.add(name="c").categorical.vocabulary = "vocabularies/c.json"
    text = manifest.query_features.add(name="t").text
    text.buckets, text.max_count = 8, 2
    manifest.item_features.add(name="y").bucketed.boundaries.extend([1, 2])
    several = manifest.item_features.add(name="g").multi_valued
    several.vocabulary, several.size, several.max_count = "g.json", 2, 2
    manifest.item_features.add(name="a").standardised.deviation = 1
    manifest.attributes.add(name="title", kind="ATTRIBUTE_KIND_CATEGORICAL")
    manifest.index.lists = 1
    manifest.index.depths.add(item_count=1, probes=1, overfetch=1)
    manifest.ranker.candidate_count = 5
    manifest.metrics["ndcg@10"] = 0.5
    manifest.library_versions["numpy"] = "2"
    manifest.files.add(path="g.json", size_bytes=1, sha256=DIGEST)
    return manifest


def test_a_manifest_with_one_of_everything_is_in_order() -> None:
    assert list(complaints(good(), PLACE)) == []


def changed(change: Callable[[Any], object]) -> list[str]:
    manifest = good()
    change(manifest)
    return list(complaints(manifest, PLACE))


def _many(field: Any, count: int) -> None:
    for place in range(count):
        field.add(name=str(place))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda m: setattr(m, "dimension", 4_097), "got dimension 4,097; expected 1 to 4,096"),
        (lambda m: setattr(m, "item_count", 100_000_001), "got item_count 100,000,001; expected 1 to 100,000,000"),
        (lambda m: setattr(m, "item_count", -1), "got item_count -1; expected 1 to"),
        (lambda m: _many(m.query_features, 1_001), "number of query_features 1,004; expected 0 to 1,000"),
        (lambda m: _many(m.item_features, 1_001), "number of item_features 1,004; expected 0 to 1,000"),
        (lambda m: _many(m.attributes, 1_001), "number of attributes 1,002; expected 0 to 1,000"),
        (lambda m: m.attributes.add(name="title"), "attributes: got a name twice"),
        (lambda m: m.attributes.add(name="a" * 257), "attributes: got a name without characters or with more than 256"),
        (lambda m: m.metrics.update({str(n): 0.0 for n in range(10_001)}), "number of metrics 10,002"),
        (lambda m: m.library_versions.update({str(n): "" for n in range(10_001)}), "number of library_versions"),
        (lambda m: setattr(m.query_features[0].history, "max_length", 10_001), "'history': got max_length 10,001"),
        (lambda m: setattr(m.query_features[0].history, "max_length", -1), "'history': got max_length -1"),
        (lambda m: setattr(m.query_features[1].categorical, "size", -1), "'c': got size -1"),
        (lambda m: setattr(m.query_features[1].categorical, "vocabulary", "../c"), "'c': got the path '../c'"),
        (lambda m: setattr(m.query_features[2].text, "buckets", 0), "'t': got buckets 0"),
        (lambda m: setattr(m.query_features[2].text, "max_count", 1 << 30), "'t': got max_count 1,073,741,824"),
        (lambda m: m.item_features[0].bucketed.boundaries.extend([2]), "'y': got boundaries out of order"),
        (lambda m: m.item_features[0].bucketed.boundaries.extend([math.nan]), "'y': got boundaries out of order"),
        (lambda m: m.item_features[0].bucketed.boundaries.extend(range(3, 10_003)), "number of boundaries 10,002"),
        (lambda m: setattr(m.item_features[1].multi_valued, "max_count", 1 << 30), "'g': got max_count"),
        (lambda m: setattr(m.item_features[2].standardised, "deviation", 0), "'a': got deviation 0.0"),
        (lambda m: setattr(m.item_features[2].standardised, "mean", math.inf), "'a': got mean inf"),
        (lambda m: setattr(m.index, "lists", 4), "got index.lists 4; expected 1 to 3"),
        (lambda m: [m.index.depths.add() for _ in range(100)], "number of index.depths 101; expected 1 to 100"),
        (
            lambda m: setattr(m.ranker, "candidate_count", 1_001),
            "got ranker.candidate_count 1,001; expected 1 to",
        ),
        (lambda m: [m.files.add(path=str(n), sha256=DIGEST) for n in range(1_000)], "got 1,001 files"),
        (lambda m: m.files.add(path="g.json", sha256=DIGEST), "names a file twice"),
        (lambda m: m.files.add(path="/etc/passwd", sha256=DIGEST), "got the path '/etc/passwd'"),
        (lambda m: m.files.add(path="a/../../b", sha256=DIGEST), "got the path 'a/../../b'"),
        (lambda m: m.files.add(path="a" * 1_025, sha256=DIGEST), "expected one inside the folder"),
        (lambda m: setattr(m.files[0], "size_bytes", -1), "g.json: got size_bytes -1"),
        (lambda m: setattr(m.files[0], "sha256", "0" * 63), "g.json: got a digest that is none"),
    ],
)
def test_a_number_out_of_its_bounds_is_named(change: Callable[[Any], object], complaint: str) -> None:
    assert any(complaint in found for found in changed(change)), changed(change)


def _numbers(descriptor: Descriptor, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The paths of all integers of a manifest, through messages and into their first elements."""
    found = []
    for field in descriptor.fields:
        if field.message_type is not None:
            if field.message_type.full_name.startswith("bascule.") and not field.message_type.GetOptions().map_entry:
                found += _numbers(field.message_type, (*path, field.name))
        elif field.cpp_type in (FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64):
            found.append((*path, field.name))
    return found


WITHOUT_MEMORY = {"training_data", "depths"}
"""What is only shown, and what the index itself is compared with."""


@pytest.mark.parametrize("path", [path for path in _numbers(Manifest.DESCRIPTOR) if not WITHOUT_MEMORY & set(path)])
@given(data=st.data())
def test_no_integer_of_a_manifest_is_without_bounds(path: tuple[str, ...], data: st.DataObject) -> None:
    largest = (1 << 31) - 1 if path[-1] not in ("version", "item_count", "size_bytes") else (1 << 63) - 1
    number = data.draw(st.integers(largest - 1_000, largest) | st.integers(-largest, -1))
    manifest = Manifest()
    message: Any = manifest
    for name in path[:-1]:
        field = getattr(message, name)
        message = field.add() if hasattr(field, "add") else field
    setattr(message, path[-1], number)
    assert any(f"{number:,}" in found or f"{number}" in found for found in complaints(manifest, PLACE)), path


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("models") / "m" / "1"
    place.mkdir(parents=True)
    return place


TEXT = json_format.MessageToJson(good(), preserving_proto_field_name=True)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.binary(max_size=200)
    | JSON.map(lambda value: json.dumps(value).encode())
    | st.dictionaries(st.sampled_from(sorted(json.loads(TEXT))), JSON).map(
        lambda fields: json.dumps({**json.loads(TEXT), **fields}).encode()
    )
)
def test_whatever_a_manifest_holds_it_is_read_or_refused(folder: Path, content: bytes) -> None:
    (folder / file_names.MANIFEST).write_bytes(content)
    try:
        manifest = read_manifest(folder)
    except ArtifactError:
        return
    assert list(complaints(manifest, PLACE)) == []


@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"a":' * 100_000, b" " * (4 * 1024 * 1024 + 1)])
def test_a_manifest_that_is_deep_or_large_is_refused(folder: Path, content: bytes) -> None:
    (folder / file_names.MANIFEST).write_bytes(content)
    with pytest.raises(ArtifactError):
        read_manifest(folder)
