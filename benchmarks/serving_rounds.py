"""What every server goes through in one round: checked, loaded in every way, and checked again."""

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import grpc
from serving_child import environment, printed
from serving_figures import (
    CALLS,
    CALLS_CPU,
    HALF_OF_PEAK,
    LONE_P50,
    LONE_P99,
    MANY,
    MANY_CPU,
    MEMORY,
    SCORER,
    STREAM,
    Metric,
    Rates,
    open_loop_metrics,
)
from serving_load import LoadError, Target, closed_loop, lone_caller, open_loop
from serving_model import Generated
from serving_process import cpu_seconds, memory_bytes
from serving_protocols import check
from serving_servers import CONFIGURATIONS, Running, Server
from serving_weights import CHECKED, Questions

WARM_UP_SECONDS = 1.0


class Plan(NamedTuple):
    """What every server goes through."""

    model: Generated
    questions: Questions
    seconds: float
    """Of each measurement."""
    rates: Rates


def half_of_peak(servers: Mapping[str, Server], plan: Plan) -> Rates:
    """Half of what our fastest configuration answers, in calls a second, in two digits; none where ours do not run."""
    peaks = []
    for name in CONFIGURATIONS:
        if name in servers:
            with servers[name].start() as running:
                target = _target(running, servers[name], plan, 1)
                closed_loop(target, WARM_UP_SECONDS)
                peaks.append(closed_loop(target, plan.seconds)[1])
    return {HALF_OF_PEAK: float(f"{max(peaks) / 2:.2g}")} if peaks else {}


def one_round(servers: Mapping[str, Server], plan: Plan, number: int) -> dict[str, dict[Metric, float]]:
    """All servers, one after another, and the scorer beside them."""
    found: dict[str, dict[Metric, float]] = {}
    for name, server in servers.items():
        found[name] = measured = _measured(name, server, plan)
        print(f"round {number}, {name}: {measured[CALLS]:,.0f} {CALLS.unit}", flush=True)
    if any(name in CONFIGURATIONS for name in servers):
        found[SCORER] = {STREAM: _child("serving_scorer.py", str(plan.model.version), plan)}
    return found


def _measured(name: str, server: Server, plan: Plan) -> dict[Metric, float]:
    """One server, from its start to its end; a peer that fails, as Triton does at times, is started once more."""
    try:
        return _measured_once(name, server, plan)
    except (LoadError, grpc.RpcError) as error:
        if name in CONFIGURATIONS:
            raise
        print(f"{name} failed and is started once more: {error}", flush=True)
    return _measured_once(name, server, plan)


def _measured_once(name: str, server: Server, plan: Plan) -> dict[Metric, float]:
    with server.start() as running:
        measured = measure(running, server, plan)
        if name in CONFIGURATIONS:
            measured[STREAM] = _child("serving_stream.py", running.address, plan)
    return measured


def measure(running: Running, server: Server, plan: Plan) -> dict[Metric, float]:
    """Puts every kind of load on a running server."""
    user_counts = (1, CHECKED) if server.computes else (1,)
    check_all = partial(_check, running, server, plan, user_counts)
    check_all()
    found: dict[Metric, float] = {}
    for user_count, speed, processor in ((1, CALLS, CALLS_CPU), (CHECKED, MANY, MANY_CPU))[: len(user_counts)]:
        target = _target(running, server, plan, user_count)
        closed_loop(target, WARM_UP_SECONDS)
        before = cpu_seconds(running.process_id)
        calls, calls_per_second = closed_loop(target, plan.seconds)
        found[speed] = user_count * calls_per_second
        found[processor] = 1_000 * (cpu_seconds(running.process_id) - before) / (user_count * calls)
    one = _target(running, server, plan, 1)
    lone = lone_caller(one, plan.seconds)
    found |= {LONE_P50: lone.p50, LONE_P99: lone.p99, MEMORY: memory_bytes(running.process_id) / 1e6}
    for name, rate in plan.rates.items():
        latency, metrics = open_loop(one, rate, plan.seconds), open_loop_metrics(name)
        found |= {metrics.p50: latency.p50 / 1e3, metrics.p99: latency.p99 / 1e3, metrics.p99_9: latency.p99_9 / 1e3}
        found[metrics.failed] = 100 * latency.failed
    check_all()
    return found


def _check(running: Running, server: Server, plan: Plan, user_counts: Sequence[int]) -> None:
    if server.computes:
        for user_count in user_counts:
            check(running.address, server.protocol, plan.questions, user_count)


def _target(running: Running, server: Server, plan: Plan, user_count: int) -> Target:
    message = server.protocol.request(plan.questions.checked[:user_count])
    return Target(running.address, server.protocol.path(user_count), message)


def _child(script: str, about: str, plan: Plan) -> float:
    """What a script beside this one prints."""
    histories = plan.model.weights / "streamed.npy"
    program = Path(__file__).with_name(script)
    return float(printed([sys.executable, program, about, histories, plan.seconds], environment()))
