import io

import pytest
from rich.console import Console

from bascule_training.evaluation.intervals import Interval
from bascule_training.evaluation.results_table import COLUMNS, NEITHER_IS_BETTER, Result, ResultsTable


def result(name: str, value: float) -> Result:
    """One value for all metrics, ±0.01 where a metric has an interval."""
    metrics = [f"{metric}@10" for metric in COLUMNS]
    with_interval = [metric for metric in metrics if metric not in ("coverage@10", "gini@10")]
    interval = Interval(value - 0.01, value + 0.01)
    return Result(name, dict.fromkeys(metrics, value), dict.fromkeys(with_interval, interval))


def printed(results: list[Result], width: int) -> list[str]:
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(ResultsTable(results, [10], "12 users", "metrics.json"))
    return [line.rstrip() for line in console.export_text().splitlines()]


NINE = ["beauty", "popularity", "recent popularity", "item-kNN", "recent item-kNN", "EASE", "iALS", "BPR", "PureSVD"]


def test_a_figure_has_half_the_width_of_its_interval_behind_it() -> None:
    lines = printed([result("films", 0.5)], 140)
    assert lines[0].split() == list(COLUMNS)
    assert lines[1].split() == ["@10"]
    assert lines[2].split() == ["films", *["0.5000", "±0.0100"] * 5, "0.5000", "0.5000", "0.50", "±0.01"]
    assert lines[3:] == ["12 users", "± half the width of the 95 % interval"]


@pytest.mark.parametrize(
    ("width", "shown", "left_out"),
    [
        (40, "ndcg", "too wide for 40 columns: recall, hr, mrr, map, coverage, gini, novelty; see metrics.json"),
        (80, "ndcg recall hr coverage", "too wide for 80 columns: mrr, map, gini, novelty; see metrics.json"),
        (100, "ndcg recall hr mrr coverage", "too wide for 100 columns: map, gini, novelty; see metrics.json"),
        (120, "ndcg recall hr mrr map coverage gini", "too wide for 120 columns: novelty; see metrics.json"),
    ],
)
def test_a_narrow_terminal_has_the_most_important_metrics_and_names_the_others(
    width: int, shown: str, left_out: str
) -> None:
    lines = printed([result(name, 0.1 * number) for number, name in enumerate(NINE)], width)
    assert max(map(len, lines)) <= width
    assert lines[0].split() == shown.split()
    assert left_out in " ".join(lines)


@pytest.mark.parametrize("width", [80, 120])
def test_a_result_is_one_line(width: int) -> None:
    lines = printed([result(name, 0.5) for name in NINE], width)
    for name, line in zip(NINE, lines[2:11], strict=True):
        assert line.startswith(f"{name} ")
        assert "0.5000 ±0.0100" in line
    assert lines[11] == "12 users"


def test_a_long_name_goes_on_in_the_next_line_and_hides_no_figure() -> None:
    lines = printed([result("a" * 64, 0.5)], 80)
    assert max(map(len, lines)) <= 80
    assert lines[2].split() == ["a" * 24, *["0.5000", "±0.0100"] * 2, "0.5000"]
    assert lines[3:5] == ["a" * 24, "a" * 16]


def test_the_best_as_printed_is_bold_where_one_end_is_the_better() -> None:
    table = ResultsTable([result("one", 0.50001), result("two", 0.49999), result("three", 0.4)], [10], "", "")
    for column in table.table(140).columns[1:]:
        cells = [str(cell) for cell in list(column.cells)[1:]]
        assert [cell.startswith("[bold]") for cell in cells] == [str(column.header) not in NEITHER_IS_BETTER] * 2 + [
            False
        ]


def test_names_are_text_whatever_they_hold() -> None:
    assert printed([result("[red]x", 0.5)], 140)[2].split()[0] == "[red]x"
