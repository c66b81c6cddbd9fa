"""A store in memory, that fails, hangs and loses exactly what a test tells it to; and the status of a node.

It is one host's connection: several of one name hold the same leases and routes, each with faults of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_interface, ip_network

from containernet.errors import StoreUnavailable
from containernet.events import Announced, Event, Quarantined, Snapshot, Withdrawn
from containernet.model import Lease, NetworkConfig, Node, Prefix, Route
from containernet.status import Status
from containernet.testing import FOR_EVER, SOON, Faults
from containernet_backends.memory import MemoryStore, MemorySubscription

READY = Status(
    node=Node(
        name="a",
        interface="eth0",
        addresses=(ip_interface("192.0.2.1/24"),),
        subnets=(ip_network("10.4.1.0/24"),),
        overhead=50,
    ),
    store="sqlite",
    lease_seconds=60.0,
    synced=True,
    announced=True,
    programming=True,
    settled=True,
    desired=5,
    programmed=5,
    routes=(),
    refused={},
    quarantined={},
    failures=(),
    endpoints=(),
    gone=(),
    stranded=(),
    repairs=0,
    lease_trouble="",
    route_trouble="",
    kernel_trouble="",
)


class FakeSubscription:
    """One reader of a `FakeStore`, that a test can cut off."""

    def __init__(self, inner: MemorySubscription, faults: Faults, aside: list[Quarantined]) -> None:
        self._inner = inner
        self._aside = aside
        self._faults = faults
        self._cut = False

    def next_event(self, timeout: float) -> Event | None:
        """Wait for the next event."""
        with self._faults.around("next_event"):
            if self._aside:
                return self._aside.pop(0)
            event = self._inner.next_event(timeout)
            if self._cut:
                raise StoreUnavailable("the connection was cut")
            return event

    def close(self) -> None:
        """End the subscription."""
        self._inner.close()

    def cut(self) -> None:
        """Break the connection: the next or waiting `next_event` says so."""
        self._cut = True
        self._inner.close()


class FakeStore(MemoryStore):
    """One host's connection to a memory store: it can fail, hang, be away, and lose answers.

    Connections of one name hold the same leases and routes; each has its own faults. See `MemoryStore`.
    """

    def __init__(self, *, name: str, now: Callable[[], float] | None = None) -> None:
        if now is None:
            super().__init__(name=name)
        else:
            super().__init__(name=name, now=now)
        self.faults = Faults()
        self._cuttable: list[FakeSubscription] = []
        self._aside: list[Quarantined] = []

    CALLS = ("network", "configure", "leases", "claim", "renew", "release", "announce", "withdraw", "subscribe")

    def go_away(self) -> None:
        """Be unreachable for every call from now on, and cut every subscription."""
        for call in self.CALLS:
            self.faults.fail(call, StoreUnavailable("the store is away"), times=FOR_EVER)
        self.cut()

    def cut(self) -> None:
        """Cut every subscription; a new one can be had."""
        for subscription in self._cuttable:
            subscription.cut()
        self._cuttable.clear()

    def set_aside(self, record: Quarantined) -> None:
        """Tell of a record that cannot be read, behind the next event."""
        self._aside.append(record)

    def come_back(self) -> None:
        """Be reachable again."""
        self.faults.heal()

    def network(self) -> NetworkConfig | None:
        """See LeaseStore."""
        with self.faults.around("network"):
            return super().network()

    def configure(self, network: NetworkConfig) -> NetworkConfig:
        """See ConfiguresNetwork."""
        with self.faults.around("configure"):
            return super().configure(network)

    def leases(self) -> Sequence[Lease]:
        """See LeaseStore."""
        with self.faults.around("leases"):
            return super().leases()

    def claim(self, subnets: tuple[Prefix, ...], node: str, ttl: float) -> Lease:
        """See LeaseStore."""
        with self.faults.around("claim"):
            return super().claim(subnets, node, ttl)

    def renew(self, lease: Lease, ttl: float) -> Lease:
        """See LeaseStore."""
        with self.faults.around("renew"):
            return super().renew(lease, ttl)

    def release(self, lease: Lease) -> None:
        """See LeaseStore."""
        with self.faults.around("release"):
            super().release(lease)

    def announce(self, route: Route) -> None:
        """See RouteStore."""
        with self.faults.around("announce"):
            super().announce(route)

    def withdraw(self, route: Route) -> None:
        """See RouteStore."""
        with self.faults.around("withdraw"):
            super().withdraw(route)

    def subscribe(self) -> FakeSubscription:  # type: ignore[override]
        """See RouteStore."""
        with self.faults.around("subscribe"):
            subscription = FakeSubscription(super().subscribe(), self.faults, self._aside)
            self._cuttable.append(subscription)
            return subscription


def wait_for_routes(store: MemoryStore, condition: Callable[[Mapping[Prefix, Route]], bool]) -> None:
    """Wait until the routes that `store` tells fulfil the condition."""
    routes: dict[Prefix, Route] = {}
    subscription = store.subscribe()
    try:
        event = subscription.next_event(SOON)
        while event is not None:
            match event:
                case Snapshot():
                    routes = {route.prefix: route for route in event.routes}
                case Announced(route=route):
                    routes[route.prefix] = route
                case Withdrawn(prefix=prefix):
                    routes.pop(prefix, None)
            if condition(routes):
                return
            event = subscription.next_event(SOON)
    finally:
        subscription.close()
    raise AssertionError(f"the store tells: {list(map(str, routes.values()))}")
