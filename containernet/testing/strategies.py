"""Hypothesis strategies for the project's values.

The universes are small on purpose: three links, a handful of prefixes. Bugs of a network live where things
meet (one VNI for two devices, a route whose link goes), and random values out of a large universe never do.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address, ip_interface, ip_network
from itertools import product

import attrs
from hypothesis import strategies as st

from .. import items
from ..items import (
    Bridge,
    BridgePort,
    ExternalTunnel,
    FdbEntry,
    InterfaceAddress,
    IpTunnel,
    Item,
    KernelRoute,
    Key,
    Link,
    LinkType,
    Neighbour,
    Sysctl,
    Veth,
    Vxlan,
    by_key,
)
from ..model import (
    PROTOCOLS,
    Endpoint,
    NetworkConfig,
    Node,
    Pool,
    PortMapping,
    Prefix,
    Route,
    Tunnel,
    multipath,
)

BASES: dict[int, Prefix] = {4: IPv4Network("10.0.0.0/8"), 6: IPv6Network("fd00::/16")}
OURS = ("br0", "br1", "vx0", "vx1", "veth0")
FOREIGN = ("eth0", "eth1")
MACS = ("02:00:00:00:00:01", "02:00:00:00:00:02")
PREFIXES = tuple(map(ip_network, ("10.0.1.0/24", "10.0.2.0/24", "fd00:0:0:1::/64", "fd00:0:0:2::/64")))
ADDRESSES = tuple(map(ip_interface, ("10.0.1.1/24", "10.0.1.1/32", "10.0.1.2/24", "fd00::1/64")))
CONTAINERS = (
    "c1",
    "C1",
    "c.1-x",
    "0123456789abcdef-1",
    "0123456789abcdef-2",
)  # some alike, longer than a link's name
INTERFACES = ("eth0", "net1", "of-15-bytes-all")
UNDERLAY = tuple(map(ip_address, ("192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2")))


def versions() -> st.SearchStrategy[int]:
    """Return an address family: 4 or 6."""
    return st.sampled_from((4, 6))


@st.composite
def prefixes_near(draw: st.DrawFn, prefix: Prefix) -> Prefix:
    """Return a prefix inside, around or right beside `prefix`, up to 8 bits shorter or longer."""
    shortest = max(0, prefix.prefixlen - 8)
    length = draw(st.integers(shortest, min(prefix.max_prefixlen, prefix.prefixlen + 8)))
    size = 1 << (prefix.max_prefixlen - length)
    low = int(prefix.network_address) - size
    address = draw(st.integers(max(0, low), min(int(prefix.broadcast_address) + size, prefix_limit(prefix))))
    return type(prefix)((address // size * size, length))


def prefix_limit(prefix: Prefix) -> int:
    """Return the highest address of the prefix's family, as a number."""
    return (1 << prefix.max_prefixlen) - 1


@st.composite
def pools(draw: st.DrawFn, *, version: int | None = None, bits: int = 5) -> Pool:
    """Return a pool of at most 2**bits subnets, somewhere in the family's space, its edges included."""
    version = version or draw(versions())
    base = BASES[version]
    subnet_length = draw(st.integers(base.prefixlen + bits, base.max_prefixlen - 2))
    length = subnet_length - draw(st.integers(0, bits))
    size = 1 << (base.max_prefixlen - length)
    place = draw(st.sampled_from((0, int(base.network_address), prefix_limit(base))))
    prefix = type(base)((place // size * size, length))
    slots = 1 << (subnet_length - length)
    first, last = sorted(draw(st.tuples(st.integers(0, slots - 1), st.integers(0, slots - 1))))
    step = 1 << (base.max_prefixlen - subnet_length)
    bounds = [type(base)((int(prefix.network_address) + slot * step, subnet_length)) for slot in (first, last)]
    plain = Pool(prefix=prefix, subnet_length=subnet_length)
    reserved = draw(st.lists(prefixes_near(draw(st.sampled_from((plain.first, plain.last)))), max_size=4))
    if draw(st.booleans()):
        return attrs.evolve(plain, reserved=reserved)
    return attrs.evolve(plain, first=bounds[0], last=bounds[1], reserved=reserved)


def taken_of(pool: Pool, *, max_size: int = 40) -> st.SearchStrategy[list[Prefix]]:
    """Return prefixes that stand in the way of the pool's subnets, or nearly do: any length, family, order."""
    step = 1 << (pool.prefix.max_prefixlen - pool.subnet_length)
    slots = 1 << (pool.subnet_length - pool.prefix.prefixlen)
    exact = st.integers(0, slots - 1).map(
        lambda slot: type(pool.prefix)((int(pool.prefix.network_address) + slot * step, pool.subnet_length))
    )
    other = st.sampled_from((ip_network("0.0.0.0/0"), ip_network("::/0"))).filter(
        lambda prefix: prefix.version != pool.version
    )
    near = exact.flatmap(prefixes_near)
    return st.lists(exact | exact | exact | near | other, max_size=max_size)


@st.composite
def networks(draw: st.DrawFn, *, bits: int = 5) -> NetworkConfig:
    """Return a network of IPv4, of IPv6 or of both."""
    chosen = draw(st.sampled_from(((4,), (6,), (4, 6))))
    return NetworkConfig(pools=tuple(draw(pools(version=version, bits=bits)) for version in chosen))


def names() -> st.SearchStrategy[str]:
    """Return names that a node or a container may have."""
    return st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,20}[A-Za-z0-9])?", fullmatch=True)


def nodes() -> st.SearchStrategy[Node]:
    """Return nodes with an underlay of both families and a subnet of at least one."""
    return st.builds(
        Node,
        name=names(),
        interface=st.just("eth0"),
        addresses=st.just((ip_interface("192.0.2.1/24"), ip_interface("2001:db8::1/64"))),
        mtu=st.sampled_from((1500, 9000)),
        overhead=st.sampled_from((0, 50, 70)),
        subnets=st.sampled_from((PREFIXES[:1], PREFIXES[2:3], (PREFIXES[0], PREFIXES[2]))),
    )


def attached(node: Node, places: Iterable[tuple[str, str]], numbers: Iterable[int]) -> tuple[Endpoint, ...]:
    """Return endpoints: of which container, and under which name; and the numbers of their addresses."""
    return tuple(
        Endpoint(
            container=container,
            netns=f"/run/netns/{container}",
            interface=interface,
            addresses=[ip_interface((subnet[number], subnet.prefixlen)) for subnet in node.subnets],
        )
        for (container, interface), number in zip(places, numbers, strict=True)
    )


def port_mappings() -> st.SearchStrategy[PortMapping]:
    """Return port mappings, few enough that some are in each other's way."""
    return st.builds(
        PortMapping,
        protocol=st.sampled_from(PROTOCOLS),
        host_port=st.sampled_from((1, 80, 65535)),
        container_port=st.sampled_from((1, 8080, 65535)),
        host_ip=st.sampled_from((None, *UNDERLAY, *map(ip_address, ("0.0.0.0", "::", "127.0.0.1")))),
    )


@st.composite
def port_mappings_apart(draw: st.DrawFn, *, max_size: int = 4) -> tuple[PortMapping, ...]:
    """Return port mappings that can all be on one host."""
    chosen: list[PortMapping] = []
    for each in draw(st.lists(port_mappings(), max_size=max_size)):
        if not any(each.conflicts(other) for other in chosen):
            chosen.append(each)
    return tuple(chosen)


@st.composite
def endpoints(draw: st.DrawFn, node: Node, *, max_size: int = 4) -> tuple[Endpoint, ...]:
    """Return interfaces of a node's containers: no address twice, and of a container all in one namespace.

    No two of their port mappings are in each other's way.
    """
    places = st.sampled_from(list(product(CONTAINERS, INTERFACES)))
    chosen = draw(st.lists(places, max_size=max_size, unique=True))
    first = draw(st.sampled_from((2, 253 - max_size)))
    made = attached(node, chosen, draw(st.permutations(range(first, first + len(chosen)))))
    ports = draw(port_mappings_apart()) if made else ()
    return tuple(attrs.evolve(each, ports=ports[at :: len(made)]) for at, each in enumerate(made))


@st.composite
def routes(draw: st.DrawFn) -> Route:
    """Return routes as peers announce them; by one next hop or several, of the prefix's family or of IPv6."""
    prefix = draw(st.sampled_from(PREFIXES))
    return multipath(draw(st.lists(_paths(prefix), min_size=1, max_size=3)))


@st.composite
def _paths(draw: st.DrawFn, prefix: Prefix) -> Route:
    next_hop = draw(st.sampled_from([own for own in UNDERLAY if own.version >= prefix.version]))
    vxlan = Tunnel(type="vxlan", data=(("VNI", 1), ("VtepMAC", draw(st.sampled_from(MACS)))))
    tunnel = draw(st.sampled_from((Tunnel(), Tunnel(type="host-gw"), vxlan)))
    return Route(prefix=prefix, node=draw(names()), next_hop=next_hop, tunnel=tunnel)


LINK_TYPES: tuple[tuple[LinkType, ...], ...] = (
    (Bridge(),),
    (Veth(peer="eth0", peer_netns="/run/netns/c1"),),
    tuple(IpTunnel(local=local) for local in UNDERLAY if isinstance(local, IPv4Address)),
    (ExternalTunnel(),),
    tuple(
        Vxlan(vni=vni, local=local, port=port, dev="eth0")
        for vni, local, port in product((1, 2), UNDERLAY, (4789, 8472))
    ),
)


def links() -> st.SearchStrategy[Link]:
    """Return links of ours, up or down, with or without a wish for a MAC."""
    return st.builds(
        Link,
        name=st.sampled_from(OURS),
        type=st.sampled_from(LINK_TYPES).flatmap(st.sampled_from),
        mac=st.sampled_from(("", *MACS)),
        mtu=st.sampled_from((1450, 1500)),
        up=st.booleans(),
    )


def routes_over(link: str) -> list[Item]:
    """Return all routes of the universe over one link, each gateway of its destination's family or of IPv6."""
    routes = [
        KernelRoute(
            destination=destination, link=link, gateway=gateway, onlink=onlink, table=table, metric=metric
        )
        for destination, gateway, onlink, table, metric in product(
            PREFIXES, (None, *UNDERLAY), (False, True), (254, 100), (0, 7)
        )
        if (gateway is None and not onlink) or (gateway is not None and gateway.version >= destination.version)
    ]
    ways = [[route for route in routes if route.gateway and route.key == key] for key in by_key(routes)]
    several = [items.multipath(route for route in each if route.onlink) for each in ways]
    ends = [
        KernelRoute(destination=prefix, blackhole=True, metric=metric)
        for prefix in PREFIXES
        for metric in (0, 7)
    ]
    return [*routes, *several, *ends]


def items_on(link: str) -> st.SearchStrategy[Item]:
    """Return items that stand on a link, of every kind but Link and BridgePort."""
    kinds: tuple[list[Item], ...] = (
        routes_over(link),
        [Neighbour(link=link, address=address, mac=mac) for address, mac in product(UNDERLAY, MACS)],
        [FdbEntry(link=link, mac=mac, destination=address) for address, mac in product(UNDERLAY, MACS)],
        [InterfaceAddress(link=link, address=address) for address in ADDRESSES],
        [
            Sysctl(name=f"net/ipv4/conf/{link}/{name}", value=value, link=link)
            for name, value in product(("rp_filter", "forwarding"), "01")
        ],
        [Sysctl(name="net/ipv4/ip_forward", value=value) for value in "01"],
    )
    return st.one_of([st.sampled_from(kind) for kind in kinds])


ITEMS_ON = {name: items_on(name) for name in (*OURS, *FOREIGN)}


@st.composite
def states(draw: st.DrawFn, *, real: bool = False) -> dict[Key, Item]:
    """Return items that can all be in one kernel: every link there, every VNI on one device only.

    Args:
        draw: Hypothesis' own.
        real: as a kernel tells them, where every link has a MAC; otherwise as a dataplane asks for them.
    """
    made: dict[str, Link] = {}
    exclusive = set()
    for link in draw(st.lists(links(), max_size=len(OURS), unique_by=lambda link: link.name)):
        if link.exclusive is None or link.exclusive not in exclusive:
            exclusive.add(link.exclusive)
            made[link.name] = attrs.evolve(link, mac=link.mac or MACS[0]) if real else link
    present = st.sampled_from((*made, *FOREIGN))
    items: list[Item] = list(made.values())
    items += draw(st.lists(present.flatmap(ITEMS_ON.__getitem__), max_size=12))
    bridges = [link.name for link in made.values() if isinstance(link.type, Bridge)]
    if bridges:
        ports = st.builds(BridgePort, link=present, bridge=st.sampled_from(bridges), hairpin=st.booleans())
        items += draw(st.lists(ports.filter(lambda port: port.link not in bridges), max_size=4))
    entries = list(by_key(items).items())
    draw(st.randoms(use_true_random=False)).shuffle(entries)
    return dict(entries)
