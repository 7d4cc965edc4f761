import io

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from bascule_training.baselines.popularity import Popularity
from bascule_training.evaluation.cases import Cases, cases_of
from bascule_training.evaluation.evaluated import Evaluation, evaluate_baseline
from bascule_training.evaluation.groups import (
    Group,
    by_activity,
    by_knowledge,
    by_popularity,
    figures,
    groups_table,
)
from bascule_training.evaluation.protocol import EvaluationConfig


def interactions(*pairs: str) -> pl.DataFrame:
    """Each pair is a letter for the user and one for the item."""
    return pl.DataFrame({"user_id": [pair[0] for pair in pairs], "item_id": [pair[1] for pair in pairs]})


BEFORE = interactions("Aa", "Ab", "Ac", "Ba", "Bb", "Ca")
AFTER = interactions("Ad", "Ae", "Ax", "Bc", "Cb", "Cc", "Da", "De")
"""A has three items, B two, C one, D none. Nobody had d and e, of which the catalogue has both; x it has not."""


def cases(**rules: object) -> Cases:
    return cases_of(BEFORE, AFTER, list("abcde"), rules=EvaluationConfig.model_validate(rules))


def evaluated(cases: Cases) -> Evaluation:
    """By a model that ranks a, b, c, d, e."""
    return evaluate_baseline(Popularity(np.arange(5, 0, -1).astype(np.float32)), cases)


def held(cases: Cases, groups: list[Group]) -> dict[str, str]:
    """The items of each group, in the order of the cases."""
    items = [("x", *cases.item_ids)[row + 1] for row in cases.relevant.item_rows.tolist()]
    return {group.name: "".join(np.array(items)[group.holds]) for group in groups}


class TestByKnowledge:
    def test_items_and_users_that_nothing_is_known_of_are_apart(self) -> None:
        assert held(cases(), by_knowledge(cases())) == {
            "known items": "cbc",
            "cold items of the catalogue": "de",
            "items outside the catalogue": "x",
            "users without history": "ae",
        }

    def test_by_the_rules_users_with_a_short_history_are_a_group(self) -> None:
        some = cases(min_history=2, cold_items="apart")
        assert held(some, by_knowledge(some)) == {
            "known items": "c",
            "cold items of the catalogue": "de",
            "items outside the catalogue": "x",
            "users without history": "a",
            "users with a history below 2": "bc",
        }


class TestByActivity:
    def test_users_fall_into_groups_of_about_equal_size(self) -> None:
        assert held(cases(), by_activity(cases(), 2)) == {"history of 0 to 1": "bcae", "history of 2 to 3": "dexc"}

    def test_users_that_do_not_count_are_in_none(self) -> None:
        some = cases(min_history=1)
        assert held(some, by_activity(some, 2)) == {"history of 1": "bc", "history of 2 to 3": "dexc"}

    def test_where_many_are_equal_there_are_fewer_groups(self) -> None:
        before = interactions(*(f"{user}a" for user in "ABCDEFG"), "Hb", "Hc")
        after = interactions(*(f"{user}d" for user in "ABCDEFGH"))
        some = cases_of(before, after, list("abcd"))
        assert [group.name for group in by_activity(some)] == ["history of 1 to 2"]


class TestByPopularity:
    def test_items_to_be_found_fall_into_groups_by_how_many_users_had_them(self) -> None:
        # c had one user, b two, a three.
        assert held(cases(), by_popularity(cases(), 2)) == {"items of 1 users": "cc", "items of 2 to 3 users": "ba"}

    def test_where_nothing_is_known_there_is_no_group(self) -> None:
        cold = cases_of(interactions("Aa"), interactions("Ab"), ["a", "b"])
        assert by_popularity(cold) == []


class TestFigures:
    def test_a_user_is_asked_for_the_items_of_the_group_alone(self) -> None:
        # To A d and e come first and second, to B c, to C b and c, to D a and e first and fifth.
        known, cold, outside, users = figures(evaluated(cases()), by_knowledge(cases()))
        assert (known.case_count, known.relevant_count) == (2, 3)
        assert known.by_case["mrr@10"].tolist() == [1, 1]
        assert cold.by_case["map@10"].tolist() == [1]
        assert outside.means()["recall@10"] == 0
        assert users.by_case["map@10"] == pytest.approx([(1 + 2 / 5) / 2])

    def test_the_groups_of_users_have_the_values_of_the_whole(self) -> None:
        whole = evaluated(cases())
        parts = figures(whole, by_activity(whole.cases, 2))
        together = np.concatenate([part.by_case["ndcg@10"] for part in parts])
        assert sorted(together.tolist()) == pytest.approx(sorted(whole.by_case["ndcg@10"].tolist()))
        assert sum(part.relevant_count for part in parts) == whole.relevant_count

    def test_where_interactions_count_a_user_counts_as_often(self) -> None:
        some = cases(one_case_per="interaction")
        known = figures(evaluated(some), by_knowledge(some))[0]
        assert known.weights.tolist() == [1, 2]
        assert known.means()["mrr@10"] == pytest.approx((1 + 1 + 1 / 2) / 3)

    def test_they_have_intervals(self) -> None:
        users = figures(evaluated(cases()), by_activity(cases(), 1))[0]
        low, high = users.intervals()["ndcg@10"]
        assert low < users.means()["ndcg@10"] < high


def test_the_table_has_a_line_a_group_and_fits_a_terminal() -> None:
    table = groups_table(figures(evaluated(cases()), by_knowledge(cases())))
    console = Console(width=100, file=io.StringIO(), record=True)
    console.print(table)
    lines = console.export_text().splitlines()
    assert lines[0].split() == ["users", "to", "find", "ndcg@10", "recall@10", "hr@10"]
    assert lines[3].split() == ["items", "outside", "the", "catalogue", "1", "1", *["0.0000", "±0.0000"] * 3]
    assert console.measure(table).maximum <= 100
