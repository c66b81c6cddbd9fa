"""The judge reckons with numbers; what it should say, said by `ipaddress`, slowly."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address, ip_interface, ip_network

from hypothesis import event, given, strategies as st

from containernet.judging import Judge
from containernet.model import Address, NetworkConfig, Node, Pool, Prefix, Route, overlaps

FOUR = Pool(prefix=ip_network("10.4.0.0/20"), subnet_length=24)
SIX = Pool(prefix=ip_network("fd00:4::/60"), subnet_length=64)
UNDERLAY = (ip_interface("192.0.2.1/24"), ip_interface("2001:db8::1/64"))

networks = st.sampled_from([(FOUR,), (SIX,), (FOUR, SIX)]).map(lambda pools: NetworkConfig(pools=pools))
prefixes = st.sampled_from(
    [
        *(ip_network(f"10.4.{third}.0/{length}") for third in (0, 2, 15, 16) for length in (24, 25)),
        *map(ip_network, ("10.4.0.0/20", "10.0.0.0/8", "0.0.0.0/0", "::/0", "fd00:4::/60", "fd00:4::/62")),
        *(ip_network(f"fd00:4:0:{fourth}::/{length}") for fourth in ("0", "f", "10") for length in (64, 65)),
    ]
)
HOPS = """
    0.0.0.0 127.0.0.1 127.255.255.255 128.0.0.0 223.255.255.255 224.0.0.0 240.0.0.0 255.255.255.254
    255.255.255.255 192.0.2.1 192.0.2.2 10.4.0.0 10.4.15.255 10.4.16.0
    :: ::1 ::2 ff00:: feff:: fd00:4::9 fd00:4:0:10:: 2001:db8::1 2001:db8::2
    ::fffe:ffff:ffff ::ffff:0:0 ::ffff:192.0.2.2 ::ffff:255.255.255.255 ::1:0:0:0
"""
hops = st.sampled_from(HOPS.split()).map(ip_address) | st.ip_addresses()
subnets = st.sampled_from([(), (ip_network("10.4.2.0/24"),), (ip_network("fd00:4:0:f::/64"),)])


def is_nobody(hop: Address) -> bool:
    """Return whether no host has that address."""
    return (
        hop.is_multicast
        or hop.is_loopback
        or hop.is_unspecified
        or (isinstance(hop, IPv6Address) and hop.ipv4_mapped is not None)
        or hop == ip_address(b"\xff" * len(hop.packed))
    )


def lies_in(prefix: Prefix, pool: Pool) -> bool:
    """Return whether a pool could give that prefix to a node."""
    return (
        prefix.version == pool.version
        and pool.prefix.supernet_of(prefix)  # type: ignore[arg-type]
        and prefix.prefixlen == pool.subnet_length
    )


@given(networks, subnets, prefixes, hops)
def test_a_route_is_believed_if_it_makes_sense(
    network: NetworkConfig, own: tuple[Prefix, ...], prefix: Prefix, hop: Address
) -> None:
    """A subnet of the pool, not ours, behind another host that is none of its containers."""
    node = Node(name="me", interface="eth0", addresses=UNDERLAY, subnets=own)
    makes_sense = (
        any(lies_in(prefix, pool) for pool in network.pools)
        and not any(overlaps(prefix, each) for each in own)
        and hop.version >= prefix.version
        and not is_nobody(hop)
        and hop not in [each.ip for each in UNDERLAY]
        and not any(hop in pool.prefix for pool in network.pools)
    )
    found = Judge(network, node).refusal(Route(prefix=prefix, node="a", next_hop=hop))
    event("believed" if found is None else found.split(" ")[-1])
    assert (found is None) == makes_sense, found
