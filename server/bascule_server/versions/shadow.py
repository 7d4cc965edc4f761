"""A version whose answers are only compared: it ranks for the same queries, after these were answered.

Of a single call's ranking that another version made, the shadow makes one too, as work that nobody waits for: behind
all other rows, and not at all while many wait. What is counted is how many of the items are the same.
"""

import time
from collections.abc import Callable

from bascule.v1 import recommendation_service_pb2 as pb
from bascule_server.batching.batcher import Batcher
from bascule_server.calls import Call
from bascule_server.errors import ServiceError
from bascule_server.messages.decoding import decode_ranking
from bascule_server.messages.encoding import RowAnswer
from bascule_server.models import Models, ServingModel
from bascule_server.scoring.query import Ranking

MAX_WAITING = 64
"""Rankings that wait to be compared; while there are so many, others are not."""

PATIENCE_SECONDS = 5.0
"""After which one is not worth computing."""

METHOD = "shadow"


class Shadow:
    """Of all models."""

    def __init__(self, models: Models, batcher: Batcher, observe: Callable[[str, float], None]) -> None:
        """Takes what ranks.

        Args:
            models: say which version is the shadow.
            batcher: computes its rankings.
            observe: told the model and how many of the items are the same, from 0 to 1.
        """
        self._models = models
        self._batcher = batcher
        self._observe = observe
        self._waiting = 0

    def compare(self, request: pb.RecommendItemsRequest, served: ServingModel, answer: RowAnswer) -> None:
        """Has the shadow rank too, where there is one and it is not the version that answered."""
        model = served.name_and_version.model
        shadow = self._models.shadow_of(model)
        if shadow is None or shadow.name_and_version.version == served.name_and_version.version:
            return
        if self._waiting >= MAX_WAITING or not isinstance(answer, Ranking):
            return
        try:
            question = decode_ranking(request, shadow.schema)
        except ServiceError:
            # It names a feature or an attribute that the shadow does not have.
            self._observe(model, 0.0)
            return
        self._waiting += 1
        call = Call(METHOD, deadline=time.monotonic() + PATIENCE_SECONDS)
        compared = _Compared(set(answer.item_ids), lambda share: self._compared(model, share))
        self._batcher.submit(shadow.scorer, [question], call, compared, interactive=False)

    def _compared(self, model: str, share: float | None) -> None:
        self._waiting -= 1
        if share is not None:
            self._observe(model, share)


class _Compared:
    """Takes the shadow's answer; see ``batcher.Result``."""

    def __init__(self, item_ids: set[str], tell: Callable[[float | None], None]) -> None:
        self._item_ids = item_ids
        self._tell = tell

    def done(self) -> bool:
        """Nobody leaves."""
        return False

    def set_result(self, answers: list[RowAnswer]) -> None:
        """Compares."""
        (answer,) = answers
        found = set(answer.item_ids) if isinstance(answer, Ranking) else set()
        longest = max(len(found), len(self._item_ids))
        self._tell(len(found & self._item_ids) / longest if longest else 1.0)

    def set_exception(self, _: ServiceError) -> None:
        """It was not computed in time."""
        self._tell(None)
