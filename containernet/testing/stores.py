"""What every lease store and route store must do, as tests that any store can run.

A store inherits the suite of every contract that it fulfils: each ability is a Protocol of its own, and has a
suite of its own. That none is forgotten is a test too. One of leases and routes also inherits
`BoundRoutesContract`. What a store cannot do it leaves out of `supports`, and is held to less; `ABILITIES` says
how much less.

Nothing here sleeps to see whether something happens: what must come is waited for, and what must not come is
shown by what comes next.
"""

from __future__ import annotations

import itertools
import math
import sys
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from ipaddress import ip_address, ip_network
from random import Random
from typing import Any, ClassVar, Generic, Protocol

import attrs

from ..contracts import (
    Answers,
    ConfiguresNetwork,
    Confines,
    Drains,
    LeaseStore,
    Reserves,
    RouteStore,
    Subscription,
)
from ..errors import ConfigError, LeaseLost, LeaseTaken
from ..events import Announced, Snapshot, Withdrawn
from ..model import Lease, NetworkConfig, Pool, Prefix, Route, Tunnel
from .bed import Bed, StoreT_co, refused as refused
from .faults import SOON
from .histories import Client, linearizable
from .machines import BoundRouteMachine, LeaseMachine, RouteMachine, StoreMachine, close_to, run
from .readers import Reader
from .supports import EVERYTHING, check_supports


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
    """Opens the bed before each test and closes every handle after it.

    `supports` holds what the store can do, in the words of `ABILITIES`; a store that cannot do all of it takes
    words away. `soon` is how many seconds it may take to tell what must come, and `examples` how many runs of a
    state machine are enough, where Hypothesis' profile says more.

    Raises:
        ConfigError: when the class is made: a word that there is not.
    """

    fulfils: ClassVar[type | None] = None  # the ability that a suite is for
    supports: ClassVar[frozenset[str]] = EVERYTHING
    soon: ClassVar[float] = SOON
    examples: ClassVar[int] = 10_000

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        check_supports(cls, EVERYTHING)

    def bed(self) -> Bed[StoreT_co]:
        """Return a bed whose store is empty."""
        raise NotImplementedError

    def setup_method(self) -> None:
        """Make the bed; the test runner calls this."""
        self._bed = self.bed()
        self.opened: list[StoreT_co] = []

    def teardown_method(self) -> None:
        """Close what the test opened."""
        for handle in self.opened:
            handle.close()
        self._bed.close()

    def open(self) -> StoreT_co:
        """Return a new handle; it is closed after the test."""
        handle = self._bed.open()
        self.opened.append(handle)
        return handle

    def advance(self, seconds: float) -> None:
        """Let time pass for the store."""
        self._bed.advance(seconds)

    def run(self, machine: type[StoreMachine]) -> None:
        """Run a state machine, each time with a new bed."""
        run(lambda: machine(self.bed(), supports=self.supports, soon=self.soon), examples=self.examples)

    def check_abilities(self, store: object, *abilities: type) -> None:
        """Check of each ability that the store has it, and inherits its suite; or neither."""
        inherited = {vars(suite).get("fulfils") for suite in type(self).__mro__}
        for ability in abilities:
            assert isinstance(store, ability) == (ability in inherited), ability

    def can(self, ability: str) -> bool:
        """Return whether the store says that it can do that."""
        assert ability in EVERYTHING, ability
        return ability in self.supports


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


@contextmanager
def restless() -> Iterator[None]:
    """Have threads take turns as often as they can: a race that is there is then soon lost."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)


ONE = nets("10.4.1.0/24")
TWO = nets("10.4.2.0/24")
DUAL = nets("10.4.1.0/24", "fd00:4:0:1::/64")


class LeaseStoreContract(Contract[LeaseStore]):
    """Claims, renewals and releases."""

    def test_abilities(self) -> None:
        """What the store can do beyond the contract is tested too: its suites are inherited, and no others."""
        store = self.open()
        assert isinstance(store, LeaseStore)
        self.check_abilities(store, Reserves, ConfiguresNetwork, RouteStore, Answers)

    def test_leases_in_any_order(self) -> None:
        """In any order of calls the store says what an obvious model says: no two owners, ever."""
        self.run(LeaseMachine)

    def test_many_at_once(self) -> None:
        """What many are told at once could have been told to one after the other: no two owners, ever."""
        stores, moments, had = [self.open() for _ in range(2)], itertools.count(), list[Lease]()
        choices = [ONE, TWO, nets("10.4.1.0/25"), nets("10.4.0.0/16")]
        clients = [
            # Two of them have one name: a host that was started twice.
            Client(stores[number % 2], node=f"n{number % 3}", had=had, moments=moments, random=Random(number))
            for number in range(4)
        ]
        together = threading.Barrier(len(clients))

        def come_and_go(client: Client) -> None:
            for _ in range(40):
                together.wait(SOON)  # all begin anew: what overlaps stays short, and the search too
                client.act(choices)

        with restless(), ThreadPoolExecutor(len(clients)) as pool:
            list(pool.map(come_and_go, clients))
        calls = sorted((call for client in clients for call in client.calls), key=lambda call: call.begin)
        assert linearizable(calls), "\n".join(map(str, calls))

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
        if self.can("remaining time"):
            self.advance(20)
            (later,) = self.open().leases()
            assert close_to(listed.expires, 60)
            assert close_to(later.expires, 40)

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
        refused(LeaseLost, store.release, old)
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
        """A renewal counts from now, and gives a new revision; the old one cannot be renewed again."""
        store = self.open()
        old = store.claim(ONE, "a", 60)
        self.advance(40)
        new = store.renew(old, 60)
        assert (new.node, new.subnets) == (old.node, old.subnets)
        assert close_to(new.expires, 60)
        if self.can("renewal revisions"):
            refused(LeaseLost, store.renew, old, 60)
        else:
            assert store.renew(old, 60).revision == new.revision == old.revision
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

    def test_fraction(self) -> None:
        """A time that is no whole number of seconds is not cut short."""
        store = self.open()
        assert close_to(store.claim(ONE, "a", 29.5).expires, 29.5)
        self.advance(29)
        assert held(store) == {("a", ONE)}
        self.advance(2)
        assert held(store) == set()

    def test_late_renewal(self) -> None:
        """A lease whose time ran out, but which nobody took, is renewed; or it is lost, and claimed again."""
        store = self.open()
        lease = store.claim(ONE, "a", 30)
        self.advance(31)
        store.claim(TWO, "b", 30)
        if self.can("late renewal"):
            store.renew(lease, 30)
        else:
            refused(LeaseLost, store.renew, lease, 30)
            refused(LeaseLost, store.release, lease)
            store.claim(ONE, "a", 30)
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
        """A release of an old revision does not touch the lease that stands; one of an old claim never does."""
        store = self.open()
        older = store.claim(ONE, "a", 60)
        old = store.claim(ONE, "a", 60)
        store.renew(old, 60)
        refused(LeaseLost, store.release, older)
        if self.can("renewal revisions"):
            refused(LeaseLost, store.release, old)
            assert held(store) == {("a", ONE)}
        else:
            store.release(old)
            assert held(store) == set()

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
        """Of many renewals of one revision exactly one succeeds; or all, where it stays as it is."""
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
            succeeded = sum(renewed is not None for renewed in pool.map(renew, range(4)))
        assert succeeded == (1 if self.can("renewal revisions") else 4)
        assert held(store) == {("a", ONE)}


class ReservesContract(Contract[ReservingStore]):
    """Subnets set aside; for a store that is `Reserves`."""

    fulfils: ClassVar[type | None] = Reserves

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

    fulfils: ClassVar[type | None] = ConfiguresNetwork

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
        """It is a route store, and what it can do beyond that is tested, too."""
        store = self.open()
        assert isinstance(store, RouteStore)
        self.check_abilities(store, Answers, Confines, Drains)

    def test_routes_in_any_order(self) -> None:
        """A subscriber that came and slept as it liked knows what an obvious model knows."""
        self.run(RouteMachine)

    def test_many_announce(self) -> None:
        """Of many that announce and withdraw at once nobody's word is lost, and every subscriber agrees."""
        stores = [self.open() for _ in range(2)]
        early, together = self.listening(stores[0]), threading.Barrier(4)

        def announce(number: int) -> None:
            store = stores[number % 2]
            together.wait(SOON)
            for turn in range(8):
                store.announce(route(f"10.{number}.{turn}.0/24", f"n{number}"))
                if turn % 2:
                    store.withdraw(route(f"10.{number}.{turn}.0/24", f"n{number}"))

        with restless(), ThreadPoolExecutor(4) as pool:
            list(pool.map(announce, range(4)))
        expected = [route(f"10.{n}.{turn}.0/24", f"n{n}") for n in range(4) for turn in range(0, 8, 2)]
        self.listening(self.open(), *expected)
        early.comes_to(*expected)

    def listening(self, store: RouteStore, *expected: Route) -> Reader:
        """Return a reader that has had its snapshot, and knows these routes."""
        return listening(self, store, *expected)

    def test_first_event(self) -> None:
        """The first event is a snapshot of what was announced, by whichever handle and in both families."""
        store = self.open()
        four, six = route("10.4.1.0/24"), route("fd00::/64", "b", "2001:db8::1")
        store.announce(four)
        self.open().announce(six)
        self.listening(store, four, six)

    def test_empty(self) -> None:
        """The first event is a snapshot even when there is nothing to tell."""
        self.listening(self.open())

    def test_changes(self) -> None:
        """After the snapshot each change is told, whichever handle made it."""
        store, other = self.open(), self.open()
        first, second = route("10.4.1.0/24"), route("10.4.2.0/24", "b")
        reader = self.listening(store)
        store.announce(first)
        reader.hears(Announced(route=first))
        other.announce(second)
        reader.hears(Announced(route=second))
        other.withdraw(second)
        reader.hears(Withdrawn(prefix=second.prefix))
        store.withdraw(first)
        reader.hears(Withdrawn(prefix=first.prefix))

    def test_again(self) -> None:
        """Announcing what is announced already tells nobody anything."""
        store = self.open()
        reader = self.listening(store)
        one, marker = route("10.4.1.0/24"), route("10.4.99.0/24")
        store.announce(one)
        reader.hears(Announced(route=one))
        store.announce(one)
        store.announce(marker)
        reader.hears(Announced(route=marker))
        reader.comes_to(one, marker)

    def test_replace(self) -> None:
        """Another route for a prefix takes the place of the known one, without a withdrawal between."""
        store, other = self.open(), self.open()
        old, new = route("10.4.1.0/24"), route("10.4.1.0/24", next_hop="192.0.2.2", vni=2)
        store.announce(old)
        readers = [self.listening(handle, old) for handle in (store, other)]
        store.announce(new)
        for reader in readers:
            reader.hears(Announced(route=new))
        self.listening(other, new)

    def test_replace_by_another(self) -> None:
        """Where routes are shared the last one stands; else one of both, and when it goes the other."""
        store, other = self.open(), self.open()
        mine, theirs = route("10.4.1.0/24"), route("10.4.1.0/24", "b", "192.0.2.2")
        store.announce(mine)
        reader = self.listening(store, mine)
        other.announce(theirs)
        if self.can("shared"):
            reader.hears(Announced(route=theirs))
            return
        readers = [reader, self.listening(self.open(), mine, theirs)]
        store.withdraw(mine)
        for each in readers:
            each.comes_to(theirs)
        store.announce(mine)
        other.withdraw(theirs)
        for each in readers:
            each.comes_to(mine)

    def test_withdraw_own(self) -> None:
        """A node withdraws its own route, even if the route has changed since."""
        store = self.open()
        store.announce(one := route("10.4.1.0/24", vni=2))
        reader = self.listening(store, one)
        store.withdraw(route("10.4.1.0/24", vni=1))
        reader.comes_to()
        self.listening(store)

    def test_withdraw_not_own(self) -> None:
        """A node does not withdraw what another node has announced for the prefix since."""
        store, other = self.open(), self.open()
        mine, theirs = route("10.4.1.0/24", "a"), route("10.4.1.0/24", "b", "192.0.2.2")
        store.announce(mine)
        other.announce(theirs)
        store.withdraw(mine)
        self.listening(store, theirs)

    def test_withdraw_nothing(self) -> None:
        """What is not there is withdrawn already."""
        store = self.open()
        reader = self.listening(store)
        marker = route("10.4.99.0/24")
        store.withdraw(route("10.4.1.0/24"))
        store.announce(marker)
        reader.hears(Announced(route=marker))
        reader.comes_to(marker)

    def test_asleep(self) -> None:
        """Who slept knows: what came and went is not there, and what went and came back is."""
        store = self.open()
        one, two, marker = (route(f"10.4.{number}.0/24") for number in (1, 2, 99))
        store.announce(two)
        reader = self.listening(store, two)
        store.announce(one)
        store.withdraw(one)
        store.withdraw(two)
        store.announce(two)
        store.announce(marker)
        reader.comes_to(two, marker)
        self.listening(self.open(), two, marker)

    def test_nothing(self) -> None:
        """Where nothing happens nothing changes, and a timeout of zero does not wait."""
        reader = self.listening(self.open())
        for timeout in (0, 0.01):
            event = reader.next_event(timeout)
            assert event is None or not self.can("exact events"), event
        reader.comes_to()

    def test_waiting(self) -> None:
        """A waiting subscriber is woken by a change."""
        store, other = self.open(), self.open()
        reader = self.listening(store)
        one = route("10.4.1.0/24")
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(reader.hears, Announced(route=one))
            other.announce(one)
            waiting.result(2 * SOON)

    def test_every_subscriber(self) -> None:
        """Every subscriber hears everything."""
        store = self.open()
        readers = [self.listening(store) for _ in range(3)]
        one = route("10.4.1.0/24")
        store.announce(one)
        for reader in readers:
            reader.hears(Announced(route=one))

    def test_gap(self) -> None:
        """The first event after a gap is a snapshot: what came and went meanwhile is in it, and not in it."""
        store = self.open()
        one, two, three = (route(f"10.4.{number}.0/24") for number in (1, 2, 3))
        store.announce(one)
        store.announce(two)
        reader = self.listening(store, one, two)
        store.withdraw(one)
        store.announce(three)
        if self._bed.gap is not None:
            self._bed.gap()
            event = reader.must_hear()
            assert isinstance(event, Snapshot), event
        reader.comes_to(two, three)
        store.withdraw(two)
        reader.hears(Withdrawn(prefix=two.prefix))

    def test_close_subscription(self) -> None:
        """Closing a subscription wakes its reader, which gets None, then and ever after; twice does no harm."""
        subscription = self.listening(self.open()).subscription
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(until_woken, subscription)
            subscription.close()
            waiting.result(SOON / 2)
        subscription.close()
        assert subscription.next_event(SOON) is None

    def test_close_store(self) -> None:
        """Closing a store ends its subscriptions, not those of other handles; its routes stay where shared."""
        store, other = self.open(), self.open()
        one, two = route("10.4.1.0/24"), route("10.4.2.0/24")
        store.announce(one)
        mine, theirs = self.listening(store, one), self.listening(other, one)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(until_woken, mine.subscription)
            store.close()
            waiting.result(SOON / 2)
        store.close()
        if not self.can("shared"):
            theirs.hears(Withdrawn(prefix=one.prefix))
        other.announce(two)
        theirs.hears(Announced(route=two))
        left = [one, two] if self.can("shared") else [two]
        theirs.comes_to(*left)
        self.listening(self.open(), *left)

    def test_scalars(self) -> None:
        """Every JSON scalar of a tunnel comes back with its type, or not at all."""
        tunnel = Tunnel(
            type="x", data={"a": 1, "b": 1.5, "c": True, "d": None, "e": "ä\u2028\0\"'", "f": 2**70}
        )
        store = self.open()
        store.announce(one := attrs.evolve(route("10.4.1.0/24"), tunnel=tunnel))
        (heard,) = self.listening(store, one).known.values()
        told = [(name, type(value), value) for name, value in heard.tunnel.data]
        announced = [(name, type(value), value) for name, value in tunnel.data]
        assert told == announced if self.can("tunnels") else all(each in announced for each in told)


def until_woken(subscription: Subscription) -> None:
    """Read on until there is None instead of an event."""
    while subscription.next_event(SOON) is not None:
        pass


def listening(suite: Contract[Any], store: RouteStore, *expected: Route) -> Reader:
    """Return a reader that has had its snapshot, and knows these routes."""
    reader = Reader(store.subscribe(), handles=suite.opened, supports=suite.supports, soon=suite.soon)
    reader.must_hear()
    if suite.can("immediate"):
        assert reader.known.keys() == {route.prefix for route in expected}
    reader.comes_to(*expected)
    return reader


class BoundRoutesContract(Contract[Store]):
    """Routes that stand and fall with the lease of their node, where one backend holds both."""

    fulfils: ClassVar[type | None] = RouteStore

    def test_routes_under_leases_in_any_order(self) -> None:
        """In any order of calls leases, and routes under them, are what an obvious model says."""
        self.run(BoundRouteMachine)

    ROUTES = (route("10.4.1.0/24"), route("fd00:4:0:1::/64", "a", "2001:db8::1"))

    def prepared(self) -> tuple[Store, Lease, Reader]:
        """Return a store, a lease of 30 seconds with routes under it, and one who knows them."""
        store = self.open()
        lease = store.claim(DUAL, "a", 30)
        for one in self.ROUTES:
            store.announce(one)
        return store, lease, listening(self, store, *self.ROUTES)

    def hears_both_go(self, reader: Reader) -> None:
        """Check that both routes are withdrawn, in any order."""
        if self.can("exact events"):
            gone = [reader.must_hear() for _ in self.ROUTES]
            assert {event.prefix for event in gone if isinstance(event, Withdrawn)} == set(DUAL)
        else:
            for one in self.ROUTES:
                reader.hears(Withdrawn(prefix=one.prefix))

    def test_release_withdraws(self) -> None:
        """A released lease takes its routes along."""
        store, lease, reader = self.prepared()
        store.release(lease)
        self.hears_both_go(reader)

    def test_end_withdraws(self) -> None:
        """When a lease ends its routes go, though nobody wrote anything."""
        _, _, reader = self.prepared()
        self.advance(31)
        self.hears_both_go(reader)
        listening(self, self.open())

    def test_taken_over_withdraws(self) -> None:
        """When somebody else takes an ended lease over, its routes are gone."""
        store, _, reader = self.prepared()
        self.advance(31)
        store.claim(DUAL, "b", 30)
        self.hears_both_go(reader)

    def test_moving_withdraws(self) -> None:
        """A node that claims other subnets loses the routes of the old ones."""
        store, _, reader = self.prepared()
        store.claim(TWO, "a", 30)
        self.hears_both_go(reader)

    def test_renewal_keeps(self) -> None:
        """A renewal, or a node's claim of what it has, keeps the routes; they end with the new time."""
        store, lease, reader = self.prepared()
        self.advance(20)
        store.renew(lease, 30)
        self.advance(20)
        store.claim(DUAL, "a", 30)
        self.advance(20)
        marker = route("10.9.9.0/24", "z")
        store.announce(marker)
        reader.hears(Announced(route=marker))
        reader.comes_to(*self.ROUTES, marker)
        self.advance(11)
        self.hears_both_go(reader)

    def test_late_renewal_brings_nothing_back(self) -> None:
        """Routes that went with a lease come back by announcing them, not by its renewal or a new claim."""
        store, lease, reader = self.prepared()
        self.advance(31)
        if self.can("late renewal"):
            store.renew(lease, 30)
        else:
            store.claim(DUAL, "a", 30)
        self.hears_both_go(reader)
        store.announce(self.ROUTES[0])
        reader.hears(Announced(route=self.ROUTES[0]))
        reader.comes_to(self.ROUTES[0])

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
        listening(self, store, *free)

    def test_narrower(self) -> None:
        """A route to a part of the leased subnet is bound as well."""
        store = self.open()
        lease = store.claim(ONE, "a", 30)
        store.announce(route("10.4.1.64/26"))
        store.release(lease)
        listening(self, store)

    def test_bound_later(self) -> None:
        """A route that was announced before the lease is bound when it is announced again under it."""
        store = self.open()
        store.announce(self.ROUTES[0])
        lease = store.claim(ONE, "a", 30)
        store.announce(self.ROUTES[0])
        store.release(lease)
        listening(self, store)

    def test_replaced_by_another(self) -> None:
        """A route that another node announced for the prefix since does not go with the old lease."""
        store, lease, _ = self.prepared()
        theirs = route("10.4.1.0/24", "b")
        store.announce(theirs)
        store.release(lease)
        listening(self, store, theirs)
