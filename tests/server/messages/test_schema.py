from bascule.v1.artifact_pb2 import BucketedFeature, Feature, Manifest, Ranker, TextFeature
from bascule_server.messages.schema import Schema, schema_of


def test_a_feature_is_given_as_its_kind_says_and_the_history_is_none(schema: Schema) -> None:
    assert schema.feature_kinds == {"country": "category", "age": "number", "tags": "categories"}


def test_a_bucketed_feature_is_given_as_a_number() -> None:
    manifest = Manifest(query_features=[Feature(name="income", bucketed=BucketedFeature(boundaries=[1.0]))])
    assert schema_of(manifest).feature_kinds == {"income": "number"}


def test_a_feature_of_the_context_is_given_as_any_other() -> None:
    hour = Feature(name="hour", bucketed=BucketedFeature(boundaries=[12.0]))
    assert schema_of(Manifest(ranker=Ranker(context=[hour]))).feature_kinds == {"hour": "number"}


def test_a_text_is_given_as_a_category() -> None:
    manifest = Manifest(query_features=[Feature(name="about", text=TextFeature(buckets=16, max_count=4))])
    assert schema_of(manifest).feature_kinds == {"about": "category"}


def test_every_kind_of_feature_but_the_history_can_be_given() -> None:
    kinds = [field.name for field in Feature.DESCRIPTOR.oneofs_by_name["kind"].fields if field.name != "history"]
    features = [Feature(name=kind) for kind in kinds]
    for feature in features:
        getattr(feature, feature.name).SetInParent()
    assert set(schema_of(Manifest(query_features=features)).feature_kinds) == set(kinds)
