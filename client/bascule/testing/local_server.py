"""The server that answers from functions."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

import grpc

from bascule.client import DEFAULT_TIMEOUT, Client
from bascule.models import ValueKind
from bascule.testing.answering import Answers, Embed, Recommend
from bascule.testing.services import Models, Recommendations, health_handler
from bascule.v1 import recommendation_service_pb2 as pb
from bascule.v1.model_service_pb2_grpc import add_ModelServiceServicer_to_server
from bascule.v1.recommendation_service_pb2_grpc import add_RecommendationServiceServicer_to_server


class LocalServer:
    """Answers every method of the API from ``recommend``, and ``embed`` where vectors are asked for.

    A ranking is cut to the number of items asked for; the items that the query excludes, or does not have among its
    candidates, are left out; and that is all: filters, caps and the rest of the options are for the function's author
    to think of. Scores of given items are those that ``recommend`` gives them. A ``BasculeError`` from a function
    reaches the caller as it is, anything else as an ``InternalError`` that names it.

    Args:
        recommend: What ranks. Several threads may call it at once.
        embed: What makes vectors; without it they are answered with an ``InternalError``.
        model: The name of the one model that there is.
        version: Its version.
        features: The features that the model declares, for ``Client.models``. They are not checked.
        port: The port to listen on, on the loopback interface; 0 is any free one.
    """

    def __init__(
        self,
        recommend: Recommend,
        *,
        embed: Embed | None = None,
        model: str = "test",
        version: int = 1,
        features: Mapping[str, ValueKind] | None = None,
        port: int = 0,
    ) -> None:
        self.is_serving = True
        """What the health service says; a test may set it."""
        self._answers = Answers(recommend, embed, pb.ModelVersion(model=model, version=version))
        self._features = features or {}
        self._port = port
        self._server: grpc.Server | None = None

    @property
    def address(self) -> str:
        """Host and port, while it runs."""
        return f"127.0.0.1:{self._port}"

    def client(self, *, model: str = "", timeout: float = DEFAULT_TIMEOUT) -> Client:
        """A client of this server."""
        return Client(self.address, model=model, timeout=timeout)

    def start(self) -> None:
        """Starts to listen and to answer.

        Raises:
            RuntimeError: The port is taken.
        """
        server = grpc.server(ThreadPoolExecutor(max_workers=8), options=[("grpc.so_reuseport", 0)])
        add_RecommendationServiceServicer_to_server(Recommendations(self._answers), server)
        add_ModelServiceServicer_to_server(Models(self._answers.served_by, self._features), server)
        server.add_generic_rpc_handlers((health_handler(lambda: self.is_serving),))
        self._port = server.add_insecure_port(self.address)
        server.start()
        self._server = server

    def stop(self) -> None:
        """Stops at once; calls in flight are cancelled. It may be started again, at the same address."""
        if self._server is not None:
            self._server.stop(grace=None).wait()
            self._server = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
