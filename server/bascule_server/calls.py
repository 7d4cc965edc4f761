"""What is known of a call while it is answered, free of the transport that brought it."""

import math
import time
from contextvars import ContextVar
from dataclasses import dataclass, field

from bascule_server.identity.access import OPEN, Access

_PROBES = ("/grpc.health.", "/grpc.reflection.", "/bascule.SelfTest/")


@dataclass(eq=False, slots=True)
class Call:
    """One call, and what the log will say of it."""

    method: str
    """Full name, such as ``/bascule.v1.RecommendationService/RecommendItems``."""
    deadline: float = math.inf
    """When its answer is too late, in seconds on the monotonic clock."""
    start: float = field(default_factory=time.monotonic)
    """When it came, on the same clock."""
    caller: str = ""
    """Who shares what is scarce with others: by the name in the configuration, or else the host it came from."""
    access: Access = OPEN
    """What its caller may have."""
    row_count: int = 0
    """Rows taken in so far."""
    queue_seconds: float = 0.0
    """The longest that any of its rows waited for the model."""

    @property
    def is_probe(self) -> bool:
        """Whether it asks about the server rather than for work, and is answered also while the server stops."""
        return self.method.startswith(_PROBES)


CURRENT_CALL: ContextVar[Call] = ContextVar("current_call")
"""The call that the running task, and the tasks that it started, answer."""
