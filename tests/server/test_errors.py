import pytest
from grpc import StatusCode

from bascule.standard_protos import error_details_pb2, status_pb2
from bascule_server.errors import QUERY_ERROR_REASONS, Reason, ServiceError, invalid_field, query_failure, to_status
from bascule_server.query import ItemNotFoundError, QueryError


def unpacked(status: status_pb2.Status) -> dict[str, error_details_pb2.ErrorInfo]:
    found = {}
    for detail in status.details:
        message = getattr(error_details_pb2, detail.TypeName().rpartition(".")[2])()
        assert detail.Unpack(message)
        found[type(message).__name__] = message
    return found


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_becomes_its_code_its_text_and_its_name(reason: Reason) -> None:
    status = to_status(ServiceError(reason))
    info = unpacked(status)["ErrorInfo"]
    assert (status.code, status.message) == (reason.code.value[0], reason.text)
    assert (info.domain, info.reason) == ("bascule", reason.name)


@pytest.mark.parametrize("reason", Reason)
def test_what_a_caller_may_repeat_is_unavailable_and_says_after_how_long(reason: Reason) -> None:
    details = unpacked(to_status(ServiceError(reason)))
    assert ("RetryInfo" in details) == (reason.code == StatusCode.UNAVAILABLE)


def test_a_wrong_field_is_named_with_what_was_got_and_is_allowed() -> None:
    status = to_status(invalid_field("options.item_count", "got -1; expected 0 to 1,000"))
    (violation,) = unpacked(status)["BadRequest"].field_violations
    assert (violation.field, violation.description) == ("options.item_count", "got -1; expected 0 to 1,000")
    assert status.message == "options.item_count: got -1; expected 0 to 1,000"


def test_a_fault_carries_its_id() -> None:
    details = unpacked(to_status(ServiceError(Reason.INTERNAL, metadata={"error_id": "f00"})))
    assert dict(details["ErrorInfo"].metadata) == {"error_id": "f00"}


def test_every_error_of_a_query_has_a_reason() -> None:
    assert set(QUERY_ERROR_REASONS) == set(QueryError.__subclasses__())
    assert query_failure(ItemNotFoundError()).reason is Reason.ITEM_NOT_FOUND
