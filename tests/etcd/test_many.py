"""Many at once: hosts that join in the same moment, and records that come in one burst.

What flannel loses here: some hosts exit that join at once, and of a thousand records in a burst it misses some.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address, IPv4Network, ip_interface, ip_network
from itertools import combinations
from pathlib import Path

import attrs
import pytest

from containernet.addresses import AddressBook
from containernet.agent import Agent
from containernet.items import Item, KernelRoute, Key
from containernet.model import NetworkConfig, Node, Pool, overlaps
from containernet.testing import FakeKernel
from containernet_backends.bridge import Bridge
from containernet_backends.etcd import EtcdStore, records
from containernet_backends.vxlan import Vxlan

from .raw import Raw
from .server import Cluster, wait_until

pytestmark = pytest.mark.etcd

NETWORK = NetworkConfig(pools=(Pool(prefix=ip_network("10.64.0.0/11"), subnet_length=24),))
LONG = 60.0  # seconds; for two busy processors
HOSTS = 50
RECORDS = 1000


@attrs.frozen(kw_only=True)
class Host:
    """A host whose kernel is a fake, and whose agent runs in threads."""

    agent: Agent
    kernel: FakeKernel


@contextmanager
def host(number: int, etcd: Cluster, prefix: str, directory: Path) -> Iterator[Host]:
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


def test_hosts_that_join_at_once_all_get_a_subnet(etcd: Cluster, raw: Raw, prefix: str, tmp_path: Path) -> None:
    """Each holds one of its own, nobody gives up, and every kernel ends with a route to every other."""
    before = raw.leases()
    with ExitStack() as stack:
        hosts = [stack.enter_context(host(number, etcd, prefix, tmp_path)) for number in range(1, HOSTS + 1)]
        for each in hosts:
            each.kernel.wait_for(lambda items: len(destinations(items)) == HOSTS - 1, timeout=LONG)
        found = {
            key.rpartition("/")[2]: records.decode(key.rpartition("/")[2], value)
            for key, value in raw.items(f"{prefix}/subnets/").items()
        }
        statuses = [each.agent.status() for each in hosts]
    assert {record.node for record in found.values()} == {f"host{each}" for each in range(1, HOSTS + 1)}
    held = [subnet for record in found.values() for subnet in record.subnets]
    assert len(held) == HOSTS
    assert not [pair for pair in combinations(held, 2) if overlaps(*pair)]
    assert all(status.ready for status in statuses), [status.reasons for status in statuses]
    assert len(raw.leases() - before) == HOSTS  # a race that was lost left none behind


def test_a_burst_of_records_all_reaches_the_kernel(
    etcd: Cluster, raw: Raw, prefix: str, tmp_path: Path
) -> None:
    """A thousand hosts appear in a second, and leave in one request: the kernel follows both ways."""
    with host(1, etcd, prefix, tmp_path) as listener:
        wait_until(lambda: listener.agent.status().ready, what="ready")
        wanted = dict(flannels(number) for number in range(RECORDS))
        for key, value in wanted.items():
            raw.put(f"{prefix}/subnets/{key}", value)
        expected = {subnet for key in wanted for subnet in records.subnets_of(key)}
        listener.kernel.wait_for(lambda items: destinations(items) == expected, timeout=LONG)
        own = records.key_of(listener.agent.node.subnets)
        raw.call(
            "KV/DeleteRange",
            key=f"{prefix}/subnets/10.80".encode(),
            range_end=f"{prefix}/subnets/10.84".encode(),
        )
        listener.kernel.wait_for(lambda items: not destinations(items), timeout=LONG)
        assert [*raw.items(f"{prefix}/subnets/")] == [f"{prefix}/subnets/{own}"]
        assert listener.agent.status().ready
