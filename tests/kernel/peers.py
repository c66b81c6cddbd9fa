"""Peers by the thousand on a host of its own, for tests of how they get into a real kernel."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, ip_address, ip_interface
from typing import TYPE_CHECKING

from containernet.items import FdbEntry, InterfaceAddress, Item, KernelRoute, Link, Neighbour, Vxlan, by_key
from containernet.planning import plan
from containernet_backends.netlink import NetlinkKernel

if TYPE_CHECKING:
    from .conftest import Netns  # whose fixtures are made of what is here

VXLAN = Link(
    name="vx0",
    type=Vxlan(vni=1, local=ip_address("192.0.2.1"), port=8472, dev="eth0"),
    mtu=1400,
    mac="02:00:00:00:00:02",
)
GROUND: list[Item] = [VXLAN, InterfaceAddress(link="vx0", address=ip_interface("10.4.0.0/32"))]


def subnet(number: int) -> IPv4Network:
    """Return the subnet of a peer."""
    return IPv4Network((0x10000000 + (number << 8), 24))


def through(number: int, *, link: str = "vx0", gateway: str = "") -> KernelRoute:
    """Return the route to a peer, by the peer's own gateway if not by another."""
    hop = ip_address(gateway) if gateway else subnet(number)[0]
    return KernelRoute(destination=subnet(number), link=link, gateway=hop, onlink=link == "vx0")


def peer(number: int) -> list[Item]:
    """Return all that vxlan has for one peer."""
    mac = f"02:01:00:00:{number >> 8:02x}:{number & 255:02x}"
    return [
        FdbEntry(link="vx0", mac=mac, destination=IPv4Address(0x0A000000 + number)),
        Neighbour(link="vx0", address=subnet(number)[0], mac=mac),
        through(number),
    ]


def by_rank(items: Iterable[Item]) -> list[Item]:
    """Return items in the order in which a plan creates them."""
    return sorted(items, key=lambda item: item.rank)


def connect(host: Netns, far: Netns) -> None:
    """Give a host an underlay link, with somebody at its other end."""
    host.ip(f"link add eth0 type veth peer name eth0 netns {far.path}")
    far.ip("link set eth0 up")
    host.ip("link set eth0 up")
    host.ip("address add 192.0.2.1/24 dev eth0")


def kernel_of(host: Netns, *, plain: int = 0) -> NetlinkKernel:
    """Return a kernel that gives every gateway after the first so many an object of its own."""
    return NetlinkKernel.from_options({"netns": host.path, "plain_gateways": plain})


def reach(kernel: NetlinkKernel, desired: Iterable[Item]) -> None:
    """Make it so, without a failure, and find nothing left to do."""
    wanted = by_key(desired)
    assert kernel.execute(plan(wanted, kernel.read())) == []
    assert plan(wanted, kernel.read()) == ()


def objects(host: Netns) -> list[str]:
    """Return the nexthop objects that there are, in the words of `ip`."""
    return host.ip("nexthop show").splitlines()


def used(host: Netns) -> set[str]:
    """Return the numbers of the objects that routes use."""
    words = host.ip("route show").split()
    return {words[at + 1] for at, word in enumerate(words) if word == "nhid"}
