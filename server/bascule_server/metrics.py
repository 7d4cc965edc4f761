"""What the server counts, for Prometheus: calls by method and status, batches, rows that are held, and catalogues.

Calls have the names of gRPC's own metrics, as Prometheus writes them, so that dashboards made for these fit:
https://github.com/grpc/proposal/blob/master/A66-otel-stats.md. No label names a user or an item.
"""

from collections.abc import Callable
from functools import cache
from typing import Protocol, TypeAlias

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from bascule.v1.model_service_pb2 import ModelState
from bascule_server.call_durations import CALL_SECONDS, CallDurations
from bascule_server.calls import Call
from bascule_server.models import KnownVersion

BATCH_ROWS = tuple(float(1 << power) for power in range(11))
SHARES = tuple(tenth / 10 for tenth in range(11))

REFUSED = frozenset({"UNAVAILABLE", "RESOURCE_EXHAUSTED"})
"""The statuses of calls that were refused rather than failed."""

Stop: TypeAlias = Callable[[], None]


class CatalogueCounts(Protocol):
    """How a catalogue that changes stands."""

    @property
    def revision(self) -> int:
        """How many changes it knows of."""

    @property
    def unplaced_count(self) -> int:
        """Items that the model cannot place."""

    @property
    def left_out_count(self) -> int:
        """Values that the model does not declare."""


class Metrics:
    """The metrics of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._calls = CallDurations()
        self.registry.register(self._calls)
        self._refused = Counter(
            "bascule_refused_calls", "Calls to be tried again, elsewhere or later.", ["reason"], registry=self.registry
        )
        self._for_reason = cache(self._refused.labels)
        self._queue = Histogram(
            "bascule_queue_wait_seconds",
            "The longest that a row of a batch waited for the model.",
            buckets=CALL_SECONDS,
            registry=self.registry,
        )
        self._batch_rows = Histogram(
            "bascule_batch_rows", "Rows that were computed together.", buckets=BATCH_ROWS, registry=self.registry
        )
        self._batch_seconds = Histogram(
            "bascule_batch_duration_seconds", "Of a batch's computation.", buckets=CALL_SECONDS, registry=self.registry
        )
        self._version_state = Gauge(
            "bascule_version_state",
            "1 for each version that is known, by its state.",
            ["model", "version", "state"],
            registry=self.registry,
        )
        self._failures = Counter(
            "bascule_version_failures",
            "Versions that could not be loaded, by why.",
            ["model", "reason"],
            registry=self.registry,
        )
        self._shadow = Histogram(
            "bascule_shadow_overlap",
            "The share of a ranking's items that the shadow ranks too.",
            ["model"],
            buckets=SHARES,
            registry=self.registry,
        )
        self._shown: dict[KnownVersion, str] = {}
        self._held = Gauge("bascule_rows_held", "Rows taken in and not yet answered.", registry=self.registry)
        self._limit = Gauge(
            "bascule_queue_limit_rows", "Rows of calls that may wait for the model.", registry=self.registry
        )
        self._lost = Gauge(
            "bascule_log_lines_lost", "Lines of the log that could not be written.", registry=self.registry
        )
        self._files = Counter(
            "bascule_files_changed",
            "Files of the configuration that changed while it serves, by whether they could be used.",
            ["file", "outcome"],
            registry=self.registry,
        )
        self._revision = self._of_model("bascule_catalogue_revision", "How many changes of a catalogue are served.")
        self._unplaced = self._of_model(
            "bascule_catalogue_unplaced_items", "Items that came and that the model cannot place."
        )
        self._left_out = self._of_model(
            "bascule_catalogue_left_out_values", "Values of items that came and that the model does not declare."
        )

    def _of_model(self, name: str, documentation: str) -> Gauge:
        return Gauge(name, documentation, ["model"], registry=self.registry)

    def call_ended(self, call: Call, status: str, seconds: float, reason: str = "") -> None:
        """Counts a call or a stream, by the name of its gRPC status; refused ones also by the name of the reason."""
        self._calls.observe(call.method, status, seconds)
        if status in REFUSED:
            self._for_reason(reason).inc()

    def batch_computed(self, rows: int, queue_seconds: float, seconds: float) -> None:
        """Counts a batch: its rows, the longest that one of them waited, and how long it took."""
        self._batch_rows.observe(rows)
        self._queue.observe(queue_seconds)
        self._batch_seconds.observe(seconds)

    def version_changed(self, known: KnownVersion) -> None:
        """Shows the state that a version has now; none where it was let go."""
        labels = (known.model, str(known.version))
        if shown := self._shown.pop(known, None):
            self._version_state.remove(*labels, shown)
        if known.state != ModelState.MODEL_STATE_UNSPECIFIED:
            self._shown[known] = state = ModelState.Name(known.state).removeprefix("MODEL_STATE_").lower()
            self._version_state.labels(*labels, state).set(1)
        if known.state == ModelState.MODEL_STATE_FAILED and known.error is not None:
            self._failures.labels(known.model, known.error.reason.name).inc()

    def shadow_compared(self, model: str, share: float) -> None:
        """Counts a ranking that the shadow of a model made too, by the share of its items that are the same."""
        self._shadow.labels(model).observe(share)

    def watch_held(self, count: Callable[[], int]) -> None:
        """Has ``count`` asked for the rows that are held whenever somebody looks."""
        self._held.set_function(count)

    def watch_limit(self, limit: Callable[[], float]) -> None:
        """Has ``limit`` asked for how many rows may wait whenever somebody looks."""
        self._limit.set_function(limit)

    def watch_lost_lines(self, count: Callable[[], int]) -> None:
        """Has ``count`` asked for the lines that were lost whenever somebody looks."""
        self._lost.set_function(count)

    def file_changed(self, name: str, outcome: str) -> None:
        """Counts that files changed, which the configuration calls so: ``taken`` or ``refused``."""
        self._files.labels(name, outcome).inc()

    def watch_expiry(self, expiry: Callable[[], float]) -> None:
        """Has ``expiry`` asked when the certificate expires, in seconds since 1970, whenever somebody looks."""
        gauge = Gauge(
            "bascule_certificate_expiry_timestamp_seconds",
            "When the certificate expires, in seconds since 1970.",
            registry=self.registry,
        )
        gauge.set_function(expiry)

    def watch_catalogue(self, model: str, counts: Callable[[], CatalogueCounts]) -> None:
        """Has ``counts`` asked how the catalogue of a model stands whenever somebody looks."""
        self._revision.labels(model).set_function(lambda: counts().revision)
        self._unplaced.labels(model).set_function(lambda: counts().unplaced_count)
        self._left_out.labels(model).set_function(lambda: counts().left_out_count)

    def listen(self, host: str, port: int) -> Stop:
        """Answers ``GET /metrics`` from a thread of its own, until the function that it returns is called.

        Raises:
            OSError: the port cannot be had.
        """
        server, thread = start_http_server(port, host, self.registry)

        def stop() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        return stop
