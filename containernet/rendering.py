"""From what is known to what the kernel must hold, all at once: the pure heart, for plans, tools and tests.

The agent does the same one route at a time; that both agree is a property that the tests hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress

import attrs

from .contracts import Dataplane, LocalDelivery
from .desired import Desired, route_owner
from .errors import RouteRefused
from .items import Item, KernelRoute, Key, multipath
from .model import Endpoint, NetworkConfig, Node, Prefix, Route
from .values import shown

LAST_METRIC = 2**32 - 1  # behind every other route, and behind the connected one (0; of IPv6, 256)


@attrs.frozen(kw_only=True)
class Rendering:
    """What the host's namespace must hold.

    Args:
        items: by key, ready for `plan`.
        refused: prefix to reason: the peers, or paths to a peer, that cannot be reached this way.
    """

    items: Mapping[Key, Item]
    refused: Mapping[Prefix, str]
    __repr__ = shown


def with_subnets(node: Node, subnets: tuple[Prefix, ...], *, network: NetworkConfig, remote: Dataplane) -> Node:
    """Return the node as it is with `subnets` held, and with the overhead that containers leave room for."""
    overhead = max(remote.overhead(pool.version) for pool in network.pools)
    pools = [pool.prefix for pool in network.pools]
    return attrs.evolve(node, subnets=subnets, pools=pools, overhead=overhead)


def host_items(node: Node, *, local: LocalDelivery, remote: Dataplane) -> tuple[Item, ...]:
    """Return what the host itself needs: both dataplanes' items, and for each subnet an end behind everything.

    While the bridge is missing or has no address, nothing on the host is for the subnet but the default route:
    a router that sends here what is for it would get it back, and so on until the TTL ends it.

    Raises:
        ConfigError: the node cannot take part; see `Dataplane.host`.
    """
    ends = (KernelRoute(destination=subnet, blackhole=True, metric=LAST_METRIC) for subnet in node.subnets)
    return (*local.host(node), *remote.host(node), *ends)


def check_node(node: Node, *, network: NetworkConfig, local: LocalDelivery, remote: Dataplane) -> None:
    """Refuse a node that could not take part, before anything is claimed: tried with the pools' first subnets.

    Raises:
        ConfigError: it has no underlay address of a family, or too small an MTU; see `Dataplane.host`.
    """
    first = tuple(pool.first for pool in network.pools)
    trial = with_subnets(node, first, network=network, remote=remote)
    host_items(trial, local=local, remote=remote)


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


def peer_items(node: Node, route: Route, *, remote: Dataplane) -> tuple[tuple[Item, ...], str]:
    """Return what it takes to reach one peer, and why it, or one of its paths, cannot be reached; else "".

    The dataplane is asked for each path of a route by itself, and what it says becomes one kernel route with
    several next hops. Where it says what cannot be in one kernel at once, the first path is used alone.

    Also refused is what a dataplane stumbles over: the word of one host must not end the agents of all others.
    """
    try:
        if not route.equal_cost:
            return tuple(remote.peer(node, route)), ""
    except Exception as error:
        return (), _refusal(route, remote, error)
    held: dict[Key, Item] = {}
    refusals = []
    for path in route.paths:
        try:
            held |= _beside(held, path, remote.peer(node, path))
        except Exception as error:
            refusals.append(_refusal(path, remote, error))
    return tuple(held.values()), "; ".join(refusals)


def _beside(held: Mapping[Key, Item], path: Route, items: Iterable[Item]) -> dict[Key, Item]:
    """Return the items of one more path, its kernel routes joined with those that are there.

    Raises:
        RouteRefused: one of them and what is there cannot both be.
    """
    new = {}
    for item in items:
        there = held.get(item.key, item)
        if isinstance(item, KernelRoute) and isinstance(there, KernelRoute):
            with suppress(ValueError):
                there = item = multipath((*there.paths, item))
        if there != item:
            raise RouteRefused(
                f"{path.prefix} is not sent to {path.node or 'unnamed'} ({path.next_hop}) as well: "
                f"`{item}` and `{there}` cannot both be"
            )
        new[item.key] = item
    return new


def _refusal(path: Route, remote: Dataplane, error: Exception) -> str:
    if isinstance(error, RouteRefused):
        return str(error)
    return (
        f"{type(remote).__name__} cannot render {path.prefix} ({path.node or path.next_hop}): "
        f"{type(error).__name__}: {error}; this is a fault of the dataplane, or of what that host announces"
    )


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
    desired.put(("host",), host_items(node, local=local, remote=remote))
    for route in routes:
        items, refusal = peer_items(node, route, remote=remote)
        desired.put(route_owner(route.prefix), items)
        if refusal:
            refused[route.prefix] = refusal
    for endpoint in endpoints:
        desired.put(("endpoint", endpoint.container, endpoint.interface), local.endpoint(node, endpoint).host)
    return Rendering(items=desired.effective, refused=refused)
