"""Protobuf's wire format, as far as the server writes it by itself: https://protobuf.dev/programming-guides/encoding/.

A message that is written field by field is the same as one that the library serialised, and a field may come in several
pieces: messages that are written one after the other are merged by whoever reads them.
"""

from google.protobuf.message import Message


def tag(message: type[Message], field: str) -> bytes:
    """What stands before a field whose value has a length: a string, bytes, a message or packed numbers.

    Raises:
        KeyError: the message has no such field.
    """
    return varint(message.DESCRIPTOR.fields_by_name[field].number << 3 | 2)


def with_length(value: bytes) -> bytes:
    """A value behind its length."""
    return varint(len(value)) + value


def varint(number: int) -> bytes:
    """A number of at least 0: seven bits a byte, the lowest first, and a high bit where more follow."""
    if number < 128:
        return _SHORT[number]
    if number < 128 * 128:
        return bytes((number & 127 | 128, number >> 7))
    found = bytearray()
    while number >= 128:
        found.append(number & 127 | 128)
        number >>= 7
    found.append(number)
    return bytes(found)


_SHORT = [bytes([number]) for number in range(128)]
