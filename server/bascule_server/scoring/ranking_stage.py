"""The second stage: the best items by retrieval, ordered anew by the ranking tower."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bascule.v1.artifact_pb2 import Manifest
from bascule_server.artifact import file_names
from bascule_server.artifact.reading import ArtifactError
from bascule_server.retrieval.retriever import Found, best
from bascule_server.scoring.encoder import Encodable, FeaturesEncoder, read_vocabularies
from bascule_server.scoring.ranker_inputs import RankerInputs, VectorsOf, read_ranker_items
from bascule_server.scoring.tower import LiteRtTower, QueryTower


class RankingStage:
    """Orders candidates by the score of the ranking tower. Called by one thread at a time.

    Attributes:
        candidate_count: how many of the best by retrieval it is made for.
    """

    def __init__(self, inputs: RankerInputs, tower: QueryTower, candidate_count: int) -> None:
        """``tower`` gives float32 [candidates, 1], each row by itself."""
        self.candidate_count = candidate_count
        self._inputs = inputs
        self._tower = tower

    def ranked(self, found: Found, subject: Encodable, directions_of: VectorsOf) -> Found:
        """The same items by the scores of the ranking tower; see ``RankerInputs.of`` for the arguments.

        It is asked about one query at a time, so that an answer does not depend on the queries beside it.
        """
        if not len(found.rows):
            return found
        scores: NDArray[np.float32] = self._tower.vectors(self._inputs.of(found, subject, directions_of))[:, 0]
        return best(found.rows, scores, len(scores))


def open_ranking_stage(folder: Path, manifest: Manifest) -> RankingStage | None:
    """That of an artifact; None where it has no ranking tower.

    Raises:
        ArtifactError: the ranking tower, a vocabulary or what it reads of items is missing, or not what is declared.
    """
    if not manifest.HasField("ranker"):
        return None
    count = manifest.ranker.candidate_count
    context = manifest.ranker.context
    encoder = FeaturesEncoder(context, read_vocabularies(folder, context)) if context else None
    inputs = RankerInputs(read_ranker_items(folder, manifest.item_count), count, encoder)
    path = folder / file_names.RANKER
    try:
        return RankingStage(inputs, LiteRtTower(path), count)
    except (ValueError, RuntimeError, OSError, ImportError) as error:
        raise ArtifactError(f"{path}: the ranking tower cannot be opened: {error}") from error
