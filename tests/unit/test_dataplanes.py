"""The dataplanes, in the words of `ip` and `bridge`: what they make of a host, a peer, a container."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import attrs
import pytest

from containernet.errors import ConfigError, RouteRefused
from containernet.items import Link
from containernet.model import Endpoint, Node, Route, Scalar, Tunnel
from containernet_backends.bridge import Bridge
from containernet_backends.host_gw import HostGateway
from containernet_backends.ipip import Ipip
from containernet_backends.vxlan import Vxlan

NODE = Node(
    name="host-a",
    interface="eth0",
    addresses=(ip_interface("192.0.2.1/24"), ip_interface("2001:db8::1/64")),
    subnets=(ip_network("10.4.1.0/24"), ip_network("fd00:4:0:1::/64")),
)
MAC = "02:00:5e:10:00:02"
CONTAINER = Endpoint(
    container="c1",
    netns="/run/netns/c1",
    addresses=(ip_interface("10.4.1.2/24"), ip_interface("fd00:4:0:1::2/64")),
)


def route(version: int = 4, *, far: bool = False, type: str = "", **data: Scalar) -> Route:
    """Return the route of host-b, on link or behind a router."""
    hops = {4: ("192.0.2.2", "203.0.113.2"), 6: ("2001:db8::2", "2001:db8:1::2")}
    return Route(
        prefix=ip_network("10.4.2.0/24" if version == 4 else "fd00:4:0:2::/64"),
        node="host-b",
        next_hop=ip_address(hops[version][far]),
        tunnel=Tunnel(type=type, data=data),
    )


def words(items: Any) -> list[str]:
    """Return the items as an operator would write them."""
    return [str(item) for item in items]


HOST_ITEMS: list[tuple[Any, list[str]]] = [
    (HostGateway(), []),
    (
        Vxlan(),
        [
            "link vxlan.1 address 8a:a9:68:a9:ca:19 mtu 1450 up "
            "type vxlan id 1 local 192.0.2.1 dev eth0 dstport 8472 nolearning",
            "address 10.4.1.0/32 dev vxlan.1",
            "link vxlan6.1 address 8a:a9:68:a9:ca:19 mtu 1430 up "
            "type vxlan id 1 local 2001:db8::1 dev eth0 dstport 8472 nolearning",
            "address fd00:4:0:1::/128 dev vxlan6.1",
            "sysctl net/ipv6/conf/vxlan6.1/accept_ra=0",
        ],
    ),
    (
        Ipip(),
        [
            "link ipip.4 mtu 1480 up type ipip local 192.0.2.1 remote any",
            "address 10.4.1.0/32 dev ipip.4",
            "link ipip.6 mtu 1460 up type ip6tnl external",
            "address fd00:4:0:1::/128 dev ipip.6",
        ],
    ),
    (
        Bridge(uplink="eth1"),
        [
            "link cn0 address 26:d9:75:61:a8:88 mtu 1500 up type bridge",
            "link eth1 master cn0 hairpin off",
            "address 10.4.1.1/24 dev cn0",
            "sysctl net/ipv4/ip_forward=1",
            "address fd00:4:0:1::1/64 dev cn0",
            "sysctl net/ipv6/conf/all/forwarding=1",
            "sysctl net/ipv6/conf/cn0/accept_dad=0",
        ],
    ),
]


@pytest.mark.parametrize(("dataplane", "expected"), HOST_ITEMS)
def test_the_host(dataplane: Any, expected: list[str]) -> None:
    """What stands before the first peer, for both families."""
    assert words(dataplane.host(NODE)) == expected


@pytest.mark.parametrize(("dataplane", "expected"), HOST_ITEMS)
@pytest.mark.parametrize("place", [0, 1])
def test_a_host_of_one_family_gets_nothing_of_the_other(
    dataplane: Any, expected: list[str], place: int
) -> None:
    """Neither a device nor a setting."""
    signs = ("10.4.1", "192.0.2.1", "ipv4"), ("fd00", "2001:db8", "ipv6")
    node = attrs.evolve(NODE, subnets=NODE.subnets[place : place + 1])
    got = words(dataplane.host(node))
    assert set(got) <= set(expected)
    assert not [word for word in got for sign in signs[1 - place] if sign in word]


PEER_ITEMS: list[tuple[Any, Route, list[str]]] = [
    (HostGateway(), route(4), ["route 10.4.2.0/24 via 192.0.2.2 dev eth0"]),
    (HostGateway(), route(6), ["route fd00:4:0:2::/64 via 2001:db8::2 dev eth0"]),
    (
        Vxlan(),
        route(4, type="vxlan", VNI=1, VtepMAC=MAC),
        [
            f"fdb {MAC} dev vxlan.1 dst 192.0.2.2 self permanent",
            f"neighbour 10.4.2.0 lladdr {MAC} dev vxlan.1 nud permanent",
            "route 10.4.2.0/24 via 10.4.2.0 dev vxlan.1 onlink",
        ],
    ),
    (
        Vxlan(vni=16777215),
        route(6, far=True, VtepMAC=MAC.upper()),
        [
            f"fdb {MAC} dev vxlan6.16777215 dst 2001:db8:1::2 self permanent",
            f"neighbour fd00:4:0:2:: lladdr {MAC} dev vxlan6.16777215 nud permanent",
            "route fd00:4:0:2::/64 via fd00:4:0:2:: dev vxlan6.16777215 onlink",
        ],
    ),
    (Vxlan(direct=True), route(4), ["route 10.4.2.0/24 via 192.0.2.2 dev eth0"]),
    (Vxlan(direct=True), route(6), ["route fd00:4:0:2::/64 via 2001:db8::2 dev eth0"]),
    (
        Vxlan(direct=True),
        route(4, far=True, VNI=1, VtepMAC=MAC),
        [
            f"fdb {MAC} dev vxlan.1 dst 203.0.113.2 self permanent",
            f"neighbour 10.4.2.0 lladdr {MAC} dev vxlan.1 nud permanent",
            "route 10.4.2.0/24 via 10.4.2.0 dev vxlan.1 onlink",
        ],
    ),
    (Ipip(), route(4), ["route 10.4.2.0/24 via 192.0.2.2 dev ipip.4 onlink"]),
    (
        Ipip(),
        route(6, far=True),
        ["route fd00:4:0:2::/64 encap ip6 src 2001:db8::1 dst 2001:db8:1::2 dev ipip.6"],
    ),
    (Ipip(direct=True), route(4), ["route 10.4.2.0/24 via 192.0.2.2 dev eth0"]),
    (Ipip(direct=True), route(4, far=True), ["route 10.4.2.0/24 via 203.0.113.2 dev ipip.4 onlink"]),
    (Bridge(uplink="eth1"), route(4), ["route 10.4.2.0/24 dev cn0"]),
    (Bridge(uplink="eth1", device="br-pods"), route(6), ["route fd00:4:0:2::/64 dev br-pods"]),
]


@pytest.mark.parametrize(("dataplane", "heard", "expected"), PEER_ITEMS)
def test_a_peer(dataplane: Any, heard: Route, expected: list[str]) -> None:
    """What one route costs."""
    assert words(dataplane.peer(NODE, heard)) == expected


@pytest.mark.parametrize(
    ("dataplane", "heard", "reason"),
    [
        (
            HostGateway(),
            route(4, far=True),
            "host-gw cannot reach 10.4.2.0/24: next hop 203.0.113.2 (host-b) is not on link at eth0 "
            "(192.0.2.1/24, 2001:db8::1/64); a router between the hosts would drop container addresses: "
            "use vxlan or ipip",
        ),
        (
            Bridge(uplink="eth1"),
            route(4, far=True),
            "bridge cannot reach 10.4.2.0/24 (host-b, 203.0.113.2): that host is not on link at eth0 "
            "(192.0.2.1/24, 2001:db8::1/64), and an L2 network ends at a router: use vxlan or ipip",
        ),
        (
            Bridge(),
            route(4),
            "bridge cannot reach 10.4.2.0/24 (host-b, 192.0.2.2): it has no uplink; set uplink under "
            "[dataplane.bridge] to a NIC on the L2 network that all hosts share",
        ),
        (
            Vxlan(),
            route(4, VNI=7, VtepMAC=MAC),
            "vxlan cannot reach 10.4.2.0/24: host-b uses VNI 7, this host 1; set the same vni under "
            "[dataplane.vxlan] on both",
        ),
        *(
            (
                Vxlan(),
                route(4, VNI=1, VtepMAC=bad),
                f"vxlan cannot reach 10.4.2.0/24: host-b announced VtepMAC {shown!r}, expected a unicast MAC "
                "address such as 02:00:5e:10:00:01; look at what that host announces",
            )
            for bad, shown in (
                (None, ""),
                ("", ""),
                ("02:00:5e", "02:00:5e"),
                ("01:00:5e:00:00:01", "01:00:5e:00:00:01"),
                ("FF:FF:FF:FF:FF:FF", "ff:ff:ff:ff:ff:ff"),
                ("00:00:00:00:00:00", "00:00:00:00:00:00"),
                (f"{MAC}\n", f"{MAC}\n"),
                (5, "5"),
            )
        ),
        *(
            (
                dataplane,
                route(4, type="wireguard"),
                f"{name} cannot reach 10.4.2.0/24: host-b announced it for wireguard; set the same remote "
                "dataplane on both hosts",
            )
            for name, dataplane in (
                ("host-gw", HostGateway()),
                ("vxlan", Vxlan()),
                ("ipip", Ipip()),
                ("bridge", Bridge(uplink="eth1")),
            )
        ),
    ],
)
def test_a_peer_that_is_refused(dataplane: Any, heard: Route, reason: str) -> None:
    """The whole sentence: who, why, and the way out."""
    with pytest.raises(RouteRefused) as refusal:
        list(dataplane.peer(NODE, heard))
    assert str(refusal.value) == reason


@pytest.mark.parametrize(
    ("dataplane", "mtu", "reason"),
    [
        (Vxlan(), 1349, "leaves 1279 octets for containers, and IPv6 needs 1280"),
        (Vxlan(), 117, "leaves 67 octets for containers, and IPv4 needs 68"),
        (Ipip(), 1319, "leaves 1279 octets for containers, and IPv6 needs 1280"),
        (HostGateway(), 1279, "leaves 1279 octets for containers, and IPv6 needs 1280"),
    ],
)
def test_an_mtu_that_is_too_small(dataplane: Any, mtu: int, reason: str) -> None:
    """Refused on the octet, and taken one above."""
    place = slice(0, 1) if "IPv4" in reason else slice(1, 2)
    node = attrs.evolve(NODE, mtu=mtu, subnets=NODE.subnets[place])
    with pytest.raises(ConfigError) as refusal:
        list(dataplane.host(node))
    assert str(refusal.value) == f"MTU {mtu} of eth0 {reason}: raise the MTU of eth0"
    list(dataplane.host(attrs.evolve(node, mtu=mtu + 1)))


@pytest.mark.parametrize("dataplane", [HostGateway(), Vxlan(), Ipip(), Bridge()])
def test_a_node_without_an_underlay_address_of_a_family_that_it_leases(dataplane: Any) -> None:
    """Peers could not send to it."""
    node = attrs.evolve(NODE, addresses=NODE.addresses[:1])
    with pytest.raises(ConfigError, match="node host-a has no IPv6 address on eth0"):
        list(dataplane.host(node))


@pytest.mark.parametrize(
    ("dataplane", "octets"),
    [(HostGateway(), (0, 0)), (Vxlan(), (50, 70)), (Ipip(), (20, 40)), (Bridge(), (0, 0))],
)
def test_the_overhead_is_what_the_devices_leave_room_for(dataplane: Any, octets: tuple[int, int]) -> None:
    """RFC 7348 s5, RFC 2003 s3.1, RFC 2473 s3."""
    assert (dataplane.overhead(4), dataplane.overhead(6)) == octets
    tunnels = [item for item in dataplane.host(NODE) if isinstance(item, Link) and item.name != "cn0"]
    assert [NODE.mtu - link.mtu for link in tunnels] == ([*octets] if tunnels else [])


def test_a_vteps_mac_is_the_nodes_own_for_ever() -> None:
    """Another process, another release, another subnet: the neighbours of all peers stay true."""
    told = Vxlan().tunnel(NODE)
    assert told.data == (("VNI", 1), ("VtepMAC", "8a:a9:68:a9:ca:19"))
    moved = attrs.evolve(NODE, subnets=(), addresses=())
    assert Vxlan().tunnel(moved) == Vxlan().tunnel(NODE)
    assert Vxlan().tunnel(attrs.evolve(NODE, name="host-b")) != Vxlan().tunnel(NODE)


def test_a_container_on_the_bridge() -> None:
    """A veth with hairpin; inside, both families and their default routes."""
    items = Bridge().endpoint(NODE, CONTAINER)
    assert words(items.host) == [
        "link vethec43057c07a address 1a:0e:72:c3:03:54 mtu 1500 up "
        "type veth peer name eth0 netns /run/netns/c1",
        "link vethec43057c07a master cn0 hairpin on",
    ]
    assert words(items.container) == [
        "address 10.4.1.2/24 dev eth0",
        "route 0.0.0.0/0 via 10.4.1.1 dev eth0",
        "address fd00:4:0:1::2/64 dev eth0",
        "route ::/0 via fd00:4:0:1::1 dev eth0",
    ]


def test_containers_leave_room_for_the_tunnel() -> None:
    """The MTU inside and of the bridge is what fits on the longest header."""
    node = attrs.evolve(NODE, overhead=70)
    links = [*Bridge().host(node), *Bridge().endpoint(node, CONTAINER).host]
    assert {link.mtu for link in links if isinstance(link, Link)} == {1430}


@pytest.mark.parametrize(
    ("cls", "options", "reason"),
    [
        (HostGateway, {"direct": True}, "[dataplane.host-gw] 'direct' is not an option; known are: none"),
        (Vxlan, {"vnl": 2}, "[dataplane.vxlan] 'vnl' is not an option; did you mean 'vni'?"),
        (Vxlan, {"vni": 0}, "[dataplane.vxlan] vni = 0: expected 1 to 16777215"),
        (Vxlan, {"vni": 1 << 24}, "[dataplane.vxlan] vni = 16777216: expected 1 to 16777215"),
        (Vxlan, {"vni": True}, "[dataplane.vxlan] vni = True: expected a whole number"),
        (Vxlan, {"port": 65536}, "[dataplane.vxlan] port = 65536: expected 1 to 65535"),
        (Ipip, {"direct": "yes"}, "[dataplane.ipip] direct = 'yes': expected true or false"),
        (Bridge, {"device": ""}, "[dataplane.bridge] device = '': not an interface name"),
        (Bridge, {"device": "cn 0"}, "[dataplane.bridge] device = 'cn 0': not an interface name"),
        (Bridge, {"uplink": "x" * 16}, "[dataplane.bridge] uplink = 'xxxxxxxxxxxxxxxx': not an interface name"),
        (Bridge, {"uplink": "cn0"}, "[dataplane.bridge] uplink cn0 is the bridge itself"),
    ],
)
def test_options_that_cannot_be(cls: Any, options: dict[str, object], reason: str) -> None:
    """Found when the dataplane is made, with table, key, value and what was expected."""
    with pytest.raises(ConfigError) as refusal:
        cls.from_options(options)
    assert str(refusal.value).startswith(reason)


def test_an_uplink_that_is_the_underlay_is_refused() -> None:
    """A port of a bridge cannot keep its addresses, and the host would be cut off."""
    with pytest.raises(ConfigError, match="uplink eth0 is also the underlay interface of node host-a"):
        list(Bridge(uplink="eth0").host(NODE))
