"""Leases and routes in this process's memory: for tests, for simulations, and as the shortest true store.

It promises what every store promises, with the plainest means: one lock, lists that are searched from end to
end, and a condition that wakes the subscribers. What it holds ends with the process.

Stores made without a name are apart from each other. Stores made with one name share what they hold, as long as
one of them is referenced; closing one leaves the others alone.
"""

from __future__ import annotations

import itertools
import threading
import time
import weakref
from collections.abc import Sequence
from typing import Self

import attrs

from containernet.contracts import Options
from containernet.errors import StoreUnavailable
from containernet.events import Announced, Event, Snapshot, Withdrawn
from containernet.model import Lease, NetworkConfig, Prefix, Route, contains
from containernet.options import build
from containernet.values import shown

from .leasing import Clock, boot_clock, check_claim, check_subnets, check_ttl, lost, taken

_Range = tuple[int, int, int]


def _ranges(subnets: Sequence[Prefix]) -> list[_Range]:
    """Return family, first and last address of each subnet: a tenth of the price of comparing the objects."""
    return [(each.version, int(each.network_address), int(each.broadcast_address)) for each in subnets]


@attrs.define(kw_only=True, eq=False)
class _Held:
    """A lease as the store keeps it. `expires` is the clock's time; None: a reservation."""

    subnets: tuple[Prefix, ...]
    node: str
    expires: float | None
    revision: str
    ended: bool = False
    _ranges: Sequence[_Range] = attrs.field(init=False)
    __repr__ = shown

    def __attrs_post_init__(self) -> None:
        self._ranges = _ranges(self.subnets)

    def overlaps(self, ranges: Sequence[_Range]) -> bool:
        return any(
            mine[0] == other[0] and mine[1] <= other[2] and other[1] <= mine[2]
            for mine in self._ranges
            for other in ranges
        )

    def lease(self, now: float) -> Lease:
        remaining = None if self.expires is None else self.expires - now
        return Lease(subnets=self.subnets, node=self.node, expires=remaining, revision=self.revision)


class _Memory:
    """What stores of one name share. Whoever touches it holds `changed`."""

    def __init__(self, now: Clock) -> None:
        self.now = now
        self.changed = threading.Condition()
        self.network: NetworkConfig | None = None
        self.held: list[_Held] = []
        self.routes: dict[Prefix, tuple[Route, _Held | None]] = {}
        self.subscriptions: weakref.WeakSet[MemorySubscription] = weakref.WeakSet()
        self._revisions = itertools.count(1)

    def revision(self) -> str:
        return str(next(self._revisions))

    def expire(self) -> None:
        """Mark the leases whose time is over, and withdraw their routes."""
        now = self.now()
        for held in self.held:
            if not held.ended and held.expires is not None and held.expires <= now:
                held.ended = True
                self.withdraw_under(held)

    def next_end(self) -> float | None:
        ends = (held.expires for held in self.held if not held.ended and held.expires is not None)
        return min(ends, default=None)

    def find(self, lease: Lease) -> _Held:
        for held in self.held:
            if held.revision == lease.revision:
                return held
        raise lost(lease)

    def remove(self, held: _Held) -> None:
        self.withdraw_under(held)
        self.held.remove(held)

    def withdraw_under(self, held: _Held) -> None:
        for prefix in [prefix for prefix, (_, tie) in self.routes.items() if tie is held]:
            self.withdraw(prefix)

    def withdraw(self, prefix: Prefix) -> None:
        del self.routes[prefix]
        self.tell(prefix, Withdrawn(prefix=prefix))

    def covering(self, route: Route) -> _Held | None:
        for held in self.held:
            covers = any(contains(subnet, route.prefix) for subnet in held.subnets)
            if covers and route.node and held.node == route.node and not held.ended:
                return held
        return None

    def tell(self, prefix: Prefix, event: Event) -> None:
        for subscription in self.subscriptions:
            subscription.hear(prefix, event)
        self.changed.notify_all()


class MemorySubscription:
    """One reader. Of several changes of one prefix that it has not fetched yet it is told the last."""

    def __init__(self, memory: _Memory) -> None:
        self._memory = memory
        self._begun = False
        self._closed = False
        self._pending: dict[Prefix, Event] = {}

    def hear(self, prefix: Prefix, event: Event) -> None:
        """Remember a change; the caller holds the memory's lock."""
        if self._begun:
            self._pending.pop(prefix, None)
            self._pending[prefix] = event

    def next_event(self, timeout: float) -> Event | None:
        """Wait up to `timeout` seconds for the next event; None: nothing happened, or it was closed."""
        deadline = time.monotonic() + timeout
        with self._memory.changed:
            while not self._closed:
                event = self._take()
                remaining = deadline - time.monotonic()
                if event is not None or remaining <= 0:
                    return event
                self._memory.changed.wait(self._sleep(remaining))
            return None

    def close(self) -> None:
        """End the subscription; wakes a waiting `next_event`. May be called twice."""
        with self._memory.changed:
            self._closed = True
            self._memory.subscriptions.discard(self)
            self._memory.changed.notify_all()

    def _take(self) -> Event | None:
        self._memory.expire()
        if not self._begun:
            self._begun = True
            return Snapshot(routes=[route for route, _ in self._memory.routes.values()])
        for prefix in self._pending:
            return self._pending.pop(prefix)
        return None

    def _sleep(self, remaining: float) -> float:
        end = self._memory.next_end()
        return remaining if end is None else max(0.0, min(remaining, end - self._memory.now()))


@attrs.frozen(kw_only=True)
class MemoryOptions:
    """The table [store.memory].

    Args:
        name: stores of one name share what they hold; empty: this store is alone.
    """

    name: str = ""
    __repr__ = shown


_named: weakref.WeakValueDictionary[str, _Memory] = weakref.WeakValueDictionary()
_naming = threading.Lock()


class MemoryStore:
    """LeaseStore, RouteStore, ConfiguresNetwork and Reserves without I/O; threads may share it.

    Args:
        now: the clock by which leases end, seconds; the stores of one name use that of the first.
        name: stores of one name share what they hold; empty: this store is alone.
    """

    def __init__(self, *, now: Clock = boot_clock, name: str = "") -> None:
        with _naming:
            self._memory = _named.setdefault(name, _Memory(now)) if name else _Memory(now)
        self._closed = False
        self._subscriptions: weakref.WeakSet[MemorySubscription] = weakref.WeakSet()

    @classmethod
    def from_options(cls, options: Options) -> Self:
        """Build the store from [store.memory]: `name`."""
        return cls(name=build(MemoryOptions, options, table="store.memory").name)

    def network(self) -> NetworkConfig | None:
        """Return the network's configuration, or None."""
        with self._memory.changed:
            return self._open().network

    def configure(self, network: NetworkConfig) -> NetworkConfig:
        """Store the configuration if there is none; return the one that stands."""
        with self._memory.changed:
            memory = self._open()
            memory.network = memory.network or network
            return memory.network

    def leases(self) -> Sequence[Lease]:
        """Return all live leases and reservations."""
        with self._memory.changed:
            memory, now = self._open(), self._memory.now()
            return [held.lease(now) for held in memory.held if not held.ended]

    def claim(self, subnets: tuple[Prefix, ...], node: str, ttl: float) -> Lease:
        """Take `subnets` for `node`, or raise LeaseTaken."""
        check_claim(subnets, node, ttl)
        return self._take(subnets, node, ttl)

    def reserve(self, subnets: tuple[Prefix, ...]) -> Lease:
        """Set `subnets` aside, or raise LeaseTaken."""
        check_subnets(subnets)
        return self._take(subnets, "", None)

    def renew(self, lease: Lease, ttl: float) -> Lease:
        """Extend exactly this revision, or raise LeaseLost; a reservation keeps having no end."""
        check_ttl(ttl)
        with self._memory.changed:
            held = self._open().find(lease)
            return self._extend(held, ttl if held.node else None)

    def release(self, lease: Lease) -> None:
        """Give back exactly this revision, with its routes, or raise LeaseLost."""
        with self._memory.changed:
            memory = self._open()
            memory.remove(memory.find(lease))

    def announce(self, route: Route) -> None:
        """Tell everybody; ends with the node's lease if the prefix lies in one that lives now."""
        with self._memory.changed:
            memory = self._open()
            known = memory.routes.get(route.prefix)
            memory.routes[route.prefix] = (route, memory.covering(route))
            if known is None or known[0] != route:
                memory.tell(route.prefix, Announced(route=route))

    def withdraw(self, route: Route) -> None:
        """Take the announcement back if it is still the node's own."""
        with self._memory.changed:
            memory = self._open()
            known = memory.routes.get(route.prefix)
            if known is not None and known[0].node == route.node:
                memory.withdraw(route.prefix)

    def subscribe(self) -> MemorySubscription:
        """Begin to listen."""
        with self._memory.changed:
            subscription = MemorySubscription(self._open())
            self._memory.subscriptions.add(subscription)
            self._subscriptions.add(subscription)
            return subscription

    def close(self) -> None:
        """End this store's subscriptions; may be called twice."""
        self._closed = True
        for subscription in list(self._subscriptions):
            subscription.close()

    def _open(self) -> _Memory:
        if self._closed:
            raise StoreUnavailable("this store was closed; open another")
        self._memory.expire()
        return self._memory

    def _take(self, subnets: tuple[Prefix, ...], node: str, ttl: float | None) -> Lease:
        with self._memory.changed:
            memory = self._open()
            own = next((held for held in memory.held if node and held.node == node), None)
            ranges = _ranges(subnets)
            others = [held for held in memory.held if held is not own and held.overlaps(ranges)]
            for held in others:
                if not held.ended:
                    raise taken(subnets, held.lease(memory.now()))
            for held in others:
                memory.remove(held)
            if own is not None and set(own.subnets) == set(subnets):
                return self._extend(own, ttl)  # routes under it stay: a restart loses no packet
            if own is not None:
                memory.remove(own)
            new = _Held(subnets=subnets, node=node, expires=None, revision="")
            memory.held.append(new)
            return self._extend(new, ttl)

    def _extend(self, held: _Held, ttl: float | None) -> Lease:
        now = self._memory.now()
        held.expires = None if ttl is None else now + ttl
        held.ended = False
        held.revision = self._memory.revision()
        self._memory.changed.notify_all()  # sleepers sleep until the next end, which may have moved
        return held.lease(now)
