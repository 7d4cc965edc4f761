"""The composition root: what the server is made of, and how it starts and comes to rest.

The way through its life, after which the process ends:

    listen -> load and prove -> SERVING -> (stop) -> NOT_SERVING -> streams told -> calls refused -> all answered

    ListenError   the port cannot be had, in one sentence for a person
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import grpc
import structlog
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server

from bascule.v1 import model_service_pb2
from bascule.v1.catalogue_service_pb2_grpc import add_CatalogueServiceServicer_to_server
from bascule.v1.model_admin_service_pb2_grpc import add_ModelAdminServiceServicer_to_server
from bascule.v1.model_service_pb2_grpc import add_ModelServiceServicer_to_server
from bascule_server.batching.admission import Admission
from bascule_server.batching.batcher import Batcher
from bascule_server.batching.row_queue import RowQueue
from bascule_server.calls import Call
from bascule_server.channel_options import channel_options
from bascule_server.config import ServerConfig, host_and_port
from bascule_server.credentials import server_certificate, server_credentials
from bascule_server.draining import Draining
from bascule_server.footprint import give_back
from bascule_server.identity import gate_of
from bascule_server.interceptors import Surroundings, TimeoutPolicy
from bascule_server.interceptors.call_log import CallLog
from bascule_server.living.catalogues import LivingCatalogues
from bascule_server.living.service import CatalogueService
from bascule_server.logs import STANDARD_ERROR
from bascule_server.metrics import Metrics
from bascule_server.models import Models
from bascule_server.quick_methods import QuickMethods
from bascule_server.rotation import LOOK_SECONDS, Rotated
from bascule_server.services.health import Health
from bascule_server.services.health_list import list_handler
from bascule_server.services.model_service import ModelService
from bascule_server.services.recommendation_service import NAME as RECOMMENDATION_SERVICE
from bascule_server.services.recommendation_service import RecommendationService
from bascule_server.transports.transport import Transport
from bascule_server.versions.admin_service import ModelAdminService
from bascule_server.versions.shadow import Shadow
from bascule_server.versions.watcher import Source, Watcher
from bascule_server.workers import bound_alone

SERVICES = (
    RECOMMENDATION_SERVICE,
    model_service_pb2.DESCRIPTOR.services_by_name["ModelService"].full_name,
)

RECOMMEND_ITEMS = f"/{RECOMMENDATION_SERVICE}/RecommendItems"

COMPUTED = frozenset(
    f"/{RECOMMENDATION_SERVICE}/{method}"
    for method in ("RecommendItems", "BatchRecommendItems", "ScoreItems", "EmbedQueries")
)
"""The methods whose callers wait for what the model computes; streams wait by themselves."""

WINDOW_SECONDS = {"core": 0.0, "aio": 0.002}
"""How long the batcher gathers under load: the C core hands over all calls that wait, grpc.aio one at a time."""

LAST_WORDS_SECONDS = 1.0
"""For the statuses of calls that were given up, and for others where nothing of the grace is left."""

_log = structlog.get_logger()


class ListenError(Exception):
    """The server cannot listen where it should."""


class Server:
    """One server in one event loop: ``listen``, ``start``, ``work`` until all is over, and ``stop``."""

    def __init__(self, config: ServerConfig, source: Source) -> None:
        """Must be made in the event loop that it runs in.

        Args:
            config: how to serve.
            source: where the versions come from.

        Raises:
            ConfigError: a file that the configuration names cannot be used.
        """
        self._config = config
        self._is_loaded = False
        self._stop_metrics: Callable[[], None] = _ignore
        self.models = models = Models()
        self._worker = ThreadPoolExecutor(1, "worker")
        self._loader = ThreadPoolExecutor(1, "loader")
        self._metrics = Metrics() if config.metrics_listen else None
        window = WINDOW_SECONDS[config.transport]
        observe = self._metrics.batch_computed if self._metrics else _ignore
        self._certificate = server_certificate(config)
        if self._metrics and (certificate := self._certificate):
            self._metrics.watch_expiry(certificate.value.expires.timestamp)
        self._gate, callers = gate_of(config)
        self._rotated: list[Rotated[Any]] = [*callers, *([self._certificate] if self._certificate else [])]
        self._looking: asyncio.Task[None] | None = None
        self._draining = Draining()
        queue = RowQueue(config.max_queue_seconds)
        self._batcher = Batcher(
            config.largest_batch, self._worker, queue, window, lambda: self._draining.call_count, observe
        )
        self._health = Health(SERVICES)
        admission = Admission(config.max_rows)
        if self._metrics:
            self._metrics.watch_held(lambda: admission.row_count)
            self._metrics.watch_limit(lambda: queue.limit)
            self._metrics.watch_lost_lines(lambda: STANDARD_ERROR.lost_count)
        compared = self._metrics.shadow_compared if self._metrics else _ignore
        shadow = Shadow(models, self._batcher, compared)
        self._recommendations = RecommendationService(
            models, admission, self._batcher, self._draining, config.stream_window, shadow
        )
        self._transport = self._new_transport({RECOMMEND_ITEMS: self._recommendations.recommend_quickly})
        self._add_services()
        watch = self._metrics.watch_catalogue if self._metrics else _ignore
        self._living = LivingCatalogues(models, watch) if config.catalogue_listen else None
        told = self._metrics.version_changed if self._metrics else _ignore
        self._watcher = Watcher(source, models, self._loader, self._living, told)
        self.operator_ports: dict[str, int] = {}
        """Where operators' calls are taken, after ``listen``, by the field of the configuration."""
        self._operator_transports = self._new_operator_transports()

    def _new_operator_transports(self) -> dict[str, Transport]:
        """Those that listen at addresses of their own, by the field of the configuration."""
        transports = {}
        if self._living is not None:
            transports["catalogue_listen"] = transport = self._new_transport({})
            catalogue = CatalogueService(self.models, self._living.followers)
            add_CatalogueServiceServicer_to_server(catalogue, cast(grpc.aio.Server, transport))
        if self._config.admin_listen is not None:
            transports["admin_listen"] = transport = self._new_transport({})
            admin = ModelAdminService(self.models, self._watcher)
            add_ModelAdminServiceServicer_to_server(admin, cast(grpc.aio.Server, transport))
        return transports

    def _new_transport(self, quick_methods: QuickMethods) -> Transport:
        config = self._config
        timeouts = TimeoutPolicy(config.default_timeout_seconds, config.max_timeout_seconds)
        observe = self._metrics.call_ended if self._metrics else _ignore
        log = CallLog(config.log_call_every, config.slow_call_seconds, observe)
        surroundings = Surroundings(timeouts, self._draining, log, self._gate, _BatcherDoor(self._batcher))
        options, write_timeout = channel_options(config), config.write_timeout_seconds
        if config.transport == "aio":
            from bascule_server.transports.aio_transport import AioTransport

            return AioTransport(options, surroundings, write_timeout)
        from bascule_server.transports.core_transport import CoreTransport

        return CoreTransport(options, surroundings, quick_methods, write_timeout)

    def _add_services(self) -> None:
        # The generated functions know grpcio's own servers alone.
        server = cast(grpc.aio.Server, self._transport)
        server.add_generic_rpc_handlers((self._recommendations.handler(),))
        add_ModelServiceServicer_to_server(ModelService(self.models), server)
        # First, since the library's own handler answers all methods of the service that it knows.
        server.add_generic_rpc_handlers((list_handler(self._health.statuses),))
        add_HealthServicer_to_server(self._health, server)
        if self._config.reflection:
            from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

            names = [*SERVICES, "grpc.health.v1.Health", reflection.SERVICE_NAME]
            reflection_pb2_grpc.add_ServerReflectionServicer_to_server(reflection.aio.ReflectionServicer(names), server)

    def listen(self) -> int:
        """Takes the port, for this server alone, and returns it.

        Raises:
            ListenError: it cannot be had.
        """
        for field, transport in self._operator_transports.items():
            self.operator_ports[field] = self._listen(transport, field, getattr(self._config, field))
            _log.info("listening for operators", field=field, port=self.operator_ports[field])
        return self._listen(self._transport, "listen", self._config.listen)

    def _listen(self, transport: Transport, field: str, address: str) -> int:
        try:
            if self._config.workers == 1:
                bound_alone(address).close()
            certificate = self._certificate
            credentials = None if certificate is None else server_credentials(certificate, self._config)
            return transport.listen(address, credentials)
        except (OSError, RuntimeError) as error:
            raise cannot_listen(field, address, error) from error

    async def start(self) -> None:
        """Answers from now on, though until the models are loaded only that they are not.

        Raises:
            ListenError: the port for metrics cannot be had.
        """
        if self._metrics and self._config.metrics_listen:
            try:
                self._stop_metrics = self._metrics.listen(*host_and_port(self._config.metrics_listen))
            except OSError as error:
                raise cannot_listen("metrics_listen", self._config.metrics_listen, error) from error
        if self._rotated:
            self._looking = asyncio.create_task(self._look())
        for transport in self._operator_transports.values():
            await transport.start()
        await self._transport.start()

    async def _look(self) -> None:
        """Takes files that have changed, until it is cancelled."""
        observe = self._metrics.file_changed if self._metrics else _ignore
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            for rotated in self._rotated:
                # A file may lie where reading takes a while.
                await asyncio.to_thread(rotated.look, observe)

    async def work(self) -> None:
        """Loads the models, unless ``load`` has, computes what is asked of them and follows what is published.

        It does so until it is cancelled.

        Raises:
            ArtifactError: a model cannot be loaded.
        """
        if not self._is_loaded:
            await self.load()
        await asyncio.gather(self._batcher.run(), self._watcher.run())

    async def load(self) -> None:
        """Loads and proves the models.

        Raises:
            ArtifactError: there is none; or no version of one of them can be loaded.
        """
        start = time.monotonic()
        await self._watcher.load_all()
        give_back()
        self._health.set_serving(True)
        models = [f"{known.model}/{known.version}" for known in self.models.known() if known.serving is not None]
        _log.info("serving", models=models, load_seconds=round(time.monotonic() - start, 3))
        self._is_loaded = True

    async def stop(self) -> None:
        """Comes to rest while ``work`` goes on: every call in flight is answered, or told why not.

        Calls are answered until the streams have ended and refused only then, for the moment that the last of them
        take: callers who do not watch the health try again at this server until the connection closes. Who does not
        take an answer must not make that moment longer, and is waited for before.
        """
        self._health.set_serving(False)
        await asyncio.sleep(self._config.drain_seconds)
        end = time.monotonic() + self._config.grace_seconds

        def left() -> float:
            return max(LAST_WORDS_SECONDS, end - time.monotonic())

        await self._draining.calls_ended(self._config.grace_seconds)
        self._draining.begin()
        await self._draining.streams_ended(left())
        self._draining.refuse()
        self._health.close()
        await self._draining.all_ended(left())
        self._draining.give_up()
        await self._draining.all_ended(LAST_WORDS_SECONDS)

    async def close(self) -> None:
        """Closes the connections. What is not answered by now is cut off."""
        self._stop_metrics()
        if self._looking is not None:
            self._looking.cancel()
        if self._living is not None:
            self._living.end()
        for transport in self._operator_transports.values():
            await transport.close()
        await self._transport.close()
        for executor in (self._worker, self._loader):
            executor.shutdown(wait=False, cancel_futures=True)


class _BatcherDoor:
    """Refuses calls that would wait too long for the batcher; see ``Door``."""

    def __init__(self, batcher: Batcher) -> None:
        self._batcher = batcher

    def let_in(self, call: Call) -> None:
        if call.method in COMPUTED:
            self._batcher.let_in(call)

    def check(self, call: Call) -> None:
        if call.method in COMPUTED:
            self._batcher.check(call)


def event_loop(config: ServerConfig) -> Callable[[], asyncio.AbstractEventLoop]:
    """Makes the event loop that a server of this configuration runs in."""
    if config.transport == "aio":
        return asyncio.new_event_loop
    from bascule_server.transports.core_loop import new_core_loop

    return new_core_loop


def _ignore(*_: object) -> None:
    pass


def cannot_listen(field: str, address: str, error: Exception) -> ListenError:
    """That a field of the configuration names an address which cannot be had."""
    why = (error.strerror or str(error)) if isinstance(error, OSError) else "gRPC could not bind to it"
    return ListenError(
        f"{field}: got {address}, where this process cannot listen ({why}); "
        "stop what listens there or choose another address"
    )
