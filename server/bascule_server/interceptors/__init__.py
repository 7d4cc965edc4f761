"""What surrounds every call, whatever transport brings it: log, error boundary, draining, deadline, identity."""

from bascule_server.interceptors.deadline import TimeoutPolicy
from bascule_server.interceptors.surroundings import Surroundings

__all__ = ["Surroundings", "TimeoutPolicy"]
