"""The fields of protobuf's messages, as octets and back (protobuf.dev/programming-guides/encoding). Pure.

Written is what protobuf's own libraries write: a field that has its default is left out. A message is the sum
of its fields.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

_T = TypeVar("_T")

# A field that is looked at: its number, whether it is an int, bytes or a list of bytes, and what makes a value
# of it.
Field = tuple[int, type, Callable[[Any], Any]]

VARINT, EIGHT_OCTETS, OCTETS, FOUR_OCTETS = 0, 1, 2, 5  # types on the wire
_MASK = (1 << 64) - 1


def varint(value: int) -> bytes:
    """Return an integer of 64 bits, seven in each octet; a negative one as its two's complement."""
    value &= _MASK
    octets = bytearray()
    while value > 127:
        octets.append(value & 127 | 128)
        value >>= 7
    octets.append(value)
    return bytes(octets)


def integer(number: int, value: int) -> bytes:
    """Return a field that is a number, a truth value or one of an enum."""
    return chosen(number, value) if value else b""


def chosen(number: int, value: int) -> bytes:
    """Return a field that is a number and one of several (oneof): it is there whatever its value is."""
    return varint(number << 3 | VARINT) + varint(value)


def octets(number: int, value: bytes) -> bytes:
    """Return a field that is octets or text."""
    return message(number, value) if value else b""


def message(number: int, value: bytes) -> bytes:
    """Return a field that is a message; one without fields is there as well."""
    return varint(number << 3 | OCTETS) + varint(len(value)) + value


def fields(encoded: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield a message's fields: number and value, which is an integer without a sign, or octets.

    Raises:
        ValueError: it is no message.
    """
    at, end = 0, len(encoded)
    while at < end:
        if (key := encoded[at]) < 128:  # as nearly always
            at += 1
        else:
            key, at = read_varint(encoded, at)
        match key & 7:
            case 0:
                value, at = read_varint(encoded, at)
                yield key >> 3, value
                continue
            case 1:
                length = 8
            case 2:
                length, at = read_varint(encoded, at)
            case 5:
                length = 4
            case kind:
                raise ValueError(f"a field of type {kind} at octet {at}")
        if at + length > end:
            raise ValueError(f"a field of {length} octets at octet {at} of {end}")
        yield key >> 3, encoded[at : at + length]
        at += length


def read_varint(encoded: bytes, at: int) -> tuple[int, int]:
    """Return the integer at `at`, and where it ends.

    Raises:
        ValueError: it has no end, or more than ten octets.
    """
    value = shift = 0
    for octet in encoded[at : at + 10]:
        value |= (octet & 127) << shift
        shift += 7
        if octet < 128:
            return value & _MASK, at + shift // 7
    raise ValueError(f"an integer without an end at octet {at}")


def signed(value: int) -> int:
    """Return what 64 bits mean in two's complement."""
    return value - (1 << 64) if value >> 63 else value


def number(tag: int, read: Callable[[int], Any] = signed) -> Field:
    """Return a field that is a number, a truth value or one of an enum."""
    return tag, int, read


def text(tag: int) -> Field:
    """Return a field that is text; what is no UTF-8 in it can be printed."""
    return tag, bytes, lambda value: value.decode(errors="replace")


def one(tag: int, read: Callable[[bytes], Any]) -> Field:
    """Return a field that is a message."""
    return tag, bytes, read


def many(tag: int, read: Callable[[bytes], Any] = bytes) -> Field:
    """Return a field that is a list of messages or octets."""
    return tag, list, read


def reader(kind: Callable[..., _T], **plan: Field) -> Callable[[bytes], _T]:
    """Return what makes messages of octets; it raises ValueError where they are none.

    Args:
        kind: takes the fields that are there by their names.
        plan: the fields that are looked at; the others are passed over.
    """
    by_tag = {tag: (name, shape, read) for name, (tag, shape, read) in plan.items()}

    def read_message(encoded: bytes) -> _T:
        found: dict[str, Any] = {}
        for tag, value in fields(encoded):
            if tag not in by_tag:
                continue
            name, shape, read = by_tag[tag]
            if shape is list and isinstance(value, bytes):
                found.setdefault(name, []).append(read(value))
            elif shape is not list and isinstance(value, shape):
                found[name] = read(value)
        return kind(**found)

    return read_message
