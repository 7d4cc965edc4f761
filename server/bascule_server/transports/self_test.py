"""Proves that gRPC's C core does what the transport asks of it, before anybody depends on that.

The transport stands on a private module of grpcio, which may change with any release. So calls over loopback are made
at each start: one that is answered, one that fails, one whose deadline passes, one that its caller cancels and one that
is cut off. Where calls are to come over TLS, these do too, with certificates made for the moment, by which the callers
are known.
"""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import grpc

from bascule_server.calls import Call
from bascule_server.draining import Draining
from bascule_server.errors import Reason, ServiceError
from bascule_server.identity import OPEN, Access, Presented
from bascule_server.interceptors import Surroundings, TimeoutPolicy
from bascule_server.interceptors.call_log import CallLog
from bascule_server.quick_methods import Reply
from bascule_server.transports.throwaway_pair import NAME, ThrowawayPair

SERVICE = "bascule.SelfTest"
TIMEOUT_SECONDS = 5.0
"""For all that should take milliseconds."""

SHORT_SECONDS = (0.02, 0.2, 2.0)
"""A worker may start on a machine so busy that a call has not come in by its deadline: the next one has longer."""

_AUTHORIZATION = "Bearer who"
_METADATA = (("authorization", _AUTHORIZATION),)


class CoreTestError(Exception):
    """The C core did not do what was expected."""


def prove_core(*, over_tls: bool = False) -> None:
    """Returns where all is well.

    Args:
        over_tls: whether to prove as well that callers are known by their certificates.

    Raises:
        Exception: whatever went wrong; ``CoreTestError`` where an answer was not the expected one.
    """
    from bascule_server.transports.core_loop import new_core_loop
    from bascule_server.transports.core_transport import CoreTransport

    async def serve() -> None:
        surroundings = Surroundings(TimeoutPolicy(60, 60), Draining(), CallLog(10**9, 10**9), handler)
        transport = CoreTransport([("grpc.so_reuseport", 0)], surroundings, {_path("Cut"): _cut})
        transport.add_generic_rpc_handlers([handler.generic()])
        handler.port = transport.listen("127.0.0.1:0", None if pair is None else pair.of_server())
        await transport.start()
        handler.is_listening.set()
        await asyncio.to_thread(handler.is_over.wait, 4 * TIMEOUT_SECONDS)
        await transport.close()

    def run() -> None:
        try:
            with asyncio.Runner(loop_factory=new_core_loop) as runner:
                runner.run(serve())
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            handler.failure = error
            handler.is_listening.set()

    pair = ThrowawayPair() if over_tls else None
    handler = _Handler()
    thread = threading.Thread(target=run, name="self-test", daemon=True)
    thread.start()
    try:
        _expect(handler.is_listening.wait(TIMEOUT_SECONDS), "it listens")
        if handler.failure is None:
            _ask(handler, pair)
    finally:
        handler.is_over.set()
        thread.join(TIMEOUT_SECONDS)
    if handler.failure is not None:
        raise handler.failure
    _expect(not thread.is_alive(), "it comes to rest")


class _Handler:
    """What the server of the test answers, and what it has seen."""

    def __init__(self) -> None:
        self.port = 0
        self.failure: BaseException | None = None
        self.is_listening = threading.Event()
        self.is_over = threading.Event()
        self.was_left = threading.Event()
        self.presented: Presented | None = None

    def access(self, _method: str, presented: Presented) -> Access:
        """See ``Gate``. Lets everybody in, and keeps what the last one came with."""
        self.presented = presented
        return OPEN

    def generic(self) -> grpc.GenericRpcHandler:
        methods = {"Echo": self._echo, "Fail": self._fail, "Wait": self._wait}
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(method, request_deserializer=bytes, response_serializer=bytes)
            for name, method in methods.items()
        }
        return grpc.method_handlers_generic_handler(SERVICE, handlers)

    async def _echo(self, request: bytes, _context: object) -> bytes:
        return request

    async def _fail(self, _request: bytes, _context: object) -> bytes:
        raise ServiceError(Reason.MODEL_NOT_FOUND)

    async def _wait(self, _request: bytes, _context: object) -> bytes:
        try:
            await asyncio.sleep(60)
        finally:
            self.was_left.set()
        return b""


def _cut(_message: bytes, _call: Call, reply: Reply) -> None:
    from bascule_server.transports.quick_call import QuickCall

    cast(QuickCall, reply).cut_off()


def _ask(handler: _Handler, pair: ThrowawayPair | None) -> None:
    with _channel(handler.port, pair) as channel:
        echo, fail, wait = (_method(channel, name) for name in ("Echo", "Fail", "Wait"))
        _expect(echo(b"a", timeout=TIMEOUT_SECONDS, metadata=_METADATA) == b"a", "a call is answered")
        _expect(_are_known(handler.presented, pair), "a caller is known by what it comes with")
        _expect(_code(fail.future(b"", timeout=TIMEOUT_SECONDS)) is Reason.MODEL_NOT_FOUND.code, "a call fails")
        _expect(
            any(_is_left_late(handler, wait, each) for each in SHORT_SECONDS), "a call whose deadline passed is left"
        )
        handler.was_left.clear()
        call = wait.future(b"", timeout=60)
        # So that the call that is cancelled has come in.
        _expect(echo(b"b", timeout=TIMEOUT_SECONDS) == b"b", "calls are answered beside each other")
        call.cancel()
        _expect(handler.was_left.wait(TIMEOUT_SECONDS), "a call that is cancelled is left")
        cut = _method(channel, "Cut").future(b"", timeout=TIMEOUT_SECONDS / 2)
        is_told = _code(cut) is Reason.READER_STOPPED.code and cut.details() == Reason.READER_STOPPED.text
        _expect(is_told, "a caller whose call is cut off is told why")


def _is_left_late(handler: _Handler, wait: "grpc.UnaryUnaryMultiCallable[bytes, bytes]", seconds: float) -> bool:
    """Whether a call that may take so many seconds is left when they are over."""
    late = wait.future(b"", timeout=seconds)
    _expect(_code(late) is grpc.StatusCode.DEADLINE_EXCEEDED, "a deadline passes")
    return handler.was_left.wait(min(10 * seconds, TIMEOUT_SECONDS))


def _are_known(presented: Presented | None, pair: ThrowawayPair | None) -> bool:
    """Whether the transport told who called: by the token, and by the certificate where there is one."""
    names = [] if pair is None else [NAME]
    return (
        presented is not None
        and presented.authorization == _AUTHORIZATION
        and list(presented.certificate_names) == names
    )


@contextmanager
def _channel(port: int, pair: ThrowawayPair | None) -> Iterator[grpc.Channel]:
    address, options = f"127.0.0.1:{port}", [("grpc.use_local_subchannel_pool", 1)]
    if pair is None:
        opened = grpc.insecure_channel(address, options=options)
    else:
        opened = grpc.secure_channel(
            address, pair.of_client(), options=[*options, ("grpc.ssl_target_name_override", NAME)]
        )
    with opened as channel:
        yield channel


def _method(channel: grpc.Channel, name: str) -> "grpc.UnaryUnaryMultiCallable[bytes, bytes]":
    return channel.unary_unary(_path(name))


def _path(name: str) -> str:
    return f"/{SERVICE}/{name}"


def _code(call: "grpc.Future[bytes]") -> grpc.StatusCode:
    error = call.exception(TIMEOUT_SECONDS)
    if not isinstance(error, grpc.RpcError):
        raise CoreTestError(f"expected a call to fail; got {type(error).__name__}")
    code: grpc.StatusCode = error.code()
    return code


def _expect(is_so: bool, what: str) -> None:
    if not is_so:
        raise CoreTestError(f"expected that {what}; it did not")
