"""Hosts whose agents run in threads, with a kernel in memory, and records of flannel's."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv4Network, ip_interface, ip_network
from pathlib import Path

import attrs

from containernet.addresses import AddressBook
from containernet.agent import Agent
from containernet.items import Item, KernelRoute, Key
from containernet.model import NetworkConfig, Node, Pool
from containernet.testing import FakeKernel
from containernet_backends.bridge import Bridge
from containernet_backends.etcd import EtcdStore, records
from containernet_backends.vxlan import Vxlan

from .server import Cluster

NETWORK = NetworkConfig(pools=(Pool(prefix=ip_network("10.64.0.0/11"), subnet_length=24),))
LONG = 60.0  # seconds; for two busy processors


@attrs.frozen(kw_only=True)
class Host:
    """A host whose kernel is a fake, and whose agent runs in threads."""

    agent: Agent
    kernel: FakeKernel


@contextmanager
def host(number: int, etcd: Cluster, prefix: str, directory: Path, *, ttl: float = 2700.0) -> Iterator[Host]:
    """Run a host's agent as long as the block lasts; fails the test if the agent failed."""
    address = ip_interface(f"192.0.2.{number}/24")
    node = Node(name=f"host{number}", interface="eth0", addresses=(address,))
    store = EtcdStore.from_options({**etcd.options(), "prefix": prefix})
    kernel = FakeKernel(addresses=(str(address),))
    book = AddressBook(directory / f"{number}.db")
    agent = Agent(
        node=node,
        network=NETWORK,
        leases=store,
        routes=store,
        local=Bridge(),
        remote=Vxlan(),
        kernel=kernel,
        addresses=book,
        state=directory / f"{number}.json",
        ttl=ttl,
        store="etcd",
    )
    raised: list[BaseException] = []

    def run() -> None:
        try:
            agent.run()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, name=node.name)
    thread.start()
    try:
        yield Host(agent=agent, kernel=kernel)
    finally:
        agent.stop()
        thread.join(LONG)
        book.close()
        store.close()
    assert not raised, raised
    assert not thread.is_alive()


def destinations(items: Mapping[Key, Item]) -> set[object]:
    """Return where a kernel's routes of ours lead through a tunnel."""
    return {each.destination for each in items.values() if isinstance(each, KernelRoute) and each.onlink}


def flannels(number: int) -> tuple[str, str]:
    """Return the key and the value of a record as flannel writes them."""
    subnet = IPv4Network((int(IPv4Address("10.80.0.0")) + (number << 8), 24))
    hop = IPv4Address(int(IPv4Address("198.51.0.0")) + number)
    record = records.Record(
        subnets=(subnet,),
        next_hops=(hop,),
        type="vxlan",
        data={4: {"VNI": 1, "VtepMAC": f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}"}},
    )
    return records.key_of(record.subnets), records.encode(record).decode()
