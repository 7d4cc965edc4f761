"""Why a call or a row fails: one table of reasons, and the one exception that carries a reason to the caller.

    Exception
    ├── ServiceError       raised for a call, or put in the place of a row's answer; becomes a status on the wire
    ├── QueryError         (scoring/query.py) what the scorer answers for a row that it cannot answer
    │   ├── ItemNotFoundError   -> ITEM_NOT_FOUND
    │   └── NothingKnownError   -> NOTHING_KNOWN
    ├── ArtifactError      (artifact/reading.py) a version cannot be loaded; where none can, stops the start
    ├── ConfigError        (config.py) the configuration is not valid; stops the start
    ├── ListenError        (server.py) the port is taken; stops the start
    └── any other          a fault of ours -> INTERNAL with an id that the log has too, and never its text

The texts are fixed: what is peculiar to an error stands in its details, where only field violations hold anything that
the caller sent, shortened.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from grpc import StatusCode

from bascule.standard_protos import error_details_pb2, status_pb2

DOMAIN = "bascule"


class Reason(Enum):
    """Every reason there is: its code, its text, and after how many seconds to try again, where that helps.

    The name goes into ``ErrorInfo.reason``.
    """

    INVALID_FIELD = (StatusCode.INVALID_ARGUMENT, "A field of the request is not valid.")
    MALFORMED_MESSAGE = (StatusCode.INVALID_ARGUMENT, "The bytes are no message of this method, or hold invalid UTF-8.")
    MODEL_NOT_FOUND = (StatusCode.NOT_FOUND, "No such model or version is loaded.")
    ITEM_NOT_FOUND = (StatusCode.NOT_FOUND, "The catalogue does not have the query's item.")
    LOAD_FAILED = (StatusCode.FAILED_PRECONDITION, "The version could not be loaded; the server's log says why.")
    FILE_MISSING = (
        StatusCode.FAILED_PRECONDITION,
        "A file of the version is missing, cannot be read, or is not in the manifest.",
    )
    FILE_DAMAGED = (
        StatusCode.DATA_LOSS,
        "A file of the version is not the one of the manifest: its size or its SHA-256 differs.",
    )
    FILE_INVALID = (
        StatusCode.FAILED_PRECONDITION,
        "A file of the version is intact, but does not hold what the server expects there.",
    )
    FILE_CHANGED = (StatusCode.FAILED_PRECONDITION, "A file of the version changed while it was loaded.")
    MANIFEST_INVALID = (
        StatusCode.FAILED_PRECONDITION,
        "The manifest is none, belongs to another version, or holds a value that is not allowed.",
    )
    FORMAT_UNSUPPORTED = (
        StatusCode.FAILED_PRECONDITION,
        "The version has a format that this server does not read; update it, or install what reads it.",
    )
    NOT_SIGNED = (StatusCode.FAILED_PRECONDITION, "The version has no signature, and the server asks for one.")
    SIGNATURE_WRONG = (
        StatusCode.FAILED_PRECONDITION,
        "The signature of the version is of none of the publishers whom the server knows.",
    )
    GOLDEN_DIFFERS = (
        StatusCode.FAILED_PRECONDITION,
        "The version answers its golden queries otherwise than training did.",
    )
    NO_ROOM = (StatusCode.RESOURCE_EXHAUSTED, "The server has no memory, or no room on its disk, for the version.")
    SERVICE_NOT_FOUND = (StatusCode.NOT_FOUND, "This server has no such service.")
    NOTHING_KNOWN = (StatusCode.FAILED_PRECONDITION, "Nothing about the query is known to the model.")
    NO_ITEM_TOWER = (StatusCode.FAILED_PRECONDITION, "The model has no item tower, so it cannot place new items.")
    CATALOGUE_FULL = (
        StatusCode.RESOURCE_EXHAUSTED,
        "As many items have come since the version was made as may; publish a new version.",
    )
    LOG_FAILED = (StatusCode.UNAVAILABLE, "The log of the catalogue cannot be written; the server's log says why.", 1.0)
    LOG_FULL = (
        StatusCode.RESOURCE_EXHAUSTED,
        "The log of the catalogue is as large as it may be; publish a new version and begin a new log.",
    )
    LOG_DAMAGED = (StatusCode.DATA_LOSS, "The log of the catalogue is damaged before its end, or is none.")
    UNAUTHENTICATED = (
        StatusCode.UNAUTHENTICATED,
        "The call has no key, token or certificate by which this server knows who calls.",
    )
    METHOD_NOT_ALLOWED = (StatusCode.PERMISSION_DENIED, "The caller may not call this method.")
    MODEL_NOT_ALLOWED = (StatusCode.PERMISSION_DENIED, "The caller may not ask this model.")
    QUOTA_EXCEEDED = (
        StatusCode.RESOURCE_EXHAUSTED,
        "The caller asks for more rows a second than it may; try again later.",
    )
    IDENTITY_EXPIRED = (
        StatusCode.UNAVAILABLE,
        "What the stream began with does not tell any more who calls; begin another one.",
        0.1,
    )
    PLAN_FAILED = (StatusCode.UNAVAILABLE, "The plan could not be read or written; the server's log says why.", 1.0)
    PLAN_CHANGED = (StatusCode.ABORTED, "The plan was changed since; read it again.")
    NOTHING_TO_ROLL_BACK_TO = (StatusCode.FAILED_PRECONDITION, "There is no older version that can be loaded.")
    OVERLOADED = (StatusCode.UNAVAILABLE, "The server has more to answer than it can in time; try again later.", 0.1)
    METADATA_TOO_LARGE = (StatusCode.RESOURCE_EXHAUSTED, "The metadata of the call is larger than 16,384 bytes.")
    NOT_READY = (StatusCode.UNAVAILABLE, "The model is being loaded; try again later.", 0.5)
    STOPPING = (StatusCode.UNAVAILABLE, "The server is stopping; try again elsewhere.", 0.1)
    DEADLINE_EXCEEDED = (StatusCode.DEADLINE_EXCEEDED, "The deadline passed before the answer was computed.")
    READER_STOPPED = (StatusCode.DEADLINE_EXCEEDED, "No answer was taken for as long as the server waits for that.")
    INTERNAL = (StatusCode.INTERNAL, "The server failed; its log has more under the error id.")

    def __init__(self, code: StatusCode, text: str, retry_delay_seconds: float | None = None) -> None:
        self.code = code
        self.text = text
        self.retry_delay_seconds = retry_delay_seconds


@dataclass(eq=False)
class ServiceError(Exception):
    """A failure as the caller sees it."""

    reason: Reason
    path: str = ""
    """The field that is not valid, such as ``queries[3].user.features["age"]``; empty where none is to blame."""
    violation: str = ""
    """What the field holds and what is allowed."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """More about the failure, for machines: the ``error_id`` of an INTERNAL one."""
    retry_delay_seconds: float | None = None
    """After how many seconds to try again, where that is not always the same for the reason."""

    def __post_init__(self) -> None:
        if self.retry_delay_seconds is None:
            self.retry_delay_seconds = self.reason.retry_delay_seconds

    def __str__(self) -> str:
        """The text of the status: fixed by the reason, but for the field and what is wrong with it."""
        return f"{self.path}: {self.violation}" if self.path else self.reason.text


def invalid_field(path: str, violation: str) -> ServiceError:
    """The error for a field that is not valid."""
    return ServiceError(Reason.INVALID_FIELD, path, violation)


def to_status(error: ServiceError) -> status_pb2.Status:
    """The error as ``google.rpc.Status``: code, text, ``ErrorInfo``, and ``BadRequest`` and ``RetryInfo`` where apt."""
    number: int = error.reason.code.value[0]
    status = status_pb2.Status(code=number, message=str(error))
    status.details.add().Pack(
        error_details_pb2.ErrorInfo(reason=error.reason.name, domain=DOMAIN, metadata=error.metadata)
    )
    if error.path:
        bad_request = error_details_pb2.BadRequest()
        bad_request.field_violations.add(field=error.path, description=error.violation)
        status.details.add().Pack(bad_request)
    if error.retry_delay_seconds is not None:
        retry_info = error_details_pb2.RetryInfo()
        retry_info.retry_delay.FromMilliseconds(math.ceil(error.retry_delay_seconds * 1000))
        status.details.add().Pack(retry_info)
    return status
