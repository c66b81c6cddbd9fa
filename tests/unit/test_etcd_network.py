"""flannel's config in etcd, to the letter: its defaults, its bounds, its backends."""

from __future__ import annotations

import json
from collections.abc import Mapping
from ipaddress import ip_network

import pytest

from containernet.contracts import Settings
from containernet.errors import ConfigError
from containernet.model import NetworkConfig, Pool
from containernet_backends.etcd import network


def config(**fields: object) -> bytes:
    """Return a config's text."""
    return json.dumps(fields).encode()


def pool(prefix: str, length: int, first: str, last: str, *reserved: str) -> Pool:
    """Return a pool from text."""
    return Pool(
        prefix=ip_network(prefix),
        subnet_length=length,
        first=ip_network(f"{first}/{length}"),
        last=ip_network(f"{last}/{length}"),
        reserved=tuple(map(ip_network, reserved)),
    )


@pytest.mark.parametrize(
    ("text", "pools"),
    [
        (b'{ "network": "10.3.0.0/16" }', [pool("10.3.0.0/16", 24, "10.3.1.0", "10.3.255.0")]),
        (
            b'{ "enableIPv6": true, "ipv6Network": "fc00::/48", "enableIPv4": false }',
            [pool("fc00::/48", 64, "fc00:0:0:1::", "fc00:0:0:ffff::")],
        ),
        (
            b'{ "Network": "10.3.0.0/16", "SubnetMin": "10.3.5.0", "SubnetMax": "10.3.8.0", "SubnetLen": 28 }',
            [pool("10.3.0.0/16", 28, "10.3.5.0", "10.3.8.0")],
        ),
        (
            b'{ "EnableIPv6": true, "IPv6Network": "fc00::/48", "IPv6SubnetMin": "fc00:0:0:1::", '
            b'"IPv6SubnetMax": "fc00:0:0:f::", "IPv6SubnetLen": 124, "enableIPv4": false }',
            [pool("fc00::/48", 124, "fc00:0:0:1::", "fc00:0:0:f::")],
        ),
        (
            b'{"Network":"10.0.0.0/8","SubnetLen":20,"SubnetMin":"10.10.0.0","SubnetMax":"10.99.0.0",'
            b'"Backend":{"Type":"udp","Port":7890}}',
            [pool("10.0.0.0/8", 20, "10.10.0.0", "10.99.0.0")],
        ),
        (
            b'{"Network":"10.3.0.0/16","EnableIPv6":true,"IPv6Network":"fc00::/48"}',
            [
                pool("10.3.0.0/16", 24, "10.3.1.0", "10.3.255.0"),
                pool("fc00::/48", 64, "fc00:0:0:1::", "fc00:0:0:ffff::"),
            ],
        ),
        (config(Network="10.3.0.0/22"), [pool("10.3.0.0/22", 24, "10.3.1.0", "10.3.3.0")]),
        (config(Network="10.3.0.0/23"), [pool("10.3.0.0/23", 25, "10.3.0.128", "10.3.1.128")]),
        (config(Network="10.3.0.0/28"), [pool("10.3.0.0/28", 30, "10.3.0.4", "10.3.0.12")]),
        (config(Network="255.0.0.0/8"), [pool("255.0.0.0/8", 24, "255.0.1.0", "255.255.255.0")]),
        (config(Network="10.3.7.9/16"), [pool("10.3.0.0/16", 24, "10.3.1.0", "10.3.255.0")]),
        (
            config(Network="10.3.0.0/16", SubnetMin="0.0.0.0", SubnetLen=0, Backend=None, IPv6SubnetMin=None),
            [pool("10.3.0.0/16", 24, "10.3.1.0", "10.3.255.0")],
        ),
        (
            config(Network="10.3.0.0/16", SubnetMin="10.3.0.0", Reserved=["10.3.9.0/24", "10.3.77.0/26"]),
            [pool("10.3.0.0/16", 24, "10.3.0.0", "10.3.255.0", "10.3.9.0/24", "10.3.77.0/26")],
        ),
        (config(Network="10.3.0.0/16", IPv6Network=7, EnableNFTables="x", Reserved=None), None),
    ],
)
def test_flannels_config(text: bytes, pools: list[Pool] | None) -> None:
    """The second subnet to the last, /24 or a quarter of the network: as flannel's own tests and pages say."""
    pools = [pool("10.3.0.0/16", 24, "10.3.1.0", "10.3.255.0")] if pools is None else pools
    assert network.decode(text).network == NetworkConfig(pools=tuple(pools))


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, "Network is missing"),
        ({"EnableIPv4": False}, "both false"),
        ({"EnableIPv4": 1, "Network": "10.3.0.0/16"}, "EnableIPv4 = 1: expected true or false"),
        ({"EnableIPv6": True, "Network": "10.3.0.0/16"}, "IPv6Network is missing"),
        ({"Network": "10.3.0.0"}, "Network = '10.3.0.0'"),
        ({"Network": "10.3.0.0/255.255.0.0"}, "Network = "),
        ({"Network": "fd00::/48"}, "expected an IPv4 prefix"),
        ({"Network": 7}, "Network = 7: expected text"),
        ({"Network": "0.0.0.0/0"}, "length 0"),
        ({"Network": "10.3.0.0/29"}, "28 at most"),
        ({"Network": "10.3.0.0/29", "SubnetLen": 30}, "28 at most"),
        ({"Network": "10.3.0.0/16", "SubnetLen": 17}, "SubnetLen = 17: flannel demands 18 to 30"),
        ({"Network": "10.3.0.0/16", "SubnetLen": 31}, "SubnetLen = 31: flannel demands 18 to 30"),
        ({"Network": "10.3.0.0/16", "SubnetLen": -1}, "SubnetLen = -1"),
        ({"Network": "10.3.0.0/16", "SubnetLen": 24.0}, "SubnetLen = 24.0: expected a whole number"),
        ({"Network": "10.3.0.0/16", "SubnetLen": True}, "SubnetLen = True"),
        ({"Network": "10.3.0.0/16", "SubnetMin": "10.4.0.0"}, "SubnetMin = '10.4.0.0'"),
        ({"Network": "10.3.0.0/16", "SubnetMax": "10.3.9.1"}, "first address of a /24"),
        ({"Network": "10.3.0.0/16", "SubnetMax": "fd00::"}, "SubnetMax = 'fd00::'"),
        (
            {"Network": "10.3.0.0/16", "SubnetMax": "10.3.0.0"},
            "SubnetMin 10.3.1.0 lies behind SubnetMax 10.3.0.0",
        ),
        ({"Network": "10.3.0.0/16", "Reserved": "10.3.9.0/24"}, "Reserved = '10.3.9.0/24': expected a list"),
        ({"Network": "10.3.0.0/16", "Reserved": ["10.3.9.1/24"]}, "Reserved has '10.3.9.1/24'"),
        ({"Network": "10.3.0.0/16", "Reserved": [7]}, "Reserved has 7"),
        ({"Network": "10.3.0.0/16", "Reserved": ["fd00::/64"]}, "IPv6 is not enabled"),
        ({"EnableIPv4": False, "EnableIPv6": True, "IPv6Network": "fc00::/125"}, "124 at most"),
        ({"EnableIPv4": False, "EnableIPv6": True, "IPv6Network": "::ffff:0:0/100"}, "IPv4 inside IPv6"),
        ({"EnableIPv4": False, "EnableIPv6": True, "IPv6Network": "fe80::%eth0/64"}, "zone"),
        (
            {"EnableIPv4": False, "EnableIPv6": True, "IPv6Network": "fc00::/48", "IPv6SubnetLen": 127},
            "50 to 126",
        ),
    ],
)
def test_what_flannel_refuses(fields: dict[str, object], says: str) -> None:
    """With the name of the key, its value, and what was expected."""
    with pytest.raises(ConfigError) as refused:
        network.decode(config(**fields))
    assert says in str(refused.value)


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"null", b"\xff", b'{"a":' * 60000, b" " * (1 << 20) + b"{}"]
)
def test_no_config(text: bytes) -> None:
    """Junk is refused, however large."""
    with pytest.raises(ConfigError, match="is not flannel's config"):
        network.decode(text)


@pytest.mark.parametrize(
    ("backend", "name", "options", "mtu"),
    [
        ({"Type": "vxlan"}, "vxlan", {}, 0),
        ({"type": "VXLAN", "vni": 42, "port": 4789}, "vxlan", {"vni": 42, "port": 4789}, 0),
        (
            {"Type": "vxlan", "DirectRouting": True, "MTU": 1400, "GBP": False, "Learning": False},
            "vxlan",
            {"direct": True},
            1400,
        ),
        ({"Type": "vxlan", "Port": 0, "MTU": 0, "MacPrefix": "0E-2A"}, "vxlan", {}, 0),
        ({"Type": "host-gw", "DirectRouting": True}, "host-gw", {}, 0),
        ({"Type": "ipip", "DirectRouting": False, "GBP": True}, "ipip", {"direct": False}, 0),
        ({"Type": "standby", "peer": 3}, "standby", {"peer": 3}, 0),
        (None, "", {}, 0),
    ],
)
def test_backends(
    backend: Mapping[str, object] | None, name: str, options: Mapping[str, object], mtu: int
) -> None:
    """Its words for our options; what an option's range is, the dataplane itself says."""
    stored = network.decode(config(Network="10.3.0.0/16", Backend=backend))
    assert (stored.dataplane, stored.options, stored.mtu) == (name, options, mtu)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"Backend": {}}, "Backend has no Type"),
        ({"Backend": {"Type": 7}}, "Type = 7: expected text"),
        ({"Backend": "vxlan"}, "Backend = 'vxlan': expected an object"),
        ({"Backend": {"Type": "vxlan", "GBP": True}}, "Backend GBP = True"),
        ({"Backend": {"Type": "vxlan", "Learning": True}}, "learns none"),
        ({"Backend": {"Type": "vxlan", "VNI": "1"}}, "Backend VNI = '1': expected a whole number"),
        ({"Backend": {"Type": "vxlan", "Port": False}}, "Backend Port = False"),
    ],
)
def test_a_backend_that_cannot_be_followed(fields: dict[str, object], says: str) -> None:
    """With the key and the value."""
    with pytest.raises(ConfigError) as refused:
        network.decode(config(Network="10.3.0.0/16", **fields))
    assert says in str(refused.value)


NETWORK = NetworkConfig(
    pools=(
        pool("10.4.0.0/16", 24, "10.4.3.0", "10.4.200.0", "10.4.9.0/26"),
        pool("fd00:4::/48", 64, "fd00:4::", "fd00:4:0:ffff::"),
    )
)


def test_written() -> None:
    """Every field that flannel has, so that nothing depends on its defaults; `Reserved` is ours."""
    assert network.encode(
        Settings(network=NETWORK, dataplane="vxlan", options={"vni": 7, "direct": True}, mtu=1400)
    ) == (
        b'{"EnableIPv4":true,"EnableIPv6":true,"Network":"10.4.0.0/16","SubnetLen":24,"SubnetMin":"10.4.3.0",'
        b'"SubnetMax":"10.4.200.0","IPv6Network":"fd00:4::/48","IPv6SubnetLen":64,"IPv6SubnetMin":"fd00:4::",'
        b'"IPv6SubnetMax":"fd00:4:0:ffff::","Reserved":["10.4.9.0/26"],'
        b'"Backend":{"Type":"vxlan","VNI":7,"DirectRouting":true,"MTU":1400}}'
    )


@pytest.mark.parametrize(
    ("refused_pool", "says"),
    [
        (pool("10.4.0.0/23", 24, "10.4.0.0", "10.4.1.0"), "SubnetLen = 24: flannel demands 25 to 30"),
        (pool("10.4.0.0/29", 30, "10.4.0.0", "10.4.0.4"), "28 at most"),
        (pool("0.0.0.0/8", 24, "0.0.0.0", "0.255.255.0"), "flannel takes 0.0.0.0 for no address"),
        (pool("::/48", 64, "::", "::"), "flannel takes :: for no address"),
        (pool("::ffff:0:0/96", 100, "::ffff:0:0", "::ffff:0:0"), "IPv4 inside IPv6"),
    ],
)
def test_what_flannel_could_not_read_is_not_written(refused_pool: Pool, says: str) -> None:
    """With the values, and what flannel demands."""
    with pytest.raises(ConfigError) as refused:
        network.encode(Settings(network=NetworkConfig(pools=(refused_pool,))))
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("dataplane", "says"),
    [
        (("host-gw", {"direct": True}), "[dataplane.host-gw] direct = True: flannel has no word for it"),
        (("vxlan", {"vni": "7"}), "[dataplane.vxlan] vni = '7': expected a whole number"),
        (("vxlan", {"vni": 10**5000}), "digits"),
        (("ipip", {"direct": 1}), "[dataplane.ipip] direct = 1: expected true or false"),
    ],
    ids=["no word", "text", "digits", "number"],
)
def test_options_that_flannel_does_not_have(dataplane: tuple[str, Mapping[str, object]], says: str) -> None:
    """All its hosts would stop at their next start."""
    with pytest.raises(ConfigError) as refused:
        network.encode(Settings(network=NETWORK, dataplane=dataplane[0], options=dataplane[1]))
    assert says in str(refused.value)
