"""The nouns of the network: pools, nodes, leases, routes, endpoints.

All are frozen values, validated when they are made, and all carry both address families by the same lines:
what exists once per family is a tuple, and `.version` of an address or prefix tells 4 from 6. Addresses are
`ipaddress` objects. Nothing here knows a store, a kernel or a clock.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from itertools import combinations
from sys import intern

import attrs

from .errors import ConfigError
from .values import shown

Address = IPv4Address | IPv6Address
Prefix = IPv4Network | IPv6Network
Interface = IPv4Interface | IPv6Interface
Scalar = str | int | float | bool | None

IPV6_MINIMUM_MTU = 1280  # RFC 8200 s5
IPV4_MINIMUM_MTU = 68  # RFC 791, "every internet module must be able to forward"


def overlaps(one: Prefix, other: Prefix) -> bool:
    """Return whether two prefixes share an address; prefixes of different families never do."""
    if one.version != other.version:
        return False
    # One holds the other or there is nothing in both, so the bits of the shorter one decide. Plain numbers: a
    # claim asks about every lease of a cluster.
    behind = one.max_prefixlen - min(one.prefixlen, other.prefixlen)
    return int(one.network_address) >> behind == int(other.network_address) >> behind


def contains(outer: Prefix, inner: Prefix) -> bool:
    """Return whether every address of `inner` lies in `outer`."""
    return (
        outer.version == inner.version and outer.prefixlen <= inner.prefixlen and inner.network_address in outer
    )


def _by_family(prefixes: Iterable[Prefix]) -> tuple[Prefix, ...]:
    found = tuple(prefixes)  # mostly one, in a list of thousands
    return found if len(found) < 2 else tuple(sorted(found, key=lambda prefix: (prefix.version, prefix)))


# To call `tuple[Interface, ...]` takes five times as long.


def _interfaces(values: Iterable[Interface]) -> tuple[Interface, ...]:
    return tuple(values)


def _words(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(values)


def _at_most_one_per_family(what: str, values: Sequence[Prefix | Address]) -> None:
    if len(values) < 2:
        return
    versions = [value.version for value in values]
    if len(versions) != len(set(versions)):
        raise ConfigError(f"{what}: at most one for each of IPv4 and IPv6, got {', '.join(map(str, values))}")


_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")


_CONTAINER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,252}")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_IN_NO_INTERFACE_NAME = re.compile(r"[/:\s]")


def _check_name(instance: object, attribute: attrs.Attribute[str], value: str) -> None:
    if not _NAME.fullmatch(value):
        raise ConfigError(
            f"{attribute.name} {value!r}: expected 1 to 253 letters, digits, dots, dashes or underscores, "
            "beginning and ending with a letter or digit"
        )


def _check_container(instance: object, attribute: attrs.Attribute[str], value: str) -> None:
    # What CNI lets a runtime call a container (SPEC, section 2, CNI_CONTAINERID), and a file can be named.
    if not _CONTAINER.fullmatch(value):
        raise ConfigError(
            f"{attribute.name} {value!r}: expected 1 to 253 letters, digits, dots, dashes or underscores, "
            "beginning with a letter or digit"
        )


def _check_interface_name(instance: object, attribute: attrs.Attribute[str], value: str) -> None:
    # dev_valid_name() in the kernel's net/core/dev.c: 1 to 15 bytes, no slash, colon or space.
    if not 0 < len(value.encode()) < 16 or value in {".", ".."} or _IN_NO_INTERFACE_NAME.search(value):
        raise ConfigError(
            f"{attribute.name} {value!r}: not a name that a Linux interface can have "
            "(1 to 15 bytes, without '/', ':' and white space)"
        )


@attrs.frozen(kw_only=True)
class Pool:
    """The range of one address family that is cut into one subnet per node.

    Args:
        prefix: the whole range.
        subnet_length: the prefix length of a node's subnet; at least the pool's own, and short enough that
            a subnet holds a bridge and a container (30 for IPv4, 126 for IPv6).
        first, last: the lowest and the highest subnet that may be leased; by default the pool's first and
            last. flannel's SubnetMin and SubnetMax.
        reserved: prefixes that no node may lease; a reservation takes every subnet that it touches.

    Raises:
        ConfigError: a bound lies outside the pool, is not a subnet of `subnet_length`, or first > last.
    """

    prefix: Prefix
    subnet_length: int
    first: Prefix = attrs.field()
    last: Prefix = attrs.field()
    reserved: tuple[Prefix, ...] = attrs.field(default=(), converter=tuple[Prefix, ...])
    __repr__ = shown

    @first.default
    def _first(self) -> Prefix:
        return self._edge(self.prefix.network_address)

    @last.default
    def _last(self) -> Prefix:
        return self._edge(self.prefix.broadcast_address)

    def __attrs_post_init__(self) -> None:
        longest = self.prefix.max_prefixlen - 2
        if not self.prefix.prefixlen <= self.subnet_length <= longest:
            raise ConfigError(
                f"subnet_length {self.subnet_length} for pool {self.prefix}: "
                f"expected {self.prefix.prefixlen} to {longest}"
            )
        for name, bound in (("first", self.first), ("last", self.last)):
            if not contains(self.prefix, bound) or bound.prefixlen != self.subnet_length:
                raise ConfigError(
                    f"{name} subnet {bound}: expected a /{self.subnet_length} inside the pool {self.prefix}"
                )
        if int(self.first.network_address) > int(self.last.network_address):
            raise ConfigError(f"first subnet {self.first} lies behind the last one, {self.last}")
        for prefix in self.reserved:
            if prefix.version != self.prefix.version:
                raise ConfigError(f"reserved {prefix} is not of the family of the pool {self.prefix}")

    def _edge(self, address: Address) -> Prefix:
        if not self.prefix.prefixlen <= self.subnet_length <= self.prefix.max_prefixlen:
            return self.prefix  # refused a moment later, with the better message
        size = 1 << (self.prefix.max_prefixlen - self.subnet_length)
        base = int(address) // size * size
        return type(self.prefix)((base, self.subnet_length))

    @property
    def version(self) -> int:
        """The address family: 4 or 6."""
        return self.prefix.version

    def admits(self, subnet: Prefix) -> bool:
        """Return whether `subnet` is one of the pool's subnets, within its bounds and not reserved."""
        return (
            contains(self.prefix, subnet)
            and subnet.prefixlen == self.subnet_length
            and int(self.first.network_address) <= int(subnet.network_address)
            and int(subnet.network_address) <= int(self.last.network_address)
            and not any(overlaps(subnet, reserved) for reserved in self.reserved)
        )


def _pools_by_family(pools: Iterable[Pool]) -> tuple[Pool, ...]:
    return tuple(sorted(pools, key=lambda pool: pool.version))


@attrs.frozen(kw_only=True)
class NetworkConfig:
    """What all hosts of one network agree on: one pool for IPv4, one for IPv6, or both.

    Raises:
        ConfigError: no pool, or two of one family.
    """

    pools: tuple[Pool, ...] = attrs.field(converter=_pools_by_family)
    __repr__ = shown

    def __attrs_post_init__(self) -> None:
        if not self.pools:
            raise ConfigError("the network has no pool: set pool, pool6 or both under [network]")
        _at_most_one_per_family("pools", [pool.prefix for pool in self.pools])

    def pool(self, version: int) -> Pool | None:
        """Return the pool of that address family, or None."""
        return next((pool for pool in self.pools if pool.version == version), None)

    def admits(self, subnets: tuple[Prefix, ...]) -> bool:
        """Return whether `subnets` is a claim of this network: one admitted subnet for each of its pools."""
        return len(subnets) == len(self.pools) and all(
            pool.admits(subnet) for pool, subnet in zip(self.pools, subnets, strict=True)
        )


@attrs.frozen(kw_only=True)
class Node:
    """One host, as its own dataplanes see it.

    Args:
        name: the node's identity in every store; the start slot and the VTEP's MAC derive from it.
        interface: the underlay link.
        addresses: the underlay's addresses with the prefix length that is on link there, such as
            192.0.2.1/24; the first of each family is the one that peers send to.
        mtu: the underlay link's MTU, octets.
        overhead: octets that the remote dataplane adds to a packet between containers; 0 or more.
        subnets: what the node has leased, at most one per family, IPv4 first.
        pools: the ranges of all containers' addresses, on whichever host, IPv4 first.
    """

    name: str = attrs.field(validator=_check_name)
    interface: str = attrs.field(validator=_check_interface_name)
    addresses: tuple[Interface, ...] = attrs.field(converter=_interfaces)
    mtu: int = 1500
    overhead: int = 0
    subnets: tuple[Prefix, ...] = attrs.field(default=(), converter=_by_family)
    pools: tuple[Prefix, ...] = attrs.field(default=(), converter=_by_family)
    __repr__ = shown

    def __attrs_post_init__(self) -> None:
        _at_most_one_per_family("subnets", self.subnets)
        _at_most_one_per_family("pools", self.pools)

    def address(self, version: int) -> Address | None:
        """Return the underlay address of that family that peers send to, or None."""
        return next((own.ip for own in self.addresses if own.version == version), None)

    def subnet(self, version: int) -> Prefix | None:
        """Return the leased subnet of that family, or None."""
        return next((own for own in self.subnets if own.version == version), None)

    def owns(self, address: Address) -> bool:
        """Return whether `address` is one of the node's own on the underlay."""
        number, version = int(address), address.version
        return any(int(own) == number and own.version == version for own in self.addresses)

    def on_link(self, address: Address) -> bool:
        """Return whether `address` can be reached over the underlay link without a router."""
        return any(own.version == address.version and address in own.network for own in self.addresses)

    @property
    def container_mtu(self) -> int:
        """The largest packet, in octets, that a container may send so that it fits on every path."""
        return self.mtu - self.overhead


@attrs.frozen(kw_only=True)
class Lease:
    """A claim in time: these subnets are that node's until the store says otherwise.

    Args:
        subnets: one per pool, IPv4 first; claimed and lost together.
        node: the owner's name; empty for a reservation.
        expires: seconds from the moment the store answered until the lease ends; None: a reservation, which has
            no end, or listed by a store that does not tell. A claim and a renewal always tell.
        revision: the store's token for compare-and-swap; opaque, and never that of another claim.
    """

    subnets: tuple[Prefix, ...] = attrs.field(converter=_by_family)
    node: str
    expires: float | None
    revision: str
    __repr__ = shown

    def __attrs_post_init__(self) -> None:
        _at_most_one_per_family("subnets", self.subnets)

    def overlaps(self, subnets: Iterable[Prefix]) -> bool:
        """Return whether any of `subnets` shares an address with this lease."""
        for mine in self.subnets:
            for other in subnets:
                if overlaps(mine, other):
                    return True
        return False


def _sorted_items(
    data: Mapping[str, Scalar] | Iterable[tuple[str, Scalar]],
) -> tuple[tuple[str, Scalar], ...]:
    # The names are the same in every route of a cluster, and read out of another text each time.
    return tuple(sorted([(intern(name), value) for name, value in dict(data).items()]))


def _interned(word: str) -> str:
    # Not `intern` by itself: attrs asks for a converter's signature, and a built-in's takes 2 ms to parse.
    return intern(word)


@attrs.frozen(kw_only=True)
class Tunnel:
    """How a peer wants its packets: the name of its dataplane, and what a sender must know for it.

    Args:
        type: the dataplane's name (`vxlan`, `host-gw`, ...); empty where the store carries none (plain BGP).
        data: JSON scalars by name, such as {"VNI": 1, "VtepMAC": "02:..."}; given as a mapping, kept as
            sorted pairs. flannel's BackendData.
    """

    type: str = attrs.field(default="", converter=_interned)
    data: tuple[tuple[str, Scalar], ...] = attrs.field(default=(), converter=_sorted_items)
    __repr__ = shown

    def get(self, name: str) -> Scalar:
        """Return one value of `data`, or None."""
        for each, value in self.data:
            if each == name:
                return value
        return None


@attrs.frozen(kw_only=True)
class Route:
    """One prefix and where it lives: what a node announces, and what every other node hears.

    Args:
        prefix: the node's subnet.
        node: the announcing node's name; where the store carries none, empty or the store's own name for it.
        next_hop: the node's underlay address; of IPv6, it may stand for a prefix of IPv4 too (RFC 8950).
        tunnel: how the node wants its packets.
        equal_cost: further routes to the same prefix that are as good (multipath, RFC 2992); mostly none. A
            node announces none: several are what a store makes of several announcements.

    Raises:
        ConfigError: `equal_cost` holds a route to another prefix, or one that has such routes itself.
    """

    prefix: Prefix
    node: str
    next_hop: Address
    tunnel: Tunnel = Tunnel()
    equal_cost: tuple[Route, ...] = ()
    __repr__ = shown

    def __attrs_post_init__(self) -> None:
        if self.equal_cost:
            for other in self.equal_cost:
                if other.prefix != self.prefix or other.equal_cost:
                    raise ConfigError(
                        f"{other.prefix} via {other.next_hop} beside {self.prefix} via {self.next_hop}: "
                        "expected routes to one prefix, each with one next hop"
                    )

    @property
    def paths(self) -> tuple[Route, ...]:
        """Every way to the prefix, each as a route with one next hop; `multipath` is the inverse."""
        if not self.equal_cost:
            return (self,)
        return (attrs.evolve(self, equal_cost=()), *self.equal_cost)


def multipath(paths: Sequence[Route]) -> Route:
    """Return the route that goes all these ways at once; at least one, and all to one prefix.

    Raises:
        ConfigError: see `Route`.
    """
    first, *others = paths
    return attrs.evolve(first, equal_cost=tuple(others)) if others else first


PROTOCOLS = ("sctp", "tcp", "udp")  # those with ports that a host can map, as CNI and Linux name them


def _between_1_and_65535(instance: object, attribute: attrs.Attribute[int], value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 65535:
        raise ConfigError(f"{attribute.name} {value!r}: expected 1 to 65535")


@attrs.frozen(kw_only=True)
class PortMapping:
    """A port of the host that leads to a port of a container.

    Args:
        protocol: tcp, udp or sctp.
        host_port, container_port: 1 to 65535.
        host_ip: the host's address that it is open on; 0.0.0.0 and ::, all of that family; None: all.

    Raises:
        ConfigError: another protocol, a port out of range, or an address that no host has.
    """

    protocol: str = "tcp"
    host_port: int = attrs.field(validator=_between_1_and_65535)
    container_port: int = attrs.field(validator=_between_1_and_65535)
    host_ip: Address | None = None
    __repr__ = shown

    def __attrs_post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            raise ConfigError(f"protocol {self.protocol!r}: expected {', '.join(PROTOCOLS)}")
        own = self.host_ip
        if own is not None and (own.is_multicast or getattr(own, "scope_id", None) or int(own) == 0xFFFFFFFF):
            raise ConfigError(f"host_ip {own}: expected an address of this host, without a zone")
        if own is not None and own.version == 6 and own.is_loopback:
            raise ConfigError(f"host_ip {own}: Linux leads nothing from ::1 to a container; use 127.0.0.1")

    def serves(self, version: int) -> bool:
        """Return whether packets of that family come in by it."""
        return self.host_ip is None or self.host_ip.version == version

    def conflicts(self, other: PortMapping) -> bool:
        """Return whether a packet could be meant for both."""
        if (self.protocol, self.host_port) != (other.protocol, other.host_port):
            return False
        mine, others = self.host_ip, other.host_ip
        if mine is None or others is None:
            return True
        return mine.version == others.version and (
            mine == others or mine.is_unspecified or others.is_unspecified
        )

    def __str__(self) -> str:
        at = (
            ""
            if self.host_ip is None
            else f"[{self.host_ip}]:"
            if self.host_ip.version == 6
            else f"{self.host_ip}:"
        )
        return f"{at}{self.host_port}/{self.protocol} to {self.container_port}"


def _mappings(values: Iterable[PortMapping]) -> tuple[PortMapping, ...]:
    return tuple(values)


def _check_ports(instance: object, attribute: object, ports: tuple[PortMapping, ...]) -> None:
    for one, other in combinations(ports, 2):
        if one.conflicts(other):
            raise ConfigError(f"host port {one} and {other}: one packet would be meant for both")


def _check_mac(instance: object, attribute: attrs.Attribute[str], value: str) -> None:
    # IEEE 802 s8.2: the lowest bit of the first octet marks a group; no station is one, nor is it all zeros.
    if not value:
        return
    octets = bytes.fromhex(value.replace(":", "")) if _MAC.fullmatch(value) else b""
    if not any(octets) or octets[0] & 1:
        raise ConfigError(
            f"{attribute.name} {value!r}: expected that of one station, as six octets in lower case, such as "
            "02:00:5e:10:00:01"
        )


@attrs.frozen(kw_only=True)
class Endpoint:
    """A container's interface.

    Args:
        container: the container's id, as its runtime calls it.
        netns: the path of the container's network namespace, such as /run/netns/c1 or /proc/42/ns/net.
        addresses: one per leased subnet, with the subnet's prefix length.
        interface: the name that the interface has inside.
        ports: the host's ports that lead to it; no two for one packet.
        mac: what the interface is to have; empty: derived from the names of node and container.
        network: the CNI network that a runtime put it in, and so whose it is to collect; empty: an operator's.
        aliases: further names of the container there.
        addresses_only: another plugin makes the interface; ours are the addresses alone.
    """

    container: str = attrs.field(validator=_check_container)
    netns: str
    addresses: tuple[Interface, ...] = attrs.field(converter=_interfaces)
    interface: str = attrs.field(default="eth0", validator=_check_interface_name)
    ports: tuple[PortMapping, ...] = attrs.field(default=(), converter=_mappings, validator=_check_ports)
    mac: str = attrs.field(default="", validator=_check_mac)
    network: str = ""
    aliases: tuple[str, ...] = attrs.field(default=(), converter=_words)
    addresses_only: bool = False
    __repr__ = shown

    @property
    def name(self) -> tuple[str, str]:
        """What tells it from every other: its container and its interface."""
        return self.container, self.interface
