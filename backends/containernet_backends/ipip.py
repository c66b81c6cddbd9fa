"""ipip: IP in IP (RFC 2003, RFC 2473), one device per family for all peers, one route per peer.

The device adds one IP header and nothing else. It has no table of its own: the route that sends a packet there
says where the outer header goes. For IPv4 the outer destination is the route's gateway, the peer's underlay
address, taken as on link; that is flannel's and Calico's shape. IPv6 refuses such a gateway where the underlay
has a route of its own to it, so there the route carries the outer header itself. On the wire both are one
header of the packet's own family.

    ip link add ipip.4 type ipip local 192.0.2.1 remote any ttl inherit nopmtudisc
    ip route add 10.4.2.0/24 via 192.0.2.2 dev ipip.4 onlink

    ip link add ipip.6 type ip6tnl external
    ip route add fd00:4:0:2::/64 encap ip6 src 2001:db8::1 dst 2001:db8::2 dev ipip.6
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import Self

import attrs

from containernet.items import ExternalTunnel, IpEncap, IpTunnel, Item, KernelRoute, Link
from containernet.model import Node, Route, Tunnel
from containernet.options import build
from containernet.reach import check_next_hop_family, check_tunnel_type, require_underlay, underlay_address
from containernet.values import shown

from .host_gw import direct_route
from .vxlan import tunnel_address

# One more IP header: RFC 2003 s3.1 (IPv4), RFC 2473 s3 (IPv6, without the encapsulation limit option).
OVERHEAD = {4: 20, 6: 40}


@attrs.frozen(kw_only=True)
class Ipip:
    """The dataplane `ipip`.

    Args:
        direct: send a peer that is on link plain packets, without the tunnel (Calico's CrossSubnet).
    """

    direct: bool = False
    __repr__ = shown

    @classmethod
    def from_options(cls, options: Mapping[str, object]) -> Self:
        """Build it from [dataplane.ipip]."""
        return build(cls, options, table="dataplane.ipip")

    def overhead(self, version: int) -> int:
        """20 octets over IPv4, 40 over IPv6."""
        return OVERHEAD[version]

    def tunnel(self, node: Node) -> Tunnel:
        """A peer needs to know nothing but the next hop."""
        return Tunnel(type="ipip")

    def host(self, node: Node) -> Iterable[Item]:
        """One device for each family, with the node's own address on it."""
        require_underlay(node, OVERHEAD)
        for subnet in node.subnets:
            local = underlay_address(node, subnet.version)
            yield Link(
                name=_device(subnet.version),
                type=IpTunnel(local=local) if isinstance(local, IPv4Address) else ExternalTunnel(),
                mtu=node.mtu - OVERHEAD[subnet.version],
            )
            yield tunnel_address(_device(subnet.version), subnet)

    def peer(self, node: Node, route: Route) -> Iterable[Item]:
        """One route into the tunnel; or, `direct` and on link, a plain one."""
        check_tunnel_type(route, "ipip")
        if self.direct and node.on_link(route.next_hop):
            return (direct_route(node, route),)
        check_next_hop_family(route, "ipip")
        link = _device(route.prefix.version)
        own = underlay_address(node, route.prefix.version)
        if isinstance(route.next_hop, IPv6Address) and isinstance(own, IPv6Address):
            encap = IpEncap(source=own, destination=route.next_hop)
            return (KernelRoute(destination=route.prefix, encap=encap, link=link),)
        return (KernelRoute(destination=route.prefix, gateway=route.next_hop, link=link, onlink=True),)


def _device(version: int) -> str:
    return f"ipip.{version}"
