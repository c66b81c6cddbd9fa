"""What the octets of a dump were decoded to before, so that what has not changed is not decoded again.

To make an item of a message costs ten microseconds, most of them for `ipaddress` objects; to look up the item
that the same octets made last time costs a fiftieth of it. A full read is nearly always of a kernel in which
nearly nothing has changed.

Some octets differ at each reading without a change, those of clocks (NDA_CACHEINFO): they are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from operator import attrgetter
from typing import TypeVar

from containernet.items import Item, Key, by_key

from . import constants as c
from .frames import attribute_at
from .layouts import NDMSG
from .nexthops import PLAIN, Hop, Nexthop
from .wire import NH_ID, decode_nexthop, route_nexthop

T = TypeVar("T")
Table = tuple[int, ...]  # the kind of a dump, and what it was restricted to
_CACHEINFO = 16  # octets


class _Reading:
    """One dump: what was told, and what that meant."""

    def __init__(self, told: Sequence[bytes], meanings: Mapping[bytes, Item]) -> None:
        self.told = told
        self.meanings = meanings
        self.items = by_key(meanings.values())
        self.links = frozenset(map(attrgetter("link"), meanings.values()))

    @cached_property
    def used(self) -> Mapping[Key, int]:
        """The numbers of the nexthop objects that routes use, by their keys."""
        found = ((item.key, route_nexthop(octets)) for octets, item in self.meanings.items() if NH_ID in octets)
        return {key: number for key, number in found if number != PLAIN}


class _Asked(Mapping[int, T]):
    """What numbers mean, and what was answered to whom asked; `nothing` is the answer where there is none."""

    def __init__(self, nothing: T) -> None:
        self._nothing = nothing
        self._meanings: Mapping[int, T] = {}
        self._answers: dict[int, T] = {}

    def change(self, meanings: Mapping[int, T]) -> bool:
        """Answer so from now on; return whether any answer would have been another, and forget them then."""
        differ = any(meanings.get(each, self._nothing) != was for each, was in self._answers.items())
        if differ:
            self._answers = {}
        self._meanings = meanings
        return differ

    def __getitem__(self, number: int) -> T:
        answer = self._answers[number] = self._meanings.get(number, self._nothing)
        return answer

    def __iter__(self) -> Iterator[int]:
        return iter(self._meanings)

    def __len__(self) -> int:
        return len(self._meanings)


class Recall:
    """The last readings. Not for use by two threads at a time.

    `names` and `hops` are what the present reading decodes with.

    Args:
        same: returns an item or, of two equal ones, the one that is there already.
    """

    def __init__(self, *, same: Callable[[Item], Item] = lambda item: item) -> None:
        self._same = same
        self._readings: dict[Table, _Reading] = {}
        self._nexthops: tuple[Sequence[bytes], Sequence[Nexthop]] = ((), ())
        self.names = _Asked("")
        self.hops = _Asked[Hop | None](None)

    def begin(self, names: Mapping[int, str], hops: Mapping[int, Hop]) -> None:
        """Begin to read all: forget everything that was decoded with other names of links, or other next hops.

        Args:
            names: of all links, by interface index.
            hops: where nexthop objects lead, by number.
        """
        if self.names.change(names) | self.hops.change(hops):
            self._readings.clear()

    @property
    def links(self) -> frozenset[str]:
        """The links that the items are on."""
        return frozenset[str]().union(*(reading.links for reading in self._readings.values()))

    def decode(
        self, table: Table, bodies: Sequence[bytes], decode: Callable[[Sequence[bytes]], Sequence[Item | None]]
    ) -> Mapping[Key, Item]:
        """Return the items of a dump, which stay ours.

        Args:
            table: which dump it is.
            bodies: what was read.
            decode: returns the items of bodies; None: it is not to be in the result.
        """
        last = self._readings.get(table) or _Reading((), {})
        told = list(map(_without_clocks, bodies)) if table[0] == c.RTM_GETNEIGH else bodies
        if told != last.told:
            known = last.meanings
            new = [at for at, octets in enumerate(told) if octets not in known]
            found = iter(decode([bodies[at] for at in new]))
            meant = []
            for octets in told:
                item = known.get(octets)
                if item is None and (item := next(found)):
                    item = self._same(item)
                if item is not None:
                    meant.append((octets, item))
            last = self._readings[table] = _Reading(told, _in_order(meant))
        return last.items

    def used(self, table: Table) -> Mapping[Key, int]:
        """Return the numbers of the nexthop objects that routes of a dump use."""
        return self._readings[table].used

    def nexthops(self, bodies: Sequence[bytes]) -> Sequence[Nexthop]:
        """Return the nexthop objects of a dump."""
        if bodies != self._nexthops[0]:
            self._nexthops = bodies, [decode_nexthop(body) for body in bodies]
        return self._nexthops[1]


def _in_order(meant: Sequence[tuple[bytes, Item]]) -> Mapping[bytes, Item]:
    """Return what octets mean, in the order in which each was told last: of one key the last counts."""
    found = dict(meant)
    return found if len(found) == len(meant) else dict(reversed(dict(reversed(meant)).items()))


def _without_clocks(body: bytes) -> bytes:
    """Return a neighbour without the octets that change by themselves."""
    at = attribute_at(body, c.NDA_CACHEINFO, NDMSG.size)
    return body if at < 0 else body[:at] + body[at + _CACHEINFO :]
