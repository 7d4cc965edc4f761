"""From messages through the functions of a test to messages."""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias, TypeVar

import grpc
import numpy as np
from numpy.typing import NDArray

from bascule.answers import RANKING_PATHS, read_feature_value
from bascule.errors import BasculeError, Failure, InternalError, NotFoundError, status_from_failure
from bascule.query import Query
from bascule.ranking import ItemAttributes, Ranking, RankingPath
from bascule.requests import feature_message
from bascule.v1 import recommendation_service_pb2 as pb

Recommend: TypeAlias = Callable[[Query], Ranking | Sequence[tuple[str, float]]]
"""What answers a query: ids and scores, best first, or a whole ranking. What it raises fails that query alone."""

Embed: TypeAlias = Callable[[Query], Sequence[float] | NDArray[np.floating]]
"""What makes the vector of a query."""

Answer = TypeVar("Answer")

_PATHS = {path: message for message, path in RANKING_PATHS.items()}


class Answers:
    """From messages through the functions to messages."""

    def __init__(self, recommend: Recommend, embed: Embed | None, served_by: pb.ModelVersion) -> None:
        self.served_by = served_by
        self._recommend = recommend
        self._embed = embed or _no_vectors

    def check_model(self, selector: pb.ModelSelector) -> None:
        """Raises NotFoundError for any model but the one, which is stable."""
        is_known = selector.model in ("", self.served_by.model) and selector.version in (0, self.served_by.version)
        if not is_known or selector.label == pb.VERSION_LABEL_CANARY:
            raise NotFoundError(
                Failure(grpc.StatusCode.NOT_FOUND, "No such model or version is loaded.", "MODEL_NOT_FOUND")
            )

    def ranking(self, message: pb.Query, options: pb.RankingOptions) -> pb.Ranking:
        """The ranking of one query; raises what fails it."""
        query = read_query(message)
        ranking = self._rank(query)
        allowed = [
            place
            for place, item_id in enumerate(ranking.item_ids)
            if item_id not in query.excluded_item_ids
            and (query.candidate_item_ids is None or item_id in query.candidate_item_ids)
        ][: options.item_count]
        return pb.Ranking(
            item_ids=[ranking.item_ids[place] for place in allowed],
            scores=[float(ranking.scores[place]) for place in allowed],
            path=_PATHS.get(ranking.path, pb.RANKING_PATH_UNSPECIFIED),
            unknown_item_ids=ranking.unknown_item_ids,
            attributes=[_item_attributes(ranking.attributes[place]) for place in allowed] if ranking.attributes else (),
        )

    def rankings(self, queries: Iterable[pb.Query], options: pb.RankingOptions) -> list[pb.RankingResult]:
        """A ranking for each query, or what fails it."""
        return [self._ranking_result(query, options) for query in queries]

    def scores(self, message: pb.Query, item_ids: Sequence[str]) -> list[float]:
        """The scores of the items, NaN for those that are not ranked."""
        ranking = self._rank(read_query(message))
        scores = dict(zip(ranking.item_ids, ranking.scores.tolist(), strict=True))
        return [scores.get(item_id, np.nan) for item_id in item_ids]

    def embedding(self, message: pb.Query) -> pb.EmbeddingResult:
        """The vector of a query, or what fails it."""
        try:
            vector = np.asarray(_call(self._embed, read_query(message)), np.float32)
        except BasculeError as error:
            return pb.EmbeddingResult(error=status_from_failure(error.failure))
        return pb.EmbeddingResult(embedding=pb.Embedding(vector=pb.Vector(values=vector.tolist())))

    def _ranking_result(self, query: pb.Query, options: pb.RankingOptions) -> pb.RankingResult:
        try:
            return pb.RankingResult(ranking=self.ranking(query, options))
        except BasculeError as error:
            return pb.RankingResult(error=status_from_failure(error.failure))

    def _rank(self, query: Query) -> Ranking:
        answer = _call(self._recommend, query)
        if isinstance(answer, Ranking):
            return answer
        scores = np.array([score for _, score in answer], np.float32)
        return Ranking([item_id for item_id, _ in answer], scores, RankingPath.PERSONALISED)


def read_query(message: pb.Query) -> Query:
    """The query that a message holds."""
    features = {name: read_feature_value(value) for name, value in message.user.features.items()}
    return Query(
        user_id=message.user.user_id,
        history=tuple(message.user.history),
        features={name: value for name, value in features.items() if value is not None},
        item_id=message.item_id if message.HasField("item_id") else None,
        vector=np.array(message.vector.values, np.float32) if message.HasField("vector") else None,
        excluded_item_ids=tuple(message.excluded_item_ids),
        candidate_item_ids=tuple(message.candidate_item_ids) or None,
    )


def _call(function: Callable[[Query], Answer], query: Query) -> Answer:
    """What the function answers. In a test its errors are best seen in full."""
    try:
        return function(query)
    except BasculeError:
        raise
    except Exception as error:
        message = f"the test's function raised {type(error).__name__}: {error}"
        raise InternalError(Failure(grpc.StatusCode.INTERNAL, message, "INTERNAL")) from error


def _no_vectors(query: Query) -> Sequence[float]:
    raise NotImplementedError("no function was given to make vectors")


def _item_attributes(values: ItemAttributes) -> pb.ItemAttributes:
    return pb.ItemAttributes(values={name: feature_message(value) for name, value in values.items()})
