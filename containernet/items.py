"""What a kernel can hold: links, ports of bridges, addresses, sysctls, neighbours, routes, and so on.

An item is a value. Its `key` is the kernel's own identity (two items of one key cannot both exist), its `rank`
says when it is created relative to the others (the reverse order deletes), `link` names the interface
without which it cannot exist. Each prints itself in the words of `ip`, `bridge` and `nft`, since that is the
language in which an operator can check it.

A key is worked out once, and of numbers and strings alone: it is looked up some twenty times on the way from a
route to the kernel, and an `ipaddress` object takes ten times as long to hash as a number.

What is done by rules (masquerade, ports, guards) is `enforced`, unless a kernel tells of it while the rules
that make it work are not as they should be; so it is never equal to what is wanted.

Equality is what the planner compares. What matters only at the moment of creation (where the far end of a
veth goes) is left out of it, because a kernel cannot tell it afterwards.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import ClassVar

import attrs

from .model import Address, Interface, Prefix
from .values import shown

Key = tuple[object, ...]


class Rank(enum.IntEnum):
    """The order of creation: nothing is made before what it stands on.

    A guard comes before the link that it guards and goes after it: there is no moment without.
    """

    GUARD = -1
    LINK = 0
    PORT = 1
    ADDRESS = 2
    SYSCTL = 3
    FDB = 4
    NEIGHBOUR = 5
    ROUTE = 6
    TRANSLATION = 7


@attrs.frozen(kw_only=True)
class Bridge:
    """Link kind: a learning switch inside the host (ip-link(8), type bridge)."""

    kind: ClassVar[str] = "bridge"
    __repr__ = shown

    def __str__(self) -> str:
        return "type bridge"


@attrs.frozen(kw_only=True)
class Vxlan:
    """Link kind: a VXLAN tunnel endpoint, RFC 7348, without learning.

    Args:
        vni: VXLAN network identifier, 1 to 16777215.
        local: the source address of outer packets.
        port: the outer UDP destination port.
        dev: the underlay link.
    """

    kind: ClassVar[str] = "vxlan"
    vni: int
    local: Address
    port: int
    dev: str
    __repr__ = shown

    def __str__(self) -> str:
        return f"type vxlan id {self.vni} local {self.local} dev {self.dev} dstport {self.port} nolearning"


@attrs.frozen(kw_only=True)
class IpTunnel:
    """Link kind: IPv4 in IPv4 (RFC 2003), remote any.

    The device has no remote: each route names its own with an on-link gateway. TTL is inherited; the device
    does not force path MTU discovery (nopmtudisc), as flannel's and Calico's do not.
    """

    kind: ClassVar[str] = "ipip"
    local: IPv4Address
    __repr__ = shown

    def __str__(self) -> str:
        return f"type ipip local {self.local} remote any"


@attrs.frozen(kw_only=True)
class ExternalTunnel:
    """Link kind: IPv6 in IPv6 (RFC 2473) in external mode: each route brings the outer header, an `IpEncap`.

    IPv6 has no other way to serve many peers with one device: it takes a gateway as on link only where no
    more specific route than the default one leads to it, and on the underlay there nearly always is one.
    A namespace has one such device at most.
    """

    kind: ClassVar[str] = "ip6tnl"
    __repr__ = shown

    def __str__(self) -> str:
        return "type ip6tnl external"


@attrs.frozen(kw_only=True)
class Veth:
    """Link kind: one end of a virtual cable.

    Args:
        peer: the far end's name in its own namespace.
        peer_netns: path of the namespace that the far end is born in.
        peer_mac: the far end's address; empty: the kernel chooses.
    """

    kind: ClassVar[str] = "veth"
    peer: str = attrs.field(default="", eq=False)
    peer_netns: str = attrs.field(default="", eq=False)
    peer_mac: str = attrs.field(default="", eq=False)
    __repr__ = shown

    def __str__(self) -> str:
        peer = f" peer name {self.peer}" if self.peer else ""
        return f"type veth{peer}" + (f" netns {self.peer_netns}" if self.peer_netns else "")


LinkType = Bridge | Vxlan | IpTunnel | ExternalTunnel | Veth


@attrs.frozen(kw_only=True)
class Link:
    """A network interface of ours.

    Args:
        name: 1 to 15 bytes.
        type: the kind with what cannot be changed once it stands; a change of it means a new device.
        mac: link-layer address, or empty: any.
        mtu: octets.
        up: administratively up.
    """

    rank: ClassVar[Rank] = Rank.LINK
    name: str
    type: LinkType
    mac: str = ""
    mtu: int
    up: bool = True
    key: Key = attrs.field(init=False, eq=False, repr=False)
    __repr__ = shown

    @key.default
    def _key(self) -> Key:
        """The name is the identity."""
        return ("link", self.name)

    @property
    def link(self) -> str:
        """A link stands on itself."""
        return self.name

    @property
    def exclusive(self) -> Key | None:
        """What a kernel gives to one device only: the next that wants it waits until the first is gone."""
        match self.type:
            case Vxlan(vni=vni, port=port, local=local):
                return ("vxlan", local.version, vni, port)
            case IpTunnel(local=local):
                return ("ipip", local)
            case ExternalTunnel():
                return ("ip6tnl",)
            case _:
                return None

    def matches(self, actual: Link) -> bool:
        """Return whether `actual` already is what this link asks for (a MAC that is left open fits any)."""
        return self == (actual if self.mac else attrs.evolve(actual, mac=""))

    def __str__(self) -> str:
        mac = f" address {self.mac}" if self.mac else ""
        return f"link {self.name}{mac} mtu {self.mtu} {'up' if self.up else 'down'} {self.type}"


@attrs.frozen(kw_only=True)
class BridgePort:
    """Membership of a link in a bridge (bridge(8), link set).

    Args:
        link: the member; need not be a link of ours (an uplink is the operator's).
        bridge: the bridge's name.
        hairpin: a frame may leave through the port that it came in by.
    """

    rank: ClassVar[Rank] = Rank.PORT
    link: str
    bridge: str
    hairpin: bool = False
    key: Key = attrs.field(init=False, eq=False, repr=False)
    __repr__ = shown

    @key.default
    def _key(self) -> Key:
        """A link is a member of one bridge at most."""
        return ("port", self.link)

    def __str__(self) -> str:
        return f"link {self.link} master {self.bridge} hairpin {'on' if self.hairpin else 'off'}"


@attrs.frozen(kw_only=True)
class InterfaceAddress:
    """An address on a link (ip-address(8)); IPv6 without duplicate address detection.

    Args:
        address: with the prefix length that is on link; /32 and /128: nothing is.
    """

    rank: ClassVar[Rank] = Rank.ADDRESS
    link: str
    address: Interface
    key: Key = attrs.field(init=False, eq=False, repr=False)
    __repr__ = shown

    @key.default
    def _key(self) -> Key:
        """The kernel's identity: link, address and prefix length."""
        return ("address", self.link, self.address)

    def __str__(self) -> str:
        return f"address {self.address} dev {self.link}"


@attrs.frozen(kw_only=True)
class Sysctl:
    """A setting under /proc/sys.

    It is set and put back, never unset: what stood there before was not ours to remember.

    Args:
        name: the path with slashes, such as net/ipv4/ip_forward (an interface's name may hold dots).
        value: the text.
        link: the interface whose setting it is; empty: none.
    """

    rank: ClassVar[Rank] = Rank.SYSCTL
    name: str
    value: str
    link: str = ""
    key: Key = attrs.field(init=False, eq=False, repr=False)
    __repr__ = shown

    @key.default
    def _key(self) -> Key:
        """The path."""
        return ("sysctl", self.name)

    def __str__(self) -> str:
        return f"sysctl {self.name}={self.value}"


@attrs.frozen(kw_only=True)
class FdbEntry:
    """A permanent entry of a VXLAN device's forwarding table: behind which underlay address a MAC lives."""

    rank: ClassVar[Rank] = Rank.FDB
    link: str
    mac: str
    destination: Address
    key: Key = attrs.field(init=False, eq=False, repr=False)
    __repr__ = shown

    @key.default
    def _key(self) -> Key:
        """One unicast MAC has one destination."""
        return ("fdb", self.link, self.mac)

    def __str__(self) -> str:
        return f"fdb {self.mac} dev {self.link} dst {self.destination} self permanent"


@attrs.frozen(kw_only=True)
class Neighbour:
    """A permanent neighbour: the link-layer address of an IP address, so that nobody has to ask."""

    rank: ClassVar[Rank] = Rank.NEIGHBOUR
    link: str
    address: Address
    mac: str
    key: Key = attrs.field(init=False, eq=False, repr=False)
    __repr__ = shown

    @key.default
    def _key(self) -> Key:
        """One address on one link has one neighbour."""
        return ("neighbour", self.link, self.address.version, int(self.address))

    def __str__(self) -> str:
        return f"neighbour {self.address} lladdr {self.mac} dev {self.link} nud permanent"


@attrs.frozen(kw_only=True)
class IpEncap:
    """The outer header that a route puts on a packet (ip-route(8), encap ip6).

    Args:
        source, destination: the outer addresses, both of IPv6.
    """

    source: IPv6Address
    destination: IPv6Address
    __repr__ = shown

    def __str__(self) -> str:
        return f"encap ip6 src {self.source} dst {self.destination}"


NextHop = Address | IpEncap


@attrs.frozen(kw_only=True)
class KernelRoute:
    """A route of the FIB (ip-route(8)), unicast or blackhole, marked with our own protocol number.

    Args:
        destination: a prefix; 0.0.0.0/0 and ::/0 are the default route.
        link: the outgoing interface; empty for a blackhole.
        gateway: the next hop; None: the destination itself is on link.
        onlink: take the gateway as on link even though no address says so.
        encap: the outer header, for a link in external mode; None: the link knows by itself.
        table: 1 to 4294967295; 254 is `main`.
        metric: the kernel's priority; 0 means its default (0 for IPv4, 1024 for IPv6).
        equal_cost: further next hops over the same link, among which the kernel divides the flows: gateways,
            or outer headers where the route has one. Made by `multipath`, so that equal sets are equal routes.
        blackhole: what is sent there is dropped, without a word to a sender on another host.
    """

    rank: ClassVar[Rank] = Rank.ROUTE
    destination: Prefix
    link: str = ""
    gateway: Address | None = None
    onlink: bool = False
    encap: IpEncap | None = None
    table: int = 254
    metric: int = 0
    equal_cost: tuple[NextHop, ...] = ()
    blackhole: bool = False
    key: Key = attrs.field(init=False, eq=False, repr=False)
    __repr__ = shown

    @key.default
    def _key(self) -> Key:
        """The kernel's identity: table, destination and metric."""
        destination = self.destination
        first, length = int(destination.network_address), destination.prefixlen
        return ("route", destination.version, first, length, self.metric, self.table)

    @property
    def next_hop(self) -> NextHop | None:
        """The outer header, or else the gateway, or None."""
        return self.encap or self.gateway

    @property
    def paths(self) -> tuple[KernelRoute, ...]:
        """Every way to the destination, each as a route with one next hop; `multipath` is the inverse."""
        if not self.equal_cost:
            return (self,)
        first = attrs.evolve(self, equal_cost=())
        return (first, *map(first.by, self.equal_cost))

    def by(self, hop: NextHop) -> KernelRoute:
        """Return the same route by another next hop of the same kind."""
        return attrs.evolve(self, encap=hop) if isinstance(hop, IpEncap) else attrs.evolve(self, gateway=hop)

    def __str__(self) -> str:
        words = [f"route {self.destination}"]
        onlink = ["onlink"] if self.onlink else []
        where = [f"table {self.table}"] if self.table != 254 else []
        where += [f"metric {self.metric}"] if self.metric else []
        if self.blackhole:
            words = [f"route blackhole {self.destination}", *where]
        elif self.equal_cost:
            words += where
            for hop in (self.next_hop, *self.equal_cost):
                words += ["nexthop", *self._towards(hop), f"dev {self.link}", *onlink]
        else:
            words += [
                *self._towards(self.encap),
                *self._towards(self.gateway),
                f"dev {self.link}",
                *where,
                *onlink,
            ]
        return " ".join(words)

    def _towards(self, hop: NextHop | None) -> list[str]:
        if hop is None or isinstance(hop, IpEncap):
            return [str(hop)] if hop else []
        return [f"via inet6 {hop}" if hop.version > self.destination.version else f"via {hop}"]


def multipath(paths: Iterable[KernelRoute]) -> KernelRoute:
    """Return the route that goes all these ways at once, whatever their order; at least one.

    Raises:
        ValueError: they differ in more than their next hops, which must all be gateways or all outer headers.
    """
    first, *others = sorted(set(paths), key=_hop_order)
    if not others:
        return first
    route = attrs.evolve(first, equal_cost=tuple(path.next_hop for path in others if path.next_hop))
    if first.next_hop is None or route.paths != (first, *others):
        raise ValueError(f"not one route with several next hops: {', '.join(map(str, (first, *others)))}")
    return route


def _hop_order(route: KernelRoute) -> tuple[int, ...]:
    match route.next_hop:
        case None:
            return ()
        case IpEncap(source=source, destination=destination):
            return (int(destination), int(source))
        case gateway:
            return (gateway.version, int(gateway))


def _numbers(prefix: Prefix) -> Key:
    return prefix.version, int(prefix.network_address), prefix.prefixlen


def _ascending(addresses: Iterable[Address]) -> tuple[Address, ...]:
    return tuple(sorted(addresses, key=lambda each: (each.version, int(each))))


@attrs.frozen(kw_only=True)
class Masquerade:
    """What goes from a pool to outside of it gets the host's own address as its source (RFC 3022 s2.2, NAPT).

    Not what goes to another container, on whichever host, and not multicast.
    """

    rank: ClassVar[Rank] = Rank.TRANSLATION
    link: ClassVar[str] = ""
    pool: Prefix
    enforced: bool = attrs.field(default=True, repr=False)
    key: Key = attrs.field(init=False, eq=False, repr=False)
    __repr__ = shown

    @key.default
    def _key(self) -> Key:
        """The pool."""
        return ("masquerade", *_numbers(self.pool))

    def __str__(self) -> str:
        return f"masquerade saddr {self.pool} daddr != {self.pool}"


@attrs.frozen(kw_only=True)
class Hairpin:
    """What a port of the host led back to where it came from gets the host's own address as its source.

    The container that is led to would otherwise answer its neighbour, or itself, past the host, and nobody
    would know the answer. For IPv4, the host's own connections from 127.0.0.0/8 are included.

    Args:
        subnet: whose containers are on this host.
    """

    rank: ClassVar[Rank] = Rank.TRANSLATION
    link: ClassVar[str] = ""
    subnet: Prefix
    enforced: bool = attrs.field(default=True, repr=False)
    key: Key = attrs.field(init=False, eq=False, repr=False)
    __repr__ = shown

    @key.default
    def _key(self) -> Key:
        """The subnet."""
        return ("hairpin", *_numbers(self.subnet))

    def __str__(self) -> str:
        return f"masquerade ct status dnat saddr {self.subnet} daddr {self.subnet}"


@attrs.frozen(kw_only=True)
class PortForward:
    """What comes to a port of the host goes to a container instead.

    Args:
        protocol: tcp, udp or sctp.
        host_ip: the address that it comes to; None: any of the host's own, of the container's family.
        host_port, port: on the host, and on the container.
        address: the container's.
    """

    rank: ClassVar[Rank] = Rank.TRANSLATION
    link: ClassVar[str] = ""
    protocol: str
    host_ip: Address | None = None
    host_port: int
    address: Address
    port: int
    enforced: bool = attrs.field(default=True, repr=False)
    key: Key = attrs.field(init=False, eq=False, repr=False)
    __repr__ = shown

    @key.default
    def _key(self) -> Key:
        """What it is about: family, protocol, the host's address and port."""
        own = -1 if self.host_ip is None else int(self.host_ip)
        return ("port", self.address.version, self.protocol, own, self.host_port)

    def __str__(self) -> str:
        to = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        at = "" if self.host_ip is None else f"daddr {self.host_ip} "
        return f"port {at}{self.protocol} dport {self.host_port} dnat to {to}:{self.port}"


TABLE_FAMILIES: Mapping[str, tuple[int, ...]] = {"ip": (4,), "ip6": (6,), "inet": (4, 6)}  # nft(8)


@attrs.frozen(kw_only=True)
class ForwardAccept:
    """What is forwarded from a pool, and to it, is accepted by a chain of somebody else's.

    A chain that is not there drops nothing, so this is so by itself, until somebody makes the chain.

    Args:
        chain: whose policy or rules drop what nobody accepts, as family, table and name: `ip filter FORWARD`.
        pool: of the chain's family.
    """

    rank: ClassVar[Rank] = Rank.TRANSLATION
    link: ClassVar[str] = ""
    chain: str
    pool: Prefix
    enforced: bool = attrs.field(default=True, repr=False)
    key: Key = attrs.field(init=False, eq=False, repr=False)
    __repr__ = shown

    @key.default
    def _key(self) -> Key:
        """The chain and the pool."""
        return ("forward", self.chain, *_numbers(self.pool))

    def __str__(self) -> str:
        return f"forward {self.chain} saddr {self.pool} accept, daddr {self.pool} accept"


@attrs.frozen(kw_only=True)
class SourceGuard:
    """What comes in by an interface is dropped unless it is from these addresses, and claims no others.

    On a port of a bridge ARP and neighbour discovery are looked at too: a container cannot say that another's
    address is its own, nor that it is a router. Duplicate address detection passes, for these addresses.

    Args:
        interface: the name of the link; it need not be there.
        mac: the only link-layer address that frames may come from.
        addresses: the only sources of packets, in ascending order.
        bridged: the link is a port of a bridge.
    """

    rank: ClassVar[Rank] = Rank.GUARD
    link: ClassVar[str] = ""
    interface: str
    mac: str
    addresses: tuple[Address, ...] = attrs.field(converter=_ascending)
    bridged: bool
    enforced: bool = attrs.field(default=True, repr=False)
    key: Key = attrs.field(init=False, eq=False, repr=False)
    __repr__ = shown

    @key.default
    def _key(self) -> Key:
        """The interface, in one of two places."""
        return ("guard", self.interface, self.bridged)

    def __str__(self) -> str:
        where = "bridge" if self.bridged else "inet"
        allowed = ", ".join(map(str, self.addresses))
        return f"guard {where} iifname {self.interface} ether saddr {self.mac} saddr {{ {allowed} }}"


Item = (
    Link
    | BridgePort
    | InterfaceAddress
    | Sysctl
    | FdbEntry
    | Neighbour
    | KernelRoute
    | Masquerade
    | Hairpin
    | PortForward
    | ForwardAccept
    | SourceGuard
)


def by_key(items: Iterable[Item]) -> dict[Key, Item]:
    """Return the items under their keys; of two with one key the later stays."""
    return {item.key: item for item in items}
