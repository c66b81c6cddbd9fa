"""What every lease store and route store must do, as tests that any store can run.

A store inherits the suite of every contract that it fulfils: each ability is a Protocol of its own, and has a
suite of its own. That none is forgotten is a test too. One of leases and routes also inherits
`BoundRoutesContract`.

Nothing here sleeps to see whether something happens: what must come is waited for, and what must not come is
shown by what comes next.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address, ip_network
from typing import Generic, Protocol

import attrs

from ..contracts import ConfiguresNetwork, LeaseStore, Reserves, RouteStore, Subscription
from ..errors import ConfigError, LeaseLost, LeaseTaken
from ..events import Announced, Event, Snapshot, Withdrawn
from ..model import Lease, NetworkConfig, Pool, Prefix, Route, Tunnel
from .bed import Bed, Closes, StoreT_co, refused as refused
from .faults import SOON
from .machines import BoundRouteMachine, LeaseMachine, RouteMachine, run


class Store(LeaseStore, RouteStore, Protocol):
    """One backend for both."""


class ReservingStore(LeaseStore, Reserves, Protocol):
    """A lease store with reservations."""


class ConfiguredStore(LeaseStore, ConfiguresNetwork, Protocol):
    """A lease store that holds the network's configuration."""


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        """Return the time, seconds."""
        return self.time

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass."""
        self.time += seconds


class Contract(Generic[StoreT_co]):
    """Opens the bed before each test and closes every handle after it."""

    def bed(self) -> Bed[StoreT_co]:
        """Return a bed whose store is empty."""
        raise NotImplementedError

    def setup_method(self) -> None:
        """Make the bed; the test runner calls this."""
        self._bed = self.bed()
        self._opened: list[Closes] = []

    def teardown_method(self) -> None:
        """Close what the test opened."""
        for handle in self._opened:
            handle.close()
        self._bed.close()

    def open(self) -> StoreT_co:
        """Return a new handle; it is closed after the test."""
        handle = self._bed.open()
        self._opened.append(handle)
        return handle

    def advance(self, seconds: float) -> None:
        """Let time pass for the store."""
        self._bed.advance(seconds)


def nets(*texts: str) -> tuple[Prefix, ...]:
    """Return prefixes from text."""
    return tuple(ip_network(text) for text in texts)


def route(prefix: str, node: str = "a", next_hop: str = "192.0.2.1", vni: int = 1) -> Route:
    """Return a route with a tunnel."""
    return Route(
        prefix=ip_network(prefix),
        node=node,
        next_hop=ip_address(next_hop),
        tunnel=Tunnel(
            type="vxlan", data={"VNI": vni, "VtepMAC": "02:00:00:00:00:01", "flag": True, "none": None}
        ),
    )


def held(store: LeaseStore) -> set[tuple[str, tuple[Prefix, ...]]]:
    """Return who holds what."""
    return {(lease.node, lease.subnets) for lease in store.leases()}


def close_to(actual: float | None, seconds: float) -> bool:
    """Return whether a lease's remaining time is what was asked for (a store may measure in whole seconds)."""
    return actual is not None and math.isclose(actual, seconds, abs_tol=1.5)


def next_event(subscription: Subscription) -> Event:
    """Return the event that must come."""
    event = subscription.next_event(SOON)
    assert event is not None, "no event came"
    return event


def next_events(subscription: Subscription, count: int) -> list[Event]:
    """Return the events that must come."""
    return [next_event(subscription) for _ in range(count)]


def snapshot(subscription: Subscription) -> set[Route]:
    """Return the routes of the snapshot that must come."""
    event = next_event(subscription)
    assert isinstance(event, Snapshot), event
    assert len(set(event.routes)) == len(event.routes)
    return set(event.routes)


ONE = nets("10.4.1.0/24")
TWO = nets("10.4.2.0/24")
DUAL = nets("10.4.1.0/24", "fd00:4:0:1::/64")


class LeaseStoreContract(Contract[LeaseStore]):
    """Claims, renewals and releases."""

    def test_abilities(self) -> None:
        """What the store can do beyond the contract is tested too: its suites are inherited, and no others."""
        store = self.open()
        assert isinstance(store, LeaseStore)
        for ability, suite in (
            (Reserves, ReservesContract),
            (ConfiguresNetwork, ConfiguresNetworkContract),
            (RouteStore, BoundRoutesContract),
        ):
            assert isinstance(store, ability) == isinstance(self, suite), (ability, suite)

    def test_leases_in_any_order(self) -> None:
        """In any order of calls the store says what an obvious model says: no two owners, ever."""
        run(lambda: LeaseMachine(self.bed()))

    def test_one_owner_at_a_time(self) -> None:
        """Of many clients that claim, move and give back at once, no two ever hold one subnet."""
        together, subnets = threading.Barrier(4), [ONE, TWO]
        stores = [self.open() for _ in range(2)]
        owners: dict[tuple[Prefix, ...], str] = {}

        def come_and_go(number: int) -> None:
            store, name = stores[number % 2], f"n{number}"
            together.wait(SOON)
            for turn in range(12):
                wanted = subnets[(number + turn) % 2]
                try:
                    lease = store.claim(wanted, name, 60)
                except LeaseTaken:
                    continue
                assert owners.setdefault(wanted, name) == name
                lease = store.renew(lease, 60)
                assert owners.pop(wanted) == name
                store.release(lease)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(come_and_go, range(4)))
        assert held(self.open()) == set()

    def test_new(self) -> None:
        """A new store holds no lease."""
        assert list(self.open().leases()) == []

    def test_listed(self) -> None:
        """A claim is listed by every handle, with its owner, its subnets, its time and its revision."""
        lease = self.open().claim(DUAL, "a", 60)
        (listed,) = self.open().leases()
        assert (lease.node, lease.subnets) == ("a", DUAL)
        assert close_to(lease.expires, 60)
        assert attrs.evolve(listed, expires=lease.expires) == lease

    def test_overlap(self) -> None:
        """What overlaps another's lease is taken, be it the same, wider, narrower, or in one family only."""
        store = self.open()
        store.claim(DUAL, "a", 60)
        for texts in (
            ["10.4.1.0/24"],
            ["10.4.0.0/16"],
            ["10.4.1.64/26"],
            ["10.4.1.255/32"],
            ["fd00:4::/32"],
            ["fd00:4:0:1::/64"],
            ["10.4.9.0/24", "fd00:4:0:1:8000::/65"],
        ):
            refused(LeaseTaken, store.claim, nets(*texts), "b", 60)
        assert held(store) == {("a", DUAL)}

    def test_neighbours(self) -> None:
        """Subnets that touch do not overlap, and an IPv4 address is no IPv6 address."""
        store = self.open()
        for node, texts in {
            "a": ["10.4.1.0/24"],
            "b": ["10.4.2.0/24"],
            "c": ["10.4.0.0/24"],
            "d": ["::10.4.1.0/120"],
        }.items():
            store.claim(nets(*texts), node, 60)
        assert len(held(store)) == 4

    def test_wider_than_many(self) -> None:
        """A claim that spans leases of others is taken; one that spans ended leases ends them for good."""
        store = self.open()
        old = [store.claim(nets(f"10.4.{i}.0/24"), f"n{i}", 60) for i in range(4)]
        refused(LeaseTaken, store.claim, nets("10.4.0.0/22"), "wide", 60)
        self.advance(61)
        store.claim(nets("10.4.0.0/22"), "wide", 60)
        for lease in old:
            refused(LeaseLost, store.renew, lease, 60)

    def test_claim_again(self) -> None:
        """A node that claims its own subnets again gets them with a new revision; the old one is lost."""
        store = self.open()
        old = store.claim(DUAL, "a", 60)
        new = self.open().claim(DUAL, "a", 120)
        assert new.revision != old.revision
        refused(LeaseLost, store.renew, old, 60)
        assert close_to(store.renew(new, 90).expires, 90)

    def test_one_lease_per_node(self) -> None:
        """A node that claims other subnets gives its old ones back in the same step."""
        store = self.open()
        old = store.claim(ONE, "a", 60)
        store.claim(TWO, "a", 60)
        assert held(store) == {("a", TWO)}
        refused(LeaseLost, store.renew, old, 60)
        store.claim(ONE, "b", 60)

    def test_grow(self) -> None:
        """A node's own lease does not stand in the way of subnets that overlap it."""
        store = self.open()
        store.claim(ONE, "a", 60)
        store.claim(nets("10.4.0.0/23"), "a", 60)
        assert held(store) == {("a", nets("10.4.0.0/23"))}

    def test_refused_changes_nothing(self) -> None:
        """A node whose claim is taken keeps the lease that it had."""
        store = self.open()
        mine = store.claim(ONE, "a", 60)
        store.claim(TWO, "b", 60)
        refused(LeaseTaken, store.claim, nets("10.4.2.0/25", "fd00::/64"), "a", 60)
        assert held(store) == {("a", ONE), ("b", TWO)}
        store.renew(mine, 60)

    def test_renew(self) -> None:
        """A renewal counts from now and gives a new revision; the old one cannot be renewed again."""
        store = self.open()
        old = store.claim(ONE, "a", 60)
        self.advance(40)
        new = store.renew(old, 60)
        assert (new.node, new.subnets) == (old.node, old.subnets)
        assert close_to(new.expires, 60)
        refused(LeaseLost, store.renew, old, 60)
        self.advance(40)
        assert held(store) == {("a", ONE)}

    def test_end(self) -> None:
        """A lease that was not renewed ends by itself, and anybody may take its subnets."""
        store = self.open()
        lease = store.claim(DUAL, "a", 30)
        self.advance(31)
        assert held(store) == set()
        store.claim(nets("10.4.0.0/16"), "b", 30)
        refused(LeaseLost, store.renew, lease, 30)
        refused(LeaseLost, store.release, lease)

    def test_late_renewal(self) -> None:
        """A lease whose time ran out, but which nobody took, is renewed."""
        store = self.open()
        lease = store.claim(ONE, "a", 30)
        self.advance(31)
        store.claim(TWO, "b", 30)
        store.renew(lease, 30)
        assert held(store) == {("a", ONE), ("b", TWO)}

    def test_taken_meanwhile(self) -> None:
        """A lease that somebody took and gave back meanwhile is lost: it was somebody else's."""
        store = self.open()
        lease = store.claim(ONE, "a", 30)
        self.advance(31)
        store.release(store.claim(nets("10.4.1.0/26"), "b", 30))
        refused(LeaseLost, store.renew, lease, 30)

    def test_release(self) -> None:
        """A released lease is gone, and cannot be released twice."""
        store = self.open()
        lease = store.claim(ONE, "a", 60)
        self.open().release(lease)
        assert held(store) == set()
        refused(LeaseLost, store.release, lease)
        store.claim(ONE, "b", 60)

    def test_release_old_revision(self) -> None:
        """A release of an old revision does not touch the lease that stands."""
        store = self.open()
        old = store.claim(ONE, "a", 60)
        store.renew(old, 60)
        refused(LeaseLost, store.release, old)
        assert held(store) == {("a", ONE)}

    def test_nonsense(self) -> None:
        """A claim of nothing, of two subnets of a family, for nobody or for no time is refused at once."""
        store = self.open()
        refused(ConfigError, store.claim, (), "a", 60)
        refused(ConfigError, store.claim, ONE + TWO, "a", 60)
        refused(ConfigError, store.claim, ONE, "", 60)
        lease = store.claim(ONE, "a", 60)
        for ttl in (0, -1, math.nan, math.inf):
            refused(ConfigError, store.claim, TWO, "b", ttl)
            refused(ConfigError, store.renew, lease, ttl)
        assert held(store) == {("a", ONE)}

    def test_close(self) -> None:
        """Leases outlive the handle that made them, which may be closed twice."""
        store, other = self.open(), self.open()
        store.claim(ONE, "a", 60)
        store.close()
        store.close()
        assert held(other) == {("a", ONE)}

    def test_race(self) -> None:
        """Of many that claim the same subnets at once exactly one gets them."""
        stores = [self.open() for _ in range(4)]
        together = threading.Barrier(8)

        def claim(number: int) -> bool:
            together.wait(SOON)
            try:
                stores[number % 4].claim(ONE, f"n{number}", 60)
            except LeaseTaken:
                return False
            return True

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(claim, range(8))) == 1

    def test_stale_renewals(self) -> None:
        """Of many renewals of one revision exactly one succeeds."""
        store = self.open()
        lease = store.claim(ONE, "a", 60)
        together = threading.Barrier(4)

        def renew(number: int) -> Lease | None:
            together.wait(SOON)
            try:
                return store.renew(lease, 60)
            except LeaseLost:
                return None

        with ThreadPoolExecutor(4) as pool:
            assert sum(renewed is not None for renewed in pool.map(renew, range(4))) == 1


class ReservesContract(Contract[ReservingStore]):
    """Subnets set aside; for a store that is `Reserves`."""

    def test_reserve(self) -> None:
        """A reservation has no node and no end, and nobody can lease what overlaps it."""
        store = self.open()
        lease = store.reserve(DUAL)
        assert (lease.node, lease.expires, lease.subnets) == ("", None, DUAL)
        self.advance(10_000)
        refused(LeaseTaken, store.claim, nets("10.4.0.0/16"), "a", 60)
        assert list(store.leases()) == [lease]

    def test_reserve_taken(self) -> None:
        """What is leased or reserved already cannot be reserved."""
        store = self.open()
        store.claim(ONE, "a", 60)
        store.reserve(TWO)
        for subnets in (ONE, TWO, nets("10.4.0.0/16")):
            refused(LeaseTaken, store.reserve, subnets)

    def test_many(self) -> None:
        """There can be many reservations; the next does not replace the last."""
        store = self.open()
        store.reserve(ONE)
        store.reserve(TWO)
        assert held(store) == {("", ONE), ("", TWO)}

    def test_unreserve(self) -> None:
        """A reservation is given back like a lease."""
        store = self.open()
        store.release(store.reserve(ONE))
        store.claim(ONE, "a", 60)

    def test_renewed(self) -> None:
        """A renewed reservation still has no end."""
        store = self.open()
        assert store.renew(store.reserve(ONE), 60).expires is None

    def test_reserve_nonsense(self) -> None:
        """A reservation of nothing is refused."""
        refused(ConfigError, self.open().reserve, ())


class ConfiguresNetworkContract(Contract[ConfiguredStore]):
    """The configuration that all hosts share."""

    NETWORK = NetworkConfig(
        pools=(
            Pool(
                prefix=ip_network("10.4.0.0/16"),
                subnet_length=24,
                first=ip_network("10.4.3.0/24"),
                last=ip_network("10.4.200.0/24"),
                reserved=nets("10.4.9.0/26"),
            ),
            Pool(prefix=ip_network("fd00:4::/48"), subnet_length=64),
        )
    )
    OTHER = NetworkConfig(pools=(Pool(prefix=ip_network("10.5.0.0/16"), subnet_length=24),))

    def test_none(self) -> None:
        """A new store holds no configuration."""
        assert self.open().network() is None

    def test_first_stands(self) -> None:
        """The first configuration stands, whoever comes later; every handle sees all of it."""
        assert self.open().configure(self.NETWORK) == self.NETWORK
        store = self.open()
        assert store.configure(self.OTHER) == self.NETWORK
        assert store.network() == self.NETWORK


class RouteStoreContract(Contract[RouteStore]):
    """Announcements and those who listen."""

    def test_route_store(self) -> None:
        """It is a route store."""
        assert isinstance(self.open(), RouteStore)

    def test_routes_in_any_order(self) -> None:
        """A subscriber that came and slept as it liked knows what an obvious model knows."""
        run(lambda: RouteMachine(self.bed()))

    def test_many_announce(self) -> None:
        """Of many that announce and withdraw at once nobody's word is lost, and every subscriber agrees."""
        stores = [self.open() for _ in range(2)]
        early, together = self.subscribed(stores[0]), threading.Barrier(4)

        def announce(number: int) -> None:
            store = stores[number % 2]
            together.wait(SOON)
            for turn in range(8):
                store.announce(route(f"10.{number}.{turn}.0/24", f"n{number}"))
                if turn % 2:
                    store.withdraw(route(f"10.{number}.{turn}.0/24", f"n{number}"))

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(announce, range(4)))
        expected = {route(f"10.{n}.{turn}.0/24", f"n{n}") for n in range(4) for turn in range(0, 8, 2)}
        self.subscribed(self.open(), *expected)
        stores[1].announce(marker := route("10.99.0.0/24"))
        known: dict[Prefix, Route] = {}
        while marker.prefix not in known:
            match next_event(early):
                case Announced(route=announced):
                    known[announced.prefix] = announced
                case Withdrawn(prefix=prefix):
                    known.pop(prefix, None)
        assert set(known.values()) == {*expected, marker}

    def subscribed(self, store: RouteStore, *expected: Route) -> Subscription:
        """Return a subscription that has had its snapshot."""
        subscription = store.subscribe()
        assert snapshot(subscription) == set(expected)
        return subscription

    def test_first_event(self) -> None:
        """The first event is a snapshot of what was announced, by whichever handle and in both families."""
        store = self.open()
        four, six = route("10.4.1.0/24"), route("fd00::/64", "b", "2001:db8::1")
        store.announce(four)
        self.open().announce(six)
        self.subscribed(store, four, six)

    def test_empty(self) -> None:
        """The first event is a snapshot even when there is nothing to tell."""
        self.subscribed(self.open())

    def test_changes(self) -> None:
        """After the snapshot each change is one event, whichever handle made it."""
        store, other = self.open(), self.open()
        first, second = route("10.4.1.0/24"), route("10.4.2.0/24", "b")
        subscription = self.subscribed(store)
        store.announce(first)
        assert next_event(subscription) == Announced(route=first)
        other.announce(second)
        assert next_event(subscription) == Announced(route=second)
        other.withdraw(first)
        assert next_event(subscription) == Withdrawn(prefix=first.prefix)

    def test_again(self) -> None:
        """Announcing what is announced already tells nobody anything."""
        store = self.open()
        subscription = self.subscribed(store)
        marker = route("10.4.99.0/24")
        for announced in (route("10.4.1.0/24"), route("10.4.1.0/24"), marker):
            store.announce(announced)
        assert next_events(subscription, 2)[1] == Announced(route=marker)

    def test_replace(self) -> None:
        """Another route for a prefix takes the place of the known one, without a withdrawal between."""
        store = self.open()
        old, new = route("10.4.1.0/24"), route("10.4.1.0/24", vni=2)
        store.announce(old)
        subscription = self.subscribed(store, old)
        store.announce(new)
        assert next_event(subscription) == Announced(route=new)
        self.subscribed(store, new)

    def test_withdraw_own(self) -> None:
        """A node withdraws its own route, even if the route has changed since."""
        store = self.open()
        store.announce(route("10.4.1.0/24", vni=2))
        store.withdraw(route("10.4.1.0/24", vni=1))
        self.subscribed(store)

    def test_withdraw_not_own(self) -> None:
        """A node does not withdraw what another node has announced for the prefix since."""
        store = self.open()
        mine, theirs = route("10.4.1.0/24", "a"), route("10.4.1.0/24", "b")
        store.announce(mine)
        store.announce(theirs)
        store.withdraw(mine)
        self.subscribed(store, theirs)

    def test_withdraw_nothing(self) -> None:
        """What is not there is withdrawn already."""
        store = self.open()
        subscription = self.subscribed(store)
        marker = route("10.4.99.0/24")
        store.withdraw(route("10.4.1.0/24"))
        store.announce(marker)
        assert next_event(subscription) == Announced(route=marker)

    def test_back(self) -> None:
        """A route that was withdrawn and announced again is there."""
        store = self.open()
        subscription = self.subscribed(store)
        one = route("10.4.1.0/24")
        store.announce(one)
        store.withdraw(one)
        store.announce(one)
        while next_event(subscription) != Announced(route=one):
            pass
        self.subscribed(store, one)

    def test_nothing(self) -> None:
        """Where nothing happens there is no event, and a timeout of zero does not wait."""
        subscription = self.subscribed(self.open())
        assert subscription.next_event(0) is None
        assert subscription.next_event(0.01) is None

    def test_waiting(self) -> None:
        """A waiting subscriber is woken by a change."""
        store, other = self.open(), self.open()
        subscription = self.subscribed(store)
        one = route("10.4.1.0/24")
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(subscription.next_event, SOON)
            other.announce(one)
            assert waiting.result(SOON) == Announced(route=one)

    def test_every_subscriber(self) -> None:
        """Every subscriber hears everything."""
        store = self.open()
        subscriptions = [self.subscribed(store) for _ in range(3)]
        one = route("10.4.1.0/24")
        store.announce(one)
        for subscription in subscriptions:
            assert next_event(subscription) == Announced(route=one)

    def test_close_subscription(self) -> None:
        """Closing a subscription wakes its reader, which gets None, then and ever after; twice does no harm."""
        subscription = self.subscribed(self.open())
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(subscription.next_event, SOON)
            subscription.close()
            assert waiting.result(SOON / 2) is None
        subscription.close()
        assert subscription.next_event(SOON) is None

    def test_close_store(self) -> None:
        """Closing a store ends its subscriptions, not those of other handles, and withdraws nothing."""
        store, other = self.open(), self.open()
        one, two = route("10.4.1.0/24"), route("10.4.2.0/24")
        store.announce(one)
        mine, theirs = self.subscribed(store, one), self.subscribed(other, one)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(mine.next_event, SOON)
            store.close()
            assert waiting.result(SOON / 2) is None
        store.close()
        other.announce(two)
        assert next_event(theirs) == Announced(route=two)

    def test_scalars(self) -> None:
        """Every JSON scalar of a tunnel comes back with its type."""
        tunnel = Tunnel(
            type="x", data={"a": 1, "b": 1.5, "c": True, "d": None, "e": "ä\u2028\0\"'", "f": 2**70}
        )
        store = self.open()
        store.announce(attrs.evolve(route("10.4.1.0/24"), tunnel=tunnel))
        ((got,),) = [snapshot(store.subscribe())]
        assert [(name, type(value), value) for name, value in got.tunnel.data] == [
            (name, type(value), value) for name, value in tunnel.data
        ]


class BoundRoutesContract(Contract[Store]):
    """Routes that stand and fall with the lease of their node, where one backend holds both."""

    def test_routes_under_leases_in_any_order(self) -> None:
        """In any order of calls leases, and routes under them, are what an obvious model says."""
        run(lambda: BoundRouteMachine(self.bed()))

    ROUTES = (route("10.4.1.0/24"), route("fd00:4:0:1::/64", "a", "2001:db8::1"))

    def prepared(self) -> tuple[Store, Lease, Subscription]:
        """Return a store, a lease of 30 seconds with routes under it, and one who knows them."""
        store = self.open()
        lease = store.claim(DUAL, "a", 30)
        for one in self.ROUTES:
            store.announce(one)
        subscription = store.subscribe()
        assert snapshot(subscription) == set(self.ROUTES)
        return store, lease, subscription

    def hears_both_go(self, subscription: Subscription) -> None:
        """Check that both routes are withdrawn, in any order."""
        gone = next_events(subscription, 2)
        assert {event.prefix for event in gone if isinstance(event, Withdrawn)} == set(DUAL)

    def test_release_withdraws(self) -> None:
        """A released lease takes its routes along."""
        store, lease, subscription = self.prepared()
        store.release(lease)
        self.hears_both_go(subscription)

    def test_end_withdraws(self) -> None:
        """When a lease ends its routes go, though nobody wrote anything."""
        _, _, subscription = self.prepared()
        self.advance(31)
        self.hears_both_go(subscription)
        assert snapshot(self.open().subscribe()) == set()

    def test_taken_over_withdraws(self) -> None:
        """When somebody else takes an ended lease over, its routes are gone."""
        store, _, subscription = self.prepared()
        self.advance(31)
        store.claim(DUAL, "b", 30)
        self.hears_both_go(subscription)

    def test_moving_withdraws(self) -> None:
        """A node that claims other subnets loses the routes of the old ones."""
        store, _, subscription = self.prepared()
        store.claim(TWO, "a", 30)
        self.hears_both_go(subscription)

    def test_renewal_keeps(self) -> None:
        """A renewal, or a node's claim of what it has, keeps the routes; they end with the new time."""
        store, lease, subscription = self.prepared()
        self.advance(20)
        store.renew(lease, 30)
        self.advance(20)
        store.claim(DUAL, "a", 30)
        self.advance(20)
        marker = route("10.9.9.0/24", "z")
        store.announce(marker)
        assert next_event(subscription) == Announced(route=marker)
        self.advance(11)
        self.hears_both_go(subscription)

    def test_late_renewal_brings_nothing_back(self) -> None:
        """Routes that went with a lease come back by announcing them, not by its late renewal."""
        store, lease, subscription = self.prepared()
        self.advance(31)
        store.renew(lease, 30)
        self.hears_both_go(subscription)
        store.announce(self.ROUTES[0])
        assert next_event(subscription) == Announced(route=self.ROUTES[0])

    def test_unbound(self) -> None:
        """A route outside its node's lease, or of another node, stays until it is withdrawn."""
        store = self.open()
        lease = store.claim(ONE, "a", 30)
        free: Iterable[Route] = (
            route("10.4.2.0/24", "a"),
            route("10.4.0.0/16", "a"),
            route("10.4.1.0/25", "b"),
            route("10.4.1.128/25", ""),
        )
        for one in free:
            store.announce(one)
        store.release(lease)
        assert snapshot(store.subscribe()) == set(free)

    def test_narrower(self) -> None:
        """A route to a part of the leased subnet is bound as well."""
        store = self.open()
        lease = store.claim(ONE, "a", 30)
        store.announce(route("10.4.1.64/26"))
        store.release(lease)
        assert snapshot(store.subscribe()) == set()

    def test_bound_later(self) -> None:
        """A route that was announced before the lease is bound when it is announced again under it."""
        store = self.open()
        store.announce(self.ROUTES[0])
        lease = store.claim(ONE, "a", 30)
        store.announce(self.ROUTES[0])
        store.release(lease)
        assert snapshot(store.subscribe()) == set()

    def test_replaced_by_another(self) -> None:
        """A route that another node announced for the prefix since does not go with the old lease."""
        store, lease, _ = self.prepared()
        theirs = route("10.4.1.0/24", "b")
        store.announce(theirs)
        store.release(lease)
        assert snapshot(store.subscribe()) == {theirs}
