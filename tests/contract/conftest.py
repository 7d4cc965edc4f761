"""A server in this process, on a real port, that serves the small model."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import pytest
from fixed_versions import FixedVersions

from bascule_server.batching.batch_forming import Scorer
from bascule_server.models import Models
from bascule_server.servable import ServableVersion, load_servable

OpenChannel: TypeAlias = Callable[[], AbstractAsyncContextManager[grpc.aio.Channel]]


@pytest.fixture(scope="session")
def servable(artifact_folder: Path) -> ServableVersion:
    return load_servable(artifact_folder)


@pytest.fixture
async def channel(servable: ServableVersion, serve_in_process: Any) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to a server that serves ``tiny``, version 1."""
    async with _serving(servable, serve_in_process) as opened:
        yield opened


@pytest.fixture
def serving_with(
    servable: ServableVersion, serve_in_process: Any
) -> Callable[[Scorer], AbstractAsyncContextManager[grpc.aio.Channel]]:
    """Opens a channel to a server that answers for ``tiny`` with another scorer."""
    return lambda scorer: _serving(replace(servable, scorer=scorer), serve_in_process)  # type: ignore[arg-type]


@asynccontextmanager
async def _serving(servable: ServableVersion, serve_in_process: Any) -> AsyncIterator[grpc.aio.Channel]:
    source = FixedVersions([Path("tiny/1")], lambda _: servable)
    async with (
        serve_in_process(source) as served,
        grpc.aio.insecure_channel(f"127.0.0.1:{served.port}") as channel,
    ):
        await channel.channel_ready()
        # There is nothing to wait for but the models themselves.
        models: Models = served.server.models
        while not models.known() or any(known.serving is None for known in models.known()):  # noqa: ASYNC110
            await asyncio.sleep(0)
        yield channel
