"""What is popular now: newer interactions count more where that predicts better, and nothing that was had is at 0."""

import numpy as np
import polars as pl

from bascule_training.data.histories import Histories, of_users
from bascule_training.evaluation.cases import Cases, cases_of
from bascule_training.publishing.recent_popularity import LEAST, recent_popularity

DAY = 86_400
ITEMS = ["old", "new", "other", "unseen"]
ROWS = {item_id: row for row, item_id in enumerate(ITEMS)}


def log(*interactions: tuple[str, str, int]) -> pl.DataFrame:
    return pl.DataFrame(interactions, schema=["user_id", "item_id", "time"], orient="row")


def histories(interactions: pl.DataFrame) -> Histories:
    return of_users(interactions, sorted(set(interactions["user_id"])), ROWS)


OFTEN_LONG_AGO = log(
    *((f"a{number}", "old", 0) for number in range(9)),
    *((f"b{number}", "new", 400 * DAY) for number in range(5)),
    ("c", "other", 400 * DAY),
)


def asked(wanted: str) -> Cases:
    return cases_of(OFTEN_LONG_AGO, log(("c", wanted, 401 * DAY)), ITEMS)


def test_newer_interactions_count_more_where_they_say_more_of_what_follows() -> None:
    known = histories(OFTEN_LONG_AGO)
    found = recent_popularity(known, asked("new"), known)
    assert found.half_life_days is not None
    assert found.counts[1] > found.counts[0]


def test_all_count_alike_where_that_says_more() -> None:
    known = histories(OFTEN_LONG_AGO)
    found = recent_popularity(known, asked("old"), known)
    assert found.half_life_days is None
    assert found.counts.tolist() == [9, 5, 1, 0]


def test_whatever_somebody_had_however_long_ago_is_above_0() -> None:
    known = histories(log(("a", "old", 0), ("b", "new", 100_000 * DAY), ("c", "other", 100_000 * DAY)))
    cases = cases_of(OFTEN_LONG_AGO, log(("c", "new", 401 * DAY)), ITEMS)
    found = recent_popularity(histories(OFTEN_LONG_AGO), cases, known)
    assert found.half_life_days is not None
    assert (found.counts > 0).tolist() == [True, True, True, False]
    assert found.counts[0] == np.float64(LEAST)


def test_without_times_all_count_alike() -> None:
    untimed = OFTEN_LONG_AGO.with_columns(time=pl.lit(None, pl.Int64))
    known = histories(untimed)
    assert known.times is None
    assert recent_popularity(known, asked("new"), known).half_life_days is None
