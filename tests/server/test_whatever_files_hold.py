"""Whatever the files of an operator and the metadata of a call hold, they are read or refused."""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import trustme
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bascule_server.artifact.signature import read_private_key, read_publishers
from bascule_server.config import ConfigError, ServerConfig, read_config
from bascule_server.credentials import read_certificate
from bascule_server.errors import ServiceError
from bascule_server.identity.callers import reader
from bascule_server.identity.presented import Presented, token_of
from bascule_server.identity.tokens import read_key_set

WITH_A_FILE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])

SCALARS = st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.datetimes() | st.dates()
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
)
FIELDS = st.sampled_from(sorted(ServerConfig.model_fields)) | st.text(max_size=10)
CONFIGURATIONS = st.dictionaries(FIELDS, VALUES, max_size=4).map(lambda fields: tomli_w.dumps(fields).encode())
UNTOLD = [b"x = " + b"[" * 100_000, b"x = " + b"9" * 5_000, b"x = 9999-99-99", b"\xff", b"x = 1\nx = 2"]
"""What no one writes, and what is not found by chance: deep, long, not of the calendar, not of Unicode, twice."""


def sentence(read: Callable[[], object]) -> None:
    """Reads it, or is told why not, and by nothing else."""
    with suppress(ConfigError):
        read()


@WITH_A_FILE
@given(content=st.binary(max_size=100) | CONFIGURATIONS)
def test_whatever_a_configuration_holds_it_is_valid_or_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "server.toml"
    path.write_bytes(content)
    sentence(lambda: read_config(path, {}))


@pytest.mark.parametrize("content", UNTOLD, ids=["deep", "long", "no day", "no Unicode", "twice"])
def test_what_the_reader_of_toml_does_not_tell_as_such_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "server.toml"
    path.write_bytes(content)
    for read in (lambda: read_config(path, {}), lambda: reader(has_tokens=True, has_client_authority=True)(content)):
        with pytest.raises(ConfigError, match="not TOML"):
            read()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
)
KEY_FIELDS = st.sampled_from(["kid", "kty", "use", "alg", "crv", "x", "y", "n", "e", "d", "k"])
KEY_VALUES = JSON | st.sampled_from(
    ["RSA", "EC", "OKP", "oct", "sig", "ES256", "EdDSA", "P-256", "Ed25519", "AQAB", "AA"]
)
KEYS = st.lists(st.dictionaries(KEY_FIELDS, KEY_VALUES, max_size=8), max_size=3)


@given(
    st.binary(max_size=100)
    | JSON.map(lambda value: json.dumps(value).encode())
    | KEYS.map(lambda keys: json.dumps({"keys": keys}).encode())
)
def test_whatever_a_key_set_holds_it_is_read_or_refused(content: bytes) -> None:
    sentence(lambda: read_key_set(content))


def _pem() -> tuple[bytes, bytes]:
    issued = trustme.CA().issue_cert("127.0.0.1")
    return b"".join(blob.bytes() for blob in issued.cert_chain_pems), issued.private_key_pem.bytes()


CERTIFICATE, PRIVATE_KEY = _pem()
SIGNER = Ed25519PrivateKey.generate()
PUBLISHER = SIGNER.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
SIGNING_KEY = SIGNER.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """A file with some of its bytes changed or its end cut off."""
    found = bytearray(whole[: draw(st.integers(0, len(whole)) | st.just(len(whole)))])
    for _ in range(draw(st.integers(0, 4)) if found else 0):
        found[draw(st.integers(0, len(found) - 1))] = draw(st.integers(0, 255) | st.sampled_from(b"ABCabc019+/=\n-"))
    return bytes(found)


@given(certificate=damaged(CERTIFICATE), private_key=damaged(PRIVATE_KEY), authority=damaged(CERTIFICATE))
def test_whatever_a_certificate_and_its_key_hold_they_are_read_or_refused(
    certificate: bytes, private_key: bytes, authority: bytes
) -> None:
    for given_files in ((certificate, PRIVATE_KEY), (CERTIFICATE, private_key), (CERTIFICATE, PRIVATE_KEY, authority)):
        sentence(lambda given_files=given_files: read_certificate(*given_files))  # type: ignore[misc]


@WITH_A_FILE
@given(publisher=damaged(PUBLISHER), signing_key=damaged(SIGNING_KEY))
def test_whatever_the_keys_of_a_publisher_hold_they_are_read_or_refused(
    tmp_path: Path, publisher: bytes, signing_key: bytes
) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(publisher)
    sentence(lambda: read_publishers([path]))
    path.write_bytes(signing_key)
    sentence(lambda: read_private_key(path))


METADATA: Any = st.lists(
    st.tuples(
        st.sampled_from(["authorization", "x", "authorization-bin"]), st.text(max_size=20) | st.binary(max_size=20)
    ),
    max_size=4,
)


@given(METADATA, st.lists(st.binary(max_size=12), max_size=3))
def test_whatever_a_call_presents_it_is_one_authorization_none_or_nobody(
    metadata: list[tuple[str, str | bytes]], names: list[bytes]
) -> None:
    presented = Presented(metadata, lambda: names)
    assert len(presented.certificate_names) == len(names)
    with suppress(ServiceError):
        found = presented.authorization
        told = [value for key, value in metadata if key == "authorization"]
        assert told == ([] if found is None else [found])


@given(st.text(max_size=20))
def test_a_token_is_what_stands_behind_its_scheme_and_without_that_there_is_none(text: str) -> None:
    assert token_of(f"Bearer {text}") == token_of(f"bEARER {text}") == text
    if not text.lower().startswith("bearer "):
        with pytest.raises(ServiceError):
            token_of(text)
