"""What a server has copied is its own: nobody else changes it, all workers share it, and the last takes it away."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from google.protobuf import json_format

from bascule.v1.artifact_pb2 import Manifest
from bascule_server.artifact import file_names
from bascule_server.artifact.reading import ArtifactError
from bascule_server.servable import load_servable
from bascule_server.versions.copies import PrivateCopies

FILE = file_names.ITEM_VECTORS


@pytest.fixture
def published(artifact_folder: Path, tmp_path: Path) -> Path:
    """A published version that one may damage."""
    return Path(shutil.copytree(artifact_folder, tmp_path / "models" / "tiny" / "1"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "copies"


@pytest.fixture
def copies(root: Path) -> PrivateCopies:
    return PrivateCopies(root)


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of each file, by its path."""
    return {each.relative_to(folder).as_posix(): each.read_bytes() for each in folder.rglob("*") if each.is_file()}


def left(root: Path) -> list[str]:
    """What lies there of copies."""
    return sorted(each.name for each in root.iterdir() if each.name != "lock")


def truncate(folder: Path) -> None:
    os.truncate(folder / FILE, 0)


def overwrite(folder: Path) -> None:
    with (folder / FILE).open("r+b") as file:
        file.write(b"\xff" * (folder / FILE).stat().st_size)


def replace_file(folder: Path) -> None:
    (folder / "other").write_bytes(b"other")
    (folder / "other").replace(folder / FILE)


def rename(folder: Path) -> None:
    folder.rename(folder.with_name("2"))


DAMAGES: list[Callable[[Path], None]] = [truncate, overwrite, replace_file, rename, shutil.rmtree]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_copy_is_as_the_artifact_was_whatever_becomes_of_that(
    published: Path, copies: PrivateCopies, damage: Callable[[Path], None]
) -> None:
    before = contents(published)
    copy = copies.take(published)
    damage(published)
    assert contents(copy.folder) == before
    assert load_servable(copy.folder).version == 1
    copy.release()


def test_a_copy_belongs_to_its_user_alone(published: Path, copies: PrivateCopies, root: Path) -> None:
    copies.take(published).release()
    assert [each.stat().st_mode & 0o077 for each in (root, *root.glob("*.lock"))] == [0, 0]


def test_two_who_take_the_same_share_one_copy_until_the_last_lets_go(
    published: Path, copies: PrivateCopies, root: Path
) -> None:
    first, second = copies.take(published), PrivateCopies(root).take(published)
    assert first.folder.samefile(second.folder)
    assert len(left(root)) == 2  # the copy and its lock
    first.release()
    copies.sweep()
    assert load_servable(second.folder).version == 1
    second.release()
    copies.sweep()
    assert left(root) == []


def test_whoever_takes_sweeps_what_nobody_uses(published: Path, copies: PrivateCopies, root: Path) -> None:
    copies.take(published).release()
    (old,) = [each for each in root.iterdir() if each.is_dir()]
    manifest = json.loads((published / file_names.MANIFEST).read_text())
    (published / file_names.MANIFEST).write_text(json.dumps(manifest))
    copy = copies.take(published)
    assert not old.exists()
    assert len(left(root)) == 2
    copy.release()


TAKE = """
import os, sys
from pathlib import Path
from bascule_server.versions.copies import PrivateCopies
copy = PrivateCopies(Path(sys.argv[1])).take(Path(sys.argv[2]))
print(copy.folder, sum(path.stat().st_size for path in copy.folder.rglob("*") if path.is_file()), flush=True)
sys.stdin.read()
"""


def taking(root: Path, published: Path) -> "subprocess.Popen[str]":
    """A process that takes a copy, says which and how large it is, and uses it until its input ends."""
    command = [sys.executable, "-c", TAKE, str(root), str(published)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_processes_that_take_the_same_at_once_all_have_it_whole(
    published: Path, copies: PrivateCopies, root: Path
) -> None:
    processes = [taking(root, published) for _ in range(4)]
    said = [process.stdout.readline() for process in processes if process.stdout]
    copy = copies.take(published)
    size = sum(map(len, contents(published).values()))
    assert said == [f"{copy.folder} {size}\n"] * 4
    copy.release()
    for process in processes:
        copies.sweep()
        assert len(left(root)) == 2
        process.communicate()
    copies.sweep()
    assert left(root) == []


def test_many_who_take_and_let_go_at_once_always_have_it_whole(published: Path, root: Path) -> None:
    count, rounds = 8, 5
    together = threading.Barrier(count, timeout=30)
    expected = contents(published)

    def take(_: int) -> bool:
        copies, are_whole = PrivateCopies(root), True
        for _ in range(rounds):
            together.wait()
            copy = copies.take(published)
            are_whole &= contents(copy.folder) == expected
            copy.release()
            copies.sweep()
        return are_whole

    with ThreadPoolExecutor(count) as takers:
        assert all(takers.map(take, range(count)))
    assert left(root) == []


def test_what_a_process_used_that_was_killed_is_swept(published: Path, copies: PrivateCopies, root: Path) -> None:
    with taking(root, published) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    assert len(left(root)) == 2
    copies.sweep()
    assert left(root) == []


@pytest.mark.parametrize("has_lock", [True, False])
def test_a_copy_that_was_made_by_half_is_made_anew(
    published: Path, copies: PrivateCopies, root: Path, has_lock: bool
) -> None:
    copies.take(published).release()
    (whole,) = [each for each in root.iterdir() if each.is_dir()]
    whole.rename(whole.with_suffix(".part"))
    os.truncate(next(root.glob(f"*.part/*/*/{FILE}")), 1)
    if not has_lock:
        whole.with_suffix(".lock").unlink()
    copy = copies.take(published)
    assert contents(copy.folder) == contents(published)
    assert len(left(root)) == 2
    copy.release()


def test_what_could_not_be_copied_leaves_nothing_behind(published: Path, copies: PrivateCopies, root: Path) -> None:
    (published / FILE).unlink()
    with pytest.raises(ArtifactError, match=f"{FILE} is missing"):
        copies.take(published)
    copies.sweep()
    assert left(root) == []


def a_folder_for_others(root: Path) -> None:
    root.mkdir()
    root.chmod(0o777)


def a_link(root: Path) -> None:
    root.with_name("elsewhere").mkdir(mode=0o700)
    root.symlink_to(root.with_name("elsewhere"))


def a_link_to_nothing(root: Path) -> None:
    root.symlink_to(root.with_name("nothing"))


def a_file(root: Path) -> None:
    root.touch()


ROOTS = [a_folder_for_others, a_link, a_link_to_nothing, a_file]


@pytest.mark.parametrize("make", ROOTS)
def test_a_place_that_is_no_folder_of_this_user_alone_is_refused(
    published: Path, copies: PrivateCopies, root: Path, make: Callable[[Path], None]
) -> None:
    make(root)
    with pytest.raises(ArtifactError, match=rf"{root}: got .*; expected a folder of this user alone: .* TMPDIR"):
        copies.take(published)
    copies.sweep()
    assert not root.with_name("nothing").exists()
    assert not root.is_dir() or list(root.iterdir()) == []


WITHOUT_ROOM = """
import resource, sys
from pathlib import Path
from bascule_server.artifact.reading import ArtifactError
from bascule_server.versions.copies import PrivateCopies
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    PrivateCopies(Path(sys.argv[1])).take(Path(sys.argv[2]))
except ArtifactError as error:
    print(error)
"""


def test_without_room_for_a_copy_one_is_told_how_to_mend_it_and_nothing_takes_up_room(
    published: Path, root: Path
) -> None:
    command = [sys.executable, "-c", WITHOUT_ROOM, str(root), str(published)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert said.startswith(f"{published}: cannot be copied to {root}: File too large; make room there")
    assert "TMPDIR" in said
    assert [each for each in left(root) if not each.endswith(".lock")] == []


def a_missing_file(folder: Path) -> None:
    (folder / FILE).unlink()


def a_further_file(folder: Path) -> None:
    (folder / "further").touch()


def a_linked_file(folder: Path) -> None:
    (folder / FILE).rename(folder.parent / FILE)
    (folder / FILE).symlink_to(folder.parent / FILE)


def a_longer_file(folder: Path) -> None:
    with (folder / FILE).open("ab") as file:
        file.write(b"\0")


def a_pipe(folder: Path) -> None:
    (folder / FILE).unlink()
    os.mkfifo(folder / FILE)


def a_path_that_leaves(folder: Path) -> None:
    manifest = json_format.Parse((folder / file_names.MANIFEST).read_text(), Manifest())
    manifest.files[0].path = f"../{manifest.files[0].path}"
    (folder / file_names.MANIFEST).write_text(json_format.MessageToJson(manifest))


def no_manifest(folder: Path) -> None:
    (folder / file_names.MANIFEST).unlink()


WRONG = [
    (a_missing_file, f"{FILE} is missing"),
    (a_further_file, "further is not in the manifest"),
    (a_linked_file, "got a link; expected a plain file"),
    (a_pipe, "expected a plain file"),
    (a_longer_file, "bytes; the manifest says"),
    (a_path_that_leaves, "expected one inside the folder"),
    (no_manifest, "manifest.json is missing"),
]


@pytest.mark.parametrize(("make", "complaint"), WRONG)
def test_what_is_no_artifact_is_not_copied(
    published: Path, copies: PrivateCopies, make: Callable[[Path], None], complaint: str
) -> None:
    make(published)
    with pytest.raises(ArtifactError, match=complaint):
        copies.take(published)


def test_where_files_cannot_be_shared_between_places_they_are_read_and_written(
    published: Path, copies: PrivateCopies, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> int:
        raise OSError(errno.EXDEV, "not between these file systems")

    monkeypatch.setattr(os, "copy_file_range", refused)
    copy = copies.take(published)
    assert contents(copy.folder) == contents(published)
    copy.release()


def test_by_default_copies_lie_in_the_temporary_folder(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    copy = PrivateCopies().take(published)
    assert copy.folder.is_relative_to(tmp_path / f"bascule-{os.getuid()}")
    copy.release()
