"""Writes public data sets, as their sources have them, into the tables that training reads.

The sets are no part of the project: MovieLens 100K and Amazon Beauty may not be passed on. Each lies in a folder of its
own: ml-100k (u.data, u.user, u.item, ua.base, ua.test), beauty (Beauty.txt of S3-Rec), movietweetings-100k
(ratings.dat of the snapshot) and online-retail (online_retail.csv.gz, UCI data set 352).
"""

import re
from pathlib import Path

import polars as pl

# fmt: off
GENRES = [
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
]
# fmt: on


def write_tables(data: Path, out: Path) -> None:
    """Writes what there is; a data set whose folder is missing is left out.

    Args:
        data: holds the folders.
        out: gets the Parquet files.
    """
    out.mkdir(parents=True, exist_ok=True)
    for name, write in {
        "ml-100k": _movielens,
        "beauty": _beauty,
        "movietweetings-100k": _movietweetings,
        "online-retail": _online_retail,
    }.items():
        if (data / name).is_dir():
            write(data / name, out)


def _movielens(folder: Path, out: Path) -> None:
    for source, name in {"u.data": "movielens", "ua.base": "movielens_ua_base", "ua.test": "movielens_ua_test"}.items():
        table = pl.read_csv(
            folder / source, separator="\t", has_header=False, new_columns=["user_id", "item_id", "rating", "time"]
        )
        table.write_parquet(out / f"{name}.parquet")
    users = [line.split("|") for line in (folder / "u.user").read_text(encoding="latin-1").splitlines()]
    pl.DataFrame(
        [(user, int(age), gender, occupation) for user, age, gender, occupation, _ in users],
        ["user_id", "age", "gender", "occupation"],
        orient="row",
    ).write_parquet(out / "movielens_users.parquet")
    items = [line.split("|") for line in (folder / "u.item").read_text(encoding="latin-1").splitlines()]
    pl.DataFrame(
        {
            "item_id": [item[0] for item in items],
            "title": [item[1] for item in items],
            "year": [int(item[2][-4:]) if item[2] else None for item in items],
            "genres": [[name for name, flag in zip(GENRES, item[5:], strict=True) if flag == "1"] for item in items],
        }
    ).write_parquet(out / "movielens_items.parquet")


def _beauty(folder: Path, out: Path) -> None:
    lines = [line.split() for line in (folder / "Beauty.txt").read_text().splitlines()]
    rows = [(user, item) for user, *items in lines for item in items]
    pl.DataFrame(rows, ["user_id", "item_id"], orient="row").write_parquet(out / "beauty.parquet")


def _movietweetings(folder: Path, out: Path) -> None:
    rows = [line.split("::") for line in (folder / "ratings.dat").read_text().splitlines()]
    table = pl.DataFrame(rows, ["user_id", "item_id", "rating", "time"], orient="row")
    table.with_columns(pl.col("rating", "time").cast(pl.Int64)).write_parquet(out / "movietweetings.parquet")
    # Such as "0000008::Edison Kinetoscopic Record of a Sneeze (1894)::Documentary|Short".
    movies = [line.split("::") for line in (folder / "movies.dat").read_text(encoding="utf-8").splitlines()]
    pl.DataFrame(
        {
            "item_id": [movie[0] for movie in movies],
            "year": [int(year[1]) if (year := re.search(r"\((\d{4})", movie[1])) else None for movie in movies],
            "genres": [[genre for genre in movie[2].split("|") if genre] for movie in movies],
        },
        schema_overrides={"genres": pl.List(pl.String)},
    ).write_parquet(out / "movietweetings_items.parquet")


def _online_retail(folder: Path, out: Path) -> None:
    """Sales of products: their codes begin with five digits, and they have a price and a customer."""
    table = pl.read_csv(
        folder / "online_retail.csv.gz",
        columns=["StockCode", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID"],
        schema_overrides={"StockCode": pl.String, "CustomerID": pl.String},
    )
    is_sale = (pl.col("Quantity") > 0) & (pl.col("UnitPrice") > 0) & pl.col("CustomerID").is_not_null()
    table.filter(is_sale & pl.col("StockCode").str.contains(r"^\d{5}")).select(
        user_id="CustomerID", item_id="StockCode", time=pl.col("InvoiceDate").str.to_datetime().dt.epoch("s")
    ).write_parquet(out / "online_retail.parquet")
