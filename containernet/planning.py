"""From what the kernel should hold and what it holds: the operations, in order, make before break.

Pure. The order is the whole point:

1. a device that must be made anew (its kind or its parameters changed), or that sits on something the kernel
   gives out only once (a VNI), goes first: nothing else can stand beside it; and so does an address that nobody
   wants any more, where its subnet is reached through somebody else from now on: a kernel keeps a route of its
   own to the subnets of its addresses, and takes none through itself. What its link is to have instead comes
   before that: with the last IPv4 address of a link Linux drops every IPv4 route over it;
2. then everything missing or different is created or replaced, by ascending rank, so that nothing is made
   before what it stands on;
3. then everything that nobody wants any more is deleted, by descending rank.

So no prefix of a plan takes away what is in both `desired` and `actual`, but for what stands on a device that
has to be made anew. A replaced item is one operation: there is no moment without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter

import attrs

from .items import InterfaceAddress, Item, KernelRoute, Key, Link, Sysctl
from .values import shown


@attrs.frozen
class Create:
    """Make an item whose key the kernel does not hold; fails where somebody else's item has that key."""

    item: Item
    __repr__ = shown

    def __str__(self) -> str:
        return f"+ {self.item}"


@attrs.frozen
class Replace:
    """Turn our item `old` into `item`, of the same key, in one step."""

    item: Item
    old: Item
    __repr__ = shown

    def __str__(self) -> str:
        return f"~ {self.item}"


@attrs.frozen
class Delete:
    """Take our item away; that it is gone already is success."""

    item: Item
    __repr__ = shown

    def __str__(self) -> str:
        return f"- {self.item}"


Operation = Create | Replace | Delete

_RANK = attrgetter("item.rank")


def plan(desired: Mapping[Key, Item], actual: Mapping[Key, Item]) -> tuple[Operation, ...]:
    """Return the operations that turn `actual` into `desired`, in an order that breaks nothing on the way.

    Args:
        desired: what the kernel should hold, by key.
        actual: what it holds of ours, by key. Both may be the part of a larger state that an event touches,
            as long as the part is the same in both and holds every item of a link that changes.

    Returns:
        Operations, to be executed in order. Empty when nothing is to do.
    """
    if desired == actual:  # as at nearly every full read, and seen twenty times as fast
        return ()
    reborn = _links_made_anew(desired, actual)
    first = [Delete(actual[("link", name)]) for name in sorted(reborn)]
    moved = _addresses_that_moved(desired, actual)
    leaving = [actual[key] for key in moved if not _falls_with(actual[key], reborn)]
    emptied = {item.link for item in leaving}
    instead: list[Operation] = []
    make: list[Operation] = []
    for key, item in desired.items():
        there = actual.get(key)
        if there is None and isinstance(item, InterfaceAddress) and item.link in emptied:
            instead.append(Create(item))
        elif there is None or _falls_with(there, reborn):
            make.append(Create(item))
        elif item is not there and not _is_already(item, there):
            make.append(Replace(item, there))
    make.sort(key=_RANK)
    drop = [
        Delete(item)
        for key, item in actual.items()
        if key not in desired and key not in moved
        if not _falls_with(item, reborn) and not isinstance(item, Sysctl)
    ]
    drop.sort(key=_RANK, reverse=True)
    return (*first, *instead, *map(Delete, leaving), *make, *drop)


def _is_already(item: Item, actual: Item) -> bool:
    if isinstance(item, Link) and isinstance(actual, Link):
        return item.matches(actual)
    return item is actual or item == actual  # as a kernel may give back what it was given


def _links_made_anew(desired: Mapping[Key, Item], actual: Mapping[Key, Item]) -> set[str]:
    """Return the names of our links that must be deleted before anything can be created."""
    wanted = {
        item.exclusive: item.name
        for item in desired.values()
        if isinstance(item, Link) and item.exclusive is not None
    }
    names = set()
    for key, item in actual.items():
        if not isinstance(item, Link):
            continue
        successor = desired.get(key)
        changed = isinstance(successor, Link) and successor.type != item.type
        in_the_way = item.exclusive is not None and wanted.get(item.exclusive, item.name) != item.name
        if changed or in_the_way:
            names.add(item.name)
    return names


def _addresses_that_moved(desired: Mapping[Key, Item], actual: Mapping[Key, Item]) -> list[Key]:
    """Return the keys of our addresses that nobody wants any more, in the way of a wanted route."""
    leaving = [
        (key, item.address)
        for key, item in actual.items()
        if isinstance(item, InterfaceAddress) and key not in desired
    ]
    if not leaving:
        return []  # as nearly always: what follows looks at every route
    routes = [item for item in desired.values() if isinstance(item, KernelRoute)]
    gateways = {path.gateway for route in routes for path in route.paths}
    destinations = {route.destination for route in routes}
    return [key for key, own in leaving if own.ip in gateways or own.network in destinations]


def _falls_with(item: Item, links: set[str]) -> bool:
    """Return whether the kernel drops the item by itself when those links go."""
    return bool(links) and (item.link in links or getattr(item, "bridge", "") in links)
