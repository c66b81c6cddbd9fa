"""routed: a container hangs on its host by a cable alone, with a route of its own and a gateway that is told.

The container has its address with nothing on link, so it hands every packet to its gateway; the host has a
route to it, over its own veth. There is no wire that two containers share, so none hears another's ARP or
neighbour discovery, and the host decides on every packet.

    ip link add veth0123456789a type veth peer name eth0 netns c1
    ip route add 10.4.1.2/32 dev veth0123456789a
    ip neighbour add 10.4.1.2 lladdr MAC dev veth0123456789a nud permanent
    ip -n c1 address add 10.4.1.2/32 dev eth0
    ip -n c1 neighbour add 169.254.1.1 lladdr MAC dev eth0 nud permanent
    ip -n c1 route add default via 169.254.1.1 dev eth0 onlink

The gateway of IPv4, 169.254.1.1, is nobody's address, only what the far end of the cable is called; that of
IPv6 is the link-local address that the veth has by its MAC. Both as on Calico's hosts, which answer for the
former by proxy ARP. Here each end is told the other's MAC, so nothing is asked, and the first packet does not
wait. Who asks all the same is answered; for 169.254.1.1 by proxy ARP too, if the host has a default route.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_address, ip_interface, ip_network
from typing import Self

import attrs

from containernet import derive
from containernet.contracts import EndpointItems
from containernet.items import InterfaceAddress, Item, KernelRoute, Link, Neighbour, Sysctl, Veth
from containernet.model import Endpoint, Node
from containernet.options import build
from containernet.reach import require_underlay
from containernet.values import shown

from .bridge import DEFAULT_ROUTE, FORWARDING, metric

GATEWAY = ip_address("169.254.1.1")


@attrs.frozen(kw_only=True)
class Routed:
    """The dataplane `routed`, for containers on their host; it has no options."""

    __repr__ = shown

    @classmethod
    def from_options(cls, options: Mapping[str, object]) -> Self:
        """Build it from [dataplane.routed], which is empty."""
        return build(cls, options, table="dataplane.routed")

    def host(self, node: Node) -> Iterable[Item]:
        """Forwarding switched on."""
        require_underlay(node, {4: node.overhead, 6: node.overhead})
        return [Sysctl(name=FORWARDING[subnet.version], value="1") for subnet in node.subnets]

    def endpoint(self, node: Node, endpoint: Endpoint) -> EndpointItems:
        """A veth, and on both sides a route by it and the MAC of its other end."""
        names = (node.name, endpoint.container, endpoint.interface)
        veth = derive.interface_name("veth", endpoint.container, endpoint.interface)
        near, far = derive.mac("veth", *names), derive.endpoint_mac(node, endpoint)
        kind = Veth(peer=endpoint.interface, peer_netns=endpoint.netns, peer_mac=far)
        host: list[Item] = [Link(name=veth, type=kind, mac=near, mtu=node.container_mtu)]
        inside: list[Item] = []
        for own in endpoint.addresses:
            address, version = own.ip, own.version
            gateway = GATEWAY if version == 4 else derive.link_local(near)
            if version == 4:
                host.append(Sysctl(name=f"net/ipv4/conf/{veth}/proxy_arp", value="1", link=veth))
            host.append(Neighbour(link=veth, address=address, mac=far))
            host.append(KernelRoute(destination=ip_network(address), link=veth))
            inside.append(InterfaceAddress(link=endpoint.interface, address=ip_interface(address)))
            inside.append(Neighbour(link=endpoint.interface, address=gateway, mac=near))
            inside.append(
                KernelRoute(
                    destination=DEFAULT_ROUTE[version],
                    gateway=gateway,
                    onlink=True,
                    link=endpoint.interface,
                    metric=metric(endpoint.interface),
                )
            )
        return EndpointItems(host=tuple(host), container=tuple(inside))
