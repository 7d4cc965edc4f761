"""What is loaded is what was trained, or nothing is loaded."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bascule_server.artifact import file_names
from bascule_server.artifact.reading import ArtifactError, read_manifest, verify
from bascule_server.scoring.golden import read_golden
from bascule_server.servable import load_servable


@pytest.fixture
def copied(artifact_folder: Path, tmp_path: Path) -> Path:
    """A copy of the small model's artifact, to be damaged."""
    return Path(shutil.copytree(artifact_folder, tmp_path / "tiny" / "1"))


def test_a_published_artifact_loads(artifact_folder: Path) -> None:
    servable = load_servable(artifact_folder)
    assert (servable.model, servable.version) == ("tiny", 1)
    assert servable.manifest.item_count == 120
    assert servable.manifest.dimension == 16
    assert set(servable.manifest.metrics) >= {"ndcg@10", "recall@20", "coverage@100"}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(data=st.data())
def test_a_flipped_bit_in_any_file_is_found(copied: Path, data: st.DataObject) -> None:
    names = [file.path for file in read_manifest(copied).files]
    path = copied / data.draw(st.sampled_from(names))
    whole = path.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    try:
        with pytest.raises(ArtifactError, match="damaged"):
            load_servable(copied)
    finally:
        path.write_bytes(whole)


def _remove_vectors(folder: Path) -> None:
    (folder / file_names.ITEM_VECTORS).unlink()


def _truncate_vectors(folder: Path) -> None:
    path = folder / file_names.ITEM_VECTORS
    path.write_bytes(path.read_bytes()[:-4])


def _add_a_file(folder: Path) -> None:
    (folder / "notes.txt").write_text("hello")


def _link_vectors(folder: Path) -> None:
    path = folder / file_names.ITEM_VECTORS
    path.rename(folder.parent / "elsewhere.npy")
    path.symlink_to(folder.parent / "elsewhere.npy")


def _remove_manifest(folder: Path) -> None:
    (folder / file_names.MANIFEST).unlink()


def _break_manifest(folder: Path) -> None:
    (folder / file_names.MANIFEST).write_text("{")


def _leave_the_folder(folder: Path) -> None:
    path = folder / file_names.MANIFEST
    path.write_text(path.read_text().replace('"items.parquet"', '"../items.parquet"'))


def _come_from_the_future(folder: Path) -> None:
    path = folder / file_names.MANIFEST
    path.write_text(path.read_text().replace('"schema_version": 1', '"schema_version": 99'))


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (_remove_vectors, "item_vectors.npy is missing"),
        (_truncate_vectors, r"got [\d,]+ bytes; the manifest says"),
        (_add_a_file, "notes.txt is not in the manifest"),
        (_link_vectors, "got a link"),
        (_remove_manifest, "manifest.json is missing"),
        (_break_manifest, "not a manifest"),
        (_leave_the_folder, r"got the path '\.\./items.parquet'"),
        (_come_from_the_future, "schema version 99"),
    ],
)
def test_damage_is_refused_in_one_sentence(copied: Path, damage: Callable[[Path], None], complaint: str) -> None:
    damage(copied)
    with pytest.raises(ArtifactError, match=complaint):
        load_servable(copied)


@pytest.mark.parametrize("change", [_truncate_vectors, _add_a_file, _link_vectors, _remove_vectors])
def test_what_changes_between_the_check_and_the_use_is_refused(copied: Path, change: Callable[[Path], None]) -> None:
    verified = verify(copied, read_manifest(copied))
    verified.check()
    change(copied)
    with pytest.raises(ArtifactError, match="changed while it was loaded"):
        verified.check()


def test_bytes_that_were_exchanged_and_put_back_are_refused_too(copied: Path) -> None:
    verified = verify(copied, read_manifest(copied))
    path = copied / file_names.ITEM_VECTORS
    status, content = path.stat(), path.read_bytes()
    path.write_bytes(b"x" * len(content))
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(ArtifactError, match=r"item_vectors\.npy changed while it was loaded"):
        verified.check()


def test_a_pipe_in_the_place_of_a_file_is_refused_and_not_waited_for(copied: Path) -> None:
    manifest = read_manifest(copied)
    (copied / "metrics.json").unlink()
    os.mkfifo(copied / "metrics.json")
    next(file for file in manifest.files if file.path == "metrics.json").size_bytes = 0
    with pytest.raises(ArtifactError, match="expected a plain file"):
        verify(copied, manifest)


def test_arrays_that_grow_when_they_are_read_are_refused(copied: Path) -> None:
    np.savez_compressed(copied / file_names.GOLDEN, messages=np.zeros(10**7, np.uint8))
    with pytest.raises(ArtifactError, match="not golden queries: got compressed arrays"):
        read_golden(copied)


def test_a_renamed_version_is_refused(copied: Path) -> None:
    with pytest.raises(ArtifactError, match="says tiny/1, but lies in tiny/2"):
        load_servable(copied.rename(copied.parent / "2"))


def test_vectors_of_another_training_are_refused_though_every_hash_matches(copied: Path) -> None:
    from bascule_training.publishing.publish import write_manifest

    vectors = np.load(copied / file_names.ITEM_VECTORS)
    np.save(copied / file_names.ITEM_VECTORS, np.roll(vectors, 1, axis=0))
    write_manifest(copied, read_manifest(copied))
    with pytest.raises(ArtifactError, match="golden query 0 got another ranking"):
        load_servable(copied)


def test_a_tower_of_another_training_is_refused_though_every_hash_matches(copied: Path) -> None:
    from bascule_training.publishing.publish import write_manifest

    path = copied / "vocabularies" / "query" / "country.json"
    path.write_text("[" + ", ".join(reversed(path.read_text().strip("[]").split(", "))) + "]")
    write_manifest(copied, read_manifest(copied))
    with pytest.raises(ArtifactError, match="got another vector"):
        load_servable(copied)


def test_a_version_loads_and_is_proven_without_tensorflow(artifact_folder: Path) -> None:
    program = """
import sys
from pathlib import Path
from bascule_server.servable import load_servable
load_servable(Path(sys.argv[1]))
print(sorted({name.partition(".")[0] for name in sys.modules} & {"tensorflow", "keras", "bascule_training"}))
"""
    ran = subprocess.run(
        [sys.executable, "-c", program, str(artifact_folder)], capture_output=True, text=True, check=True
    )
    assert ran.stdout == "[]\n"
