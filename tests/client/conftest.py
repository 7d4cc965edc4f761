"""Servers on free loopback ports, and both clients under one face, so that each promise is tested of both."""

import asyncio
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bascule import AsyncClient, Client, Query, ValueKind
from bascule.testing import LocalServer


def favourites(query: Query) -> list[tuple[str, float]]:
    """Ranks an item of the user's own, then what everybody likes; knows nothing to say to the user ``broken``."""
    if query.user_id == "broken":
        raise ValueError("no taste")
    return [(f"of-{query.user_id}", 3.0), ("bread", 2.0), ("milk", 1.0)]


@pytest.fixture
def server() -> Iterator[LocalServer]:
    features = {"age": ValueKind.NUMBER, "country": ValueKind.CATEGORY, "tags": ValueKind.CATEGORIES}
    embed: Callable[[Query], list[float]] = lambda query: [float(len(query.history)), 0.5]  # noqa: E731
    with LocalServer(favourites, embed=embed, model="groceries", version=7, features=features) as running:
        yield running


class BlockingAsyncClient:
    """``AsyncClient`` under the face of ``Client``."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        self._runner = asyncio.Runner()
        self._client = AsyncClient(*arguments, **keywords)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)

        def call(*arguments: Any, **keywords: Any) -> Any:
            result = method(*arguments, **keywords)
            return self._runner.run(result) if inspect.iscoroutine(result) else self._iterate(result)

        return call

    def _iterate(self, results: Any) -> Iterator[Any]:
        async def following() -> list[Any]:
            return [result async for result in _first(results)]

        try:
            while batch := self._runner.run(following()):
                yield from batch
        finally:
            self._runner.run(results.aclose())

    def __enter__(self) -> "BlockingAsyncClient":
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._client.close())
        self._runner.close()


async def _first(results: Any) -> Any:
    try:
        yield await anext(results)
    except StopAsyncIteration:
        return


@pytest.fixture(params=[Client, BlockingAsyncClient], ids=["sync", "async"])
def connect(request: pytest.FixtureRequest) -> Any:
    """Makes a client: either kind."""
    return request.param


@pytest.fixture
def client(connect: Any, server: LocalServer) -> Iterator[Any]:
    with connect(server.address, timeout=20.0) as connected:
        yield connected
