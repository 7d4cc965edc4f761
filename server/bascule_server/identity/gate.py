"""Where each call passes: who calls, and whether they may."""

import math
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from bascule_server.config import ServerConfig
from bascule_server.errors import Reason, ServiceError
from bascule_server.identity.access import OPEN, Access
from bascule_server.identity.callers import Caller, Callers, reader
from bascule_server.identity.presented import Presented, token_of
from bascule_server.identity.quota import Quota
from bascule_server.identity.tokens import KeySet, Tokens, read_key_set
from bascule_server.rotation import Rotated

OPEN_TO_ALL = "/grpc.health.v1.Health/"
"""Probes and load balancers prove nothing."""

DOTS_OF_A_TOKEN = 2
"""Of a JSON Web Token; anything else is a key that is not known."""

MAX_REMEMBERED = 1_024
"""Keys and tokens that were found to be valid, each with a method. One is at most as long as gRPC lets metadata be,
16 KiB."""


class _Known(NamedTuple):
    """A caller, as it was found to be by a key or a token."""

    access: Access
    expires: float
    """In seconds since 1970; infinite for a key."""


class Gate:
    """Knows callers by the files that the configuration names."""

    def __init__(
        self, callers: Rotated[Callers], tokens: Tokens | None, clock: Callable[[], float] = time.time
    ) -> None:
        self._callers = callers
        self._tokens = tokens
        self._clock = clock
        self._quotas: dict[str, Quota] = {}
        self._remembered: dict[tuple[str, str], _Known] = {}
        """By method and what it came with, so that each is checked once as long as the files stay as they are."""
        self._remembered_by = self._files()

    def access(self, method: str, presented: Presented) -> Access:
        """What the caller of a method, by its full name, may have.

        Raises:
            ServiceError: UNAUTHENTICATED.
        """
        if method.startswith(OPEN_TO_ALL):
            return OPEN
        authorization = presented.authorization
        if authorization is None:
            caller = self._callers.value.with_certificate(presented.certificate_names)
            return self._access(method, caller, partial(self.access, method, presented))
        return self._by_authorization(method, authorization)

    def _by_authorization(self, method: str, authorization: str) -> Access:
        self._forget_what_files_withdrew()
        known = self._remembered.get((method, authorization))
        if known is None or self._clock() >= known.expires:
            self._remembered.pop((method, authorization), None)
            known = self._identified(method, authorization)
            if len(self._remembered) >= MAX_REMEMBERED:
                del self._remembered[next(iter(self._remembered))]
            self._remembered[method, authorization] = known
        return known.access

    def _identified(self, method: str, authorization: str) -> _Known:
        callers, token, expires = self._callers.value, token_of(authorization), math.inf
        caller = callers.with_key(token)
        if caller is None and self._tokens is not None and token.count(".") == DOTS_OF_A_TOKEN:
            verified = self._tokens.verified(token)
            if verified is not None:
                caller, expires = callers.with_subject(verified.subject), verified.expires
        return _Known(self._access(method, caller, partial(self._by_authorization, method, authorization)), expires)

    def _access(self, method: str, caller: Caller | None, renew: Callable[[], Access]) -> Access:
        if caller is None:
            raise ServiceError(Reason.UNAUTHENTICATED)
        return Access(caller.name, caller.models, self._quota(caller), method not in caller.methods, renew)

    def _forget_what_files_withdrew(self) -> None:
        files = self._files()
        if files[0] is not self._remembered_by[0] or files[1] is not self._remembered_by[1]:
            self._remembered.clear()
            self._remembered_by = files

    def _files(self) -> tuple[Callers, KeySet | None]:
        return self._callers.value, None if self._tokens is None else self._tokens.keys

    def _quota(self, caller: Caller) -> Quota | None:
        if caller.rows_per_second is None:
            return None
        quota = self._quotas.get(caller.name)
        # What was taken counts as long as the limits are the same, however often the file is read again.
        if quota is None or (quota.rows_per_second, quota.burst_rows) != (caller.rows_per_second, caller.burst_rows):
            quota = Quota(caller.rows_per_second, caller.burst_rows, time.monotonic())
            self._quotas[caller.name] = quota
        return quota


def gate_of(config: ServerConfig) -> tuple[Gate | None, list[Rotated[Callers] | Rotated[KeySet]]]:
    """The gate of a configuration, None where everybody may call, and the files that it is made of.

    Raises:
        ConfigError: a file cannot be used.
    """
    authentication = config.authentication
    if authentication is None:
        return None, []
    read = reader(
        has_tokens=authentication.key_set is not None, has_client_authority=config.client_authority is not None
    )
    callers = Rotated("authentication.callers", [authentication.callers], read)
    if authentication.key_set is None or authentication.issuer is None or authentication.audience is None:
        return Gate(callers, None), [callers]
    key_set = Rotated("authentication.key_set", [authentication.key_set], read_key_set)
    return Gate(callers, Tokens(key_set, authentication.issuer, authentication.audience)), [callers, key_set]
