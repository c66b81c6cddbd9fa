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


def check_next_hop_family(route: Route, dataplane: str) -> None:
    """Check that the next hop is of the prefix's own family, for a tunnel whose outer header is of that family.

    Raises:
        RouteRefused: it is an IPv6 next hop of an IPv4 prefix (RFC 8950).
    """
    if route.next_hop.version != route.prefix.version:
        raise RouteRefused(
            f"{dataplane} cannot reach {route.prefix}: next hop {route.next_hop} ({route.node or 'unnamed'}) "
            f"is of IPv{route.next_hop.version}, and a tunnel of IPv{route.prefix.version} goes to its own "
            "family; use host-gw, or announce a next hop of the prefix's family"
        )
