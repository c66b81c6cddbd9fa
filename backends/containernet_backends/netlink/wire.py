"""From rtnetlink messages to items: routes, neighbours, fdb entries, addresses, links. Pure, no I/O.

Decoders take `names`, interface index to name, since the wire knows links by index only; a link that nobody
knows is "". They return an item with the number of its owner, or None for what cannot be an item. An item
that somebody bent into something that we never make (a next hop with a weight) is read as one that equals
nothing desired, so that the planner puts it right.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from socket import AF_INET, AF_INET6
from typing import NamedTuple

import attrs

from containernet.items import (
    Bridge,
    BridgePort,
    ExternalTunnel,
    FdbEntry,
    InterfaceAddress,
    IpEncap,
    IpTunnel,
    KernelRoute,
    Key,
    Link,
    LinkType,
    Neighbour,
    Veth,
    Vxlan,
    multipath,
)
from containernet.model import Address, Interface, Prefix
from containernet.values import shown

from . import constants as c
from .frames import Malformed, attribute, attribute_at, attributes, number, text
from .layouts import FAMILY, IFADDRMSG, IFINFOMSG, NDMSG, NHMSG, RTMSG, RTNEXTHOP, U32
from .nexthops import PLAIN, Hop, Nexthop, Way
from .ownership import ALIAS, PROTOCOL

NH_ID = attribute(c.RTA_NH_ID, bytes(U32.size))[: -U32.size]  # what the number of a nexthop object follows

Names = Mapping[int, str]
Hops = Mapping[int, Hop | None]
BatchedItem = KernelRoute | Neighbour | FdbEntry | InterfaceAddress


@lru_cache(maxsize=65536)
def _address(packed: bytes) -> Address:
    if len(packed) == 4:
        return IPv4Address(packed)
    if len(packed) == 16:
        return IPv6Address(packed)
    raise Malformed(f"address of {len(packed)} octets: expected 4 or 16")


def _prefix(family: int, packed: bytes, length: int) -> Prefix:
    try:
        if family == AF_INET:
            return IPv4Network((packed or bytes(4), length))
        return IPv6Network((packed or bytes(16), length))
    except ValueError as error:
        raise Malformed(f"prefix {packed.hex()}/{length}: {error}") from error


def _interface(packed: bytes, length: int) -> Interface:
    try:
        return IPv4Interface((packed, length)) if len(packed) == 4 else IPv6Interface((packed, length))
    except ValueError as error:
        raise Malformed(f"interface address {packed.hex()}/{length}: {error}") from error


class Owned(NamedTuple):
    """An item as the kernel holds it, and the protocol number of the one who put it there."""

    item: KernelRoute | Neighbour | FdbEntry | InterfaceAddress
    protocol: int


def route_protocol(body: bytes) -> int:
    """Return whose route it is, at the price of one index."""
    return body[5] if len(body) > 5 else 0


def route_destination(body: bytes) -> tuple[int, int, bytes]:
    """Return the family, the prefix length and the packed address, if one is told, of where a route leads."""
    return body[0], body[1], attributes(body, RTMSG.size).get(c.RTA_DST, b"")


def route_key(body: bytes) -> Key:
    """Return the key of a route of any kind, such as `blackhole`: one of them stands in the way of another."""
    if len(body) < RTMSG.size:
        raise Malformed(f"route of {len(body)} octets: expected at least {RTMSG.size}")
    family, length, _, _, table, *_ = RTMSG.unpack_from(body)
    destination, table, metric = _identity(family, length, table, attributes(body, RTMSG.size))
    return KernelRoute(destination=destination, link="", table=table, metric=metric).key


def _identity(family: int, length: int, table: int, found: Mapping[int, bytes]) -> tuple[Prefix, int, int]:
    """Return destination, table and metric of a route."""
    if c.RTA_TABLE in found:
        table = number(found[c.RTA_TABLE])
    metric = number(found[c.RTA_PRIORITY]) if c.RTA_PRIORITY in found else 0
    if family == AF_INET6 and metric == c.IP6_RT_PRIO_USER:
        metric = 0
    return _prefix(family, found.get(c.RTA_DST, b""), length), table, metric


def decode_route(body: bytes, names: Names, hops: Hops) -> Owned | None:
    """Return the unicast or blackhole route of an RTM_NEWROUTE or RTM_DELROUTE.

    Args:
        hops: where nexthop objects lead. Asked only where the kernel tells no more of a route than the object's
            number (net.ipv4.nexthop_compat_mode=0).
    """
    if len(body) < RTMSG.size:
        raise Malformed(f"route of {len(body)} octets: expected at least {RTMSG.size}")
    family, length, _, _, table, protocol, _, kind, flags = RTMSG.unpack_from(body)
    if (
        kind not in (c.RTN_UNICAST, c.RTN_BLACKHOLE)
        or flags & c.RTM_F_CLONED
        or family not in (AF_INET, AF_INET6)
    ):
        return None
    found = attributes(body, RTMSG.size)
    destination, table, metric = _identity(family, length, table, found)
    if kind == c.RTN_BLACKHOLE:  # of IPv6 it comes with the link `lo`, which nobody asked for
        blackhole = KernelRoute(destination=destination, table=table, metric=metric, blackhole=True)
        return Owned(blackhole, protocol)
    if c.RTA_MULTIPATH in found:
        route = KernelRoute(destination=destination, table=table, metric=metric)
        return Owned(_multipath(route, found[c.RTA_MULTIPATH], names), protocol)
    index = number(found[c.RTA_OIF]) if c.RTA_OIF in found else 0
    gateway, onlink = _gateway(found), bool(flags & c.RTNH_F_ONLINK)
    if c.RTA_NH_ID in found and not index:
        hop = hops.get(number(found[c.RTA_NH_ID]))
        if hop is not None:
            index, gateway, onlink = hop.way.oif, _address(hop.gateway), hop.way.onlink
    route = KernelRoute(
        destination=destination,
        link=names.get(index, "") if index else "",
        gateway=gateway,
        onlink=onlink,
        encap=_encap(found),
        table=table,
        metric=metric,
    )
    return Owned(route, protocol)


def route_nexthop(body: bytes) -> int:
    """Return the number of the nexthop object that a route uses, or PLAIN."""
    at = attribute_at(body, c.RTA_NH_ID, RTMSG.size)
    told = at >= 0 and body[at - 4 : at] == NH_ID and len(body) - at >= U32.size
    return int(U32.unpack_from(body, at)[0]) if told else PLAIN


def nexthop_owner(body: bytes) -> tuple[int, int]:
    """Return the number of a nexthop object and whose it is, at the price of two lookups."""
    at = attribute_at(body, c.NHA_ID, NHMSG.size)
    return (U32.unpack_from(body, at)[0], body[2]) if 0 <= at <= len(body) - U32.size else (PLAIN, 0)


def decode_nexthop(body: bytes) -> Nexthop:
    """Return the nexthop object of an RTM_NEWNEXTHOP or RTM_DELNEXTHOP."""
    if len(body) < NHMSG.size:
        raise Malformed(f"nexthop of {len(body)} octets: expected at least {NHMSG.size}")
    _, _, protocol, _, flags = NHMSG.unpack_from(body)
    found = attributes(body, NHMSG.size)
    hop = None
    if found.keys() == {c.NHA_ID, c.NHA_OIF, c.NHA_GATEWAY} and len(found[c.NHA_GATEWAY]) in (4, 16):
        way = Way(number(found[c.NHA_OIF]), bool(flags & c.RTNH_F_ONLINK))
        hop = Hop(way, found[c.NHA_GATEWAY])
    return Nexthop(number(found.get(c.NHA_ID, bytes(4))), protocol, hop)


def _gateway(found: Mapping[int, bytes]) -> Address | None:
    packed = found.get(c.RTA_GATEWAY) or found.get(c.RTA_VIA, b"")[2:]
    return _address(packed) if packed else None


def _multipath(route: KernelRoute, nexthops: bytes, names: Names) -> KernelRoute:
    """Return the route with these next hops; as it is where we never make such: weights, several links."""
    paths = []
    offset = 0
    while offset < len(nexthops):
        if len(nexthops) - offset < RTNEXTHOP.size:
            raise Malformed(f"{len(nexthops) - offset} octets left: expected a next hop of {RTNEXTHOP.size}")
        length, flags, weight, index = RTNEXTHOP.unpack_from(nexthops, offset)
        if not RTNEXTHOP.size <= length <= len(nexthops) - offset:
            raise Malformed(f"next hop of {length} octets where {len(nexthops) - offset} are left")
        found = attributes(nexthops[offset : offset + length], RTNEXTHOP.size)
        gateway, encap = _gateway(found), _encap(found)
        if weight or gateway is None:
            return route
        paths.append(
            attrs.evolve(
                route,
                link=names.get(index, ""),
                gateway=gateway if encap is None else None,
                onlink=bool(flags & c.RTNH_F_ONLINK),
                encap=encap,
            )
        )
        offset += (length + 3) & ~3
    try:
        return multipath(paths)
    except ValueError:
        return route


def _encap(found: Mapping[int, bytes]) -> IpEncap | None:
    """Return the outer header of a route; one that we never write (a VPN label, a segment list) is none."""
    if c.RTA_ENCAP not in found or number(found.get(c.RTA_ENCAP_TYPE, b"")) != c.LWTUNNEL_ENCAP_IP6:
        return None
    outer = attributes(found[c.RTA_ENCAP])
    source = _address(outer.get(c.LWTUNNEL_IP6_SRC, bytes(16)))
    destination = _address(outer.get(c.LWTUNNEL_IP6_DST, bytes(16)))
    if not isinstance(source, IPv6Address) or not isinstance(destination, IPv6Address):
        raise Malformed(f"outer header from {source} to {destination}: expected IPv6")
    return IpEncap(source=source, destination=destination)


def neighbour_state(body: bytes) -> int:
    """Return the state of an RTM_NEWNEIGH, at the price of one lookup."""
    return body[8] if len(body) > 8 else 0


def neighbour_index(body: bytes) -> int:
    """Return the interface index of an RTM_NEWNEIGH, at the price of one unpacking."""
    if len(body) < NDMSG.size:
        raise Malformed(f"neighbour of {len(body)} octets: expected at least {NDMSG.size}")
    return int(NDMSG.unpack_from(body)[1])


def decode_neighbour(body: bytes, names: Names) -> Owned | None:
    """Return the neighbour, for AF_BRIDGE the fdb entry, of an RTM_NEWNEIGH or RTM_DELNEIGH; in any state."""
    if len(body) < NDMSG.size:
        raise Malformed(f"neighbour of {len(body)} octets: expected at least {NDMSG.size}")
    family, index, _, flags, _ = NDMSG.unpack_from(body)
    found = attributes(body, NDMSG.size)
    if c.NDA_DST not in found or family not in (AF_INET, AF_INET6, c.AF_BRIDGE):
        return None
    address = _address(found[c.NDA_DST])
    mac = found.get(c.NDA_LLADDR, b"").hex(":")
    link = names.get(index, "")
    protocol = number(found[c.NDA_PROTOCOL]) if c.NDA_PROTOCOL in found else 0
    if family != c.AF_BRIDGE:
        return Owned(Neighbour(link=link, address=address, mac=mac), protocol)
    if not flags & c.NTF_SELF or mac in ("", "00:00:00:00:00:00"):
        return None
    return Owned(FdbEntry(link=link, mac=mac, destination=address), protocol)


def decode_address(body: bytes, names: Names) -> Owned | None:
    """Return the address of an RTM_NEWADDR or RTM_DELADDR; None: it is of a narrower scope than global."""
    if len(body) < IFADDRMSG.size:
        raise Malformed(f"address of {len(body)} octets: expected at least {IFADDRMSG.size}")
    family, length, _, scope, index = IFADDRMSG.unpack_from(body)
    if scope != c.RT_SCOPE_UNIVERSE or family not in (AF_INET, AF_INET6):
        return None
    found = attributes(body, IFADDRMSG.size)
    packed = found.get(c.IFA_LOCAL) or found.get(c.IFA_ADDRESS, b"")
    address = InterfaceAddress(link=names.get(index, ""), address=_interface(packed, length))
    return Owned(address, number(found[c.IFA_PROTO]) if c.IFA_PROTO in found else 0)


@attrs.frozen(kw_only=True)
class LinkRecord:
    """A link as the kernel shows it, whoever's it is.

    Args:
        index, name, alias, group, mtu, up: as in ip-link(8).
        carrier: whether there is anybody at the other end of the cable.
        mac: lower case; empty where the device has no Ethernet address.
        kind: the kernel's name for its driver; empty for hardware.
        parameters: the driver's own attributes, by number.
        master: the index of the bridge that it is a port of; 0: none.
        hairpin: see BridgePort.
    """

    index: int
    name: str
    alias: str
    group: int
    mtu: int
    up: bool
    carrier: bool
    mac: str
    kind: str
    parameters: Mapping[int, bytes] = attrs.field(eq=False)
    master: int
    hairpin: bool
    __repr__ = shown

    @property
    def ours(self) -> bool:
        """Whether the link carries our mark."""
        return self.alias == ALIAS

    @property
    def half_made(self) -> bool:
        """Whether the link was born ours, but its maker died before the mark was on it."""
        return self.group == PROTOCOL and not self.alias

    def item(self, names: Names) -> Link | None:
        """Return the link as an item, or None where it is of a kind that we never make."""
        kind = self.type(names)
        if kind is None:
            return None
        return Link(name=self.name, type=kind, mac=self.mac, mtu=self.mtu, up=self.up)

    def type(self, names: Names) -> LinkType | None:
        """Return the link's kind with its parameters."""
        match self.kind:
            case "bridge":
                return Bridge()
            case "veth":
                return Veth()
            case "vxlan":
                return _vxlan(self.parameters, names)
            case "ipip":
                local = _address(self.parameters.get(c.IFLA_IPTUN_LOCAL, bytes(4)))
                return IpTunnel(local=local) if isinstance(local, IPv4Address) else None
            case "ip6tnl" if c.IFLA_IPTUN_COLLECT_METADATA in self.parameters:
                return ExternalTunnel()
            case _:
                return None

    def port(self, names: Names) -> BridgePort:
        """Return the link's membership in its master."""
        return BridgePort(link=self.name, bridge=names.get(self.master, ""), hairpin=self.hairpin)


def _vxlan(parameters: Mapping[int, bytes], names: Names) -> Vxlan:
    local = parameters.get(c.IFLA_VXLAN_LOCAL) or parameters.get(c.IFLA_VXLAN_LOCAL6, bytes(4))
    dev = parameters.get(c.IFLA_VXLAN_LINK)
    return Vxlan(
        vni=number(parameters.get(c.IFLA_VXLAN_ID, bytes(4))),
        local=_address(local),
        port=int.from_bytes(parameters.get(c.IFLA_VXLAN_PORT, b""), "big"),  # the one number in network order
        dev=names.get(number(dev), "") if dev else "",
    )


def link_family(body: bytes) -> int:
    """Return who speaks about the link: 0, or AF_BRIDGE for a bridge about its port."""
    return body[0]


def decode_link(body: bytes) -> LinkRecord:
    """Return the link of an RTM_NEWLINK or RTM_DELLINK."""
    if len(body) < IFINFOMSG.size:
        raise Malformed(f"link of {len(body)} octets: expected at least {IFINFOMSG.size}")
    _, _, index, flags, _ = IFINFOMSG.unpack_from(body)
    found = attributes(body, IFINFOMSG.size)
    info = attributes(found.get(c.IFLA_LINKINFO, b""))
    port = attributes(info.get(c.IFLA_INFO_SLAVE_DATA, found.get(c.IFLA_PROTINFO, b"")))
    address = found.get(c.IFLA_ADDRESS, b"")
    return LinkRecord(
        index=index,
        name=text(found.get(c.IFLA_IFNAME, b"")),
        alias=text(found.get(c.IFLA_IFALIAS, b"")),
        group=number(found.get(c.IFLA_GROUP, bytes(4))),
        mtu=number(found.get(c.IFLA_MTU, bytes(4))),
        up=bool(flags & c.IFF_UP),
        carrier=bool(flags & c.IFF_LOWER_UP),
        mac=address.hex(":") if len(address) == 6 else "",
        kind=text(info.get(c.IFLA_INFO_KIND, b"")),
        parameters=attributes(info.get(c.IFLA_INFO_DATA, b"")),
        master=number(found.get(c.IFLA_MASTER, bytes(4))),
        hairpin=bool(number(port.get(c.IFLA_BRPORT_MODE, b"\0"))),
    )


def link_body(
    *, name: str = "", index: int = 0, family: int = 0, up: bool | None = None, attributes: bytes = b""
) -> bytes:
    """Return the body of a request about a link, by index or name; `up` None leaves its state alone."""
    start = IFINFOMSG.pack(family, 0, index, c.IFF_UP if up else 0, 0 if up is None else c.IFF_UP)
    named = attribute(c.IFLA_IFNAME, name.encode() + b"\0") if name else b""
    return start + named + attributes


NO_STATISTICS = attribute(c.IFLA_EXT_MASK, U32.pack(c.RTEXT_FILTER_SKIP_STATS))


def route_filter(family: int, *, protocol: int = 0, table: int = 0) -> bytes:
    """Return the body of a dump of routes of any type, of one protocol or table where they are not 0."""
    start = RTMSG.pack(family, 0, 0, 0, table if table < 256 else 0, protocol, 0, c.RTN_UNSPEC, 0)
    return start + (attribute(c.RTA_TABLE, U32.pack(table)) if table else b"")


def route_lookup(address: Address) -> bytes:
    """Return the body of the question by which entry of the FIB a packet to that address would go."""
    start = RTMSG.pack(FAMILY[address.version], address.max_prefixlen, 0, 0, 0, 0, 0, 0, c.RTM_F_FIB_MATCH)
    return start + attribute(c.RTA_DST, address.packed)


def neighbour_filter(family: int, index: int = 0) -> bytes:
    """Return the body of a dump of neighbours, or of the fdb of one device."""
    return NDMSG.pack(family, index, 0, 0, 0)


def address_filter(family: int) -> bytes:
    """Return the body of a dump of addresses."""
    return IFADDRMSG.pack(family, 0, 0, 0, 0)
