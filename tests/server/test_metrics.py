"""What Prometheus gets to see: calls, rows and batches are counted, and no user or item is named."""

import asyncio
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import urlopen

import grpc
import pytest
from prometheus_client import generate_latest

from bascule.v1 import recommendation_service_pb2 as pb
from bascule.v1.model_service_pb2 import ModelState
from bascule_server.calls import Call
from bascule_server.errors import Reason, ServiceError
from bascule_server.metrics import Metrics
from bascule_server.models import KnownVersion


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_a_call_is_counted_by_its_method_and_status() -> None:
    metrics = Metrics()
    metrics.call_ended(Call("/m", row_count=3), "OK", 0.5)
    metrics.call_ended(Call("/m"), "CANCELLED", 0.1)
    assert value(metrics, "grpc_server_call_duration_seconds_sum", grpc_method="/m", grpc_status="OK") == 0.5
    assert value(metrics, "grpc_server_call_duration_seconds_count", grpc_method="/m", grpc_status="CANCELLED") == 1


def test_a_call_is_counted_up_to_each_bound_that_it_does_not_exceed() -> None:
    metrics = Metrics()
    for seconds in (0.00005, 0.0003, 0.00031, 60.0, 61.0):
        metrics.call_ended(Call("/m"), "OK", seconds)
    labels = {"grpc_method": "/m", "grpc_status": "OK"}
    name = "grpc_server_call_duration_seconds_bucket"
    bounds = ("0.0001", "0.0003", "0.0006", "10.0", "60.0", "+Inf")
    assert [value(metrics, name, le=bound, **labels) for bound in bounds] == [1, 2, 3, 3, 4, 5]
    assert value(metrics, "grpc_server_call_duration_seconds_count", **labels) == 5


def test_no_call_is_shown_before_there_was_one() -> None:
    page = generate_latest(Metrics().registry).decode()
    assert "# TYPE grpc_server_call_duration_seconds histogram" in page
    assert "grpc_server_call_duration_seconds_count" not in page


def test_refusals_are_counted_by_reason() -> None:
    metrics = Metrics()
    metrics.call_ended(Call("/m"), "UNAVAILABLE", 0.1, "OVERLOADED")
    metrics.call_ended(Call("/m"), "UNAVAILABLE", 0.1, "OVERLOADED")
    metrics.call_ended(Call("/m"), "NOT_FOUND", 0.1, "MODEL_NOT_FOUND")
    assert value(metrics, "bascule_refused_calls_total", reason="OVERLOADED") == 2
    assert value(metrics, "bascule_refused_calls_total", reason="MODEL_NOT_FOUND") is None


def test_the_mean_batch_its_wait_and_its_time_can_be_told() -> None:
    metrics = Metrics()
    metrics.batch_computed(8, 0.125, 0.25)
    metrics.batch_computed(24, 0.5, 0.5)
    assert (value(metrics, "bascule_batch_rows_sum"), value(metrics, "bascule_batch_rows_count")) == (32, 2)
    assert value(metrics, "bascule_queue_wait_seconds_sum") == 0.625
    assert value(metrics, "bascule_batch_duration_seconds_sum") == 0.75


def test_rows_that_are_held_are_asked_for_when_somebody_looks() -> None:
    metrics, held = Metrics(), [3]
    metrics.watch_held(lambda: held[0])
    assert value(metrics, "bascule_rows_held") == 3
    held[0] = 0
    assert value(metrics, "bascule_rows_held") == 0


def test_the_limit_and_what_the_log_lost_are_asked_for_too() -> None:
    metrics = Metrics()
    metrics.watch_limit(lambda: 12.5)
    metrics.watch_lost_lines(lambda: 4)
    assert (value(metrics, "bascule_queue_limit_rows"), value(metrics, "bascule_log_lines_lost")) == (12.5, 4)


def states(metrics: Metrics) -> dict[tuple[str, str], float]:
    """What is shown, by version and state."""
    (found,) = [family for family in metrics.registry.collect() if family.name == "bascule_version_state"]
    assert {sample.labels["model"] for sample in found.samples} <= {"m"}
    return {(sample.labels["version"], sample.labels["state"]): sample.value for sample in found.samples}


def test_each_version_is_shown_in_the_one_state_that_it_has_and_not_after_it_was_let_go() -> None:
    metrics, old, new = Metrics(), KnownVersion(Path("m/1")), KnownVersion(Path("m/2"))
    for known in (old, new):
        metrics.version_changed(known)
    assert states(metrics) == {("1", "loading"): 1, ("2", "loading"): 1}
    old.state, new.state = ModelState.MODEL_STATE_SERVING, ModelState.MODEL_STATE_FAILED
    for known in (old, new):
        metrics.version_changed(known)
    assert states(metrics) == {("1", "serving"): 1, ("2", "failed"): 1}
    old.state = ModelState.MODEL_STATE_UNSPECIFIED
    metrics.version_changed(old)
    metrics.version_changed(old)
    assert states(metrics) == {("2", "failed"): 1}


def test_each_time_that_a_version_could_not_be_loaded_is_counted_by_why() -> None:
    metrics = Metrics()
    assert value(metrics, "bascule_version_failures_total", model="m", reason="FILE_DAMAGED") is None
    for reason in (Reason.FILE_DAMAGED, Reason.NO_ROOM, Reason.FILE_DAMAGED):
        known = KnownVersion(Path("m/1"))
        known.error = ServiceError(reason)
        for state in (ModelState.MODEL_STATE_LOADING, ModelState.MODEL_STATE_FAILED):
            known.state = state
            metrics.version_changed(known)
        known.state = ModelState.MODEL_STATE_UNSPECIFIED
        metrics.version_changed(known)
    assert value(metrics, "bascule_version_failures_total", model="m", reason="FILE_DAMAGED") == 2
    assert value(metrics, "bascule_version_failures_total", model="m", reason="NO_ROOM") == 1
    assert states(metrics) == {}


def test_what_a_shadow_shares_with_the_answers_is_counted_by_model() -> None:
    metrics = Metrics()
    for share in (0.0, 0.5, 1.0):
        metrics.shadow_compared("m", share)
    assert value(metrics, "bascule_shadow_overlap_sum", model="m") == 1.5
    assert value(metrics, "bascule_shadow_overlap_count", model="m") == 3


class Counts(NamedTuple):
    revision: int
    unplaced_count: int
    left_out_count: int


def test_how_catalogues_stand_is_asked_for_when_somebody_looks_by_their_model() -> None:
    metrics, counts = Metrics(), [Counts(7, 2, 5)]
    metrics.watch_catalogue("films", lambda: counts[0])
    metrics.watch_catalogue("books", lambda: Counts(1, 0, 0))
    names = ("bascule_catalogue_revision", "bascule_catalogue_unplaced_items", "bascule_catalogue_left_out_values")
    assert [value(metrics, name, model="films") for name in names] == [7, 2, 5]
    counts[0] = Counts(8, 1, 0)
    assert [value(metrics, name, model="films") for name in names] == [8, 1, 0]
    assert [value(metrics, name, model="books") for name in names] == [1, 0, 0]


def read(port: int) -> str:
    with urlopen(f"http://127.0.0.1:{port}/metrics") as page:
        text: str = page.read().decode()
        return text


def test_metrics_are_read_over_http_until_they_are_stopped(free_port: int) -> None:
    stop = Metrics().listen("127.0.0.1", free_port)
    assert "bascule_rows_held" in read(free_port)
    stop()
    with pytest.raises(OSError, match="refused"):
        read(free_port)


async def test_a_server_counts_its_calls(run_server: Any, free_port: int) -> None:
    async with run_server(metrics_listen=f"127.0.0.1:{free_port}") as running:
        query = pb.Query(user=pb.User(user_id="somebody", history=["something"]))
        await running.recommendations.RecommendItems(pb.RecommendItemsRequest(query=query))
        with pytest.raises(grpc.aio.AioRpcError):
            await running.recommendations.RecommendItems(pb.RecommendItemsRequest())
        page = await asyncio.to_thread(read, free_port)
    method = 'grpc_method="/bascule.v1.RecommendationService/RecommendItems"'
    assert f'grpc_server_call_duration_seconds_count{{{method},grpc_status="OK"}} 1.0' in page
    assert f'grpc_server_call_duration_seconds_count{{{method},grpc_status="INVALID_ARGUMENT"}} 1.0' in page
    assert "bascule_batch_rows_sum 1.0" in page
    assert 'bascule_version_state{model="counting",state="serving",version="3"} 1.0' in page
    assert "somebody" not in page
    assert "something" not in page
