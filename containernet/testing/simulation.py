"""A network of hosts in memory, in which a packet can be traced.

`World` plugs simulated kernels together, with switches and routers, as a laboratory does with real ones; that
both agree on what reaches what, which way, and how large it may be is a property that the tests hold
(tests/kernel/test_simulation.py).

No clock, no thread, no chance. What time would bring (a neighbour asked for, a switch that learns) is there at
once.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Mapping
from ipaddress import ip_network
from types import MappingProxyType

import attrs

from .. import derive
from ..addresses import bridge_address
from ..contracts import Dataplane, LocalDelivery
from ..items import Bridge, Item, KernelRoute
from ..lab.topology import Topology
from ..model import Address, Endpoint, Interface, NetworkConfig, Node, Pool, Prefix, Route
from ..planning import Create, Operation
from ..reconciler import Reconciler
from ..rendering import host_items, own_routes, peer_items, with_subnets
from ..tables import Device
from ..tracing import Death, Network, Trace, trace
from .memory_kernel import Fabric
from .simulated_kernel import SimulatedKernel


@attrs.frozen(kw_only=True)
class Reply:
    """The echo comes back."""


@attrs.frozen(kw_only=True)
class Told:
    """The sender is told that, and by whom, the packet was not let through; see `Death.kind`."""

    kind: str
    where: str
    mtu: int = 0


@attrs.frozen(kw_only=True)
class Silence:
    """The sender hears nothing."""


Answer = Reply | Told | Silence


class Member:
    """A host of a `World`: its kernel, the node that it is, and what it has been told.

    `node` may be set, before `World.settle`, to a node that believes something wrong.
    """

    def __init__(self, node: Node, kernel: SimulatedKernel) -> None:
        self.node = node
        self.kernel = kernel
        self.reconciler = Reconciler(kernel)
        self.endpoints: dict[str, Endpoint] = {}
        self.refused: dict[str, str] = {}
        self.heard = 0  # how much of the world's news


class World:
    """Several hosts on an underlay, with containers.

    Args:
        network: the pools; every host has the subnet of its number.
        remote, local: the dataplanes of all hosts.
    """

    def __init__(self, network: NetworkConfig, *, remote: Dataplane, local: LocalDelivery) -> None:
        self.network = network
        self.remote = remote
        self.local = local
        self.fabric = Fabric[SimulatedKernel]()
        self.members: dict[str, Member] = {}
        self.routes: dict[str, tuple[Route, ...]] = {}
        self.news: list[str] = []  # the hosts whose announcements have changed, as it came
        self.due: set[str] = set()  # the hosts that have not done yet what is desired

    @classmethod
    def of(
        cls, topology: Topology, network: NetworkConfig, *, remote: Dataplane, local: LocalDelivery
    ) -> World:
        """Return the world that looks like that laboratory, its containers attached and everybody settled."""
        world = cls(network, remote=remote, local=local)
        for segment in topology.segments:
            for nic in ("", "2")[: 1 + topology.second_nic]:
                world.add_switch(f"switch-{segment.name}{nic}")
        if topology.router:
            plugs = {f"switch-{name}": addresses for name, addresses in topology.router.items()}
            world.add_router("router", plugs, mtu=topology.mtu)
        for host in topology.members:
            switch = f"switch-{host.segment}"
            world.add_host(
                host.name,
                switch,
                host.addresses,
                gateways=host.gateways,
                mtu=topology.mtu,
                plugs={"eth1": f"{switch}2"} if topology.second_nic else {},
            )
        for host in topology.members:
            for container in host.containers:
                world.attach(container, host.name)
        return world

    @property
    def view(self) -> Network:
        """Everything that there is, for the tracer; a host is settled when a packet gets there."""
        tables = {name: kernel.tables for name, kernel in self.fabric.kernels.items()}
        return Network(tables=tables, cables=self.fabric.cables, enter=self._settle_if_due)

    def _settle_if_due(self, name: str) -> None:
        # What a host knows of its peers matters only to a packet that is there.
        if name in self.due:
            self.settle(name)

    # Building.

    def add_switch(self, name: str, *, mtu: int = 65535) -> None:
        """Add a switch."""
        kernel = self.fabric.add(SimulatedKernel(name))
        kernel.put_foreign(Device(name="switch", type=Bridge(), mtu=mtu))

    def add_router(self, name: str, plugs: Mapping[str, tuple[Interface, ...]], *, mtu: int = 1500) -> None:
        """Add a router, with its addresses by switch."""
        kernel = self.fabric.add(SimulatedKernel(name))
        kernel.tables.forwarding |= {4, 6}
        for number, (switch, addresses) in enumerate(plugs.items()):
            self._plug_in(kernel, f"eth{number}", switch, addresses, mtu=mtu)

    def add_host(
        self,
        name: str,
        switch: str,
        addresses: tuple[Interface, ...],
        *,
        gateways: tuple[Address, ...] = (),
        mtu: int = 1500,
        plugs: Mapping[str, str] = MappingProxyType({}),
    ) -> Member:
        """Add a host, which announces its subnets to all others and hears of theirs.

        Args:
            switch: the one that its `eth0` is plugged into.
            plugs: the switches of more NICs, without addresses, by the NICs' names.
        """
        kernel = self.fabric.add(SimulatedKernel(name))
        self._plug_in(kernel, "eth0", switch, addresses, mtu=mtu)
        for nic, other in plugs.items():
            self._plug_in(kernel, nic, other, (), mtu=mtu)
        for gateway in gateways:
            everything = ip_network("0.0.0.0/0" if gateway.version == 4 else "::/0")
            kernel.put_foreign_route(KernelRoute(destination=everything, gateway=gateway, link="eth0"))
        node = Node(name=name, interface="eth0", addresses=addresses, mtu=mtu)
        subnets = tuple(_subnet(pool, len(self.members) + 1) for pool in self.network.pools)
        node = with_subnets(node, subnets, network=self.network, remote=self.remote)
        member = self.members[name] = Member(node, kernel)
        member.reconciler.want(("host",), host_items(node, local=self.local, remote=self.remote))
        self._apply(member)
        self.announce(name, own_routes(node, self.remote))
        return member

    def attach(self, container: str, host: str) -> Endpoint:
        """Give a host a container, with the next address of each of its subnets."""
        member = self.members[host]
        path = f"/run/netns/{container}"
        inner = self.fabric.add(SimulatedKernel(container), path=path)
        number = len(member.endpoints) + 1
        firsts = [bridge_address(subnet) for subnet in member.node.subnets]
        addresses = tuple(type(own)((int(own.ip) + number, own.network.prefixlen)) for own in firsts)
        endpoint = Endpoint(container=container, netns=path, addresses=addresses)
        member.endpoints[container] = endpoint
        wanted = self.local.endpoint(member.node, endpoint)
        member.reconciler.want(("endpoint", container), wanted.host)
        self._apply(member)
        failures = inner.execute([Create(item) for item in wanted.container])
        assert not failures, failures
        return endpoint

    def remove_host(self, name: str) -> None:
        """Take back what a host had announced. It stays where it is, with all that it holds."""
        self.announce(name, ())

    def settle(self, name: str) -> tuple[Operation, ...]:
        """Bring one host's kernel to what is desired; return what was done."""
        self.due.discard(name)
        self._hear_all(name)
        return self._apply(self.members[name])

    def settle_all(self) -> None:
        """Settle every host: for n of them that is the work of n * (n - 1) peers."""
        # Millions of items, none of them garbage, which the collector would walk through again and again.
        collecting = gc.isenabled()
        gc.disable()
        try:
            for name in self.members:
                self.settle(name)
        finally:
            if collecting:
                gc.enable()

    def _apply(self, member: Member) -> tuple[Operation, ...]:
        done = member.reconciler.apply()
        assert not member.reconciler.failures, member.reconciler.failures
        return done

    def pending(self, name: str) -> tuple[Operation, ...]:
        """Return what `settle` would do."""
        self._hear_all(name)
        return self.members[name].reconciler.pending()

    def _hear_all(self, name: str) -> None:
        member = self.members[name]
        for other in dict.fromkeys(self.news[member.heard :]):
            if other != name:
                self._hear(member, other)
        member.heard = len(self.news)

    def _plug_in(
        self, kernel: SimulatedKernel, nic: str, switch: str, addresses: Iterable[Interface], *, mtu: int
    ) -> None:
        device = Device(name=nic, mac=derive.mac("memory", kernel.name, nic), mtu=mtu)
        kernel.put_foreign(device, addresses)
        port = Device(name=f"{kernel.name}-{nic}", mtu=mtu, master="switch")
        self.fabric.kernels[switch].put_foreign(port)
        self.fabric.plug((kernel.name, nic), (switch, port.name))

    def announce(self, name: str, routes: tuple[Route, ...]) -> None:
        """Make `routes` all that a host announces; the others act on it when they are settled."""
        self.routes[name] = routes
        self.news.append(name)
        self.due |= self.members.keys()

    def _hear(self, member: Member, name: str) -> None:
        member.refused.pop(name, None)
        items: list[Item] = []
        for route in self.routes[name]:
            rendered, refusal = peer_items(member.node, route, remote=self.remote)
            items += rendered
            if refusal:
                member.refused[name] = refusal
        member.reconciler.want(("peer", name), items)

    # Looking.

    def addresses(self, name: str) -> tuple[Address, ...]:
        """Return the addresses of a host's NIC or of a container."""
        kernel = self.fabric.kernels[name]
        return tuple(own.address.ip for version in (4, 6) for own in kernel.tables.on("eth0", version))

    def trace(self, source: str, destination: str | Address, size: int = 100, *, version: int = 4) -> Trace:
        """Return the way of a packet.

        Args:
            source: a host or a container.
            destination: an address; or a host or a container, of which the address of that `version` is meant.
            size: octets of the IP packet.
        """
        if isinstance(destination, str):
            destination = next(each for each in self.addresses(destination) if each.version == version)
        return trace(self.view, source, destination, size=size)

    def ping(self, source: str, destination: str | Address, size: int = 100, *, version: int = 4) -> Answer:
        """Return what an echo request of that size comes to: there, and back."""
        there = self.trace(source, destination, size, version=version)
        if there.death is not None:
            return self._told(source, there, there.death)
        if not there.arrived or there.source is None:
            return Silence()
        # Linux sends echo replies of IPv4 without DF.
        back = trace(self.view, there.arrived, there.source, size=size, answering=there, whole=False)
        return Reply() if back.arrived == source else Silence()

    def _told(self, source: str, there: Trace, death: Death) -> Answer:
        teller = death.teller or death.where
        told = Told(kind=death.kind, where=teller, mtu=death.mtu)
        if death.kind == "silent" or teller == source or there.source is None:
            return Silence() if death.kind == "silent" else told
        if not self.fabric.kernels[teller].tables.tells(there.source):
            return Silence()
        return told if trace(self.view, teller, there.source).arrived == source else Silence()


def _subnet(pool: Pool, number: int) -> Prefix:
    step = 1 << (pool.prefix.max_prefixlen - pool.subnet_length)
    return type(pool.prefix)((int(pool.first.network_address) + number * step, pool.subnet_length))
