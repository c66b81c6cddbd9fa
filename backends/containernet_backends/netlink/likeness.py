"""Decoding together what is alike: a quarter of the work, for most of a large dump.

Most messages of a dump differ in a few attributes: where a route leads, and through whom. Of messages of one
length, one is decoded with care and serves as the example. All that are its equal but for these values are cut
into columns, each value of a column is made, and the items from row to row: what is done for each message is no
more than that. What is like no example is decoded with care.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from struct import Struct
from sys import byteorder
from typing import NamedTuple

from containernet import numbers
from containernet.items import FdbEntry, Item, KernelRoute, Neighbour
from containernet.model import Address

from . import constants as c
from .frames import attribute_at
from .layouts import NDMSG, RTMSG

Decode = Callable[[bytes], Item | None]
DecodeAll = Callable[[Sequence[bytes]], Sequence[Item | None]]
Columns = Mapping[int, Sequence[bytes]]

_EXAMPLES = 16  # of one length; what has so many shapes is not worth looking for another
_ROWS = 2048  # that are cut at once, so that the pieces of a large dump are not there at one time


class Kind(NamedTuple):
    """What may differ between like messages: attributes by number, with what makes items of their values.

    `like` takes the example's item and a column for each of these attributes that it has. It returns an item
    for each row; None: that one has to be decoded with care.
    """

    start: int
    holes: Sequence[int]
    like: Callable[[Item, Columns], Iterable[Item | None]]


class _Example(NamedTuple):
    """A body in parts, the known ones and the holes by turns, and what it meant."""

    parts: Struct
    known: tuple[bytes, ...]
    holes: tuple[int, ...]
    item: Item


def by_example(decode: Decode, kind: Kind) -> DecodeAll:
    """Return a function that decodes each of many bodies as `decode` does, and is quick with what is alike."""
    return _Together(decode, kind).decode


class _Together:
    def __init__(self, decode: Decode, kind: Kind) -> None:
        self._decode = decode
        self._kind = kind

    def decode(self, bodies: Sequence[bytes]) -> Sequence[Item | None]:
        if len({*map(len, bodies)}) < 2:
            return self._of_one_length(bodies)
        places = defaultdict[int, list[int]](list)
        for at, body in enumerate(bodies):
            places[len(body)].append(at)
        found: dict[int, Item | None] = {}
        for alike in places.values():
            found.update(zip(alike, self._of_one_length([bodies[at] for at in alike]), strict=True))
        return [found[at] for at in range(len(bodies))]

    def _of_one_length(self, bodies: Sequence[bytes]) -> list[Item | None]:
        found: list[Item | None] = [None] * len(bodies)
        left: Sequence[int] = range(len(bodies))
        for _ in range(_EXAMPLES):
            for nth, at in enumerate(left, 1):
                found[at] = item = self._decode(bodies[at])
                if item is not None and (example := _example(bodies[at], self._kind, item)):
                    left = self._follow(example, bodies, left[nth:], found)
                    break
            else:
                return found
        for at in left:
            found[at] = self._decode(bodies[at])
        return found

    def _follow(
        self, example: _Example, bodies: Sequence[bytes], places: Sequence[int], found: list[Item | None]
    ) -> list[int]:
        """Decode into `found` what at `places` is like the example; return where the rest is."""
        others: list[int] = []
        for start in range(0, len(places), _ROWS):
            some = places[start : start + _ROWS]
            columns = _columns(example, [bodies[at] for at in some])
            if not _uniform(columns[::2], example.known):
                like = [at for at in some if example.parts.unpack(bodies[at])[::2] == example.known]
                others += sorted({*some}.difference(like))
                if not like:
                    continue
                some, columns = like, _columns(example, [bodies[at] for at in like])
            items = self._kind.like(example.item, dict(zip(example.holes, columns[1::2], strict=True)))
            for at, item in zip(some, items, strict=True):
                found[at] = self._decode(bodies[at]) if item is None else item
        return others


def _columns(example: _Example, bodies: Sequence[bytes]) -> Sequence[Sequence[bytes]]:
    return tuple(zip(*example.parts.iter_unpack(b"".join(bodies)), strict=True))


def _uniform(columns: Iterable[Sequence[bytes]], known: Iterable[bytes]) -> bool:
    return all(column.count(value) == len(column) for column, value in zip(columns, known, strict=True))


def _example(body: bytes, kind: Kind, item: Item) -> _Example | None:
    layout, holes, end = "", [], 0
    for at, size, hole in sorted(_places(body, kind)):
        layout += f"{at - end}s{size}s"
        holes.append(hole)
        end = at + size
    parts = Struct(f"{layout}{len(body) - end}s")
    # An attribute that stands there twice means what the second says.
    if not holes or len({*holes}) < len(holes):
        return None
    return _Example(parts, parts.unpack(body)[::2], tuple(holes), item)


def _places(body: bytes, kind: Kind) -> Iterator[tuple[int, int, int]]:
    """Yield where the holes are in a body that was decoded: offset, size and number."""
    for hole in kind.holes:
        at = attribute_at(body, hole, kind.start)
        while at >= 0:
            size = int.from_bytes(body[at - 4 : at - 2], byteorder) - 4
            yield at, size, hole
            at = attribute_at(body, hole, at + size + (-size & 3))


def _addresses(column: Sequence[bytes]) -> Iterator[Address]:
    """Yield the addresses of a column, of 4 octets each or of 16."""
    version = 4 if len(column[0]) == 4 else 6
    known = {each: numbers.address(version, int.from_bytes(each)) for each in {*column}}
    return map(known.__getitem__, column)


def _routes(item: Item, columns: Columns) -> Iterable[Item | None]:
    if (
        not isinstance(item, KernelRoute)
        or item.gateway is None
        or item.encap is not None
        or item.equal_cost
        or not {c.RTA_DST, c.RTA_GATEWAY} <= columns.keys()
    ):
        return _with_care(columns)
    version, length = item.destination.version, item.destination.prefixlen
    behind = (1 << (item.destination.max_prefixlen - length)) - 1
    firsts = list(map(int.from_bytes, columns[c.RTA_DST]))
    if any(map(behind.__and__, firsts)):
        return _with_care(columns)
    return [
        KernelRoute(
            destination=numbers.prefix(version, first, length),
            link=item.link,
            gateway=gateway,
            onlink=item.onlink,
            table=item.table,
            metric=item.metric,
        )
        for first, gateway in zip(firsts, _addresses(columns[c.RTA_GATEWAY]), strict=True)
    ]


def _neighbours(item: Item, columns: Columns) -> Iterable[Item | None]:
    if not {c.NDA_DST, c.NDA_LLADDR} <= columns.keys() or not all(map(any, columns[c.NDA_LLADDR])):
        return _with_care(columns)
    addresses = _addresses(columns[c.NDA_DST])
    macs = [mac.hex(":") for mac in columns[c.NDA_LLADDR]]
    pairs = zip(addresses, macs, strict=True)
    match item:
        case Neighbour(link=link):
            return [Neighbour(link=link, address=address, mac=mac) for address, mac in pairs]
        case FdbEntry(link=link):
            return [FdbEntry(link=link, mac=mac, destination=address) for address, mac in pairs]
        case _:
            return _with_care(columns)


def _with_care(columns: Columns) -> Iterable[None]:
    return [None] * len(next(iter(columns.values())))


# What a nexthop object's number says, the gateway says too.
ROUTE = Kind(RTMSG.size, (c.RTA_DST, c.RTA_GATEWAY, c.RTA_NH_ID), _routes)
NEIGHBOUR = Kind(NDMSG.size, (c.NDA_DST, c.NDA_LLADDR, c.NDA_CACHEINFO), _neighbours)
