"""A host dies at each call that it makes of etcd, before that is sent or answered, and starts again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from ipaddress import ip_address, ip_network
from typing import TypeVar

import pytest

from containernet import claim_subnet, snapshot
from containernet.contracts import Settings
from containernet.errors import StoreUnavailable
from containernet.model import Lease, NetworkConfig, Pool, Prefix, Route, Tunnel
from containernet_backends.etcd import EtcdOptions, EtcdStore, records
from containernet_backends.etcd.client import Cancellation, Client
from containernet_backends.etcd.messages import Method

from .raw import Raw
from .server import Cluster

pytestmark = pytest.mark.etcd

NETWORK = NetworkConfig(
    pools=(
        Pool(prefix=ip_network("10.4.0.0/16"), subnet_length=24),
        Pool(prefix=ip_network("fd00:4::/48"), subnet_length=64),
    )
)
HOPS = {4: ip_address("192.0.2.1"), 6: ip_address("2001:db8::1")}
NODE = "host1"
T = TypeVar("T")


class Mortal(Client):
    """A client whose host dies at its `last` call, counted from 1; nothing that it does after that is sent."""

    def __init__(self, options: EtcdOptions, *, last: int, sent: bool) -> None:
        super().__init__(options)
        self.made = 0
        self._last = last
        self._sent = sent

    def call(self, method: Method[T], request: bytes, cancellation: Cancellation | None = None) -> T:
        """Do it, if the host is alive to send it; tell, if it is alive to be told."""
        self.made += 1
        if self.made < self._last:
            return super().call(method, request, cancellation)
        if self.made == self._last and self._sent:
            super().call(method, request, cancellation)
        raise StoreUnavailable("the host is dead")


@contextmanager
def life(store: EtcdStore, *, leave: bool) -> Iterator[Lease]:
    """Live as a daemon does, which starts, claims, announces, renews and perhaps leaves."""
    store.starting()
    store.keep(Settings(network=NETWORK), over=store.settings())
    store.recognise(NODE, HOPS.values())
    lease = claim_subnet(store, NETWORK, node=NODE, ttl=60)
    routes = [
        Route(prefix=subnet, node=NODE, next_hop=HOPS[subnet.version], tunnel=Tunnel(type="host-gw"))
        for subnet in lease.subnets
    ]
    for route in routes:
        store.announce(route)
    yield store.renew(lease, 60)
    for route in routes if leave else ():
        store.withdraw(route)
    if leave:
        store.release(lease)


def death(options: EtcdOptions, last: int, *, sent: bool) -> int:
    """Live until that call; return how many were made."""
    client = Mortal(options, last=last, sent=sent)
    with (
        closing(EtcdStore(options, client=client)) as store,
        suppress(StoreUnavailable),
        life(store, leave=True),
    ):
        pass
    return client.made


@pytest.mark.parametrize("sent", [False, True], ids=["not sent", "not answered"])
def test_whichever_call_is_the_last(etcd: Cluster, prefix: str, raw: Raw, sent: bool) -> None:
    """There is one record again, of the same subnets if there was any, that says all; then nothing is left.

    An etcd lease whose grant was not answered ends with its time. Nothing hangs on it.
    """
    whole = death(EtcdOptions(endpoints=etcd.urls, prefix=f"{prefix}/whole"), 1000, sent=sent)
    assert whole > 10
    for last in range(1, whole + 1):
        options = EtcdOptions(endpoints=etcd.urls, prefix=f"{prefix}/{last}")
        before, subnets = raw.leases(), f"{options.prefix}/subnets/"
        death(options, last, sent=sent)
        held = list(raw.items(subnets))
        with closing(EtcdStore(options)) as store:
            with life(store, leave=True) as lease:
                (key,) = raw.items(subnets)
                assert key == subnets + records.key_of(lease.subnets)
                assert held in ([], [key])
                assert told(options) == {*lease.subnets}
                assert not raw.items(f"{options.prefix}/routes/")
            assert raw.items(f"{options.prefix}/").keys() == {f"{options.prefix}/config"}
        left = raw.leases() - before
        assert len(left) <= 1
        assert not any(raw.call("Lease/LeaseTimeToLive", ID=each, keys=True).keys for each in left)


def told(options: EtcdOptions) -> set[Prefix]:
    """Return what another host hears."""
    with closing(EtcdStore(options)) as other:
        heard = snapshot(other)
    assert not heard.quarantined
    return {route.prefix for route in heard.routes}
