"""The connection to the servers: what gRPC's core is told, and what it does by itself.

The core repeats a call that found no server able to compute it (UNAVAILABLE): up to four attempts in all, after about
0.1, 0.3 and 0.9 seconds or when the server asks for it, within the call's time-out. A failure costs one of a client's
100 tokens and a success brings back a tenth; nothing is repeated while half of them are gone. So a server that refuses
everything gets at most 50 attempts more than there are calls (with more than ten connections five for each), and in the
long run at most one call in ten is repeated. Calls are spread over every address that the target's name resolves to.
See https://github.com/grpc/proposal/blob/master/A6-client-retries.md.
"""

import json
from typing import Any, TypeAlias, TypeVar, cast

import grpc
import grpc.aio

from bascule.bearer_token import Token, TokenChannel, check_token

ChannelOption: TypeAlias = tuple[str, int | str]
Channel = TypeVar("Channel", grpc.Channel, grpc.aio.Channel)

DEFAULT_TARGET = "127.0.0.1:50051"

MAX_RESPONSE_BYTES = 16 * 1024 * 1024

SERVICE_CONFIG: dict[str, Any] = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "methodConfig": [
        {
            "name": [{"service": "bascule.v1.RecommendationService"}, {"service": "bascule.v1.ModelService"}],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.1s",
                "maxBackoff": "1s",
                "backoffMultiplier": 3,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
}
"""How calls are spread and repeated: https://github.com/grpc/grpc/blob/master/doc/service_config.md."""

RETRY_TOKENS = 100

MIN_RETRY_TOKENS = 10
"""With fewer a connection would repeat next to nothing."""

CHANNEL_OPTIONS: tuple[ChannelOption, ...] = (
    ("grpc.max_receive_message_length", MAX_RESPONSE_BYTES),
    # A call is repeated only while its request is kept; by default that ends at 256 KiB, less than a full batch.
    ("grpc.per_rpc_retry_buffer_size", MAX_RESPONSE_BYTES),
    # A server that vanished without a word is noticed while a call waits for it. One with gRPC's defaults, or such a
    # proxy, cuts the connection ("too_many_pings") of a client that pings more often than every 300 s.
    ("grpc.keepalive_time_ms", 310_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # A server that restarts is found again soon after it is back, and not up to two minutes later.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 5_000),
)
"""The core passes over options that it does not know, also misspelt ones; a test looks for each key in its binary."""


def open_channels(
    target: str, credentials: grpc.ChannelCredentials | None, count: int, token: Token | None = None
) -> list[grpc.Channel]:
    """Channels, encrypted where there are credentials. Each connects at its first call, and shares no connection.

    Raises:
        ValueError: ``count`` is below 1, or the token cannot be sent.
    """
    check_token(token, target, credentials)
    if credentials is None:
        plain = [grpc.insecure_channel(target, options=options) for options in _plain_options(count, token)]
        return _with_token(plain, token)
    return _with_token([grpc.secure_channel(target, credentials, options=each) for each in _options(count)], token)


def open_async_channels(
    target: str, credentials: grpc.ChannelCredentials | None, count: int, token: Token | None = None
) -> list[grpc.aio.Channel]:
    """The same for the running event loop, to which the channels belong."""
    check_token(token, target, credentials)
    if credentials is None:
        plain = [grpc.aio.insecure_channel(target, options=options) for options in _plain_options(count, token)]
        return _with_token(plain, token)
    return _with_token([grpc.aio.secure_channel(target, credentials, options=each) for each in _options(count)], token)


def _with_token(channels: list[Channel], token: Token | None) -> list[Channel]:
    if token is None:
        return channels
    return [cast(Channel, TokenChannel(channel, token)) for channel in channels]


def _plain_options(count: int, token: Token | None) -> list[tuple[ChannelOption, ...]]:
    if token is None:
        return _options(count)
    # What goes to this machine would go through a proxy that the environment names, and the token with it.
    return [(*options, ("grpc.enable_http_proxy", 0)) for options in _options(count)]


def checked_connections(count: int) -> int:
    """The count.

    Raises:
        ValueError: It is below 1.
    """
    if count < 1:
        raise ValueError(f"connections is at least 1; got {count}")
    return count


def checked_timeout(seconds: float) -> float:
    """The seconds.

    Raises:
        ValueError: There are none left.
    """
    if not seconds > 0:
        raise ValueError(f"timeout is more than 0 seconds; got {seconds:g}. Where nothing is left, make no call")
    return seconds


def _options(count: int) -> list[tuple[ChannelOption, ...]]:
    options = (*CHANNEL_OPTIONS, ("grpc.service_config", _service_config(checked_connections(count))))
    if count == 1:
        return [options]
    # Channels with equal options share their connections otherwise.
    return [(*options, ("grpc.use_local_subchannel_pool", 1))] * count


def _service_config(count: int) -> str:
    # Each channel has tokens of its own, so the client's are parted among them.
    tokens = max(RETRY_TOKENS // count, MIN_RETRY_TOKENS)
    return json.dumps(SERVICE_CONFIG | {"retryThrottling": {"maxTokens": tokens, "tokenRatio": 0.1}})
