"""Triton's Python backend: copied into its model repository as ``model.py``."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as triton  # type: ignore[import-not-found]  # Triton itself brings it
from peers.our_search import Recommender


class TritonPythonModel:
    """HISTORY int32 [users, 20] -> ITEMS int32 [users, 20], SCORES float32 [users, 20]."""

    def initialize(self, args: dict[str, str]) -> None:
        """Called once."""
        parameters = json.loads(args["model_config"])["parameters"]
        weights, item_vectors = (Path(parameters[name]["string_value"]) for name in ("weights", "item_vectors"))
        self._recommender = Recommender(weights, item_vectors)

    def execute(self, requests: list[Any]) -> list[Any]:
        """A response for each of the requests that Triton gathered."""
        histories = [triton.get_input_tensor_by_name(request, "HISTORY").as_numpy() for request in requests]
        rows, scores = self._recommender.recommend(np.concatenate(histories))
        responses = []
        start = 0
        for history in histories:
            stop = start + len(history)
            tensors = [triton.Tensor("ITEMS", rows[start:stop]), triton.Tensor("SCORES", scores[start:stop])]
            responses.append(triton.InferenceResponse(output_tensors=tensors))
            start = stop
        return responses
