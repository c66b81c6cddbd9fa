"""Whose items the kernel uses instead of ours, which stand beside them. Looked at, never touched.

Nothing is refused there, so nobody would be told: Linux takes several routes to one prefix and uses the one
with the smallest metric, or the first; and one subnet may be on link at several links. The kernel itself is
asked which route it would take, once for each of ours: 30 microseconds, however many other routes there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from containernet.items import InterfaceAddress, Item, KernelRoute, Masquerade
from containernet.model import Prefix, contains

from . import constants as c
from .links import read_links
from .ownership import PROTOCOL, protocol_name, removal
from .reading import FAMILIES, read_hops
from .socket import NetlinkSocket
from .wire import Names, address_filter, decode_address, decode_route, route_lookup, route_protocol


def find_rivals(socket: NetlinkSocket, items: Iterable[Item]) -> Sequence[str]:
    """Return a line for each of the items that somebody else's is used instead of; see FindsRivals."""
    links = read_links(socket)
    names = {index: record.name for index, record in links.items()}
    items = list(items)
    addresses = [each for each in items if isinstance(each, InterfaceAddress) and _on_link(each)]
    # A blackhole is there for when nothing else is.
    routes = (
        each
        for each in items
        if isinstance(each, KernelRoute) and each.table == c.RT_TABLE_MAIN and not each.blackhole
    )
    ours = {record.name for record in links.values() if record.ours}
    return [*_of_addresses(socket, names, addresses, ours=ours), *_of_routes(socket, names, routes)]


def forwarded(items: Iterable[Item]) -> list[Prefix]:
    """Return what a host forwards for: its pools as far as they are known here, or its own subnets."""
    items = list(items)
    pools = [each.pool for each in items if isinstance(each, Masquerade)]
    subnets = [each.destination for each in items if isinstance(each, KernelRoute) and each.blackhole]
    return [*pools, *(own for own in subnets if own.version not in {pool.version for pool in pools})]


def _on_link(item: InterfaceAddress) -> bool:
    return item.address.network.prefixlen < item.address.max_prefixlen


def _of_addresses(
    socket: NetlinkSocket, names: Names, items: Iterable[InterfaceAddress], *, ours: set[str]
) -> Iterator[str]:
    own = list(items)
    for family in FAMILIES if own else ():
        for body in socket.dump(c.RTM_GETADDR, address_filter(family)):
            found = decode_address(body, names)
            if found is None or not isinstance(found.item, InterfaceAddress) or found.item.link in ours:
                continue
            other = found.item
            for item in own:
                if _on_link(other) and contains(item.address.network, other.address.network):
                    yield (
                        f"{item.address.network} is on link at {item.link} and at {other.link}, where packets "
                        f"for containers can end: `ip address del {other.address} dev {other.link}`"
                    )


def _of_routes(socket: NetlinkSocket, names: Names, routes: Iterable[KernelRoute]) -> Iterator[str]:
    hops = read_hops(socket)
    for route in routes:
        destination = route.destination
        # The second address, if there is one; ipaddress itself would keep three more objects with each prefix.
        probe = destination.network_address + (destination.prefixlen < destination.max_prefixlen)
        answer = socket.get(c.RTM_GETROUTE, route_lookup(probe))
        if not isinstance(answer, bytes) or route_protocol(answer) == PROTOCOL:
            continue
        found = decode_route(answer, names, hops)
        if found is None or not isinstance(found.item, KernelRoute):
            continue
        # A route to more than the prefix is taken where ours has just gone: that is drift, and no rival.
        if contains(destination, found.item.destination):
            owner = protocol_name(found.protocol)
            yield (
                f"{destination} does not go by our route but by {found.item}, proto {owner}: "
                f"`{removal(found.item, found.protocol)}`"
            )
