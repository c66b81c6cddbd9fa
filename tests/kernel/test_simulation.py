"""The simulated world against real namespaces: one scenario drives both, and both say the same.

A scenario is a laboratory without daemons, a dataplane, and what somebody has done wrong. The world renders the
items, the real kernels are brought to the same, and then every way between containers, hosts and families is
tried in both, with packets that fit, that just fit and that do not.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any

import attrs
import pytest

from containernet import loading
from containernet.edge import Edge, EdgeOptions
from containernet.items import (
    FdbEntry,
    InterfaceAddress,
    Item,
    KernelRoute,
    Link,
    Neighbour,
    Sysctl,
    Vxlan,
)
from containernet.lab import build, capture, ping
from containernet.lab.cluster import Lab
from containernet.lab.topology import Topology
from containernet.model import Address, NetworkConfig, Pool
from containernet.packet import Ethernet, Icmp, Ipv4, Ipv6, Layer, Udp
from containernet.planning import Create, Delete, Replace
from containernet.rendering import host_items
from containernet.testing.simulation import Reply, World

from . import labs, twins

pytestmark = [pytest.mark.kernel, pytest.mark.untraced]

NETWORK = NetworkConfig(
    pools=(
        Pool(prefix=ip_network("10.4.0.0/16"), subnet_length=24),
        Pool(prefix=ip_network("fd00:4::/48"), subnet_length=64),
    )
)
NOBODY = (ip_address("10.4.200.9"), ip_address("fd00:4:0:c8::9"))  # of the pools, and of no host

Fault = Callable[[World], None]


def held(world: World, name: str) -> list[Item]:
    """Return what a host or a container holds."""
    return list(world.fabric.kernels[name].read().values())


def to_host2(world: World, kind: type[Item]) -> list[Item]:
    """Return what host1 holds of that kind for the containers of host2."""
    subnets = world.members["host2"].node.subnets
    theirs = {str(route.next_hop) for route in world.routes["host2"]}
    return [
        item
        for item in held(world, "host1")
        if isinstance(item, kind)
        and (
            (isinstance(item, KernelRoute) and item.destination in subnets)
            or (isinstance(item, Neighbour) and any(item.address in subnet for subnet in subnets))
            or (isinstance(item, FdbEntry) and str(item.destination) in theirs)
        )
    ]


def change(world: World, name: str, **changes: Any) -> Callable[[Iterable[Item]], None]:
    """Return what gives items of a host other values."""

    def run(items: Iterable[Item]) -> None:
        operations = [Replace(attrs.evolve(item, **changes), item) for item in items]
        world.fabric.kernels[name].disturb(*operations)

    return run


def set_link(world: World, where: str, link: str, **changes: Any) -> None:
    """Change a link that is not ours, as an operator does with `ip link set`."""
    kernel = world.fabric.kernels[where]
    kernel.put_foreign(attrs.evolve(kernel.tables.devices[link], **changes))


def nothing(world: World) -> None:
    """Everything is as it should be."""


def lacks(kind: type[Item]) -> Fault:
    """host1 lacks the entries of a kind for host2."""
    return lambda world: world.fabric.kernels["host1"].disturb(
        *(Delete(item) for item in to_host2(world, kind))
    )


def wrong_mac(world: World) -> None:
    """host1 gives host2's tunnel the MAC of another."""
    mac = "02:00:00:00:00:77"
    change(world, "host1", mac=mac)(to_host2(world, Neighbour))
    entries = [attrs.evolve(item, mac=mac) for item in to_host2(world, FdbEntry) if isinstance(item, FdbEntry)]
    world.fabric.kernels["host1"].disturb(*map(Create, entries))


def no_forwarding(world: World) -> None:
    """It is off at host2."""
    settings = [item for item in held(world, "host2") if isinstance(item, Sysctl) and "forward" in item.name]
    change(world, "host2", value="0")(settings)


def tunnels_down(world: World) -> None:
    """host2's tunnel devices are down."""
    names = ("vxlan", "ipip")
    tunnels = [item for item in held(world, "host2") if isinstance(item, Link) and item.name.startswith(names)]
    change(world, "host2", up=False)(tunnels)


def circle(world: World) -> None:
    """host1 and host3, on one segment, each hold the other for the way to a subnet of nobody."""
    for one, other in (("host1", "host3"), ("host3", "host1")):
        for nobody, hop in zip(NOBODY, world.addresses(other), strict=True):
            prefix = ip_network(f"{nobody}/{nobody.max_prefixlen}")
            route = KernelRoute(destination=prefix, gateway=hop, link="eth0")
            world.fabric.kernels[one].disturb(Create(route))


def small_underlay(world: World) -> None:
    """host1's network card takes less than the daemon was told."""
    set_link(world, "host1", "eth0", mtu=1400)


def host2_off(world: World) -> None:
    """host2's network card is down."""
    set_link(world, "host2", "eth0", up=False)


def too_large(*hosts: str) -> Fault:
    """The links to the containers of those hosts promise more than the way holds, or than the underlay."""

    def run(world: World) -> None:
        for host in hosts:
            names = ("cn0", "veth")
            local = [
                item for item in held(world, host) if isinstance(item, Link) and item.name.startswith(names)
            ]
            change(world, host, mtu=1540)(local)
            set_link(world, f"{host}-c1", "eth0", mtu=1540)

    return run


def announced_nowhere(world: World) -> None:
    """host2 announces an underlay address that nobody has."""
    world.announce(
        "host2", tuple(attrs.evolve(route, next_hop=route.next_hop + 100) for route in world.routes["host2"])
    )


def wrong_tunnel(**changes: Any) -> Fault:
    """host2's tunnels have another VNI or UDP port than everybody's."""

    def run(world: World) -> None:
        member = world.members["host2"]
        wrong = [
            attrs.evolve(item, type=attrs.evolve(item.type, **changes))
            if isinstance(item, Link) and isinstance(item.type, Vxlan)
            else item
            for item in host_items(member.node, local=world.local, remote=world.remote)
        ]
        member.reconciler.want(("host",), wrong)
        world.settle("host2")

    return run


def no_default(world: World) -> None:
    """The container of host2 has no default route."""
    routes = [item for item in held(world, "host2-c1") if isinstance(item, KernelRoute)]
    world.fabric.kernels["host2-c1"].disturb(
        *(Delete(route) for route in routes if not route.destination.prefixlen)
    )


def no_bridge_address(world: World) -> None:
    """Somebody took the addresses from host2's bridge."""
    addresses = [
        item for item in held(world, "host2") if isinstance(item, InterfaceAddress) and item.link == "cn0"
    ]
    world.fabric.kernels["host2"].disturb(*map(Delete, addresses))


def forgotten(world: World) -> None:
    """host2 was wiped clean, its containers are gone, and the others still hold routes to it."""
    links = [item for item in held(world, "host2") if isinstance(item, Link)]
    world.fabric.kernels["host2"].disturb(*map(Delete, links))


def claimed_twice(world: World) -> None:
    """host3 has taken host2's subnets as well, and host1 has heard of host2 only."""
    kernel = world.fabric.kernels["host3"]
    subnets = world.members["host2"].node.subnets
    routes = [
        item for item in held(world, "host3") if isinstance(item, KernelRoute) and item.destination in subnets
    ]
    kernel.disturb(*map(Delete, routes))
    for item in held(world, "host2"):
        if isinstance(item, InterfaceAddress) and item.link == "cn0":
            kernel.disturb(Create(item))


def detour(world: World) -> None:
    """host1 sends what is for host2 to host3, which knows better."""
    for version, hop in zip((4, 6), world.addresses("host3"), strict=True):
        for item in to_host2(world, KernelRoute):
            if isinstance(item, KernelRoute) and item.destination.version == version:
                if item.encap is not None and isinstance(hop, IPv6Address):
                    change(world, "host1", encap=attrs.evolve(item.encap, destination=hop))([item])
                elif item.gateway in world.addresses("host2"):
                    change(world, "host1", gateway=hop)([item])


FAULTS: dict[str, Fault] = {
    "none": nothing,
    "no route": lacks(KernelRoute),
    "no neighbour": lacks(Neighbour),
    "no fdb entry": lacks(FdbEntry),
    "wrong mac": wrong_mac,
    "wrong vni": wrong_tunnel(vni=99),
    "wrong port": wrong_tunnel(port=4789),
    "no forwarding": no_forwarding,
    "tunnels down": tunnels_down,
    "circle": circle,
    "small underlay at host1": small_underlay,
    "host2 off": host2_off,
    "too large in containers": too_large("host1", "host2", "host3"),
    "too large at host2": too_large("host2"),
    "host2 announced where nobody is": announced_nowhere,
    "no default route in a container": no_default,
    "no address on the bridge": no_bridge_address,
    "host2 wiped clean": forgotten,
    "host3 claims what is host2's": claimed_twice,
    "detour": detour,
}
OF_VXLAN = ("no neighbour", "no fdb entry", "wrong mac", "wrong vni", "wrong port")
ON_ONE_WIRE = (
    "host3 claims what is host2's",  # who answers first is chance
    # A bridge lets through 4 octets more than the MTU (is_skb_forwardable), with br_netfilter none.
    "too large in containers",
    "too large at host2",
)
MEANINGLESS = {
    "host-gw": {*OF_VXLAN, "tunnels down"},
    "bridge": {*OF_VXLAN, *ON_ONE_WIRE, "tunnels down"},
    "vxlan": set[str](),
    "ipip": {*OF_VXLAN},
}
# Behind a router host2 is no peer of those that need one L2 network, so that little can be wrong with it.
WITHOUT_HOST2 = {"none", "no route", "small underlay at host1", "host2 off"}


def faults(dataplane: str, underlay: str) -> list[str]:
    """Return what makes sense."""
    few = underlay == "routed" and dataplane in ("host-gw", "bridge")
    return [
        each for each in FAULTS if each not in MEANINGLESS[dataplane] and (not few or each in WITHOUT_HOST2)
    ]


SHAPES = [(dataplane, underlay) for dataplane in MEANINGLESS for underlay in ("l2", "routed")]


def shape(dataplane: str, underlay: str, *others: str) -> Any:
    """Return a parameter; what has ipip is for user-mode-linux."""
    marks = [pytest.mark.uml] * (dataplane == "ipip")
    return pytest.param(
        (dataplane, underlay), *others, id="-".join((dataplane, underlay, *others)), marks=marks
    )


BUILT = [shape(*each) for each in SHAPES]
CASES = [shape(*each, fault) for each in SHAPES for fault in faults(*each)]


@pytest.fixture(scope="module")
def laboratories() -> Iterator[Callable[[str, str], Lab]]:
    """One of each shape that was asked for, all of them until the last test is done."""
    with ExitStack() as stack:

        @functools.cache
        def standing(dataplane: str, underlay: str) -> Lab:
            return stack.enter_context(labs.bare(dataplane=dataplane, underlay=underlay, hosts=3, containers=1))

        yield standing


@pytest.fixture
def built(request: pytest.FixtureRequest, laboratories: Callable[[str, str], Lab]) -> Lab:
    """A laboratory of a dataplane on an underlay."""
    return laboratories(*request.param)


def world_of(topology: Topology, *, local: str = "bridge", edge: bool = False) -> World:
    """Return the simulated twin of a laboratory, with masquerade and guards or without."""
    options = {"uplink": "eth1"} if topology.dataplane == "bridge" else {}
    remote = loading.remote_dataplane(topology.dataplane, options)
    around = loading.local_dataplane(local, options if local == "bridge" else {})
    if edge:
        around = Edge(around, EdgeOptions(masquerade6=True))
    return World.of(topology, NETWORK, remote=remote, local=around)


@pytest.mark.parametrize(("built", "fault"), CASES, indirect=["built"])
def test_both_say_the_same(built: Lab, fault: str) -> None:
    """Who is reached, who is told what and by whom, who hears nothing: for all ways, families and sizes."""
    nobody = NOBODY if fault in ("none", "circle") else ()
    wanted = twins.wish(world_of(built.topology), built.topology, fault=FAULTS[fault], nobody=nobody)
    assert twins.disagreements(built, wanted) == []


def no_route_to_the_container(world: World) -> None:
    """host2 lacks the routes to its container, which it knows by no other way."""
    routes = [item for item in held(world, "host2") if isinstance(item, KernelRoute) and "veth" in item.link]
    world.fabric.kernels["host2"].disturb(*map(Delete, routes))


OF_ROUTED = {
    "none": nothing,
    "no forwarding": no_forwarding,
    "no route to the container": no_route_to_the_container,
    "no default route in a container": no_default,
    "host2 wiped clean": forgotten,
    "too large at host2": too_large("host2"),
}


# The fault is on the host, where the way to other hosts makes no difference: all of them on one shape.
ROUTED_CASES = [
    shape(*each, fault)
    for each in SHAPES
    for fault in OF_ROUTED
    if each[0] != "bridge" and (each == ("vxlan", "routed") or fault == "none")
]


@pytest.mark.parametrize(("built", "fault"), ROUTED_CASES, indirect=["built"])
def test_both_say_the_same_where_containers_are_routed(built: Lab, fault: str) -> None:
    """With each dataplane between the hosts."""
    wanted = twins.wish(
        world_of(built.topology, local="routed"), built.topology, fault=OF_ROUTED[fault], nobody=NOBODY
    )
    assert twins.disagreements(built, wanted) == []


@pytest.mark.parametrize("local", ["bridge", "routed"])
@pytest.mark.parametrize(
    "built", [shape(*each) for each in SHAPES if each[0] in ("vxlan", "host-gw")], indirect=True
)
def test_both_say_the_same_with_an_edge(built: Lab, local: str) -> None:
    """A host that knows no way to a container answers it all the same: it sees the other host."""
    world = world_of(built.topology, local=local, edge=True)
    wanted = twins.wish(world, built.topology, fault=FAULTS["no route"])
    assert twins.disagreements(built, wanted) == []
    for target in world.addresses("host3"):
        assert world.ping("host1-c1", target) == Reply()


@pytest.mark.parametrize("built", BUILT, indirect=True)
def test_every_wire_carries_the_headers_that_the_trace_shows(built: Lab) -> None:
    """Header for header, on every wire of the way; where containers are routed, with masquerade as well."""
    both = built.topology.dataplane in ("vxlan", "host-gw")
    for local in ("bridge", "routed") if both else ("bridge",):
        edge = local == "routed"
        world = world_of(built.topology, local=local, edge=edge)
        assert twins.disagreements(built, twins.wish(world, built.topology, fault=nothing)) == []
        for target in (*world.addresses("host3-c1"), *(world.addresses("host3") if edge else ())):
            check_wires(built, world, target)


def check_wires(built: Lab, world: World, target: Address) -> None:
    """Compare what is traced on the way from host1-c1 with what is captured."""
    hops = world.trace("host1-c1", target).hops
    probe = ping.Probe(netns=build.path("host1-c1"), target=target)
    ends = [(hop.where, hop.link) for hop in hops]
    seen = built.call(functools.partial(captured, probe, ends))
    for hop, frames in zip(hops, seen, strict=True):
        assert masked(hop.headers) in [masked(layers) for layers in frames]


def captured(probe: ping.Probe, ends: list[tuple[str, str]]) -> list[list[tuple[Layer, ...]]]:
    """Return the request in all the forms in which it passes devices: a bridge sees it come and go."""
    with ExitStack() as stack:
        wires = [stack.enter_context(capture.Capture(build.path(where), link)) for where, link in ends]
        (answer,) = ping.ping([probe])
        assert isinstance(answer, ping.Reply)  # so it has passed everywhere
        return [[layers for layers in wire.arrived() if capture.asks(layers, probe.target)] for wire in wires]


def masked(layers: Iterable[Layer]) -> list[Layer]:
    """Return headers without what only time and chance decide: identifiers, hashes, MACs of network cards."""
    nobody = "00:00:00:00:00:00"
    changes: dict[type[Layer], dict[str, Any]] = {
        Ethernet: {"source": nobody, "destination": nobody},
        Ipv4: {"identification": 0},
        Ipv6: {"flow_label": 0},
        Udp: {"source": 0},
        Icmp: {"rest": 0},
    }
    return [attrs.evolve(layer, **changes.get(type(layer), {})) for layer in layers]
