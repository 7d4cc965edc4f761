"""The classic model as it is often shown, mended in two steps, and as Bascule trains it, on the same users.

    bascule data generate --out data/generated
    bascule data movielens --out data/movielens
    python benchmarks/classic_model.py data/generated data/movielens

A fifth of the users is held out; of them only the features are known. Every build has the same layers, Adam with the
same learning rate and equally many epochs. The figures are means over three seeds; benchmarks/out/classic_model.json
holds them as a list of {figure, value, unit, floor, reach}.
"""

import argparse
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import polars as pl
import tensorflow as tf
from figures import Figure, write_figures
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from bascule_server.scoring.encoder import FeaturesEncoder
from bascule_training.classic.config import ClassicConfig
from bascule_training.classic.feed import ClassicFeed
from bascule_training.classic.figures import HeadFigures, HeadMeter
from bascule_training.classic.heads import MERGED_OUTPUT, OUTPUTS, Heads
from bascule_training.classic.model import ClassicModel
from bascule_training.config import FeatureConfig
from bascule_training.data.features import Declared, declare, feature_names, feature_rows
from bascule_training.data.histories import Histories, of_users
from bascule_training.data.tables import InteractionColumns, read_interactions, read_users
from bascule_training.evaluation.metrics import ndcg, ranks_in_scores
from bascule_training.towers.feature_embedding import FeatureEmbedding

EPOCHS = 40
SEEDS = (1, 2, 3)
LEARNING_RATE = 1e-3
ROWS_PER_BATCH = 32
Inputs = NDArray[np.float32] | Mapping[str, NDArray[np.int32]]
Outputs = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Users:
    """Some users, as the naive build reads them, as ours does, and what they had."""

    numbers: NDArray[np.float32]
    """[users, features], from 0 to below 1: numbers scaled, categories by their place; 0 where absent."""
    codes: Mapping[str, NDArray[np.int32]]
    histories: Histories
    item_count: int

    def feed(self, seed: int = 1) -> ClassicFeed:
        """In batches."""
        return ClassicFeed(self.codes, self.histories, self.item_count, ROWS_PER_BATCH, seed)

    def had(self) -> NDArray[np.float32]:
        """float32 [users, items], 1 for what they had."""
        had: NDArray[np.float32] = self.histories.matrix(self.item_count).toarray()
        return had


class Data(NamedTuple):
    """One data set, its users parted."""

    name: str
    query: Declared
    train: Users
    unseen: Users


class Figures(NamedTuple):
    """How well one build did."""

    own_loss: tuple[float, float]
    """The sum over the heads that it reports itself, in the first epoch and in the last."""
    heads: Mapping[str, HeadFigures]
    """On the unseen users."""
    ndcg: float
    """NDCG@10 of the merged head on the unseen users."""


def main() -> None:
    """Prints a table for each data set and writes the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, help="with interactions.parquet and users.parquet")
    sets = [read(folder) for folder in parser.parse_args().folders]
    # Ours comes last: it makes TensorFlow deterministic, which then takes another way to the gradient.
    builds: dict[str, Callable[[Data, int], Figures]] = {
        "as often shown": lambda data, seed: numbers_build(data, seed, sums_to_1=False),
        "targets sum to 1": lambda data, seed: numbers_build(data, seed, sums_to_1=True),
        "features coded": codes_build,
        "both: Bascule's": bascule_build,
    }
    found: dict[str, list[Figures]] = {
        name: [mean([build(data, seed) for seed in SEEDS]) for data in sets] for name, build in builds.items()
    }
    found["popularity"] = [popularity(data) for data in sets]
    written: list[Figure] = []
    for number, data in enumerate(sets):
        of_data = {name: each[number] for name, each in found.items()}
        show(data, of_data)
        written += list(rows(data, of_data))
    write_figures("classic_model", written)


def read(folder: Path) -> Data:
    """Every column of the users is a feature; items are those that the users had who are not held out."""
    interactions = read_interactions(folder / "interactions.parquet", InteractionColumns())
    interactions = interactions.with_columns(pl.col("user_id", "item_id").cast(pl.String))  # as the users have them
    users = read_users(folder / "users.parquet").join(interactions, on="user_id", how="semi")
    columns = [name for name in users.columns if name != "user_id"]
    query = declare([_feature(name, users[name].dtype) for name in columns], users, "query")
    codes = FeaturesEncoder(query.features, query.vocabularies).encode(feature_rows(users, feature_names(query)))
    numbers = np.stack([_from_0_to_1(users[name], codes[name]) for name in columns], axis=1).astype(np.float32)
    is_unseen = np.arange(len(users)) % 5 == 0  # users stand in no order that tells anything
    ids = users["user_id"]
    train_ids = ids.filter(pl.Series(~is_unseen))
    items = interactions.join(train_ids.to_frame(), on="user_id", how="semi")["item_id"].unique().sort()
    item_rows = {item_id: row for row, item_id in enumerate(items.to_list())}

    def part(which: NDArray[np.bool_]) -> Users:
        histories = of_users(interactions, ids.filter(pl.Series(which)).to_list(), item_rows)
        return Users(numbers[which], {name: each[which] for name, each in codes.items()}, histories, len(items))

    return Data(folder.name, query, part(~is_unseen), part(is_unseen))


def _feature(name: str, dtype: pl.DataType) -> FeatureConfig:
    return FeatureConfig(name=name, kind="bucketed" if dtype.is_numeric() else "categorical")


def _from_0_to_1(column: pl.Series, codes: NDArray[np.int32]) -> NDArray[np.float64]:
    values = column.cast(pl.Float64).fill_null(strategy="min").to_numpy() if column.dtype.is_numeric() else codes
    scaled: NDArray[np.float64] = (values - values.min()) / (values.max() - values.min() + 1)
    return scaled


def numbers_build(data: Data, seed: int, *, sums_to_1: bool) -> Figures:
    """Numbers straight into an embedding."""
    keras.utils.set_random_seed(seed)
    variables = keras.Input((data.train.numbers.shape[1],))
    embedded = keras.layers.Flatten()(keras.layers.Embedding(input_dim=100, output_dim=10)(variables))
    targets = data.train.had()
    if sums_to_1:
        targets /= targets.sum(axis=1, keepdims=True)
    return fitted(data, variables, embedded, targets, (data.train.numbers, data.unseen.numbers))


def codes_build(data: Data, seed: int) -> Figures:
    """The features as Bascule reads them, and 1 for each item that a user had."""
    keras.utils.set_random_seed(seed)
    variables = {name: keras.Input((), name=name, dtype="int32") for name in data.train.codes}
    embedded = FeatureEmbedding(data.query.features, ClassicConfig().embedding)(variables)
    return fitted(data, variables, embedded, data.train.had(), (data.train.codes, data.unseen.codes))


def fitted(
    data: Data,
    variables: keras.KerasTensor | Mapping[str, keras.KerasTensor],
    embedded: keras.KerasTensor,
    targets: NDArray[np.float32],
    users: tuple[Inputs, Inputs],
) -> Figures:
    """Towers and heads behind ``embedded``, fitted by Keras; ``users`` are those to train on and the unseen ones."""
    model = keras.Model(variables, Heads(data.train.item_count, ClassicConfig())(embedded))
    model.compile(keras.optimizers.Adam(LEARNING_RATE), loss=dict.fromkeys(OUTPUTS, "categorical_crossentropy"))
    train, unseen = users
    done = model.fit(train, dict.fromkeys(OUTPUTS, targets), epochs=EPOCHS, batch_size=ROWS_PER_BATCH, verbose=0)
    losses = done.history["loss"]
    return judged(data, (losses[0], losses[-1]), model.predict(unseen, verbose=0))


def bascule_build(data: Data, seed: int) -> Figures:
    """The features coded, and what a user had as a distribution."""
    model = ClassicModel(ClassicConfig(), data.query.features, data.train.item_count, LEARNING_RATE, seed=seed)
    losses = []
    for epoch in range(EPOCHS):
        for batch in data.train.feed(seed).epoch(epoch):
            model.step(batch)
        losses.append(sum(head.loss for head in model.take_figures().values()))
    outputs = model.outputs(data.unseen.codes)
    return judged(data, (losses[0], losses[-1]), {name: output.numpy() for name, output in outputs.items()})


def judged(data: Data, own_loss: tuple[float, float], outputs: Outputs) -> Figures:
    """The figures of probabilities [unseen users, items] by head."""
    taught = np.flatnonzero(data.unseen.histories.lengths)
    meter = HeadMeter()
    for start, batch in zip(range(0, len(taught), ROWS_PER_BATCH), data.unseen.feed().whole(), strict=True):
        rows = taught[start : start + ROWS_PER_BATCH]
        meter.losses(
            {name: tf.constant(output[rows]) for name, output in outputs.items()}, batch.targets, batch.weights
        )
    relevant = Histories(
        data.unseen.histories.item_rows, np.append(0, np.cumsum(data.unseen.histories.lengths[taught])).astype(np.int64)
    )
    return Figures(
        own_loss, meter.take(), float(ndcg(ranks_in_scores(outputs[MERGED_OUTPUT][taught], relevant), 10).mean())
    )


def popularity(data: Data) -> Figures:
    """What each item's share of all that was had would reach."""
    counts = data.train.had().sum(axis=0)
    outputs = np.tile(counts / counts.sum(), (len(data.unseen.numbers), 1)).astype(np.float32)
    return judged(data, (math.nan, math.nan), dict.fromkeys(OUTPUTS, outputs))


def mean(seeds: list[Figures]) -> Figures:
    """Of each figure over the seeds."""
    heads = {name: HeadFigures(*np.mean([each.heads[name] for each in seeds], axis=0).tolist()) for name in OUTPUTS}
    first, last = np.mean([each.own_loss for each in seeds], axis=0).tolist()
    return Figures((first, last), heads, float(np.mean([each.ndcg for each in seeds])))


def show(data: Data, found: Mapping[str, Figures]) -> None:
    """Prints the table of one data set."""
    title = f"{data.name}: {len(data.unseen.numbers):,} unseen users, {data.train.item_count:,} items"
    heads = [name.removesuffix("_output") for name in OUTPUTS]
    table = Table("", "its own loss, first to last epoch", title=title)
    for column in (*(f"loss {head}" for head in heads), "sum", *(f"accuracy {head}" for head in heads), "NDCG@10"):
        table.add_column(column, justify="right")
    for name, each in found.items():
        losses = [each.heads[head].loss for head in OUTPUTS]
        table.add_row(
            name,
            "" if math.isnan(each.own_loss[0]) else f"{each.own_loss[0]:,.1f} to {each.own_loss[1]:,.1f}",
            *(f"{value:,.2f}" for value in (*losses, sum(losses))),
            *(f"{each.heads[head].accuracy:.3f}" for head in OUTPUTS),
            f"{each.ndcg:.4f}",
        )
    Console(width=160).print(table)


def rows(data: Data, found: Mapping[str, Figures]) -> Iterator[Figure]:
    """The rows of the file."""
    for build, each in found.items():
        of = f"{data.name}, {build}"
        for name, head in each.heads.items():
            yield Figure(f"{of}, loss of {name}", head.loss, "nats")
            yield Figure(f"{of}, accuracy of {name}", head.accuracy, "share of users")
        yield Figure(f"{of}, NDCG@10", each.ndcg, "mean over users")


if __name__ == "__main__":
    main()
