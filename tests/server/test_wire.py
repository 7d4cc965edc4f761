"""What is written field by field is what the library would have written."""

import pytest
from google.protobuf.wrappers_pb2 import BytesValue, UInt64Value
from hypothesis import given
from hypothesis import strategies as st

from bascule_server.wire import tag, varint, with_length

EDGES = [0, 1, 127, 128, 16_383, 16_384, 2**32, 2**64 - 1]


@pytest.mark.parametrize("number", EDGES)
def test_numbers_are_the_librarys_at_each_edge(number: int) -> None:
    # Of 0, which is left out, the library writes nothing.
    assert varint(number) == (UInt64Value(value=number).SerializeToString()[1:] or b"\0")


@given(st.integers(1, 2**64 - 1))
def test_numbers_are_the_librarys(number: int) -> None:
    assert varint(number) == UInt64Value(value=number).SerializeToString()[1:]


@pytest.mark.parametrize("size", [1, 127, 128, 16_383, 16_384])
def test_a_field_is_the_librarys_whatever_its_length(size: int) -> None:
    value = bytes(size)
    assert tag(BytesValue, "value") + with_length(value) == BytesValue(value=value).SerializeToString()
