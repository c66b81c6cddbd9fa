"""What a host asks of etcd, in calls: the same in a network of ten hosts and of a thousand."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from ipaddress import IPv4Network, ip_address, ip_network
from typing import Any

import pytest

from containernet import claim_subnet
from containernet.events import Snapshot
from containernet.model import NetworkConfig, Pool, Route, Tunnel
from containernet_backends.etcd import EtcdOptions, EtcdStore, requests
from containernet_backends.etcd.client import Client

from .server import Cluster

pytestmark = pytest.mark.etcd

NETWORK = NetworkConfig(pools=(Pool(prefix=ip_network("10.0.0.0/8"), subnet_length=24),))
VALUE = b'{"PublicIP":"192.0.2.7","PublicIPv6":null,"BackendType":"host-gw"}'
AT_ONCE = 100  # puts in a transaction; etcd takes 128


class Counting(Client):
    """A client that remembers the name of every call; a watch is none."""

    def __init__(self, options: EtcdOptions) -> None:
        super().__init__(options)
        self.calls: list[str] = []

    def call(self, path: str, request: Any, *more: Any) -> Any:
        """Note and do it."""
        self.calls.append(path.rpartition("/")[2])
        return super().call(path, request, *more)

    def told(self) -> list[str]:
        """Return what was called since this was asked last."""
        calls, self.calls = self.calls, []
        return calls


def fill(client: Client, prefix: str, count: int) -> None:
    """Write so many records, as of hosts that are there."""
    some = (IPv4Network((10 << 24 | number << 8, 24)) for number in range(1, count + 1))
    puts = [requests.put(f"{prefix}/subnets/{subnet}".replace("/24", "-24").encode(), VALUE) for subnet in some]
    for start in range(0, count, AT_ONCE):
        client.txn([], puts[start : start + AT_ONCE])


def life(etcd: Cluster, prefix: str, others: int) -> Mapping[str, list[str]]:
    """Return the calls of each step of a host's life among so many others."""
    options = EtcdOptions(endpoints=etcd.urls, prefix=prefix)
    client = Counting(options)
    steps = {}
    with closing(EtcdStore(options, client=client)) as store:
        fill(client, prefix, others)
        client.told()
        with closing(store.subscribe()) as subscription:
            heard = subscription.next_event(5)
            assert isinstance(heard, Snapshot)
            assert len(heard.routes) == others
            steps["subscribe"] = client.told()
            lease = claim_subnet(store, NETWORK, node="a", ttl=60)
            steps["claim"] = client.told()
            route = Route(
                prefix=lease.subnets[0],
                node="a",
                next_hop=ip_address("192.0.2.1"),
                tunnel=Tunnel(type="host-gw"),
            )
            store.announce(route)
            steps["announce"] = client.told()
            assert subscription.next_event(5) is not None
            steps["hear"] = client.told()
            store.renew(lease, 60)
            steps["renew"] = client.told()
            store.withdraw(route)
            store.release(lease)
            client.told()
    return steps


def test_a_host_makes_as_many_calls_among_a_thousand_as_among_ten(etcd: Cluster, prefix: str) -> None:
    """One list for a subscription, one for a claim, none for what it hears; nothing is asked peer by peer."""
    few, many = (life(etcd, f"{prefix}/{others}", others) for others in (10, 1000))
    assert few == many
    assert few["subscribe"] == ["Range"]
    assert few["claim"] == ["Range", "LeaseGrant", "Txn"]
    assert few["hear"] == []
