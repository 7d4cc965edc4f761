"""From statuses to errors."""

import asyncio
import pickle

import grpc
import grpc.aio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule import (
    BasculeError,
    Failure,
    InternalError,
    InvalidRequestError,
    NotFoundError,
    UnavailableError,
    Violation,
)
from bascule.errors import (
    ERROR_CLASSES,
    STATUS_DETAILS_KEY,
    error_from_failure,
    error_from_rpc,
    error_from_status,
    rpc_errors,
    status_from_failure,
)
from bascule.standard_protos import status_pb2

failures = st.builds(
    Failure,
    code=st.sampled_from(list(ERROR_CLASSES)),
    message=st.text(min_size=1),
    reason=st.text("ABC_", max_size=5),
    violations=st.lists(st.builds(Violation, st.text(), st.text()), max_size=3).map(tuple),
    retry_after=st.none() | st.integers(0, 10_000).map(lambda milliseconds: milliseconds / 1000),
    metadata=st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2),
)


def rpc_error(code: grpc.StatusCode, details: str, **trailing: bytes) -> grpc.aio.AioRpcError:
    metadata = grpc.aio.Metadata(*((key.replace("_", "-"), value) for key, value in trailing.items()))
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), metadata, details)


def test_every_code_but_ok_has_its_class() -> None:
    assert set(ERROR_CLASSES) == set(grpc.StatusCode) - {grpc.StatusCode.OK}


@given(failures)
def test_what_goes_into_a_status_comes_out_of_it(failure: Failure) -> None:
    error = error_from_status(status_from_failure(failure))
    assert type(error) is ERROR_CLASSES[failure.code]
    assert error.failure == failure


@given(failures)
def test_a_call_fails_as_a_row_does(failure: Failure) -> None:
    details = status_from_failure(failure).SerializeToString()
    error = error_from_rpc(rpc_error(failure.code, "other text", grpc_status_details_bin=details))
    assert error.failure == failure


@given(st.binary())
def test_details_that_cannot_be_read_hide_no_error(details: bytes) -> None:
    error = error_from_rpc(rpc_error(grpc.StatusCode.NOT_FOUND, "gone", grpc_status_details_bin=details))
    assert isinstance(error, NotFoundError)


def test_a_detail_that_cannot_be_read_hides_no_error() -> None:
    status = status_pb2.Status(code=5, message="gone")
    status.details.add(type_url="type.googleapis.com/google.rpc.ErrorInfo", value=b"\xff")
    assert error_from_status(status).message == "gone"


def test_a_status_without_details_has_its_code_and_text() -> None:
    error = error_from_rpc(rpc_error(grpc.StatusCode.UNAVAILABLE, "nobody there"))
    assert isinstance(error, UnavailableError)
    assert (error.message, error.reason, error.retry_after) == ("nobody there", "", None)
    assert str(error) == "UNAVAILABLE: nobody there"


def test_a_code_of_the_future_is_an_internal_error() -> None:
    assert isinstance(error_from_status(status_pb2.Status(code=99)), InternalError)


def test_each_kind_shows_what_is_peculiar_to_it() -> None:
    invalid = error_from_failure(
        Failure(grpc.StatusCode.INVALID_ARGUMENT, "no", "INVALID_FIELD", (Violation("query", "missing"),))
    )
    assert isinstance(invalid, InvalidRequestError)
    assert invalid.violations == (Violation("query", "missing"),)
    fault = error_from_failure(Failure(grpc.StatusCode.INTERNAL, "oh", metadata={"error_id": "e1"}))
    assert isinstance(fault, InternalError)
    assert fault.error_id == "e1"
    late = error_from_failure(Failure(grpc.StatusCode.UNAVAILABLE, "full", "OVERLOADED", retry_after=0.1))
    assert isinstance(late, UnavailableError)
    assert late.retry_after == 0.1


@given(failures)
def test_an_error_survives_pickling(failure: Failure) -> None:
    error = error_from_failure(failure)
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), copy.failure) == (type(error), failure)


def test_the_cause_is_kept() -> None:
    cause = rpc_error(grpc.StatusCode.NOT_FOUND, "gone")
    with pytest.raises(BasculeError) as caught, rpc_errors():
        raise cause
    assert caught.value.__cause__ is cause


@pytest.mark.parametrize("other", [asyncio.CancelledError, KeyboardInterrupt, ValueError])
def test_what_is_no_error_of_a_call_passes_through(other: type[BaseException]) -> None:
    with pytest.raises(other), rpc_errors():
        raise other


def test_the_key_of_the_details_is_the_one_of_the_standard() -> None:
    assert STATUS_DETAILS_KEY == "grpc-status-details-bin"
