"""From the configuration to the options of gRPC's core.

The core passes over options that it does not know, also misspelt ones; hence the one list here, and a test that looks
for each of its keys in the core's binary.
"""

from typing import TypeAlias

from bascule_server.config import ServerConfig

ChannelOption: TypeAlias = tuple[str, int]

MAX_METADATA_BYTES = 16 * 1024
"""Of a call, names and values together."""


def channel_options(config: ServerConfig) -> list[ChannelOption]:
    """Everything that the core is told. Durations in milliseconds."""
    options = [
        # A second server on the same port would otherwise start, and get some of the first one's connections.
        ("grpc.so_reuseport", int(config.workers > 1)),
        ("grpc.max_receive_message_length", config.max_request_bytes),
        ("grpc.max_send_message_length", config.max_response_bytes),
        ("grpc.max_metadata_size", 8 * 1024),
        ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
        # The core keeps to its own limits only once the caller has said that it knows them.
        ("grpc.http2.settings_timeout", _ms(config.handshake_timeout_seconds)),
        # Calls that have come and that we have not taken. Beyond that the core ends them as CANCELLED, which callers do
        # not repeat, so this is for floods that we cannot refuse as fast as they come.
        ("grpc.server.max_pending_requests", 4_096),
        ("grpc.server.max_pending_requests_hard_limit", 8_192),
        ("grpc.max_concurrent_streams", config.max_calls_per_connection),
        ("grpc.max_allowed_incoming_connections", config.max_connections),
        ("grpc.server_handshake_timeout_ms", _ms(config.handshake_timeout_seconds)),
        ("grpc.keepalive_time_ms", _ms(config.keepalive_time_seconds)),
        ("grpc.keepalive_timeout_ms", _ms(config.keepalive_timeout_seconds)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", _ms(config.min_ping_interval_seconds)),
        ("grpc.http2.max_ping_strikes", 2),
        ("grpc.max_connection_idle_ms", _ms(config.max_connection_idle_seconds)),
        ("grpc.max_connection_age_grace_ms", _ms(config.max_connection_age_grace_seconds)),
    ]
    if config.max_connection_age_seconds is not None:
        options.append(("grpc.max_connection_age_ms", _ms(config.max_connection_age_seconds)))
    return options


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))
