"""Hypothesis drives a store and an obvious model side by side.

The model is lists and loops over a clock; what it says at any moment, the store must say: never two owners of
an address, and for every subscriber, however it came and went, its events folded together are the routes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from typing import Any

import attrs
from hypothesis import settings, strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ..contracts import LeaseStore, Reserves, RouteStore, Subscription
from ..errors import LeaseLost, LeaseTaken
from ..events import Announced, Snapshot, Withdrawn
from ..model import Lease, Prefix, Route, contains, overlaps
from .bed import Bed

FOUR = [subnet for length in (30, 31, 32) for subnet in ip_network("10.0.0.0/30").subnets(new_prefix=length)]
SIX = [subnet for length in (124, 125) for subnet in ip_network("fd00::/124").subnets(new_prefix=length)]

subnets: st.SearchStrategy[tuple[Prefix, ...]] = st.one_of(
    st.tuples(st.sampled_from(FOUR)),
    st.tuples(st.sampled_from(SIX)),
    st.tuples(st.sampled_from(FOUR), st.sampled_from(SIX)),
)
prefixes = st.sampled_from(FOUR + SIX)
announcers = st.sampled_from(["a", "b", ""])
nodes = st.sampled_from(["a", "b", "c"])
ttls = st.integers(1, 20).map(float)
handles = st.integers(0, 1)


@attrs.define(kw_only=True, eq=False)
class Claimed:
    """A lease in the model. It stays when its time is over, until somebody wants its subnets."""

    subnets: tuple[Prefix, ...]
    node: str
    expires: float | None
    revision: str

    def overlaps(self, others: tuple[Prefix, ...]) -> bool:
        """Return whether an address is in both."""
        return any(overlaps(mine, other) for mine in self.subnets for other in others)

    def covers(self, prefix: Prefix) -> bool:
        """Return whether every address of `prefix` is in it."""
        return any(contains(mine, prefix) for mine in self.subnets)


class Reader:
    """A subscription, and what its events add up to."""

    def __init__(self, subscription: Subscription) -> None:
        self.subscription = subscription
        self.known: dict[Prefix, Route] = {}

    def read(self) -> dict[Prefix, Route]:
        """Read all events that there are, and return what is known then."""
        while (event := self.subscription.next_event(0)) is not None:
            match event:
                case Snapshot(routes=routes):
                    self.known = {route.prefix: route for route in routes}
                case Announced(route=route):
                    self.known[route.prefix] = route
                case Withdrawn(prefix=prefix):
                    self.known.pop(prefix, None)
                case _:
                    raise AssertionError(event)
        return self.known


Outcome = Lease | MultipleResults[Lease]  # a refused call adds nothing to the bundle


def run(make: Callable[[], RuleBasedStateMachine], *, examples: int = 10_000) -> None:
    """Run a machine as the test of this moment; `make` is called for every example.

    Args:
        make: returns a new machine.
        examples: how many at most, where Hypothesis' profile says more.
    """
    test: Any = run_state_machine_as_test
    most = min(examples, settings().max_examples)
    test(make, settings=settings(max_examples=most, stateful_step_count=40, deadline=None))


class StoreMachine(RuleBasedStateMachine):
    """One store, of which two handles are open.

    Args:
        bed: with a store that is empty; the machine closes it.
    """

    def __init__(self, bed: Bed[Any]) -> None:
        self.open_bed = bed
        self.stores = [bed.open(), bed.open()]
        self.now = 0.0
        super().__init__()

    def teardown(self) -> None:
        """Close what was opened."""
        for store in self.stores:
            store.close()
        self.open_bed.close()

    @rule(seconds=st.integers(1, 10))
    def advance(self, seconds: int) -> None:
        """Let time pass."""
        self.now += seconds
        self.open_bed.advance(seconds)


class LeaseMachine(StoreMachine):
    """Claims, reservations, renewals, releases, in any order, by three nodes through two handles."""

    leases = Bundle("leases")

    def __init__(self, bed: Bed[Any]) -> None:
        super().__init__(bed)
        self.known: list[Claimed] = []

    def live(self, claimed: Claimed) -> bool:
        """Return whether its time is not over."""
        return claimed.expires is None or claimed.expires > self.now

    def forget(self, claimed: Claimed) -> None:
        """Take a lease away."""
        self.known.remove(claimed)

    @rule(target=leases, handle=handles, subnets=subnets, node=nodes, ttl=ttls)
    def claim(self, handle: int, subnets: tuple[Prefix, ...], node: str, ttl: float) -> Outcome:
        """Claim, for a node with or without a lease."""
        store: LeaseStore = self.stores[handle]
        return self._take(subnets, node, self.now + ttl, lambda: store.claim(subnets, node, ttl))

    @precondition(lambda self: isinstance(self.stores[0], Reserves))
    @rule(target=leases, handle=handles, subnets=subnets)
    def reserve(self, handle: int, subnets: tuple[Prefix, ...]) -> Outcome:
        """Set aside."""
        store: Reserves = self.stores[handle]
        return self._take(subnets, "", None, lambda: store.reserve(subnets))

    def _take(
        self, subnets: tuple[Prefix, ...], node: str, expires: float | None, call: Callable[[], Lease]
    ) -> Outcome:
        own = next((claimed for claimed in self.known if node and claimed.node == node), None)
        others = [claimed for claimed in self.known if claimed is not own and claimed.overlaps(subnets)]
        try:
            lease = call()
        except LeaseTaken:
            assert any(self.live(claimed) for claimed in others)
            return multiple()
        assert not any(self.live(claimed) for claimed in others)
        for claimed in others:
            self.forget(claimed)
        if own is not None and own.subnets == subnets:
            own.expires, own.revision = expires, lease.revision
        else:
            if own is not None:
                self.forget(own)
            self.known.append(
                Claimed(subnets=subnets, node=node, expires=expires, revision=lease.revision),
            )
        return lease

    @rule(target=leases, handle=handles, lease=leases, ttl=ttls)
    def renew(self, handle: int, lease: Lease, ttl: float) -> Outcome:
        """Renew any lease that there ever was."""
        claimed = self._standing(lease)
        try:
            renewed: Lease = self.stores[handle].renew(lease, ttl)
        except LeaseLost:
            assert claimed is None
            return multiple()
        assert claimed is not None
        claimed.revision = renewed.revision
        claimed.expires = self.now + ttl if claimed.node else None
        return renewed

    @rule(handle=handles, lease=consumes(leases))
    def release(self, handle: int, lease: Lease) -> None:
        """Release any lease that there ever was."""
        claimed = self._standing(lease)
        try:
            self.stores[handle].release(lease)
        except LeaseLost:
            assert claimed is None
        else:
            assert claimed is not None
            self.forget(claimed)

    def _standing(self, lease: Lease) -> Claimed | None:
        return next((claimed for claimed in self.known if claimed.revision == lease.revision), None)

    @rule(handle=handles)
    def reopen(self, handle: int) -> None:
        """Close a handle and open another."""
        self.stores[handle].close()
        self.stores[handle] = self.open_bed.open()

    @invariant()
    def same_leases(self) -> None:
        """The store lists what the model knows to be live, and no address has two owners."""
        listed = list(self.stores[0].leases())
        assert {(lease.node, lease.subnets, lease.expires, lease.revision) for lease in listed} == {
            (c.node, c.subnets, None if c.expires is None else c.expires - self.now, c.revision)
            for c in self.known
            if self.live(c)
        }
        assert not any(one.overlaps(other.subnets) for one, other in itertools.combinations(listed, 2))


class RouteMachine(StoreMachine):
    """Announcements and withdrawals through two handles, and subscribers that come at any time."""

    def __init__(self, bed: Bed[Any]) -> None:
        super().__init__(bed)
        self.routes: dict[Prefix, tuple[Route, Claimed | None]] = {}
        self.readers = [Reader(self.stores[0].subscribe())]
        self.awake = True

    def tie(self, prefix: Prefix, node: str) -> Claimed | None:
        """Return the lease that a route stands and falls with; here there are none."""
        return None

    @rule(handle=handles, prefix=prefixes, node=announcers, hop=st.booleans())
    def announce(self, handle: int, prefix: Prefix, node: str, hop: bool) -> None:
        """Announce whatever it is, by whom it may be."""
        route = Route(prefix=prefix, node=node, next_hop=ip_address("192.0.2.1" if hop else "2001:db8::1"))
        tie = self.tie(prefix, node)
        store: RouteStore = self.stores[handle]
        store.announce(route)
        self.routes[prefix] = (route, tie)

    @rule(handle=handles, prefix=prefixes, node=announcers)
    def withdraw(self, handle: int, prefix: Prefix, node: str) -> None:
        """Withdraw what may be there, and may be the node's own."""
        store: RouteStore = self.stores[handle]
        store.withdraw(Route(prefix=prefix, node=node, next_hop=ip_address("192.0.2.9")))
        if prefix in self.routes and self.routes[prefix][0].node == node:
            del self.routes[prefix]

    @precondition(lambda self: self.routes)
    @rule(handle=handles, data=st.data(), node=announcers)
    def withdraw_known(self, handle: int, data: st.DataObject, node: str) -> None:
        """Withdraw what is there."""
        self.withdraw(handle, data.draw(st.sampled_from(sorted(self.routes, key=str))), node)

    @precondition(lambda self: len(self.readers) < 3)
    @rule()
    def subscribe(self) -> None:
        """Begin to listen, through the handle that stays open."""
        self.readers.append(Reader(self.stores[0].subscribe()))

    @rule(handle=st.just(1))
    def reopen(self, handle: int) -> None:
        """Close a handle and open another; the first one has the subscribers."""
        self.stores[handle].close()
        self.stores[handle] = self.open_bed.open()

    @rule(data=st.data())
    def listen(self, data: st.DataObject) -> None:
        """A subscriber that slept as long as it liked knows everything again."""
        assert data.draw(st.sampled_from(self.readers)).read() == self._expected()

    @rule()
    def doze(self) -> None:
        """The first subscriber falls asleep, or wakes: a reader must not be needed for time to pass."""
        self.awake = not self.awake

    @invariant()
    def one_hears_everything(self) -> None:
        """The first subscriber, while it is awake, knows what the model knows after every step."""
        if self.awake:
            assert self.readers[0].read() == self._expected()

    def _expected(self) -> dict[Prefix, Route]:
        return {prefix: route for prefix, (route, _) in self.routes.items()}


class BoundRouteMachine(RouteMachine, LeaseMachine):
    """Both at once: routes under the leases and beside them."""

    def tie(self, prefix: Prefix, node: str) -> Claimed | None:
        """Return the node's own lease, if it lives and covers the prefix."""
        ties = [c for c in self.known if node and c.node == node and self.live(c) and c.covers(prefix)]
        return ties[0] if ties else None

    def forget(self, claimed: Claimed) -> None:
        """Take a lease away, with its routes."""
        super().forget(claimed)
        self._withdraw_under(lambda tie: tie is claimed)

    def _withdraw_under(self, gone: Callable[[Claimed], bool]) -> None:
        self.routes = {
            prefix: (route, tie) for prefix, (route, tie) in self.routes.items() if tie is None or not gone(tie)
        }

    @rule(seconds=st.integers(1, 10))
    def advance(self, seconds: int) -> None:
        """Let time pass; the routes of leases that end go."""
        super().advance(seconds)
        self._withdraw_under(lambda tie: not self.live(tie))

    @precondition(lambda self: self.known)
    @rule(handle=handles, data=st.data(), hop=st.booleans())
    def announce_leased(self, handle: int, data: st.DataObject, hop: bool) -> None:
        """Announce what a lease gives, as a node does."""
        claimed = data.draw(st.sampled_from(self.known))
        for prefix in claimed.subnets:
            self.announce(handle, prefix, claimed.node, hop)
