"""The model as MLServer runs it."""

from pathlib import Path
from typing import Any

from mlserver import MLModel  # type: ignore[import-not-found]  # in the peer's own environment
from mlserver.codecs import NumpyCodec  # type: ignore[import-not-found]
from mlserver.types import InferenceResponse  # type: ignore[import-not-found]
from peers.our_search import Recommender


class RecommenderRuntime(MLModel):  # type: ignore[misc]  # unknown to the type checker
    """HISTORY int32 [users, 20] -> ITEMS int32 [users, 20], SCORES float32 [users, 20]."""

    async def load(self) -> bool:
        """Called once."""
        parameters = self.settings.parameters.extra
        self._recommender = Recommender(Path(parameters["weights"]), Path(parameters["item_vectors"]))
        return True

    async def predict(self, payload: Any) -> Any:  # noqa: ANN401 - types of MLServer's
        """Answers what MLServer gathered, in one request."""
        rows, scores = self._recommender.recommend(NumpyCodec.decode_input(payload.inputs[0]))
        outputs = [NumpyCodec.encode_output("ITEMS", rows), NumpyCodec.encode_output("SCORES", scores)]
        return InferenceResponse(model_name=self.name, outputs=outputs)
