"""host-gw: a plain route to every peer's subnet, through the peer's own underlay address.

The packet leaves as the container made it: no header is added and none taken away. So the peer must be on the
same link: a router between two hosts knows nothing of the containers' addresses, and would drop the packet.
That is refused per peer, before anything is programmed.

    ip route add 10.4.2.0/24 via 192.0.2.2 dev eth0

A prefix of IPv4 may lie behind an IPv6 address (RFC 8950): the packet stays what it is, and only the neighbour
that it is handed to is found by IPv6.

    ip route add 10.4.2.0/24 via inet6 2001:db8::2 dev eth0
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Self

import attrs

from containernet.errors import RouteRefused
from containernet.items import Item, KernelRoute
from containernet.model import Node, Route, Tunnel
from containernet.options import build
from containernet.reach import check_tunnel_type, require_underlay
from containernet.values import shown


def direct_route(node: Node, route: Route) -> KernelRoute:
    """Return the route to a peer that is on link: through its own address, without a tunnel."""
    return KernelRoute(destination=route.prefix, gateway=route.next_hop, link=node.interface)


@attrs.frozen(kw_only=True)
class HostGateway:
    """The dataplane `host-gw`; it has no options."""

    __repr__ = shown

    @classmethod
    def from_options(cls, options: Mapping[str, object]) -> Self:
        """Build it from [dataplane.host-gw], which is empty."""
        return build(cls, options, table="dataplane.host-gw")

    def overhead(self, version: int) -> int:
        """No octet is added."""
        return 0

    def tunnel(self, node: Node) -> Tunnel:
        """A peer needs to know nothing but the next hop."""
        return Tunnel(type="host-gw")

    def host(self, node: Node) -> Iterable[Item]:
        """Nothing: the underlay link is there already."""
        require_underlay(node, {4: 0, 6: 0})
        return ()

    def peer(self, node: Node, route: Route) -> Iterable[Item]:
        """One route."""
        check_tunnel_type(route, "host-gw")
        if not node.on_link(route.next_hop):
            raise RouteRefused(
                f"host-gw cannot reach {route.prefix}: next hop {route.next_hop} ({route.node or 'unnamed'}) "
                f"is not on link at {node.interface} ({', '.join(str(own) for own in node.addresses)}); "
                "a router between the hosts would drop container addresses: use vxlan or ipip"
            )
        return (direct_route(node, route),)
