"""Operations to rtnetlink messages: routes, neighbours, fdb entries, addresses. Pure, no I/O.

They come by the thousand, and mostly one like the other. So operations that follow one another and have one
shape, which is all that is the same in their messages, are cast together: the message as often as there are
operations, and then what varies, a column for each octet, into its holes. A slice assignment with a stride does
for thousands of messages what a loop does for one. IPv4 and IPv6 differ in the length of an address and little
else.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from containernet.items import FdbEntry, InterfaceAddress, KernelRoute, Neighbour
from containernet.model import Address
from containernet.planning import Delete, Operation

from .frames import Refusal, Run
from .layouts import SIZE
from .moulds import Mould, about_nexthop, by_number, mould, nexthop
from .nexthops import PLAIN, Hop, Way

BATCHED = frozenset({KernelRoute, Neighbour, FdbEntry, InterfaceAddress})

_SEQUENCE = (8, 4)  # where a message has its number


class Alike(NamedTuple):
    """Operations of one shape that follow one another in a batch.

    `start` is the position of the first. `gateways` are those of IPv4 routes, packed, which nexthop objects may
    tell instead; empty: there are none.
    """

    shape: tuple[object, ...]
    start: int
    operations: Sequence[Operation]
    oif: int
    gateways: Sequence[bytes]

    @property
    def way(self) -> Way:
        """What the gateways have in common."""
        return Way(self.oif, getattr(self.operations[0].item, "onlink", False))

    @property
    def are_routes(self) -> bool:
        """Whether they are about routes."""
        return isinstance(self.operations[0].item, KernelRoute)


def sort(
    operations: Iterable[Operation], place: Callable[[Operation], int | Refusal]
) -> tuple[Sequence[Alike], Mapping[int, Refusal]]:
    """Return operations on batched items by shape, and by position the refusals of those that have no place.

    Args:
        operations: on routes, neighbours, fdb entries and addresses.
        place: returns the interface index of an item's link, or why it has none; asked once for each shape.
    """
    groups: list[Alike] = []
    refused: dict[int, Refusal] = {}
    start = 0
    for shape, group in groupby(operations, _shape):
        alike = list(group)
        oif = place(alike[0])
        if isinstance(oif, Refusal):
            refused.update(dict.fromkeys(range(start, start + len(alike)), oif))
        else:
            groups.append(Alike(shape, start, alike, oif, _gateways(alike)))
        start += len(alike)
    return groups, refused


class Encoder:
    """Makes messages of operations; remembers the shapes it has met. Not for use by two threads at a time."""

    def __init__(self) -> None:
        self._moulds: dict[object, Mould] = {}

    def encode(self, alike: Alike, first: int) -> Run:
        """Return the messages that carry out operations, numbered from `first` on."""
        key = (alike.shape, alike.oif)
        found = self._moulds.get(key)
        if found is None:
            found = mould(alike.operations[0], alike.oif)
            if found.holes:  # else it is about one item alone
                self._moulds[key] = found
        columns = _columns(alike) if found.holes else ()
        return Run(cast(found, len(alike.operations), first, columns), len(alike.operations))

    def encode_by_number(self, alike: Alike, numbers: Sequence[int], first: int) -> Iterator[Run]:
        """Yield the messages for routes to their gateways, each with the number of an object, or PLAIN."""
        operations = zip(alike.operations, alike.gateways, numbers, strict=True)
        for plain, group in groupby(operations, lambda each: each[2] == PLAIN):
            part, gateways, objects = zip(*group, strict=True)
            rest = alike._replace(operations=part, gateways=gateways)
            if plain:
                yield self.encode(rest, first)
            else:
                found = by_number(type(part[0]), part[0].item)
                columns = (_destinations(part), array("I", objects).tobytes())
                yield Run(cast(found, len(part), first, columns), len(part))
            first += len(part)


def encode_nexthops(wanted: Mapping[int, Hop], first: int) -> Iterator[Run]:
    """Yield the messages that make nexthop objects, by number; their sequence numbers go from `first` on."""
    for (way, size), group in groupby(wanted.items(), lambda each: (each[1].way, len(each[1].gateway))):
        numbers, hops = zip(*group, strict=True)
        columns = (array("I", numbers).tobytes(), b"".join([hop.gateway for hop in hops]))
        yield Run(cast(nexthop(way, size), len(hops), first, columns), len(hops))
        first += len(hops)


def encode_about_nexthops(kind: int, numbers: Sequence[int], first: int) -> Run:
    """Return messages of one kind, such as RTM_DELNEXTHOP, about nexthop objects, numbered from `first` on."""
    return Run(cast(about_nexthop(kind), len(numbers), first, (array("I", numbers).tobytes(),)), len(numbers))


def cast(shape: Mould, count: int, first: int, columns: Iterable[bytes]) -> bytes:
    """Return a message `count` times, numbered from `first` on, its holes filled from the columns."""
    stride = len(shape.message)
    made = bytearray(shape.message * count)
    numbers = array("I", range(first, first + count)).tobytes()
    for (offset, size), column in zip((_SEQUENCE, *shape.holes), (numbers, *columns), strict=True):
        for nth in range(size):
            made[offset + nth :: stride] = column[nth::size]
    return bytes(made)


def _shape(operation: Operation) -> tuple[object, ...]:
    """Return all that decides about a message but what `_columns` holds."""
    verb = operation.__class__
    item = operation.item
    if item.__class__ is KernelRoute:
        _, version, _, length, metric, table = item.key
        if verb is Delete:
            return (verb, version, length, metric, table, item.blackhole)
        if item.equal_cost:
            return (verb, item)
        encap = item.encap and item.encap.source
        # The class stands for the family: it costs no call.
        hop = (item.link, item.gateway.__class__, item.onlink, encap)
        return (verb, version, length, metric, table, item.blackhole, hop)
    if item.__class__ is Neighbour:
        return (verb, Neighbour, item.link, item.address.__class__, len(item.mac))
    if item.__class__ is FdbEntry:
        return (verb, FdbEntry, item.link, item.destination.__class__, len(item.mac))
    return (verb, item)


def _gateways(alike: Sequence[Operation]) -> Sequence[bytes]:
    first = alike[0].item
    if alike[0].__class__ is Delete or not isinstance(first, KernelRoute) or first.destination.version != 4:
        return ()
    if first.gateway is None or first.equal_cost:
        return ()
    items: list[Any] = [operation.item for operation in alike]
    together = _together([item.gateway for item in items])  # of IPv6, it may be (RFC 8950)
    return [octets for (octets,) in struct.iter_unpack(f"{SIZE[first.gateway.version]}s", together)]


def _columns(alike: Alike) -> Sequence[bytes]:
    """Return what varies in the messages about items of one shape, in the order of their holes."""
    items: list[Any] = [operation.item for operation in alike.operations]
    first = items[0]
    which: bytes
    match first:
        case KernelRoute():
            which = _destinations(alike.operations)
        case Neighbour():
            which = _together([item.address for item in items])
        case _:
            which = _octets(items)
    if alike.operations[0].__class__ is Delete:
        return (which,)
    match first:
        case KernelRoute(encap=None, gateway=None):
            return (which,)
        case KernelRoute(encap=None):
            return which, b"".join(alike.gateways) or _together([item.gateway for item in items])
        case KernelRoute():
            return which, _together([item.encap.destination for item in items])
        case Neighbour():
            return which, _octets(items)
        case _:
            return which, _together([item.destination for item in items])


def _destinations(operations: Sequence[Operation]) -> bytes:
    keys: list[Any] = [operation.item.key for operation in operations]
    return _packed(keys[0][1], [key[2] for key in keys])


def _together(addresses: Sequence[Address]) -> bytes:
    return _packed(addresses[0].version, list(map(int, addresses)))


def _packed(version: int, addresses: Sequence[int]) -> bytes:
    """Return the octets of addresses, one behind the other; IPv4's in a third of the time of `packed`."""
    if version == 4:
        return struct.pack(f">{len(addresses)}I", *addresses)
    return b"".join([address.to_bytes(SIZE[6], "big") for address in addresses])


def _octets(items: Iterable[Neighbour | FdbEntry]) -> bytes:
    return bytes.fromhex("".join([item.mac for item in items]).replace(":", ""))
