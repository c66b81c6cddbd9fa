"""The suites for stores find what is planted: each store here breaks one promise, and one test says which."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Mapping, Sequence

import attrs
import pytest

from containernet.errors import LeaseLost
from containernet.events import Announced, Event, Snapshot, Withdrawn
from containernet.model import Lease, NetworkConfig, Prefix, Route, Tunnel
from containernet.testing import (
    Bed,
    BoundRoutesContract,
    Clock,
    ConfiguresNetworkContract,
    LeaseStoreContract,
    ReservesContract,
    RouteStoreContract,
)
from containernet_backends.memory import MemoryStore, MemorySubscription
from tests.conformance import like_bgp
from tests.conformance.finding import fails

NAMES = itertools.count()


class Suite(
    LeaseStoreContract, ReservesContract, ConfiguresNetworkContract, RouteStoreContract, BoundRoutesContract
):
    """Every suite, for a store that is made of a faulty class."""

    soon = 0.1

    def __init__(self, store: type[MemoryStore]) -> None:
        self.store = store

    def bed(self) -> Bed[MemoryStore]:
        """Return an empty store, whose subscribers lose what they have not fetched."""
        clock, name = Clock(), f"planted {next(NAMES)}"
        first = MemoryStore(now=clock, name=name)

        def gap() -> None:
            for subscription in first._memory.subscriptions:
                subscription._pending.clear()
                subscription._begun = getattr(subscription, "ignores_gaps", False)

        return Bed(
            open=lambda: self.store(now=clock, name=name), advance=clock.advance, gap=gap, close=first.close
        )


def test_nothing_planted() -> None:
    """The same without a fault passes: what is found is the fault."""
    for name in dir(Suite):
        if name.startswith("test_") and not name.endswith("in_any_order"):
            suite = Suite(MemoryStore)
            suite.setup_method()
            getattr(suite, name)()
            suite.teardown_method()


class Racy(MemoryStore):
    """It looks whether the subnets are free, and takes them a moment later."""

    def claim(self, subnets: tuple[Prefix, ...], node: str, ttl: float) -> Lease:
        """Look, dawdle, and take."""
        with self._memory.changed:
            before = list(self._memory.held)
        threading.Event().wait(0.05)  # longer than a busy machine lets another thread wait
        free = not any(held.node != node and held.lease(0).overlaps(subnets) for held in before)
        with self._memory.changed:
            hidden = [held for held in self._memory.held if free and held.node != node]
            self._memory.held = [held for held in self._memory.held if held not in hidden]
            try:
                return super().claim(subnets, node, ttl)
            finally:
                self._memory.held += hidden


class Stale(MemoryStore):
    """Its list of leases is that of the last time."""

    last: Sequence[Lease] = ()

    def leases(self) -> Sequence[Lease]:
        """List what was, and remember what is."""
        last, self.last = self.last, super().leases()
        return last


class Trusting(MemoryStore):
    """It renews a lease of that node, whichever revision it is."""

    def renew(self, lease: Lease, ttl: float) -> Lease:
        """Find by name."""
        now = {each.node: each for each in super().leases()}
        return super().renew(now.get(lease.node, lease), ttl)


class Hasty(MemoryStore):
    """It compares before it renews, and not while it does."""

    def renew(self, lease: Lease, ttl: float) -> Lease:
        """Compare, dawdle, and write."""
        with self._memory.changed:
            held = self._memory.find(lease)
        threading.Event().wait(0.001)
        with self._memory.changed:
            return super().renew(attrs.evolve(lease, revision=held.revision), ttl)


class Literal(MemoryStore):
    """Only equal subnets stand in each other's way."""

    def claim(self, subnets: tuple[Prefix, ...], node: str, ttl: float) -> Lease:
        """Look away from all others."""
        with self._memory.changed:
            self._memory.expire()
            others = [each for each in self._memory.held if each.node != node and each.subnets != subnets]
            self._memory.held = [each for each in self._memory.held if each not in others]
            try:
                return super().claim(subnets, node, ttl)
            finally:
                self._memory.held += others


class OneFamily(Literal):
    """It looks at the first subnet of a claim only."""

    def claim(self, subnets: tuple[Prefix, ...], node: str, ttl: float) -> Lease:
        """Claim the first; the others come along."""
        lease = MemoryStore.claim(self, subnets[:1], node, ttl)
        with self._memory.changed:
            self._memory.find(lease).subnets = subnets
        return attrs.evolve(lease, subnets=subnets)


class Hoarder(MemoryStore):
    """Who claims other subnets keeps the old ones."""

    def claim(self, subnets: tuple[Prefix, ...], node: str, ttl: float) -> Lease:
        """Claim, and put the old ones back."""
        with self._memory.changed:
            old = [each for each in self._memory.held if each.node == node and each.subnets != subnets]
            lease = super().claim(subnets, node, ttl)
            self._memory.held += [each for each in old if each not in self._memory.held]
            return lease


class Rash(MemoryStore):
    """It ends a node's lease before it knows whether the node gets another."""

    def claim(self, subnets: tuple[Prefix, ...], node: str, ttl: float) -> Lease:
        """Release first."""
        for lease in super().leases():
            if lease.node == node and lease.subnets != subnets:
                super().release(lease)
        return super().claim(subnets, node, ttl)


class Grudging(MemoryStore):
    """What has ended still stands in the way."""

    def claim(self, subnets: tuple[Prefix, ...], node: str, ttl: float) -> Lease:
        """Revive what others had."""
        with self._memory.changed:
            self._memory.expire()
            for held in self._memory.held:
                if held.ended and held.node != node:
                    held.ended, held.expires = False, None
            return super().claim(subnets, node, ttl)


class Forgiving(MemoryStore):
    """It renews what somebody else had meanwhile, if it is free again."""

    def renew(self, lease: Lease, ttl: float) -> Lease:
        """Renew, or claim."""
        try:
            return super().renew(lease, ttl)
        except LeaseLost:
            return super().claim(lease.subnets, lease.node, ttl)


class Sloppy(MemoryStore):
    """It releases what that node has, whichever revision it is."""

    def release(self, lease: Lease) -> None:
        """Find by name."""
        now = {each.node: each for each in super().leases()}
        super().release(now.get(lease.node, lease))


class Adding(MemoryStore):
    """A renewal counts from the old end."""

    def renew(self, lease: Lease, ttl: float) -> Lease:
        """Add."""
        with self._memory.changed:
            left = max(0.0, (self._memory.find(lease).expires or 0) - self._memory.now())
            return super().renew(lease, left + ttl)


class Truncating(MemoryStore):
    """It has whole seconds, and cuts off the rest."""

    def claim(self, subnets: tuple[Prefix, ...], node: str, ttl: float) -> Lease:
        """Cut."""
        return super().claim(subnets, node, ttl // 1)


class Repeating(MemoryStore):
    """Its revisions count a node's writes, from one with every claim."""

    def claim(self, subnets: tuple[Prefix, ...], node: str, ttl: float) -> Lease:
        """Begin again."""
        lease = super().claim(subnets, node, ttl)
        with self._memory.changed:
            self._memory.find(lease).revision = f"{node} 1"
        return attrs.evolve(lease, revision=f"{node} 1")


class Leaving(MemoryStore):
    """Its leases end with the handle."""

    def close(self) -> None:
        """Let everything go."""
        with self._memory.changed:
            self._memory.held.clear()
        super().close()


class Undying(MemoryStore):
    """It lists what has ended."""

    def leases(self) -> Sequence[Lease]:
        """List all."""
        with self._memory.changed:
            return [held.lease(self._memory.now()) for held in self._memory.held]


class OneReservation(MemoryStore):
    """The next reservation replaces the last."""

    def reserve(self, subnets: tuple[Prefix, ...]) -> Lease:
        """Release, and reserve."""
        for lease in super().leases():
            if not lease.node:
                self.release(lease)
        return super().reserve(subnets)


class Masterful(MemoryStore):
    """It reserves what others hold."""

    def reserve(self, subnets: tuple[Prefix, ...]) -> Lease:
        """Release whatever it is."""
        for lease in super().leases():
            if lease.overlaps(subnets):
                self.release(lease)
        return super().reserve(subnets)


class LastWord(MemoryStore):
    """The last configuration stands."""

    def configure(self, network: NetworkConfig) -> NetworkConfig:
        """Overwrite."""
        with self._memory.changed:
            self._memory.network = None
            return super().configure(network)


class Unbound(MemoryStore):
    """Routes survive the end of their lease."""

    def announce(self, route: Route) -> None:
        """Announce, and cut the tie."""
        with self._memory.changed:
            super().announce(route)
            self._memory.routes[route.prefix] = (route, None)


class Purging(MemoryStore):
    """A release takes every route of that node along, and every route inside."""

    def release(self, lease: Lease) -> None:
        """Withdraw by name and by prefix."""
        with self._memory.changed:
            super().release(lease)
            for prefix, (route, _) in list(self._memory.routes.items()):
                if route.node == lease.node or lease.overlaps([prefix]):
                    self._memory.withdraw(prefix)


class Flapping(MemoryStore):
    """A renewal withdraws the routes."""

    def renew(self, lease: Lease, ttl: float) -> Lease:
        """Withdraw, and renew."""
        with self._memory.changed:
            self._memory.withdraw_under(self._memory.find(lease))
            return super().renew(lease, ttl)


class Reviving(MemoryStore):
    """A late renewal brings back the routes that went."""

    def renew(self, lease: Lease, ttl: float) -> Lease:
        """Renew, and announce what the lease gives."""
        with self._memory.changed:
            self._memory.expire()
            late = self._memory.find(lease).ended
            renewed = super().renew(lease, ttl)
            for route in BoundRoutesContract.ROUTES if late else ():
                self.announce(route)
            return renewed


class Deaf(MemorySubscription):
    """A gap is no reason for a snapshot."""

    ignores_gaps = True


class Shy(MemorySubscription):
    """It waits for something to tell before it tells its snapshot."""

    def next_event(self, timeout: float) -> Event | None:
        """Say nothing of nothing."""
        return super().next_event(timeout) if self._memory.routes else None


class Brief(MemorySubscription):
    """Its snapshot has no IPv6."""

    def _take(self) -> Event | None:
        event = super()._take()
        if isinstance(event, Snapshot):
            return Snapshot(routes=[route for route in event.routes if route.prefix.version == 4])
        return event


class Lossy(MemorySubscription):
    """A withdrawal that comes before its announcement was fetched is lost."""

    def hear(self, prefix: Prefix, event: Event) -> None:
        """Remember the first."""
        if not (prefix in self._pending and isinstance(event, Withdrawn)):
            super().hear(prefix, event)


class Optimistic(MemorySubscription):
    """Once a prefix is withdrawn, an announcement before that is fetched is lost."""

    def hear(self, prefix: Prefix, event: Event) -> None:
        """Remember the first."""
        self._pending.setdefault(prefix, event)


class Sleeper(MemorySubscription):
    """Closing it wakes nobody."""

    def close(self) -> None:
        """Say nothing."""
        self._closed = True


def reading(subscription: type[MemorySubscription]) -> type[MemoryStore]:
    """Return a store with such subscriptions."""

    class Store(MemoryStore):
        def subscribe(self) -> MemorySubscription:
            """Begin to listen."""
            with self._memory.changed:
                made = subscription(self._open())
                self._memory.subscriptions.add(made)
                self._subscriptions.add(made)
                return made

    Store.__name__ = subscription.__name__
    return Store


class Chatty(MemoryStore):
    """It tells what is known already."""

    def announce(self, route: Route) -> None:
        """Tell again."""
        with self._memory.changed:
            super().announce(route)
            self._memory.tell(route.prefix, Announced(route=route))


class Blinking(MemoryStore):
    """It withdraws a route, and replaces it when somebody asks again."""

    def announce(self, route: Route) -> None:
        """Withdraw first."""
        known = self._memory.routes.get(route.prefix)
        if known and known[0] != route:
            self.withdraw(known[0])
        else:
            super().announce(route)


class FirstStands(MemoryStore):
    """The first route of a prefix stands until it is withdrawn."""

    def announce(self, route: Route) -> None:
        """Announce what is new."""
        if route.prefix not in self._memory.routes:
            super().announce(route)


class Meddling(MemoryStore):
    """It withdraws whatever is announced for the prefix."""

    def withdraw(self, route: Route) -> None:
        """Look at the prefix."""
        known = self._memory.routes.get(route.prefix)
        super().withdraw(known[0] if known else route)


class Pedantic(MemoryStore):
    """It withdraws only what is equal."""

    def withdraw(self, route: Route) -> None:
        """Compare all."""
        known = self._memory.routes.get(route.prefix)
        if known and known[0] == route:
            super().withdraw(route)


class Farewell(MemoryStore):
    """Closing a handle withdraws what was announced."""

    def close(self) -> None:
        """Withdraw all."""
        with self._memory.changed:
            for prefix in list(self._memory.routes):
                self._memory.withdraw(prefix)
        super().close()


class Contagious(MemoryStore):
    """Closing a handle ends the subscriptions of all."""

    def close(self) -> None:
        """End all."""
        for subscription in list(self._memory.subscriptions):
            subscription.close()
        super().close()


class Textual(MemoryStore):
    """Every value of a tunnel comes back as text."""

    def announce(self, route: Route) -> None:
        """Write down."""
        data = {name: str(value) for name, value in route.tunnel.data}
        super().announce(attrs.evolve(route, tunnel=Tunnel(type=route.tunnel.type, data=data)))


@pytest.mark.parametrize(
    ("planted", "tests"),
    [
        (Racy, ["test_race", "test_many_at_once"]),
        (Stale, ["test_listed", "test_many_at_once"]),
        (Trusting, ["test_renew", "test_claim_again", "test_stale_renewals"]),
        (Hasty, ["test_stale_renewals", "test_many_at_once"]),
        (Literal, ["test_overlap", "test_wider_than_many", "test_many_at_once"]),
        (OneFamily, ["test_overlap"]),
        (Hoarder, ["test_one_lease_per_node", "test_grow", "test_many_at_once"]),
        (Rash, ["test_refused_changes_nothing"]),
        (Grudging, ["test_end", "test_wider_than_many"]),
        (Forgiving, ["test_taken_meanwhile", "test_end", "test_claim_again"]),
        (Sloppy, ["test_release_old_revision"]),
        (Adding, ["test_renew"]),
        (Truncating, ["test_fraction"]),
        (Repeating, ["test_claim_again"]),
        (Leaving, ["test_close"]),
        (Undying, ["test_end"]),
        (OneReservation, ["test_many"]),
        (Masterful, ["test_reserve_taken"]),
        (LastWord, ["test_first_stands"]),
        (Unbound, ["test_end_withdraws", "test_release_withdraws", "test_moving_withdraws"]),
        (Purging, ["test_unbound", "test_replaced_by_another"]),
        (Flapping, ["test_renewal_keeps"]),
        (Reviving, ["test_late_renewal_brings_nothing_back"]),
        (reading(Deaf), ["test_gap"]),
        (reading(Shy), ["test_empty"]),
        (reading(Brief), ["test_first_event"]),
        (reading(Lossy), ["test_asleep"]),
        (reading(Optimistic), ["test_asleep"]),
        (Chatty, ["test_again"]),
        (Blinking, ["test_replace"]),
        (FirstStands, ["test_replace", "test_replace_by_another"]),
        (Meddling, ["test_withdraw_not_own"]),
        (Pedantic, ["test_withdraw_own"]),
        (Farewell, ["test_close_store"]),
        (Contagious, ["test_close_store"]),
        (Textual, ["test_scalars"]),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else value[0],
)
def test_of_a_store(planted: type[MemoryStore], tests: Sequence[str]) -> None:
    """Each fault is found by the tests whose facts it breaks."""
    for test in tests:
        fails(Suite(planted), test)


class Stubborn(like_bgp.Speaker):
    """It keeps a route that its origin has withdrawn."""

    def receive(self) -> bool:
        """Throw away letters that withdraw."""
        while self.mail and self.mail[0][2] is None:
            self.mail.popleft()
        return super().receive()


class Possessive(like_bgp.Speaker):
    """It has room for one route of a prefix, whoever told it."""

    def receive(self) -> bool:
        """Forget what others told."""
        for prefix, _, _ in list(self.mail)[:1]:
            for key in [key for key in self.heard if key[0] == prefix]:
                del self.heard[key]
        return super().receive()


class Secretive(like_bgp.Speaker):
    """It tells its peers, and not its own readers."""

    def best(self) -> Mapping[Prefix, Route]:
        """Leave its own out."""
        return {prefix: route for prefix, route in super().best().items() if prefix not in self.own}


class Late(like_bgp.Speaker):
    """Who comes later is not told what was said before."""

    def __init__(self, mesh: like_bgp.Mesh) -> None:
        super().__init__(mesh)
        self.mail.clear()


@pytest.mark.parametrize(
    ("planted", "test"),
    [
        (Stubborn, "test_changes"),
        (Possessive, "test_replace_by_another"),
        (Secretive, "test_first_event"),
        (Late, "test_replace_by_another"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_of_a_lesser_store(planted: type[like_bgp.Speaker], test: str) -> None:
    """What is held to less is held to that."""

    class Lesser(RouteStoreContract):
        supports = RouteStoreContract.supports - {"shared", "immediate", "exact events", "nodes", "tunnels"}
        soon = 0.1

        def bed(self) -> Bed[like_bgp.Speaker]:
            """Return the faulty one."""
            return like_bgp.bed(planted)

    fails(Lesser(), test)
