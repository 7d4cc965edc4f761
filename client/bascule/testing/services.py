"""The services, on top of what the functions of a test answer."""

# ruff: noqa: ARG001, ARG002, D102, N802 - names, arguments and documentation are those of the generated classes

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import grpc

from bascule.errors import STATUS_DETAILS_KEY, BasculeError, status_from_failure
from bascule.models import ValueKind
from bascule.standard_protos import health_pb2
from bascule.testing.answering import Answers
from bascule.v1 import artifact_pb2, model_service_pb2
from bascule.v1 import recommendation_service_pb2 as pb
from bascule.v1.model_service_pb2_grpc import ModelServiceServicer
from bascule.v1.recommendation_service_pb2_grpc import RecommendationServiceServicer

_KINDS: dict[ValueKind, Mapping[str, Any]] = {
    ValueKind.CATEGORY: {"categorical": artifact_pb2.CategoricalFeature()},
    ValueKind.NUMBER: {"standardised": artifact_pb2.StandardisedFeature()},
    ValueKind.CATEGORIES: {"multi_valued": artifact_pb2.MultiValuedFeature()},
}


class Recommendations(RecommendationServiceServicer):
    """The service that ranks."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers

    def RecommendItems(
        self, request: pb.RecommendItemsRequest, context: grpc.ServicerContext
    ) -> pb.RecommendItemsResponse:
        with reported(context):
            self._answers.check_model(request.model)
            ranking = self._answers.ranking(request.query, request.options)
            return pb.RecommendItemsResponse(served_by=self._answers.served_by, ranking=ranking)

    def BatchRecommendItems(
        self, request: pb.BatchRecommendItemsRequest, context: grpc.ServicerContext
    ) -> pb.BatchRecommendItemsResponse:
        with reported(context):
            self._answers.check_model(request.model)
            results = self._answers.rankings(request.queries, request.options)
            return pb.BatchRecommendItemsResponse(served_by=self._answers.served_by, results=results)

    def StreamRecommendItems(
        self, request_iterator: Iterator[pb.StreamRecommendItemsRequest], context: grpc.ServicerContext
    ) -> Iterator[pb.StreamRecommendItemsResponse]:
        with reported(context):
            for request in request_iterator:
                self._answers.check_model(request.model)
                results = self._answers.rankings(request.queries, request.options)
                yield pb.StreamRecommendItemsResponse(
                    sequence_id=request.sequence_id, served_by=self._answers.served_by, results=results
                )

    def ScoreItems(self, request: pb.ScoreItemsRequest, context: grpc.ServicerContext) -> pb.ScoreItemsResponse:
        with reported(context):
            self._answers.check_model(request.model)
            scores = self._answers.scores(request.query, request.item_ids)
            return pb.ScoreItemsResponse(served_by=self._answers.served_by, scores=scores)

    def EmbedQueries(self, request: pb.EmbedQueriesRequest, context: grpc.ServicerContext) -> pb.EmbedQueriesResponse:
        with reported(context):
            self._answers.check_model(request.model)
            results = [self._answers.embedding(query) for query in request.queries]
            return pb.EmbedQueriesResponse(served_by=self._answers.served_by, results=results)


class Models(ModelServiceServicer):
    """The service that tells of models, with one of them."""

    def __init__(self, served_by: pb.ModelVersion, features: Mapping[str, ValueKind]) -> None:
        manifest = artifact_pb2.Manifest(model=served_by.model, version=served_by.version)
        for name, kind in features.items():
            manifest.query_features.add(name=name, **_KINDS[kind])
        self._model = model_service_pb2.Model(
            model_version=served_by, state=model_service_pb2.MODEL_STATE_SERVING, manifest=manifest
        )

    def ListModels(
        self, request: model_service_pb2.ListModelsRequest, context: grpc.ServicerContext
    ) -> model_service_pb2.ListModelsResponse:
        return model_service_pb2.ListModelsResponse(models=[self._model])

    def GetModel(
        self, request: model_service_pb2.GetModelRequest, context: grpc.ServicerContext
    ) -> model_service_pb2.GetModelResponse:
        return model_service_pb2.GetModelResponse(model=self._model)


def health_handler(is_serving: Callable[[], bool]) -> grpc.GenericRpcHandler:
    """The method ``Check`` of the health service."""

    def check(request: health_pb2.HealthCheckRequest, context: grpc.ServicerContext) -> health_pb2.HealthCheckResponse:
        status = health_pb2.HealthCheckResponse
        return status(status=status.SERVING if is_serving() else status.NOT_SERVING)

    method = grpc.unary_unary_rpc_method_handler(
        check,
        request_deserializer=health_pb2.HealthCheckRequest.FromString,
        response_serializer=health_pb2.HealthCheckResponse.SerializeToString,
    )
    return grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": method})


@contextmanager
def reported(context: grpc.ServicerContext) -> Iterator[None]:
    """Ends the call with the status that an error within asks for."""
    try:
        yield
    except BasculeError as error:
        status = status_from_failure(error.failure)
        context.set_trailing_metadata(((STATUS_DETAILS_KEY, status.SerializeToString()),))
        context.abort(error.code, error.message)
