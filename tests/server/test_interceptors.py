"""What surrounds a call: its deadline, its line in the log, and the boundary that no exception crosses."""

import asyncio
import math
import time
from contextlib import nullcontext
from typing import Any

import pytest
from structlog.testing import capture_logs

from bascule.v1 import recommendation_service_pb2 as pb
from bascule_server.calls import Call
from bascule_server.errors import Reason, ServiceError
from bascule_server.interceptors.call_log import CallLog
from bascule_server.interceptors.deadline import TimeoutPolicy, deadline
from bascule_server.interceptors.error_boundary import error_boundary

LOG = CallLog(every=1, slow_seconds=1)

POLICY = TimeoutPolicy(default_seconds=5, max_seconds=30)


@pytest.mark.parametrize(("allowed", "taken"), [(None, 5), (1, 1), (30, 30), (31, 30), (1e9, 30)])
def test_a_call_has_the_callers_deadline_within_ours(allowed: float | None, taken: float) -> None:
    assert POLICY.timeout(allowed, is_stream=False) == taken


@pytest.mark.parametrize(("allowed", "taken"), [(None, math.inf), (7_200, 7_200)])
def test_a_stream_may_last(allowed: float | None, taken: float) -> None:
    assert POLICY.timeout(allowed, is_stream=True) == taken


async def test_what_takes_too_long_is_cancelled_and_says_why() -> None:
    with pytest.raises(ServiceError) as caught:
        async with deadline(Call("/m", time.monotonic())):
            await asyncio.sleep(60)
    assert caught.value.reason is Reason.DEADLINE_EXCEEDED


async def test_a_timeout_of_the_handlers_own_is_not_the_callers_deadline() -> None:
    with pytest.raises(TimeoutError):
        async with deadline(Call("/m")):
            raise TimeoutError


def test_an_unforeseen_exception_becomes_internal_with_an_id() -> None:
    with capture_logs() as lines, pytest.raises(ServiceError) as caught, error_boundary():
        raise RuntimeError("secret")
    assert caught.value.reason is Reason.INTERNAL
    assert caught.value.metadata["error_id"] == lines[0]["error_id"]
    assert "secret" not in str(caught.value)


def test_our_own_errors_pass_as_they_are() -> None:
    error = ServiceError(Reason.OVERLOADED)
    with pytest.raises(ServiceError) as caught, error_boundary():
        raise error
    assert caught.value is error


@pytest.mark.parametrize(
    ("exception", "code"),
    [
        (None, "OK"),
        (ServiceError(Reason.ITEM_NOT_FOUND), "NOT_FOUND"),
        (asyncio.CancelledError(), "CANCELLED"),
    ],
)
def test_a_call_is_one_line_however_it_ends(exception: BaseException | None, code: str) -> None:
    with capture_logs() as lines:
        expected = pytest.raises(type(exception)) if exception else nullcontext()
        with expected, LOG.around(Call("/m", row_count=3)):
            if exception:
                raise exception
    assert [(line["event"], line["method"], line["rows"], line["code"]) for line in lines] == [("call", "/m", 3, code)]


def test_of_calls_that_go_well_one_of_so_many_is_logged_and_each_that_is_slow() -> None:
    log = CallLog(every=3, slow_seconds=1)
    with capture_logs() as lines:
        for rows in range(5):
            log.answered(Call("/m", row_count=rows))
        log.answered(Call("/m", start=time.monotonic() - 1, row_count=9))
    assert [line["rows"] for line in lines] == [0, 3, 9]


def test_of_calls_that_are_refused_one_of_so_many_is_logged() -> None:
    seen: list[str] = []
    log = CallLog(3, 1, lambda *told: seen.append(told[3]))
    with capture_logs() as lines:
        for _ in range(7):
            log.failed(Call("/m"), ServiceError(Reason.OVERLOADED))
        log.failed(Call("/m"), ServiceError(Reason.INVALID_FIELD))
    assert [line["reason"] for line in lines] == ["OVERLOADED"] * 3 + ["INVALID_FIELD"]
    assert seen == ["OVERLOADED"] * 7 + ["INVALID_FIELD"]


def test_probes_are_no_news() -> None:
    with capture_logs() as lines, LOG.around(Call("/grpc.health.v1.Health/Check")):
        pass
    assert [line["log_level"] for line in lines] == ["debug"]


async def test_a_log_line_names_neither_users_nor_items(run_server: Any) -> None:
    with capture_logs() as lines:
        async with run_server(log_call_every=1) as running:
            for user_id in ("somebody", "broken"):
                query = pb.Query(user=pb.User(user_id=user_id, history=["something"]))
                call = running.recommendations.RecommendItems(pb.RecommendItemsRequest(query=query))
                await call.code()
    assert [line["code"] for line in lines if line["event"] == "call"] == ["OK", "INTERNAL"]
    assert not any(word in str(lines) for word in ("somebody", "something", "secret"))
