"""The proof of splits, rules and metrics together: figures that another program got for the same protocols."""

import gzip
from pathlib import Path

import polars as pl
import pytest

from bascule_training.baselines.ease import Ease
from bascule_training.baselines.popularity import Popularity
from bascule_training.data.histories import Histories, of_users
from bascule_training.data.splits import GlobalTime, split, without_rare_items
from bascule_training.evaluation.cases import Cases, cases_of
from bascule_training.evaluation.evaluated import evaluate_baseline
from bascule_training.evaluation.protocol import EvaluationConfig

pytestmark = pytest.mark.slow

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def read(name: str) -> str:
    path = DATA / name
    if not path.is_file():
        pytest.skip(f"the data set, which is no part of the project, is not in {path.parent}")
    return gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()


def movietweetings() -> pl.DataFrame:
    """Ratings of 7 and more."""
    rows = [line.split("::") for line in read("movietweetings-100k/ratings.dat").splitlines()]
    table = pl.DataFrame(rows, ["user_id", "item_id", "value", "time"], orient="row")
    return table.select("user_id", "item_id", pl.col("value", "time").cast(pl.Int64)).filter(pl.col("value") >= 7)


def online_retail() -> pl.DataFrame:
    """What customers first bought of each product: its code begins with five digits, and it has a price."""
    table = pl.read_csv(
        read("online-retail/online_retail.csv.gz").encode(),
        columns=["StockCode", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID"],
        schema_overrides={"StockCode": pl.String, "CustomerID": pl.String},
    )
    is_sale = (pl.col("Quantity") > 0) & (pl.col("UnitPrice") > 0) & pl.col("CustomerID").is_not_null()
    return (
        table.filter(is_sale & pl.col("StockCode").str.contains(r"^\d{5}"))
        .select(user_id="CustomerID", item_id="StockCode", time=pl.col("InvoiceDate").str.to_datetime().dt.epoch("s"))
        .sort("time", maintain_order=True)
        .unique(["user_id", "item_id"], keep="first", maintain_order=True)
    )


def prepared(
    interactions: pl.DataFrame, config: GlobalTime, min_item_interactions: int, rules: EvaluationConfig
) -> tuple[Histories, Cases]:
    """All that may be known before the test, and the test."""
    parts = without_rare_items(split(interactions, config), min_item_interactions)
    known = pl.concat([parts.train, parts.validation])
    item_ids = known["item_id"].unique().sort().to_list()
    rows = {item_id: row for row, item_id in enumerate(item_ids)}
    histories = of_users(known, known["user_id"].unique().sort().to_list(), rows)
    return histories, cases_of(known, parts.test, item_ids, rules=rules)


def test_movietweetings_by_global_time() -> None:
    known, cases = prepared(
        movietweetings(),
        GlobalTime(validation_from=0.7, test_from=0.8),
        min_item_interactions=5,
        rules=EvaluationConfig(min_history=5, cold_items="apart"),
    )
    assert len(cases.counted()) == 1_555
    popularity = evaluate_baseline(Popularity.fit(known, len(cases.item_ids)), cases).summary
    ease = evaluate_baseline(Ease.fit(known, len(cases.item_ids), penalty=100.0), cases).summary
    assert (popularity["recall@20"], popularity["ndcg@20"]) == pytest.approx((0.2068, 0.0954), abs=5e-5)
    assert (ease["recall@20"], ease["ndcg@20"]) == pytest.approx((0.2394, 0.1184), abs=5e-5)


def test_online_retail_items_that_are_new_to_the_customer() -> None:
    known, cases = prepared(
        online_retail(),
        GlobalTime.model_validate({"validation_from": "2011-10-10", "test_from": "2011-11-09"}),
        min_item_interactions=1,
        rules=EvaluationConfig(min_history=1, cold_items="apart"),
    )
    assert len(cases.counted()) == 1_287
    popularity = evaluate_baseline(Popularity.fit(known, len(cases.item_ids)), cases).summary
    ease = evaluate_baseline(Ease.fit(known, len(cases.item_ids), penalty=200.0), cases).summary
    assert (popularity["recall@20"], popularity["ndcg@20"]) == pytest.approx((0.0373, 0.0396), abs=5e-5)
    assert (ease["recall@20"], ease["ndcg@20"]) == pytest.approx((0.1054, 0.1043), abs=5e-5)
