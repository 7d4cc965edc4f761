"""Changes messages as a fuzzer changes bytes, but so that they stay messages: whole fields come, go and change."""

from random import Random
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

MODEL = "tiny"
WORDS = (
    *("", "u1", "u2", "i1", "i2", "i3", "i119", "nobody", "new", MODEL, "country", "age", "genres", "year", "title"),
    *("released", "de", "Drama", "x" * 257, "\0", "\n", "é" * 130, "\U0001f600", "../..", "%s", '"'),
)
"""Ids and names that there are in the small model, and texts that are awkward."""

WHOLE_NUMBERS = (
    *(0, 1, 2, 3, 10, 1_000, 1_001, -1),
    *((1 << 31) - 1, -(1 << 31), (1 << 63) - 1, -(1 << 63), 253_402_300_800),
)
NUMBERS = (0.0, 1.0, 0.5, -1.0, 1e-45, 1e18, 2e18, 3.4e38, 1e300, float("inf"), float("-inf"), float("nan"))

MAX_NEW = 5
"""Elements that come at once."""
MAX_DEPTH = 6
PRESENT_SHARE = 0.7
"""Of the changes that are of what is there."""


def mutate(message: Message, chance: Random, depth: int = 0) -> None:
    """Changes one field of the message, or of a message in it; nothing where it can have none."""
    if not message.DESCRIPTOR.fields:
        return
    field = _chosen(message, chance)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        _mutate_map(getattr(message, field.name), field.message_type, chance, depth)
    elif field.is_repeated:
        _mutate_elements(getattr(message, field.name), field, chance, depth)
    elif chance.random() < 0.1:
        message.ClearField(field.name)
    elif field.message_type is not None:
        _mutate_inside(getattr(message, field.name), chance, depth)
    else:
        setattr(message, field.name, _value(field, chance))


def _chosen(message: Message, chance: Random) -> Any:
    """A field to change: mostly one that is there, since most that come are not valid beside others."""
    fields: Any = message.DESCRIPTOR.fields
    present = [field for field, _ in message.ListFields() if field.name != "model"]
    return chance.choice(present if present and chance.random() < PRESENT_SHARE else fields)


def _mutate_inside(message: Message, chance: Random, depth: int) -> None:
    # Said to be there, even where nothing in it is.
    message.SetInParent()
    if depth < MAX_DEPTH:
        mutate(message, chance, depth + 1)


def _mutate_map(entries: Any, entry: Descriptor, chance: Random, depth: int) -> None:
    key_field, value_field = (entry.fields_by_name[name] for name in ("key", "value"))
    key = chance.choice(sorted(entries)) if entries and chance.random() < 0.9 else _value(key_field, chance)
    if key in entries and chance.random() < 0.1:
        del entries[key]
    elif value_field.message_type is not None:
        _mutate_inside(entries[key], chance, depth)
    else:
        entries[key] = _value(value_field, chance)


def _mutate_elements(elements: Any, field: FieldDescriptor, chance: Random, depth: int) -> None:
    what = chance.random()
    if elements and what < 0.2:
        del elements[chance.randrange(len(elements))]
    elif elements and what < 0.6:
        place = chance.randrange(len(elements))
        if field.message_type is None:
            elements[place] = _value(field, chance)
        else:
            _mutate_inside(elements[place], chance, depth)
    else:
        for _ in range(chance.choice((1, 1, 1, 2, MAX_NEW))):
            if field.message_type is None:
                elements.append(_value(field, chance))
            else:
                _mutate_inside(elements.add(), chance, depth)


def _value(field: FieldDescriptor, chance: Random) -> Any:
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING if field.name == "model" and chance.random() < 0.8:
            return MODEL
        case FieldDescriptor.CPPTYPE_STRING:
            return chance.choice(WORDS) if field.type == FieldDescriptor.TYPE_STRING else chance.randbytes(4)
        case FieldDescriptor.CPPTYPE_BOOL:
            return chance.random() < 0.5
        case FieldDescriptor.CPPTYPE_FLOAT | FieldDescriptor.CPPTYPE_DOUBLE:
            return chance.choice(NUMBERS) if chance.random() < 0.7 else chance.uniform(-10, 3_000)
        case FieldDescriptor.CPPTYPE_INT32 | FieldDescriptor.CPPTYPE_ENUM:
            number = chance.choice(WHOLE_NUMBERS)
            return number if -(1 << 31) <= number < 1 << 31 else chance.randrange(20)
        case FieldDescriptor.CPPTYPE_UINT32 | FieldDescriptor.CPPTYPE_UINT64:
            return abs(chance.choice(WHOLE_NUMBERS)) % (1 << 31)
        case _:
            return chance.choice(WHOLE_NUMBERS)
