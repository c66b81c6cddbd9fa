"""The request for a new link: what every link is told, and what only its driver knows (linux/if_link.h).

Pure: a link in, the body of an RTM_NEWLINK out. By hand, because a host makes its links before it does anything
else: pyroute2, which knows every driver, takes a tenth of a second and 13 megabytes to import. The tests let it
read what is written here.
"""

from __future__ import annotations

import struct

from containernet.items import Bridge, ExternalTunnel, IpTunnel, Link, LinkType, Veth, Vxlan

from . import constants as c
from .frames import attribute
from .ownership import PROTOCOL
from .wire import link_body


def new_link(link: Link, *, lower: int = 0, netns: int | None = None) -> bytes:
    """Return the body of the request.

    Args:
        lower: the index of the link that it sends through, if its kind has one.
        netns: a descriptor of the namespace that the far end of a veth is born in; None: this one.
    """
    parameters = _parameters(link.type, lower, netns)
    driver = attribute(c.IFLA_INFO_KIND, link.type.kind.encode())
    if parameters:
        driver += attribute(c.IFLA_INFO_DATA, parameters)
    return _named(link.name, link.mac) + attribute(c.IFLA_LINKINFO, driver)


def _named(name: str, mac: str) -> bytes:
    # Until it is finished and has our mark, its group says whose it is.
    group = attribute(c.IFLA_GROUP, _u32(PROTOCOL))
    address = attribute(c.IFLA_ADDRESS, bytes.fromhex(mac.replace(":", ""))) if mac else b""
    return link_body(name=name, attributes=group + address)


def _parameters(type: LinkType, lower: int, netns: int | None) -> bytes:
    match type:
        case Bridge():
            return b""
        case Vxlan(vni=vni, local=local, port=port):
            source = c.IFLA_VXLAN_LOCAL if local.version == 4 else c.IFLA_VXLAN_LOCAL6
            return (
                attribute(c.IFLA_VXLAN_ID, _u32(vni))
                + attribute(source, local.packed)
                + attribute(c.IFLA_VXLAN_LINK, _u32(lower))
                + attribute(c.IFLA_VXLAN_PORT, port.to_bytes(2, "big"))
                + attribute(c.IFLA_VXLAN_LEARNING, b"\0")
            )
        case IpTunnel(local=local):
            return attribute(c.IFLA_IPTUN_LOCAL, local.packed) + attribute(c.IFLA_IPTUN_PMTUDISC, b"\0")
        case ExternalTunnel():
            return attribute(c.IFLA_IPTUN_COLLECT_METADATA, b"")
        case Veth(peer=peer, peer_mac=mac):
            born_in = b"" if netns is None else attribute(c.IFLA_NET_NS_FD, _u32(netns))
            return attribute(c.VETH_INFO_PEER, _named(peer, mac) + born_in)


def _u32(value: int) -> bytes:
    return struct.pack("=I", value)
