"""A token is believed where a key of the set signed it, by its issuer, for this server and as long as it says."""

import base64
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from bascule_server.config import ConfigError
from bascule_server.identity.tokens import LEEWAY_SECONDS, Tokens, read_key_set
from bascule_server.rotation import Rotated

ALGORITHM: dict[type, tuple[str, Any]] = {
    ec.EllipticCurvePrivateKey: ("ES256", jwt.algorithms.ECAlgorithm),
    ed25519.Ed25519PrivateKey: ("EdDSA", jwt.algorithms.OKPAlgorithm),
    rsa.RSAPrivateKey: ("RS256", jwt.algorithms.RSAAlgorithm),
}
KEY, OTHER_KEY = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
NOW = int(time.time())
IN_DAYS = NOW + 10 * 86_400


def kind(key: Any) -> tuple[str, Any]:
    return next(value for base, value in ALGORITHM.items() if isinstance(key, base))


def public(key: Any, kid: str = "1", **fields: Any) -> dict[str, Any]:
    return {**kind(key)[1].to_jwk(key.public_key(), as_dict=True), "kid": kid, **fields}


def key_set(*entries: Any) -> bytes:
    return json.dumps({"keys": entries}).encode()


def signed(key: Any = KEY, kid: str | None = "1", algorithm: str | None = None, **claims: Any) -> str:
    given = {"iss": "issuer", "aud": "bascule", "sub": "shop", "exp": IN_DAYS, **claims}
    headers = {} if kid is None else {"kid": kid}
    kept = {name: value for name, value in given.items() if value is not None}
    return jwt.encode(kept, key, algorithm or kind(key)[0], headers=headers)


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Rotated[Any]]:
    def write(*entries: Any) -> Rotated[Any]:
        (tmp_path / "keys.json").write_bytes(key_set(*entries))
        return Rotated("key_set", [tmp_path / "keys.json"], read_key_set)

    return write


@pytest.fixture
def believed(written: Any) -> Tokens:
    return Tokens(written(public(KEY)), "issuer", "bascule")


@pytest.mark.parametrize(
    "key",
    [KEY, ed25519.Ed25519PrivateKey.generate(), rsa.generate_private_key(65537, 2048)],
    ids=["ES256", "EdDSA", "RS256"],
)
def test_a_token_names_its_subject_and_says_until_when(key: Any, written: Any) -> None:
    believed = Tokens(written(public(key)), "issuer", "bascule")
    assert believed.verified(signed(key)) == ("shop", IN_DAYS + LEEWAY_SECONDS)


def _part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


CLAIMS = {"iss": "issuer", "aud": "bascule", "sub": "shop", "exp": IN_DAYS}


@pytest.mark.parametrize(
    "token",
    [
        signed(OTHER_KEY),
        signed(kid="2"),
        signed(iss="another"),
        signed(aud="another"),
        signed(exp=NOW - LEEWAY_SECONDS - 1),
        signed(nbf=IN_DAYS - 86_400),
        *(signed(**{name: None}) for name in CLAIMS),
        signed()[:-4] + "AAAA",
        f"{_part({'alg': 'none', 'kid': '1'})}.{_part(CLAIMS)}.",
        jwt.encode(CLAIMS, "k" * 64, "HS256", headers={"kid": "1"}),
        "",
        "a.b.c",
    ],
)
def test_a_token_that_is_not_valid_names_nobody(token: str, believed: Tokens) -> None:
    assert believed.verified(token) is None


def test_with_the_public_key_as_a_secret_nobody_makes_a_token(believed: Tokens) -> None:
    import hashlib
    import hmac

    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    secret = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    head = f"{_part({'alg': 'HS256', 'kid': '1'})}.{_part(CLAIMS)}"
    signature = base64.urlsafe_b64encode(hmac.digest(secret, head.encode(), hashlib.sha256)).rstrip(b"=").decode()
    assert believed.verified(f"{head}.{signature}") is None


def test_a_token_that_names_no_key_is_checked_with_the_only_one(believed: Tokens, written: Any) -> None:
    assert believed.verified(signed(kid=None)) is not None
    two = Tokens(written(public(KEY), public(OTHER_KEY, "2")), "issuer", "bascule")
    assert two.verified(signed(kid=None)) is None


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"{", "no JSON Web Key Set"),
        (b"[]", "no JSON Web Key Set"),
        (key_set(), "expected a list of 1 to 100 keys"),
        (key_set("x"), r"keys\[0\]: expected a key with an id"),
        (key_set(public(KEY), public(OTHER_KEY)), r"keys\[1\]: expected a key with an id \(kid\) of its own"),
        (key_set({"kty": "oct", "k": "c2VjcmV0", "kid": "1"}), r"keys\[0\]: expected the public key of a pair"),
        (key_set(public(KEY, use="enc")), "for signatures"),
        (key_set({**public(KEY), "d": "x"}), "expected the public key of a pair"),
        (key_set({"kty": "EC", "crv": "P-256", "x": "x", "y": "y", "kid": "1"}), "no key that can be read"),
        (key_set(public(KEY, alg="HS256")), "keys"),
        (key_set(public(rsa.generate_private_key(65537, 1024))), "got 1024 bits; expected at least 2,048"),
    ],
)
def test_a_key_set_that_must_not_be_used_is_refused(content: bytes, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        read_key_set(content)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**400), 10**400) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["alg", "kid", "exp", "crit"]), inner),
    max_leaves=8,
)


def believing_key() -> Tokens:
    keys = read_key_set(key_set(public(KEY)))
    return Tokens(Rotated("key_set", [], lambda: keys), "issuer", "bascule")


@given(st.text(max_size=80) | st.builds(lambda header: f"{_part(header)}.{_part(CLAIMS)}.", JSON))
def test_no_text_is_taken_for_a_token(token: str) -> None:
    assert believing_key().verified(token) is None


@given(st.dictionaries(st.sampled_from(["iss", "aud", "sub", "exp", "nbf", "iat", "jti"]), JSON))
def test_whatever_a_signed_token_claims_it_names_nobody_or_a_text(claims: dict[str, Any]) -> None:
    token = jwt.api_jws.encode(json.dumps({**CLAIMS, **claims}).encode(), KEY, "ES256", headers={"kid": "1"})
    verified = believing_key().verified(token)
    assert verified is None or isinstance(verified.subject, str)
