"""What a host asks of etcd, in calls: the same in a network of ten hosts and of a thousand."""

from __future__ import annotations

import re
import threading
import urllib.request
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from ipaddress import IPv4Network, ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any, TypeVar

import pytest

from containernet import claim_subnet
from containernet.addresses import AddressBook
from containernet.agent import Agent
from containernet.assembly import assembled
from containernet.config import parse
from containernet.contracts import Settings
from containernet.events import Snapshot
from containernet.keeper import agreed
from containernet.model import NetworkConfig, Node, Pool, Route, Tunnel
from containernet.testing import FakeKernel
from containernet_backends.etcd import EtcdOptions, EtcdStore, requests
from containernet_backends.etcd.client import Client
from containernet_backends.etcd.messages import Method
from tests.waiting import wait_until

from .hosts import LONG
from .server import Cluster

pytestmark = pytest.mark.etcd

NETWORK = NetworkConfig(pools=(Pool(prefix=ip_network("10.0.0.0/8"), subnet_length=24),))
T = TypeVar("T")
VALUE = b'{"PublicIP":"192.0.2.7","PublicIPv6":null,"BackendType":"host-gw"}'
AT_ONCE = 100  # puts in a transaction; etcd takes 128


class Counting(Client):
    """A client that remembers the name of every call; a watch is none."""

    def __init__(self, options: EtcdOptions) -> None:
        super().__init__(options)
        self.calls: list[str] = []

    def call(self, method: Method[T], *request: Any) -> T:
        """Note and do it."""
        self.calls.append(method.name)
        return super().call(method, *request)

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
    assert few["announce"] == ["Txn"]
    assert few["hear"] == []


def counted(etcd: Cluster) -> Counter[str]:
    """Return how many calls etcd itself has counted so far, by method, and how many watches it holds now."""
    with urllib.request.urlopen(f"{etcd.urls[0]}/metrics") as answer:
        told = answer.read().decode()
    # Of streams etcd counts none.
    found = re.findall(
        r'^grpc_server_started_total{grpc_method="(\w+)",[^}]*,grpc_type="unary"} (\d+)$', told, re.MULTILINE
    )
    found += re.findall(r"^etcd_debugging_mvcc_(watcher)_total (\d+)$", told, re.MULTILINE)
    return Counter({name: int(count) for name, count in found})


def start(etcd: Cluster, prefix: str, others: int, directory: Path) -> Counter[str]:
    """Return the calls from a config file to a host that is ready, made as containernetd makes it."""
    store = {"leases": "etcd", "routes": "etcd", "etcd": {**etcd.options(), "prefix": prefix}}
    network = {"pool": str(NETWORK.pools[0].prefix), "subnet_length": 24}
    daemon = {"state_dir": str(directory), "run_dir": str(directory)}
    dataplane = {"remote": "host-gw"}
    config = parse({"store": store, "network": network, "daemon": daemon, "dataplane": dataplane})
    kernel = FakeKernel(addresses=("192.0.2.1/24",))
    before = counted(etcd)
    with assembled(config, kernel=kernel) as parts, closing(AddressBook(config.addresses)) as addresses:
        agreed_on = agreed(parts.network(), config.network)
        agent = Agent(
            node=Node(name="a", interface="eth0", addresses=(ip_interface("192.0.2.1/24"),)),
            network=agreed_on,
            leases=parts.leases,
            routes=parts.routes,
            local=parts.local,
            remote=parts.remote,
            kernel=kernel,
            addresses=addresses,
            state=config.view,
            settings=parts.settings or Settings(network=agreed_on, dataplane=parts.dataplane.name),
        )
        ready = threading.Event()
        running = threading.Thread(target=lambda: agent.run(when_ready=ready.set))
        running.start()
        try:
            assert ready.wait(LONG), agent.status().reasons
            assert sum(known.route.node != "a" for known in agent.status().routes) == others
            wait_until(lambda: counted(etcd)["watcher"] > before["watcher"], what="it watches", patience=5)
            calls = counted(etcd) - before
        finally:
            agent.stop()
            running.join(LONG)
    wait_until(lambda: counted(etcd)["watcher"] == before["watcher"], what="the watch ends", patience=5)
    return calls


@pytest.mark.parametrize("others", [10, 300])
def test_a_start_lists_once(etcd: Cluster, prefix: str, tmp_path: Path, others: int) -> None:
    """Of nothing, and with a lease that it has: settings, claim and routes are served by one Range.

    A host that comes to an empty place writes the settings, its record, and what it announces.
    """
    with closing(Client(EtcdOptions(endpoints=etcd.urls))) as client:
        fill(client, prefix, others)
    calls = start(etcd, prefix, others, tmp_path)
    assert calls == {"Range": 1, "LeaseGrant": 1, "Txn": 3, "watcher": 1}
    again = start(etcd, prefix, others, tmp_path)
    assert again == {"Range": 1, "Txn": 2, "watcher": 1}  # and one LeaseKeepAlive
