"""What a lab looks like, as values: hosts, containers, switches, a router, and every address.

Pure: no kernel, no file, no clock. `build` makes it real, the tests prove it, and it travels as JSON.

    l2                                   routed

    host1  host2  host3                  host1  host3          host2
      |      |      |                      |      |              |
    --+------+------+--  switch a        --+------+--+ switch a  +--+-- switch b
                                                     +--router------+

In `routed` the hosts alternate between the two segments, so that there is always a pair on one segment and,
from two hosts on, a pair with a router between. A store that is a server, or several, has hosts of its own,
which alternate in the same way and are reached over the underlay. The addresses are those set aside for
documentation (RFC 5737, RFC 3849): whatever leaks out of a lab has nowhere to go.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_interface
from typing import Any

import attrs

from ..config import go_together
from ..errors import ConfigError
from ..model import Address, Interface, Prefix

UNDERLAYS = ("l2", "routed")
MOST_HOSTS = 100
MOST_MEMBERS = 7  # what etcd's makers advise at most
SERVERS = ("etcd",)  # the stores that are servers; any other is a file, or the hosts themselves
MESHES = ("full", "reflector")
_ROUTER, _STORE = (
    254,
    253,
)  # their host parts in a segment, of several servers downwards; MOST_HOSTS keeps clear
_UNDERLAY_MTU = 1500
_SEGMENTS = (
    ("a", (IPv4Network("192.0.2.0/24"), IPv6Network("2001:db8:0:a::/64"))),
    ("b", (IPv4Network("198.51.100.0/24"), IPv6Network("2001:db8:0:b::/64"))),
)


@attrs.frozen(kw_only=True)
class Segment:
    """One switch: hosts on it reach each other without a router.

    Args:
        name: `a` or `b`.
        prefixes: one per address family.
    """

    name: str
    prefixes: tuple[Prefix, ...]

    def interfaces(self, number: int, versions: tuple[int, ...]) -> tuple[Interface, ...]:
        """Return the addresses of the segment's station with that number, of those families."""
        return tuple(
            ip_interface(f"{prefix[number]}/{prefix.prefixlen}")
            for prefix in self.prefixes
            if prefix.version in versions
        )


@attrs.frozen(kw_only=True)
class Host:
    """One host: a network namespace with a NIC on a segment.

    Args:
        name: `host1` and so on; also the namespace's name.
        segment: the switch that its `eth0`, and `eth1` where there is one, hangs on.
        addresses: of `eth0`, one per family.
        gateways: the router, one per family; empty in `l2`.
        containers: the names of its containers, each a network namespace too.
    """

    name: str
    segment: str
    addresses: tuple[Interface, ...]
    gateways: tuple[Address, ...]
    containers: tuple[str, ...]


def _at_least(lowest: int) -> Any:
    def check(instance: object, attribute: attrs.Attribute[int], value: int) -> None:
        if not lowest <= value <= MOST_HOSTS:
            raise ConfigError(f"--{attribute.name} {value}: expected {lowest} to {MOST_HOSTS}")

    return check


def _check_store_members(instance: Topology, attribute: attrs.Attribute[int], value: int) -> None:
    most = MOST_MEMBERS if instance.store in SERVERS else 1
    if not 1 <= value <= most:
        expected = (
            f"1 to {most}" if most > 1 else f"1, for it has no servers; those that have: {', '.join(SERVERS)}"
        )
        raise ConfigError(f"--store {instance.store} --members {value}: expected {expected}")


def _check_certificates(instance: Topology, attribute: attrs.Attribute[str], value: str) -> None:
    if value and instance.store not in SERVERS:
        raise ConfigError(f"--store {instance.store} --certificates {value}: it has no servers, and no TLS")
    if value and not value.startswith("/"):
        raise ConfigError(f"--certificates {value}: expected an absolute path")


def _check_local(instance: Topology, attribute: attrs.Attribute[str], value: str) -> None:
    if not go_together(value, instance.dataplane):
        raise ConfigError(f"--dataplane {instance.dataplane} --local {value}: expected --local bridge")


def _check_underlay(instance: object, attribute: attrs.Attribute[str], value: str) -> None:
    if value not in UNDERLAYS:
        raise ConfigError(f"--underlay {value}: expected {' or '.join(UNDERLAYS)}")


def _check_mesh(instance: Topology, attribute: attrs.Attribute[str], value: str) -> None:
    if value not in MESHES:
        raise ConfigError(f"--mesh {value}: expected {' or '.join(MESHES)}")
    if value != MESHES[0] and instance.store != "bgp":
        raise ConfigError(f"--store {instance.store} --mesh {value}: expected --store bgp")


@attrs.frozen(kw_only=True)
class Topology:
    """A whole lab.

    Args:
        hosts: how many.
        containers: how many on each host.
        underlay: `l2` or `routed`.
        dataplane, local: the remote and the local dataplane that the daemons are configured with.
        store: the name of the lease and route store; with `bgp` leases are in the file of `sqlite`.
        store_members: how many servers make up the store, where it has any.
        certificates: directory, absolute, from which the store's servers and its clients have their PEM files:
            `ca.pem`, and for each host and each server NAME.pem and NAME.key; empty: no TLS.
        store_options: the store's own options, each as a line of its table: `restart_time=5`.
        mesh: who has a session with whom where the store is `bgp`: everybody with everybody (`full`), or
            everybody with the reflectors alone (`reflector`).
        lease_ttl: what the daemons are configured with, seconds.
        versions: the address families of the containers and of the underlay: 4, 6 or both.
        second_nic: give every host an `eth1` without addresses on its segment's second switch; what the
            `bridge` dataplane takes as its uplink.
        mtu: of every underlay link, octets.
        options: the dataplane's own options, each as a line of its table in the config file: `direct=true`.
        edge: masquerade and guards, as an operator has them who says nothing, where the kernel has nftables.

    Raises:
        ConfigError: a number or a word out of range.
    """

    hosts: int = attrs.field(default=3, validator=_at_least(1))
    containers: int = attrs.field(default=2, validator=_at_least(0))
    underlay: str = attrs.field(default="l2", validator=_check_underlay)
    dataplane: str = "vxlan"
    local: str = attrs.field(default="bridge", validator=_check_local)
    store: str = "sqlite"
    store_members: int = attrs.field(default=1, validator=_check_store_members)
    certificates: str = attrs.field(default="", validator=_check_certificates)
    store_options: tuple[str, ...] = attrs.field(default=(), converter=tuple[str, ...])
    mesh: str = attrs.field(default=MESHES[0], validator=_check_mesh)
    lease_ttl: float = 2700.0
    versions: tuple[int, ...] = attrs.field(default=(4, 6), converter=tuple[int, ...])
    second_nic: bool = attrs.field()
    mtu: int = _UNDERLAY_MTU
    options: tuple[str, ...] = attrs.field(default=(), converter=tuple[str, ...])
    edge: bool = True

    @second_nic.default
    def _second_nic(self) -> bool:
        return self.dataplane == "bridge"

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The switches: one in `l2`, two in `routed`."""
        wanted = _SEGMENTS if self.underlay == "routed" else _SEGMENTS[:1]
        return tuple(Segment(name=name, prefixes=prefixes) for name, prefixes in wanted)

    @property
    def router(self) -> dict[str, tuple[Interface, ...]]:
        """The router's addresses by segment; empty where there is no router."""
        if self.underlay != "routed":
            return {}
        return {segment.name: segment.interfaces(_ROUTER, self.versions) for segment in self.segments}

    def host(self, number: int) -> Host:
        """Return the host of that number, counted from 1."""
        name = f"host{number}"
        names = tuple(f"{name}-c{index}" for index in range(1, self.containers + 1))
        return self._station(name, number, address=number, containers=names)

    @property
    def servers(self) -> tuple[Host, ...]:
        """The hosts of the store's servers: `store`, or `store1` and so on; empty: the store is a file."""
        if self.store not in SERVERS:
            return ()
        numbers = range(1, self.store_members + 1)
        names = [f"store{number}" for number in numbers] if self.store_members > 1 else ["store"]
        return tuple(
            self._station(name, number, address=_STORE + 1 - number, containers=())
            for name, number in zip(names, numbers, strict=True)
        )

    def _station(self, name: str, number: int, *, address: int, containers: tuple[str, ...]) -> Host:
        segment = self.segments[(number - 1) % len(self.segments)]
        return Host(
            name=name,
            segment=segment.name,
            addresses=segment.interfaces(address, self.versions),
            gateways=tuple(own.ip for own in self.router.get(segment.name, ())),
            containers=containers,
        )

    @property
    def members(self) -> tuple[Host, ...]:
        """All hosts, in order."""
        return tuple(self.host(number) for number in range(1, self.hosts + 1))

    @property
    def reflectors(self) -> tuple[Host, ...]:
        """The hosts that pass on what the others announce: two, if the half of all; empty: nobody has to."""
        if self.mesh != "reflector":
            return ()
        return self.members[: 2 if self.hosts >= 4 else 1]

    @property
    def stations(self) -> tuple[Host, ...]:
        """Everything with a NIC on a segment: all hosts, and the store's servers where it has any."""
        return (*self.members, *self.servers)

    @property
    def container_names(self) -> tuple[str, ...]:
        """The names of all containers, in order."""
        return tuple(name for host in self.members for name in host.containers)

    @property
    def names(self) -> tuple[str, ...]:
        """Everything that a command can be run in: hosts, the store's servers, containers."""
        return (*(host.name for host in self.stations), *self.container_names)

    def same_segment(self, one: str, other: str) -> bool:
        """Return whether two hosts, by name, reach each other without a router."""
        segment = {host.name: host.segment for host in self.members}
        return segment[one] == segment[other]

    def host_of(self, container: str) -> Host:
        """Return the host of the container of that name."""
        return next(host for host in self.members if container in host.containers)

    def to_json(self) -> dict[str, object]:
        """Return the arguments that make an equal topology again."""
        return attrs.asdict(self)
