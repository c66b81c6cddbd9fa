"""Operations to rtnetlink messages: routes, neighbours, fdb entries, addresses. Pure, no I/O.

They come by the thousand, and mostly one like the other. So operations that follow one another and have one
shape, which is all that is the same in their messages, are cast together: the message as often as there are
operations, and then what varies, a column for each octet, into its holes. A slice assignment with a stride does
for thousands of messages what a loop does for one. IPv4 and IPv6 differ in the length of an address and little
else.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from containernet.items import FdbEntry, InterfaceAddress, KernelRoute, Neighbour
from containernet.planning import Delete, Operation

from .frames import Refusal, Run
from .layouts import SIZE
from .moulds import Mould, mould

BATCHED = frozenset({KernelRoute, Neighbour, FdbEntry, InterfaceAddress})

_SEQUENCE = (8, 4)  # where a message has its number


class Encoder:
    """Encodes operations; remembers the shapes it has met. Not for use by two threads at a time."""

    def __init__(self) -> None:
        self._moulds: dict[object, Mould] = {}

    def encode(
        self, operations: Iterable[Operation], first: int, place: Callable[[Operation], int | Refusal]
    ) -> tuple[Sequence[Run], Mapping[int, Refusal]]:
        """Return the messages that carry out operations on batched items, and the refusals by position.

        Args:
            operations: on routes, neighbours, fdb entries and addresses.
            first: the number of the first message; every operation counts, refused or not.
            place: returns the interface index of an item's link, or why it has none; asked once for each run.
        """
        runs: list[Run] = []
        refused: dict[int, Refusal] = {}
        at = 0
        for shape, group in groupby(operations, _shape):
            alike = list(group)
            index = place(alike[0])
            if isinstance(index, Refusal):
                refused.update(dict.fromkeys(range(at, at + len(alike)), index))
            else:
                runs.append(self._cast(shape, alike, index, first + at))
            at += len(alike)
        return runs, refused

    def _cast(self, shape: tuple[object, ...], alike: Sequence[Operation], index: int, first: int) -> Run:
        found = self._moulds.get((shape, index))
        if found is None:
            found = mould(alike[0], index)
            if found.holes:  # else it is about one item alone
                self._moulds[shape, index] = found
        return Run(cast(found, len(alike), first, _columns(alike) if found.holes else ()), len(alike))


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


def _columns(alike: Sequence[Operation]) -> Sequence[bytes]:
    """Return what varies in the messages about items of one shape, in the order of their holes."""
    items: list[Any] = [operation.item for operation in alike]
    first = alike[0].item
    match first:
        case KernelRoute():
            size = SIZE[first.destination.version]
            which = b"".join([item.key[2].to_bytes(size, "big") for item in items])
        case Neighbour():
            which = b"".join([item.address.packed for item in items])
        case _:
            which = _octets(items)
    if alike[0].__class__ is Delete:
        return (which,)
    match first:
        case KernelRoute(encap=None, gateway=None):
            return (which,)
        case KernelRoute(encap=None):
            return which, b"".join([item.gateway.packed for item in items])
        case KernelRoute():
            return which, b"".join([item.encap.destination.packed for item in items])
        case Neighbour():
            return which, _octets(items)
        case _:
            return which, b"".join([item.destination.packed for item in items])


def _octets(items: Iterable[Neighbour | FdbEntry]) -> bytes:
    return bytes.fromhex("".join([item.mac for item in items]).replace(":", ""))
