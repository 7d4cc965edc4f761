"""Unary calls that no task waits for: messages are handed over as they come, and replied to when answers are there."""

from collections.abc import Callable, Mapping
from typing import Protocol, TypeAlias

from bascule_server.calls import Call
from bascule_server.errors import ServiceError


class Reply(Protocol):
    """Where the answer to one unary call goes, once."""

    when_over: Callable[[], None]
    """Is called once, when the call has its answer or none is wanted any more. Set it to what is to be done then."""

    @property
    def is_over(self) -> bool:
        """Whether the call has its answer, or none is wanted any more."""

    def send(self, message: bytes) -> None:
        """Answers with a message, serialised."""

    def fail(self, error: ServiceError) -> None:
        """Answers with why there is none; nothing where the call is over."""

    def delay(self) -> None:
        """Watches from now on whether the caller leaves and when the time is over, since the answer takes a while."""


QuickMethod: TypeAlias = Callable[[bytes, Call, Reply], None]
"""Takes a unary call from its message, serialised, and replies now or later. Raises ``ServiceError``, or anything."""

QuickMethods: TypeAlias = Mapping[str, QuickMethod]
"""By full name. A transport that can hands these the calls as they come, without a task for each."""
