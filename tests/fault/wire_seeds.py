"""The methods that are fuzzed, with valid requests of each, of the small model of the tests: where fuzzing begins."""

from collections.abc import Sequence
from typing import Any

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from bascule.v1 import catalogue_service_pb2 as catalogue_pb
from bascule.v1 import model_admin_service_pb2 as admin_pb
from bascule.v1 import model_service_pb2 as models_pb
from bascule.v1 import recommendation_service_pb2 as pb

RECOMMENDATIONS = pb.DESCRIPTOR.services_by_name["RecommendationService"]
SERVICES = {
    "callers": [RECOMMENDATIONS, models_pb.DESCRIPTOR.services_by_name["ModelService"]],
    # Beside callers, whose answers are then those of a catalogue that changes.
    "operators": [
        catalogue_pb.DESCRIPTOR.services_by_name["CatalogueService"],
        admin_pb.DESCRIPTOR.services_by_name["ModelAdminService"],
        RECOMMENDATIONS,
    ],
}
"""Those whose methods are called together."""


def methods_of(which: str) -> list[Any]:
    """Their descriptors."""
    return [method for service in SERVICES[which] for method in service.methods]


MODEL = pb.ModelSelector(model="tiny")
FEATURES = {"country": pb.FeatureValue(category="de"), "age": pb.FeatureValue(number=40)}
QUERIES = [
    pb.Query(user=pb.User(user_id="u1")),
    pb.Query(user=pb.User(history=["i1", "i2"], features=FEATURES), excluded_item_ids=["i3"]),
    pb.Query(item_id="i1", candidate_item_ids=["i2", "i3", "i4"]),
    pb.Query(vector=pb.Vector(values=[0.5] * 16)),
]
DRAMA = pb.AttributeFilter(attribute="genres", any_of=pb.Categories(values=["Drama"]))
NO_HEAT = pb.AttributeFilter(attribute="title", none_of=pb.Categories(values=["Heat"]))
OLD = pb.AttributeFilter(attribute="year", range=pb.NumberRange(min=1950, max=2000))
BEFORE = pb.AttributeFilter(attribute="released", time_range=pb.TimeRange(max=Timestamp(seconds=1_000_000_000)))
OPTIONS = [
    pb.RankingOptions(item_count=5, filters=[DRAMA, OLD], attributes=["title", "genres", "year", "released"]),
    pb.RankingOptions(filters=[NO_HEAT, BEFORE], cap=pb.AttributeCap(attribute="genres", max_count=2)),
    pb.RankingOptions(diversity=0.5, min_score=-1, because_count=2, exclude_history=False, forbid_fallback=True),
]
VALUES = {
    "title": pb.FeatureValue(category="Heat"),
    "genres": pb.FeatureValue(categories=pb.Categories(values=["Drama"])),
    "year": pb.FeatureValue(number=1995),
    "released": pb.FeatureValue(time=Timestamp(seconds=800_000_000)),
}
ITEMS = [
    catalogue_pb.CatalogueItem(item_id="new", values=VALUES),
    catalogue_pb.CatalogueItem(item_id="i1", values={"released": VALUES["released"]}),
    catalogue_pb.CatalogueItem(item_id="i2", values={"year": VALUES["year"], "genres": VALUES["genres"]}),
]

SEEDS: Sequence[Message] = [
    *(pb.RecommendItemsRequest(model=MODEL, query=query) for query in QUERIES),
    *(pb.RecommendItemsRequest(query=QUERIES[1], options=options) for options in OPTIONS),
    *(pb.BatchRecommendItemsRequest(queries=QUERIES, options=options) for options in OPTIONS),
    *(pb.StreamRecommendItemsRequest(sequence_id=7, queries=QUERIES, options=options) for options in OPTIONS),
    *(pb.ScoreItemsRequest(query=query, item_ids=["i1", "i2", "none"]) for query in QUERIES[:1] + QUERIES[3:]),
    pb.EmbedQueriesRequest(queries=[QUERIES[0], QUERIES[2]]),
    models_pb.GetModelRequest(model=MODEL),
    models_pb.ListModelsRequest(),
    *(catalogue_pb.UpsertItemsRequest(model="tiny", items=[item]) for item in ITEMS),
    catalogue_pb.RetireItemsRequest(item_ids=["i5", "new"]),
    catalogue_pb.GetCatalogueRequest(model="tiny"),
    admin_pb.GetServingPlanRequest(model="tiny"),
    admin_pb.SetServingPlanRequest(
        model="tiny", plan=admin_pb.ServingPlan(stable=1, canary=admin_pb.Canary(version=1, weight=0.5))
    ),
    admin_pb.RollBackRequest(model="tiny"),
]
