"""gRPC's C core, as far as a server needs it: the one file that touches a private module of grpcio.

``grpc._cython.cygrpc`` is what grpcio's own servers are written on. A server asks for calls and starts operations on
them; what is done comes out of one queue, as an event with the function that waits for it. Everything here runs in one
thread.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import grpc
from grpc._cython import cygrpc  # type: ignore[attr-defined]  # it has no types

MAX_EVENTS = 256
"""That are taken from the queue at a time."""

_NO_FLAGS = 0

_FAR_SECONDS = 1e9
"""The core has a deadline in the far future for calls that have none."""

Metadata: TypeAlias = tuple[tuple[str, str | bytes], ...]
Event: TypeAlias = Any
"""Of the private module: what has come out of the queue."""


class Queue:
    """Where events come from."""

    def __init__(self) -> None:
        self.of_core = cygrpc.CompletionQueue()

    def take(self, seconds: float) -> list[Event]:
        """The events that are there, after waiting up to so many seconds for the first."""
        event = self.of_core.poll(time.time() + seconds if seconds > 0 else 0)
        events: list[Event] = []
        while event.completion_type != cygrpc.CompletionType.queue_timeout:
            events.append(event)
            if len(events) == MAX_EVENTS:
                break
            event = self.of_core.poll(0)
        return events

    def close(self) -> None:
        """Frees it. Nothing may be under way any more."""
        self.of_core.shutdown()


def handle(event: Event) -> None:
    """Calls the function that waits for the event."""
    event.tag(event)


class IncomingCall:
    """A call, as it came in. Each method starts an operation; of the same kind one at a time."""

    __slots__ = ("_call", "metadata", "method", "remaining_seconds")

    def __init__(self, event: Event) -> None:
        self._call = event.call
        self.method: str = event.call_details.method.decode("utf-8", "replace")
        """Full name."""
        # Told as a moment of the wall clock, which may be set before anybody looks at it again.
        remaining: float = event.call_details.deadline - time.time()
        self.remaining_seconds = remaining if remaining < _FAR_SECONDS else None
        """From now to the caller's deadline, below 0 where it has passed; None where there is none."""
        self.metadata: Metadata = event.invocation_metadata

    @property
    def peer(self) -> str:
        """Who calls: ``ipv4:127.0.0.1:40000``, for instance."""
        peer: bytes = self._call.peer()
        return peer.decode()

    def peer_names(self) -> Sequence[bytes]:
        """The names in the certificate of the connection; none where there is none."""
        return cygrpc.peer_identities(self._call) or ()

    def receive(self, then: Callable[[bytes | None], None]) -> None:
        """Reads a message; None at the end of a stream, and where the call has ended."""
        operations = (cygrpc.ReceiveMessageOperation(_NO_FLAGS),)
        self._call.start_server_batch(operations, lambda event: then(event.batch_operations[0].message()))

    def watch(self, then: Callable[[bool], None]) -> None:
        """Tells when the call has ended: whether it was cut short, by its caller, its deadline or the connection."""
        operations = (cygrpc.ReceiveCloseOnServerOperation(_NO_FLAGS),)
        self._call.start_server_batch(operations, lambda event: then(event.batch_operations[0].cancelled()))

    def begin(self, then: Callable[[bool], None]) -> None:
        """Sends that there is somebody who answers. Tells whether it could be sent, as all that follow do."""
        self._start((cygrpc.SendInitialMetadataOperation((), _NO_FLAGS),), then)

    def send(self, message: bytes, then: Callable[[bool], None]) -> None:
        """Sends a message after ``begin``."""
        self._start((cygrpc.SendMessageOperation(message, _NO_FLAGS),), then)

    def end(self, then: Callable[[bool], None]) -> None:
        """Ends a call well after ``begin``."""
        self._start((_status(cygrpc.StatusCode.ok, "", ()),), then)

    def answer(self, message: bytes, then: Callable[[bool], None], *, is_watched: bool = True) -> None:
        """Answers with one message and ends well."""
        operations = (
            cygrpc.SendInitialMetadataOperation((), _NO_FLAGS),
            cygrpc.SendMessageOperation(message, _NO_FLAGS),
            _status(cygrpc.StatusCode.ok, "", ()),
        )
        self._start(operations if is_watched else (*operations, _close()), then)

    def fail(
        self,
        code: grpc.StatusCode,
        text: str,
        metadata: Metadata,
        then: Callable[[bool], None],
        *,
        has_begun: bool = False,
        is_watched: bool = True,
    ) -> None:
        """Ends with a status other than OK.

        Args:
            code: why.
            text: the same for people.
            metadata: sent behind the status.
            then: told whether it could be sent.
            has_begun: whether ``begin`` was called.
            is_watched: whether ``watch`` was called. A call that was not is told of its end with its answer, which
                spares an event.
        """
        operations: tuple[Any, ...] = (_status(code.value[0], text, metadata),)
        if not has_begun:
            operations = (cygrpc.SendInitialMetadataOperation((), _NO_FLAGS), *operations)
        self._start(operations if is_watched else (*operations, _close()), then)

    def cut_off(self, code: grpc.StatusCode, text: str) -> None:
        """Ends the call at once, whatever operations are under way: these fail."""
        self._call.cancel(code.value[0], text)

    def _start(self, operations: tuple[Any, ...], then: Callable[[bool], None]) -> None:
        self._call.start_server_batch(operations, lambda event: then(event.success))


def _status(code: Any, text: str, metadata: Metadata) -> Any:  # noqa: ANN401 - of the private module
    return cygrpc.SendStatusFromServerOperation(metadata, code, text.encode(), _NO_FLAGS)


def _close() -> Any:  # noqa: ANN401 - of the private module
    return cygrpc.ReceiveCloseOnServerOperation(_NO_FLAGS)


class CoreServer:
    """A server of the C core."""

    def __init__(self, queue: Queue, options: Sequence[tuple[str, int]]) -> None:
        self._queue = queue.of_core
        encoded = tuple((name.encode(), value) for name, value in options)
        self._server = cygrpc.Server(encoded, False)
        self._server.register_completion_queue(self._queue)
        self._has_started = False
        self._is_stopping = False

    def listen(self, address: str, credentials: grpc.ServerCredentials | None) -> int:
        """Takes the port and returns it. Raises ``RuntimeError`` where it cannot be had."""
        if credentials is None:
            port = self._server.add_http2_port(address.encode())
        else:
            port = self._server.add_http2_port(address.encode(), credentials._credentials)  # type: ignore[attr-defined]
        if not port:
            raise RuntimeError(f"cannot listen at {address}")
        found: int = port
        return found

    def start(self) -> None:
        """Lets calls in."""
        self._server.start()
        self._has_started = True

    def request(self, then: Callable[[IncomingCall], None]) -> None:
        """Takes one more call when there is one."""

        def arrived(event: Event) -> None:
            if event.success:
                then(IncomingCall(event))

        if not self._is_stopping:
            self._server.request_call(self._queue, self._queue, arrived)

    def stop(self, then: Callable[[], None]) -> None:
        """Takes no more calls, cuts off those in flight, and tells when all have ended."""
        self._is_stopping = True
        if not self._has_started:
            then()
            return
        self._server.shutdown(self._queue, lambda _: then())
        self._server.cancel_all_calls()
