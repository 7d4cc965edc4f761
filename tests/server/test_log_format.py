"""A log's bytes come back as they were written, and a torn end is told from damage, and a log from another file."""

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule_server.living.log_format import (
    FORMAT,
    HEADER_BYTES,
    MAGIC,
    MAX_PAYLOAD_BYTES,
    Header,
    LogDamagedError,
    LogFormatError,
    Record,
    encoded,
    encoded_header,
    parse,
    parse_compacted,
    parse_header,
)

PATH = Path("catalogue.log")

payloads = st.lists(st.binary(min_size=1, max_size=40), max_size=5)
headers = st.builds(Header, st.integers(0, 2**63), st.integers(0, 2**40))


def written(contents: list[bytes], first: int = 1) -> bytes:
    return b"".join(encoded(Record(revision, each)) for revision, each in enumerate(contents, first))


@given(headers, st.binary(max_size=20))
def test_a_header_comes_back_as_it_was_written(header: Header, behind: bytes) -> None:
    assert parse_header(encoded_header(header) + behind, PATH) == header


@given(headers, st.data())
def test_a_flipped_bit_of_a_header_is_refused(header: Header, data: st.DataObject) -> None:
    whole = bytearray(encoded_header(header))
    bit = data.draw(st.integers(0, 8 * HEADER_BYTES - 1))
    whole[bit // 8] ^= 1 << bit % 8
    with pytest.raises(LogDamagedError):
        parse_header(bytes(whole), PATH)


@given(headers, st.integers(0, HEADER_BYTES - 1))
def test_a_part_of_a_header_is_refused(header: Header, size: int) -> None:
    with pytest.raises(LogDamagedError):
        parse_header(encoded_header(header)[:size], PATH)


@given(st.binary(max_size=60))
def test_a_file_that_is_no_log_is_called_none(data: bytes) -> None:
    with pytest.raises(LogFormatError, match="got a file that is no log of a catalogue, and is left as it is"):
        parse_header(b"x" + data, PATH)


def test_a_log_of_another_format_is_called_so() -> None:
    other = MAGIC + struct.pack("<I", FORMAT + 1) + bytes(HEADER_BYTES)
    with pytest.raises(LogFormatError, match="got a log of format 2, and it is left as it is; expected format 1"):
        parse_header(other, PATH)


@given(payloads, st.integers(0, 2**40), st.binary(max_size=40))
def test_compacted_records_have_one_revision_and_are_whole_or_none(
    contents: list[bytes], revision: int, behind: bytes
) -> None:
    records = [Record(revision, each) for each in contents]
    data = b"".join(map(encoded, records))
    header = Header(revision, len(data))
    assert parse_compacted(data + behind, header) == records
    for size in range(len(data)):
        assert parse_compacted(data[:size], header) is None
    if records:
        assert parse_compacted(data, Header(revision + 1, len(data))) is None


@given(payloads, st.integers(1, 2**40))
def test_records_come_back_as_they_were_written(contents: list[bytes], first: int) -> None:
    data = written(contents, first)
    records = [Record(first + place, each) for place, each in enumerate(contents)]
    assert parse(data, first) == (records, len(data), False)


@given(payloads, st.binary(min_size=1, max_size=40))
def test_torn_at_every_byte_the_records_before_are_whole_and_nothing_is_damaged(
    contents: list[bytes], last: bytes
) -> None:
    whole, data = written(contents), written([*contents, last])
    for size in range(len(whole), len(data)):
        records, valid_bytes, is_damaged = parse(data[:size], 1)
        assert (len(records), valid_bytes, is_damaged) == (len(contents), len(whole), False)


@given(payloads, st.binary(min_size=1, max_size=40), st.data())
def test_bytes_that_were_never_written_are_a_torn_end(contents: list[bytes], last: bytes, data: st.DataObject) -> None:
    whole, all_of_it = written(contents), written([*contents, last])
    size = data.draw(st.integers(len(whole), len(all_of_it) - 1))
    torn = all_of_it[:size] + bytes(len(all_of_it) - size)
    # Zeros may be what would have been written.
    if torn != all_of_it:
        assert parse(torn, 1)[1:] == (len(whole), False)


@given(payloads.filter(lambda contents: len(contents) > 1), st.data())
def test_a_flipped_bit_before_the_last_record_is_damage(contents: list[bytes], data: st.DataObject) -> None:
    whole = bytearray(written(contents))
    before_last = len(written(contents[:-1]))
    bit = data.draw(st.integers(0, 8 * before_last - 1))
    whole[bit // 8] ^= 1 << bit % 8
    records, valid_bytes, is_damaged = parse(bytes(whole), 1)
    assert is_damaged
    assert valid_bytes == len(written(contents[: len(records)])) <= bit // 8


@given(st.binary(max_size=200))
def test_whatever_bytes_there_are_they_are_read_without_a_fault(data: bytes) -> None:
    records, valid_bytes, _ = parse(data, 1)
    assert written([each.payload for each in records]) == data[:valid_bytes]


def test_more_than_one_record_can_be_torn_into_is_damage() -> None:
    rubbish = b"\xff" * (MAX_PAYLOAD_BYTES + 17)
    assert parse(rubbish, 1) == ([], 0, True)
    assert parse(rubbish[1:], 1) == ([], 0, False)


def test_content_that_looks_like_very_many_records_is_left_for_a_person_to_look_at() -> None:
    headers = struct.pack("<IQI", 3_000_000, 2, 0) * 100
    torn = encoded(Record(1, headers + bytes(4_000_000)))[:-1]
    assert parse(torn, 1) == ([], 0, True)
