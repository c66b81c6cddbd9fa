"""rendering and dataplanes: pure, without an order, each host by itself, and alike however they are called."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address, ip_network
from typing import Any

import attrs
from hypothesis import given, strategies as st

from containernet import derive
from containernet.desired import Desired
from containernet.items import FdbEntry, Item, Key, Link
from containernet.model import Endpoint, NetworkConfig, Node, Pool, Route, Tunnel
from containernet.planning import plan
from containernet.rendering import host_items, own_routes, peer_items, render, with_subnets
from containernet.testing.strategies import nodes
from containernet_backends.bridge import Bridge
from containernet_backends.host_gw import HostGateway
from containernet_backends.ipip import Ipip
from containernet_backends.vxlan import Vxlan

NETWORK = NetworkConfig(
    pools=(
        Pool(prefix=ip_network("10.0.0.0/16"), subnet_length=24),
        Pool(prefix=ip_network("fd00::/48"), subnet_length=64),
    )
)
REMOTES: tuple[Any, ...] = (
    HostGateway(),
    Vxlan(),
    Vxlan(vni=7, direct=True),
    Ipip(),
    Ipip(direct=True),
    Bridge(uplink="eth1"),
)
remotes = st.sampled_from(REMOTES)


@st.composite
def peers(draw: st.DrawFn) -> tuple[Route, ...]:
    """Return what one host announces: a route for each family, on link or behind a router, often odd."""
    number = draw(st.integers(2, 40))
    four = draw(st.sampled_from((f"192.0.2.{number}", f"198.51.100.{number}")))
    six = draw(st.sampled_from((f"2001:db8::{number:x}", f"2001:db8:1::{number:x}")))
    kind = draw(st.sampled_from(("vxlan", "", "host-gw", "ipip", "bridge")))
    mac = draw(st.sampled_from((derive.mac("vtep", str(number)), "", "01:00:00:00:00:01", "x")))
    tunnel = Tunnel(type=kind, data={"VNI": draw(st.sampled_from((1, 7, None, "1"))), "VtepMAC": mac})
    both = (
        Route(
            prefix=ip_network(f"10.0.{number}.0/24"), node=str(number), next_hop=ip_address(four), tunnel=tunnel
        ),
        Route(
            prefix=ip_network(f"fd00:0:0:{number:x}::/64"),
            node=str(number),
            next_hop=ip_address(six),
            tunnel=tunnel,
        ),
    )
    return draw(st.sampled_from((both, both[:1], both[1:])))


clusters = st.lists(peers(), max_size=6, unique_by=lambda routes: routes[0].node)


def rendered(remote: Any, node: Node, route: Route) -> tuple[Item, ...]:
    """Return a peer's items; none where it is refused."""
    items, refusal = peer_items(node, route, remote=remote)
    assert not items or not refusal or route.equal_cost
    return items


@given(remotes, nodes(), clusters)
def test_route_by_route_is_the_same_as_all_at_once(
    remote: Any, node: Node, cluster: list[tuple[Route, ...]]
) -> None:
    """What the agent does for each event adds up to what `render` says about all of them."""
    routes = [route for host in cluster for route in host]
    whole = render(node, routes, local=Bridge(), remote=remote)
    desired = Desired()
    for route in routes:
        desired.put(("route", str(route.prefix)), rendered(remote, node, route))
    desired.put(("host",), host_items(node, local=Bridge(), remote=remote))
    assert dict(desired) == dict(whole.items)
    assert {route.prefix for route in routes if not rendered(remote, node, route)} == set(whole.refused)


@given(remotes, nodes(), clusters, st.data())
def test_the_order_of_the_routes_does_not_matter(
    remote: Any, node: Node, cluster: list[tuple[Route, ...]], data: st.DataObject
) -> None:
    """Nor what was asked before: the same arguments give equal items."""
    routes = [route for host in cluster for route in host]
    shuffled = data.draw(st.permutations(routes))
    one, other = (render(node, each, local=Bridge(), remote=remote) for each in (routes, shuffled))
    assert dict(one.items) == dict(other.items)
    assert one.refused == other.refused


@given(remotes, nodes(), clusters)
def test_items_of_one_peer_never_meet_those_of_another(
    remote: Any, node: Node, cluster: list[tuple[Route, ...]]
) -> None:
    """So one peer's withdrawal takes nothing of another's, and nothing of the host's own."""
    owned: dict[Key, str] = {item.key: "host" for item in host_items(node, local=Bridge(), remote=remote)}
    for host in cluster:
        for route in host:
            for item in rendered(remote, node, route):
                assert owned.setdefault(item.key, route.node) == route.node
                assert not isinstance(item, Link)


@given(remotes, nodes(), clusters)
def test_every_item_stands_on_a_link_that_is_there(
    remote: Any, node: Node, cluster: list[tuple[Route, ...]]
) -> None:
    """The underlay's, the uplink, or one of the host's own; and planning it needs no second pass."""
    routes = [route for host in cluster for route in host if route.prefix.version in _versions(node)]
    items = render(node, routes, local=Bridge(uplink="eth1"), remote=remote).items
    there = {"", "eth1", node.interface, *(item.name for item in items.values() if isinstance(item, Link))}
    for item in items.values():
        assert {item.link, getattr(item, "bridge", "")} <= there
    assert plan(items, items) == ()


def _versions(node: Node) -> set[int]:
    return {subnet.version for subnet in node.subnets}


@given(remotes, nodes())
def test_what_a_host_announces_is_what_its_peers_can_render(remote: Any, node: Node) -> None:
    """Two hosts of one dataplane on one link understand each other, each family by itself."""
    other = attrs.evolve(node, name=f"{node.name}x", addresses=_moved(node))
    announced = own_routes(other, remote)
    assert [route.prefix for route in announced] == list(other.subnets)
    for route in announced:
        assert rendered(remote, node, route)
        assert route.next_hop in {own.ip for own in other.addresses}


def _moved(node: Node) -> Sequence[Any]:
    return [type(own)((int(own.ip) + 1, own.network.prefixlen)) for own in node.addresses]


@given(remotes, nodes(), st.sampled_from(((4,), (6,), (4, 6))))
def test_a_containers_packet_fits_on_every_path(remote: Any, node: Node, versions: tuple[int, ...]) -> None:
    """The MTU inside plus what the dataplane adds is never more than the underlay's."""
    network = NetworkConfig(pools=[pool for pool in NETWORK.pools if pool.version in versions])
    node = with_subnets(node, (), network=network, remote=remote)
    for version in versions:
        assert node.container_mtu + remote.overhead(version) <= node.mtu
    assert any(node.container_mtu + remote.overhead(version) == node.mtu for version in versions)


@given(nodes(), st.text("abc", min_size=1, max_size=3), st.text("abc", min_size=1, max_size=3))
def test_two_containers_share_no_item(node: Node, one: str, other: str) -> None:
    """Unless they are one; and what a container needs does not depend on when it is asked."""
    first, second = (
        Bridge().endpoint(node, Endpoint(container=name, netns="/run/netns/x", addresses=()))
        for name in (one, other)
    )
    keys = {item.key for item in first.host} & {item.key for item in second.host}
    assert bool(keys) == (one == other)


@given(nodes(), clusters)
def test_a_dataplane_that_stumbles_refuses_and_takes_nobody_along(
    node: Node, cluster: list[tuple[Route, ...]]
) -> None:
    """Even where it fails in the middle of a peer's items."""

    class Stumbling(Vxlan):
        def peer(self, node: Node, route: Route) -> Any:
            yield FdbEntry(link="x", mac="02:00:00:00:00:01", destination=route.next_hop)
            if route.prefix.version == 4:
                raise KeyError(route.node)

    routes = [route for host in cluster for route in host]
    rendering = render(node, routes, local=Bridge(), remote=Stumbling())
    assert set(rendering.refused) == {route.prefix for route in routes if route.prefix.version == 4}
    assert all("KeyError" in reason for reason in rendering.refused.values())
