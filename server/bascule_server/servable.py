"""One version of a model, checked, loaded and proven: what the server serves and what training evaluates."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bascule.v1.artifact_pb2 import Manifest
from bascule_server.artifact import file_names
from bascule_server.artifact.reading import ArtifactError, Verified, parse_manifest, read_bytes, verify
from bascule_server.artifact.signature import check_signature
from bascule_server.errors import Reason, ServiceError
from bascule_server.messages.decoding import decode_query
from bascule_server.messages.schema import schema_of
from bascule_server.retrieval.retriever import Found
from bascule_server.retrieval.retrievers import open_retrievers
from bascule_server.scoring.catalogue import Catalogue, read_catalogue
from bascule_server.scoring.encoder import QueryEncoder, read_vocabularies
from bascule_server.scoring.golden import VECTOR_TOLERANCE, GoldenQueries, read_golden
from bascule_server.scoring.known_users import read_known_users
from bascule_server.scoring.query import Embed, QueryVector, Question, Rank, Ranking
from bascule_server.scoring.ranking_stage import open_ranking_stage
from bascule_server.scoring.scorer import Scorer
from bascule_server.scoring.subject import Subjects
from bascule_server.scoring.tower import open_query_tower

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

FOUND_AGAIN = 0.99
"""The share of the golden items that an index must find again."""


@dataclass(frozen=True, slots=True)
class ServableVersion:
    """One version of a model, ready to answer."""

    manifest: Manifest
    scorer: Scorer
    folder: Path = Path()
    """That it was loaded from."""
    verified: Verified | None = None
    """Its files; None where it came from none."""

    @property
    def model(self) -> str:
        """The model's name."""
        return self.manifest.model

    @property
    def version(self) -> int:
        """The version, a positive integer."""
        return self.manifest.version


def load_servable(folder: Path, publishers: "Sequence[Ed25519PublicKey]" = ()) -> ServableVersion:
    """Loads an artifact after checking every file of it, and proves it by its golden queries.

    Args:
        folder: of the artifact.
        publishers: one of them must have signed it; none where it need not be signed.

    Raises:
        ArtifactError: it is not signed, a file is missing, damaged or unreadable, or the answers are not those of
            training.
    """
    content = read_bytes(folder / file_names.MANIFEST)
    if publishers:
        check_signature(folder, content, publishers)
    manifest = parse_manifest(folder, content)
    verified = verify(folder, manifest)
    catalogue = read_catalogue(folder, manifest)
    encoder = QueryEncoder(manifest.query_features, read_vocabularies(folder, manifest.query_features))
    subjects = Subjects(catalogue, read_known_users(folder, len(catalogue)), encoder.features)
    retrievers = open_retrievers(folder, manifest)
    tower, ranking_stage = open_query_tower(folder), open_ranking_stage(folder, manifest)
    scorer = Scorer(catalogue, subjects, encoder, tower, retrievers, ranking_stage)
    servable = ServableVersion(manifest, scorer, folder, verified)
    prove(servable, read_golden(folder), catalogue)
    # What was hashed is what was read, and not what lies there since.
    verified.check()
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
    try:
        queries = [decode_query(message, "query", schema) for message in golden.queries]
    except ServiceError as error:
        raise ArtifactError(
            f"{servable.model}/{servable.version}: {file_names.GOLDEN}: {error}", Reason.GOLDEN_DIFFERS
        ) from error
    rank = Rank(item_count=golden.rows.shape[1], exclude_history=False, skip_ranking=True)
    vectors = servable.scorer.answer([Question(query, Embed()) for query in queries])
    rankings = servable.scorer.answer([Question(query, rank) for query in queries])
    has_index = servable.manifest.HasField("index")
    found_again = 0
    for index, (vector, ranking) in enumerate(zip(vectors, rankings, strict=True)):
        tolerance = VECTOR_TOLERANCE * float(np.linalg.norm(golden.vectors[index]))
        if not isinstance(vector, QueryVector) or not _are_near(vector.vector, golden.vectors[index], tolerance):
            raise _unproven(servable, index, "vector")
        trained = Found(golden.rows[index], golden.scores[index])
        found = Found(catalogue.rows(ranking.item_ids), ranking.scores) if isinstance(ranking, Ranking) else None
        if found is None or not _agree(found, trained, may_miss=has_index):
            raise _unproven(servable, index, "ranking")
        if has_index:
            found_again += len(np.intersect1d(found.rows, trained.rows))
    if has_index and found_again < FOUND_AGAIN * golden.rows.size:
        raise ArtifactError(
            f"{servable.model}/{servable.version}: found {found_again:,} of the {golden.rows.size:,} items that"
            f" training found for the golden queries; expected {FOUND_AGAIN:.0%}: train again with this release",
            Reason.GOLDEN_DIFFERS,
        )
    if servable.manifest.HasField("ranker"):
        _prove_ranking(
            servable, golden, catalogue, [Question(query, replace(rank, skip_ranking=False)) for query in queries]
        )


def _prove_ranking(
    servable: ServableVersion, golden: GoldenQueries, catalogue: Catalogue, questions: Sequence[Question]
) -> None:
    """The same of what the ranking tower makes of them."""
    if golden.ranked is None or len(golden.ranked) != len(questions):
        raise ArtifactError(
            f"{servable.model}/{servable.version}: {file_names.GOLDEN} does not say how the ranking tower orders the"
            " golden queries; train again with this release",
            Reason.GOLDEN_DIFFERS,
        )
    may_miss = servable.manifest.HasField("index")
    for index, ranking in enumerate(servable.scorer.answer(questions)):
        found = Found(catalogue.rows(ranking.item_ids), ranking.scores) if isinstance(ranking, Ranking) else None
        if found is None or not _agree(found, golden.ranked[index], may_miss=may_miss):
            raise _unproven(servable, index, "order by the ranking tower")


def _agree(found: Found, trained: Found, *, may_miss: bool) -> bool:
    """Whether each item has the score of training.

    Args:
        found: what is answered.
        trained: what training found.
        may_miss: whether others may stand in the place of items that are missing. If not, each place has its score of
            training, and items that training did not find there score as the last that it did.
    """
    tolerance = VECTOR_TOLERANCE * max(1.0, float(np.abs(trained.scores).max()))
    if len(found.scores) != len(trained.scores):
        return False
    if not may_miss and not _are_near(found.scores, trained.scores, tolerance):
        return False
    of_others = None if may_miss else float(trained.scores[-1])
    expected = dict(zip(trained.rows.tolist(), trained.scores.tolist(), strict=True))
    return all(
        abs(wanted - score) <= tolerance
        for row, score in zip(found.rows.tolist(), found.scores.tolist(), strict=True)
        if (wanted := expected.get(row, of_others)) is not None
    )


def _are_near(found: NDArray[np.float32], trained: NDArray[np.float32], tolerance: float) -> bool:
    """Whether all numbers differ by at most the tolerance; NaN never does."""
    return bool((np.abs(found - trained) <= tolerance).all())


def _unproven(servable: ServableVersion, index: int, what: str) -> ArtifactError:
    return ArtifactError(
        f"{servable.model}/{servable.version}: golden query {index} got another {what} than training computed; "
        "the files are intact, so this machine or release computes differently: train again with this release",
        Reason.GOLDEN_DIFFERS,
    )
