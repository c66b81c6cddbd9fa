"""Kernel items: each says itself in the words of `ip` and `bridge`, and is what the kernel says it is."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface, ip_network
from typing import Any

import attrs
import pytest
from hypothesis import given

from containernet.items import (
    Bridge,
    BridgePort,
    ExternalTunnel,
    FdbEntry,
    ForwardAccept,
    Hairpin,
    InterfaceAddress,
    IpEncap,
    IpTunnel,
    Item,
    KernelRoute,
    Key,
    Link,
    Masquerade,
    Neighbour,
    PortForward,
    Rank,
    SourceGuard,
    Sysctl,
    Veth,
    Vxlan,
    by_key,
)
from containernet.testing.strategies import states

VXLAN = Vxlan(vni=1, local=ip_address("192.0.2.1"), port=8472, dev="eth0")
MAC = "02:00:00:00:00:01"

WORDS: list[tuple[Item, str]] = [
    (
        SourceGuard(
            interface="veth0", mac=MAC, addresses=map(ip_address, ("fd00:4::2", "10.4.1.2")), bridged=True
        ),
        f"guard bridge iifname veth0 ether saddr {MAC} saddr {{ 10.4.1.2, fd00:4::2 }}",
    ),
    (
        Link(name="vx0", type=VXLAN, mac=MAC, mtu=1450),
        f"link vx0 address {MAC} mtu 1450 up type vxlan id 1 local 192.0.2.1 dev eth0 dstport 8472 nolearning",
    ),
    (Link(name="br0", type=Bridge(), mtu=1450, up=False), "link br0 mtu 1450 down type bridge"),
    (
        Link(name="t4", type=IpTunnel(local=IPv4Address("192.0.2.1")), mtu=1480),
        "link t4 mtu 1480 up type ipip local 192.0.2.1 remote any",
    ),
    (
        Link(name="t6", type=ExternalTunnel(), mtu=1460),
        "link t6 mtu 1460 up type ip6tnl external",
    ),
    (
        Link(name="v1", type=Veth(peer="eth0", peer_netns="/run/netns/c1"), mtu=1450),
        "link v1 mtu 1450 up type veth peer name eth0 netns /run/netns/c1",
    ),
    (BridgePort(link="v1", bridge="br0", hairpin=True), "link v1 master br0 hairpin on"),
    (InterfaceAddress(link="br0", address=ip_interface("10.4.1.1/24")), "address 10.4.1.1/24 dev br0"),
    (Sysctl(name="net/ipv4/ip_forward", value="1"), "sysctl net/ipv4/ip_forward=1"),
    (
        FdbEntry(link="vx0", mac=MAC, destination=ip_address("192.0.2.2")),
        f"fdb {MAC} dev vx0 dst 192.0.2.2 self permanent",
    ),
    (
        Neighbour(link="vx0", address=ip_address("10.4.2.0"), mac=MAC),
        f"neighbour 10.4.2.0 lladdr {MAC} dev vx0 nud permanent",
    ),
    (KernelRoute(destination=ip_network("10.4.2.0/24"), link="eth0"), "route 10.4.2.0/24 dev eth0"),
    (
        KernelRoute(
            destination=ip_network("fd00:4::/64"),
            link="vx0",
            gateway=ip_address("fd00:4::"),
            onlink=True,
            table=100,
            metric=7,
        ),
        "route fd00:4::/64 via fd00:4:: dev vx0 table 100 metric 7 onlink",
    ),
    (
        KernelRoute(
            destination=ip_network("fd00::/64"),
            link="t6",
            encap=IpEncap(source=IPv6Address("2001:db8::1"), destination=IPv6Address("2001:db8::2")),
        ),
        "route fd00::/64 encap ip6 src 2001:db8::1 dst 2001:db8::2 dev t6",
    ),
    (
        ForwardAccept(chain="ip filter FORWARD", pool=ip_network("10.4.0.0/16")),
        "forward ip filter FORWARD saddr 10.4.0.0/16 accept, daddr 10.4.0.0/16 accept",
    ),
    (Masquerade(pool=ip_network("10.4.0.0/16")), "masquerade saddr 10.4.0.0/16 daddr != 10.4.0.0/16"),
    (
        Hairpin(subnet=ip_network("10.4.1.0/24")),
        "masquerade ct status dnat saddr 10.4.1.0/24 daddr 10.4.1.0/24",
    ),
    (
        PortForward(protocol="tcp", host_port=8080, address=ip_address("10.4.1.2"), port=80),
        "port tcp dport 8080 dnat to 10.4.1.2:80",
    ),
    (
        PortForward(
            protocol="udp",
            host_ip=ip_address("2001:db8::1"),
            host_port=53,
            address=ip_address("fd00:4::2"),
            port=5353,
        ),
        "port daddr 2001:db8::1 udp dport 53 dnat to [fd00:4::2]:5353",
    ),
]


@pytest.mark.parametrize(("item", "words"), WORDS)
def test_an_item_prints_itself_as_an_operator_would_type_it(item: Item, words: str) -> None:
    """So that a plan can be checked against `ip` and `bridge` by eye."""
    assert str(item) == words


def test_every_kind_is_created_behind_what_it_stands_on() -> None:
    """The examples above are in the order of creation, and every rank has one."""
    ranks = [item.rank for item, _ in WORDS]
    assert ranks == sorted(ranks)
    assert set(ranks) == set(Rank)


@given(states(), states())
def test_an_item_has_the_key_under_which_it_lies_and_equal_items_have_one(
    state: Mapping[Key, Item], other: Mapping[Key, Item]
) -> None:
    """Keys are hashable, and by_key keeps one item for each."""
    assert by_key(state.values()) == state
    both = by_key([*state.values(), *other.values()])
    assert both == {**state, **other}


def test_a_link_that_leaves_its_mac_open_matches_any() -> None:
    """A wish for a MAC is a wish; no wish is none."""
    actual = Link(name="br0", type=Bridge(), mac=MAC, mtu=1450)
    assert attrs.evolve(actual, mac="").matches(actual)
    assert actual.matches(actual)
    assert not attrs.evolve(actual, mac="02:00:00:00:00:02").matches(actual)
    assert not attrs.evolve(actual, mac="", mtu=1500).matches(actual)
    assert not attrs.evolve(actual, mac="", up=False).matches(actual)


def test_one_vni_on_one_port_and_family_belongs_to_one_device() -> None:
    """The kernel refuses a second; another port, VNI or family is another tunnel. Bridges exclude nobody."""
    one = Link(name="vx0", type=VXLAN, mtu=1450)

    def other(**changes: Any) -> Link:
        return Link(name="vx1", type=attrs.evolve(VXLAN, **changes), mtu=1450)

    assert other().exclusive == other(local=ip_address("192.0.2.9"), dev="eth1").exclusive == one.exclusive
    for changes in ({"vni": 2}, {"port": 4789}, {"local": ip_address("2001:db8::1")}):
        assert other(**changes).exclusive != one.exclusive
    assert Link(name="br0", type=Bridge(), mtu=1450).exclusive is None


def test_where_the_far_end_of_a_veth_went_is_no_difference() -> None:
    """A kernel cannot tell it afterwards, so it must never make a plan."""
    assert Veth(peer="eth0", peer_netns="/run/netns/c1", peer_mac=MAC) == Veth()
