"""An artifact's manifest as tables for a person."""

from collections.abc import Iterator, Sequence

from rich.table import Table

from bascule.v1.artifact_pb2 import AttributeKind, Feature, ItemIndex, Manifest

HEADLINES = ("ndcg@10", "recall@10", "hr@10", "mrr@10", "coverage@10")


def artifact_tables(manifest: Manifest) -> Iterator[Table]:
    """What it is, what it reads, what its items have, and its files."""
    yield _facts(manifest)
    yield _features("query tower reads", manifest.query_features)
    if manifest.item_features:
        yield _features("item tower reads", manifest.item_features)
    if manifest.ranker.context:
        yield _features("ranking tower reads of the context", manifest.ranker.context)
    if manifest.attributes:
        yield _attributes(manifest)
    yield _files(manifest)


def _facts(manifest: Manifest) -> Table:
    data = manifest.training_data
    facts = {
        "model": manifest.model,
        "version": str(manifest.version),
        "made": manifest.create_time.ToJsonString(),
        "by": ", ".join(f"{name} {version}" for name, version in sorted(manifest.library_versions.items())),
        "items": f"{manifest.item_count:,}",
        "dimension": f"{manifest.dimension:,}",
        "search": _search(manifest.index) if manifest.HasField("index") else "of every item",
        "ranking": f"of the best {manifest.ranker.candidate_count:,}" if manifest.HasField("ranker") else "none",
        "trained on": f"{data.interaction_count:,} interactions of {data.user_count:,} users "
        f"with {data.item_count:,} items",
        "data fingerprint": data.fingerprint,
        **{name: f"{manifest.metrics[name]:.4f}" for name in HEADLINES if name in manifest.metrics},
    }
    if data.HasField("first_time"):
        facts["from, to"] = f"{data.first_time.ToJsonString()}, {data.last_time.ToJsonString()}"
    table = Table(show_header=False)
    for name, value in facts.items():
        table.add_row(name, value)
    return table


def _search(index: ItemIndex) -> str:
    depths = (f"of the best {depth.item_count:,} {depth.recall:.3f} in {depth.probes}" for depth in index.depths)
    return f"in an index of {index.lists:,} lists, finds " + ", ".join(depths)


def _features(title: str, features: Sequence[Feature]) -> Table:
    table = Table("feature", "kind", "detail", title=title)
    for feature in features:
        table.add_row(feature.name, feature.WhichOneof("kind"), _detail(feature))
    return table


def _detail(feature: Feature) -> str:
    match feature.WhichOneof("kind"):
        case "categorical":
            return f"{feature.categorical.size:,} categories"
        case "multi_valued":
            return f"up to {feature.multi_valued.max_count:,} of {feature.multi_valued.size:,} categories"
        case "standardised":
            return f"mean {feature.standardised.mean:.4g}, deviation {feature.standardised.deviation:.4g}"
        case "bucketed":
            return "boundaries " + ", ".join(f"{boundary:.4g}" for boundary in feature.bucketed.boundaries)
        case "text":
            return f"up to {feature.text.max_count:,} n-grams in {feature.text.buckets:,} buckets"
        case _:
            return f"the newest {feature.history.max_length:,}{' distinct' if feature.history.distinct else ''} items"


def _attributes(manifest: Manifest) -> Table:
    table = Table("attribute", "kind", title="items have")
    for attribute in manifest.attributes:
        table.add_row(attribute.name, AttributeKind.Name(attribute.kind).removeprefix("ATTRIBUTE_KIND_").lower())
    return table


def _files(manifest: Manifest) -> Table:
    table = Table("file", "bytes", "SHA-256", title="files")
    table.columns[1].justify = "right"
    for file in manifest.files:
        table.add_row(file.path, f"{file.size_bytes:,}", file.sha256[:16] + "...")
    return table
