import io

import pytest
from rich.console import Console

from bascule_training.intervals import Interval
from bascule_training.results_table import COLUMNS, NEITHER_IS_BETTER, Result, results_table


def result(name: str, value: float) -> Result:
    """One value for all metrics, ±0.01 where a metric has an interval."""
    metrics = [f"{metric}@10" for metric in COLUMNS]
    with_interval = [metric for metric in metrics if metric not in ("coverage@10", "gini@10")]
    interval = Interval(value - 0.01, value + 0.01)
    return Result(name, dict.fromkeys(metrics, value), dict.fromkeys(with_interval, interval))


def printed(results: list[Result], width: int) -> list[str]:
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(results_table(results, [10], "12 users"))
    return [line.rstrip() for line in console.export_text().splitlines()]


NINE = ["beauty", "popularity", "recent popularity", "item-kNN", "recent item-kNN", "EASE", "iALS", "BPR", "PureSVD"]


def test_a_figure_has_half_the_width_of_its_interval_behind_it() -> None:
    lines = printed([result("films", 0.5)], 140)
    assert lines[0].split() == list(COLUMNS)
    assert lines[1].split() == ["@10"]
    assert lines[2].split() == ["films", *["0.5000", "±0.0100"] * 5, "0.5000", "0.5000", "0.50", "±0.01"]
    assert lines[3:] == ["12 users", "± half the width of the 95 % interval"]


@pytest.mark.parametrize("width", [80, 100])
def test_in_a_narrow_terminal_it_stands_below(width: int) -> None:
    lines = printed([result(name, 0.1 * number) for number, name in enumerate(NINE)], width)
    assert max(map(len, lines)) <= width
    assert not any("…" in line for line in lines if "." in line), "no figure is cut off"
    ease = next(number for number, line in enumerate(lines) if line.split()[:1] == ["EASE"])
    assert lines[ease].split()[1:6] == ["0.5000"] * 5
    assert lines[ease + 1].split()[:5] == ["±0.0100"] * 5


def test_the_best_as_printed_is_bold_where_one_end_is_the_better() -> None:
    table = results_table([result("one", 0.50001), result("two", 0.49999), result("three", 0.4)], [10], "")
    for column in table.columns[1:]:
        cells = [str(cell) for cell in list(column.cells)[1:]]
        assert [cell.startswith("[bold]") for cell in cells] == [str(column.header) not in NEITHER_IS_BETTER] * 2 + [
            False
        ]


def test_names_are_text_whatever_they_hold() -> None:
    assert printed([result("[red]x", 0.5)], 140)[2].split()[0] == "[red]x"
