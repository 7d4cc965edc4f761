"""Where each call passes: who calls, and whether they may."""

import time
from functools import partial

from bascule_server.config import ServerConfig
from bascule_server.errors import Reason, ServiceError
from bascule_server.identity.access import OPEN, Access
from bascule_server.identity.callers import Caller, Callers, reader
from bascule_server.identity.presented import Presented
from bascule_server.identity.quota import Quota
from bascule_server.identity.tokens import KeySet, Tokens, read_key_set
from bascule_server.rotation import Rotated

OPEN_TO_ALL = "/grpc.health.v1.Health/"
"""Probes and load balancers prove nothing."""

DOTS_OF_A_TOKEN = 2
"""Of a JSON Web Token; anything else is a key that is not known."""


class Gate:
    """Knows callers by the files that the configuration names."""

    def __init__(self, callers: Rotated[Callers], tokens: Tokens | None) -> None:
        self._callers = callers
        self._tokens = tokens
        self._quotas: dict[str, Quota] = {}

    def access(self, method: str, presented: Presented) -> Access:
        """What the caller of a method, by its full name, may have.

        Raises:
            ServiceError: UNAUTHENTICATED.
        """
        if method.startswith(OPEN_TO_ALL):
            return OPEN
        caller = self._caller(presented)
        if caller is None:
            raise ServiceError(Reason.UNAUTHENTICATED)
        renew = partial(self.access, method, presented)
        return Access(caller.name, caller.models, self._quota(caller), method not in caller.methods, renew)

    def _caller(self, presented: Presented) -> Caller | None:
        callers, token = self._callers.value, presented.token
        if token is None:
            return callers.with_certificate(presented.certificate_names)
        found = callers.with_key(token)
        if found is not None or self._tokens is None or token.count(".") != DOTS_OF_A_TOKEN:
            return found
        subject = self._tokens.subject(token)
        return None if subject is None else callers.with_subject(subject)

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
