"""Writes the files of an artifact: towers, items, vectors, users, vocabularies and golden queries.

docs/artifact.md describes them; ``bascule_server.artifact.reading`` and its neighbours read them.
"""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bascule.v1.artifact_pb2 import Attribute, AttributeKind, ItemIndex
from bascule.v1.recommendation_service_pb2 import Query, User
from bascule_server.artifact import file_names
from bascule_server.messages.encoding import encode_feature_value
from bascule_server.retrieval.exact import ExactRetriever
from bascule_server.retrieval.retriever import UNRESTRICTED, Found, Retriever
from bascule_server.retrieval.retrievers import exact_retrievers
from bascule_server.scoring.encoder import QueryEncoder, history_length
from bascule_server.scoring.golden import GoldenQueries, write_golden
from bascule_server.scoring.ranker_inputs import write_ranker_items
from bascule_server.scoring.ranking_stage import RankingStage
from bascule_training.config import IndexConfig
from bascule_training.data.features import Declared, feature_names, feature_rows
from bascule_training.data.tables import DataError, in_utc
from bascule_training.dataset import Dataset
from bascule_training.fitting.fit import Subject
from bascule_training.publishing.export import convert_to_litert, export_ranker, export_saved_model
from bascule_training.publishing.item_index import Built, build_index
from bascule_training.ranking.fitted_ranker import FittedRanker
from bascule_training.towers.two_towers import TwoTowers

GOLDEN_QUERIES = 64
GOLDEN_ITEMS = 20


@dataclass(frozen=True, slots=True)
class Contents:
    """What an artifact is made of."""

    model: TwoTowers
    dataset: Dataset
    query: Declared
    item: Declared
    encoder: QueryEncoder
    publish_users: bool
    index: IndexConfig
    asked: Sequence[Subject]
    """Some hundreds of those whom the model will be asked about, for whom an index is tuned; from 1."""
    popularity: NDArray[np.float64]
    """float64 [items], how many interactions each has, of which newer ones may count more."""
    ranker: FittedRanker | None = None


def write_files(folder: Path, contents: Contents) -> ItemIndex | None:
    """Writes all but the manifest and the metrics; returns what the index is, where there is one."""
    of_context = contents.ranker.context.declared.vocabularies if contents.ranker is not None else {}
    for path, vocabulary in {**contents.query.vocabularies, **contents.item.vocabularies, **of_context}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    vectors = contents.model.item_vectors()
    np.save(folder / file_names.ITEM_VECTORS, vectors)
    _write_items(folder / file_names.ITEMS, contents.dataset, contents.popularity)
    if contents.publish_users:
        _write_users(folder / file_names.USERS, contents)
    _write_towers(folder, contents)
    built = _built_index(contents, vectors)
    if built is not None:
        built.write(folder / file_names.INDEX)
    retriever = ExactRetriever(vectors) if built is None else built.retriever
    if contents.ranker is not None:
        _write_ranker(folder, contents.ranker)
    write_golden(folder / file_names.GOLDEN, golden_queries(contents, retriever))
    return None if built is None else built.declared


def declare_attributes(items: pl.DataFrame, names: Sequence[str]) -> list[Attribute]:
    """The attributes of the items, each of the kind that its column holds.

    Raises:
        DataError: a column is missing, or holds what no attribute can.
    """
    return [Attribute(name=name, kind=_attribute_kind(items, name)) for name in names]


def golden_queries(contents: Contents, retriever: Retriever) -> GoldenQueries:
    """Made-up queries, and their answers as the towers in training and the retriever give them.

    Nobody's: each has a history of items drawn evenly, from one item to as many as the tower reads, and values of the
    features that are each drawn by itself.
    """
    random = np.random.default_rng(GOLDEN_QUERIES)
    lengths = random.integers(1, max(1, history_length(contents.query.features)) + 1, GOLDEN_QUERIES)
    item_ids = contents.dataset.items["item_id"].to_list()
    histories = [random.integers(0, len(item_ids), length) for length in lengths]
    context = None if contents.ranker is None else contents.ranker.context
    columns = [contents.dataset.users[name] for name in feature_names(contents.query)]
    columns += [] if context is None else context.rows.get_columns()
    drawn = [column.sample(GOLDEN_QUERIES, with_replacement=True, seed=seed) for seed, column in enumerate(columns)]
    names = [column.name for column in columns]
    declared = [*contents.query.features, *([] if context is None else context.features)]
    texts = {feature.name for feature in declared if feature.HasField("text")}
    # A text may be what only one person would have written.
    drawn = [
        pl.Series(name, [f"text {number}" for number in range(GOLDEN_QUERIES)]) if name in texts else column
        for name, column in zip(names, drawn, strict=True)
    ]
    features = feature_rows(pl.DataFrame(drawn), names) if names else [{} for _ in histories]
    subjects = [Subject(history, values) for history, values in zip(histories, features, strict=True)]
    query_vectors = contents.model.query_tower().vectors(contents.encoder.encode(subjects))
    counts, restrictions = [GOLDEN_ITEMS] * GOLDEN_QUERIES, [UNRESTRICTED] * GOLDEN_QUERIES
    found = retriever.search(query_vectors, counts, restrictions)
    return GoldenQueries(
        queries=[_message(subject, item_ids) for subject in subjects],
        vectors=query_vectors,
        rows=np.stack([each.rows for each in found]),
        scores=np.stack([each.scores for each in found]),
        ranked=None
        if contents.ranker is None
        else _ranked(contents, contents.ranker, subjects, query_vectors, retriever),
    )


def _ranked(
    contents: Contents,
    ranker: FittedRanker,
    subjects: Sequence[Subject],
    query_vectors: NDArray[np.float32],
    retriever: Retriever,
) -> list[Found]:
    """The best items for each subject by the ranking tower as it is in training."""
    stage = RankingStage(ranker.inputs(), ranker.tower, ranker.candidate_count)
    similar = exact_retrievers(contents.model.item_vectors()).similar
    counts, restrictions = [max(GOLDEN_ITEMS, ranker.candidate_count)] * len(subjects), [UNRESTRICTED] * len(subjects)
    found = retriever.search(query_vectors, counts, restrictions)
    ranked = [stage.ranked(each, subject, similar.vectors_of) for each, subject in zip(found, subjects, strict=True)]
    return [Found(each.rows[:GOLDEN_ITEMS], each.scores[:GOLDEN_ITEMS]) for each in ranked]


def _built_index(contents: Contents, vectors: NDArray[np.float32]) -> Built | None:
    if len(vectors) < contents.index.min_items:
        return None
    asked = contents.model.query_tower().vectors(contents.encoder.encode(contents.asked))
    return build_index(vectors, asked, contents.index.recall)


def _write_items(path: Path, dataset: Dataset, popularity: NDArray[np.float64]) -> None:
    items = dataset.items.drop("popularity", strict=False)
    moments = [in_utc(column) for column in items.iter_columns() if column.dtype in (pl.Date, pl.Datetime)]
    items.with_columns(pl.Series("popularity", popularity), *moments).write_parquet(path)


def _write_users(path: Path, contents: Contents) -> None:
    """What is known of the users when training ends: all their interactions, those of the test part too."""
    dataset = contents.dataset
    names = feature_names(contents.query)
    histories = dataset.histories(dataset.interactions)
    dataset.users.select("user_id", *names).with_columns(histories.lists().alias("history")).write_parquet(path)


def _write_towers(folder: Path, contents: Contents) -> None:
    query_tower = folder / file_names.QUERY_TOWER_SAVED_MODEL
    export_saved_model(query_tower, contents.model.query_tower(), contents.query.features)
    convert_to_litert(query_tower, folder / file_names.QUERY_TOWER_LITERT)
    item_tower = contents.model.item_tower()
    if item_tower is not None:
        export_saved_model(folder / file_names.ITEM_TOWER_SAVED_MODEL, item_tower, contents.item.features)
        convert_to_litert(folder / file_names.ITEM_TOWER_SAVED_MODEL, folder / file_names.ITEM_TOWER_LITERT)


def _write_ranker(folder: Path, ranker: FittedRanker) -> None:
    write_ranker_items(folder / file_names.RANKER_ITEMS, ranker.items)
    with tempfile.TemporaryDirectory() as saved:
        of_context = ranker.context.features
        export_ranker(Path(saved), ranker.tower, ranker.items.number_count, of_context, ranker.item_features)
        convert_to_litert(Path(saved), folder / file_names.RANKER)


def _attribute_kind(items: pl.DataFrame, name: str) -> AttributeKind.ValueType:
    if name not in items.columns:
        raise DataError(f"the attribute {name!r} is no column of the items; there are {', '.join(items.columns)}")
    if name == "popularity":
        raise DataError("the attribute 'popularity' has the name of the count that training makes; rename the column")
    dtype = items[name].dtype
    if dtype.is_numeric():
        return AttributeKind.ATTRIBUTE_KIND_NUMERIC
    if dtype == pl.List(pl.String):
        return AttributeKind.ATTRIBUTE_KIND_MULTI_VALUED
    if dtype in (pl.String, pl.Categorical, pl.Enum, pl.Boolean):
        return AttributeKind.ATTRIBUTE_KIND_CATEGORICAL
    if dtype in (pl.Date, pl.Datetime):
        return AttributeKind.ATTRIBUTE_KIND_TIME
    raise DataError(f"the attribute {name!r} is a column of {dtype}; expected text, numbers, lists of text or times")


def _message(subject: Subject, item_ids: Sequence[str]) -> Query:
    features = {name: encode_feature_value(value) for name, value in subject.features.items()}
    return Query(user=User(history=[item_ids[row] for row in subject.history.tolist()], features=features))
