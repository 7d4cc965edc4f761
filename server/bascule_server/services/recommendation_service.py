"""``bascule.v1.RecommendationService``: each method decodes and validates, has its rows answered, and encodes."""

# ruff: noqa: N802 - the methods are named by the protocol

from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from bascule.v1 import recommendation_service_pb2 as pb
from bascule_server.batching.admission import Admission
from bascule_server.batching.batcher import Batcher
from bascule_server.calls import CURRENT_CALL, Call
from bascule_server.draining import Draining
from bascule_server.errors import Reason, ServiceError
from bascule_server.faults import told
from bascule_server.messages.decoding import (
    Row,
    check_query_count,
    decode_embeddings,
    decode_message,
    decode_ranking,
    decode_rankings,
    decode_scores,
)
from bascule_server.messages.encoding import (
    RowAnswer,
    encode_batch,
    encode_embeddings,
    encode_message,
    encode_recommendation,
    encode_scores,
)
from bascule_server.models import Models, ServingModel
from bascule_server.quick_methods import Reply
from bascule_server.scoring.query import Question
from bascule_server.services.streaming import answer_in_order
from bascule_server.versions.shadow import Shadow

NAME = pb.DESCRIPTOR.services_by_name["RecommendationService"].full_name


class RecommendationService:
    """Answers with the models of ``models``. Knows nothing of the transport but the shape of its methods."""

    def __init__(
        self,
        models: Models,
        admission: Admission,
        batcher: Batcher,
        draining: Draining,
        stream_window: int,
        shadow: Shadow,
    ) -> None:
        self._models = models
        self._admission = admission
        self._batcher = batcher
        self._draining = draining
        self._stream_window = stream_window
        self._shadow = shadow
        self._leave_one = partial(admission.leave, 1)

    def handler(self) -> grpc.GenericRpcHandler:
        """Knows the five methods. Rankings are serialised where they are made, so their methods return bytes."""
        ready = bytes  # which returns bytes as they are
        unary, stream = grpc.unary_unary_rpc_method_handler, grpc.stream_stream_rpc_method_handler
        methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "RecommendItems": unary(self.RecommendItems, pb.RecommendItemsRequest.FromString, ready),
            "BatchRecommendItems": unary(self.BatchRecommendItems, pb.BatchRecommendItemsRequest.FromString, ready),
            "StreamRecommendItems": stream(self.StreamRecommendItems, pb.StreamRecommendItemsRequest.FromString, ready),
            "ScoreItems": unary(
                self.ScoreItems, pb.ScoreItemsRequest.FromString, pb.ScoreItemsResponse.SerializeToString
            ),
            "EmbedQueries": unary(
                self.EmbedQueries, pb.EmbedQueriesRequest.FromString, pb.EmbedQueriesResponse.SerializeToString
            ),
        }
        return grpc.method_handlers_generic_handler(NAME, methods)

    async def RecommendItems(self, request: pb.RecommendItemsRequest, _context: object) -> bytes:
        """One ranking for one query."""
        model = self._admitted(request.model, 1, request.query.user.user_id)
        question = decode_ranking(request, model.schema)
        answer = await self._answer_one(model, question)
        self._shadow.compare(request, model, answer)
        return encode_recommendation(answer, model.name_and_version)

    def recommend_quickly(self, message: bytes, call: Call, reply: Reply) -> None:
        """``RecommendItems`` from its serialised request, for a transport that hands calls over without tasks.

        Raises:
            ServiceError: as ``RecommendItems``.
        """
        request = _parsed(message)
        model = self._models.serving(request.model, request.query.user.user_id, call.access.models)
        call.access.take(1)
        question = decode_ranking(request, model.schema)
        call.row_count = 1
        self._admission.enter(1)
        reply.when_over = self._leave_one
        result = _QuickResult(model, reply, partial(self._shadow.compare, request, model))
        self._batcher.submit(model.scorer, [question], call, result, interactive=True, on_delay=reply.delay)

    async def BatchRecommendItems(self, request: pb.BatchRecommendItemsRequest, _context: object) -> bytes:
        """A ranking, or its own error, for each of many queries."""
        check_query_count(request.queries)
        model = self._admitted(request.model, len(request.queries))
        rows = decode_rankings(request, model.schema)
        answers = await self._answer_many(model, rows)
        return encode_batch(answers, model.name_and_version)

    def StreamRecommendItems(
        self, request_iterator: AsyncIterator[pb.StreamRecommendItemsRequest], _context: object
    ) -> AsyncIterator[bytes]:
        """An answer to each message, in order."""
        return answer_in_order(request_iterator, self._answer_message, self._stream_window, self._draining)

    async def ScoreItems(self, request: pb.ScoreItemsRequest, _context: object) -> pb.ScoreItemsResponse:
        """The scores of given items for one query."""
        model = self._admitted(request.model, 1, request.query.user.user_id)
        question = decode_scores(request, model.schema)
        answer = await self._answer_one(model, question)
        return encode_scores(answer, model.name_and_version)

    async def EmbedQueries(self, request: pb.EmbedQueriesRequest, _context: object) -> pb.EmbedQueriesResponse:
        """The vector, or its own error, of each of many queries."""
        check_query_count(request.queries)
        model = self._admitted(request.model, len(request.queries))
        rows = decode_embeddings(request, model.schema)
        answers = await self._answer_many(model, rows)
        return pb.EmbedQueriesResponse(served_by=model.name_and_version, results=encode_embeddings(answers))

    def _admitted(self, selector: pb.ModelSelector, row_count: int, user_id: str = "") -> ServingModel:
        """The model that a call means, where its caller may ask it for so many rows now."""
        access = CURRENT_CALL.get().access
        model = self._models.serving(selector, user_id, access.models)
        access.take(row_count)
        return model

    async def _answer_one(self, model: ServingModel, question: Question) -> RowAnswer:
        (answer,) = await self._answer_many(model, [question])
        return answer

    async def _answer_many(self, model: ServingModel, rows: Sequence[Row]) -> list[RowAnswer]:
        """The answers to the rows of a call, whose caller waits for just these."""
        with self._admission.admit(len(rows)):
            return await self._answer_rows(model, rows, interactive=True)

    async def _answer_message(self, request: pb.StreamRecommendItemsRequest) -> bytes:
        """The answer to one message of a stream. Its rows wait for room, and where calls wait too, for their turn."""
        check_query_count(request.queries)
        access = await CURRENT_CALL.get().access.take_in_turn(len(request.queries))
        try:
            model = self._models.serving(request.model, allowed=access.models)
        except ServiceError as error:
            return encode_message([error] * len(request.queries), request.sequence_id, None)
        rows = decode_message(request, model.schema)
        async with self._admission.admit_from_stream(len(rows)):
            answers = await self._answer_rows(model, rows, interactive=False)
        return encode_message(answers, request.sequence_id, model.name_and_version)

    async def _answer_rows(self, model: ServingModel, rows: Sequence[Row], *, interactive: bool) -> list[RowAnswer]:
        """The answers to the questions among the rows; what is no question stands in its own answer's place."""
        call = CURRENT_CALL.get()
        call.row_count += len(rows)
        questions = [row for row in rows if isinstance(row, Question)]
        answers = iter(await self._batcher.answer(model.scorer, questions, call, interactive=interactive))
        return [next(answers) if isinstance(row, Question) else row for row in rows]


class _QuickResult:
    """Sends the one ranking of a call as soon as it is there; see ``batcher.Result``."""

    __slots__ = ("_compare", "_model", "_reply")

    def __init__(self, model: ServingModel, reply: Reply, compare: Callable[[RowAnswer], None]) -> None:
        self._model = model
        self._reply = reply
        self._compare = compare

    def done(self) -> bool:
        """Whether nobody waits any more."""
        return self._reply.is_over

    def set_result(self, answers: list[RowAnswer]) -> None:
        """Sends the answer."""
        try:
            message = encode_recommendation(answers[0], self._model.name_and_version)
        except Exception as exception:  # noqa: BLE001 - it concerns this call alone
            self._reply.fail(told(exception))
        else:
            self._reply.send(message)
            self._compare(answers[0])

    def set_exception(self, error: ServiceError) -> None:
        """Sends why there is none."""
        self._reply.fail(error)


def _parsed(message: bytes) -> pb.RecommendItemsRequest:
    try:
        return pb.RecommendItemsRequest.FromString(message)
    except DecodeError:
        raise ServiceError(Reason.MALFORMED_MESSAGE) from None
