import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bascule.v1.artifact_pb2 import Manifest
from bascule_server.artifact.reading import ArtifactError, read_manifest, verify
from bascule_training.publishing.publish import PublishError, publish, staged, write_manifest


def write_version(folder: Path, content: str = "hello") -> None:
    """A small artifact, in order by itself."""
    (folder / "tower").mkdir()
    (folder / "tower" / "weights.bin").write_text(content)
    (folder / "items.txt").write_text("i1")
    version = int(folder.name)
    manifest = Manifest(schema_version=1, model="films", version=version, dimension=2, item_count=1)
    write_manifest(folder, manifest)


def published(models: Path) -> list[str]:
    """The versions that a reader finds who looks now, every one of them checked byte for byte."""
    folders = [path.parent for path in models.glob("*/*/manifest.json") if not path.parts[-3].startswith(".")]
    for folder in folders:
        verify(folder, read_manifest(folder))
    return sorted(folder.relative_to(models).as_posix() for folder in folders)


def train_one(models: Path, content: str = "hello") -> Path:
    with staged(models, "films") as folder:
        write_version(folder, content)
        return publish(folder, models)


def test_a_reader_sees_the_whole_of_a_version_or_nothing_of_it(tmp_path: Path) -> None:
    with staged(tmp_path, "films") as folder:
        assert published(tmp_path) == []
        write_version(folder)
        assert published(tmp_path) == []
        assert publish(folder, tmp_path) == tmp_path / "films" / "1"
        assert published(tmp_path) == ["films/1"]
    assert published(tmp_path) == ["films/1"]


def test_a_staged_folder_has_the_final_names_so_that_it_can_be_checked_before(tmp_path: Path) -> None:
    with staged(tmp_path, "films") as folder:
        write_version(folder)
        verify(folder, read_manifest(folder))


def test_the_folder_of_the_models_is_made(tmp_path: Path) -> None:
    assert train_one(tmp_path / "a" / "b") == tmp_path / "a" / "b" / "films" / "1"


def test_versions_count_up_from_the_highest(tmp_path: Path) -> None:
    assert train_one(tmp_path).name == "1"
    assert train_one(tmp_path).name == "2"
    for name in ("10", "latest", ".11", "12a", "1²"):
        (tmp_path / "films" / name).mkdir()
    assert train_one(tmp_path).name == "11"


def test_models_count_apart(tmp_path: Path) -> None:
    train_one(tmp_path)
    with staged(tmp_path, "books") as folder:
        assert folder.parts[-2:] == ("books", "1")


KILLED = """
import os, signal, sys
from pathlib import Path
from bascule_training.publishing.publish import staged
with staged(Path(sys.argv[1]), "films") as folder:
    (folder / "items.txt").write_text("i1")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_run_left_is_removed_by_the_next(tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".staged-")
    assert published(tmp_path) == []
    assert train_one(tmp_path) == tmp_path / "films" / "1"
    assert [path.name for path in tmp_path.iterdir()] == ["films"]


def test_what_a_living_run_writes_is_left_alone(tmp_path: Path) -> None:
    with staged(tmp_path, "films") as folder:
        write_version(folder)
        with staged(tmp_path, "books"):
            verify(folder, read_manifest(folder))
        publish(folder, tmp_path)
    assert published(tmp_path) == ["films/1"]


def test_files_that_are_no_folders_of_ours_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / ".staged-notes").write_text("mine")
    (tmp_path / ".other").mkdir()
    train_one(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".other", ".staged-notes", "films"]


@pytest.mark.parametrize("interruption", [RuntimeError, KeyboardInterrupt])
def test_what_is_interrupted_leaves_nothing(tmp_path: Path, interruption: type[BaseException]) -> None:
    def train_half() -> None:
        with staged(tmp_path, "films") as folder:
            write_version(folder)
            raise interruption

    with pytest.raises(interruption):
        train_half()
    assert list(tmp_path.iterdir()) == []


def test_a_version_that_another_run_published_first_is_left_alone(tmp_path: Path) -> None:
    with staged(tmp_path, "films") as folder:
        write_version(folder, "mine")
        train_one(tmp_path, "theirs")
        with pytest.raises(PublishError, match="1: another run published this version first; train again"):
            publish(folder, tmp_path)
    assert published(tmp_path) == ["films/1"]
    assert (tmp_path / "films" / "1" / "tower" / "weights.bin").read_text() == "theirs"
    assert [path.name for path in tmp_path.iterdir()] == ["films"]


def test_a_place_that_cannot_be_written_to_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PublishError, match="cannot be written to: File exists"), staged(tmp_path / "file", "films"):
        pass


def test_the_manifest_names_every_file_in_order_by_size_and_digest(tmp_path: Path) -> None:
    with staged(tmp_path, "films") as folder:
        write_version(folder)
        files = read_manifest(folder).files
        assert [(file.path, file.size_bytes) for file in files] == [("items.txt", 2), ("tower/weights.bin", 5)]
        # printf hello | sha256sum
        assert files[1].sha256 == "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"


def test_a_manifest_that_is_written_again_forgets_what_is_gone(tmp_path: Path) -> None:
    with staged(tmp_path, "films") as folder:
        write_version(folder)
        (folder / "items.txt").unlink()
        with pytest.raises(ArtifactError, match=r"items\.txt is missing"):
            verify(folder, read_manifest(folder))
        write_manifest(folder, read_manifest(folder))
        verify(folder, read_manifest(folder))
