"""The callers that a server knows: a TOML file with a table for each, named as the log calls the caller.

docs/server.md describes its fields. Of keys it has the digests, so that who reads the file can call nobody.
"""

import hashlib
import hmac
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

from google.protobuf.descriptor import FileDescriptor
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from bascule.v1 import catalogue_service_pb2, model_admin_service_pb2, model_service_pb2, recommendation_service_pb2
from bascule_server.config import ConfigError

ALL = "*"

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_SHARED_BYTES = 8
"""By so many bytes of a digest keys are looked up; the rest is compared in a time that tells nothing."""


def _methods_of(*files: FileDescriptor) -> Iterator[tuple[str, str]]:
    for file in files:
        for service in file.services_by_name.values():
            for method in service.methods:
                yield method.name, f"/{service.full_name}/{method.name}"


METHODS: Mapping[str, Sequence[str]] = {
    **{
        name: (full_name,)
        for name, full_name in _methods_of(
            recommendation_service_pb2.DESCRIPTOR,
            model_service_pb2.DESCRIPTOR,
            catalogue_service_pb2.DESCRIPTOR,
            model_admin_service_pb2.DESCRIPTOR,
        )
    },
    "ServerReflectionInfo": tuple(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo" for version in ("v1alpha", "v1")
    ),
}
"""The full names of the methods that callers may be allowed, by the names that the file has for them."""

Name: TypeAlias = Annotated[str, Field(min_length=1, max_length=256)]
Digest: TypeAlias = Annotated[str, Field(pattern=f"^{_DIGEST.pattern}$")]
Names: TypeAlias = Annotated[list[Name], Field(max_length=1_000)]


class CallerEntry(BaseModel):
    """One table of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    keys: Annotated[list[Digest], Field(max_length=100)] = []
    """``sha256:`` and the digest of each key, in lower-case hexadecimal."""
    subjects: Names = []
    """``sub`` of the JSON Web Tokens that name the caller."""
    certificates: Names = []
    """Names in the certificates that callers connect with."""
    methods: Annotated[list[Literal[tuple(METHODS)]], Field(min_length=1, max_length=100)]  # type: ignore[valid-type]
    """The names of the methods that it may call."""
    models: Annotated[Names, Field(min_length=1)]
    """The names of the models that it may ask; ``*``: all."""
    rows_per_second: Annotated[float, Field(gt=0, le=1e9)] | None = None
    """How many rows each worker answers it, on average. Absent: as many as it asks for."""
    burst_rows: Annotated[float, Field(ge=1, le=1e9)] | None = None
    """How many of them at once. Absent: those of a second, at least 1."""


_FILE = TypeAdapter(Annotated[dict[Name, CallerEntry], Field(max_length=10_000)])
"""Without an entry nobody may call."""


@dataclass(frozen=True, slots=True)
class Caller:
    """One that the server knows."""

    name: str
    methods: frozenset[str]
    """Full names."""
    models: frozenset[str] | None
    """None: all."""
    rows_per_second: float | None
    burst_rows: float


class Callers:
    """All that the server knows, by what they prove themselves with."""

    def __init__(self, entries: Mapping[str, CallerEntry]) -> None:
        """Raises ``ConfigError`` where two of them have the same key, subject or certificate."""
        self._by_key: dict[bytes, tuple[bytes, Caller]] = {}
        self._by_subject: dict[str, Caller] = {}
        self._by_certificate: dict[str, Caller] = {}
        for name, entry in entries.items():
            caller = _caller(name, entry)
            for key in entry.keys:
                digest = bytes.fromhex(key.removeprefix("sha256:"))
                _add(self._by_key, digest[:_SHARED_BYTES], (digest, caller), f"{name}.keys")
            for subject in entry.subjects:
                _add(self._by_subject, subject, caller, f"{name}.subjects")
            for certificate in entry.certificates:
                _add(self._by_certificate, certificate, caller, f"{name}.certificates")

    def with_key(self, key: str) -> Caller | None:
        """The one that has this key."""
        digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
        known, caller = self._by_key.get(digest[:_SHARED_BYTES], (b"", None))
        return caller if hmac.compare_digest(known, digest) else None

    def with_subject(self, subject: str) -> Caller | None:
        """The one that a token with this subject names."""
        return self._by_subject.get(subject)

    def with_certificate(self, names: Sequence[str]) -> Caller | None:
        """The one that a certificate with these names names; None also where it names several."""
        found = {caller.name: caller for name in names if (caller := self._by_certificate.get(name)) is not None}
        return next(iter(found.values())) if len(found) == 1 else None


def reader(*, has_tokens: bool, has_client_authority: bool) -> Callable[[bytes], Callers]:
    """Reads the bytes of the file, for a server that knows callers by tokens and certificates or does not.

    What it returns raises ``ConfigError`` where they cannot be used.
    """

    def read(content: bytes) -> Callers:
        try:
            entries = _FILE.validate_python(tomllib.loads(content.decode("utf-8")))
        except ValidationError as error:
            # What stands there may be a key, put where its digest should be.
            first = error.errors()[0]
            raise ConfigError(f"callers: {'.'.join(map(str, first['loc'])) or 'the file'}: {first['msg']}") from None
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"callers: not TOML: {error}") from error
        for name, entry in entries.items():
            if entry.subjects and not has_tokens:
                raise ConfigError(
                    f"callers: {name}.subjects: got some; expected none without key_set, which tokens need"
                )
            if entry.certificates and not has_client_authority:
                raise ConfigError(f"callers: {name}.certificates: got some; expected none without client_authority")
            if not (entry.keys or entry.subjects or entry.certificates):
                raise ConfigError(
                    f"callers: {name}: got nothing to know it by; expected keys, subjects or certificates"
                )
        return Callers(entries)

    return read


def _caller(name: str, entry: CallerEntry) -> Caller:
    return Caller(
        name,
        frozenset(full_name for method in entry.methods for full_name in METHODS[method]),
        None if ALL in entry.models else frozenset(entry.models),
        entry.rows_per_second,
        entry.burst_rows or max(1.0, entry.rows_per_second or 1.0),
    )


def _add(table: dict[object, object] | dict, key: object, value: object, where: str) -> None:  # type: ignore[type-arg]
    if key in table:
        raise ConfigError(f"callers: {where}: got one that another entry has too; expected each once")
    table[key] = value
