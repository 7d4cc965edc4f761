"""What the serving benchmark measures, what is promised of it, and how both are shown."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from figures import Figure
from rich.table import Table
from serving_peers import NO_WORK, TRITON
from serving_servers import AIO, CORE, DEFAULT

SCORER = "scorer"
"""Ours, called without a server."""
HALF_OF_PEAK = "half of our peak"
Rates = Mapping[str, float]
"""Of the open loops, in calls a second, by what they are called."""


class Metric(NamedTuple):
    """Something measured of a server."""

    name: str
    unit: str
    decimals: int = 0


Measured = Mapping[str, Mapping[Metric, float]]
"""What one round found, by server and metric."""

CALLS = Metric("one user a call", "calls/s")
MANY = Metric("64 users a call", "users/s")
STREAM = Metric("one stream", "users/s")
CALLS_CPU = Metric("one user a call", "CPU s/1,000 users", 3)
MANY_CPU = Metric("64 users a call", "CPU s/1,000 users", 3)
LONE_P50 = Metric("lone caller, p50", "us")
LONE_P99 = Metric("lone caller, p99", "us")
MEMORY = Metric("memory (PSS)", "MB")
METRICS = (CALLS, MANY, STREAM, CALLS_CPU, MANY_CPU, LONE_P50, LONE_P99, MEMORY)


class OpenLoopMetrics(NamedTuple):
    """Of an open loop with one rate."""

    p50: Metric
    p99: Metric
    p99_9: Metric
    failed: Metric


def open_loop_metrics(rate_name: str) -> OpenLoopMetrics:
    """Those of the rate of this name."""
    p50, p99, p99_9 = (Metric(f"{rate_name}, {share}", "ms", 2) for share in ("p50", "p99", "p99.9"))
    return OpenLoopMetrics(p50, p99, p99_9, Metric(f"{rate_name}, failed", "%", 1))


class Promise(NamedTuple):
    """A figure that has a floor: a metric of one server over that of another, in the same round."""

    figure: str
    metric: Metric
    of: str
    over: str
    floor: float
    reach: float
    at_most: bool = False


OPEN_P99 = open_loop_metrics(HALF_OF_PEAK).p99
PROMISES = (
    Promise("unary calls/s, over Triton's", CALLS, DEFAULT, TRITON, 1.4, 3),
    Promise("unary calls/s, over the C++ server's without work", CALLS, DEFAULT, NO_WORK, 0.12, 0.3),
    Promise("unary calls/s, core over aio", CALLS, CORE, AIO, 2, 3.5),
    Promise("users/s with 64 queries a call, over Triton's", MANY, DEFAULT, TRITON, 1.8, 3),
    Promise("users/s through one stream, over the scorer's in-process", STREAM, DEFAULT, SCORER, 0.7, 0.9),
    Promise("p50 of a lone caller, over the C++ server's without work", LONE_P50, DEFAULT, NO_WORK, 8, 4, True),
    Promise("p99 in open loop at half of our peak, over Triton's", OPEN_P99, DEFAULT, TRITON, 1, 0.5, True),
)
"""All that this benchmark has to show."""


def figures(rounds: Sequence[Measured], rates: Rates) -> Iterator[Figure]:
    """First what is promised, then the rate of the open loop, then every median."""
    for promise in PROMISES:
        ratio = _ratio(rounds, promise.metric, promise.of, promise.over)
        if ratio is not None:
            unit = "ratio, at most" if promise.at_most else "ratio"
            yield Figure(promise.figure, ratio, unit, promise.floor, promise.reach)
    if HALF_OF_PEAK in rates:
        yield Figure(HALF_OF_PEAK, rates[HALF_OF_PEAK], "calls/s")
    for server in rounds[0]:
        for metric in _metrics(rates):
            value = _median(rounds, server, metric)
            if value is not None:
                yield Figure(f"{server}: {metric.name}, {metric.unit}", value, metric.unit)


def servers_table(rounds: Sequence[Measured], rates: Rates, title: str) -> Table:
    """A row for each metric, a column for each server: medians, with their ratios to Triton's."""
    servers = list(rounds[0])
    peak = f"; {HALF_OF_PEAK}: open loop with {rates[HALF_OF_PEAK]:,.0f} calls/s" if HALF_OF_PEAK in rates else ""
    table = Table("", "", title=title, caption=f"in brackets: over {TRITON}'s in the same round{peak}")
    for server in servers:
        table.add_column(server, justify="right")
    for column in table.columns:
        column.no_wrap = True
    for metric in _metrics(rates):
        cells = [_cell(rounds, server, metric) for server in servers]
        if any(cells):
            table.add_row(metric.name, metric.unit, *cells)
    return table


def promises_table(found: Sequence[Figure]) -> Table:
    """The figures that have a floor."""
    table = Table("figure", "", "floor", "reach", "")
    for each in found:
        if each.floor is None or each.reach is None:
            continue
        is_met = each.value <= each.floor if each.unit.endswith("at most") else each.value >= each.floor
        table.add_row(
            each.figure, f"{each.value:.2f}", f"{each.floor:g}", f"{each.reach:g}", "" if is_met else "missed"
        )
    return table


def _metrics(rates: Rates) -> list[Metric]:
    return [*METRICS, *(metric for name in rates for metric in open_loop_metrics(name))]


def _cell(rounds: Sequence[Measured], server: str, metric: Metric) -> str:
    value = _median(rounds, server, metric)
    if value is None:
        return ""
    ratio = _ratio(rounds, metric, server, TRITON)
    beside = "" if ratio is None or server == TRITON else f" ({ratio:.2f})"
    return f"{value:,.{metric.decimals}f}{beside}"


def _median(rounds: Sequence[Measured], server: str, metric: Metric) -> float | None:
    values = [each[server][metric] for each in rounds if metric in each.get(server, {})]
    return statistics.median(values) if values else None


def _ratio(rounds: Sequence[Measured], metric: Metric, of: str, over: str) -> float | None:
    """The median over the rounds of one server's value over another's; None where one of them has none."""
    pairs = [(each.get(of, {}).get(metric), each.get(over, {}).get(metric)) for each in rounds]
    ratios = [above / below for above, below in pairs if above is not None and below]
    return statistics.median(ratios) if ratios else None
