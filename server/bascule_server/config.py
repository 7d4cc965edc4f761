"""The configuration of the server: read once, checked at birth, and never changed.

    ConfigError   which field holds what, and what is allowed, in one sentence for a person

docs/server.md describes every field, and of those that are limits docs/operations.md.
"""

import ipaddress
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self, TypeAlias
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

Count: TypeAlias = Annotated[int, Field(ge=1, le=1_000_000)]
Bytes: TypeAlias = Annotated[int, Field(ge=1_024, le=1 << 30)]
Seconds: TypeAlias = Annotated[float, Field(gt=0, le=86_400)]
"""Above 0, at most a day."""
PemFile: TypeAlias = Annotated[Path, Field(strict=False)]


class ConfigError(Exception):
    """The configuration is not valid."""


class Authentication(BaseModel):
    """Who may call. Files are read again when they change."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    callers: Annotated[Path, Field(strict=False)]
    """A TOML file: the callers, what they prove themselves with, and what they may."""
    key_set: Annotated[Path, Field(strict=False)] | None = None
    """A JSON Web Key Set: whose tokens are believed. Absent: nobody's."""
    issuer: Annotated[str, Field(min_length=1)] | None = None
    """``iss`` of the tokens."""
    audience: Annotated[str, Field(min_length=1)] | None = None
    """``aud`` of the tokens: this server's name for those who make them."""

    @model_validator(mode="after")
    def _has_all_that_tokens_need(self) -> Self:
        given = {"key_set": self.key_set, "issuer": self.issuer, "audience": self.audience}
        missing = [name for name, value in given.items() if value is None]
        if 0 < len(missing) < len(given):
            raise ValueError(f"{missing[0]}: got none; expected key_set, issuer and audience together, or none of them")
        return self


class ServerConfig(BaseModel):
    """How to serve."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    listen: str = "127.0.0.1:50051"
    """Address and port. Port 0: any free one."""
    certificate: PemFile | None = None
    private_key: PemFile | None = None
    """PEM files: the server's certificate with those that vouch for it, and its key. With both, calls come over TLS."""
    client_authority: PemFile | None = None
    """A PEM file: whose certificates callers must have. Absent: they need none."""
    allow_insecure: bool = False
    """Whether to listen beyond this machine, where anybody can read along and call."""
    authentication: Authentication | None = None
    """Who may call. Absent: everybody who can connect."""
    publishers: Annotated[list[PemFile], Field(max_length=100)] = []
    """PEM files, public keys: a version of a model is loaded only if one of them signed it. Empty: none need be."""
    metrics_listen: str | None = None
    """Address and port of ``/metrics`` for Prometheus; of several workers each takes the next port. Absent: none."""
    catalogue_listen: str | None = None
    """Address and port for changes of the catalogue. Absent: it does not change."""
    admin_listen: str | None = None
    """Address and port of ``ModelAdminService``, which says which versions answer. Absent: nobody is asked."""
    reflection: bool = False
    """Whether callers may ask for the definitions of the services."""
    workers: Annotated[int, Field(ge=1, le=256)] = 1
    """Processes that share the port, best one a core. A connection belongs to one of them."""
    transport: Literal["core", "aio"] = "core"
    """What drives gRPC: its C core directly, which answers several times as many calls, or the public grpc.aio."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least important lines to log. Calls are ``info`` lines."""
    log_call_every: Count = 100
    """One of so many calls that went well is logged; 1: each. Those that failed or were slow are always."""
    slow_call_seconds: Seconds = 1.0
    """A call that takes so long is logged."""

    max_request_bytes: Bytes = 4 * 1024 * 1024
    max_response_bytes: Bytes = 16 * 1024 * 1024
    max_rows: Count = 8_192
    """Rows held at once. Calls beyond that are refused, streams wait."""
    max_queue_seconds: Seconds = 1.0
    """How long a row of a call may wait for the model. Calls whose rows would wait longer are refused."""
    largest_batch: Count = 256
    """Rows computed together."""
    stream_window: Count = 4
    """Messages of a stream in hand at once."""
    max_connections: Count = 1_024
    max_calls_per_connection: Count = 256
    """Calls and streams open at once on one connection; the caller's own library has further ones wait."""

    default_timeout_seconds: Seconds = 5.0
    """For calls without a deadline. Streams without one have none."""
    max_timeout_seconds: Seconds = 60.0
    """For calls with a more distant deadline. Streams may last as long as their caller allows."""

    write_timeout_seconds: Seconds = 120.0
    """For a caller to take the next answer. A stream whose reader has stopped ends then."""

    drain_seconds: Annotated[float, Field(ge=0, le=3_600)] = 1.0
    """Between the health turning NOT_SERVING and the refusal of calls: time for load balancers to look elsewhere."""
    grace_seconds: Seconds = 30.0
    """For calls in flight to finish, when the server stops."""

    handshake_timeout_seconds: Seconds = 10.0
    keepalive_time_seconds: Seconds = 60.0
    """Silence on a connection after which the server asks whether the caller is still there."""
    keepalive_timeout_seconds: Seconds = 20.0
    min_ping_interval_seconds: Seconds = 30.0
    """How often callers may ask whether the server is still there."""
    max_connection_idle_seconds: Seconds = 900.0
    max_connection_age_seconds: Seconds | None = None
    """After which callers must connect anew, so that they find new servers. Absent: never."""
    max_connection_age_grace_seconds: Seconds = 600.0
    """For what is in flight on a connection that is too old, streams included."""

    @field_validator("listen", "metrics_listen", "catalogue_listen", "admin_listen")
    @classmethod
    def _is_address(cls, listen: str | None) -> str | None:
        if listen is not None:
            host_and_port(listen)
        return listen

    @model_validator(mode="after")
    def _is_open_only_by_intent(self) -> Self:
        plain = {"metrics_listen": self.metrics_listen}
        if self.certificate is None:
            plain |= {
                "listen": self.listen,
                "catalogue_listen": self.catalogue_listen,
                "admin_listen": self.admin_listen,
            }
        for field, address in plain.items():
            if address and not self.allow_insecure and not _is_loopback(host_and_port(address)[0]):
                raise ValueError(
                    f"{field}: got {address}, which other machines can reach without encryption; expected a loopback "
                    "address such as 127.0.0.1:50051, or allow_insecure = true"
                )
        return self

    @model_validator(mode="after")
    def _has_both_halves_of_a_pair(self) -> Self:
        for missing, other in (("certificate", "private_key"), ("private_key", "certificate")):
            if getattr(self, missing) is None and getattr(self, other) is not None:
                raise ValueError(f"{missing}: got none; expected a PEM file beside {other}, or neither")
        return self

    @model_validator(mode="after")
    def _encrypts_where_callers_prove_themselves(self) -> Self:
        if self.client_authority is not None and self.certificate is None:
            raise ValueError("certificate: got none; expected one beside client_authority, which speaks of TLS")
        return self

    @model_validator(mode="after")
    def _has_ordered_timeouts(self) -> Self:
        if self.default_timeout_seconds > self.max_timeout_seconds:
            raise ValueError(
                f"default_timeout_seconds: got {self.default_timeout_seconds}; expected at most max_timeout_seconds, "
                f"which is {self.max_timeout_seconds}"
            )
        return self


def read_config(path: Path | None, overrides: Mapping[str, object]) -> ServerConfig:
    """The configuration in a TOML file, or the default one, with ``overrides`` on top.

    Raises:
        ConfigError: the file cannot be read, is no TOML, or holds an unknown field or a value that is not allowed.
    """
    try:
        fields = tomllib.loads(path.read_text(encoding="utf-8")) if path else {}
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error
    try:
        return ServerConfig.model_validate({**fields, **overrides})
    except ValidationError as error:
        place = f"{path}: " if path else ""
        raise ConfigError(place + _sentence(error.errors()[0])) from error


def _sentence(error: ErrorDetails) -> str:
    name = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"{name}: no such field; docs/server.md and docs/operations.md list all of them"
    message = str(error.get("ctx", {}).get("error", error["msg"]))
    if not name:
        return message
    return f"{name}: got {error['input']!r}; {message[0].lower()}{message[1:]}"


def host_and_port(listen: str) -> tuple[str, int]:
    """The address and the port of what to listen on. Raises ``ValueError`` where it is not both."""
    parts = urlsplit(f"//{listen}")
    try:
        port = parts.port
    except ValueError:
        port = None
    if port is None or not parts.hostname or parts.netloc != listen or "@" in listen:
        raise ValueError("expected an address and a port from 0 to 65535, such as 127.0.0.1:50051 or [::1]:50051")
    return parts.hostname, port


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
