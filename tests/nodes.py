"""A node that is ready, on the thread of the test, with a kernel in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_interface, ip_network
from pathlib import Path

from containernet.addresses import AddressBook
from containernet.agent import Agent, _Heard
from containernet.cni.plugin import Plugin
from containernet.events import Snapshot
from containernet.keeper import Held
from containernet.model import Lease, NetworkConfig, Node, Pool
from containernet.testing import FakeKernel
from containernet_backends.bridge import Bridge
from containernet_backends.host_gw import HostGateway
from containernet_backends.memory import MemoryStore

NETWORK = NetworkConfig(pools=(Pool(prefix=ip_network("10.4.0.0/16"), subnet_length=29),))
NODE = Node(name="me", interface="eth0", addresses=(ip_interface("192.0.2.1/24"),))
LEASE = Lease(subnets=(ip_network("10.4.1.0/29"),), node="me", expires=60, revision="1")
CONTAINERS = ("c1", "c2", "c3", "c4", "c5", "c6", "c7")
NAME = "containernet-cni"


@contextmanager
def plugin() -> Iterator[tuple[Plugin, Agent]]:
    """Make the plugin of a node that is ready, on this thread, with room for five containers."""
    kernel, store = FakeKernel(), MemoryStore()
    for name in CONTAINERS:
        kernel.add_namespace(f"/run/netns/{name}")
    with tempfile.TemporaryDirectory() as directory:
        book = AddressBook(Path(directory) / "addresses.db")
        agent = Agent(
            node=NODE,
            network=NETWORK,
            leases=store,
            routes=store,
            local=Bridge(),
            remote=HostGateway(),
            kernel=kernel,
            addresses=book,
            state=Path(directory) / "view.json",
        )
        agent._inbox.own()
        for message in (Held(lease=LEASE, until=1e12), _Heard(event=Snapshot(routes=()))):
            agent._inbox.put(message)
            agent._inbox.wake()
            agent._turn()
        try:
            yield Plugin(agent, local=Bridge(), letters=Path(directory) / "letters"), agent
        finally:
            book.close()
