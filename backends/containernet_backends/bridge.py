"""bridge: how a container hangs on its host; with an uplink, also how hosts reach each other.

Local side: one bridge holds the first address of the node's subnet, and every container has a veth on it, an
address of the subnet and a default route through the bridge.

    ip link add cn0 type bridge && ip address add 10.4.1.1/24 dev cn0
    ip link add veth0123456789a type veth peer name eth0 netns c1
    ip link set veth0123456789a master cn0 type bridge_slave hairpin on
    ip -n c1 address add 10.4.1.2/24 dev eth0 && ip -n c1 route add default via 10.4.1.1 dev eth0

Remote side, with `uplink`: a second NIC of the host is a port of the bridge, so all containers of all hosts
are on one L2 network. A peer's subnet is then on link at our bridge: the host asks for the container's own MAC.

    ip link set eth1 master cn0
    ip route add 10.4.2.0/24 dev cn0

The bridge's MAC is derived from the node's name. Left alone it would be the lowest MAC of its ports, and change
whenever a container comes or goes, which costs every neighbour a timeout.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Mapping
from ipaddress import ip_network
from typing import Self

import attrs

from containernet import derive
from containernet.addresses import bridge_address
from containernet.contracts import EndpointItems
from containernet.errors import ConfigError, RouteRefused
from containernet.items import (
    Bridge as BridgeType,
    BridgePort,
    InterfaceAddress,
    Item,
    KernelRoute,
    Link,
    Sysctl,
    Veth,
)
from containernet.model import Endpoint, Node, Route, Tunnel
from containernet.options import build
from containernet.reach import check_tunnel_type, require_underlay
from containernet.values import shown

FORWARDING = {4: "net/ipv4/ip_forward", 6: "net/ipv6/conf/all/forwarding"}
DEFAULT_ROUTE = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}


def _check_device(instance: object, attribute: attrs.Attribute[str], value: str) -> None:
    if not value and attribute.name == "uplink":
        return
    # dev_valid_name() in the kernel's net/core/dev.c
    if not 0 < len(value.encode()) < 16 or value in {".", ".."} or re.search(r"[/:\s]", value):
        raise ConfigError(
            f"{attribute.name} = {value!r}: not an interface name (1 to 15 bytes, no '/', ':' or white space)"
        )


@attrs.frozen(kw_only=True)
class Bridge:
    """The dataplane `bridge`, for containers on their host and, with an uplink, for hosts on one L2 network.

    Args:
        device: the bridge's name.
        uplink: a NIC of the host without addresses, to be made a port of the bridge; empty: none.
    """

    device: str = attrs.field(default="cn0", validator=_check_device)
    uplink: str = attrs.field(default="", validator=_check_device)
    __repr__ = shown

    def __attrs_post_init__(self) -> None:
        if self.uplink == self.device:
            raise ConfigError(
                f"uplink {self.uplink} is the bridge itself: name a NIC of the host, or leave it out"
            )

    @classmethod
    def from_options(cls, options: Mapping[str, object]) -> Self:
        """Build it from [dataplane.bridge]."""
        return build(cls, options, table="dataplane.bridge")

    def overhead(self, version: int) -> int:
        """No octet is added."""
        return 0

    def tunnel(self, node: Node) -> Tunnel:
        """A peer needs to know nothing: it asks for each container on the wire."""
        return Tunnel(type="bridge")

    def host(self, node: Node) -> Iterable[Item]:
        """The bridge with its addresses, forwarding switched on, and the uplink's membership."""
        require_underlay(node, {4: node.overhead, 6: node.overhead})
        if self.uplink and self.uplink == node.interface:
            raise ConfigError(
                f"uplink {self.uplink} is also the underlay interface of node {node.name}: a port of a bridge "
                "cannot keep its addresses; give the bridge a NIC of its own (a VLAN such as eth0.100 will do)"
            )
        yield Link(
            name=self.device,
            type=BridgeType(),
            mac=derive.mac("bridge", node.name),
            mtu=node.container_mtu,
        )
        if self.uplink:
            yield BridgePort(link=self.uplink, bridge=self.device)
        for subnet in node.subnets:
            yield InterfaceAddress(link=self.device, address=bridge_address(subnet))
            yield Sysctl(name=FORWARDING[subnet.version], value="1")
            if subnet.version == 6:
                # The first container brings the bridge up. Its link-local address would be tentative for a
                # second or two, and without one the host asks nobody for a container's MAC (RFC 4862 s5.4).
                yield Sysctl(name=f"net/ipv6/conf/{self.device}/accept_dad", value="0", link=self.device)

    def peer(self, node: Node, route: Route) -> Iterable[Item]:
        """The peer's subnet is on link at the bridge."""
        check_tunnel_type(route, "bridge")
        who = f"{route.node or 'unnamed'}, {route.next_hop}"
        if not self.uplink:
            raise RouteRefused(
                f"bridge cannot reach {route.prefix} ({who}): it has no uplink; set uplink under "
                "[dataplane.bridge] to a NIC on the L2 network that all hosts share"
            )
        if not node.on_link(route.next_hop):
            raise RouteRefused(
                f"bridge cannot reach {route.prefix} ({who}): that host is not on link at {node.interface} "
                f"({', '.join(str(own) for own in node.addresses)}), and an L2 network ends at a router: "
                "use vxlan or ipip"
            )
        return (KernelRoute(destination=route.prefix, link=self.device),)

    def endpoint(self, node: Node, endpoint: Endpoint) -> EndpointItems:
        """A veth on the bridge; inside, the addresses and a default route through the bridge."""
        veth = derive.interface_name("veth", endpoint.container, endpoint.interface)
        inside: list[Item] = []
        for address in endpoint.addresses:
            inside.append(InterfaceAddress(link=endpoint.interface, address=address))
            gateway = bridge_address(address.network).ip
            inside.append(
                KernelRoute(
                    destination=DEFAULT_ROUTE[address.version],
                    gateway=gateway,
                    link=endpoint.interface,
                    metric=metric(endpoint.interface),
                )
            )
        return EndpointItems(
            host=(
                Link(
                    name=veth,
                    type=Veth(
                        peer=endpoint.interface,
                        peer_netns=endpoint.netns,
                        peer_mac=derive.endpoint_mac(node, endpoint),
                    ),
                    mac=derive.mac("veth", node.name, endpoint.container, endpoint.interface),
                    mtu=node.container_mtu,
                ),
                BridgePort(link=veth, bridge=self.device, hairpin=True),
            ),
            container=tuple(inside),
        )


def metric(interface: str) -> int:
    """Return the metric of the default route by an interface of a container."""
    # A container with two interfaces has two default routes, and one key is one route. The first has the
    # kernel's own metric (1024 at most); every other name has one of its own, behind it.
    return 0 if interface == "eth0" else 2048 + zlib.crc32(interface.encode()) % 2**20
