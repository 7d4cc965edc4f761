"""Golden queries come back as they were written, and what is none is refused."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bascule.v1.recommendation_service_pb2 import Query, User
from bascule_server.artifact import file_names
from bascule_server.artifact.reading import ArtifactError
from bascule_server.scoring.golden import GoldenQueries, read_golden, write_golden

TWO = GoldenQueries(
    [Query(user=User(user_id="ann", history=["a", "b"])), Query(user=User(user_id="bob"))],
    vectors=np.array([[1, 0], [0, 1]], np.float32),
    rows=np.array([[0, 1], [1, 0]], np.int64),
    scores=np.array([[2, 1], [3, 2]], np.float32),
)


def bytes_of(folder: Path, golden: GoldenQueries) -> bytes:
    write_golden(folder / file_names.GOLDEN, golden)
    return (folder / file_names.GOLDEN).read_bytes()


def assert_equal(got: GoldenQueries, expected: GoldenQueries) -> None:
    assert list(got.queries) == list(expected.queries)
    for name in ("vectors", "rows", "scores"):
        assert np.array_equal(getattr(got, name), getattr(expected, name))
        assert getattr(got, name).dtype == getattr(expected, name).dtype


def test_what_was_written_is_read(tmp_path: Path) -> None:
    bytes_of(tmp_path, TWO)
    assert_equal(read_golden(tmp_path), TWO)


@given(st.lists(st.builds(User, user_id=st.text(), history=st.lists(st.text())), min_size=1, max_size=5))
def test_messages_of_any_length_are_told_apart(tmp_path_factory: pytest.TempPathFactory, users: list[User]) -> None:
    count = len(users)
    golden = GoldenQueries(
        [Query(user=user) for user in users],
        np.zeros((count, 2), np.float32),
        np.zeros((count, 1), np.int64),
        np.zeros((count, 1), np.float32),
    )
    bytes_of(tmp_path_factory.getbasetemp(), golden)
    assert_equal(read_golden(tmp_path_factory.getbasetemp()), golden)


def test_equal_queries_are_written_in_equal_bytes(tmp_path: Path) -> None:
    assert bytes_of(tmp_path, TWO) == bytes_of(tmp_path, TWO)


def test_no_golden_queries_prove_nothing_and_are_refused(tmp_path: Path) -> None:
    empty = GoldenQueries([], TWO.vectors[:0], TWO.rows[:0], TWO.scores[:0])
    bytes_of(tmp_path, empty)
    with pytest.raises(ArtifactError, match="got 0 queries"):
        read_golden(tmp_path)


def test_a_query_without_an_answer_is_refused(tmp_path: Path) -> None:
    bytes_of(tmp_path, GoldenQueries(TWO.queries, TWO.vectors, TWO.rows[:1], TWO.scores))
    with pytest.raises(ArtifactError, match="got 2 queries and other numbers of answers"):
        read_golden(tmp_path)


def test_pickled_arrays_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / file_names.GOLDEN, messages=np.array([object()], object), offsets=np.array([0]))
    with pytest.raises(ArtifactError, match="not golden queries"):
        read_golden(tmp_path)


def test_a_missing_file_and_a_missing_array_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="not golden queries"):
        read_golden(tmp_path)
    np.savez(tmp_path / file_names.GOLDEN, messages=np.zeros(0, np.uint8))
    with pytest.raises(ArtifactError, match="not golden queries"):
        read_golden(tmp_path)


def test_messages_of_another_kind_are_refused(tmp_path: Path) -> None:
    np.savez(
        tmp_path / file_names.GOLDEN,
        messages=np.frombuffer(b"\xff\xff", np.uint8),
        offsets=np.array([0, 2]),
        vectors=TWO.vectors[:1],
        rows=TWO.rows[:1],
        scores=TWO.scores[:1],
    )
    with pytest.raises(ArtifactError, match="not golden queries"):
        read_golden(tmp_path)


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_a_damaged_file_is_read_as_it_was_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.getbasetemp()
    whole = bytes_of(folder, TWO)
    place = data.draw(st.integers(0, len(whole) - 1))
    damaged = data.draw(st.sampled_from([whole[:place], whole[:place] + b"\xff" + whole[place + 1 :]]))
    (folder / file_names.GOLDEN).write_bytes(damaged)
    try:
        golden = read_golden(folder)
    except ArtifactError:
        return
    assert_equal(golden, TWO)


@given(st.binary(max_size=200))
@example(b"PK\x03\x04")
def test_bytes_that_are_no_golden_queries_are_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.getbasetemp()
    (folder / file_names.GOLDEN).write_bytes(content)
    with pytest.raises(ArtifactError):
        read_golden(folder)
