"""From what is known to what the kernel must hold, all at once: the pure heart, for plans, tools and tests.

The agent does the same one route at a time; that both agree is a property that the tests hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs

from .contracts import Dataplane, LocalDelivery
from .desired import Desired
from .errors import RouteRefused
from .items import Item, Key
from .model import Endpoint, NetworkConfig, Node, Prefix, Route


@attrs.frozen(kw_only=True)
class Rendering:
    """What the host's namespace must hold.

    Args:
        items: by key, ready for `plan`.
        refused: prefix to reason: the peers that cannot be reached this way.
    """

    items: Mapping[Key, Item]
    refused: Mapping[Prefix, str]


def with_subnets(node: Node, subnets: tuple[Prefix, ...], *, network: NetworkConfig, remote: Dataplane) -> Node:
    """Return the node as it is with `subnets` held, and with the overhead that containers leave room for."""
    overhead = max(remote.overhead(pool.version) for pool in network.pools)
    return attrs.evolve(node, subnets=subnets, overhead=overhead)


def check_node(node: Node, *, network: NetworkConfig, local: LocalDelivery, remote: Dataplane) -> None:
    """Refuse a node that could not take part, before anything is claimed: tried with the pools' first subnets.

    Raises:
        ConfigError: it has no underlay address of a family, or too small an MTU; see `Dataplane.host`.
    """
    first = tuple(pool.first for pool in network.pools)
    trial = with_subnets(node, first, network=network, remote=remote)
    for _ in (*local.host(trial), *remote.host(trial)):
        pass


def own_routes(node: Node, remote: Dataplane) -> tuple[Route, ...]:
    """Return what `node` announces: one route for each subnet that it holds.

    Raises:
        ConfigError: it has no underlay address of a subnet's family, so `remote.host` refuses it too.
    """
    list(remote.host(node))
    tunnel = remote.tunnel(node)
    return tuple(
        Route(prefix=subnet, node=node.name, next_hop=address, tunnel=tunnel)
        for subnet in node.subnets
        if (address := node.address(subnet.version)) is not None
    )


def peer_items(node: Node, route: Route, *, remote: Dataplane) -> tuple[Item, ...]:
    """Return what it takes to reach one peer.

    Raises:
        RouteRefused: this peer cannot be reached this way; also where the dataplane stumbles over what the peer
            has announced: the word of one host must not end the agents of all others.
    """
    try:
        return tuple(remote.peer(node, route))
    except RouteRefused:
        raise
    except Exception as error:
        raise RouteRefused(
            f"{type(remote).__name__} cannot render {route.prefix} ({route.node or route.next_hop}): "
            f"{type(error).__name__}: {error}; this is a fault of the dataplane, or of what that host announces"
        ) from error


def render(
    node: Node,
    routes: Iterable[Route],
    *,
    local: LocalDelivery,
    remote: Dataplane,
    endpoints: Iterable[Endpoint] = (),
) -> Rendering:
    """Return everything that the kernel of `node` must hold for these routes and containers.

    Args:
        node: with the subnets that it holds (see `with_subnets`).
        routes: believed ones (see `Rib`); the node's own are not among them.
        endpoints: the containers on this host.

    Raises:
        ConfigError: the node cannot take part; see `Dataplane.host`.
    """
    desired = Desired()
    refused: dict[Prefix, str] = {}
    desired.put(("host",), (*local.host(node), *remote.host(node)))
    for route in routes:
        try:
            desired.put(("route", str(route.prefix)), peer_items(node, route, remote=remote))
        except RouteRefused as refusal:
            refused[route.prefix] = str(refusal)
    for endpoint in endpoints:
        desired.put(("endpoint", endpoint.container, endpoint.interface), local.endpoint(node, endpoint).host)
    return Rendering(items=desired.effective, refused=refused)
