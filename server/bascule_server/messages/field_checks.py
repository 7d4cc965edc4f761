"""Checks of single fields. Each takes the field's path and raises ``ServiceError`` with what was got and is allowed."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

from bascule.v1.recommendation_service_pb2 import Categories
from bascule_server.errors import invalid_field

MAX_ITEM_IDS = 10_000
MAX_ID_BYTES = 256
MAX_CATEGORIES = 256

FIRST_SECOND = -62_135_596_800
LAST_SECOND = 253_402_300_799
"""Of a ``google.protobuf.Timestamp``, since 1970: from the year 1 to 9999."""

MAX_ECHOED_CHARACTERS = 64
MAX_LISTED_NAMES = 32

Kind = TypeVar("Kind")


def checked_id(value: str, parent: str, name: str) -> str:
    """A user's or an item's id: at most 256 bytes. ``parent`` is the path of the message that holds the field."""
    # A character takes up to four bytes, so most ids need no encoding to be seen to fit.
    if len(value) * 4 > MAX_ID_BYTES and (size := len(value.encode())) > MAX_ID_BYTES:
        raise invalid_field(_path(parent, name), f"got {size:,} bytes; expected at most {MAX_ID_BYTES}")
    return value


def checked_item_ids(values: Sequence[str], parent: str, name: str) -> Sequence[str]:
    """At most 10,000 ids. ``parent`` is the path of the message that holds the field."""
    if not values:
        return ()
    check_count(values, MAX_ITEM_IDS, _path(parent, name))
    item_ids = values[:]
    if max(map(len, item_ids)) * 4 > MAX_ID_BYTES:
        for index, item_id in enumerate(item_ids):
            checked_id(item_id, parent, f"{name}[{index}]")
    return item_ids


def _path(parent: str, name: str) -> str:
    return f"{parent}.{name}" if parent else name


def checked_categories(message: Categories, path: str) -> tuple[str, ...]:
    """At most 256 categories."""
    check_count(message.values, MAX_CATEGORIES, f"{path}.values")
    return tuple(message.values)


def check_count(values: Collection[object], limit: int, path: str) -> None:
    """Raises where there are more than ``limit``."""
    if len(values) > limit:
        raise invalid_field(path, f"got {len(values):,}; expected at most {limit:,}")


def finite(value: float, path: str) -> float:
    """A number that is neither infinite nor NaN."""
    if not math.isfinite(value):
        raise invalid_field(path, f"got {value}; expected a finite number")
    return value


def nanoseconds(moment: Timestamp, path: str) -> int:
    """Nanoseconds from 1970 in UTC to a moment from the year 1 to 9999."""
    if not FIRST_SECOND <= moment.seconds <= LAST_SECOND:
        raise invalid_field(path, f"got {moment.seconds} s since 1970; expected a moment from the year 1 to 9999")
    if not 0 <= moment.nanos < 10**9:
        raise invalid_field(f"{path}.nanos", f"got {moment.nanos}; expected 0 to 999,999,999")
    return moment.seconds * 10**9 + moment.nanos


def declared_kind(what: str, name: str, kinds: Mapping[str, Kind], path: str) -> Kind:
    """The kind of the feature or attribute ``name``, which the model must declare."""
    if name not in kinds:
        names = ", ".join(sorted(kinds)[:MAX_LISTED_NAMES]) or "none"
        raise invalid_field(path, f"got {quoted(name)}; expected a declared {what}: {names}")
    return kinds[name]


def quoted(text: str) -> str:
    """What the caller sent, in quotes, on one line and of bounded length."""
    shortened = text if len(text) <= MAX_ECHOED_CHARACTERS else text[:MAX_ECHOED_CHARACTERS] + "..."
    return '"' + shortened.encode("unicode_escape").decode("ascii").replace('"', '\\"') + '"'
