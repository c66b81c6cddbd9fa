"""The request for a new link says what was asked for: pyroute2, which knows every driver, reads it."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from hypothesis import example, given, strategies as st
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from containernet.items import Bridge, ExternalTunnel, IpTunnel, Link, Veth, Vxlan
from containernet.testing.strategies import MACS
from containernet_backends.netlink import constants as c, frames
from containernet_backends.netlink.new_links import new_link
from containernet_backends.netlink.ownership import PROTOCOL

LOWER, NETNS = 7, 11

names = st.sampled_from(["a", "veth0", "fifteen-letters"])
macs = st.sampled_from(["", *MACS])
addresses = st.integers(1, 2**32 - 1).map(IPv4Address) | st.integers(1, 2**128 - 1).map(IPv6Address)
kinds = st.one_of(
    st.just(Bridge()),
    st.builds(
        Vxlan, vni=st.integers(1, 2**24 - 1), local=addresses, port=st.integers(1, 65535), dev=st.just("eth0")
    ),
    st.integers(1, 2**32 - 1).map(lambda local: IpTunnel(local=IPv4Address(local))),
    st.just(ExternalTunnel()),
    st.builds(Veth, peer=names, peer_mac=macs),
)


@given(st.builds(Link, name=names, type=kinds, mac=macs, mtu=st.just(1500)), st.sampled_from([None, NETNS]))
@example(Link(name="v", type=Vxlan(vni=1, local=ip_address("2001:db8::1"), port=8472, dev="e"), mtu=1280), None)
def test_a_request_is_read_as_it_was_meant(link: Link, netns: int | None) -> None:
    """Name, MAC and group; the kind; and everything that only the driver knows."""
    found = read(new_link(link, lower=LOWER, netns=netns))
    driver = found.pop("IFLA_LINKINFO")
    assert found == named(link.name, link.mac)
    assert driver["IFLA_INFO_KIND"] == link.type.kind
    told = driver.get("IFLA_INFO_DATA", {})
    match link.type:
        case Bridge():
            assert told == {}
        case Vxlan(vni=vni, local=local, port=port):
            source = "IFLA_VXLAN_LOCAL" if local.version == 4 else "IFLA_VXLAN_LOCAL6"
            assert ip_address(told.pop(source)) == local
            assert told == {
                "IFLA_VXLAN_ID": vni,
                "IFLA_VXLAN_LINK": LOWER,
                "IFLA_VXLAN_PORT": port,
                "IFLA_VXLAN_LEARNING": 0,
            }
        case IpTunnel(local=local):
            assert told == {"IFLA_IPIP_LOCAL": str(local), "IFLA_IPIP_PMTUDISC": 0}
        case ExternalTunnel():
            assert list(told) == ["IFLA_IP6TNL_COLLECT_METADATA"]
        case Veth(peer=peer, peer_mac=mac):
            born_in = {} if netns is None else {"IFLA_NET_NS_FD": netns}
            assert told == {"VETH_INFO_PEER": named(peer, mac) | born_in}


def named(name: str, mac: str) -> dict[str, Any]:
    """Return what every link is told."""
    return {"IFLA_IFNAME": name, "IFLA_GROUP": PROTOCOL} | ({"IFLA_ADDRESS": mac} if mac else {})


def read(body: bytes) -> dict[str, Any]:
    """Return the attributes of a request, as pyroute2 understands them."""
    message = ifinfmsg(frames.message(c.RTM_NEWLINK, 0, 0, body))
    message.decode()
    return flat(message)


def flat(message: Any) -> dict[str, Any]:
    """Return nested attributes as nested dicts."""
    return {name: flat(value) if hasattr(value, "get_attrs") else value for name, value in message["attrs"]}
