from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from bascule.v1.artifact_pb2 import Feature, HistoryFeature
from bascule_server.retrieval.retrievers import exact_retrievers
from bascule_server.scoring.catalogue import Catalogue
from bascule_server.scoring.encoder import HISTORY, QueryEncoder
from bascule_server.scoring.item_ids import ItemIds
from bascule_server.scoring.known_users import KnownUsers
from bascule_server.scoring.scorer import Scorer
from bascule_server.scoring.subject import Subjects
from bascule_training.config import DataConfig, FeatureConfig
from bascule_training.dataset import Dataset, read_dataset
from bascule_training.evaluation.cases import Cases, cases_of
from bascule_training.report import contents
from bascule_training.report.contents import (
    DataFacts,
    Next,
    Recommendation,
    data_facts,
    examples_of,
    items_of,
    scored_items_of,
)

# Of each user the last interaction is test and the one before it validation.
LOG = """user_id,item_id,time
A,a,100
A,b,200
A,c,300
B,a,110
B,c,210
B,d,86500
C,a,120
C,b,220
C,d,320
"""
ITEMS = pl.DataFrame(
    {
        "item_id": ["a", "b", "c", "d", "e", "f"],
        "title": ["Alpha", "Beta", None, "Delta", "Epsilon", "Phi"],
        "language": ["en", "en", "fr", None, "fr", "en"],
        "genres": [["war"], ["war", "opera"], [], None, [], []],
        "year": [1990, 1991, None, 1993, 1994, 1995],
    }
)
ATTRIBUTES = ["year", "language", "title", "genres"]
VECTORS = np.eye(6, dtype=np.float32)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    (tmp_path / "log.csv").write_text(LOG)
    ITEMS.write_parquet(tmp_path / "items.parquet")
    config = DataConfig(interactions=tmp_path / "log.csv", items=tmp_path / "items.parquet")
    return read_dataset(config, (), (FeatureConfig(name="year", kind="bucketed"),))


class TestItems:
    def test_names_are_the_first_text_that_differs_from_item_to_item(self, dataset: Dataset) -> None:
        assert items_of(dataset, VECTORS, ATTRIBUTES).names[:2] == ["Alpha", "Beta"]

    def test_an_item_without_a_name_has_its_id(self, dataset: Dataset) -> None:
        assert items_of(dataset, VECTORS, ATTRIBUTES).names[2] == "c"

    def test_without_text_the_names_are_the_ids(self, dataset: Dataset) -> None:
        assert items_of(dataset, VECTORS, ["year"]).names == list("abcdef")

    def test_groups_are_the_first_text_that_items_share(self, dataset: Dataset) -> None:
        items = items_of(dataset, VECTORS, ["title", "language", "genres"])
        assert items.attribute == "language"
        assert items.groups == [("en",), ("en",), ("fr",), (), ("fr",), ("en",)]

    def test_groups_may_be_lists(self, dataset: Dataset) -> None:
        items = items_of(dataset, VECTORS, ["title", "genres", "language"])
        assert items.attribute == "genres"
        assert items.groups == [("war",), ("war", "opera"), (), (), (), ()]

    def test_without_an_attribute_there_are_no_groups(self, dataset: Dataset) -> None:
        items = items_of(dataset, VECTORS, ["title", "year"])
        assert (items.attribute, items.groups) == ("", ())

    def test_popularity_is_that_of_training(self, dataset: Dataset) -> None:
        assert items_of(dataset, VECTORS, ()).popularity.tolist() == [3, 0, 0, 0, 0, 0]


class TestDataFacts:
    def test_counts_and_times(self, dataset: Dataset) -> None:
        facts = data_facts(dataset, duplicates_dropped=2)
        assert facts.user_count == 3
        assert facts.interaction_counts == {"train": 3, "validation": 3, "test": 3}
        assert (facts.first_time, facts.last_time) == (100, 86_500)
        assert (facts.duplicates_dropped, facts.repeated_count) == (2, 0)

    def test_sparsity_is_the_share_of_empty_pairs(self) -> None:
        facts = DataFacts(user_count=10, item_count=20, interaction_counts={}, pair_count=50, duplicates_dropped=0)
        assert facts.sparsity == 0.75

    def test_a_repeated_pair_counts_once(self, tmp_path: Path) -> None:
        (tmp_path / "log.csv").write_text(LOG + "A,a,400\nA,e,500\nB,e,500\n")
        facts = data_facts(read_dataset(DataConfig(interactions=tmp_path / "log.csv"), (), ()), 0)
        assert sum(facts.interaction_counts.values()) == 12
        assert facts.pair_count <= 11
        assert facts.repeated_count == 1  # A and a

    def test_data_without_time_has_none(self, tmp_path: Path) -> None:
        rows = [line.rsplit(",", 1)[0] for line in LOG.splitlines()]
        (tmp_path / "log.csv").write_text("\n".join(rows))
        config = DataConfig.model_validate({"interactions": tmp_path / "log.csv", "columns": {"time": ""}})
        facts = data_facts(read_dataset(config, (), ()), 0)
        assert (facts.first_time, facts.last_time) == (None, None)


@dataclass(frozen=True)
class Newest:
    """A query is the vector of the newest item of the history."""

    item_vectors: NDArray[np.float32]

    def vectors(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        vectors: NDArray[np.float32] = self.item_vectors[inputs[HISTORY][:, -1] - 1]
        return vectors

    def scorer(self) -> Scorer:
        item_ids = [str(row) for row in range(len(self.item_vectors))]
        catalogue = Catalogue(ItemIds(item_ids), np.full(len(item_ids), 1 / len(item_ids), np.float32), {})
        encoder = QueryEncoder([Feature(name=HISTORY, history=HistoryFeature(max_length=50))], {})
        subjects = Subjects(catalogue, KnownUsers([], pl.Series(), {}), encoder.features)
        return Scorer(catalogue, subjects, encoder, self, exact_retrievers(self.item_vectors))


COUNT = 200
NAMES = [f"item number {row}" for row in range(COUNT)]


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    """Items lie on half a circle, so that the best items for a history are the neighbours of its newest."""
    angles = np.linspace(0, np.pi, COUNT)
    return Newest(np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)).scorer()


def walks(*walks: tuple[list[int], list[int]]) -> Cases:
    """A case for each history and what came next."""
    known = [(str(user), str(row)) for user, (history, _) in enumerate(walks) for row in history]
    asked = [(str(user), str(row)) for user, (_, following) in enumerate(walks) for row in following]
    columns = ["user_id", "item_id"]
    item_ids = [str(row) for row in range(COUNT)]
    return cases_of(pl.DataFrame(known, columns, orient="row"), pl.DataFrame(asked, columns, orient="row"), item_ids)


class TestExamples:
    def test_a_user_is_shown_with_what_came_next(self, scorer: Scorer) -> None:
        (example,) = examples_of(scorer, walks(([1, 0], [2, 199])), NAMES)
        assert example.history == ["item number 0", "item number 1"]
        assert example.history_length == 2
        assert [item.name for item in example.recommended] == [f"item number {row}" for row in range(2, 12)]
        assert example.recommended[0] == Recommendation("item number 2", example.recommended[0].score, is_next=True)
        assert example.recommended[0].score == pytest.approx(np.cos(np.pi * 2 / 199))
        assert [item.is_next for item in example.recommended[1:]] == [False] * 9
        assert list(example.following) == [Next("item number 2", 1), Next("item number 199", None)]

    def test_of_a_long_history_the_newest_are_shown(self, scorer: Scorer) -> None:
        (example,) = examples_of(scorer, walks((list(range(30)), [40])), NAMES)
        assert example.history == [f"item number {row}" for row in range(29, 19, -1)]
        assert example.history_length == 30

    def test_items_that_the_catalogue_does_not_have_are_not_shown(self, scorer: Scorer) -> None:
        (example,) = examples_of(scorer, walks(([0], [2, 5_000])), NAMES)
        assert [item.name for item in example.following] == ["item number 2"]

    def test_users_are_chosen_from_the_least_to_the_most_active(self, scorer: Scorer) -> None:
        cases = walks(*(([*range(100, 100 + length)], [0]) for length in (9, 1, 5, 3, 7, 2)))
        chosen = examples_of(scorer, cases, NAMES, count=3)
        assert [example.history_length for example in chosen] == [2, 5, 9]

    def test_fewer_cases_are_all_shown(self, scorer: Scorer) -> None:
        assert len(examples_of(scorer, walks(([0], [1]), ([1], [2])), NAMES, count=6)) == 2


class TestScoredItems:
    def test_of_many_users_some_tell_enough(self, scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(contents, "SCORED_USERS", 3)
        scored = scored_items_of(scorer, walks(*(([0], [1]) for _ in range(10))))
        assert scored.user_count == 3
        assert len(scored.scores) == 300

    def test_every_recommendation_has_its_score_and_whether_it_was_right(self, scorer: Scorer) -> None:
        scored = scored_items_of(scorer, walks(([0], [1, 5_000]), ([199], [0])))
        assert scored.scores.shape == scored.is_next.shape == (200,)
        assert np.flatnonzero(scored.is_next).tolist() == [0]
        assert np.all(np.diff(scored.scores[:100]) <= 0)

    def test_more_cases_than_a_batch_are_all_there(self, scorer: Scorer) -> None:
        scored = scored_items_of(scorer, walks(*(([0], [1]) for _ in range(300))))
        assert scored.is_next.sum() == scored.user_count == 300
