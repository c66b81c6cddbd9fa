"""Several next hops of equal cost, and those of the other family: what is heard, rendered, and shown."""

from __future__ import annotations

import json
from contextlib import closing
from ipaddress import IPv6Address, ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given, strategies as st

from containernet import jsonform
from containernet.contracts import RouteStore
from containernet.errors import ConfigError
from containernet.events import Announced
from containernet.explaining import explain
from containernet.hearsay import Hearsay
from containernet.items import IpEncap, KernelRoute, multipath
from containernet.judging import Judge
from containernet.lab.topology import Topology
from containernet.model import NetworkConfig, Node, Pool, Route, Tunnel, multipath as joined
from containernet.planning import Delete
from containernet.rendering import peer_items
from containernet.rib import Rib
from containernet.testing.simulation import World
from containernet.testing.strategies import routes
from containernet_backends.bridge import Bridge
from containernet_backends.etcd import EtcdStore
from containernet_backends.host_gw import HostGateway
from containernet_backends.ipip import Ipip
from containernet_backends.sqlite import SqliteStore
from containernet_backends.vxlan import Vxlan

NETWORK = NetworkConfig(pools=(Pool(prefix=ip_network("10.4.0.0/16"), subnet_length=24),))
BOTH = NetworkConfig(pools=(*NETWORK.pools, Pool(prefix=ip_network("fd00:4::/48"), subnet_length=64)))
NODE = Node(
    name="me",
    interface="eth0",
    addresses=(ip_interface("192.0.2.1/24"), ip_interface("2001:db8::1/64")),
    subnets=(ip_network("10.4.1.0/24"), ip_network("fd00:4:0:1::/64")),
)
TWO = joined([
    Route(prefix=ip_network("10.4.2.0/24"), node=node, next_hop=ip_address(hop))
    for node, hop in (("b", "192.0.2.3"), ("a", "192.0.2.2"))
])  # fmt: skip
TWO6 = joined([
    Route(prefix=ip_network("fd00:4:0:2::/64"), node="a", next_hop=ip_address(hop))
    for hop in ("2001:db8::2", "2001:db8::3")
])  # fmt: skip


def shown(remote: Any, route: Route) -> list[str]:
    """Return what is rendered in the words of `ip`, and after it why not."""
    items, refusal = peer_items(NODE, route, remote=remote)
    return [*map(str, items), *filter(None, [refusal])]


@given(routes())
def test_paths_and_multipath_are_inverse(route: Route) -> None:
    """Of routes; and as JSON they come back, however many next hops they have."""
    assert joined(route.paths) == route
    assert all(not path.equal_cost and path.prefix == route.prefix for path in route.paths)
    assert jsonform.route_from_json(json.loads(json.dumps(jsonform.route_to_json(route)))) == route


@given(st.permutations(["192.0.2.4", "192.0.2.3", "192.0.2.5", "192.0.2.3"]))
def test_a_kernel_route_is_the_set_of_its_next_hops(order: list[str]) -> None:
    """In whatever order they are told, and how often: so that nothing is programmed again for an order."""
    plain = KernelRoute(destination=TWO.prefix, link="eth0")
    route = multipath(plain.by(ip_address(hop)) for hop in order)
    assert [str(path.gateway) for path in route.paths] == ["192.0.2.3", "192.0.2.4", "192.0.2.5"]
    assert multipath(route.paths) == route


def test_what_is_no_route_with_several_next_hops_is_refused() -> None:
    """Another destination or link, a gateway beside an outer header, or no next hop at all."""
    outer = IpEncap(source=IPv6Address("::1"), destination=IPv6Address("::2"))
    one = KernelRoute(destination=TWO.prefix, link="eth0", gateway=ip_address("192.0.2.2"))
    other = attrs.evolve(one, gateway=ip_address("192.0.2.3"))
    for wrong in (
        attrs.evolve(other, link="eth1"),
        attrs.evolve(other, destination=TWO6.prefix),
        attrs.evolve(other, gateway=None),
        attrs.evolve(other, gateway=None, encap=outer),
    ):
        with pytest.raises(ValueError, match="not one route"):
            multipath([one, wrong])
    with pytest.raises(ConfigError, match="expected routes to one prefix"):
        joined([TWO.paths[0], TWO6.paths[0]])
    with pytest.raises(ConfigError, match="each with one next hop"):
        attrs.evolve(TWO.paths[0], equal_cost=(TWO,))


def test_dataplanes_without_a_table_of_their_own_use_every_next_hop() -> None:
    """Each renders one path, as it always did; that they become one kernel route is no matter of theirs."""
    assert shown(HostGateway(), TWO) == [
        "route 10.4.2.0/24 nexthop via 192.0.2.2 dev eth0 nexthop via 192.0.2.3 dev eth0"
    ]
    assert shown(Ipip(), TWO) == [
        "route 10.4.2.0/24 nexthop via 192.0.2.2 dev ipip.4 onlink nexthop via 192.0.2.3 dev ipip.4 onlink"
    ]
    assert shown(Ipip(), TWO6) == [
        "route fd00:4:0:2::/64 "
        "nexthop encap ip6 src 2001:db8::1 dst 2001:db8::2 dev ipip.6 "
        "nexthop encap ip6 src 2001:db8::1 dst 2001:db8::3 dev ipip.6"
    ]
    assert shown(Bridge(uplink="eth1"), TWO) == ["route 10.4.2.0/24 dev cn0"]


VIA_SIX = attrs.evolve(TWO.paths[0], next_hop=ip_address("2001:db8::3"))


def test_an_ipv4_prefix_may_lie_behind_an_ipv6_next_hop() -> None:
    """RFC 8950: no tunnel is needed for it, so host-gw has it, alone and beside others; and so has `direct`."""
    assert Judge(BOTH, NODE).refusal(VIA_SIX) is None
    assert shown(HostGateway(), VIA_SIX) == ["route 10.4.2.0/24 via inet6 2001:db8::3 dev eth0"]
    assert shown(HostGateway(), joined([VIA_SIX, TWO.paths[1]])) == [
        "route 10.4.2.0/24 nexthop via 192.0.2.2 dev eth0 nexthop via inet6 2001:db8::3 dev eth0"
    ]
    assert (
        shown(Ipip(direct=True), VIA_SIX) == shown(Vxlan(direct=True), VIA_SIX) == shown(HostGateway(), VIA_SIX)
    )


@pytest.mark.parametrize(("remote", "name"), [(Ipip(), "ipip"), (Vxlan(), "vxlan")])
def test_a_tunnel_goes_to_its_own_family(remote: Any, name: str) -> None:
    """Its device has one outer header, of the family of what it carries."""
    assert shown(remote, VIA_SIX) == [
        f"{name} cannot reach 10.4.2.0/24: next hop 2001:db8::3 (b) is of IPv6, and a tunnel of IPv4 "
        "goes to its own family; use host-gw, or announce a next hop of the prefix's family"
    ]


def test_the_reverse_is_refused() -> None:
    """Linux has no IPv6 route through an IPv4 gateway; and a pool of the next hop's family counts as well."""
    reverse = attrs.evolve(
        TWO6.paths[0], prefix=ip_network("fd00:4:0:2::/64"), next_hop=ip_address("192.0.2.2")
    )
    assert Judge(BOTH, NODE).refusal(reverse) == "next hop 192.0.2.2 is of IPv4, and fd00:4:0:2::/64 of IPv6"
    inside = attrs.evolve(VIA_SIX, next_hop=ip_address("fd00:4:0:9::9"))
    assert "lies in the pool fd00:4::/48" in (Judge(BOTH, NODE).refusal(inside) or "")


def test_a_packet_is_handed_to_a_neighbour_of_the_other_family() -> None:
    """It stays of IPv4, crosses the wire as such, and arrives."""
    made = World.of(
        Topology(hosts=2, containers=1, dataplane="host-gw"), BOTH, remote=HostGateway(), local=Bridge()
    )
    made.settle_all()
    route = next(route for route in made.routes["host2"] if route.prefix.version == 4)
    six = next(route.next_hop for route in made.routes["host2"] if route.prefix.version == 6)
    host1 = made.members["host1"]
    via = attrs.evolve(route, next_hop=six)
    host1.kernel.put(*peer_items(host1.node, via, remote=HostGateway())[0])
    way = explain(made.view, "host1-c1", next(iter(made.addresses("host2-c1"))), said=Hearsay(network=BOTH))
    assert way.first_fault is None
    assert f"    route {route.prefix} via inet6 {six} dev eth0" in list(way.lines())


def test_vxlan_uses_the_first_and_names_the_other() -> None:
    """A prefix has one VTEP address, so one host behind it: half a peer must not be programmed."""
    macs = ("02:00:00:00:00:02", "02:00:00:00:00:03")
    two = joined([
        attrs.evolve(path, tunnel=Tunnel(type="vxlan", data=(("VNI", 1), ("VtepMAC", mac))))
        for path, mac in zip(TWO.paths, macs, strict=True)
    ])  # fmt: skip
    items, refusal = peer_items(NODE, two, remote=Vxlan())
    assert items == peer_items(NODE, two.paths[0], remote=Vxlan())[0]
    first, second = (f"`neighbour 10.4.2.0 lladdr {mac} dev vxlan.1 nud permanent`" for mac in macs)
    assert refusal == f"10.4.2.0/24 is not sent to a (192.0.2.2) as well: {second} and {first} cannot both be"


def test_a_next_hop_out_of_reach_leaves_the_others() -> None:
    """The route has what can be used, and the refusal says what cannot."""
    far = attrs.evolve(TWO.paths[0], next_hop=ip_address("198.51.100.9"))
    words = shown(HostGateway(), joined([far, *TWO.paths]))
    assert words[0] == shown(HostGateway(), TWO)[0]
    assert "next hop 198.51.100.9 (b) is not on link" in words[1]
    assert len(shown(HostGateway(), joined([far, far]))) == 1


def test_each_next_hop_is_believed_or_refused_by_itself() -> None:
    """One announcer that talks nonsense takes nothing from the others; judged again, it may be believed."""
    bad = attrs.evolve(TWO.paths[0], next_hop=ip_address("10.4.9.9"))
    heard = joined([bad, *TWO.paths])
    rib = Rib(NETWORK, NODE, store="x")
    (change,) = rib.apply(Announced(route=heard), now=0)
    assert change.new == TWO
    assert rib.refused[heard.prefix][0] == heard
    assert "10.4.9.9 lies in the pool" in rib.refused[heard.prefix][1]
    moved = attrs.evolve(NODE, addresses=[ip_interface("192.0.2.3/24")])
    (change,) = rib.judge_again(moved, now=1)
    assert change.new == TWO.paths[1]
    (change,) = rib.judge_again(NODE, now=2)
    assert change.new == TWO


def world() -> World:
    """Return three hosts of host-gw; host1 sends what is for host2's container to host2 and to host3."""
    made = World.of(
        Topology(hosts=3, containers=1, dataplane="host-gw", versions=(4,)),
        NETWORK,
        remote=HostGateway(),
        local=Bridge(),
    )
    made.settle_all()
    (route,) = made.routes["host2"]
    two = attrs.evolve(route, equal_cost=(attrs.evolve(route, next_hop=ip_address("192.0.2.3")),))
    host1 = made.members["host1"].kernel
    host1.put(*peer_items(made.members["host1"].node, two, remote=HostGateway())[0])
    return made


def test_explain_goes_every_way() -> None:
    """The first is shown where all are well; one that is not is told, though half of the flows arrive."""
    made, said = world(), Hearsay(network=NETWORK)
    target = next(iter(made.addresses("host2-c1")))
    way = explain(made.view, "host1-c1", target, said=said)
    assert way.first_fault is None
    note = f"2 ways of equal cost lead to {target}; shown is the first, and none is wrong"
    assert note in way.notes
    assert "    route 10.4.2.0/24 via 192.0.2.2 dev eth0" in list(way.lines())
    host3 = made.members["host3"].kernel
    host3.disturb(
        *(Delete(item) for item in host3.read().values() if "route 10.4.2.0/24" in str(item)),
    )
    way = explain(made.view, "host1-c1", target, said=said)
    assert way.verdict == f"host1-c1 > {target} does not arrive: host3: no route to {target}"
    assert f"2 ways of equal cost lead to {target}; shown is number 2, the first that is wrong" in way.notes
    assert "    route 10.4.2.0/24 via 192.0.2.3 dev eth0" in list(way.lines())


def test_where_two_ways_are_announced_neither_is_astray() -> None:
    """And a third is: to whom nobody announced it."""
    told = jsonform.route_to_json(TWO) | {"store": "bgp", "since": 0.0}
    said = Hearsay(statuses={"host1": {"routes": [told]}})
    for hop in ("192.0.2.2", "192.0.2.3"):
        assert said.elsewhere("host1", TWO.prefix, ip_address(hop)) is None
    fault = said.elsewhere("host1", TWO.prefix, ip_address("192.0.2.4"))
    assert fault is not None
    assert fault.reason == "10.4.2.0/24 is sent to 192.0.2.4, and b is at 192.0.2.3 and a is at 192.0.2.2"


@pytest.mark.parametrize("store", [SqliteStore, EtcdStore])
def test_what_a_record_has_no_room_for_is_refused_before_anything_is_written(
    store: type[RouteStore], tmp_path: Path
) -> None:
    """A node announces one next hop; to drop the others would be to change what was said."""
    options = {"path": str(tmp_path / "store.db")} if store is SqliteStore else {}
    with (
        closing(store.from_options(options)) as handle,
        pytest.raises(ConfigError, match="expected one next hop"),
    ):
        handle.announce(TWO)
    assert not list(tmp_path.iterdir())
