"""A reader of the routes, and writers of keys that tell of some: what the tests of outages share."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address, ip_network
from typing import Any

from containernet.errors import StoreError
from containernet.events import Announced, Event, Snapshot, Withdrawn
from containernet.model import Prefix, Route, Tunnel
from containernet_backends.etcd import EtcdOptions, EtcdStore, records
from containernet_backends.etcd.client import Cancellation, Client

PATIENCE = 20.0  # seconds until what is to be heard is heard, on two busy processors


def route(number: int, mac: int = 0) -> Route:
    """Return the route of one host; `mac` makes it another."""
    return Route(
        prefix=ip_network(f"10.{number >> 8}.{number & 255}.0/24"),
        node=f"n{number}",
        next_hop=ip_address("192.0.2.1"),
        tunnel=Tunnel(type="vxlan", data={"VtepMAC": f"02:00:00:00:00:{mac:02x}"}),
    )


def key(prefix: str, told: Route) -> str:
    """Return the key that tells of a route."""
    return f"{prefix}/routes/{records.route_key(told.prefix)}"


class Counting(Client):
    """A client that counts its lists, and what it asks instead of one."""

    def __init__(self, options: EtcdOptions) -> None:
        super().__init__(options)
        self.lists = self.checks = 0

    def range(self, begin: bytes, end: bytes, cancellation: Cancellation | None = None) -> Any:
        """Count it."""
        told = super().range(begin, end, cancellation)
        self.lists += 1
        return told

    def newest(self, begin: bytes, end: bytes, revision: int, cancellation: Cancellation) -> Any:
        """Count it."""
        self.checks += 1
        return super().newest(begin, end, revision, cancellation)


class Reader:
    """Reads as a host's agent does: subscribes again when the connection is lost, and folds what it hears."""

    def __init__(self, store: EtcdStore) -> None:
        self.events: list[Event] = []
        self.routes: dict[Prefix, Route] = {}
        self.losses: list[StoreError] = []
        self._store = store
        self._subscription = store.subscribe()

    @property
    def snapshots(self) -> int:
        """How many there were."""
        return sum(isinstance(event, Snapshot) for event in self.events)

    def read(self, timeout: float = PATIENCE) -> None:
        """Hear of one event, or of the loss of the connection, or of nothing."""
        try:
            event = self._subscription.next_event(timeout)
        except StoreError as error:
            self.losses.append(error)
            self._subscription.close()
            self._subscription = self._store.subscribe()
            threading.Event().wait(0.05)  # the agent waits longer
            return
        match event:
            case Snapshot():
                self.routes = {each.prefix: each for each in event.routes}
            case Announced():
                self.routes[event.route.prefix] = event.route
            case Withdrawn():
                del self.routes[event.prefix]
        if event is not None:
            self.events.append(event)

    def read_until(self, done: Callable[[], object], *, patience: float = PATIENCE) -> None:
        """Read on until something is true."""
        deadline = time.monotonic() + patience
        while not done():
            left = deadline - time.monotonic()
            assert left > 0, f"heard of {len(self.events)} events, lost the connection by {self.losses}"
            self.read(min(left, 1.0))

    def close(self) -> None:
        """End the subscription."""
        self._subscription.close()


@contextmanager
def reading(options: dict[str, object]) -> Iterator[tuple[Reader, Counting]]:
    """Return a reader that has heard the first snapshot, and its client."""
    checked = EtcdOptions.read(options)
    client = Counting(checked)
    store = EtcdStore(checked, client=client)
    reader = Reader(store)
    try:
        reader.read_until(lambda: reader.snapshots)
        yield reader, client
    finally:
        store.close()
