"""What the octets of a dump were decoded to before, so that what has not changed is not decoded again.

To make an item of a message costs ten microseconds, most of them for `ipaddress` objects; to look up the item
that the same octets made last time costs a fiftieth of it. A full read is nearly always of a kernel in which
nearly nothing has changed.

Some octets differ at each reading without a change, those of clocks (NDA_CACHEINFO): they are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import attrgetter

import attrs

from containernet.items import Item, Key, by_key

from . import constants as c
from .frames import attribute_at
from .layouts import NDMSG

Table = tuple[int, ...]  # the kind of a dump, and what it was restricted to
_CACHEINFO = 16  # octets


@attrs.frozen
class _Reading:
    """One dump: what was told, and what that meant."""

    told: Sequence[bytes] = ()
    meanings: Mapping[bytes, Item] = attrs.field(factory=dict)
    items: Mapping[Key, Item] = attrs.field(factory=dict)
    links: frozenset[str] = frozenset()


class _Names(Mapping[int, str]):
    """Names of links, and what was answered to whom asked: "" where there is no link of that index."""

    def __init__(self, names: Mapping[int, str]) -> None:
        self.names = names
        self.answers: dict[int, str] = {}

    def __getitem__(self, index: int) -> str:
        name = self.answers[index] = self.names.get(index, "")
        return name

    def __iter__(self) -> Iterator[int]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


class Recall:
    """The last readings. Not for use by two threads at a time."""

    def __init__(self) -> None:
        self._readings: dict[Table, _Reading] = {}
        self._names = _Names({})

    def begin(self, names: Mapping[int, str]) -> Mapping[int, str]:
        """Begin to read all; return the names, to decode with.

        Args:
            names: of all links, by interface index; where one that was asked for has changed, all is forgotten.
        """
        if any(names.get(index, "") != name for index, name in self._names.answers.items()):
            self._readings.clear()
            self._names.answers.clear()
        self._names.names = names
        return self._names

    @property
    def links(self) -> frozenset[str]:
        """The links that the items are on."""
        return frozenset[str]().union(*(reading.links for reading in self._readings.values()))

    def decode(
        self, table: Table, bodies: Sequence[bytes], decode: Callable[[bytes], Item | None]
    ) -> Mapping[Key, Item]:
        """Return the items of a dump, which stay ours.

        Args:
            table: which dump it is.
            bodies: what was read.
            decode: returns the item of a body; None: it is not to be in the result.
        """
        last = self._readings.get(table) or _Reading()
        told = list(map(_without_clocks, bodies)) if table[0] == c.RTM_GETNEIGH else bodies
        if told != last.told:
            meanings = {}
            for octets, body in zip(told, bodies, strict=True):
                item = last.meanings.get(octets) or decode(body)
                if item is not None:
                    meanings[octets] = item
            links = frozenset(map(attrgetter("link"), meanings.values()))
            last = self._readings[table] = _Reading(told, meanings, by_key(meanings.values()), links)
        return last.items


def _without_clocks(body: bytes) -> bytes:
    """Return a neighbour without the octets that change by themselves."""
    at = attribute_at(body, c.NDA_CACHEINFO, NDMSG.size)
    return body if at < 0 else body[:at] + body[at + _CACHEINFO :]
