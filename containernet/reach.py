"""What every dataplane asks of a node and of a route before it renders them."""

from __future__ import annotations

from collections.abc import Mapping

from containernet.errors import ConfigError, RouteRefused
from containernet.model import IPV4_MINIMUM_MTU, IPV6_MINIMUM_MTU, Address, Node, Route


def underlay_address(node: Node, version: int) -> Address:
    """Return the node's underlay address of that family.

    Raises:
        ConfigError: it has none, so that peers could not send to it.
    """
    address = node.address(version)
    if address is None:
        raise ConfigError(
            f"node {node.name} has no IPv{version} address on {node.interface}, but the network has an "
            f"IPv{version} pool: set address under [node], or leave that pool out"
        )
    return address


def require_underlay(node: Node, overhead: Mapping[int, int]) -> None:
    """Check that the node has an underlay address, and containers a usable MTU, for each family it leases.

    Args:
        overhead: octets that the dataplane adds, by family.

    Raises:
        ConfigError: with the value that is missing or too small.
    """
    for subnet in node.subnets:
        underlay_address(node, subnet.version)
        smallest = IPV4_MINIMUM_MTU if subnet.version == 4 else IPV6_MINIMUM_MTU
        left = node.mtu - overhead[subnet.version]
        if left < smallest:
            raise ConfigError(
                f"MTU {node.mtu} of {node.interface} leaves {left} octets for containers, "
                f"and IPv{subnet.version} needs {smallest}: raise the MTU of {node.interface}"
            )


def check_tunnel_type(route: Route, expected: str) -> None:
    """Check that the peer speaks the same dataplane; a store that carries no type (BGP) is taken at its word.

    Raises:
        RouteRefused: it announced another one.
    """
    if route.tunnel.type not in ("", expected):
        raise RouteRefused(
            f"{expected} cannot reach {route.prefix}: {route.node or route.next_hop} announced it for "
            f"{route.tunnel.type}; set the same remote dataplane on both hosts"
        )
