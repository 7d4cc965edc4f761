"""Why a call or a row failed.

    BasculeError                  code, reason, message
    ├── InvalidRequestError       the request is wrong: violations name the fields. Do not repeat it
    ├── NotFoundError             no such model, version or item
    ├── PreconditionError         valid, but not to be answered as things stand, such as NOTHING_KNOWN
    ├── PermissionDeniedError     who calls may not, or is not known
    ├── UnavailableError          nothing was computed: repeat it, after retry_after seconds where that is known
    │   └── LimitExceededError    a limit was met, such as a message's size
    ├── DeadlineExceededError     the time-out passed
    ├── CallCancelledError        the server or what stands before it cancelled the call
    ├── UnimplementedError        the server does not have this method: an older version, or no Bascule server
    └── InternalError             a fault of the server: error_id finds it in the server's log

A method that answers one query raises them. A method that answers many returns them in the place of a row's answer,
and raises what concerns the whole call. Wrong arguments, which no server need see, are ``ValueError`` or ``TypeError``.
Cancelling a task and Ctrl-C are no errors, and pass through as they are.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError, Message

from bascule.standard_protos import error_details_pb2, status_pb2

STATUS_DETAILS_KEY = "grpc-status-details-bin"
"""The trailing metadata that carries a ``google.rpc.Status``."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One field that is wrong."""

    field: str
    """Its path in the request, such as ``queries[3].user.features["age"]``."""
    description: str
    """What was got and what is allowed."""


@dataclass(frozen=True, slots=True)
class Failure:
    """What is known about a failure: a status with its details, read."""

    code: grpc.StatusCode
    message: str
    reason: str = ""
    """The reason out of the server's table, such as ``MODEL_NOT_FOUND``; empty where no Bascule server gave one."""
    violations: tuple[Violation, ...] = ()
    retry_after: float | None = None
    """Seconds."""
    metadata: Mapping[str, str] = field(default_factory=dict)


class BasculeError(Exception):
    """The root: catch this to catch everything that a server or the way to it can do wrong."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure)
        self.failure = failure

    def __str__(self) -> str:
        return f"{self.reason or self.code.name}: {self.message}"

    @property
    def code(self) -> grpc.StatusCode:
        """The canonical code."""
        return self.failure.code

    @property
    def reason(self) -> str:
        """The reason out of the server's table, such as ``MODEL_NOT_FOUND``; empty where there is none."""
        return self.failure.reason

    @property
    def message(self) -> str:
        """The text, for people."""
        return self.failure.message


class InvalidRequestError(BasculeError):
    """The request is wrong, and will be wrong however often it is sent."""

    @property
    def violations(self) -> tuple[Violation, ...]:
        """The fields that are wrong."""
        return self.failure.violations


class NotFoundError(BasculeError):
    """The server has no such model, version or item."""


class PreconditionError(BasculeError):
    """The request is valid, but the state of things does not allow an answer."""


class PermissionDeniedError(BasculeError):
    """The caller is not known, or may not do this."""


class UnavailableError(BasculeError):
    """Nothing was computed. The same call may succeed later."""

    @property
    def retry_after(self) -> float | None:
        """After how many seconds to try again; None where the server does not say."""
        return self.failure.retry_after


class LimitExceededError(UnavailableError):
    """A limit was met: of the server's resources, or of a message's size."""


class DeadlineExceededError(BasculeError):
    """The time-out passed before there was an answer."""


class CallCancelledError(BasculeError):
    """The call was cancelled, and not by the caller."""


class UnimplementedError(BasculeError):
    """The server does not have the method."""


class InternalError(BasculeError):
    """A fault of the server, or an answer that breaks the contract."""

    @property
    def error_id(self) -> str:
        """What finds the fault in the server's log; empty where there is none."""
        return self.failure.metadata.get("error_id", "")


ERROR_CLASSES: dict[grpc.StatusCode, type[BasculeError]] = {
    grpc.StatusCode.CANCELLED: CallCancelledError,
    grpc.StatusCode.UNKNOWN: InternalError,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequestError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceededError,
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.ALREADY_EXISTS: PreconditionError,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDeniedError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: LimitExceededError,
    grpc.StatusCode.FAILED_PRECONDITION: PreconditionError,
    grpc.StatusCode.ABORTED: PreconditionError,
    grpc.StatusCode.OUT_OF_RANGE: InvalidRequestError,
    grpc.StatusCode.UNIMPLEMENTED: UnimplementedError,
    grpc.StatusCode.INTERNAL: InternalError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.DATA_LOSS: InternalError,
    grpc.StatusCode.UNAUTHENTICATED: PermissionDeniedError,
}
"""The class for each code but OK."""

_CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in ERROR_CLASSES}


def error_from_failure(failure: Failure) -> BasculeError:
    """The error of the class that the failure's code asks for."""
    return ERROR_CLASSES.get(failure.code, InternalError)(failure)


def error_from_status(status: status_pb2.Status) -> BasculeError:
    """The error that a row carries. A code that this version does not know counts as UNKNOWN."""
    return error_from_failure(_read_status(status, _CODES.get(status.code, grpc.StatusCode.UNKNOWN)))


def error_from_rpc(error: grpc.RpcError) -> BasculeError:
    """The error of a whole call, from what gRPC raises, be it ``grpc`` or ``grpc.aio``."""
    # gRPC raises nothing else, but its types do not say so.
    call: Any = error
    status = _status_details(call.trailing_metadata())
    return error_from_failure(_read_status(status, call.code(), call.details() or ""))


@contextmanager
def rpc_errors() -> Iterator[None]:
    """Where gRPC's errors become ours."""
    try:
        yield
    except grpc.RpcError as error:
        raise error_from_rpc(error) from error


def status_from_failure(failure: Failure) -> status_pb2.Status:
    """The failure as the ``google.rpc.Status`` that it would be read from."""
    status = status_pb2.Status(code=failure.code.value[0], message=failure.message)
    if failure.reason or failure.metadata:
        info = error_details_pb2.ErrorInfo(reason=failure.reason, domain="bascule", metadata=dict(failure.metadata))
        status.details.add().Pack(info)
    if failure.violations:
        bad_request = error_details_pb2.BadRequest()
        for violation in failure.violations:
            bad_request.field_violations.add(field=violation.field, description=violation.description)
        status.details.add().Pack(bad_request)
    if failure.retry_after is not None:
        retry_info = error_details_pb2.RetryInfo()
        retry_info.retry_delay.FromNanoseconds(round(failure.retry_after * 1e9))
        status.details.add().Pack(retry_info)
    return status


def _status_details(metadata: Iterable[tuple[str, Any]] | None) -> status_pb2.Status:
    """The ``google.rpc.Status`` in the trailing metadata; an empty one where there is none that can be read."""
    for key, value in metadata or ():
        if key == STATUS_DETAILS_KEY:
            try:
                return status_pb2.Status.FromString(value)
            except DecodeError:
                break
    return status_pb2.Status()


def _read_status(status: status_pb2.Status, code: grpc.StatusCode, message: str = "") -> Failure:
    info = error_details_pb2.ErrorInfo()
    bad_request = error_details_pb2.BadRequest()
    retry_info = error_details_pb2.RetryInfo()
    for detail in status.details:
        for message_of_a_kind in (info, bad_request, retry_info):
            _unpack(detail, message_of_a_kind)
    return Failure(
        code=code,
        message=status.message or message,
        reason=info.reason,
        violations=tuple(Violation(wrong.field, wrong.description) for wrong in bad_request.field_violations),
        retry_after=retry_info.retry_delay.ToNanoseconds() / 1e9 if retry_info.HasField("retry_delay") else None,
        metadata=dict(info.metadata),
    )


def _unpack(detail: AnyMessage, into: Message) -> None:
    """Reads the detail where it is of this kind. One that cannot be read must not hide the error that it explains."""
    try:
        detail.Unpack(into)
    except DecodeError:
        into.Clear()
