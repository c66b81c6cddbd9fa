"""Items to rtnetlink messages and back: routes, neighbours, fdb entries, addresses, links. Pure, no I/O.

Routes, neighbours and fdb entries come by the thousand, so `Encoder` keeps one template for each shape (all
that is the same in a run of similar operations) and a message costs a lookup and a join: about a microsecond,
where a general encoder takes several hundred. IPv4 and IPv6 differ in the length of an address and little else.

Decoders take `names`, interface index to name, since the wire knows links by index only; a link that nobody
knows is "". They return an item with the number of its owner, or None for what cannot be an item. An item
that somebody bent into something that we never make (a next hop with a weight, a nexthop object) is read as one
that equals nothing desired, so that the planner puts it right.
"""

from __future__ import annotations

import struct
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
from containernet.planning import Create, Delete, Operation, Replace

from . import constants as c
from .frames import HEADER, Malformed, attribute, attributes, message, number, text
from .ownership import ALIAS, PROTOCOL

Names = Mapping[int, str]
BatchedItem = KernelRoute | Neighbour | FdbEntry | InterfaceAddress
BATCHED = frozenset({KernelRoute, Neighbour, FdbEntry, InterfaceAddress})

_RTMSG = struct.Struct("=8BI")  # family, dst_len, src_len, tos, table, protocol, scope, type, flags
_RTNEXTHOP = struct.Struct("=HBBi")  # length with the attributes that follow, flags, weight - 1, index
_NDMSG = struct.Struct("=BxxxiHBB")  # family, index, state, flags, type
_IFADDRMSG = struct.Struct("=4BI")  # family, prefixlen, flags, scope, index
_IFINFOMSG = struct.Struct("=BxHiII")  # family, type, index, flags, change
_START = struct.Struct("=IHH")
_U32 = struct.Struct("=I")
_SIZE = {4: 4, 6: 16}
# Of IPv6, Linux takes several next hops only if each has a gateway, an outer header or not
# (rt6_qualify_for_ecmp). The device of a tunnel asks nobody for neighbours, so that any address will do.
_NO_GATEWAY = IPv6Address("fe80::1")
_FAMILY = {4: AF_INET, 6: AF_INET6}

_FLAGS: Mapping[type[Operation], int] = {
    Create: c.NLM_F_REQUEST | c.NLM_F_CREATE | c.NLM_F_EXCL,
    Replace: c.NLM_F_REQUEST | c.NLM_F_CREATE | c.NLM_F_REPLACE,
    Delete: c.NLM_F_REQUEST,
}

# A message without what varies from one to the next of its shape: the header up to the sequence number, then
# all up to the first varying value, what stands between it and the second, and what follows.
_Template = tuple[bytes, bytes, bytes, bytes]


def _template(
    type: int, verb: type[Operation], *, middle: bytes, size: int, between: bytes = b"", after: bytes = b""
) -> _Template:
    """Return the template of a message whose two varying values have `size` octets together."""
    length = HEADER.size + len(middle) + size + len(between) + len(after)
    return _START.pack(length, type + (verb is Delete), _FLAGS[verb]), bytes(4) + middle, between, after


def _attribute_head(type: int, size: int) -> bytes:
    return attribute(type, bytes(size))[:4]


class Encoder:
    """Encodes operations; remembers the shapes it has met. Not for use by two threads at a time."""

    def __init__(self) -> None:
        self._templates: dict[tuple[object, ...], _Template] = {}

    def encode(self, operation: Operation, index: int, sequence: int) -> bytes:
        """Return the message that carries out an operation on a batched item.

        Args:
            operation: of a route, neighbour, fdb entry or address.
            index: the interface index of the item's link.
            sequence: the number by which the kernel's answer is recognised.
        """
        item = operation.item
        verb = type(operation)
        if type(item) is KernelRoute:
            if item.equal_cost and verb is not Delete:
                return _encode_multipath(verb, item, index, sequence)
            first = item.destination.network_address.packed
            hop = item.encap.destination if item.encap else item.gateway
            second = hop.packed if hop is not None and verb is not Delete else b""
            head, middle, between, after = self._route(verb, item, index)
        elif type(item) is Neighbour:
            first = item.address.packed
            second = _mac(item.mac) if verb is not Delete else b""
            head, middle, between, after = self._neighbour(verb, item.address.version, index)
        elif type(item) is FdbEntry:
            first = _mac(item.mac)
            second = item.destination.packed if verb is not Delete else b""
            head, middle, between, after = self._fdb(verb, item.destination.version, index)
        else:
            assert isinstance(item, InterfaceAddress)
            return _encode_address(verb, item, index, sequence)
        return b"".join((head, _U32.pack(sequence), middle, first, between, second, after))

    def _route(self, verb: type[Operation], item: KernelRoute, index: int) -> _Template:
        destination = item.destination
        gateway = None if verb is Delete else item.gateway
        # The class stands for the family: it costs no call.
        hops = (destination.__class__, destination.prefixlen, gateway.__class__, item.onlink, item.blackhole)
        encap = item.encap and item.encap.source
        shape = (verb, index, hops, encap, item.table, item.metric)
        template = self._templates.get(shape)
        if template is None:
            via = 0 if gateway is None else gateway.version
            template = self._templates[shape] = _route_template(verb, item, index, via)
        return template

    def _neighbour(self, verb: type[Operation], version: int, index: int) -> _Template:
        shape = (Neighbour, verb, version, index)
        if shape not in self._templates:
            self._templates[shape] = _neighbour_template(verb, version, index)
        return self._templates[shape]

    def _fdb(self, verb: type[Operation], version: int, index: int) -> _Template:
        shape = (FdbEntry, verb, version, index)
        if shape not in self._templates:
            self._templates[shape] = _fdb_template(verb, version, index)
        return self._templates[shape]


def _neighbour_template(verb: type[Operation], version: int, index: int) -> _Template:
    size = _SIZE[version]
    middle = _NDMSG.pack(_FAMILY[version], index, c.NUD_PERMANENT, 0, 0)
    if verb is Delete:
        return _template(c.RTM_NEWNEIGH, verb, middle=middle + _attribute_head(c.NDA_DST, size), size=size)
    middle += attribute(c.NDA_PROTOCOL, bytes((PROTOCOL,))) + _attribute_head(c.NDA_DST, size)
    lladdr = _attribute_head(c.NDA_LLADDR, 6)
    return _template(c.RTM_NEWNEIGH, verb, middle=middle, size=size + 6, between=lladdr, after=bytes(2))


def _fdb_template(verb: type[Operation], version: int, index: int) -> _Template:
    middle = _NDMSG.pack(c.AF_BRIDGE, index, c.NUD_PERMANENT, c.NTF_SELF, 0) + _attribute_head(c.NDA_LLADDR, 6)
    if verb is Delete:  # without a destination the whole entry goes
        return _template(c.RTM_NEWNEIGH, verb, middle=middle, size=6, after=bytes(2))
    size = _SIZE[version]
    destination = bytes(2) + _attribute_head(c.NDA_DST, size)
    return _template(c.RTM_NEWNEIGH, verb, middle=middle, size=6 + size, between=destination)


def _route_template(verb: type[Operation], item: KernelRoute, index: int, via: int) -> _Template:
    version = item.destination.version
    size = _SIZE[version]
    # Told to delete, Linux takes each field that is set as a condition: table, metric and our protocol are the
    # route's identity and stay; link and gateway are not part of it. "Nowhere" is any scope.
    universe = via or item.blackhole
    scope = c.RT_SCOPE_NOWHERE if verb is Delete else c.RT_SCOPE_UNIVERSE if universe else c.RT_SCOPE_LINK
    middle = [_route_head(item, scope, flags=c.RTNH_F_ONLINK if item.onlink and verb is not Delete else 0)]
    if verb is not Delete and not item.blackhole:
        middle.append(attribute(c.RTA_OIF, _U32.pack(index)))
    middle.append(_attribute_head(c.RTA_DST, size))
    between = b""
    if item.encap and verb is not Delete:
        between, via = _encap_head(item.encap), item.encap.destination.version
    elif via:
        between = _gateway_head(via, other=via != version)
    varying = size + (_SIZE[via] if via else 0)
    after = bytes(-(len(between) + varying) % 4)
    return _template(c.RTM_NEWROUTE, verb, middle=b"".join(middle), size=varying, between=between, after=after)


def _route_head(item: KernelRoute, scope: int, *, flags: int = 0) -> bytes:
    """Return what a message about a route begins with: its identity but for the destination."""
    head = _RTMSG.pack(
        _FAMILY[item.destination.version],
        item.destination.prefixlen,
        0,
        0,
        item.table if item.table < 256 else c.RT_TABLE_UNSPEC,
        PROTOCOL,
        scope,
        c.RTN_BLACKHOLE if item.blackhole else c.RTN_UNICAST,
        flags,
    )
    head += attribute(c.RTA_TABLE, _U32.pack(item.table))
    metric = item.metric or (c.IP6_RT_PRIO_USER if item.destination.version == 6 else 0)
    return head + attribute(c.RTA_PRIORITY, _U32.pack(metric)) if metric else head


def _gateway_head(version: int, *, other: bool) -> bytes:
    """Return the attribute of a gateway up to its address; of the other family it is another (RFC 8950)."""
    if not other:
        return _attribute_head(c.RTA_GATEWAY, _SIZE[version])
    return _attribute_head(c.RTA_VIA, 2 + _SIZE[version]) + struct.pack("=H", _FAMILY[version])


def _encode_multipath(verb: type[Operation], item: KernelRoute, index: int, sequence: int) -> bytes:
    """Return the message of a route with several next hops: rare, so it has no template."""
    version = item.destination.version
    flags = c.RTNH_F_ONLINK if item.onlink else 0
    nexthops = []
    for path in item.paths:
        if path.encap is not None:
            hop = _encap_head(path.encap) + path.encap.destination.packed
            hop += attribute(c.RTA_GATEWAY, _NO_GATEWAY.packed)
        else:
            assert path.gateway is not None
            hop = (
                _gateway_head(path.gateway.version, other=path.gateway.version != version) + path.gateway.packed
            )
            hop += bytes(-len(hop) % 4)
        nexthops.append(_RTNEXTHOP.pack(_RTNEXTHOP.size + len(hop), flags, 0, index) + hop)
    body = b"".join((
        _route_head(item, c.RT_SCOPE_UNIVERSE),
        attribute(c.RTA_DST, item.destination.network_address.packed),
        attribute(c.RTA_MULTIPATH, b"".join(nexthops)),
    ))  # fmt: skip
    return message(c.RTM_NEWROUTE, _FLAGS[verb], sequence, body)


def _encap_head(encap: IpEncap) -> bytes:
    """Return the attributes of an outer header up to its destination, which varies."""
    source = attribute(c.LWTUNNEL_IP6_SRC, encap.source.packed)
    destination = _attribute_head(c.LWTUNNEL_IP6_DST, 16)
    outer = attribute(c.RTA_ENCAP | c.NLA_F_NESTED, source + destination + bytes(16))
    return attribute(c.RTA_ENCAP_TYPE, struct.pack("=H", c.LWTUNNEL_ENCAP_IP6)) + outer[:-16]


def _encode_address(verb: type[Operation], item: InterfaceAddress, index: int, sequence: int) -> bytes:
    address = item.address
    nodad = c.IFA_F_NODAD if address.version == 6 else 0
    body = b"".join((
        _IFADDRMSG.pack(_FAMILY[address.version], address.network.prefixlen, nodad, c.RT_SCOPE_UNIVERSE, index),
        attribute(c.IFA_LOCAL, address.packed),
        attribute(c.IFA_ADDRESS, address.packed),
        attribute(c.IFA_PROTO, bytes((PROTOCOL,))) if verb is not Delete else b"",
    ))  # fmt: skip
    start = _START.pack(HEADER.size + len(body), c.RTM_NEWADDR + (verb is Delete), _FLAGS[verb])
    return start + _U32.pack(sequence) + bytes(4) + body


@lru_cache(maxsize=65536)
def _mac(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


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


def route_key(body: bytes) -> Key:
    """Return the key of a route of any kind, such as `blackhole`: one of them stands in the way of another."""
    if len(body) < _RTMSG.size:
        raise Malformed(f"route of {len(body)} octets: expected at least {_RTMSG.size}")
    family, length, _, _, table, *_ = _RTMSG.unpack_from(body)
    destination, table, metric = _identity(family, length, table, attributes(body, _RTMSG.size))
    return KernelRoute(destination=destination, link="", table=table, metric=metric).key


def _identity(family: int, length: int, table: int, found: Mapping[int, bytes]) -> tuple[Prefix, int, int]:
    """Return destination, table and metric of a route."""
    if c.RTA_TABLE in found:
        table = number(found[c.RTA_TABLE])
    metric = number(found[c.RTA_PRIORITY]) if c.RTA_PRIORITY in found else 0
    if family == AF_INET6 and metric == c.IP6_RT_PRIO_USER:
        metric = 0
    return _prefix(family, found.get(c.RTA_DST, b""), length), table, metric


def decode_route(body: bytes, names: Names) -> Owned | None:
    """Return the unicast or blackhole route of an RTM_NEWROUTE or RTM_DELROUTE."""
    if len(body) < _RTMSG.size:
        raise Malformed(f"route of {len(body)} octets: expected at least {_RTMSG.size}")
    family, length, _, _, table, protocol, _, kind, flags = _RTMSG.unpack_from(body)
    if (
        kind not in (c.RTN_UNICAST, c.RTN_BLACKHOLE)
        or flags & c.RTM_F_CLONED
        or family not in (AF_INET, AF_INET6)
    ):
        return None
    found = attributes(body, _RTMSG.size)
    destination, table, metric = _identity(family, length, table, found)
    if kind == c.RTN_BLACKHOLE:  # of IPv6 it comes with the link `lo`, which nobody asked for
        blackhole = KernelRoute(destination=destination, table=table, metric=metric, blackhole=True)
        return Owned(blackhole, protocol)
    bent = c.RTA_MULTIPATH in found or c.RTA_NH_ID in found
    route = KernelRoute(
        destination=destination,
        link="" if bent or c.RTA_OIF not in found else names.get(number(found[c.RTA_OIF]), ""),
        gateway=None if bent else _gateway(found),
        onlink=bool(flags & c.RTNH_F_ONLINK) and not bent,
        encap=None if bent else _encap(found),
        table=table,
        metric=metric,
    )
    if c.RTA_MULTIPATH in found:
        route = _multipath(route, found[c.RTA_MULTIPATH], names)
    return Owned(route, protocol)


def _gateway(found: Mapping[int, bytes]) -> Address | None:
    packed = found.get(c.RTA_GATEWAY) or found.get(c.RTA_VIA, b"")[2:]
    return _address(packed) if packed else None


def _multipath(route: KernelRoute, nexthops: bytes, names: Names) -> KernelRoute:
    """Return the route with these next hops; as it is where we never make such: weights, several links."""
    paths = []
    offset = 0
    while offset < len(nexthops):
        if len(nexthops) - offset < _RTNEXTHOP.size:
            raise Malformed(f"{len(nexthops) - offset} octets left: expected a next hop of {_RTNEXTHOP.size}")
        length, flags, weight, index = _RTNEXTHOP.unpack_from(nexthops, offset)
        if not _RTNEXTHOP.size <= length <= len(nexthops) - offset:
            raise Malformed(f"next hop of {length} octets where {len(nexthops) - offset} are left")
        found = attributes(nexthops[offset : offset + length], _RTNEXTHOP.size)
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
    if len(body) < _NDMSG.size:
        raise Malformed(f"neighbour of {len(body)} octets: expected at least {_NDMSG.size}")
    return int(_NDMSG.unpack_from(body)[1])


def decode_neighbour(body: bytes, names: Names) -> Owned | None:
    """Return the neighbour, for AF_BRIDGE the fdb entry, of an RTM_NEWNEIGH or RTM_DELNEIGH; in any state."""
    if len(body) < _NDMSG.size:
        raise Malformed(f"neighbour of {len(body)} octets: expected at least {_NDMSG.size}")
    family, index, _, flags, _ = _NDMSG.unpack_from(body)
    found = attributes(body, _NDMSG.size)
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
    if len(body) < _IFADDRMSG.size:
        raise Malformed(f"address of {len(body)} octets: expected at least {_IFADDRMSG.size}")
    family, length, _, scope, index = _IFADDRMSG.unpack_from(body)
    if scope != c.RT_SCOPE_UNIVERSE or family not in (AF_INET, AF_INET6):
        return None
    found = attributes(body, _IFADDRMSG.size)
    packed = found.get(c.IFA_LOCAL) or found.get(c.IFA_ADDRESS, b"")
    address = InterfaceAddress(link=names.get(index, ""), address=_interface(packed, length))
    return Owned(address, number(found[c.IFA_PROTO]) if c.IFA_PROTO in found else 0)


@attrs.frozen(kw_only=True)
class LinkRecord:
    """A link as the kernel shows it, whoever's it is.

    Args:
        index, name, alias, group, mtu, up: as in ip-link(8).
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
    mac: str
    kind: str
    parameters: Mapping[int, bytes] = attrs.field(eq=False)
    master: int
    hairpin: bool

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
    if len(body) < _IFINFOMSG.size:
        raise Malformed(f"link of {len(body)} octets: expected at least {_IFINFOMSG.size}")
    _, _, index, flags, _ = _IFINFOMSG.unpack_from(body)
    found = attributes(body, _IFINFOMSG.size)
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
    start = _IFINFOMSG.pack(family, 0, index, c.IFF_UP if up else 0, 0 if up is None else c.IFF_UP)
    named = attribute(c.IFLA_IFNAME, name.encode() + b"\0") if name else b""
    return start + named + attributes


NO_STATISTICS = attribute(c.IFLA_EXT_MASK, _U32.pack(c.RTEXT_FILTER_SKIP_STATS))


def route_filter(family: int, *, protocol: int = 0, table: int = 0) -> bytes:
    """Return the body of a dump of routes of any type, of one protocol or table where they are not 0."""
    start = _RTMSG.pack(family, 0, 0, 0, table if table < 256 else 0, protocol, 0, c.RTN_UNSPEC, 0)
    return start + (attribute(c.RTA_TABLE, _U32.pack(table)) if table else b"")


def route_lookup(address: Address) -> bytes:
    """Return the body of the question by which entry of the FIB a packet to that address would go."""
    start = _RTMSG.pack(_FAMILY[address.version], address.max_prefixlen, 0, 0, 0, 0, 0, 0, c.RTM_F_FIB_MATCH)
    return start + attribute(c.RTA_DST, address.packed)


def neighbour_filter(family: int, index: int = 0) -> bytes:
    """Return the body of a dump of neighbours, or of the fdb of one device."""
    return _NDMSG.pack(family, index, 0, 0, 0)


def address_filter(family: int) -> bytes:
    """Return the body of a dump of addresses."""
    return _IFADDRMSG.pack(family, 0, 0, 0, 0)
