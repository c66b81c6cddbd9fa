"""standby: host-gw that stands behind whatever else routes a subnet.

Its routes carry a high metric. As long as a routing daemon or an operator has a route for the same subnet, that
one is used; when it goes, ours is there already. So a network can move to containernet, and back, without a
gap.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Self

import attrs

import containernet as cn
from containernet.options import between, build
from containernet.reach import check_tunnel_type, require_underlay


@attrs.frozen(kw_only=True)
class Standby:
    """The dataplane `standby`.

    Args:
        metric: of every route; the kernel uses the lowest. 20000 is behind every routing daemon's.
    """

    metric: int = attrs.field(default=20000, validator=between(1, 2**32 - 1))

    @classmethod
    def from_options(cls, options: Mapping[str, object]) -> Self:
        """Build it from [dataplane.standby]."""
        return build(cls, options, table="dataplane.standby")

    def overhead(self, version: int) -> int:
        """No octet is added."""
        return 0

    def tunnel(self, node: cn.Node) -> cn.Tunnel:
        """A peer needs to know nothing but the next hop."""
        return cn.Tunnel(type="standby")

    def host(self, node: cn.Node) -> Iterable[cn.Item]:
        """Nothing: the underlay link is there already."""
        require_underlay(node, {4: 0, 6: 0})
        return ()

    def peer(self, node: cn.Node, route: cn.Route) -> Iterable[cn.Item]:
        """One route, behind all others."""
        check_tunnel_type(route, "standby")
        if not node.on_link(route.next_hop):
            raise cn.RouteRefused(
                f"standby cannot reach {route.prefix}: {route.next_hop} ({route.node or 'unnamed'}) is not on "
                f"link at {node.interface}, and a router between the hosts would drop container addresses"
            )
        return (
            cn.KernelRoute(
                destination=route.prefix,
                gateway=route.next_hop,
                link=node.interface,
                metric=self.metric,
            ),
        )
