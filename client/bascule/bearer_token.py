"""The token that tells a server who calls: sent with each call, and never where others could read it."""

import ipaddress
from collections.abc import Callable
from typing import Any, TypeAlias

import grpc
import grpc.aio

Token: TypeAlias = str | Callable[[], str]
"""The token, or what returns the one of the moment, for tokens that expire."""

_SCHEMES = ("dns:///", "dns:", "ipv4:", "ipv6:")


def check_token(token: Token | None, target: str, credentials: grpc.ChannelCredentials | None) -> None:
    """Raises ``ValueError`` for a token that is none, or that would leave this machine in plain text."""
    if token is None:
        return
    if credentials is None and not is_loopback(target):
        raise ValueError(
            f"a token is sent over an encrypted connection alone; got the target {target!r} without credentials. "
            "Give credentials=grpc.ssl_channel_credentials(...)"
        )
    if not callable(token):
        _metadata(token)


def is_loopback(target: str) -> bool:
    """Whether calls to all addresses of the target stay on this machine, as far as its text says so."""
    if target.startswith("unix:"):
        return True
    addresses = target
    for scheme in _SCHEMES:
        if target.startswith(scheme):
            addresses = target.removeprefix(scheme)
            break
    return all(_is_loopback_address(address) for address in addresses.split(","))


def _is_loopback_address(address: str) -> bool:
    host = address[1:].partition("]")[0] if address.startswith("[") else address.rpartition(":")[0] or address
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class TokenChannel:
    """A channel whose calls bring the token, as far as stubs use channels."""

    def __init__(self, channel: Any, token: Token) -> None:  # noqa: ANN401 - of threads or of an event loop
        self._channel = channel
        self._token = token

    def unary_unary(self, *args: Any, **options: Any) -> "_WithToken":  # noqa: ANN401 - as the channel's
        """See ``grpc.Channel``."""
        return _WithToken(self._channel.unary_unary(*args, **options), self._token)

    def stream_stream(self, *args: Any, **options: Any) -> "_WithToken":  # noqa: ANN401 - as the channel's
        """See ``grpc.Channel``."""
        return _WithToken(self._channel.stream_stream(*args, **options), self._token)

    def close(self) -> Any:  # noqa: ANN401 - awaited in an event loop
        """See ``grpc.Channel``."""
        return self._channel.close()


class _WithToken:
    """One method."""

    def __init__(self, method: Any, token: Token) -> None:  # noqa: ANN401 - of the channel
        self._method = method
        self._token = token

    def __call__(self, request: Any, timeout: float | None = None) -> Any:  # noqa: ANN401 - as the channel's
        return self._method(request, timeout=timeout, metadata=_metadata(self._token))

    def future(self, request: Any, timeout: float | None = None) -> Any:  # noqa: ANN401 - as the channel's
        return self._method.future(request, timeout=timeout, metadata=_metadata(self._token))


def _metadata(token: Token) -> tuple[tuple[str, str], ...]:
    value = token() if callable(token) else token
    # What gRPC would do about other characters differs from release to release.
    if not isinstance(value, str) or not value or not all("!" <= character <= "~" for character in value):
        raise ValueError("a token is text of visible ASCII characters, without spaces; got something else")
    return (("authorization", f"Bearer {value}"),)
