"""What a message about an item looks like: the mould of all messages of its shape. Pure.

A mould is a message with holes, where the values stand that vary from one item to the next: which one it is,
and what it is to be. `encoding` fills them.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import NamedTuple

from containernet.items import FdbEntry, InterfaceAddress, IpEncap, KernelRoute, Neighbour
from containernet.planning import Create, Delete, Operation, Replace

from . import constants as c
from .frames import HEADER, attribute, message
from .layouts import FAMILY, IFADDRMSG, NDMSG, NHMSG, RTMSG, RTNEXTHOP, SIZE, U32
from .nexthops import Way
from .ownership import PROTOCOL

# Of IPv6, Linux takes several next hops only if each has a gateway, an outer header or not
# (rt6_qualify_for_ecmp). The device of a tunnel asks nobody for neighbours, so that any address will do.
_NO_GATEWAY = bytes.fromhex("fe80") + bytes(13) + b"\x01"

_FLAGS: Mapping[type[Operation], int] = {
    Create: c.NLM_F_REQUEST | c.NLM_F_CREATE | c.NLM_F_EXCL,
    Replace: c.NLM_F_REQUEST | c.NLM_F_CREATE | c.NLM_F_REPLACE,
    Delete: c.NLM_F_REQUEST,
}


class Mould(NamedTuple):
    """A message, and where its holes are: (offset, octets), in the order of the columns that fill them."""

    message: bytes
    holes: tuple[tuple[int, int], ...] = ()


def by_number(verb: type[Operation], item: KernelRoute) -> Mould:
    """Return the mould of routes that name a nexthop object instead of telling their gateways."""
    head = _route_head(item, c.RT_SCOPE_UNIVERSE)
    which = _hole(c.RTA_DST, SIZE[item.destination.version])
    return _mould(c.RTM_NEWROUTE, verb, head, *which, *_hole(c.RTA_NH_ID, U32.size))


def nexthop(way: Way, size: int) -> Mould:
    """Return the mould of new nexthop objects, whose gateways have so many octets."""
    family = next(family for version, family in FAMILY.items() if SIZE[version] == size)
    head = NHMSG.pack(family, c.RT_SCOPE_UNIVERSE, PROTOCOL, 0, c.RTNH_F_ONLINK if way.onlink else 0)
    link = attribute(c.NHA_OIF, U32.pack(way.oif))
    return _mould(c.RTM_NEWNEXTHOP, Create, head, link, *_hole(c.NHA_ID, U32.size), *_hole(c.NHA_GATEWAY, size))


def about_nexthop(type: int) -> Mould:
    """Return the mould of messages that ask for nexthop objects, or remove them, by number."""
    head = attribute(c.NHA_ID, bytes(U32.size))
    body = NHMSG.pack(0, 0, 0, 0, 0) + head
    return Mould(message(type, c.NLM_F_REQUEST, 0, body), ((HEADER.size + len(body) - U32.size, U32.size),))


def mould(operation: Operation, index: int) -> Mould:
    """Return the mould of an operation on a batched item.

    Args:
        index: the interface index of the item's link; no matter where the message names none.
    """
    verb = type(operation)
    item = operation.item
    match item:
        case KernelRoute() if item.equal_cost and verb is not Delete:
            return _multipath(verb, item, index)
        case KernelRoute():
            return _route(verb, item, index)
        case Neighbour():
            return _neighbour(verb, item, index)
        case FdbEntry():
            return _fdb(verb, item, index)
        case _:
            assert isinstance(item, InterfaceAddress)
            return _address(verb, item, index)


def _mould(type: int, verb: type[Operation], *parts: bytes | int) -> Mould:
    """Return the mould of a message whose body is made of octets that are known and holes of so many."""
    body, holes = b"", []
    for part in parts:
        if isinstance(part, int):
            holes.append((HEADER.size + len(body), part))
            part = bytes(part)
        body += part
    return Mould(message(type + (verb is Delete), _FLAGS[verb], 0, body + bytes(-len(body) % 4)), tuple(holes))


def mac_size(mac: str) -> int:
    """Return the octets of a MAC in colons: six, or else the kernel refuses it."""
    return (len(mac) + 1) // 3


def _hole(type: int, size: int) -> tuple[bytes, int, bytes]:
    """Return an attribute whose value is a hole."""
    return attribute(type, bytes(size))[:4], size, bytes(-size % 4)


def _neighbour(verb: type[Operation], item: Neighbour, index: int) -> Mould:
    version = item.address.version
    head = NDMSG.pack(FAMILY[version], index, c.NUD_PERMANENT, 0, 0)
    which = _hole(c.NDA_DST, SIZE[version])
    if verb is Delete:
        return _mould(c.RTM_NEWNEIGH, verb, head, *which)
    ours = attribute(c.NDA_PROTOCOL, bytes((PROTOCOL,)))
    return _mould(c.RTM_NEWNEIGH, verb, head, ours, *which, *_hole(c.NDA_LLADDR, mac_size(item.mac)))


def _fdb(verb: type[Operation], item: FdbEntry, index: int) -> Mould:
    head = NDMSG.pack(c.AF_BRIDGE, index, c.NUD_PERMANENT, c.NTF_SELF, 0)
    which = _hole(c.NDA_LLADDR, mac_size(item.mac))
    if verb is Delete:  # without a destination the whole entry goes
        return _mould(c.RTM_NEWNEIGH, verb, head, *which)
    return _mould(c.RTM_NEWNEIGH, verb, head, *which, *_hole(c.NDA_DST, SIZE[item.destination.version]))


def _route(verb: type[Operation], item: KernelRoute, index: int) -> Mould:
    version = item.destination.version
    which = _hole(c.RTA_DST, SIZE[version])
    if verb is Delete:
        # Told to delete, Linux takes each field that is set as a condition: table, metric and our protocol are
        # the route's identity and stay; link and gateway are not part of it. "Nowhere" is any scope.
        return _mould(c.RTM_NEWROUTE, verb, _route_head(item, c.RT_SCOPE_NOWHERE), *which)
    scope = c.RT_SCOPE_UNIVERSE if item.gateway or item.blackhole else c.RT_SCOPE_LINK
    head = _route_head(item, scope, flags=c.RTNH_F_ONLINK if item.onlink else 0)
    link = b"" if item.blackhole else attribute(c.RTA_OIF, U32.pack(index))
    hop: tuple[bytes | int, ...] = ()
    if item.encap:
        hop = (_encap_head(item.encap), SIZE[item.encap.destination.version])
    elif item.gateway:
        via = item.gateway.version
        hop = (_gateway_head(via, other=via != version), SIZE[via])
    return _mould(c.RTM_NEWROUTE, verb, head, link, *which, *hop)


def _route_head(item: KernelRoute, scope: int, *, flags: int = 0) -> bytes:
    """Return what a message about a route begins with: its identity but for the destination."""
    head = RTMSG.pack(
        FAMILY[item.destination.version],
        item.destination.prefixlen,
        0,
        0,
        item.table if item.table < 256 else c.RT_TABLE_UNSPEC,
        PROTOCOL,
        scope,
        c.RTN_BLACKHOLE if item.blackhole else c.RTN_UNICAST,
        flags,
    )
    head += attribute(c.RTA_TABLE, U32.pack(item.table))
    metric = item.metric or (c.IP6_RT_PRIO_USER if item.destination.version == 6 else 0)
    return head + attribute(c.RTA_PRIORITY, U32.pack(metric)) if metric else head


def _gateway_head(version: int, *, other: bool) -> bytes:
    """Return the attribute of a gateway up to its address; of the other family it is another (RFC 8950)."""
    if not other:
        return attribute(c.RTA_GATEWAY, bytes(SIZE[version]))[:4]
    return attribute(c.RTA_VIA, bytes(2 + SIZE[version]))[:4] + struct.pack("=H", FAMILY[version])


def _multipath(verb: type[Operation], item: KernelRoute, index: int) -> Mould:
    version = item.destination.version
    flags = c.RTNH_F_ONLINK if item.onlink else 0
    nexthops = []
    for path in item.paths:
        if path.encap is not None:
            hop = _encap_head(path.encap) + path.encap.destination.packed
            hop += attribute(c.RTA_GATEWAY, _NO_GATEWAY)
        else:
            assert path.gateway is not None
            hop = _gateway_head(path.gateway.version, other=path.gateway.version != version)
            hop += path.gateway.packed
            hop += bytes(-len(hop) % 4)
        nexthops.append(RTNEXTHOP.pack(RTNEXTHOP.size + len(hop), flags, 0, index) + hop)
    which = attribute(c.RTA_DST, item.destination.network_address.packed)
    several = attribute(c.RTA_MULTIPATH, b"".join(nexthops))
    return _mould(c.RTM_NEWROUTE, verb, _route_head(item, c.RT_SCOPE_UNIVERSE), which, several)


def _encap_head(encap: IpEncap) -> bytes:
    """Return the attributes of an outer header up to its destination, which varies."""
    source = attribute(c.LWTUNNEL_IP6_SRC, encap.source.packed)
    destination = attribute(c.LWTUNNEL_IP6_DST, bytes(16))
    outer = attribute(c.RTA_ENCAP | c.NLA_F_NESTED, source + destination)
    return attribute(c.RTA_ENCAP_TYPE, struct.pack("=H", c.LWTUNNEL_ENCAP_IP6)) + outer[:-16]


def _address(verb: type[Operation], item: InterfaceAddress, index: int) -> Mould:
    address = item.address
    nodad = c.IFA_F_NODAD if address.version == 6 else 0
    return _mould(
        c.RTM_NEWADDR,
        verb,
        IFADDRMSG.pack(FAMILY[address.version], address.network.prefixlen, nodad, c.RT_SCOPE_UNIVERSE, index),
        attribute(c.IFA_LOCAL, address.packed),
        attribute(c.IFA_ADDRESS, address.packed),
        attribute(c.IFA_PROTO, bytes((PROTOCOL,))) if verb is not Delete else b"",
    )
