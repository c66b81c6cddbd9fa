"""Several next hops, and next hops of the other family, on a real kernel: packets go where the route says."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from containernet.items import by_key
from containernet.model import Node, Prefix, Route, multipath
from containernet.planning import plan
from containernet.rendering import peer_items
from containernet_backends.host_gw import HostGateway

from .conftest import Netns

pytestmark = pytest.mark.kernel

NODE = Node(
    name="me",
    interface="eth0",
    addresses=(ip_interface("192.0.2.1/24"), ip_interface("2001:db8::1/64")),
    subnets=(ip_network("10.4.1.0/24"), ip_network("fd00:4:0:1::/64")),
)
ANYCAST = {4: ip_network("10.4.2.0/24"), 6: ip_network("fd00:4:0:2::/64")}
HOPS = {4: ("192.0.2.2", "192.0.2.3"), 6: ("2001:db8::2", "2001:db8::3")}


def cluster(make: Callable[[], Netns]) -> tuple[Netns, list[Netns]]:
    """Return a host and two others on its link, which both answer for all addresses of ANYCAST."""
    host, peers = make(), [make(), make()]
    host.ip("link add eth0 type bridge")
    host.ip("link set eth0 up")
    for address in NODE.addresses:
        host.ip(f"address add {address} dev eth0{' nodad' if address.version == 6 else ''}")
    for number, peer in enumerate(peers, 2):
        host.ip(f"link add port{number} type veth peer name eth0 netns {peer.path}")
        host.ip(f"link set port{number} up master eth0")
        peer.ip("link set eth0 up")
        peer.ip(f"address add 192.0.2.{number}/24 dev eth0")
        peer.ip(f"address add 2001:db8::{number}/64 dev eth0 nodad")
        for prefix in ANYCAST.values():
            peer.ip(f"route add local {prefix} dev lo")
    return host, peers


def programmed(host: Netns, *routes: Route) -> None:
    """Program the routes, and find nothing left to do."""
    items = by_key(item for route in routes for item in peer_items(NODE, route, remote=HostGateway())[0])
    assert len(items) == len(routes)
    with closing(host.kernel()) as kernel:
        assert list(kernel.execute(plan(items, kernel.read()))) == []
        assert plan(items, kernel.read()) == ()


def used(host: Netns, prefix: Prefix) -> set[str]:
    """Return the next hops that the kernel chooses for thirty addresses of a prefix."""
    ways = (host.ip(f"route get {prefix[number]}").split() for number in range(1, 31))
    return {way[way.index("via") + 1] for way in ways}


@pytest.mark.parametrize("version", [4, 6])
def test_flows_are_divided_among_next_hops_and_all_arrive(netns: Callable[[], Netns], version: int) -> None:
    """Each of two is chosen for some addresses; with one of them gone, the other has all."""
    host, _ = cluster(netns)
    paths = [Route(prefix=ANYCAST[version], node="x", next_hop=ip_address(hop)) for hop in (*HOPS[version],)]
    programmed(host, multipath(paths))
    assert used(host, ANYCAST[version]) == set(HOPS[version])
    for number in range(1, 9):
        host.run("ping", "-c1", "-W5", str(ANYCAST[version][number]))
    programmed(host, paths[1])
    assert used(host, ANYCAST[version]) == {HOPS[version][1]}


def test_an_ipv4_packet_goes_through_an_ipv6_next_hop(netns: Callable[[], Netns]) -> None:
    """RFC 8950: alone, and beside one of its own family; the answers come back."""
    host, _ = cluster(netns)
    four, six = (
        Route(prefix=ANYCAST[4], node="x", next_hop=ip_address(hop)) for hop in (HOPS[4][0], HOPS[6][1])
    )
    programmed(host, six)
    assert f"{ANYCAST[4]} via inet6 {six.next_hop} dev eth0" in host.ip("route")
    host.run("ping", "-c1", "-W5", str(ANYCAST[4][1]))
    programmed(host, multipath([four, six]))
    for number in range(1, 9):
        host.run("ping", "-c1", "-W5", str(ANYCAST[4][number]))
