"""One small model, trained on generated data and published: what the tests of all packages serve, ask and damage."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple, TypeVar

import pytest
from hypothesis import settings
from served_process import Serving

Result = TypeVar("Result")

# A busy machine is no failure.
settings.register_profile("without_deadline", deadline=None)
settings.load_profile("without_deadline")

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

LONGEST = {"test_soak.py", "test_demo.py"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes minutes by itself begins first, so that the others are done beside it."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


TINY = """
model = "tiny"

[data]
interactions = "interactions.parquet"
users = "users.parquet"
items = "items.parquet"

[query]
history_length = 12
features = [{ name = "country", kind = "categorical" }, { name = "age", kind = "standardised" }]

[item]
bias = false
features = [{ name = "genres", kind = "multi_valued" }, { name = "year", kind = "bucketed" }]
attributes = ["title", "genres", "year", "released"]

[tower]
dimension = 16
beside = []

[fit]
epochs = 2
learning_rate = 5e-3
"""
"""The configuration of the small model. Generated users have a country and an age; items a title, genres and a year."""


@pytest.fixture(scope="session")
def tiny_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration of the small model, beside its data."""
    from bascule_training.data.generate import generate, write

    folder = tmp_path_factory.mktemp("tiny")
    write(generate(users=150, items=120, interactions=3_000, seed=1), folder)
    path = folder / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="session")
def models_root(tiny_config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models that holds version 1 of ``tiny``. Do not write into it."""
    from bascule_training.config import load_config
    from bascule_training.train import train

    models = tmp_path_factory.mktemp("models")
    train(load_config(tiny_config), models, resume=False, observe=lambda _: None, with_baselines=False)
    return models


@pytest.fixture(scope="session")
def artifact_folder(models_root: Path) -> Path:
    """The folder of version 1 of ``tiny``. Do not write into it."""
    return models_root / "tiny" / "1"


@pytest.fixture(scope="session")
def ranked_folder(tiny_config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the same model with a ranking tower for 30 candidates. Do not write into it."""
    from bascule_training.config import load_config
    from bascule_training.train import train

    models = tmp_path_factory.mktemp("ranked")
    config = load_config(tiny_config, ["ranker.candidate_count=30", "fit.epochs=1"])
    train(config, models, resume=False, observe=lambda _: None, with_baselines=False)
    return models / "tiny" / "1"


@pytest.fixture(scope="session")
def contextual_folder(tiny_config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the same model with a ranking tower that reads the device and the hour. Do not write into it.

    Items of the genres from Action to Crime are had on the phone, others on the tv; the hour says nothing.
    """
    import polars as pl

    from bascule_training.config import load_config
    from bascule_training.train import train

    folder = tmp_path_factory.mktemp("contextual")
    log, items = (pl.read_parquet(tiny_config.parent / f"{name}.parquet") for name in ("interactions", "items"))
    of_item = items.select("item_id", genre=pl.col("genres").list.first())
    is_on_phone = pl.col("genre") <= "Crime"
    log.join(of_item, on="item_id", how="left", maintain_order="left").with_columns(
        device=pl.when(is_on_phone).then(pl.lit("phone")).otherwise(pl.lit("tv")), hour=pl.int_range(pl.len()) % 24
    ).write_parquet(folder / "interactions.parquet")
    config = load_config(
        tiny_config,
        [
            f"data.interactions={folder}/interactions.parquet",
            'ranker.context=[{ name = "device", kind = "categorical" }, { name = "hour", kind = "bucketed" }]',
            "ranker.candidate_count=30",
            "fit.epochs=1",
        ],
    )
    train(config, folder / "models", resume=False, observe=lambda _: None, with_baselines=False)
    return folder / "models" / "tiny" / "1"


@pytest.fixture
def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


@pytest.fixture
def serve(models_root: Path) -> Iterator[Callable[..., Serving]]:
    """Starts servers, of the small model on any port unless told otherwise, and leaves none behind."""
    started: list[Serving] = []

    def start(
        *,
        models: Path = models_root,
        listen: str = "127.0.0.1:0",
        config: Path | None = None,
        workers: int = 1,
        environment: Mapping[str, str] | None = None,
    ) -> Serving:
        options: list[str | Path] = ["--models", models, "--listen", listen, "--workers", str(workers)]
        options += ["--config", config] if config else []
        started.append(Serving(*options, environment=environment))
        return started[-1]

    yield start
    for serving in started:
        serving.process.kill()
        serving.ended()


class Served(NamedTuple):
    """A server that runs in this process."""

    server: Any
    """A ``bascule_server.server.Server``."""
    port: int
    loop: asyncio.AbstractEventLoop
    """The server's."""
    working: "Future[None]"


@pytest.fixture(params=["core", "aio"])
def serve_in_process(request: pytest.FixtureRequest) -> Callable[..., AbstractAsyncContextManager[Served]]:
    """Serves versions from a source; keywords are fields of the configuration. Each test runs with both transports."""
    from bascule_server.config import ServerConfig
    from bascule_server.server import Server

    @asynccontextmanager
    async def serve(source: Any, **fields: Any) -> AsyncIterator[Served]:
        given = {"listen": "127.0.0.1:0", "drain_seconds": 0.0, "transport": request.param, **fields}
        config = ServerConfig(**given)
        async with _loop_of(config) as loop:

            async def start() -> Served:
                server = Server(config, source)
                port = server.listen()
                await server.start()
                return Served(server, port, loop, asyncio.run_coroutine_threadsafe(server.work(), loop))

            async def close() -> None:
                served.working.cancel()
                await served.server.close()

            served = await _run_in(loop, start())
            try:
                yield served
            finally:
                await _run_in(loop, close())

    return serve


@asynccontextmanager
async def _loop_of(config: Any) -> AsyncIterator[asyncio.AbstractEventLoop]:
    """The event loop for a server: that of the test for grpc.aio, of which a process has one; else one in a thread."""
    from bascule_server.server import event_loop

    if config.transport == "aio":
        yield asyncio.get_running_loop()
        return
    loop = event_loop(config)()
    thread = Thread(target=loop.run_forever, name="server")
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        await asyncio.to_thread(thread.join)
        loop.close()


async def _run_in(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Result]) -> Result:
    if loop is asyncio.get_running_loop():
        return await coroutine
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, loop))
