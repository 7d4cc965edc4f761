"""Calls at a constant rate, whatever becomes of them: as users do who do not know of each other."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import grpc
import numpy as np

from bascule.v1 import recommendation_service_pb2 as pb

METHOD = "/bascule.v1.RecommendationService/RecommendItems"
MESSAGE = pb.RecommendItemsRequest(query=pb.Query(user=pb.User(history=["i"]))).SerializeToString()


class Asked(NamedTuple):
    """What each call asks."""

    method: str
    message: bytes


ONE_ROW = Asked(METHOD, MESSAGE)

Channels: TypeAlias = Sequence[grpc.aio.Channel]


@dataclass
class Outcome:
    """What became of the calls of a while."""

    seconds: float
    codes: Counter[grpc.StatusCode] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    """Of the calls that were answered, in seconds, from when each was meant to start."""
    without_retry_info: int = 0
    """Refusals that do not say when to try again."""

    @property
    def goodput(self) -> float:
        """Answers a second."""
        return self.codes[grpc.StatusCode.OK] / self.seconds

    @property
    def p99(self) -> float:
        """Of the answered calls, in seconds."""
        return float(np.quantile(self.latencies, 0.99))


@asynccontextmanager
async def connected(port: int, count: int = 4) -> AsyncIterator[Channels]:
    """Channels with a connection each, which repeat nothing."""
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
    async with AsyncExitStack() as kept:
        opened = [grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) for _ in range(count)]
        channels = [await kept.enter_async_context(channel) for channel in opened]
        for channel in channels:
            await channel.channel_ready()
        yield channels


async def offer(
    channels: Channels, rate: float, seconds: float, deadline_seconds: float, asked: Asked = ONE_ROW
) -> Outcome:
    """``rate`` calls a second for so long, each with a deadline so far away."""
    outcome, loop = Outcome(seconds), asyncio.get_running_loop()
    methods: list[Any] = [channel.unary_unary(asked.method) for channel in channels]

    async def ask(number: int, start: float) -> None:
        call = methods[number % len(methods)](asked.message, timeout=deadline_seconds)
        code = await call.code()
        outcome.codes[code] += 1
        if code is grpc.StatusCode.OK:
            outcome.latencies.append(time.monotonic() - start)
        elif code is grpc.StatusCode.UNAVAILABLE:
            outcome.without_retry_info += "grpc-retry-pushback-ms" not in dict(tuple(await call.trailing_metadata()))

    began, asking = time.monotonic(), []
    for number in range(int(rate * seconds)):
        start = began + number / rate
        if (wait := start - time.monotonic()) > 0:
            await asyncio.sleep(wait)
        asking.append(loop.create_task(ask(number, start)))
    await asyncio.gather(*asking)
    return outcome


async def keep_asking(channels: Channels, concurrency: int, seconds: float, asked: Asked = ONE_ROW) -> Outcome:
    """So many calls under way for so long, the next as soon as one is answered."""
    outcome, end = Outcome(seconds), time.monotonic() + seconds

    async def ask(channel: grpc.aio.Channel) -> None:
        method: Any = channel.unary_unary(asked.method)
        while (start := time.monotonic()) < end:
            call = method(asked.message, timeout=10)
            code = await call.code()
            outcome.codes[code] += 1
            if code is grpc.StatusCode.OK:
                outcome.latencies.append(time.monotonic() - start)

    await asyncio.gather(*(ask(channels[number % len(channels)]) for number in range(concurrency)))
    return outcome
