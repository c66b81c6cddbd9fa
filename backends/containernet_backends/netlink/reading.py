"""Everything of ours that a namespace holds, as items with normalised values."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from socket import AF_INET, AF_INET6

import attrs

from containernet.items import Item, KernelRoute, Key, by_key

from . import constants as c
from .layouts import NHMSG
from .likeness import NEIGHBOUR, ROUTE, by_example
from .nexthops import Hop, Nexthop, Nexthops, Way
from .ownership import PROTOCOL
from .recall import Recall
from .socket import NetlinkSocket
from .wire import (
    LinkRecord,
    Names,
    Owned,
    address_filter,
    decode_address,
    decode_neighbour,
    decode_nexthop,
    decode_route,
    neighbour_filter,
    neighbour_state,
    route_filter,
    route_protocol,
)

FAMILIES = (AF_INET, AF_INET6)
_IPV4_ROUTES = (c.RTM_GETROUTE, AF_INET)


def read_hops(socket: NetlinkSocket) -> Mapping[int, Hop]:
    """Return where nexthop objects lead, by number, whoever's they are."""
    return _hops(map(decode_nexthop, dump_nexthops(socket)))


def dump_nexthops(socket: NetlinkSocket) -> Sequence[bytes]:
    """Return the bodies of all nexthop objects; none where the kernel knows of no such thing."""
    return socket.dump(c.RTM_GETNEXTHOP, NHMSG.pack(0, 0, 0, 0, 0))


def read_routes(socket: NetlinkSocket, names: Names, *, family: int, table: int) -> Iterator[Owned]:
    """Yield the routes of a table, whoever's they are."""
    hops = read_hops(socket)
    for body in socket.dump(c.RTM_GETROUTE, route_filter(family, table=table)):
        if found := decode_route(body, names, hops):
            yield found


def _hops(nexthops: Iterable[Nexthop]) -> Mapping[int, Hop]:
    return {each.number: each.hop for each in nexthops if each.hop is not None}


def read_items(
    socket: NetlinkSocket,
    links: Mapping[int, LinkRecord],
    *,
    address_protocol: bool,
    recall: Recall,
    nexthops: Nexthops,
) -> tuple[dict[Key, Item], set[str]]:
    """Return all items of ours but the sysctls, and the links that they are on.

    Args:
        links: every link of the namespace.
        address_protocol: whether this kernel keeps IFA_PROTO.
        recall: what was read before.
        nexthops: is told of what there is.
    """
    names = {index: record.name for index, record in links.items()}
    items = by_key(_links(links, names))
    items.update(by_key(_addresses(socket, links, names, address_protocol=address_protocol)))
    stood_on = {item.link for item in items.values()}
    # Before the routes, so that none is taken for idle whose route has just been made.
    there = recall.nexthops(dump_nexthops(socket))
    recall.begin(names, _hops(there))
    four, six = _routes(socket, recall)
    for part in (*_fdb(socket, links, recall), *_neighbours(socket, recall), four, six):
        items.update(part)
    used = recall.used(_IPV4_ROUTES)
    nexthops.reset(there, used=used, plain=_plain(four, used, {name: index for index, name in names.items()}))
    return items, stood_on | recall.links


def _plain(routes: Mapping[Key, Item], used: Container[Key], indexes: Mapping[str, int]) -> Iterator[Hop]:
    """Yield the gateways that routes tell themselves, when somebody wants to know."""
    for key, route in routes.items():
        if isinstance(route, KernelRoute) and route.gateway and not route.equal_cost and key not in used:
            yield Hop(Way(indexes.get(route.link, 0), route.onlink), route.gateway.packed)


def _links(links: Mapping[int, LinkRecord], names: Names) -> Iterator[Item]:
    for record in links.values():
        item = record.item(names) if record.ours or record.half_made else None
        if item is not None:
            # Half of a link is not as anybody wants one: it is made anew, or goes.
            yield item if record.ours else attrs.evolve(item, mtu=0)
        master = links.get(record.master)
        if master is not None and master.ours and master.kind == "bridge":
            yield record.port(names)


def _addresses(
    socket: NetlinkSocket, links: Mapping[int, LinkRecord], names: Names, *, address_protocol: bool
) -> Iterator[Item]:
    ours = {record.name for record in links.values() if record.ours}
    for family in FAMILIES:
        for body in socket.dump(c.RTM_GETADDR, address_filter(family)):
            found = decode_address(body, names)
            if found and (found.protocol == PROTOCOL if address_protocol else found.item.link in ours):
                yield found.item


def _fdb(
    socket: NetlinkSocket, links: Mapping[int, LinkRecord], recall: Recall
) -> Iterator[Mapping[Key, Item]]:
    for record in links.values():
        if not (record.ours and record.kind == "vxlan"):
            continue

        def ours(body: bytes, name: str = record.name) -> Item | None:
            found = decode_neighbour(body, recall.names) if neighbour_state(body) & c.NUD_PERMANENT else None
            return found.item if found and found.item.link == name else None

        bodies = socket.dump(c.RTM_GETNEIGH, neighbour_filter(c.AF_BRIDGE, record.index))
        yield recall.decode((c.RTM_GETNEIGH, c.AF_BRIDGE, record.index), bodies, by_example(ours, NEIGHBOUR))


def _neighbours(socket: NetlinkSocket, recall: Recall) -> Iterator[Mapping[Key, Item]]:
    def ours(body: bytes) -> Item | None:
        found = decode_neighbour(body, recall.names) if neighbour_state(body) & c.NUD_PERMANENT else None
        return found.item if found and found.protocol == PROTOCOL else None

    for family in FAMILIES:
        bodies = socket.dump(c.RTM_GETNEIGH, neighbour_filter(family))
        yield recall.decode((c.RTM_GETNEIGH, family), bodies, by_example(ours, NEIGHBOUR))


def _routes(socket: NetlinkSocket, recall: Recall) -> Iterator[Mapping[Key, Item]]:
    def ours(body: bytes) -> Item | None:
        found = decode_route(body, recall.names, recall.hops) if route_protocol(body) == PROTOCOL else None
        return found.item if found else None

    for family in FAMILIES:
        bodies = socket.dump(c.RTM_GETROUTE, route_filter(family, protocol=PROTOCOL))
        yield recall.decode((c.RTM_GETROUTE, family), bodies, by_example(ours, ROUTE))
