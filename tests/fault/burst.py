"""Asks a server for more than it can answer, once.

    python -m fault.burst PORT TIMES SECONDS

First it finds out what the server can answer, in half a second; then it offers so many times as much for so long. It
comes from a host of its own, 127.0.0.8, and says on standard output when it has begun.
"""

import asyncio
import sys

from fault.open_loop import Asked, connected, keep_asking, offer
from fault.relay import relay

from bascule.v1 import recommendation_service_pb2 as pb

QUERIES = [pb.Query(user=pb.User(user_id=f"u{number}")) for number in range(1_024)]
MANY_ROWS = Asked(
    "/bascule.v1.RecommendationService/BatchRecommendItems",
    pb.BatchRecommendItemsRequest(queries=QUERIES).SerializeToString(),
)
TIMEOUT_SECONDS = 1.0


async def main() -> None:
    port, times, seconds = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
    async with relay(port, "127.0.0.8") as way, connected(way) as channels:
        peak = await keep_asking(channels, concurrency=4, seconds=0.5, asked=MANY_ROWS)
        print("begun", flush=True)
        await offer(channels, times * peak.goodput, seconds, TIMEOUT_SECONDS, asked=MANY_ROWS)


if __name__ == "__main__":
    asyncio.run(main())
