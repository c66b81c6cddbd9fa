"""What a reader of the network's keys knows, and which events tell it on. Pure.

Two kinds of key tell of routes. A record under `subnets` is flannel's: its subnets, and where they live. A
key under `routes` is ours, for what no record can say; where both tell of one prefix it goes before the
record, on every host alike. Two records of one prefix, which only somebody's hand can make, are told apart by
their keys.

A record that does not parse is set aside and removes nothing: what its key said before goes on to be true,
until it is mended or gone.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from containernet.events import Announced, Event, Quarantined, Snapshot, Withdrawn
from containernet.model import Prefix, Route

from . import records
from .messages import KeyValue
from .moments import Moment

SHOWN = 200  # characters of a key's name

Part = tuple[bytes, bytes]  # a range of keys: the first, and the first behind


class Keys:
    """Where the network's keys lie, under one prefix.

    Args:
        prefix: without a slash at its end.

    Three ranges are asked for: `settings` is the one key `config`; `records` are flannel's, a host's lease
    each; `told` holds both kinds of key that tell of routes. `everything` is all of them, and between them
    nothing of ours.
    """

    def __init__(self, prefix: str) -> None:
        self.config = f"{prefix}/config".encode()
        self.subnets = f"{prefix}/subnets/".encode()
        self.routes = f"{prefix}/routes/".encode()
        end = after(self.subnets)
        self.settings: Part = (self.config, self.config + b"\0")
        self.records: Part = (self.subnets, end)
        self.told: Part = (self.routes, end)
        self.everything: Part = (self.config, end)


def after(prefix: bytes) -> bytes:
    """Return the first key behind all that begin with `prefix`."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


def text(key: bytes, under: bytes = b"") -> str:
    """Return a key, or what of it follows `under`, as text; whatever it is, it can be printed."""
    return key[len(under) :].decode(errors="backslashreplace")


def _short(name: str) -> str:
    """Return the name of a key for people; etcd takes keys of a megabyte."""
    return name if len(name) <= SHOWN else f"{name[:SHOWN]}... ({len(name)} characters)"


class View:
    """Every route that is told, by the key that tells it.

    `revision` is that of the last change that was folded in, `cluster` and `term` are those of who told it.
    """

    def __init__(self, keys: Keys) -> None:
        self.revision = self.cluster = self.term = 0
        self._keys = keys
        self._there: dict[bytes, KeyValue] = {}
        self._told: dict[bytes, tuple[Route, ...]] = {}
        self._by_prefix: dict[Prefix, dict[bytes, Route]] = {}
        self._set_aside: dict[bytes, Quarantined] = {}

    @property
    def moment(self) -> Moment:
        """How far in which history it is."""
        return Moment(cluster=self.cluster, term=self.term, revision=self.revision)

    def load(self, listed: Iterable[KeyValue], *, moment: Moment) -> Snapshot:
        """Forget everything and take what a list at a moment shows."""
        before, self._told, self._by_prefix, self._set_aside = self._told, {}, {}, {}
        self._there = {each.key: each for each in listed}
        for each in self._there.values():
            routes = self._parse(each)
            # What cannot be read now was perhaps read before.
            self._hold(each.key, before.get(each.key, ()) if routes is None else routes)
        self.cluster, self.term, self.revision = moment.cluster, moment.term, moment.revision
        return self.snapshot()

    def put(self, changed: KeyValue) -> list[Event]:
        """Fold a written key in."""
        self.revision = changed.mod_revision
        self._there[changed.key] = changed
        mended = self._set_aside.pop(changed.key, None)
        routes = self._parse(changed)
        if routes is None:
            return [self._set_aside[changed.key]]
        events = self._change(changed.key, routes)
        return [*events, attrs.evolve(mended, reason="")] if mended else events

    def delete(self, key: bytes, *, revision: int) -> list[Event]:
        """Fold a deleted key in."""
        self.revision = revision
        self._there.pop(key, None)
        mended = self._set_aside.pop(key, None)
        events = self._change(key, ())
        return [*events, attrs.evolve(mended, reason="")] if mended else events

    def snapshot(self) -> Snapshot:
        """Return everything that is told."""
        routes = [route for prefix in self._by_prefix if (route := self._best(prefix)) is not None]
        return Snapshot(routes=routes, quarantined=self._set_aside.values())

    def like(self, newest: Iterable[KeyValue], *, count: int) -> bool:
        """Return whether there are `count` keys in all, and `newest` is one of those written last."""
        last = max((each.mod_revision for each in self._there.values()), default=0)
        return count == len(self._there) and all(
            each.mod_revision == last and self._there.get(each.key) == each for each in newest
        )

    def _parse(self, each: KeyValue) -> tuple[Route, ...] | None:
        """Return what a key tells, nothing if it is none of ours; None: it was set aside."""
        try:
            if each.key.startswith(self._keys.routes):
                return (records.decode_route(text(each.key, self._keys.routes), each.value),)
            if each.key.startswith(self._keys.subnets):
                return records.routes(records.decode(text(each.key, self._keys.subnets), each.value))
        except records.BadRecord as error:
            name = _short(text(each.key))
            self._set_aside[each.key] = Quarantined(key=name, reason=str(error))
            return None
        return ()

    def _change(self, key: bytes, routes: tuple[Route, ...]) -> list[Event]:
        old = self._told.get(key, ())
        if routes == old:
            return []
        prefixes = dict.fromkeys(route.prefix for route in (*old, *routes))
        before = {prefix: self._best(prefix) for prefix in prefixes}
        self._hold(key, routes)
        events: list[Event] = []
        for prefix in prefixes:
            best = self._best(prefix)
            if best != before[prefix]:
                events.append(Withdrawn(prefix=prefix) if best is None else Announced(route=best))
        return events

    def _hold(self, key: bytes, routes: tuple[Route, ...]) -> None:
        for route in self._told.pop(key, ()):
            told = self._by_prefix[route.prefix]
            del told[key]
            if not told:
                del self._by_prefix[route.prefix]
        if routes:
            self._told[key] = routes
        for route in routes:
            self._by_prefix.setdefault(route.prefix, {})[key] = route

    def _best(self, prefix: Prefix) -> Route | None:
        told = self._by_prefix.get(prefix)
        # b".../routes/..." comes before b".../subnets/...".
        return told[min(told)] if told else None
