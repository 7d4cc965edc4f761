"""How long calls took, by method and status: a histogram for Prometheus, for which to count a call costs little.

The library's own takes two locks and walks over the buckets for each call.
"""

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate

from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

NAME = "grpc_server_call_duration_seconds"

CALL_SECONDS = (
    *(0.0001, 0.0003, 0.0006, 0.001, 0.002, 0.003, 0.004, 0.005, 0.006, 0.008, 0.01, 0.013, 0.016, 0.02, 0.025, 0.03),
    *(0.04, 0.05, 0.065, 0.08, 0.1, 0.13, 0.16, 0.2, 0.25, 0.3, 0.4, 0.5, 0.65, 0.8, 1.0, 2.0, 5.0, 10.0, 60.0),
)
"""Upper bounds in seconds, those of A66 from 100 us; see ``metrics.py``."""

_BOUNDS = [*map(str, CALL_SECONDS), "+Inf"]


class _Counted:
    """The calls of one method and status."""

    __slots__ = ("counts", "seconds")

    def __init__(self) -> None:
        self.counts = [0] * len(_BOUNDS)
        self.seconds = 0.0


class CallDurations(Collector):
    """Counts in one thread; whoever looks may do so from another."""

    def __init__(self) -> None:
        self._counted: dict[tuple[str, str], _Counted] = {}

    def observe(self, method: str, status: str, seconds: float) -> None:
        """Counts a call by its method's full name and the name of its gRPC status."""
        counted = self._counted.get((method, status))
        if counted is None:
            self._counted[method, status] = counted = _Counted()
        counted.counts[bisect_left(CALL_SECONDS, seconds)] += 1
        counted.seconds += seconds

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """See ``Collector``."""
        family = HistogramMetricFamily(
            NAME, "From the arrival of a call to its answer.", labels=["grpc_method", "grpc_status"]
        )
        for labels, counted in list(self._counted.items()):
            up_to = map(float, accumulate(list(counted.counts)))
            family.add_metric(labels, list(zip(_BOUNDS, up_to, strict=True)), counted.seconds)
        yield family
