"""EtcdStore: the contracts' methods, each a line; what they do is told by the modules beside."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import Self

from containernet.contracts import Options, Settings
from containernet.model import Address, Lease, NetworkConfig, Prefix, Route

from . import network as networks, requests
from .announcements import Announcements
from .client import Client
from .ledger import Ledger
from .messages import KeyValue
from .opening import Listed, Opening
from .options import EtcdOptions
from .subscription import EtcdSubscription
from .view import Keys, View


class EtcdStore:
    """LeaseStore, RouteStore, and all that a lease store can do beside; threads share it.

    Args:
        options: checked; nothing is opened before the first call.
        client: the way to the cluster, if not the usual one.
    """

    def __init__(self, options: EtcdOptions | None = None, *, client: Client | None = None) -> None:
        options = options or EtcdOptions()
        self._client = client or Client(options)
        self._keys = Keys(options.prefix)
        self._opening = Opening(self._client, self._keys)
        self._ledger = Ledger(self._client, self._keys, self._opening, put_again=options.announce_again)
        self._announcements = Announcements(self._client, self._keys, self._ledger)
        self._subscriptions: set[EtcdSubscription] = set()
        self._left: View | None = None  # by a subscription whose connection was lost
        self._lock = threading.Lock()

    @classmethod
    def from_options(cls, options: Options) -> Self:
        """Build the store from [store.etcd]; see EtcdOptions. Opens nothing."""
        return cls(EtcdOptions.read(options))

    def network(self) -> NetworkConfig | None:
        """Return the network that flannel's config describes, or None."""
        settings = self.settings()
        return settings.network if settings is not None else None

    def starting(self) -> None:
        """Let one list serve what a host asks first; see `opening`."""
        self._opening.begin()

    def settings(self) -> Settings | None:
        """Return what flannel's config says to all hosts, or None."""
        return _read(self._config(self._opening.look(self._keys.settings)))

    def keep(self, settings: Settings, *, over: Settings | None) -> Settings:
        """Store `settings` if `over` is what is stored; return what stands then."""
        there = self._config(self._opening.take(self._keys.settings))
        standing = _read(there)
        if standing != over:
            return standing or settings
        key = self._keys.config
        answer = self._client.txn(
            [requests.unchanged(key, there.mod_revision if there is not None else 0)],
            [requests.put(key, networks.encode(settings))],
            [requests.get(key)],
        )
        if answer.succeeded:
            return settings
        return _read(next(iter(answer.responses[0].response_range.kvs), None)) or settings

    def _config(self, listed: Listed | None) -> KeyValue | None:
        if listed is None:
            return self._client.get(self._keys.config)
        return next(iter(listed.kvs), None)

    def configure(self, network: NetworkConfig) -> NetworkConfig:
        """Store the configuration if there is none; return the one that stands."""
        return self.keep(Settings(network=network), over=None).network

    def recognise(self, node: str, addresses: Iterable[Address]) -> None:
        """Take a record that bears one of `addresses` and no name for one of `node`."""
        self._ledger.recognise(node, addresses)

    def leases(self) -> Sequence[Lease]:
        """Return all leases and reservations."""
        return self._ledger.leases()

    def claim(self, subnets: tuple[Prefix, ...], node: str, ttl: float) -> Lease:
        """Take `subnets` for `node`, or raise LeaseTaken."""
        return self._ledger.claim(subnets, node, ttl)

    def reserve(self, subnets: tuple[Prefix, ...]) -> Lease:
        """Set `subnets` aside, or raise LeaseTaken."""
        return self._ledger.reserve(subnets)

    def renew(self, lease: Lease, ttl: float) -> Lease:
        """Extend `lease`, or raise LeaseLost; a reservation keeps having no end."""
        return self._ledger.renew(lease, ttl)

    def release(self, lease: Lease) -> None:
        """Give `lease` back with its routes, or raise LeaseLost."""
        self._ledger.release(lease)

    def announce(self, route: Route) -> None:
        """Tell everybody; see `announcements`."""
        self._announcements.announce(route)

    def withdraw(self, route: Route) -> None:
        """Take the announcement back, if it is still the node's own."""
        self._announcements.withdraw(route)

    def subscribe(self) -> EtcdSubscription:
        """Begin to listen; goes on from where a subscription ended that has lost its connection."""
        with self._lock:
            view, self._left = self._left, None
            subscription = EtcdSubscription(self._client, self._keys, self._opening, view, ended=self._ended)
            self._subscriptions.add(subscription)
        return subscription

    def close(self) -> None:
        """End every subscription and let go of the connections; may be called twice."""
        with self._lock:
            subscriptions = list(self._subscriptions)
        for subscription in subscriptions:
            subscription.close()
        self._client.close()

    def _ended(self, subscription: EtcdSubscription, view: View | None) -> None:
        with self._lock:
            self._subscriptions.discard(subscription)
            self._left = self._left if view is None else view


def _read(kv: KeyValue | None) -> Settings | None:
    return networks.decode(kv.value) if kv is not None else None
