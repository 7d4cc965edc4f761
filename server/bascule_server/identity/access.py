"""What a caller may have."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from bascule_server.errors import Reason, ServiceError
from bascule_server.identity.quota import Quota

MOST_PATIENT_SECONDS = 1.0
"""A stream that waits for its quota looks so often whether its caller is still known."""


@dataclass(frozen=True, eq=False, slots=True)
class Access:
    """Which models, how many rows, and for how long. Nothing of it changes, since calls share it."""

    caller: str = ""
    """The caller's name in the configuration; empty where nobody is asked who they are."""
    models: frozenset[str] | None = None
    """Names of models; None: all."""
    quota: Quota | None = None
    is_denied: bool = False
    """Whether its caller may not call the method."""
    renew: Callable[[], "Access"] | None = None
    """Looks at the caller again. Raises ``ServiceError`` where it is not known any more."""

    def check(self) -> None:
        """Raises ``ServiceError`` with METHOD_NOT_ALLOWED where the caller may not call the method."""
        if self.is_denied:
            raise ServiceError(Reason.METHOD_NOT_ALLOWED)

    def take(self, row_count: int) -> None:
        """Takes the rows of a call from the caller's quota.

        Raises:
            ServiceError: QUOTA_EXCEEDED, with when to try again.
        """
        if self.quota is not None and (wait := self.quota.take(row_count, time.monotonic())):
            raise ServiceError(Reason.QUOTA_EXCEEDED, retry_delay_seconds=wait)

    async def take_in_turn(self, row_count: int) -> "Access":
        """Takes the rows of a stream's message when the quota has them, and returns what the caller may have by then.

        Raises:
            ServiceError: IDENTITY_EXPIRED, the caller is not known any more, or not by what it came with.
        """
        access = self._renewed()
        while access.quota is not None and (wait := access.quota.take(row_count, time.monotonic())):
            await asyncio.sleep(min(wait, MOST_PATIENT_SECONDS))
            access = access._renewed()
        return access

    def _renewed(self) -> "Access":
        if self.renew is None:
            return self
        try:
            renewed = self.renew()
            renewed.check()
        except ServiceError:
            raise ServiceError(Reason.IDENTITY_EXPIRED) from None
        return renewed


OPEN = Access()
"""Of everybody, where nobody is asked who they are."""
