"""Makes a topology real, from inside the lab's namespaces: switches, a router, hosts, containers.

About ten netlink requests a host through pyroute2, which is imported here and in `cables`. What is built
carries no mark of ours: to the daemons this is the operator's network, not theirs to touch.

A container's namespace is left empty but for the loopback being up: what hangs in it is the daemon's work,
and a helping hand here would hide its faults.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import KernelError
from ..model import Address, Interface
from . import namespaces
from .topology import Host, Segment, Topology

NETNS = Path("/run/netns")
SWITCHES = "underlay"
ROUTER = "router"
NICS = ("eth0", "eth1")

_LEAST_OPTIONS: dict[str, dict[str, Any]] = {
    "vxlan": {"vxlan_id": 1, "vxlan_port": 8472},
    "ipip": {"ipip_local": "192.0.2.1"},
    "ip6tnl": {"ip6tnl_collect_metadata": True},
}
_NODAD = 0x02  # IFA_F_NODAD: an address that can be used at once


class MissingDriver(KernelError):
    """The kernel does not know a kind of link."""


def path(name: str) -> Path:
    """Return where the network namespace of a host or a container is, inside the lab."""
    return NETNS / name


def build(topology: Topology) -> None:
    """Build everything that the topology names, in the lab that this process has entered."""
    routers = (ROUTER,) if topology.router else ()
    for name in (SWITCHES, *routers, *topology.names):
        namespaces.create_network(path(name))
    with _links(SWITCHES) as links:
        for segment in topology.segments:
            for nic in NICS[: 1 + topology.second_nic]:
                _add_switch(links, segment, nic, topology)
        if routers:
            for nic, segment in zip(NICS, topology.segments, strict=True):
                _plug_in(links, ROUTER, nic, switch=_switch(segment.name, NICS[0]), mtu=topology.mtu)
    if routers:
        _start_router(topology)
    for host in topology.stations:
        start_host(host)
    for container in topology.container_names:
        with _links(container):
            pass


@contextmanager
def _links(name: str) -> Iterator[Any]:
    """Open a netlink socket in a namespace, its loopback up, and stay there meanwhile."""
    from pyroute2 import IPRoute

    with namespaces.network(path(name)), IPRoute() as links:
        links.link("set", index=1, state="up")  # the loopback is the first link of every namespace
        yield links


def _switch(segment: str, nic: str) -> str:
    return f"switch-{segment}" if nic == NICS[0] else f"switch-{segment}2"


def _add_switch(links: Any, segment: Segment, nic: str, topology: Topology) -> None:
    """Add a bridge that behaves as the cheapest switch would, and plug the segment's hosts in."""
    switch = _switch(segment.name, nic)
    links.link("add", ifname=switch, kind="bridge", br_mcast_snooping=0, state="up")
    for host in topology.stations:
        if host.segment == segment.name:
            _plug_in(links, host.name, nic, switch=switch, mtu=topology.mtu)


def _plug_in(links: Any, name: str, nic: str, *, switch: str, mtu: int) -> None:
    port = f"{name}-{nic}"
    far_end = {"ifname": nic, "net_ns_fd": str(path(name)), "mtu": mtu}
    links.link("add", ifname=port, kind="veth", mtu=mtu, peer=far_end)
    master = links.link_lookup(ifname=switch)[0]
    links.link("set", ifname=port, master=master, state="up")


def start_host(host: Host) -> None:
    """Set a host's links up and give them addresses and default routes; may be called twice."""
    with _links(host.name) as links:
        _without_duplicate_detection()
        for nic in NICS:
            for index in links.link_lookup(ifname=nic):
                links.link("set", index=index, state="up")
        _add_addresses(links, NICS[0], host.addresses)
        _add_default_routes(links, NICS[0], host.gateways)


def _start_router(topology: Topology) -> None:
    with _links(ROUTER) as links:
        _without_duplicate_detection()
        for version in ("ipv4", "ipv6"):
            Path(f"/proc/sys/net/{version}/conf/all/forwarding").write_text("1")
        for nic, addresses in zip(NICS, topology.router.values(), strict=True):
            links.link("set", index=links.link_lookup(ifname=nic)[0], state="up")
            _add_addresses(links, nic, addresses)


def _without_duplicate_detection() -> None:
    """Make link-local addresses usable at once: two labs a second would otherwise wait two seconds each."""
    Path("/proc/sys/net/ipv6/conf/default/accept_dad").write_text("0")
    for nic in NICS:
        own = Path(f"/proc/sys/net/ipv6/conf/{nic}/accept_dad")
        if own.exists():
            own.write_text("0")


def _add_addresses(links: Any, nic: str, addresses: Iterable[Interface]) -> None:
    index = links.link_lookup(ifname=nic)[0]
    for address in addresses:
        links.addr(
            "replace",
            index=index,
            address=str(address.ip),
            prefixlen=address.network.prefixlen,
            IFA_FLAGS=_NODAD,
        )


def _add_default_routes(links: Any, nic: str, gateways: Iterable[Address]) -> None:
    index = links.link_lookup(ifname=nic)[0]
    for gateway in gateways:
        everything = "0.0.0.0/0" if gateway.version == 4 else "::/0"
        links.route("replace", dst=everything, gateway=str(gateway), oif=index)


def missing_link_kinds(kinds: Iterable[str]) -> tuple[str, ...]:
    """Return those kinds of link that this kernel does not know; tried out in a namespace that goes again.

    A kernel that has them as modules loads them now, as it would for `ip link add`.
    """
    from pyroute2 import IPRoute, NetlinkError

    missing = []
    with namespaces.network(), IPRoute() as links:
        for number, kind in enumerate(kinds):
            try:
                links.link("add", ifname=f"try{number}", kind=kind, **_LEAST_OPTIONS.get(kind, {}))
            except NetlinkError as error:
                if error.code != errno.EOPNOTSUPP:
                    raise
                missing.append(kind)
    return tuple(missing)
