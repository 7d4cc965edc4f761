"""A way to a server for callers who are to come from another host, as far as it can see."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


@asynccontextmanager
async def relay(port: int, source: str) -> AsyncIterator[int]:
    """A port whose connections go on to the server, as if they came from another host."""

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()

    async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
        copying.append(asyncio.ensure_future(copy(reader, there_writer)))
        copying.append(asyncio.ensure_future(copy(there_reader, writer)))

    copying: list[asyncio.Future[None]] = []
    server = await asyncio.start_server(join, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for each in copying:
            each.cancel()
        await asyncio.gather(*copying, return_exceptions=True)
        # Transports close in the next round.
        await asyncio.sleep(0)
