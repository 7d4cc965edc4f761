"""Whatever a file of arrays holds, it is read or refused as an artifact that is none."""

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bascule.v1.artifact_pb2 import Manifest
from bascule_server.artifact import file_names
from bascule_server.artifact.reading import ArtifactError
from bascule_server.artifact.stored_arrays import UNREADABLE, stored_arrays
from bascule_server.retrieval.retrievers import read_vectors

MANIFEST = Manifest(item_count=3, dimension=2)
VECTORS = np.arange(6, dtype=np.float32).reshape(3, 2)
HEADER_BYTES = 128
"""Of an array's file."""

WITH_A_FILE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
changes = st.lists(st.tuples(st.integers(0, HEADER_BYTES - 1), st.integers(0, 255)), max_size=4)


def damage(path: Path, changed: list[tuple[int, int]]) -> None:
    content = bytearray(path.read_bytes())
    for place, byte in changed:
        content[place] = byte
    path.write_bytes(content)


@WITH_A_FILE
@given(changes)
def test_whatever_the_header_of_vectors_says_they_are_read_or_refused(
    tmp_path: Path, changed: list[tuple[int, int]]
) -> None:
    path = tmp_path / file_names.ITEM_VECTORS
    np.save(path, VECTORS)
    damage(path, changed)
    with suppress(ArtifactError):
        assert read_vectors(tmp_path, MANIFEST).shape == VECTORS.shape


def test_a_header_that_ends_in_the_middle_is_refused(tmp_path: Path) -> None:
    path = tmp_path / file_names.ITEM_VECTORS
    np.save(path, VECTORS)
    damage(path, [(place, ord(" ")) for place, byte in enumerate(path.read_bytes()[:HEADER_BYTES]) if byte in b"})"])
    with pytest.raises(ArtifactError, match="not an array"):
        read_vectors(tmp_path, MANIFEST)


@WITH_A_FILE
@given(changes)
def test_whatever_a_file_of_several_arrays_says_they_are_read_or_refused(
    tmp_path: Path, changed: list[tuple[int, int]]
) -> None:
    path = tmp_path / "several.npz"
    np.savez(path, allow_pickle=False, vectors=VECTORS)
    damage(path, changed)
    with suppress(*UNREADABLE), stored_arrays(path) as arrays:
        assert arrays["vectors"].size >= 0
