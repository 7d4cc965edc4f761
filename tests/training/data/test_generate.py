from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bascule_training.data import generate as generator
from bascule_training.data.generate import GENRES, Generated, generate, write
from bascule_training.data.splits import LeaveOneOut, split
from bascule_training.data.tables import read_interactions, read_items, read_users


@pytest.fixture(scope="module")
def generated() -> Generated:
    return generate()


@pytest.fixture(scope="module")
def with_taste(generated: Generated) -> pl.DataFrame:
    """Interactions with the first genre of their item, which is its taste."""
    tastes = generated.items.select("item_id", taste=pl.col("genres").list.first())
    return generated.interactions.join(tastes, on="item_id", maintain_order="left")


def test_equal_seeds_give_equal_tables_and_others_do_not(generated: Generated) -> None:
    again, other = generate(seed=0), generate(seed=1)
    for name in ("interactions", "users", "items"):
        assert getattr(again, name).equals(getattr(generated, name))
        assert not getattr(other, name).equals(getattr(generated, name))


def test_what_is_written_is_read_back_by_the_readers(tmp_path: Path, generated: Generated) -> None:
    write(generated, tmp_path / "deep" / "data")
    assert read_interactions(tmp_path / "deep/data/interactions.parquet").rows() == generated.interactions.rows()
    assert read_users(tmp_path / "deep/data/users.parquet").equals(generated.users)
    assert read_items(tmp_path / "deep/data/items.parquet").equals(generated.items)


@settings(max_examples=25)
@given(st.data())
def test_counts_are_exact_and_nobody_has_an_item_twice(data: st.DataObject) -> None:
    users, items = data.draw(st.integers(1, 30)), data.draw(st.integers(8, 40))
    interactions = data.draw(st.integers(users, users * (items // 2)))
    made = generate(users, items, interactions, seed=data.draw(st.integers(0, 3)))
    assert (len(made.users), len(made.items), len(made.interactions)) == (users, items, interactions)
    assert made.interactions.select("user_id", "item_id").is_unique().all()
    assert made.interactions["user_id"].n_unique() == users
    assert made.interactions["item_id"].is_in(made.items["item_id"].implode()).all()
    assert made.interactions["time"].is_sorted()


def test_blocks_change_neither_counts_nor_uniqueness(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generator, "_BLOCK_ROWS", 100)
    made = generate(users=50, items=80, interactions=1_000)
    assert len(made.interactions) == 1_000
    assert made.interactions["user_id"].n_unique() == 50
    assert made.interactions.select("user_id", "item_id").is_unique().all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"users": 0}, "got 0 users; expected at least 1"),
        ({"items": 7}, "got 7 items; expected at least 8"),
        ({"users": 10, "interactions": 9}, "got 9 interactions; expected from 10, one a user, to 2,500"),
        ({"users": 10, "interactions": 2_501}, "got 2,501 interactions"),
        ({"seed": -1}, "got the seed -1"),
    ],
)
def test_impossible_shapes_are_refused(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        generate(**arguments)


def test_features_are_in_their_ranges(generated: Generated) -> None:
    users, items = generated.users, generated.items
    assert users["age"].is_between(16, 90).all()
    assert items["year"].is_between(1_950, 2_023).all()
    assert (items["price"] > 0).all()
    assert set(items["genres"].explode()) == set(GENRES)
    assert set(items["genres"].list.len()) == {1, 2}
    assert items["genres"].list.eval(pl.element().is_unique().all()).list.first().all()


def test_a_user_has_mostly_items_of_one_taste(with_taste: pl.DataFrame) -> None:
    shares = with_taste.group_by("user_id").agg(pl.col("taste").value_counts(normalize=True))
    top = shares.select(pl.col("taste").list.eval(pl.element().struct.field("proportion").max()).list.first())
    assert top["taste"].mean() > 0.5  # type: ignore[operator]  # eight equal tastes would give little more than 1/8


def test_popular_items_are_far_above_the_middle(generated: Generated) -> None:
    counts = generated.interactions["item_id"].value_counts()["count"].sort(descending=True)
    assert counts[0] > 5 * counts[250]


def test_country_and_age_tell_of_the_taste(generated: Generated, with_taste: pl.DataFrame) -> None:
    main = with_taste.group_by("user_id").agg(pl.col("taste").mode().first())
    users = generated.users.join(main, on="user_id")
    age_by_taste = users.group_by("taste").agg(pl.col("age").mean())
    assert age_by_taste["age"].max() - age_by_taste["age"].min() > 20  # type: ignore[operator]
    most_common = users.group_by("taste").agg(pl.col("country").mode().first())
    assert most_common["country"].n_unique() == len(GENRES)


def follower_share(interactions: pl.DataFrame) -> float:
    """How often an item is followed by the one that follows it most often."""
    pairs = interactions.select("item_id", following=pl.col("item_id").shift(-1).over("user_id")).drop_nulls()
    most_common = pairs.group_by("item_id").agg(pl.col("following").unique_counts().max())
    return float(most_common["following"].sum() / len(pairs))


def test_order_tells_what_comes_next(generated: Generated) -> None:
    shuffled = generated.interactions.sample(fraction=1, shuffle=True, seed=0)
    assert follower_share(generated.interactions) > 2 * follower_share(shuffled)


def test_an_oracle_of_tastes_clearly_beats_popularity(generated: Generated) -> None:
    """It ranks by popularity within the genres that the user had; both leave out what the user had."""
    parts = split(generated.interactions, LeaveOneOut())
    item_rows = {item: row for row, item in enumerate(generated.items["item_id"])}
    tastes = np.array([GENRES.index(genres[0]) for genres in generated.items["genres"]])
    popularity = np.bincount([item_rows[item] for item in parts.train["item_id"]], minlength=len(item_rows))
    had = {user[0]: frame["item_id"].to_list() for user, frame in parts.train.group_by("user_id")}

    def hits(by_taste: bool) -> int:
        found = 0
        for user, item in parts.test.select("user_id", "item_id").iter_rows():
            rows = [item_rows[each] for each in had[user]]
            scores = popularity * np.bincount(tastes[rows], minlength=len(GENRES))[tastes] if by_taste else popularity
            scores = scores.astype(float)
            scores[rows] = -1
            found += int(np.sum(scores >= scores[item_rows[item]]) <= 10)
        return found

    assert hits(by_taste=True) > 1.5 * hits(by_taste=False)
