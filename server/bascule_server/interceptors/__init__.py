"""What surrounds every call, whatever transport brings it: the log, the error boundary, draining and the deadline."""

from bascule_server.interceptors.deadline import TimeoutPolicy
from bascule_server.interceptors.surroundings import Surroundings

__all__ = ["Surroundings", "TimeoutPolicy"]
