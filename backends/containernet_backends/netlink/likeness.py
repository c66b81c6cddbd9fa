"""Decoding what is like something that has just been decoded: a third of the work, for most of a large dump.

Most messages of a dump differ in a few attributes: where a route leads, and through whom. Of messages of one
length, one is decoded with care, and serves as the example for those that are its equal but for these values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from struct import Struct
from sys import byteorder
from typing import NamedTuple

from containernet.items import FdbEntry, Item, KernelRoute, Neighbour

from . import constants as c
from .frames import attribute_at
from .layouts import NDMSG, RTMSG

Decode = Callable[[bytes], Item | None]
Values = Mapping[int, bytes]


class Kind(NamedTuple):
    """What may differ between like messages: attributes by number, with their sizes."""

    start: int
    holes: Sequence[int]
    like: Callable[[Item, Values], Item | None]


class _Example(NamedTuple):
    """A body in parts, the known ones and the holes by turns, and what it meant."""

    parts: Struct
    known: tuple[bytes, ...]
    holes: tuple[int, ...]
    item: Item


def by_example(decode: Decode, kind: Kind) -> Decode:
    """Return a function that decodes as `decode` does, and is quick with what is alike; for one dump."""
    examples: dict[int, _Example] = {}

    def quickly(body: bytes) -> Item | None:
        example = examples.get(len(body))
        if example is not None:
            parts = example.parts.unpack(body)
            if parts[::2] == example.known:
                found = kind.like(example.item, dict(zip(example.holes, parts[1::2], strict=True)))
                if found is not None:
                    return found
        item = decode(body)
        if item is not None and (example := _example(body, kind, item)):
            examples[len(body)] = example
        return item

    return quickly


def _example(body: bytes, kind: Kind, item: Item) -> _Example | None:
    layout, holes, end = "", [], 0
    for at, size, hole in sorted(_places(body, kind)):
        layout += f"{at - end}s{size}s"
        holes.append(hole)
        end = at + size
    parts = Struct(f"{layout}{len(body) - end}s")
    # An attribute that stands there twice means what the second says.
    return None if len({*holes}) < len(holes) else _Example(parts, parts.unpack(body)[::2], tuple(holes), item)


def _places(body: bytes, kind: Kind) -> Iterator[tuple[int, int, int]]:
    """Yield where the holes are in a body that was decoded: offset, size and number."""
    for hole in kind.holes:
        at = attribute_at(body, hole, kind.start)
        while at >= 0:
            size = int.from_bytes(body[at - 4 : at - 2], byteorder) - 4
            yield at, size, hole
            at = attribute_at(body, hole, at + size + (-size & 3))


def _route(item: Item, values: Values) -> Item | None:
    if (
        not isinstance(item, KernelRoute)
        or item.gateway is None
        or not {c.RTA_DST, c.RTA_GATEWAY} <= values.keys()
    ):
        return None
    prefix = item.destination
    try:
        return KernelRoute(
            destination=prefix.__class__((values[c.RTA_DST], prefix.prefixlen)),
            link=item.link,
            gateway=item.gateway.__class__(values[c.RTA_GATEWAY]),
            onlink=item.onlink,
            table=item.table,
            metric=item.metric,
        )
    except ValueError:
        return None


def _neighbour(item: Item, values: Values) -> Item | None:
    if not {c.NDA_DST, c.NDA_LLADDR} <= values.keys() or not any(values[c.NDA_LLADDR]):
        return None
    address, mac = values[c.NDA_DST], values[c.NDA_LLADDR].hex(":")
    match item:
        case Neighbour():
            return Neighbour(link=item.link, address=item.address.__class__(address), mac=mac)
        case FdbEntry():
            return FdbEntry(link=item.link, mac=mac, destination=item.destination.__class__(address))
        case _:
            return None


# What a nexthop object's number says, the gateway says too.
ROUTE = Kind(RTMSG.size, (c.RTA_DST, c.RTA_GATEWAY, c.RTA_NH_ID), _route)
NEIGHBOUR = Kind(NDMSG.size, (c.NDA_DST, c.NDA_LLADDR, c.NDA_CACHEINFO), _neighbour)
