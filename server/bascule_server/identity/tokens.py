"""JSON Web Tokens: who signed them is looked up in a local key set, and what they say of themselves is checked.

https://www.rfc-editor.org/rfc/rfc8725 is followed: a key has one algorithm, which is asymmetric; issuer, audience,
subject and expiry are required; what a token says about its algorithm or where its key lies decides nothing.
"""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

from bascule_server.config import ConfigError
from bascule_server.rotation import Rotated

if TYPE_CHECKING:
    from jwt import PyJWK

ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"})
"""Asymmetric ones alone: with a shared secret who can check a token can make one."""

MIN_RSA_BITS = 2_048
MAX_KEYS = 100

LEEWAY_SECONDS = 30
"""By how much the clocks of two machines may differ."""

_log = structlog.get_logger()

KeySet = Mapping[str, "PyJWK"]
"""By the key's id."""


class Verified(NamedTuple):
    """What a valid token says."""

    subject: str
    expires: float
    """In seconds since 1970, with the leeway."""


class Tokens:
    """Checks tokens of one issuer for one audience."""

    def __init__(self, key_set: Rotated[KeySet], issuer: str, audience: str) -> None:
        self._key_set = key_set
        self._issuer = issuer
        self._audience = audience

    @property
    def keys(self) -> KeySet:
        """Whose tokens are believed now."""
        return self._key_set.value

    def verified(self, token: str) -> Verified | None:
        """What a token says; None where it is not valid now."""
        import jwt

        try:
            key = _key_of(jwt.get_unverified_header(token), self.keys)
            claims = jwt.decode(
                token,
                key,
                algorithms=[key.algorithm_name],
                issuer=self._issuer,
                audience=self._audience,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
            return Verified(claims["sub"], float(claims["exp"]) + LEEWAY_SECONDS)
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:
            # The name of the error alone: its text may hold what the token does.
            _log.info("token refused", why=type(error).__name__)
            return None


def read_key_set(content: bytes) -> KeySet:
    """Reads a JSON Web Key Set: https://www.rfc-editor.org/rfc/rfc7517.

    Raises:
        ConfigError: it is none, or has a key without an id, two with the same, or one that must not be used.
    """
    import jwt

    try:
        entries = json.loads(content)["keys"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ConfigError("key_set: no JSON Web Key Set; expected a JSON object with keys") from error
    if not isinstance(entries, list) or not 1 <= len(entries) <= MAX_KEYS:
        raise ConfigError(f"key_set: expected a list of 1 to {MAX_KEYS} keys")
    keys: dict[str, PyJWK] = {}
    for place, entry in enumerate(entries):
        where = f"key_set: keys[{place}]"
        if not isinstance(entry, dict) or not isinstance(entry.get("kid"), str) or entry["kid"] in keys:
            raise ConfigError(f"{where}: expected a key with an id (kid) of its own")
        if entry.get("use", "sig") != "sig" or "d" in entry or entry.get("kty") == "oct":
            raise ConfigError(f"{where}: expected the public key of a pair, for signatures")
        try:
            key = jwt.PyJWK(entry)
        except (jwt.PyJWTError, ValueError, TypeError, KeyError) as error:
            raise ConfigError(f"{where}: no key that can be read") from error
        _check_strength(key, where)
        keys[entry["kid"]] = key
    return keys


def _check_strength(key: "PyJWK", where: str) -> None:
    if key.algorithm_name not in ALGORITHMS:
        raise ConfigError(
            f"{where}: got a key for {key.algorithm_name}; expected one of {', '.join(sorted(ALGORITHMS))}"
        )
    if key.key_type == "RSA" and key.key.key_size < MIN_RSA_BITS:
        raise ConfigError(f"{where}: got {key.key.key_size} bits; expected at least {MIN_RSA_BITS:,}")


def _key_of(header: Mapping[str, Any], keys: KeySet) -> "PyJWK":
    """The key that a token names, or the only one where it names none."""
    key_id = header.get("kid")
    if key_id is None and len(keys) == 1:
        return next(iter(keys.values()))
    if not isinstance(key_id, str) or key_id not in keys:
        raise ValueError("no such key")
    return keys[key_id]
