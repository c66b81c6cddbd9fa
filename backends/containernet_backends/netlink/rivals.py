"""Whose items the kernel uses instead of ours, which stand beside them. Looked at, never touched.

Nothing is refused there, so nobody would be told: Linux takes several routes to one prefix and uses the one
with the smallest metric, or the first; and one subnet may be on link at several links. One dump tells which of
others' routes lead into a destination of ours; of each of these, mostly none, the kernel itself is asked
whether it would take that one. So what is ours costs nothing but to be passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from containernet.items import InterfaceAddress, KernelRoute, Masquerade
from containernet.model import Prefix, contains

from . import constants as c
from .frames import Refusal
from .layouts import FAMILY
from .links import read_links
from .nexthops import Hop
from .ownership import PROTOCOL, protocol_name, removal
from .reading import FAMILIES, read_hops
from .socket import NetlinkSocket
from .wire import (
    Names,
    address_filter,
    decode_address,
    decode_route,
    route_destination,
    route_filter,
    route_lookup,
    route_protocol,
)


def find_rivals(
    socket: NetlinkSocket, addresses: Iterable[InterfaceAddress], routes: Iterable[KernelRoute]
) -> Iterator[str]:
    """Yield a line for each of the items that somebody else's is used instead of; see FindsRivals."""
    links = read_links(socket)
    names = {index: record.name for index, record in links.items()}
    ours = {record.name for record in links.values() if record.ours}
    yield from _of_addresses(socket, names, list(filter(_on_link, addresses)), ours=ours)
    # A blackhole is there for when nothing else is.
    main = (each for each in routes if each.table == c.RT_TABLE_MAIN and not each.blackhole)
    yield from _of_routes(socket, names, main)


def forwarded(masquerades: Iterable[Masquerade], routes: Iterable[KernelRoute]) -> list[Prefix]:
    """Return what a host forwards for: its pools as far as they are known here, or its own subnets."""
    pools = [each.pool for each in masquerades]
    versions = {pool.version for pool in pools}
    subnets = (each.destination for each in routes if each.blackhole)
    return [*pools, *(own for own in subnets if own.version not in versions)]


def _on_link(item: InterfaceAddress) -> bool:
    return item.address.network.prefixlen < item.address.max_prefixlen


def _of_addresses(
    socket: NetlinkSocket, names: Names, items: Sequence[InterfaceAddress], *, ours: set[str]
) -> Iterator[str]:
    for family in FAMILIES if items else ():
        for body in socket.dump(c.RTM_GETADDR, address_filter(family)):
            found = decode_address(body, names)
            if found is None or not isinstance(found.item, InterfaceAddress) or found.item.link in ours:
                continue
            other = found.item
            for item in items:
                if _on_link(other) and contains(item.address.network, other.address.network):
                    yield (
                        f"{item.address.network} is on link at {item.link} and at {other.link}, where packets "
                        f"for containers can end: `ip address del {other.address} dev {other.link}`"
                    )


def _of_routes(socket: NetlinkSocket, names: Names, routes: Iterable[KernelRoute]) -> Iterator[str]:
    covering = _covering(routes)
    hops: Mapping[int, Hop] = {}
    told: set[Prefix] = set()
    for family in FAMILIES:
        # A full table of the Internet may be there: of what is none of our business nothing is kept.
        others = socket.dump(c.RTM_GETROUTE, route_filter(family), keep=covering)
        hops = hops or (read_hops(socket) if others else {})
        for body in others:
            ours, other = covering(body), decode_route(body, names, hops)
            if ours is None or ours in told or other is None or not isinstance(other.item, KernelRoute):
                continue
            # The second address, if there is one: a subnet's first is nobody's.
            at = other.item.destination
            answer = socket.get(
                c.RTM_GETROUTE, route_lookup(at.network_address + (at.prefixlen < at.max_prefixlen))
            )
            found = None if isinstance(answer, Refusal) else decode_route(answer, names, hops)
            if found is None or found.protocol == PROTOCOL or not isinstance(found.item, KernelRoute):
                continue
            # A route to more than the prefix is taken where ours has just gone: that is drift, and no rival.
            if contains(ours, found.item.destination):
                told.add(ours)
                part = "" if found.item.destination == ours else f"{found.item.destination} in "
                yield (
                    f"{part}{ours} does not go by our route but by {found.item}, "
                    f"proto {protocol_name(found.protocol)}: `{removal(found.item, found.protocol)}`"
                )


def _covering(routes: Iterable[KernelRoute]) -> Callable[[bytes], Prefix | None]:
    """Return what says into which destination of ours a route of somebody else's leads; None: into none."""
    ours: dict[int, dict[int, dict[int, Prefix]]] = {family: {} for family in FAMILIES}
    for route in routes:
        prefix = route.destination
        of_length = ours[FAMILY[prefix.version]].setdefault(prefix.prefixlen, {})
        of_length[int(prefix.network_address)] = prefix

    def covering(body: bytes) -> Prefix | None:
        if route_protocol(body) == PROTOCOL:
            return None
        family, length, packed = route_destination(body)
        first, width = int.from_bytes(packed, "big"), 8 * len(packed)
        for shorter, destinations in ours[family].items():
            spare = width - shorter
            if shorter <= length <= width and (found := destinations.get(first >> spare << spare)):
                return found
        return None

    return covering
