"""What surrounds every call: the log, the error boundary, draining and the deadline."""

from bascule_server.interceptors.call_interceptor import CallInterceptor
from bascule_server.interceptors.deadline import TimeoutPolicy

__all__ = ["CallInterceptor", "TimeoutPolicy"]
