"""One version of a model, checked, loaded and proven: what the server serves and what training evaluates."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bascule.v1.artifact_pb2 import Manifest
from bascule_server.artifact import ArtifactError, read_manifest, verify
from bascule_server.catalogue import Catalogue, read_catalogue
from bascule_server.decoding import decode_query
from bascule_server.encoder import QueryEncoder, read_vocabularies
from bascule_server.golden import VECTOR_TOLERANCE, GoldenQueries, read_golden
from bascule_server.known_users import read_known_users
from bascule_server.query import Embed, QueryVector, Question, Rank, Ranking
from bascule_server.retrievers import open_retrievers
from bascule_server.schema import schema_of
from bascule_server.scorer import Scorer
from bascule_server.subject import Subjects
from bascule_server.tower import open_query_tower

FOUND_AGAIN = 0.99
"""The share of the golden items that an index must find again."""


@dataclass(frozen=True, slots=True)
class ServableVersion:
    """One version of a model, ready to answer."""

    manifest: Manifest
    scorer: Scorer

    @property
    def model(self) -> str:
        """The model's name."""
        return self.manifest.model

    @property
    def version(self) -> int:
        """The version, a positive integer."""
        return self.manifest.version


def load_servable(folder: Path) -> ServableVersion:
    """Loads an artifact after checking every file of it, and proves it by its golden queries.

    Raises:
        ArtifactError: a file is missing, damaged or unreadable, or the answers are not those of training.
    """
    manifest = read_manifest(folder)
    verify(folder, manifest)
    catalogue = read_catalogue(folder, manifest)
    encoder = QueryEncoder(manifest.query_features, read_vocabularies(folder, manifest.query_features))
    subjects = Subjects(catalogue, read_known_users(folder, len(catalogue)), encoder.features)
    retrievers = open_retrievers(folder, manifest)
    servable = ServableVersion(manifest, Scorer(catalogue, subjects, encoder, open_query_tower(folder), retrievers))
    prove(servable, read_golden(folder), catalogue)
    return servable


def prove(servable: ServableVersion, golden: GoldenQueries, catalogue: Catalogue) -> None:
    """Replays the golden queries.

    An item may stand elsewhere in a ranking only where its score is as good as equal to the one that stood there. With
    an index it may also be missing, of all rankings one in a hundred: where two lists are as near, rounding decides in
    which of them is searched.

    Raises:
        ArtifactError: an answer is not the one of training.
    """
    schema = schema_of(servable.manifest)
    queries = [decode_query(message, "query", schema) for message in golden.queries]
    rank = Rank(item_count=golden.rows.shape[1], exclude_history=False)
    vectors = servable.scorer.answer([Question(query, Embed()) for query in queries])
    rankings = servable.scorer.answer([Question(query, rank) for query in queries])
    agree = _agree_by_index if servable.manifest.HasField("index") else _agree
    found_again = 0
    for index, (vector, ranking) in enumerate(zip(vectors, rankings, strict=True)):
        tolerance = VECTOR_TOLERANCE * float(np.linalg.norm(golden.vectors[index]))
        if not isinstance(vector, QueryVector) or not np.allclose(
            vector.vector, golden.vectors[index], rtol=0, atol=tolerance
        ):
            raise _unproven(servable, index, "vector")
        if not isinstance(ranking, Ranking) or not agree(ranking, golden, index, catalogue):
            raise _unproven(servable, index, "ranking")
        rows = catalogue.rows(ranking.item_ids)
        found_again += len(np.intersect1d(rows, golden.rows[index]))
    if servable.manifest.HasField("index") and found_again < FOUND_AGAIN * golden.rows.size:
        raise ArtifactError(
            f"{servable.model}/{servable.version}: found {found_again:,} of the {golden.rows.size:,} items that"
            f" training found for the golden queries; expected {FOUND_AGAIN:.0%}: train again with this release"
        )


def _agree(ranking: Ranking, golden: GoldenQueries, index: int, catalogue: Catalogue) -> bool:
    scores = golden.scores[index]
    if len(ranking.scores) != len(scores) or not np.allclose(
        ranking.scores, scores, rtol=0, atol=_score_tolerance(scores)
    ):
        return False
    return _same_scores(ranking, golden, index, catalogue, of_others=float(scores[-1]))


def _agree_by_index(ranking: Ranking, golden: GoldenQueries, index: int, catalogue: Catalogue) -> bool:
    """Whether the items that were found in training too have the scores that they had."""
    return len(ranking.scores) == len(golden.scores[index]) and _same_scores(ranking, golden, index, catalogue)


def _same_scores(
    ranking: Ranking, golden: GoldenQueries, index: int, catalogue: Catalogue, of_others: float | None = None
) -> bool:
    """Whether each item has the score of training, and each that was not found there the score of others, if given."""
    scores = golden.scores[index]
    trained = dict(zip(golden.rows[index].tolist(), scores.tolist(), strict=True))
    rows = catalogue.rows(ranking.item_ids)
    return all(
        abs(expected - score) <= _score_tolerance(scores)
        for row, score in zip(rows.tolist(), ranking.scores.tolist(), strict=True)
        if (expected := trained.get(row, of_others)) is not None
    )


def _score_tolerance(scores: NDArray[np.float32]) -> float:
    return VECTOR_TOLERANCE * max(1.0, float(np.abs(scores).max()))


def _unproven(servable: ServableVersion, index: int, what: str) -> ArtifactError:
    return ArtifactError(
        f"{servable.model}/{servable.version}: golden query {index} got another {what} than training computed; "
        "the files are intact, so this machine or release computes differently: train again with this release"
    )
