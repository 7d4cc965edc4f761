from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bascule_training.fitting.checkpoint import CheckpointError, Progress, restore, save

NOW: list[NDArray[Any]] = [np.arange(6, dtype=np.float32).reshape(2, 3), np.array(7, np.int64)]
BEST: list[NDArray[Any]] = [np.ones((2, 3), np.float32), np.array(5, np.int64)]
PROGRESS = Progress(
    epoch=3, best_epoch=2, best_quality=0.25, best=BEST, curve=[(3.5, 0.125), (2.5, 0.25), (1.5, np.nan)]
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A checkpoint of the run "mine"."""
    path = tmp_path / "films" / ".checkpoint" / "first-1.npz"
    save(path, "mine", PROGRESS, NOW)
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "checkpoint.npz"
    save(path, "mine", PROGRESS, NOW)
    return path.read_bytes()


def check_is_whole(path: Path) -> None:
    restored = restore(path, "mine")
    assert restored is not None
    progress, now = restored
    assert (progress.epoch, progress.best_epoch, progress.best_quality) == (3, 2, 0.25)
    np.testing.assert_array_equal(progress.curve, PROGRESS.curve)
    for found, expected in ((now, NOW), (progress.best, BEST)):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)


def test_what_is_saved_is_restored(path: Path) -> None:
    check_is_whole(path)


def test_where_there_is_none_nothing_is_restored(tmp_path: Path) -> None:
    assert restore(tmp_path / "checkpoint.npz", "mine") is None


def test_the_next_one_takes_its_place_and_nothing_else_is_left(path: Path) -> None:
    save(path, "mine", Progress(4, 2, 0.25, BEST), NOW)
    restored = restore(path, "mine")
    assert restored is not None
    assert restored[0].epoch == 4
    assert list(path.parent.iterdir()) == [path]


def test_the_checkpoint_of_another_run_is_refused(path: Path) -> None:
    with pytest.raises(CheckpointError, match="another configuration or other data; train without --resume"):
        restore(path, "yours")


@pytest.mark.parametrize("content", [b"", b"PK", b"hello", b"\x93NUMPY"])
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "checkpoint.npz"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        restore(path, "mine")


@given(data=st.data())
def test_a_shortened_file_is_refused(
    whole: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "shortened.npz"
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(CheckpointError, match="damaged"):
        restore(path, "mine")


@given(data=st.data())
def test_a_flipped_bit_is_refused_or_harmless(
    whole: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "flipped.npz"
    place, bit = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(0, 7))
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
    with suppress(CheckpointError):
        check_is_whole(path)


def test_a_place_that_cannot_be_written_to_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="cannot be written: File exists"):
        save(tmp_path / "file" / "checkpoint.npz", "mine", PROGRESS, NOW)
