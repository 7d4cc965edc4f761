"""Data and features, read and ready for the towers and the baselines."""

from typing import NamedTuple

import polars as pl

from bascule.v1.artifact_pb2 import Attribute
from bascule_server.scoring.encoder import QueryEncoder
from bascule_training.config import TrainingConfig
from bascule_training.data.features import Declared, declare, history_feature
from bascule_training.dataset import NO_RANKER, Dataset, cases, read_dataset
from bascule_training.evaluation.evaluated import Cases
from bascule_training.fitting.fit import Validation
from bascule_training.publishing.artifact_writer import declare_attributes
from bascule_training.ranking.context import Context
from bascule_training.ranking.outcomes import shown_lists

VALIDATION_CASES = 10_000
"""By how many users, drawn evenly, epochs, settings and branches are compared at the most: half of the 95 % interval of
a mean of NDCG is then about 0.005, and much less between two models, which are compared on the same users. The test is
over all users."""


class Prepared(NamedTuple):
    """Data and features, ready for the towers."""

    dataset: Dataset
    query: Declared
    item: Declared
    attributes: list[Attribute]
    encoder: QueryEncoder
    validation: Validation
    test: Cases
    context: Context
    """What a ranking tower reads of the context of a query."""
    shown: pl.DataFrame | None = None
    """The lists that a ranking tower learns from; see ``outcomes.shown_lists``. None: it learns from the validation
    part."""


def prepare(config: TrainingConfig) -> Prepared:
    """Reads the data and declares the features.

    Raises:
        DataError: the data is not what it should be.
    """
    ranker = config.ranker or NO_RANKER
    dataset = read_dataset(config.data, config.query.features, config.item.features, ranker)
    lists = None if config.data.outcomes is None else shown_lists(config.data.outcomes, dataset.splits, ranker)
    query = declare(config.query.features, dataset.users, "query")
    if config.reads_history:
        is_distinct = config.tower.kind != "history_transformer"
        query.features.insert(0, history_feature(config.query.history_length, distinct=is_distinct))
    context = Context.of(ranker.context, dataset.splits.validation if lists is None else lists)
    encoder = QueryEncoder(query.features, query.vocabularies)
    names = tuple(feature.name for feature in config.query.features)
    splits, rules = dataset.splits, config.evaluation
    return Prepared(
        dataset,
        query,
        declare(config.item.features, dataset.items, "item"),
        declare_attributes(dataset.items, config.item.attributes),
        encoder,
        Validation(
            cases(dataset, splits.train, splits.validation, names, rules, context.names)
            .counted()
            .at_most(VALIDATION_CASES),
            encoder,
        ),
        cases(dataset, dataset.before_test(), splits.test, names, rules, context.names),
        context,
        lists,
    )
