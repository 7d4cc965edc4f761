"""HTTP/2 written by hand, for callers who do what no library of gRPC would.

Frames are those of RFC 9113, headers those of RFC 7541 in their plainest form: literal, neither indexed nor compressed.
"""

import socket
import struct
from collections.abc import Iterable

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, CONTINUATION = 0, 1, 3, 4, 9
LARGEST_FRAME = 16_384
END_STREAM, END_HEADERS = 1, 4
INITIAL_WINDOW_SIZE = 4
CANCEL = 8


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def settings(values: Iterable[tuple[int, int]] = ()) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", key, value) for key, value in values))


def greeting(values: Iterable[tuple[int, int]] = ()) -> bytes:
    """What a caller says first."""
    return PREFACE + settings(values)


def acknowledgement() -> bytes:
    """Says that the server's own settings, and so its limits, are known."""
    return frame(SETTINGS, 1, 0)


def request_headers(stream: int, path: str, extra: Iterable[tuple[str, str]] = ()) -> bytes:
    """The headers of a gRPC call."""
    headers = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "a")]
    headers += [("content-type", "application/grpc"), ("te", "trailers"), *extra]
    block = b"".join(b"\0" + _text(name) + _text(value) for name, value in headers)
    parts = [block[start : start + LARGEST_FRAME] for start in range(0, len(block), LARGEST_FRAME)]
    return b"".join(
        frame(CONTINUATION if number else HEADERS, END_HEADERS if number == len(parts) - 1 else 0, stream, part)
        for number, part in enumerate(parts)
    )


def message(stream: int, payload: bytes, *, ends: bool = True, is_compressed: bool = False) -> bytes:
    """A gRPC message, the last of its stream unless told otherwise."""
    data = bytes([is_compressed]) + struct.pack(">I", len(payload)) + payload
    parts = [data[start : start + LARGEST_FRAME] for start in range(0, len(data), LARGEST_FRAME)]
    last = len(parts) - 1
    return b"".join(
        frame(DATA, END_STREAM if ends and number == last else 0, stream, part) for number, part in enumerate(parts)
    )


def reset(stream: int) -> bytes:
    return frame(RST_STREAM, 0, stream, struct.pack(">I", CANCEL))


def connection(port: int, source: str = "127.0.0.1") -> socket.socket:
    """To a server on this machine, as if from the host ``source``."""
    return socket.create_connection(("127.0.0.1", port), timeout=30, source_address=(source, 0))


def _text(text: str) -> bytes:
    data = text.encode()
    if len(data) < 127:
        return bytes([len(data)]) + data
    # An integer of RFC 7541, 5.1, with a prefix of 7 bits.
    rest, size = len(data) - 127, b"\x7f"
    while rest >= 128:
        size += bytes([rest % 128 + 128])
        rest //= 128
    return size + bytes([rest]) + data
