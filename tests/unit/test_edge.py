"""The edge around a local dataplane, in operators' words."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network

import attrs
import pytest

from containernet.config import parse
from containernet.derive import link_local
from containernet.desired import Desired
from containernet.edge import Edge, EdgeOptions
from containernet.errors import ConfigError
from containernet.items import Sysctl
from containernet.model import Endpoint, Node, PortMapping
from containernet_backends.bridge import Bridge

NODE = Node(
    name="host-a",
    interface="eth0",
    addresses=(ip_interface("192.0.2.1/24"), ip_interface("2001:db8::1/64")),
    subnets=(ip_network("10.4.1.0/24"), ip_network("fd00:4:0:1::/64")),
    pools=(ip_network("10.4.0.0/16"), ip_network("fd00:4::/48")),
)
CONTAINER = Endpoint(
    container="c1",
    netns="/run/netns/c1",
    addresses=(ip_interface("10.4.1.2/24"), ip_interface("fd00:4:0:1::2/64")),
)
GUARD = (
    "guard bridge iifname vethec43057c07a ether saddr 5e:f4:82:3e:64:10 "
    "saddr { 10.4.1.2, fd00:4:0:1::2, fe80::5cf4:82ff:fe3e:6410 }"
)


def port(host_port: int, at: str = "", *, protocol: str = "tcp") -> PortMapping:
    """Return a port that leads to 80."""
    own = ip_address(at) if at else None
    return PortMapping(protocol=protocol, host_port=host_port, container_port=80, host_ip=own)


def added(edge: Edge, *ports: PortMapping) -> list[str]:
    """Return what the edge adds to a container of the bridge."""
    endpoint = attrs.evolve(CONTAINER, ports=ports)
    plain = {*edge.local.endpoint(NODE, endpoint).host}
    return [str(item) for item in edge.endpoint(NODE, endpoint).host if item not in plain]


@pytest.mark.parametrize(
    ("options", "pools"),
    [
        (EdgeOptions(), ["10.4.0.0/16"]),
        (EdgeOptions(masquerade6=True), ["10.4.0.0/16", "fd00:4::/48"]),
        (EdgeOptions(masquerade=False), []),
    ],
)
def test_a_host_masquerades_its_pools(options: EdgeOptions, pools: list[str]) -> None:
    """IPv6 by choice only. Nothing comes in from 127.0.0.0/8 as long as no container has a port."""
    plain = [str(item) for item in Bridge().host(NODE)]
    assert [str(item) for item in Edge(Bridge(), options).host(NODE)] == [
        *plain,
        "sysctl net/ipv4/conf/cn0/route_localnet=0",
        *(f"masquerade saddr {pool} daddr != {pool}" for pool in pools),
    ]


def test_a_host_has_chains_of_others_accept_its_pools() -> None:
    """Those of the chain's families."""
    options = EdgeOptions(masquerade=False, accept_in=["ip filter DOCKER-USER", "inet fw forward"])
    plain = {*Edge(Bridge(), EdgeOptions(masquerade=False)).host(NODE)}
    assert [str(item) for item in Edge(Bridge(), options).host(NODE) if item not in plain] == [
        f"forward {chain} saddr {pool} accept, daddr {pool} accept"
        for chain, pool in (
            ("ip filter DOCKER-USER", "10.4.0.0/16"),
            ("inet fw forward", "10.4.0.0/16"),
            ("inet fw forward", "fd00:4::/48"),
        )
    ]


def test_a_container_gets_a_guard_and_ports() -> None:
    """A port is one of each family; at an address, of that address's family."""
    assert added(Edge(Bridge())) == [GUARD]
    assert added(Edge(Bridge(), EdgeOptions(guard=False))) == []
    assert added(Edge(Bridge()), port(8080), port(53, "192.0.2.1", protocol="udp"), port(81, "::")) == [
        GUARD,
        "port tcp dport 8080 dnat to 10.4.1.2:80",
        "port tcp dport 8080 dnat to [fd00:4:0:1::2]:80",
        "port daddr 192.0.2.1 udp dport 53 dnat to 10.4.1.2:80",
        "port tcp dport 81 dnat to [fd00:4:0:1::2]:80",
        "masquerade ct status dnat saddr 10.4.1.0/24 daddr 10.4.1.0/24",
        "masquerade ct status dnat saddr fd00:4:0:1::/64 daddr fd00:4:0:1::/64",
        "sysctl net/ipv4/conf/cn0/route_localnet=1",
    ]


def test_localhost_is_open_as_long_as_a_container_has_a_port() -> None:
    """Two containers may want it; with the last of them it ends, although a setting is never unset."""
    edge, wanted = Edge(Bridge()), Desired()
    wanted.put(("host",), edge.host(NODE))
    endpoint = attrs.evolve(CONTAINER, ports=[port(8080)])

    def setting() -> str:
        item = wanted["sysctl", "net/ipv4/conf/cn0/route_localnet"]
        assert isinstance(item, Sysctl)
        return item.value

    seen = [setting()]
    for container, ports in (("a", [port(1)]), ("b", [port(2)]), ("a", []), ("b", [])):
        other = attrs.evolve(endpoint, container=container, ports=ports)
        wanted.put(("endpoint", container, "eth0"), edge.endpoint(NODE, other).host)
        seen.append(setting())
    assert seen == ["0", "1", "1", "1", "0"]


def test_a_link_local_address_is_the_one_that_linux_gives() -> None:
    """RFC 4291 appendix A: the universal bit is turned, ff:fe stands in the middle."""
    assert str(link_local("02:00:5e:10:00:02")) == "fe80::5eff:fe10:2"


def test_the_config_file_says_what_the_edge_does() -> None:
    """Under [dataplane], beside the names; a wrong word names the nearest."""
    assert parse({}).edge == EdgeOptions(masquerade=True, masquerade6=False, guard=True)
    table = {"masquerade": False, "masquerade6": True, "guard": False, "local": "bridge"}
    assert parse({"dataplane": table}).edge == EdgeOptions(masquerade=False, masquerade6=True, guard=False)
    with pytest.raises(ConfigError, match="masquerade = 'yes': expected"):
        parse({"dataplane": {"masquerade": "yes"}})
    with pytest.raises(ConfigError, match="did you mean 'masquerade'"):
        parse({"dataplane": {"masquerad": True}})


@pytest.mark.parametrize(
    "chain", ["DOCKER-USER", "bridge filter FORWARD", "ip filter a b", "ip filter {}", "ip filter x; flush", 7]
)
def test_what_is_no_chain_is_refused(chain: object) -> None:
    """With what was expected; nothing of it ever gets to nft."""
    assert parse({"dataplane": {"accept_in": ["ip filter DOCKER-USER"]}}).edge.accept_in
    with pytest.raises(ConfigError, match=r"\[dataplane\] accept_in: .* is not a chain .*: expected family"):
        parse({"dataplane": {"accept_in": [chain]}})
