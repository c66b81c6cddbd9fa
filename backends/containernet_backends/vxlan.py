"""vxlan: Ethernet in UDP (RFC 7348), one device per underlay family, three kernel items per peer.

The device never learns and never floods. Everything that it would have to ask is told to it: a route says that
a peer's subnet lies behind the peer's own VTEP address (the subnet's first address, taken as on link), a
neighbour says which MAC that address has, an fdb entry says behind which underlay address that MAC lives.

    ip link add vxlan.1 type vxlan id 1 local 192.0.2.1 dev eth0 dstport 8472 nolearning
    ip route add 10.4.2.0/24 via 10.4.2.0 dev vxlan.1 onlink
    ip neighbour add 10.4.2.0 lladdr 02:... dev vxlan.1 nud permanent
    bridge fdb add 02:... dev vxlan.1 dst 192.0.2.2 self permanent

The shapes are flannel's, so that a flannel host is a peer like any other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from ipaddress import ip_interface
from typing import Self

import attrs

from containernet import derive
from containernet.errors import RouteRefused
from containernet.items import (
    FdbEntry,
    InterfaceAddress,
    Item,
    KernelRoute,
    Link,
    Neighbour,
    Sysctl,
    Vxlan as VxlanType,
)
from containernet.model import Node, Prefix, Route, Scalar, Tunnel
from containernet.options import between, build
from containernet.reach import check_next_hop_family, check_tunnel_type, require_underlay, underlay_address
from containernet.values import shown

from .host_gw import direct_route

# Outer IP (20 or 40) + UDP 8 + VXLAN 8 + inner Ethernet 14 octets: RFC 7348 s5.
OVERHEAD = {4: 50, 6: 70}

# Of one station: the lowest bit of the first octet marks a group (IEEE 802 s8.2).
_STATION = re.compile(r"[0-9a-f][02468ace](:[0-9a-f]{2}){5}")


def tunnel_address(link: str, subnet: Prefix) -> InterfaceAddress:
    """Return the host's own address on a tunnel device: the subnet's first, with nothing on link."""
    return InterfaceAddress(link=link, address=ip_interface((subnet.network_address, subnet.max_prefixlen)))


@attrs.frozen(kw_only=True)
class Vxlan:
    """The dataplane `vxlan`.

    Args:
        vni: VXLAN network identifier, 1 to 16777215 (24 bits, RFC 7348 s5). flannel before 0.21 reads 16 bits.
        port: outer UDP destination port, 1 to 65535; 8472 is Linux's and flannel's, 4789 IANA's.
        direct: send a peer that is on link plain packets, without the tunnel (flannel's DirectRouting).
    """

    vni: int = attrs.field(default=1, validator=between(1, 2**24 - 1))
    port: int = attrs.field(default=8472, validator=between(1, 65535))
    direct: bool = False
    __repr__ = shown

    @classmethod
    def from_options(cls, options: Mapping[str, object]) -> Self:
        """Build it from [dataplane.vxlan]."""
        return build(cls, options, table="dataplane.vxlan")

    def overhead(self, version: int) -> int:
        """50 octets over IPv4, 70 over IPv6."""
        return OVERHEAD[version]

    def tunnel(self, node: Node) -> Tunnel:
        """A peer needs the VNI and the MAC of our device: flannel's BackendData."""
        data: dict[str, Scalar] = {"VNI": self.vni, "VtepMAC": _vtep_mac(node)}
        return Tunnel(type="vxlan", data=data)

    def host(self, node: Node) -> Iterable[Item]:
        """One device for each family, with the node's own address on it."""
        require_underlay(node, OVERHEAD)
        for subnet in node.subnets:
            name = self._device(subnet.version)
            yield Link(
                name=name,
                type=VxlanType(
                    vni=self.vni,
                    local=underlay_address(node, subnet.version),
                    port=self.port,
                    dev=node.interface,
                ),
                mac=_vtep_mac(node),
                mtu=node.mtu - OVERHEAD[subnet.version],
            )
            yield tunnel_address(name, subnet)
            if subnet.version == 6:
                yield Sysctl(name=f"net/ipv6/conf/{name}/accept_ra", value="0", link=name)

    def peer(self, node: Node, route: Route) -> Iterable[Item]:
        """A route, a neighbour and an fdb entry; or, `direct` and on link, a plain route."""
        check_tunnel_type(route, "vxlan")
        if self.direct and node.on_link(route.next_hop):
            return (direct_route(node, route),)
        check_next_hop_family(route, "vxlan")
        mac = self._peer_mac(route)
        link = self._device(route.prefix.version)
        gateway = route.prefix.network_address
        return (
            FdbEntry(link=link, mac=mac, destination=route.next_hop),
            Neighbour(link=link, address=gateway, mac=mac),
            KernelRoute(destination=route.prefix, gateway=gateway, link=link, onlink=True),
        )

    def _device(self, version: int) -> str:
        return f"vxlan.{self.vni}" if version == 4 else f"vxlan6.{self.vni}"

    def _peer_mac(self, route: Route) -> str:
        who = route.node or str(route.next_hop)
        vni = route.tunnel.get("VNI")
        if vni is not None and vni != self.vni:
            raise RouteRefused(
                f"vxlan cannot reach {route.prefix}: {who} uses VNI {vni}, this host {self.vni}; "
                "set the same vni under [dataplane.vxlan] on both"
            )
        told = str(route.tunnel.get("VtepMAC") or "")
        found = _STATION.fullmatch(told) or _STATION.fullmatch(told.lower())
        if found is None or found.string == "00:00:00:00:00:00":
            raise RouteRefused(
                f"vxlan cannot reach {route.prefix}: {who} announced VtepMAC {told.lower()!r}, expected a "
                "unicast MAC address such as 02:00:5e:10:00:01; look at what that host announces"
            )
        return found.string  # mostly the very text that was told: one in memory, not two


def _vtep_mac(node: Node) -> str:
    return derive.mac("vtep", node.name)
