"""What a host says of itself in etcd: flannel's keys and values, to and from ours.

Under `<prefix>/subnets/` there is one record per host: its lease, and the routes to its subnets.

    10.5.52.0-24
    {"PublicIP":"192.168.64.3","PublicIPv6":null,"BackendType":"vxlan",
     "BackendData":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44","Node":"host-3"}}

Written is, byte for byte, what flannel's lease.LeaseAttrs gives for the same facts, and `Node` inside
BackendData, where flannel looks past what it does not know. Where a host has data for IPv6 alone, `Node` is
there: a BackendData would make flannel believe in an IPv4 device.

Read is what flannel's subnet.ParseSubnetKey and json.Unmarshal would read, with two differences. A key must be
the very text that `key_of` writes: of two keys for one subnet, compare-and-swap would guard neither. And what
flannel ignores inside BackendData is left out rather than held against the record: values that are no scalars,
a `Node` that is no text, a BackendData that is no object (those of flannel's extension backends need not be).
Whether the rest suffices to reach a host is for the dataplane to say, which names the peer and the reason.

Under `<prefix>/routes/` there are routes that are not a record's: ours alone, so flannel never looks there.

Nearly every record that a host ever reads is one of IPv4, written by one of us two in the very order above.
Such a one is taken apart by two regular expressions (`_usual`), which know nothing that the full reader does
not: what does not fit them is not refused but read in full, and where they fit, both read the same. A host
among 5,000 reads all their records at its start, for its claim and for its routes; what it needs of them is a
`Reading`, and it makes no `Record` of each on the way.

Pure: no etcd, no clock.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from socket import inet_aton
from typing import Any, NamedTuple

import attrs

from containernet import numbers
from containernet.errors import ConfigError
from containernet.jsonform import route_from_json, route_to_json
from containernet.model import Address, Prefix, Route, Scalar, Tunnel
from containernet.values import shown

from . import gojson
from .gojson import short

Data = tuple[tuple[str, Scalar], ...]

SHOWN = 200  # characters of somebody else's reason

# Octets of a value. flannel's are near 150, etcd refuses 1.5 MiB.
LIMIT = 1 << 16

_KEY = re.compile(r"([0-9.]+)-([0-9]+)(?:&([0-9a-f:]+)-([0-9]+))?")
_NO_IPV4 = IPv4Network("0.0.0.0/0")
_ADDRESS = {4: "PublicIP", 6: "PublicIPv6"}
_DATA = {4: "BackendData", 6: "BackendV6Data"}
_NODE = "Node"
# A text that means itself: no quote, no backslash, nothing but ASCII.
_PLAIN = rb'"([ !#-\[\]-~]*)"'
_OCTET = rb"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = rb"(%b(?:\.%b){3})" % (_OCTET, _OCTET)
_USUAL_KEY = re.compile((_IPV4 + rb"-([1-9]|[12][0-9]|3[01])").decode())
_USUAL_VALUE = re.compile(
    rb'\{"PublicIP":"%b","PublicIPv6":null(?:,"BackendType":%b)?' % (_IPV4, _PLAIN)
    # A comma behind VtepMAC only if Node follows.
    + rb'(?:,"BackendData":\{(?:"VNI":(0|[1-9][0-9]{0,9}),"VtepMAC":%b(?:(?=\})|,(?=")))?' % _PLAIN
    + rb'(?:"Node":%b)?\})?\}' % _PLAIN
)
# flannel reads these in any case, our dataplane in this one.
_VXLAN = {"vni": "VNI", "vtepmac": "VtepMAC"}


class BadRecord(ValueError):
    """A key or a value that is no record: one line, with what is there and what was expected."""


def _by_family(values: Iterable[Any]) -> tuple[Any, ...]:
    found = tuple(values)
    return found if len(found) < 2 else tuple(sorted(found, key=lambda value: value.version))


def _data_by_family(data: Mapping[int, Mapping[str, Scalar]] | Iterable[Any]) -> tuple[tuple[int, Data], ...]:
    found = [(version, tuple(sorted(dict(one).items()))) for version, one in dict(data).items() if one]
    return tuple(sorted(found))


@attrs.frozen(kw_only=True)
class Record:
    """One host's lease, and how to reach its subnets.

    Args:
        subnets: what the host has leased: one of IPv4, one of IPv6, or both.
        node: the host's name; empty where the record has none, as flannel's own.
        next_hops: the host's underlay addresses, at most one of each family.
        type: how the host wants its packets, in flannel's word and ours (vxlan, host-gw, ipip); empty: it has
            not announced yet.
        data: what a sender must know, for each family: {4: {"VNI": 1, ...}, 6: ...}; kept as sorted pairs.

    Raises:
        BadRecord: no subnet, two of one family, a next hop that flannel has no text for, or data of no family
            or under the name that a record needs itself.
    """

    subnets: tuple[Prefix, ...] = attrs.field(converter=_by_family)
    node: str = ""
    next_hops: tuple[Address, ...] = attrs.field(default=(), converter=_by_family)
    type: str = ""
    data: tuple[tuple[int, Data], ...] = attrs.field(default=(), converter=_data_by_family)
    __repr__ = shown

    def __attrs_post_init__(self) -> None:
        for what, values in (("subnets", self.subnets), ("next hops", self.next_hops)):
            if len(values) > 1 and len({value.version for value in values}) != len(values):
                raise BadRecord(f"{what} {', '.join(map(str, values))}: expected at most one of each family")
        if not self.subnets:
            raise BadRecord("no subnet: expected one of IPv4, of IPv6, or of both")
        for hop in self.next_hops:
            _check_next_hop(hop)
        for version, data in self.data:
            if version not in _DATA or _NODE in dict(data):
                raise BadRecord(f"data for IPv{version}: expected IPv4 or IPv6, and no {_NODE!r} in it")

    @property
    def owner(self) -> str:
        """The node's name; where the record has none, the text of its address; or nothing."""
        return self.node or next(map(str, self.next_hops), "")

    def next_hop(self, version: int) -> Address | None:
        """Return the host's underlay address of that family, or None."""
        return next((hop for hop in self.next_hops if hop.version == version), None)

    def tunnel(self, version: int) -> Tunnel:
        """Return how the host wants its packets of that family."""
        return Tunnel(type=self.type, data=dict(self.data).get(version, ()))


def _check_next_hop(hop: Address) -> None:
    if not int(hop):
        raise BadRecord(f"next hop {hop}: that is how flannel writes that there is none")
    # Go writes an IPv4-mapped address as IPv4, and reads none with a zone.
    if isinstance(hop, IPv6Address) and (hop.ipv4_mapped or hop.scope_id):
        raise BadRecord(f"next hop {hop}: expected IPv6 without a zone, and no IPv4 inside")


def key_of(subnets: Iterable[Prefix]) -> str:
    """Return the name of the record of `subnets`: flannel's subnet.MakeSubnetKey. `subnets_of` is the inverse.

    A host without IPv4 has `0.0.0.0-0` in that place, as flannel would write it.

    Raises:
        ConfigError: no record can be of those subnets: none, two of a family, or one that flannel cannot read.
    """
    subnets = _by_family(subnets)
    by_version = {subnet.version: subnet for subnet in subnets}
    if not subnets or len(by_version) != len(subnets):
        raise ConfigError(
            f"subnets ({', '.join(map(str, subnets))}): expected one of IPv4, of IPv6, or of both"
        )
    for subnet in subnets:
        # ParseSubnetKey has 5 bits for the length in IPv4 and 7 in IPv6, and length 0 stands for no subnet.
        if not 0 < subnet.prefixlen < subnet.max_prefixlen:
            raise ConfigError(f"subnet {subnet}: a record needs /1 to /{subnet.max_prefixlen - 1}")
        if isinstance(subnet, IPv6Network) and subnet.network_address.ipv4_mapped:
            raise ConfigError(f"subnet {subnet} is IPv4 inside IPv6, which flannel takes for IPv4")
    four, six = by_version.get(4, _NO_IPV4), by_version.get(6)
    return route_key(four) + (f"&{route_key(six)}" if six else "")


def subnets_of(key_text: str) -> tuple[Prefix, ...]:
    """Return the subnets that a record's name stands for.

    Raises:
        BadRecord: it is not what `key_of` writes.
    """
    match = _KEY.fullmatch(key_text)
    if match is None:
        raise BadRecord(f"key {short(key_text)}: expected the likes of 10.5.52.0-24&fd00:1:2:3::-64")
    address, length, address6, length6 = match.groups()
    try:
        four = IPv4Network(f"{address}/{length}")
        six = [IPv6Network(f"{address6}/{length6}")] if address6 else []
        subnets: tuple[Prefix, ...] = (*([four] if four != _NO_IPV4 else []), *six)
        expected = key_of(subnets)
    except (ValueError, ConfigError) as error:
        raise BadRecord(f"key {short(key_text)}: {str(error)[:SHOWN]}") from None
    if key_text != expected:
        raise BadRecord(f"key {short(key_text)}: expected it to be written {expected}")
    return subnets


def encode(record: Record) -> bytes:
    """Return the value of a record; `decode` is the inverse.

    Raises:
        BadRecord: it has a type but no next hop for one of its subnets (flannel's host-gw would program a route
            through 0.0.0.0, and die where the IPv6 address is missing), or JSON has no room for its data.
    """
    lost = [str(subnet) for subnet in record.subnets if record.next_hop(subnet.version) is None]
    if record.type and lost:
        raise BadRecord(
            f"type {record.type!r} but no next hop for {', '.join(lost)}: leave the type out until then"
        )
    document: dict[str, Any] = {
        _ADDRESS[4]: str(record.next_hop(4) or "0.0.0.0"),
        _ADDRESS[6]: str(record.next_hop(6) or "") or None,
    }
    if record.type:
        document["BackendType"] = record.type
    data: dict[int, dict[str, Scalar]] = {4: {}, 6: {}} | {version: dict(one) for version, one in record.data}
    if record.node:
        data[6 if data[6] and not data[4] else 4][_NODE] = record.node
    document |= {_DATA[version]: one for version, one in data.items() if one}
    return _written(document)


class Reading(NamedTuple):
    """What all other hosts read a record for: who holds which subnets, and the routes that he announces."""

    subnets: tuple[Prefix, ...]
    node: str
    next_hops: tuple[Address, ...]
    routes: tuple[Route, ...]

    @property
    def owner(self) -> str:
        """The node's name; where the record has none, the text of its address; or nothing."""
        return self.node or next(map(str, self.next_hops), "")


def read(key_text: str, value: bytes) -> Reading:
    """Return what the record says under the key that ends in `key_text` (what follows `subnets/`).

    Raises:
        BadRecord: as `decode`.
    """
    found = _usual(key_text, value)
    if found is None:
        record = decode(key_text, value)
        found = Reading(record.subnets, record.node, record.next_hops, routes(record))
    return found


def _usual(key_text: str, value: bytes) -> Reading | None:
    """Return what `read` would, if key and value are written as we and flannel write them for IPv4 alone."""
    key, said = _USUAL_KEY.fullmatch(key_text), _USUAL_VALUE.fullmatch(value)
    if key is None or said is None or len(value) > LIMIT:
        return None
    address, kind, vni, mac, node = said.groups()
    hop = numbers.address(4, int.from_bytes(inet_aton(address.decode())))
    has_hop = address != b"0.0.0.0"
    first, length = int.from_bytes(inet_aton(key[1])), int(key[2])
    if (kind and not has_hop) or first & ((1 << (32 - length)) - 1):
        return None
    subnet = numbers.prefix(4, first, length)
    name = node.decode() if node else ""
    announced: tuple[Route, ...] = ()
    if kind:
        tunnel = (
            Tunnel(type=kind.decode(), data=(("VNI", int(vni)), ("VtepMAC", mac.decode())))
            if vni
            else _tunnel(kind.decode())
        )
        announced = (Route(prefix=subnet, node=name or str(hop), next_hop=hop, tunnel=tunnel),)
    return Reading((subnet,), name, (hop,) if has_hop else (), announced)


@functools.lru_cache(16)
def _tunnel(kind: str) -> Tunnel:
    """Return how all hosts of a kind want their packets that have nothing else to say."""
    return Tunnel(type=kind)


def decode(key_text: str, value: bytes) -> Record:
    """Return the record under the key that ends in `key_text` (what follows `subnets/`).

    Raises:
        BadRecord: it is none, or it wants packets but has no address for any of its subnets. Nothing else.
    """
    subnets = subnets_of(key_text)
    fields = gojson.members(_read(key_text, value), [*_ADDRESS.values(), "BackendType", *_DATA.values()])
    kind = fields.get("BackendType", "")
    if not isinstance(kind, str):
        raise BadRecord(f"{key_text}: BackendType {short(kind)}, expected text")
    objects = {version: found for version, name in _DATA.items() if isinstance(found := fields.get(name), dict)}
    names = [name for one in objects.values() if isinstance(name := one.get(_NODE), str) and name]
    try:
        record = Record(
            subnets=subnets,
            node=names[0] if names else "",
            next_hops=[hop for version in _ADDRESS if (hop := _next_hop(fields, version))],
            type=kind,
            data={version: _scalars(kind, found) for version, found in objects.items()},
        )
    except BadRecord as error:
        raise BadRecord(f"{key_text}: {error}") from None
    if kind and not routes(record):
        raise BadRecord(f"{key_text}: BackendType {short(kind)} without an address of the subnet's family")
    return record


def _next_hop(fields: Mapping[str, Any], version: int) -> Address | None:
    name = _ADDRESS[version]
    kind: type[Address] = IPv4Address if version == 4 else IPv6Address
    if name not in fields:
        return None
    try:
        if not isinstance(fields[name], str):
            raise ValueError
        hop = kind(fields[name])
    except ValueError:
        raise BadRecord(f"{name} {short(fields[name])}, expected an IPv{version} address") from None
    return None if hop.is_unspecified else hop


def _scalars(kind: str, found: Mapping[str, Any]) -> dict[str, Scalar]:
    known = _VXLAN if kind == "vxlan" else {}
    return {
        known.get(name.casefold(), name): value
        for name, value in found.items()
        if name != _NODE and not isinstance(value, dict | list)
    }


def routes(record: Record) -> tuple[Route, ...]:
    """Return the routes that a record announces: one for each subnet whose family has a next hop."""
    if not record.type:
        return ()
    return tuple(
        Route(prefix=subnet, node=record.owner, next_hop=hop, tunnel=record.tunnel(subnet.version))
        for subnet in record.subnets
        if (hop := record.next_hop(subnet.version))
    )


def telling(record: Record, told: Mapping[Prefix, Route]) -> Record | None:
    """Return the record that says of all its subnets what `told` says; None: there is none that can.

    That is so where a subnet is missing, where the types differ, or where it would be read as another route.
    """
    wanted = [told[subnet] for subnet in record.subnets if subnet in told]
    if not wanted or len(wanted) != len(record.subnets):
        return None
    try:
        said = attrs.evolve(
            record,
            next_hops=[route.next_hop for route in wanted],
            type=wanted[0].tunnel.type,
            data={route.prefix.version: dict(route.tunnel.data) for route in wanted},
        )
        heard = routes(decode(key_of(record.subnets), encode(said)))
    except (BadRecord, ConfigError):
        return None
    return said if heard == tuple(wanted) else None


def silent(record: Record) -> Record:
    """Return the record of a host that announces nothing; it goes on to be the host's."""
    return attrs.evolve(record, type="", data={})


def route_key(prefix: Prefix) -> str:
    """Return the name of a route of its own, such as 10.4.1.0-24; `prefix_of` is the inverse."""
    return str(prefix).replace("/", "-")


def prefix_of(key_text: str) -> Prefix:
    """Return the prefix that a route's name stands for.

    Raises:
        BadRecord: it is not what `route_key` writes.
    """
    try:
        prefix: Prefix = ip_network(key_text.replace("-", "/"))
    except ValueError:
        raise BadRecord(
            f"key {short(key_text)}: expected the likes of 10.4.1.0-24 or fd00:4:0:1::-64"
        ) from None
    if route_key(prefix) != key_text:
        raise BadRecord(f"key {short(key_text)}: expected it to be written {route_key(prefix)}")
    return prefix


def encode_route(route: Route) -> bytes:
    """Return the value of a route of its own; `decode_route` is the inverse.

    Raises:
        BadRecord: JSON has no room for its tunnel's data.
    """
    return _written(route_to_json(route))


def decode_route(key_text: str, value: bytes) -> Route:
    """Return the route under the key that ends in `key_text` (what follows `routes/`).

    Members that a later version may add are ignored.

    Raises:
        BadRecord: it is none, or another prefix's. Nothing else.
    """
    prefix = prefix_of(key_text)
    document = _read(key_text, value)
    try:
        route = route_from_json(document)
        # Of several ways to write the same only ours is good.
        odd = [name for name, written in route_to_json(route).items() if document[name] != written]
    except (ValueError, KeyError, TypeError, ConfigError) as error:
        raise BadRecord(f"{key_text}: no route: {type(error).__name__} {short(str(error))}") from None
    odd += [name for name, scalar in route.tunnel.data if isinstance(scalar, dict | list)]
    if odd:
        raise BadRecord(f"{key_text}: no route: {short(document)}, {short(odd)} written otherwise")
    if route.prefix != prefix:
        raise BadRecord(f"{key_text}: a route to {route.prefix} under another's key")
    return route


def _written(document: Mapping[str, Any]) -> bytes:
    try:
        value = gojson.write(document)
    except ValueError as error:
        raise BadRecord(f"{short(dict(document))}: {error}") from None
    if len(value) > LIMIT:
        raise BadRecord(f"{short(dict(document))}: {len(value)} octets, expected at most {LIMIT}")
    return value


def _read(key_text: str, value: bytes) -> dict[str, Any]:
    try:
        return gojson.read(value, limit=LIMIT)
    except ValueError as error:
        raise BadRecord(f"{key_text}: {short(value)} is not a record's JSON: {error}") from None
