import numpy as np
import polars as pl
import pytest

from bascule_server.scoring.query import Query
from bascule_training.evaluation.cases import Cases, cases_of
from bascule_training.evaluation.metrics import UNKNOWN_ROW
from bascule_training.evaluation.protocol import EvaluationConfig


def interactions(*pairs: str) -> pl.DataFrame:
    """Each pair is a letter for the user and one for the item."""
    return pl.DataFrame(
        {"user_id": [pair[0] for pair in pairs], "item_id": [pair[1] for pair in pairs]},
        {"user_id": pl.String, "item_id": pl.String},
    )


class TestWhatIsRelevant:
    def test_relevant_is_what_is_new_to_the_user(self) -> None:
        cases = cases_of(interactions("Aa", "Ab", "Ba"), interactions("Ab", "Ac", "Bb"), ["a", "b", "c"])
        assert [query.history for query in cases.queries] == [("a", "b"), ("a",)]
        assert [rows.tolist() for rows in cases.relevant] == [[2], [1]]

    def test_a_user_to_whom_nothing_is_new_is_no_case(self) -> None:
        cases = cases_of(interactions("Aa", "Ba"), interactions("Aa", "Bb"), ["a", "b"])
        assert [rows.tolist() for rows in cases.relevant] == [[1]]

    def test_an_item_is_relevant_once_however_often_it_comes(self) -> None:
        cases = cases_of(interactions("Aa"), interactions("Ab", "Ab", "Ac"), ["a", "b", "c"])
        assert cases.relevant[0].tolist() == [1, 2]

    def test_items_that_the_catalogue_does_not_have_stay_relevant(self) -> None:
        cases = cases_of(interactions("Aa"), interactions("Ax", "Ay", "Ax", "Ab"), ["a", "b"])
        assert cases.relevant[0].tolist() == [UNKNOWN_ROW, UNKNOWN_ROW, 1]

    def test_where_the_history_is_not_excluded_old_items_are_relevant_too(self) -> None:
        rules = EvaluationConfig(exclude_history=False)
        cases = cases_of(interactions("Aa"), interactions("Aa", "Ab", "Ab"), ["a", "b"], rules=rules)
        assert cases.relevant[0].tolist() == [0, 1]

    def test_where_interactions_are_to_be_found_each_of_them_counts(self) -> None:
        rules = EvaluationConfig(one_case_per="interaction")
        cases = cases_of(interactions("Aa"), interactions("Aa", "Ab", "Ab"), ["a", "b"], rules=rules)
        assert cases.relevant[0].tolist() == [1, 1]

    def test_nothing_to_predict_is_an_error(self) -> None:
        with pytest.raises(ValueError, match="none of the 1 interactions"):
            cases_of(interactions("Aa"), interactions("Aa"), ["a"])


class TestQueries:
    def test_the_query_holds_the_history_oldest_first_and_the_features(self) -> None:
        cases = cases_of(
            interactions("Ab", "Aa", "Ab"), interactions("Ac", "Bc"), ["a", "b", "c"], {"A": {"country": "NZ"}}
        )
        assert list(cases.queries) == [
            Query(history=("b", "a", "b"), features={"country": "NZ"}),
            Query(),
        ]
        assert [rows.tolist() for rows in cases.histories] == [[1, 0, 1], []]

    def test_the_context_is_that_of_the_first_of_what_is_to_be_found(self) -> None:
        after = interactions("Aa", "Ab", "Ac", "Bc").with_columns(hour=pl.Series([1.0, 2.0, 3.0, None]))
        cases = cases_of(interactions("Aa"), after, ["a", "b", "c"], {"A": {"age": 9.0}}, context=["hour"])
        assert [query.features for query in cases.queries] == [{"age": 9.0, "hour": 2.0}, {}]

    def test_some_of_them_are_those_of_their_places(self) -> None:
        cases = cases_of(interactions("Aa", "Bb", "Ca"), interactions("Ac", "Bc", "Cc"), ["a", "b", "c"])
        assert [query.history for query in cases.queries[1:]] == [("b",), ("a",)]
        assert cases.queries[-1] == cases.queries[2]

    def test_no_query_says_who_asks_since_the_artifact_knows_what_they_did_next(self) -> None:
        cases = cases_of(interactions("Aa"), interactions("Ab"), ["a", "b"])
        assert [query.user_id for query in cases.queries] == [""]


class TestAtMost:
    users = "ABCDE"
    """Each had the item of the same letter and turns to f."""

    def cases(self) -> Cases:
        before = interactions(*(user + user.lower() for user in self.users))
        return cases_of(before, interactions(*(user + "f" for user in self.users)), list("abcdef"))

    def test_so_many_are_drawn_each_once_and_always_the_same(self) -> None:
        drawn = self.cases().at_most(3)
        assert len(drawn) == len(drawn.histories) == len(drawn.relevant) == 3
        histories = [tuple(query.history) for query in drawn.queries]
        assert histories == sorted(set(histories))
        assert [(drawn.item_ids[rows[0]],) for rows in drawn.histories] == histories
        assert [tuple(query.history) for query in self.cases().at_most(3).queries] == histories

    def test_where_there_are_no_more_all_of_them_are_taken(self) -> None:
        cases = self.cases()
        assert cases.at_most(5) is cases

    def test_what_is_known_of_the_items_stays_that_of_all(self) -> None:
        assert self.cases().at_most(1).item_users().tolist() == [1, 1, 1, 1, 1, 0]


class TestAudience:
    def test_an_item_has_as_many_users_as_had_it_however_often(self) -> None:
        # C is known, though there is nothing to ask C about, and x is no item of the catalogue.
        cases = cases_of(interactions("Aa", "Aa", "Ba", "Cb", "Cx"), interactions("Ab"), ["a", "b", "c"])
        assert cases.item_users().tolist() == [2, 1, 0]
        assert cases.self_information() == pytest.approx([np.log2(3 / 2), np.log2(3), np.log2(3)])

    def test_where_nobody_says_who_is_known_the_users_of_the_cases_are(self) -> None:
        made = cases_of(interactions("Aa", "Aa", "Ba", "Bb"), interactions("Ac", "Bc"), ["a", "b", "c"])
        told = Cases(made.queries, made.histories, made.relevant, made.item_ids)
        assert told.item_users().tolist() == made.item_users().tolist() == [2, 1, 0]
        assert told.self_information().tolist() == made.self_information().tolist()

    def test_nobody_may_be_known(self) -> None:
        cases = cases_of(interactions(), interactions("Aa"), ["a"])
        assert cases.self_information().tolist() == [0]


class TestWhatCounts:
    """A has a history of two and turns to a known, a cold and an unknown item; B has one of one; C has none."""

    before = interactions("Aa", "Ab", "Bc")
    after = interactions("Ac", "Ad", "Ax", "Ba", "Cd")
    item_ids = ("a", "b", "c", "d")

    def cases(self, **rules: object) -> Cases:
        return cases_of(self.before, self.after, self.item_ids, rules=EvaluationConfig.model_validate(rules))

    def test_an_item_is_cold_where_nobody_had_it_in_the_catalogue_or_not(self) -> None:
        assert self.cases().is_cold().tolist() == [False, True, True, False, True]

    def test_all_counts_unless_told_otherwise(self) -> None:
        assert self.cases().is_counted().all()

    def test_cold_items_can_be_kept_apart(self) -> None:
        assert self.cases(cold_items="apart").is_counted().tolist() == [True, False, False, True, False]

    def test_users_with_short_histories_can_be_kept_apart(self) -> None:
        assert self.cases(min_history=2).is_counted().tolist() == [True, True, True, False, False]

    def test_what_counts_is_a_whole_of_its_own(self) -> None:
        counted = self.cases(cold_items="apart").counted()
        assert [query.history for query in counted.queries] == [("a", "b"), ("c",)]
        assert [rows.tolist() for rows in counted.histories] == [[0, 1], [2]]
        assert [rows.tolist() for rows in counted.relevant] == [[2], [0]]
        assert counted.is_counted().all()
        assert counted.item_users().tolist() == self.cases().item_users().tolist()

    def test_nothing_that_counts_is_an_error_that_names_the_rules(self) -> None:
        with pytest.raises(
            ValueError, match=r"none of the 5 interactions to predict counts: .* fewer than 3 .* min_history"
        ):
            self.cases(min_history=3)
