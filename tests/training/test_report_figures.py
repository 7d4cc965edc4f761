from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from bascule_server.scoring.query import Query
from bascule_training.data.histories import Histories
from bascule_training.evaluation.cases import Cases
from bascule_training.evaluation.evaluated import Evaluation, evaluate_baseline
from bascule_training.evaluation.metrics import UNKNOWN_ROW
from bascule_training.report.contents import ScoredItems
from bascule_training.report.figures import (
    Model,
    activity_figure,
    all_metrics,
    calibration_figure,
    coloured,
    coverage_figure,
    headline_figure,
    knowledge_table,
    learning_figure,
    metric_name,
    metrics_table,
    popularity_figure,
    recall_figure,
)

ITEM_COUNT = 8


@dataclass(frozen=True)
class Places:
    """A model that has what comes next at given places of its lists, of one user after the other."""

    name: str
    places: Sequence[int]
    relevant: Sequence[int]
    settings: str = ""

    def scores(self, histories: Histories) -> NDArray[np.float32]:
        scores = np.tile(np.arange(ITEM_COUNT, 0, -1, dtype=np.float32), (len(histories), 1))
        for user, (place, row) in enumerate(zip(self.places, self.relevant, strict=True)):
            others = np.setdiff1d(np.arange(ITEM_COUNT), [*histories[user], row])
            scores[user, others] = ITEM_COUNT - np.arange(len(others))
            # Between the one that is to stand before it and the next.
            scores[user, row] = ITEM_COUNT - place + 1.5
        return scores


def histories(*users: Sequence[int]) -> Histories:
    rows = np.array([row for user in users for row in user], np.int32)
    return Histories(rows, np.cumsum([0, *map(len, users)]))


# Four users; their histories grow, and so does the number of users who had what comes next.
CASES = Cases(
    [Query()] * 4,
    histories([0], [0, 1], [0, 1, 2], [0, 1, 2, 3]),
    histories([3], [2], [4], [5]),
    [str(row) for row in range(ITEM_COUNT)],
)


def evaluated(name: str, places: Sequence[int], settings: str = "") -> Evaluation:
    return evaluate_baseline(Places(name, places, CASES.relevant.item_rows.tolist(), settings), CASES)


@pytest.fixture(scope="module")
def models() -> list[Model]:
    return coloured(
        [
            evaluated("films", [1, 1, 2, 3]),
            evaluated("worst", [4, 4, 4, 4]),
            evaluated("good", [1, 2, 2, 3], "penalty 30"),
        ]
    )


def test_the_places_are_as_given(models: list[Model]) -> None:
    assert [each.evaluation.ranks.values.tolist() for each in models] == [[1, 1, 2, 3], [1, 2, 2, 3], [4, 4, 4, 4]]


def test_the_model_comes_first_and_then_the_baselines_best_first(models: list[Model]) -> None:
    assert [each.name for each in models] == ["films", "good", "worst"]


def test_colours_go_by_the_order_of_the_evaluations(models: list[Model]) -> None:
    assert [each.colour for each in models] == ["model", "baseline-2", "baseline-1"]


def test_colours_of_many_baselines_come_round_again() -> None:
    evaluation = evaluated("films", [1, 1, 1, 1])
    assert [each.colour for each in coloured([evaluation] * 12)][-3:] == ["baseline-9", "baseline-1", "baseline-2"]


@pytest.mark.parametrize(
    ("metric", "name"), [("ndcg@10", "NDCG@10"), ("recall@20", "recall@20"), ("hr@5", "HR@5"), ("gini@10", "Gini@10")]
)
def test_metrics_are_written_as_people_do(metric: str, name: str) -> None:
    assert metric_name(metric) == name


def test_the_headline_is_sorted_and_has_intervals(models: list[Model]) -> None:
    chart = headline_figure([models[0], models[2], models[1]])
    assert [row.name for row in chart.rows] == ["films", "good", "worst"]
    # Ranks 1, 1, 2, 3 gain 1, 1, 1 / log2(3) and 1 / 2.
    assert chart.rows[0].text.startswith("0.7827 (")
    assert all(row.low <= row.place <= row.high for row in chart.rows)


class TestTable:
    def test_a_row_is_a_model(self, models: list[Model]) -> None:
        table = metrics_table(models)
        assert [(row.name, row.settings, row.colour) for row in table.rows] == [
            ("films", "", "model"),
            ("good", "penalty 30", "baseline-2"),
            ("worst", "", "baseline-1"),
        ]

    def test_the_best_of_a_column_are_marked(self, models: list[Model]) -> None:
        table = metrics_table(models)
        column = table.columns.index("MRR@10")
        # The means of 1, 1, 1/2 and 1/3, of 1, 1/2, 1/2 and 1/3, and of four times 1/4.
        assert [row.cells[column].value for row in table.rows] == ["0.7083", "0.5833", "0.2500"]
        assert [row.cells[column].is_best for row in table.rows] == [True, False, False]

    def test_equals_are_all_the_best(self, models: list[Model]) -> None:
        table = metrics_table(models)
        column = table.columns.index("recall@10")
        assert [row.cells[column].is_best for row in table.rows] == [True, True, True]

    @pytest.mark.parametrize("name", ["coverage@10", "Gini@10", "novelty@10"])
    def test_where_neither_end_is_better_none_is_the_best(self, models: list[Model], name: str) -> None:
        table = metrics_table(models)
        assert not any(row.cells[table.columns.index(name)].is_best for row in table.rows)

    def test_means_over_users_have_intervals_and_what_all_lists_come_to_has_none(self, models: list[Model]) -> None:
        table = metrics_table(models)
        cells = dict(zip(table.columns, table.rows[2].cells, strict=True))
        assert cells["MRR@10"].interval == "0.250 to 0.250"
        assert cells["coverage@10"].interval == ""

    def test_all_metrics_are_there_at_all_lengths(self, models: list[Model]) -> None:
        figures = dict(all_metrics(models))
        assert {"NDCG@10", "NDCG@20", "NDCG@100", "MAP@10", "coverage@100"} <= set(figures)
        assert figures["MRR@100"] == ["0.7083", "0.5833", "0.2500"]


class TestLearning:
    curve = ((6.0, 0.1), (4.0, 0.3), (3.0, 0.2))

    def test_the_best_epoch_is_pointed_out(self) -> None:
        figure = learning_figure([self.curve])
        assert figure is not None
        assert figure.words == (
            "The query tower: 3 epochs; the best on the validation part was epoch 2, with NDCG@10 0.3000."
        )
        assert [mark.tip for mark in figure.quality.marks] == ["The query tower, epoch 2: 0.3000"]
        assert figure.loss.marks == ()

    def test_of_equals_the_first_is_the_best(self) -> None:
        figure = learning_figure([[(6.0, 0.3), (4.0, 0.3)]])
        assert figure is not None
        assert "was epoch 1," in figure.words

    def test_epochs_are_whole_numbers(self) -> None:
        figure = learning_figure([self.curve])
        assert figure is not None
        assert [tick.text for tick in figure.loss.x.scale.ticks] == ["0", "1", "2", "3"]

    def test_every_tower_has_its_line_as_long_as_it_was_trained(self) -> None:
        figure = learning_figure([self.curve, [(5.0, 0.4)]])
        assert figure is not None
        assert [len(line.dots) for line in figure.loss.lines] == [1, 3]
        assert [mark.tip for mark in figure.quality.marks] == [
            "Query tower 1, epoch 2: 0.3000",
            "Query tower 2, epoch 1: 0.4000",
        ]
        assert "Query tower 2: 1 epoch;" in figure.words

    def test_without_epochs_there_is_none(self) -> None:
        assert learning_figure([]) is None
        assert learning_figure([[]]) is None


def test_recall_grows_with_the_list(models: list[Model]) -> None:
    chart = recall_figure(models)
    films = chart.lines[-1]
    # 2 of 4 are at place 1, 3 down to place 2, and all down to place 3.
    assert [dot.tip.split(" (")[0] for dot in films.dots[:3]] == [
        "films, k = 1: 0.5000",
        "films, k = 2: 0.7500",
        "films, k = 3: 1.0000",
    ]
    assert films.band
    assert not any(line.band for line in chart.lines[:-1])


def test_coverage_stands_against_accuracy(models: list[Model]) -> None:
    spot = coverage_figure(models).spots[-1]
    # Of 8 items, item 0 is in every history.
    assert spot.tip == "films: coverage@10 0.8750, NDCG@10 0.7827"


class TestGroups:
    def test_quality_by_activity(self, models: list[Model]) -> None:
        chart = activity_figure(models)
        assert chart is not None
        films = chart.lines[-1]
        assert [tick.text for tick in chart.x.scale.ticks] == [f"history of {length}" for length in (1, 2, 3, 4)]
        assert [dot.tip for dot in films.dots][:2] == [
            "films, history of 1: 1.0000 (1.0000 to 1.0000)",
            "films, history of 2: 1.0000 (1.0000 to 1.0000)",
        ]
        assert len(films.bars) == 4
        assert not films.band

    def test_quality_by_popularity(self, models: list[Model]) -> None:
        chart = popularity_figure(models)
        assert chart is not None
        # One user had item 3, two had item 2, and nobody items 4 and 5.
        assert [tick.text for tick in chart.x.scale.ticks] == ["items of 1 users", "items of 2 users"]

    def test_what_is_cold_is_told_apart(self, models: list[Model]) -> None:
        known, cold = knowledge_table(models)
        assert known == ("known items", "2 to find, 2 users", ["1.0000"] * 3)
        assert cold[:2] == ("cold items of the catalogue", "2 to find, 2 users")

    def test_where_all_are_alike_there_is_none(self) -> None:
        cases = Cases([Query()] * 2, histories([0], [1]), histories([1], [0]), [str(row) for row in range(ITEM_COUNT)])
        models = coloured([evaluate_baseline(Places("films", [1, 1], [1, 0]), cases)])
        assert activity_figure(models) is None
        assert popularity_figure(models) is None
        assert knowledge_table(models) == []

    def test_items_outside_of_the_catalogue_are_told_apart(self) -> None:
        cases = Cases(
            [Query()] * 2, histories([0], [1]), histories([1], [UNKNOWN_ROW]), [str(row) for row in range(ITEM_COUNT)]
        )
        models = coloured([evaluate_baseline(Places("films", [1, 1], [1, 2]), cases)])
        assert [row[0] for row in knowledge_table(models)] == ["known items", "items outside the catalogue"]


class TestCalibration:
    def test_it_says_what_was_looked_at(self) -> None:
        scores = np.linspace(0, 1, 100, dtype=np.float32)
        figure = calibration_figure(ScoredItems(scores, np.arange(100) >= 90, 5))
        assert figure is not None
        assert figure.how.startswith("100 recommendations to 5 users in 10 groups of equal size")
        assert "10 of them were right" in figure.how
        (line,) = figure.chart.lines
        assert line.dots[-1].tip.startswith("right, score 0.955: 1.0000 (")

    def test_without_scores_there_is_none(self) -> None:
        assert calibration_figure(None) is None
        assert calibration_figure(ScoredItems(np.ones(3, np.float32), np.ones(3, np.bool_), 1)) is None
