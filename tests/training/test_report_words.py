from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from bascule_server.scoring.query import Query
from bascule_training.data.histories import Histories
from bascule_training.evaluation.cases import Cases
from bascule_training.evaluation.evaluated import Evaluation
from bascule_training.evaluation.metrics import Ranks
from bascule_training.evaluation.protocol import EvaluationConfig
from bascule_training.report.contents import DataFacts
from bascule_training.report.words import Fact, day, evaluation_words, facts, verdict

USERS = 100
ONE_EACH = Histories(np.zeros(USERS, np.int32), np.arange(USERS + 1))
CASES = Cases([Query()] * USERS, ONE_EACH, ONE_EACH, ["a"])


def evaluation(name: str, values: NDArray[np.float64]) -> Evaluation:
    """Of a model with these values, float64 [users], of every metric."""
    by_case = {"ndcg@10": values, "hr@10": values}
    summary = {metric: float(each.mean()) for metric, each in by_case.items()}
    ranks = Ranks(np.ones(USERS, np.int64), np.arange(USERS + 1))
    return Evaluation(name, summary, by_case, np.ones(USERS), USERS, 0, 1.0, CASES, ranks)


EVERY_FIFTH = (np.arange(USERS) % 5 == 0).astype(np.float64)


class TestVerdict:
    def test_it_begins_with_the_users_who_got_something_right(self) -> None:
        told = verdict([evaluation("films", EVERY_FIFTH)])
        assert "For <strong>20.0\u00a0% of users</strong>" in told.headline
        assert told.comparison == "NDCG@10 is 0.2000."

    def test_the_best_of_the_baselines_stands_beside_it(self) -> None:
        baselines = [evaluation("worse", 0.1 * EVERY_FIFTH), evaluation("better", 0.5 * EVERY_FIFTH)]
        told = verdict([evaluation("films", EVERY_FIFTH), *baselines])
        assert "The best baseline, better, manages 10.0\u00a0%." in told.headline
        assert "NDCG@10 is 0.2000 against 0.1000, a difference of +0.1000" in told.comparison

    @pytest.mark.parametrize(
        ("ahead", "meaning"),
        [
            (np.full(USERS, 0.1), "The lead is larger than its error."),
            (np.full(USERS, -0.1), "The baseline is ahead by more than the error."),
            (np.tile([0.1, -0.1], USERS // 2), "on these users the two cannot be told apart."),
        ],
    )
    def test_it_says_whether_the_difference_is_clear(self, ahead: NDArray[np.float64], meaning: str) -> None:
        told = verdict([evaluation("films", 0.5 + ahead), evaluation("EASE", np.full(USERS, 0.5))])
        assert told.comparison.endswith(meaning)

    def test_a_difference_below_zero_has_a_minus(self) -> None:
        told = verdict([evaluation("films", np.full(USERS, 0.4)), evaluation("EASE", np.full(USERS, 0.5))])
        assert "a difference of \u22120.1000 with a 95 % interval from \u22120.1000 to \u22120.1000" in told.comparison

    def test_a_name_cannot_become_a_part_of_the_page(self) -> None:
        told = verdict([evaluation("films", EVERY_FIFTH), evaluation("<b>EASE</b>", EVERY_FIFTH)])
        assert "&lt;b&gt;EASE&lt;/b&gt;" in told.headline


class TestEvaluationWords:
    def test_who_was_asked(self) -> None:
        words = evaluation_words(evaluation("films", EVERY_FIFTH))
        assert words == (
            "100 users of the test part were each recommended items of the whole catalogue, without those of their"
            " history; 100 items were to be found."
        )

    def test_items_that_nobody_can_recommend(self) -> None:
        words = evaluation_words(replace(evaluation("films", EVERY_FIFTH), unknown_count=3))
        assert words.endswith("3 of them are not in the catalogue, and so missed by every model.")

    def test_other_rules(self) -> None:
        rules = EvaluationConfig(exclude_history=False, one_case_per="interaction")
        words = evaluation_words(replace(evaluation("films", EVERY_FIFTH), cases=replace(CASES, rules=rules)))
        assert words.endswith("those of their history among them; 100 interactions, one by one, were to be found.")


class TestFacts:
    data = DataFacts(
        user_count=10,
        item_count=20,
        interaction_counts={"train": 80, "validation": 10, "test": 10},
        pair_count=90,
        duplicates_dropped=1_234,
        first_time=0,
        last_time=86_400 * 400,
    )

    def test_sizes(self) -> None:
        told = {fact.name: (fact.value, fact.note) for fact in facts(self.data)}
        assert told["Users"] == ("10", "10.0 interactions each on average")
        assert told["Items"] == ("20", "5.0 interactions each on average")
        assert told["Interactions, train"] == ("80", "80.0\u00a0%")
        assert told["Sparsity"][0] == "55.00\u00a0%"
        assert told["Duplicates dropped"] == ("1,234", "repeated interactions of a user with an item")

    @pytest.mark.parametrize(
        ("repeated", "note"),
        [(0, "no user had an item twice"), (1_500, "1,500 repeated interactions of a user with an item were kept")],
    )
    def test_where_none_were_dropped_it_says_whether_there_are_any(self, repeated: int, note: str) -> None:
        data = replace(self.data, duplicates_dropped=0, repeated_count=repeated)
        assert Fact("Duplicates dropped", "0", note) in facts(data)

    def test_times(self) -> None:
        told = {fact.name: (fact.value, fact.note) for fact in facts(self.data)}
        assert told["First interaction"] == ("1 January 1970", "")
        assert told["Last interaction"] == ("5 February 1971", "400 days later")

    def test_data_without_time(self) -> None:
        names = [fact.name for fact in facts(replace(self.data, first_time=None, last_time=None))]
        assert "First interaction" not in names

    def test_a_day_is_that_of_utc(self) -> None:
        assert day(874_724_710) == "20 September 1997"
