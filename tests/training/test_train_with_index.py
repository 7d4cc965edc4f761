"""A large catalogue's artifact has an index, is evaluated with it, and is refused with another one."""

import shutil
from pathlib import Path

import faiss
import numpy as np
import pytest

from bascule_server.artifact import file_names
from bascule_server.artifact.reading import ArtifactError, read_manifest
from bascule_server.retrieval.indexed import IndexedRetriever
from bascule_server.retrieval.retrievers import open_retrievers
from bascule_server.scoring.golden import read_golden
from bascule_server.scoring.query import Query, Question, Rank, Ranking
from bascule_server.servable import load_servable
from bascule_training.config import load_config
from bascule_training.data.generate import generate, write
from bascule_training.publishing.publish import write_manifest
from bascule_training.train import train


@pytest.fixture(scope="module")
def folder(tiny_config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact of a small model whose catalogue is called large. Do not write into it."""
    data = tmp_path_factory.mktemp("data")
    write(generate(users=200, items=1_500, interactions=8_000, seed=1), data)
    shutil.copy(tiny_config, data / "tiny.toml")
    config = load_config(data / "tiny.toml", ["index.min_items=1000", "index.recall=0.6", "fit.epochs=1"])
    models = tmp_path_factory.mktemp("indexed")
    return train(config, models, resume=False, observe=lambda _: None, with_baselines=False).folder


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "tiny" / "1"))


def test_the_manifest_says_how_the_index_is_searched(folder: Path) -> None:
    manifest = read_manifest(folder)
    assert file_names.INDEX in {file.path for file in manifest.files}
    assert manifest.index.lists == 64
    assert manifest.index.depths[0].item_count == 30
    assert all(0.6 <= depth.recall < 1 and 1 <= depth.probes <= 16 for depth in manifest.index.depths)


def test_it_is_served_with_the_index_and_proven_by_what_the_index_found_in_training(folder: Path) -> None:
    servable = load_servable(folder)
    assert isinstance(open_retrievers(folder, servable.manifest).ranking, IndexedRetriever)
    golden = read_golden(folder)
    assert golden.rows.shape == (64, 20)
    assert (np.diff(golden.scores) <= 0).all()
    (answer,) = servable.scorer.answer([Question(Query(user_id="u1"), Rank(item_count=5))])
    assert isinstance(answer, Ranking)
    assert len(answer.item_ids) == 5


def test_a_catalogue_that_is_not_large_has_none(artifact_folder: Path) -> None:
    manifest = read_manifest(artifact_folder)
    assert not manifest.HasField("index")
    assert not (artifact_folder / file_names.INDEX).exists()


def test_an_index_of_other_vectors_is_refused_though_every_hash_matches(copied: Path) -> None:
    vectors = np.load(copied / file_names.ITEM_VECTORS)
    index = faiss.read_index(str(copied / file_names.INDEX))
    index.reset()
    index.add(np.roll(vectors, 1, axis=0))
    faiss.write_index(index, str(copied / file_names.INDEX))
    write_manifest(copied, read_manifest(copied))
    with pytest.raises(ArtifactError, match=r"found [\d,]+ of the 1,280 items that training found"):
        load_servable(copied)


def test_other_vectors_than_those_in_the_index_are_refused_though_every_hash_matches(copied: Path) -> None:
    vectors = np.load(copied / file_names.ITEM_VECTORS)
    np.save(copied / file_names.ITEM_VECTORS, np.roll(vectors, 1, axis=0))
    write_manifest(copied, read_manifest(copied))
    with pytest.raises(ArtifactError, match=r"golden query \d+ got another ranking"):
        load_servable(copied)


def test_a_missing_index_is_refused(copied: Path) -> None:
    (copied / file_names.INDEX).unlink()
    with pytest.raises(ArtifactError, match=r"index\.faiss is missing"):
        load_servable(copied)
    write_manifest(copied, read_manifest(copied))
    with pytest.raises(ArtifactError, match=r"index\.faiss: not an index"):
        load_servable(copied)
