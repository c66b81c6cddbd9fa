"""Hypothesis drives a store and an obvious model side by side.

The model is lists and loops over a clock; what it says at any moment, the store must say: never two owners of
an address, and for every subscriber, however it came and went, its events folded together are the routes. What
the store cannot do, in the words of `ABILITIES`, the model cannot do either.
"""

from __future__ import annotations

import itertools
import math
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

from ..contracts import LeaseStore, Reserves, RouteStore
from ..errors import LeaseLost, LeaseTaken
from ..model import Lease, Prefix, Route, contains, overlaps
from .bed import Bed
from .faults import SOON
from .readers import Reader
from .supports import EVERYTHING

FOUR = [subnet for length in (28, 29, 30) for subnet in ip_network("10.0.0.0/28").subnets(new_prefix=length)]
SIX = [subnet for length in (124, 125) for subnet in ip_network("fd00::/124").subnets(new_prefix=length)]

subnets: st.SearchStrategy[tuple[Prefix, ...]] = st.one_of(
    st.tuples(st.sampled_from(FOUR)),
    st.tuples(st.sampled_from(SIX)),
    st.tuples(st.sampled_from(FOUR), st.sampled_from(SIX)),
)
prefixes = st.sampled_from(FOUR + SIX)
announcers = st.sampled_from(["a", "b", ""])
nodes = st.sampled_from(["a", "b", "c"])
ttls = st.integers(5, 20).map(float)  # a store may hold none for less than a few seconds
hops = {
    version: [ip_address(text) for text in texts]
    for version, texts in {4: ("192.0.2.1", "192.0.2.2"), 6: ("2001:db8::1", "2001:db8::2")}.items()
}
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


def close_to(actual: float | None, seconds: float) -> bool:
    """Return whether a lease's remaining time is what was asked for (a store may measure in whole seconds)."""
    return actual is not None and math.isclose(actual, seconds, abs_tol=1.5)


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
        supports: what the store can do.
        soon: seconds within which it tells what must come.
    """

    def __init__(self, bed: Bed[Any], *, supports: frozenset[str] = EVERYTHING, soon: float = SOON) -> None:
        self.open_bed = bed
        self.supports = supports
        self.soon = soon
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

    def __init__(self, bed: Bed[Any], **how: Any) -> None:
        super().__init__(bed, **how)
        self.known: list[Claimed] = []
        self.revisions: set[str] = set()

    def live(self, claimed: Claimed) -> bool:
        """Return whether its time is not over."""
        return claimed.expires is None or claimed.expires > self.now

    def forget(self, claimed: Claimed) -> None:
        """Take a lease away."""
        self.known.remove(claimed)

    @rule(seconds=st.integers(1, 10))
    def advance(self, seconds: int) -> None:
        """Let time pass; without late renewals, a lease whose time is over is gone."""
        super().advance(seconds)
        if "late renewal" not in self.supports:
            for claimed in [each for each in self.known if not self.live(each)]:
                self.forget(claimed)

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
        assert (lease.subnets, lease.node) == (subnets, node)
        self._check_written(lease, None if expires is None else expires - self.now)
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
        assert (renewed.subnets, renewed.node) == (claimed.subnets, claimed.node)
        if "renewal revisions" in self.supports or renewed.revision != lease.revision:
            self._check_written(renewed, ttl if claimed.node else None)
        claimed.revision = renewed.revision
        claimed.expires = self.now + ttl if claimed.node else None
        return renewed

    def _check_written(self, lease: Lease, ttl: float | None) -> None:
        assert lease.revision not in self.revisions, "a revision that there was before"
        self.revisions.add(lease.revision)
        assert lease.expires is None if ttl is None else close_to(lease.expires, ttl)

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
        live = {claimed.revision: claimed for claimed in self.known if self.live(claimed)}
        assert sorted((lease.revision, lease.node, lease.subnets) for lease in listed) == sorted(
            (claimed.revision, claimed.node, claimed.subnets) for claimed in live.values()
        )
        for lease in listed:
            expires = live[lease.revision].expires
            if expires is None:
                assert lease.expires is None
            elif "remaining time" in self.supports:
                assert close_to(lease.expires, expires - self.now)
            else:
                assert lease.expires is None or lease.expires > 0
        assert not any(one.overlaps(other.subnets) for one, other in itertools.combinations(listed, 2))


class RouteMachine(StoreMachine):
    """Announcements and withdrawals through two handles, and subscribers that come at any time."""

    def __init__(self, bed: Bed[Any], **how: Any) -> None:
        super().__init__(bed, **how)
        mine: dict[Prefix, tuple[Route, Claimed | None]] = {}
        # By handle; where the store is shared, two names of one table.
        self.tables = [mine, mine if "shared" in self.supports else {}]
        self.readers = [self._reader()]
        self.awake = True

    def tie(self, prefix: Prefix, node: str) -> Claimed | None:
        """Return the lease that a route stands and falls with; here there are none."""
        return None

    def speaker(self, handle: int, node: str) -> str:
        """Return the node that a handle speaks for: any, or one alone where each has routes of its own."""
        return node if "shared" in self.supports else f"n{handle}"

    @rule(handle=handles, prefix=prefixes, node=announcers, hop=st.integers(0, 1))
    def announce(self, handle: int, prefix: Prefix, node: str, hop: int) -> None:
        """Announce whatever it is, by whom it may be."""
        node = self.speaker(handle, node)
        route = Route(prefix=prefix, node=node, next_hop=hops[prefix.version][hop])
        tie = self.tie(prefix, node)
        store: RouteStore = self.stores[handle]
        store.announce(route)
        self.tables[handle][prefix] = (route, tie)

    @rule(handle=handles, prefix=prefixes, node=announcers)
    def withdraw(self, handle: int, prefix: Prefix, node: str) -> None:
        """Withdraw what may be there, and may be the node's own."""
        node = self.speaker(handle, node)
        store: RouteStore = self.stores[handle]
        store.withdraw(Route(prefix=prefix, node=node, next_hop=hops[prefix.version][0]))
        table = self.tables[handle]
        if prefix in table and table[prefix][0].node == node:
            del table[prefix]

    @precondition(lambda self: any(self.tables))
    @rule(handle=handles, data=st.data(), node=announcers)
    def withdraw_known(self, handle: int, data: st.DataObject, node: str) -> None:
        """Withdraw what is there."""
        known = {prefix for table in self.tables for prefix in table}
        self.withdraw(handle, data.draw(st.sampled_from(sorted(known, key=str))), node)

    @precondition(lambda self: len(self.readers) < 3)
    @rule()
    def subscribe(self) -> None:
        """Begin to listen, through the handle that stays open."""
        self.readers.append(self._reader())

    @rule(handle=st.just(1))
    def reopen(self, handle: int) -> None:
        """Close a handle and open another; the first one has the subscribers."""
        self.stores[handle].close()
        self.stores[handle] = self.open_bed.open()
        if "shared" not in self.supports:
            self.tables[handle].clear()

    @precondition(lambda self: self.open_bed.gap is not None)
    @rule()
    def gap(self) -> None:
        """Let every subscriber miss what it has not fetched."""
        assert self.open_bed.gap is not None
        self.open_bed.gap()

    @rule(data=st.data())
    def listen(self, data: st.DataObject) -> None:
        """A subscriber that slept as long as it liked knows everything again."""
        data.draw(st.sampled_from(self.readers)).comes_to(*self._expected())

    @rule()
    def doze(self) -> None:
        """The first subscriber falls asleep, or wakes: a reader must not be needed for time to pass."""
        self.awake = not self.awake

    @invariant()
    def one_hears_everything(self) -> None:
        """The first subscriber, while it is awake, knows what the model knows after every step."""
        if self.awake:
            self.readers[0].comes_to(*self._expected())

    def _reader(self) -> Reader:
        return Reader(self.stores[0].subscribe(), handles=self.stores, supports=self.supports, soon=self.soon)

    def _expected(self) -> list[Route]:
        return [route for table in self.tables for route, _ in table.values()]


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
        for table in self.tables:
            for prefix in [prefix for prefix, (_, tie) in table.items() if tie is not None and gone(tie)]:
                del table[prefix]

    @rule(seconds=st.integers(1, 10))
    def advance(self, seconds: int) -> None:
        """Let time pass; the routes of leases that end go."""
        super().advance(seconds)
        self._withdraw_under(lambda tie: not self.live(tie))

    @precondition(lambda self: self.known)
    @rule(handle=handles, data=st.data(), hop=st.integers(0, 1))
    def announce_leased(self, handle: int, data: st.DataObject, hop: int) -> None:
        """Announce what a lease gives, as a node does."""
        claimed = data.draw(st.sampled_from(self.known))
        for prefix in claimed.subnets:
            self.announce(handle, prefix, claimed.node, hop)
