"""What a reader of the network's keys knows, and which events tell it on. Pure.

Two kinds of key tell of routes. A record under `subnets` is flannel's: its subnets, and where they live. A
key under `routes` is ours, for what no record can say; where both tell of one prefix it goes before the
record, on every host alike. Two records of one prefix, which only somebody's hand can make, are told apart by
their keys.

A record that does not parse is set aside and removes nothing: what its key said before goes on to be true,
until it is mended or gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import attrs

from containernet.events import Announced, Event, Quarantined, Snapshot, Withdrawn
from containernet.model import Prefix, Route

from . import records
from .messages import KeyValue
from .moments import Moment
from .records import Reading

SHOWN = 200  # characters of a key's name

Part = tuple[bytes, bytes]  # a range of keys: the first, and the first behind
Read = Callable[[KeyValue], Reading]  # raises BadRecord


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

    def read(self, kv: KeyValue) -> Reading:
        """Return what a record says.

        Raises:
            BadRecord: it is none.
        """
        return records.read(text(kv.key, self.subnets), kv.value)


def after(prefix: bytes) -> bytes:
    """Return the first key behind all that begin with `prefix`."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


def text(key: bytes, under: bytes = b"") -> str:
    """Return a key, or what of it follows `under`, as text; whatever it is, it can be printed."""
    return key[len(under) :].decode(errors="backslashreplace")


def _short(name: str) -> str:
    """Return the name of a key for people; etcd takes keys of a megabyte."""
    return name if len(name) <= SHOWN else f"{name[:SHOWN]}... ({len(name)} characters)"


class _Kept(NamedTuple):
    """What is kept of a key: enough to know it again, and the routes that it told when it was read last."""

    mod_revision: int
    digest: int  # of value and lease: 64 bits, salted by this process
    routes: tuple[Route, ...]


class View:
    """Every route that is told, by the key that tells it.

    `revision` is that of the last change that was folded in, `cluster` and `term` are those of who told it.
    """

    def __init__(self, keys: Keys) -> None:
        self.revision = self.cluster = self.term = 0
        self._keys = keys
        self._kept: dict[bytes, _Kept] = {}
        # The keys that tell of a prefix, in order: b".../routes/..." comes before b".../subnets/...".
        self._tellers: dict[Prefix, tuple[bytes, ...]] = {}
        self._set_aside: dict[bytes, Quarantined] = {}

    @property
    def moment(self) -> Moment:
        """How far in which history it is."""
        return Moment(cluster=self.cluster, term=self.term, revision=self.revision)

    def load(self, listed: Iterable[KeyValue], *, moment: Moment, read: Read | None = None) -> Snapshot:
        """Forget everything and take what a list at a moment shows.

        Args:
            read: reads a record, if not `Keys.read`.
        """
        before, self._kept, self._tellers, self._set_aside = self._kept, {}, {}, {}
        for each in listed:
            routes = self._parse(each, read or self._keys.read)
            if routes is None:  # what cannot be read now was perhaps read before
                routes = before[each.key].routes if each.key in before else ()
            self._keep(each, routes)
        self.cluster, self.term, self.revision = moment.cluster, moment.term, moment.revision
        return self.snapshot()

    def put(self, changed: KeyValue) -> list[Event]:
        """Fold a written key in."""
        self.revision = changed.mod_revision
        mended = self._set_aside.pop(changed.key, None)
        routes = self._parse(changed, self._keys.read)
        if routes is None:
            self._keep(changed, self._told(changed.key))
            return [self._set_aside[changed.key]]
        events = self._change(changed.key, routes, changed)
        return [*events, attrs.evolve(mended, reason="")] if mended else events

    def delete(self, key: bytes, *, revision: int) -> list[Event]:
        """Fold a deleted key in."""
        self.revision = revision
        mended = self._set_aside.pop(key, None)
        events = self._change(key, (), None)
        return [*events, attrs.evolve(mended, reason="")] if mended else events

    def snapshot(self) -> Snapshot:
        """Return everything that is told."""
        routes = [self._first(prefix, tellers) for prefix, tellers in self._tellers.items()]
        return Snapshot(routes=routes, quarantined=self._set_aside.values())

    def like(self, newest: Iterable[KeyValue], *, count: int) -> bool:
        """Return whether there are `count` keys in all, and `newest` is one of those written last."""
        last = max((kept.mod_revision for kept in self._kept.values()), default=0)
        return count == len(self._kept) and all(
            each.mod_revision == last
            and (kept := self._kept.get(each.key)) is not None
            and (kept.mod_revision, kept.digest) == (each.mod_revision, _digest(each))
            for each in newest
        )

    def _parse(self, each: KeyValue, read: Read) -> tuple[Route, ...] | None:
        """Return what a key tells, nothing if it is none of ours; None: it was set aside."""
        try:
            if each.key.startswith(self._keys.subnets):
                return read(each).routes
            if each.key.startswith(self._keys.routes):
                return (records.decode_route(text(each.key, self._keys.routes), each.value),)
        except records.BadRecord as error:
            name = _short(text(each.key))
            self._set_aside[each.key] = Quarantined(key=name, reason=str(error))
            return None
        return ()

    def _change(self, key: bytes, routes: tuple[Route, ...], kv: KeyValue | None) -> list[Event]:
        """Let a key tell of other routes; None: it is gone."""
        old = self._told(key)
        prefixes = dict.fromkeys(route.prefix for route in (*old, *routes)) if routes != old else {}
        before = {prefix: self._best(prefix) for prefix in prefixes}
        if kv is None:
            self._unsay(key)
            self._kept.pop(key, None)
        else:
            self._keep(kv, routes)
        events: list[Event] = []
        for prefix in prefixes:
            best = self._best(prefix)
            if best != before[prefix]:
                events.append(Withdrawn(prefix=prefix) if best is None else Announced(route=best))
        return events

    def _told(self, key: bytes) -> tuple[Route, ...]:
        kept = self._kept.get(key)
        return () if kept is None else kept.routes

    def _keep(self, kv: KeyValue, routes: tuple[Route, ...]) -> None:
        if self._told(kv.key) is not routes:
            self._unsay(kv.key)
            alone = (kv.key,)
            for route in routes:
                tellers = self._tellers.setdefault(route.prefix, alone)  # the hash of a prefix is dear
                if tellers is not alone:
                    self._tellers[route.prefix] = tuple(sorted((*alone, *tellers)))
        self._kept[kv.key] = _Kept(kv.mod_revision, _digest(kv), routes)

    def _unsay(self, key: bytes) -> None:
        for route in self._told(key):
            others = tuple(each for each in self._tellers.pop(route.prefix) if each != key)
            if others:
                self._tellers[route.prefix] = others

    def _best(self, prefix: Prefix) -> Route | None:
        tellers = self._tellers.get(prefix)
        return None if tellers is None else self._first(prefix, tellers)

    def _first(self, prefix: Prefix, tellers: tuple[bytes, ...]) -> Route:
        routes = self._kept[tellers[0]].routes
        return routes[0] if len(routes) == 1 else next(each for each in routes if each.prefix == prefix)


def _digest(kv: KeyValue) -> int:
    return hash((kv.value, kv.lease))
