"""The loop that waits for the C core sees all else that a loop waits for, however busy it is."""

import asyncio
import socket

from bascule_server.transports.core_loop import new_core_loop


async def _reads_while_busy() -> bytes:
    """What comes in at a socket, while callbacks follow each other without end."""
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        came: asyncio.Future[bytes] = loop.create_future()

        def busy() -> None:
            if not came.done():
                loop.call_soon(busy)

        loop.add_reader(ours, lambda: came.set_result(ours.recv(1)))
        busy()
        theirs.send(b"x")
        try:
            return await asyncio.wait_for(came, 10)
        finally:
            loop.remove_reader(ours)


def test_what_comes_in_at_a_socket_is_seen_between_callbacks_that_never_end() -> None:
    with asyncio.Runner(loop_factory=new_core_loop) as runner:
        assert runner.run(_reads_while_busy()) == b"x"


def test_a_loop_that_has_nothing_to_do_sees_it_too() -> None:
    async def reads() -> bytes:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            loop.call_later(0.005, theirs.send, b"x")
            return await asyncio.wait_for(loop.sock_recv(ours, 1), 10)

    with asyncio.Runner(loop_factory=new_core_loop) as runner:
        assert runner.run(reads()) == b"x"
