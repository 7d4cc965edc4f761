"""Each failure has one code, one fixed text and its details."""

import pytest
from grpc import StatusCode

from bascule.standard_protos import error_details_pb2, status_pb2
from bascule_server.errors import Reason, ServiceError, invalid_field, to_status


def error_info(status: status_pb2.Status) -> error_details_pb2.ErrorInfo:
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return info


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_becomes_a_status_that_names_it(reason: Reason) -> None:
    status = to_status(ServiceError(reason))
    assert (status.code, status.message) == (reason.code.value[0], reason.text)
    assert (error_info(status).reason, error_info(status).domain) == (reason.name, "bascule")


@pytest.mark.parametrize("reason", Reason)
def test_exactly_what_is_unavailable_says_when_to_try_again(reason: Reason) -> None:
    assert (reason.code is StatusCode.UNAVAILABLE) == (reason.retry_delay_seconds is not None)


def test_a_field_violation_names_the_field_and_what_is_allowed() -> None:
    status = to_status(invalid_field("queries[3].user", "got 5; expected 4"))
    details = error_details_pb2.BadRequest()
    assert status.details[1].Unpack(details)
    (violation,) = details.field_violations
    assert (violation.field, violation.description) == ("queries[3].user", "got 5; expected 4")
    assert status.message == "queries[3].user: got 5; expected 4"


def test_a_retry_delay_is_told_in_the_standard_form() -> None:
    delay = error_details_pb2.RetryInfo()
    assert to_status(ServiceError(Reason.NOT_READY)).details[1].Unpack(delay)
    assert delay.retry_delay.ToMilliseconds() == 500


def test_an_error_id_reaches_the_details() -> None:
    status = to_status(ServiceError(Reason.INTERNAL, metadata={"error_id": "ab12"}))
    assert dict(error_info(status).metadata) == {"error_id": "ab12"}
