"""The nouns: what they refuse, and what they answer in both families."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest
from hypothesis import given

from containernet.errors import ConfigError
from containernet.model import Endpoint, Lease, NetworkConfig, Node, Pool, Scalar, Tunnel, contains, overlaps
from containernet.testing.strategies import nodes, pools, routes

POOL = Pool(prefix=ip_network("10.4.0.0/16"), subnet_length=24)
POOL6 = Pool(prefix=ip_network("fd00:4::/48"), subnet_length=64)


@given(pools())
def test_a_pool_admits_exactly_its_free_subnets_between_its_bounds(pool: Pool) -> None:
    """Admitted are the subnets of the right length from first to last that no reservation touches."""
    for subnet in pool.prefix.subnets(new_prefix=pool.subnet_length):
        inside = int(pool.first[0]) <= int(subnet[0]) <= int(pool.last[0])
        reserved = any(overlaps(subnet, other) for other in pool.reserved)
        assert pool.admits(subnet) is (inside and not reserved)
        assert contains(pool.prefix, subnet)


@pytest.mark.parametrize(
    ("prefix", "length", "bounds", "message"),
    [
        ("10.4.0.0/16", 15, {}, "expected 16 to 30"),
        ("10.4.0.0/16", 31, {}, "expected 16 to 30"),
        ("10.4.0.0/16", 99, {}, "expected 16 to 30"),
        ("fd00::/48", 127, {}, "expected 48 to 126"),
        ("10.4.0.0/16", 24, {"first": "10.5.0.0/24"}, "first subnet 10.5.0.0/24: expected a /24 inside"),
        ("10.4.0.0/16", 24, {"last": "10.4.1.0/25"}, "last subnet 10.4.1.0/25: expected a /24 inside"),
        ("10.4.0.0/16", 24, {"first": "10.4.2.0/24", "last": "10.4.1.0/24"}, "lies behind the last one"),
    ],
)
def test_a_pool_that_makes_no_sense_is_refused_with_what_would(
    prefix: str, length: int, bounds: dict[str, Any], message: str
) -> None:
    """Lengths and bounds are checked when the pool is made."""
    with pytest.raises(ConfigError, match=message):
        Pool(
            prefix=ip_network(prefix),
            subnet_length=length,
            **{name: ip_network(text) for name, text in bounds.items()},  # type: ignore[arg-type]
        )


def test_a_reservation_is_of_the_pools_family() -> None:
    """An IPv6 reservation in an IPv4 pool is a mistake that somebody wants to know of."""
    with pytest.raises(ConfigError, match="not of the family"):
        Pool(prefix=ip_network("10.4.0.0/16"), subnet_length=24, reserved=[ip_network("fd00::/64")])


def test_a_network_has_one_pool_or_one_of_each_family_ipv4_first() -> None:
    """The order in which pools are given does not matter; no pool and two of one family are refused."""
    network = NetworkConfig(pools=(POOL6, POOL))
    assert network == NetworkConfig(pools=(POOL, POOL6))
    assert (network.pool(4), network.pool(6)) == (POOL, POOL6)
    assert NetworkConfig(pools=(POOL,)).pool(6) is None
    with pytest.raises(ConfigError, match="no pool"):
        NetworkConfig(pools=())
    with pytest.raises(ConfigError, match="at most one"):
        NetworkConfig(pools=(POOL, POOL))


def test_a_claim_of_a_network_has_one_subnet_for_each_pool() -> None:
    """Neither less nor more nor in another order."""
    network = NetworkConfig(pools=(POOL, POOL6))
    v4, v6 = ip_network("10.4.1.0/24"), ip_network("fd00:4:0:1::/64")
    assert network.admits((v4, v6))
    assert not network.admits((v6, v4))
    assert not network.admits((v4,))
    assert not network.admits(())


@given(nodes())
def test_a_node_answers_for_each_family_what_it_has(node: Node) -> None:
    """Addresses and subnets by family, what is on link, and the packet that fits every path."""
    assert [node.address(4), node.address(6)] == [ip_address("192.0.2.1"), ip_address("2001:db8::1")]
    assert [own for own in map(node.subnet, (4, 6)) if own] == list(node.subnets)
    assert node.on_link(ip_address("192.0.2.77"))
    assert not node.on_link(ip_address("198.51.100.1"))
    assert not node.on_link(ip_address("2001:db9::1"))
    assert node.container_mtu == node.mtu - node.overhead


def test_families_never_overlap_nor_contain_each_other() -> None:
    """Everything of IPv4 has nothing in common with everything of IPv6."""
    everything, everything6 = ip_network("0.0.0.0/0"), ip_network("::/0")
    assert not overlaps(everything, everything6)
    assert not contains(everything, everything6)


@pytest.mark.parametrize("name", ["", "-a", "a-", "a/b", "a b", "a" * 254, "ä", "a\n"])
def test_a_name_is_plain(name: str) -> None:
    """Names become keys of stores and parts of paths, so they hold nothing that either could mistake."""
    with pytest.raises(ConfigError, match="name"):
        Node(name=name, interface="eth0", addresses=())
    if name != "a-":  # which CNI lets a runtime call a container
        with pytest.raises(ConfigError, match="container"):
            Endpoint(container=name, netns="", addresses=())


@pytest.mark.parametrize(
    "mac",
    ["02:00:5E:10:00:01", "02-00-5e-10-00-01", "02:00:5e:10:00", "01:00:5e:00:00:01", "00:00:00:00:00:00", "x"],
)
def test_a_mac_is_that_of_one_station(mac: str) -> None:
    """Not of a group, nor nobody's; the kernel would take some of these and answer for none."""
    with pytest.raises(ConfigError, match=f"mac '{mac}': expected that of one station"):
        Endpoint(container="c1", netns="", addresses=(), mac=mac)


@pytest.mark.parametrize("name", ["", "a" * 16, "ääääääää", "a/b", "a:b", "a b", ".", "..", "a\n"])
def test_an_interface_name_is_one_that_linux_takes(name: str) -> None:
    """15 bytes, not 15 characters."""
    with pytest.raises(ConfigError, match="Linux interface"):
        Endpoint(container="c1", netns="", addresses=(), interface=name)


def test_a_lease_overlaps_in_any_family() -> None:
    """One shared address in one family is enough."""
    lease = Lease(
        subnets=(ip_network("fd00::/64"), ip_network("10.4.1.0/24")), node="a", expires=1.0, revision="1"
    )
    assert [subnet.version for subnet in lease.subnets] == [4, 6]
    assert lease.overlaps([ip_network("10.4.0.0/16")])
    assert lease.overlaps([ip_network("192.0.2.0/24"), ip_network("fd00::1/128")])
    assert not lease.overlaps([ip_network("10.4.2.0/24")])


def test_tunnels_are_equal_whatever_the_order_of_their_data() -> None:
    """What a store returns in another order is still the same tunnel, and can be a key of a dict."""
    data: dict[str, Scalar] = {"VNI": 1, "VtepMAC": "02:00:00:00:00:01"}
    one = Tunnel(type="vxlan", data=data)
    assert one == Tunnel(type="vxlan", data=dict(reversed(data.items())))
    assert hash(one) == hash(Tunnel(type="vxlan", data=one.data))
    assert one.get("VNI") == 1
    assert one.get("missing") is None


@given(routes())
def test_a_route_is_a_value(route: object) -> None:
    """Routes are compared and hashed by what they say."""
    assert len({route, route}) == 1


def test_an_endpoint_keeps_its_addresses_as_given() -> None:
    """The order is that of the subnets."""
    given = [ip_interface("10.4.1.2/24"), ip_interface("fd00::2/64")]
    assert Endpoint(container="c1", netns="/run/netns/c1", addresses=given).addresses == tuple(given)
