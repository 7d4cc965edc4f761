"""What goes over the wire to each server: requests as bytes, and answers read from bytes.

The load generators send ready-made bytes, so that they cost the same whoever is asked.
"""

import tempfile
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import grpc
import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_tools import protoc
from numpy.typing import NDArray
from serving_weights import ITEM_COUNT, Questions, Ranked, item_ids

from bascule.v1 import recommendation_service_pb2 as v1

INFERENCE = Path(__file__).parent / "peers" / "inference.proto"
TIMEOUT_SECONDS = 10.0
LARGEST_ERROR = 1e-5
"""By how much a score may differ from the reference's."""


class WireProtocol(Protocol):
    """How to ask for recommendations. One user and many users may be asked for by different methods."""

    def path(self, user_count: int) -> str:
        """``/SERVICE/METHOD``."""

    def request(self, histories: NDArray[np.int32]) -> bytes:
        """The message that asks for users with these histories, int32 [users, history], item rows."""

    def answer(self, response: bytes, user_count: int) -> Ranked:
        """What the answer to so many users says."""


class Bascule:
    """Ours: ``bascule.v1.RecommendationService``, with ids as strings.

    A history's items are not excluded, since the peers do not exclude them either.
    """

    _options = v1.RankingOptions(item_count=ITEM_COUNT, exclude_history=False)

    def path(self, user_count: int) -> str:
        """See ``WireProtocol``."""
        return f"/bascule.v1.RecommendationService/{'' if user_count == 1 else 'Batch'}RecommendItems"

    def request(self, histories: NDArray[np.int32]) -> bytes:
        """See ``WireProtocol``."""
        queries = [v1.Query(user=v1.User(history=item_ids(history))) for history in histories]
        if len(queries) == 1:
            return v1.RecommendItemsRequest(query=queries[0], options=self._options).SerializeToString()
        return v1.BatchRecommendItemsRequest(queries=queries, options=self._options).SerializeToString()

    def answer(self, response: bytes, user_count: int) -> Ranked:
        """See ``WireProtocol``."""
        if user_count == 1:
            rankings = [v1.RecommendItemsResponse.FromString(response).ranking]
        else:
            rankings = [result.ranking for result in v1.BatchRecommendItemsResponse.FromString(response).results]
        rows = [[int(item_id.removeprefix("i")) for item_id in ranking.item_ids] for ranking in rankings]
        return Ranked(np.array(rows, np.int64), np.array([ranking.scores for ranking in rankings], np.float32))


class OpenInference:
    """Triton's and MLServer's: ``inference.GRPCInferenceService``, with tensors as raw bytes."""

    def path(self, user_count: int) -> str:  # noqa: ARG002 - the same for any number
        """See ``WireProtocol``."""
        return "/inference.GRPCInferenceService/ModelInfer"

    def request(self, histories: NDArray[np.int32]) -> bytes:
        """See ``WireProtocol``."""
        message = _message("inference.ModelInferRequest")(model_name="recommend")
        message.inputs.add(name="HISTORY", datatype="INT32", shape=histories.shape)
        message.raw_input_contents.append(histories.tobytes())
        return bytes(message.SerializeToString())

    def answer(self, response: bytes, user_count: int) -> Ranked:
        """See ``WireProtocol``."""
        message = _message("inference.ModelInferResponse").FromString(response)
        contents = {output.name: raw for output, raw in zip(message.outputs, message.raw_output_contents, strict=True)}
        rows = np.frombuffer(contents["ITEMS"], np.int32).reshape(user_count, ITEM_COUNT).astype(np.int64)
        return Ranked(rows, np.frombuffer(contents["SCORES"], np.float32).reshape(user_count, ITEM_COUNT))


@cache
def _message(name: str) -> Any:  # noqa: ANN401 - made at run time
    """The class of a message of the inference protocol."""
    with tempfile.TemporaryDirectory() as folder:
        compiled = Path(folder) / "inference.binpb"
        arguments = [f"-I{INFERENCE.parent}", f"--descriptor_set_out={compiled}", str(INFERENCE)]
        assert protoc.main(["protoc", *arguments]) == 0
        files = descriptor_pb2.FileDescriptorSet.FromString(compiled.read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))


def call(channel: grpc.Channel, path: str, message: bytes, metadata: tuple[tuple[str, str], ...] = ()) -> bytes:
    """What a real client is answered."""
    method: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(path)
    return method(message, timeout=TIMEOUT_SECONDS, wait_for_ready=True, metadata=metadata)


class WrongAnswerError(Exception):
    """A server does not do the job."""


def check(address: str, protocol: WireProtocol, questions: Questions, user_count: int) -> None:
    """Asks for all users of ``questions.checked``, so many a call, with a real client.

    Raises:
        WrongAnswerError: other items, or other scores, than the reference found.
    """
    with grpc.insecure_channel(address) as channel:
        for start in range(0, len(questions.checked), user_count):
            users = slice(start, start + user_count)
            message = protocol.request(questions.checked[users])
            found = protocol.answer(call(channel, protocol.path(user_count), message), user_count)
            rows, scores = (part[users] for part in questions.answers)
            if not np.array_equal(found.rows, rows):
                raise WrongAnswerError(f"{address}: got the items {found.rows}; expected {rows}")
            if not np.allclose(found.scores, scores, rtol=0, atol=LARGEST_ERROR):
                raise WrongAnswerError(f"{address}: got the scores {found.scores}; expected {scores}")
