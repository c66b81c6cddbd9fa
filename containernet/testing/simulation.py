"""A kernel and a network of hosts in memory, in which a packet can be traced.

`SimulatedKernel` keeps the Kernel contract: it holds items, refuses what Linux refuses, with the same errno,
and lets fall with a link what stands on it. `World` plugs such kernels together, with switches and routers, as
a laboratory does with real ones; that both agree on what reaches what, which way, and how large it may be is a
property that the tests hold (tests/kernel/test_simulation.py).

No clock, no thread, no chance. What time would bring (a neighbour asked for, a switch that learns) is there at
once.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_network
from types import MappingProxyType
from typing import Self

import attrs

from containernet import derive
from containernet.addresses import bridge_address
from containernet.contracts import Dataplane, Failure, LocalDelivery, Options, UnderlayLink
from containernet.errors import ConfigError, KernelError, RouteRefused
from containernet.items import (
    Bridge,
    BridgePort,
    FdbEntry,
    InterfaceAddress,
    Item,
    KernelRoute,
    Key,
    Link,
    Neighbour,
    Sysctl,
    Veth,
    Vxlan,
)
from containernet.lab.topology import Topology
from containernet.model import Address, Endpoint, Interface, NetworkConfig, Node, Pool, Prefix, Route
from containernet.planning import Create, Delete, Operation, Replace
from containernet.reconciler import Reconciler, stands_on
from containernet.rendering import own_routes, peer_items, with_subnets
from containernet.tables import Device, Tables
from containernet.tracing import Death, End, Network, Trace, trace


class SimulatedKernel:
    """One network namespace. Fulfils Kernel, EntersNamespaces, ReadsSysctls, ShowsTables, Underlay.

    Args:
        name: the namespace's.
        network: what it is plugged into; None: nothing.

    `foreign` are devices that are there and not ours; `put_foreign` adds one.
    """

    def __init__(self, name: str = "host", network: Fabric | None = None) -> None:
        self.name = name
        self.tables = Tables()
        self.operations = 0
        self._network = network or Fabric()
        self._network.kernels[name] = self
        self._items: dict[Key, Item] = {}
        self._on: dict[str, dict[Key, None]] = {}
        self._foreign: set[str] = set()
        self._addresses: dict[str, tuple[Interface, ...]] = {}
        self._changed = threading.Condition(threading.RLock())
        self._disturbed = self._closed = False

    @classmethod
    def from_options(cls, options: Options) -> Self:
        """Build an empty one; there are no options."""
        for name in options:
            raise ConfigError(f"the simulated kernel has no option {name!r}")
        return cls()

    def read(self) -> Mapping[Key, Item]:
        """Return every item of ours."""
        with self._changed:
            self._refuse_closed()
            return dict(self._items)

    def execute(self, operations: Sequence[Operation]) -> Sequence[Failure]:
        """Carry the operations out in order; one failure never stops the rest."""
        with self._changed:
            self._refuse_closed()
            failures = []
            for operation in operations:
                self.operations += 1
                if code := self._run(operation):
                    reason = errno.errorcode[code]
                    failures.append(Failure(operation=operation, errno=code, reason=reason))
            return failures

    def changed(self, timeout: float) -> bool:
        """Wait for `disturb`."""
        with self._changed:
            self._changed.wait_for(lambda: self._disturbed or self._closed, timeout)
            disturbed, self._disturbed = self._disturbed, False
            return disturbed and not self._closed

    def close(self) -> None:
        """Wake `changed`; the items stay."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def inside(self, netns: str) -> SimulatedKernel:
        """Return the kernel of the namespace at that path."""
        try:
            return self._network.kernels[self._network.paths[netns]]
        except KeyError as error:
            raise KernelError(f"{netns}: there is no such namespace") from error

    def sysctls(self, wanted: Iterable[Sysctl]) -> Sequence[Sysctl]:
        """Return those settings that were made, with their values."""
        return [found for each in wanted if isinstance(found := self._items.get(each.key), Sysctl)]

    def show_tables(self) -> Tables:
        """Return what it forwards by: its own, not a copy."""
        return self.tables

    def underlay(self, interface: str = "") -> UnderlayLink:
        """Return the device of that name that is not ours, or the first one."""
        for name in [interface] if interface else sorted(self._foreign):
            if name in self._foreign:
                addresses = self._addresses.get(name, ())
                return UnderlayLink(name=name, mtu=self.tables.devices[name].mtu, addresses=addresses)
        raise ConfigError(f"no link {interface!r}; there are: {', '.join(sorted(self._foreign)) or 'none'}")

    # What is not ours, and what others do.

    def put_foreign(self, device: Device, addresses: Iterable[Interface] = ()) -> None:
        """Add a device that is not ours, or change it."""
        with self._changed:
            self._foreign.add(device.name)
            self.tables.put_device(device)
            for address in addresses:
                self.tables.put(InterfaceAddress(link=device.name, address=address))
                self._addresses[device.name] = (*self._addresses.get(device.name, ()), address)

    def put_foreign_route(self, route: KernelRoute) -> None:
        """Add a route that is not ours."""
        self.tables.put(route)

    def disturb(self, *operations: Operation) -> None:
        """Carry operations out as somebody else would, and say that something has changed."""
        with self._changed:
            failures = [code for each in operations if (code := self._run(each))]
            assert not failures, failures
            self._disturbed = True
            self._changed.notify_all()

    # How it works.

    def _refuse_closed(self) -> None:
        if self._closed:
            raise KernelError("this kernel was closed: make a new one")

    def _run(self, operation: Operation) -> int:
        match operation:
            case Create(item):
                return self._create(item)
            case Replace(item, _):
                return self._replace(item)
            case Delete(item):
                if (there := self._items.get(item.key)) is not None:
                    self._drop(there)
        return 0

    def _create(self, item: Item) -> int:
        if isinstance(item, Sysctl):
            return self._replace(item) if item.key in self._items else self._hold(item)
        if item.key in self._items:
            return errno.EEXIST
        if isinstance(item, Link):
            return self._create_link(item)
        return self._refusal(item) or self._hold(item)

    def _create_link(self, link: Link) -> int:
        if link.name in self.tables.devices:
            return errno.EEXIST
        if link.exclusive is not None and any(
            isinstance(each, Link) and each.exclusive == link.exclusive for each in self._items.values()
        ):
            return errno.EEXIST
        match link.type:
            case Vxlan(dev=dev) if dev not in self.tables.devices:
                return errno.ENODEV
            case Veth(peer=peer, peer_netns=path, peer_mac=mac):
                if path not in self._network.paths:
                    return errno.ENOENT
                inner = self._network.kernels[self._network.paths[path]]
                if peer in inner.tables.devices:
                    return errno.EEXIST
                mac = mac or derive.mac("simulated", inner.name, peer)
                inner.put_foreign(Device(name=peer, mac=mac, mtu=link.mtu))
                self._network.plug((self.name, link.name), (inner.name, peer))
        if not link.mac and isinstance(link.type, Bridge | Vxlan | Veth):  # the others have no Ethernet
            link = attrs.evolve(link, mac=derive.mac("simulated", self.name, link.name))
        return self._hold(link)

    def _replace(self, item: Item) -> int:
        there = self._items.get(item.key)
        if there is None:
            return errno.ENOENT
        if isinstance(item, Link) and isinstance(there, Link):
            if item.type != there.type:
                return errno.EOPNOTSUPP
            item = attrs.evolve(item, mac=item.mac or there.mac)
            self._items[item.key] = item
            self.tables.put(item)
            if there.up and not item.up:
                self._flush(item.name)
            return 0
        code = self._refusal(item)
        if not code:
            self._let_go(there)
            self._hold(item)
        return code

    def _refusal(self, item: Item) -> int:
        """Return the errno with which Linux refuses what cannot stand here; 0: it can."""
        device = self.tables.devices.get(item.link)
        if item.link and device is None:
            return errno.ENODEV
        match item:
            case BridgePort(bridge=bridge):
                master = self.tables.devices.get(bridge)
                if master is None:
                    return errno.ENODEV
                return 0 if isinstance(master.type, Bridge) else errno.EOPNOTSUPP
            case FdbEntry():
                return 0 if device and isinstance(device.type, Vxlan) else errno.EOPNOTSUPP
            case KernelRoute():
                return self._refused_route(item, device)
            case _:
                return 0

    def _refused_route(self, route: KernelRoute, device: Device | None) -> int:
        if device is None or not device.up:
            return errno.ENETDOWN
        if route.gateway is None:
            return 0
        if self.tables.own(route.gateway):
            return errno.EINVAL
        if route.onlink:
            return 0
        way = self.tables.route(route.gateway, link=route.link)
        if way is None or way.gateway is not None:
            return errno.ENETUNREACH if route.gateway.version == 4 else errno.EHOSTUNREACH
        return 0

    def _hold(self, item: Item) -> int:
        self._items[item.key] = item
        for link in {item.link, getattr(item, "bridge", "")} - {""}:
            self._on.setdefault(link, {})[item.key] = None
        self.tables.put(item)
        return 0

    def _let_go(self, item: Item) -> None:
        del self._items[item.key]
        for link in {item.link, getattr(item, "bridge", "")} - {""}:
            self._on[link].pop(item.key, None)
        self.tables.drop(item)

    def _drop(self, item: Item) -> None:
        if isinstance(item, Link):
            for key in [key for key in self._on.get(item.name, ()) if key != item.key]:
                self._let_go(self._items[key])
            if (far := self._network.unplug((self.name, item.name))) is not None:
                self._network.kernels[far[0]].lose_device(far[1])
        self._let_go(item)

    def lose_device(self, name: str) -> None:
        """Lose a veth whose other end went, with all that stands on it."""
        for item in [each for each in self._items.values() if stands_on(each, name)]:
            self._let_go(item)
        self._foreign.discard(name)
        self.tables.drop_device(name)

    def _flush(self, link: str) -> None:
        """A link that goes down takes its routes and neighbours along, the permanent ones too."""
        for key in list(self._on.get(link, ())):
            if isinstance(item := self._items[key], KernelRoute | Neighbour):
                self._let_go(item)


class Fabric:
    """Which kernels there are, and what is plugged into what."""

    def __init__(self) -> None:
        self.kernels: dict[str, SimulatedKernel] = {}
        self.paths: dict[str, str] = {}
        self.cables: dict[End, End] = {}

    def plug(self, one: End, other: End) -> None:
        """Lay a cable."""
        self.cables[one], self.cables[other] = other, one

    def unplug(self, end: End) -> End | None:
        """Take a cable away; return its other end."""
        other = self.cables.pop(end, None)
        if other is not None:
            del self.cables[other]
        return other


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
        self.unheard: dict[str, None] = {}  # the hosts whose announcements have changed since


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
        self.fabric = Fabric()
        self.members: dict[str, Member] = {}
        self.routes: dict[str, tuple[Route, ...]] = {}
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
        kernel = SimulatedKernel(name, self.fabric)
        kernel.put_foreign(Device(name="switch", type=Bridge(), mtu=mtu))

    def add_router(self, name: str, plugs: Mapping[str, tuple[Interface, ...]], *, mtu: int = 1500) -> None:
        """Add a router, with its addresses by switch."""
        kernel = SimulatedKernel(name, self.fabric)
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
        kernel = SimulatedKernel(name, self.fabric)
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
        member.reconciler.want(("host",), (*self.local.host(node), *self.remote.host(node)))
        self._apply(member)
        member.unheard.update(dict.fromkeys(self.routes))
        self.announce(name, own_routes(node, self.remote))
        return member

    def attach(self, container: str, host: str) -> Endpoint:
        """Give a host a container, with the next address of each of its subnets."""
        member = self.members[host]
        path = f"/run/netns/{container}"
        self.fabric.paths[path] = container
        inner = SimulatedKernel(container, self.fabric)
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
        for other in member.unheard:
            self._hear(member, other)
        member.unheard.clear()

    def _plug_in(
        self, kernel: SimulatedKernel, nic: str, switch: str, addresses: Iterable[Interface], *, mtu: int
    ) -> None:
        device = Device(name=nic, mac=derive.mac("simulated", kernel.name, nic), mtu=mtu)
        kernel.put_foreign(device, addresses)
        port = Device(name=f"{kernel.name}-{nic}", mtu=mtu, master="switch")
        self.fabric.kernels[switch].put_foreign(port)
        self.fabric.plug((kernel.name, nic), (switch, port.name))

    def announce(self, name: str, routes: tuple[Route, ...]) -> None:
        """Make `routes` all that a host announces; the others act on it when they are settled."""
        self.routes[name] = routes
        self.due |= self.members.keys()
        for other, member in self.members.items():
            if other != name:
                member.unheard[name] = None

    def _hear(self, member: Member, name: str) -> None:
        for version in (4, 6):
            route = next((each for each in self.routes[name] if each.prefix.version == version), None)
            items: tuple[Item, ...] = ()
            member.refused.pop(f"{name} {version}", None)
            if route is not None:
                try:
                    items = peer_items(member.node, route, remote=self.remote)
                except RouteRefused as refusal:
                    member.refused[f"{name} {version}"] = str(refusal)
            member.reconciler.want(("route", name, str(version)), items)

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
        back = trace(self.view, there.arrived, there.source, size=size, source=there.destination, whole=False)
        return Reply() if back.arrived == source else Silence()

    def _told(self, source: str, there: Trace, death: Death) -> Answer:
        told = Told(kind=death.kind, where=death.where, mtu=death.mtu)
        if death.kind == "silent" or death.where == source or there.source is None:
            return Silence() if death.kind == "silent" else told
        return told if trace(self.view, death.where, there.source).arrived == source else Silence()


def _subnet(pool: Pool, number: int) -> Prefix:
    step = 1 << (pool.prefix.max_prefixlen - pool.subnet_length)
    return type(pool.prefix)((int(pool.first.network_address) + number * step, pool.subnet_length))
