"""Everything of ours that a namespace holds, as items with normalised values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from socket import AF_INET, AF_INET6

from containernet.items import Item, Key, by_key

from . import constants as c
from .ownership import PROTOCOL
from .recall import Recall
from .socket import NetlinkSocket
from .wire import (
    LinkRecord,
    Names,
    address_filter,
    decode_address,
    decode_neighbour,
    decode_route,
    neighbour_filter,
    neighbour_state,
    route_filter,
    route_protocol,
)

FAMILIES = (AF_INET, AF_INET6)
Same = Callable[[Item], Item]


def read_items(
    socket: NetlinkSocket,
    links: Mapping[int, LinkRecord],
    *,
    address_protocol: bool,
    recall: Recall,
    same: Same,
) -> tuple[dict[Key, Item], set[str]]:
    """Return all items of ours but the sysctls, and the links that they are on.

    Args:
        links: every link of the namespace.
        address_protocol: whether this kernel keeps IFA_PROTO.
        recall: what was read before.
        same: returns an item or, of two equal ones, the one that is there already.
    """
    names = {index: record.name for index, record in links.items()}
    items = by_key(_links(links, names))
    items.update(by_key(_addresses(socket, links, names, address_protocol=address_protocol)))
    stood_on = {item.link for item in items.values()}
    asked = recall.begin(names)
    for part in (
        *_fdb(socket, links, asked, recall, same),
        *_neighbours(socket, asked, recall, same),
        *_routes(socket, asked, recall, same),
    ):
        items.update(part)
    return items, stood_on | recall.links


def _links(links: Mapping[int, LinkRecord], names: Names) -> Iterator[Item]:
    for record in links.values():
        item = record.item(names) if record.ours else None
        if item is not None:
            yield item
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
    socket: NetlinkSocket, links: Mapping[int, LinkRecord], names: Names, recall: Recall, same: Same
) -> Iterator[Mapping[Key, Item]]:
    for record in links.values():
        if not (record.ours and record.kind == "vxlan"):
            continue

        def ours(body: bytes, name: str = record.name) -> Item | None:
            found = decode_neighbour(body, names) if neighbour_state(body) & c.NUD_PERMANENT else None
            return same(found.item) if found and found.item.link == name else None

        bodies = socket.dump(c.RTM_GETNEIGH, neighbour_filter(c.AF_BRIDGE, record.index))
        yield recall.decode((c.RTM_GETNEIGH, c.AF_BRIDGE, record.index), bodies, ours)


def _neighbours(
    socket: NetlinkSocket, names: Names, recall: Recall, same: Same
) -> Iterator[Mapping[Key, Item]]:
    def ours(body: bytes) -> Item | None:
        found = decode_neighbour(body, names) if neighbour_state(body) & c.NUD_PERMANENT else None
        return same(found.item) if found and found.protocol == PROTOCOL else None

    for family in FAMILIES:
        bodies = socket.dump(c.RTM_GETNEIGH, neighbour_filter(family))
        yield recall.decode((c.RTM_GETNEIGH, family), bodies, ours)


def _routes(socket: NetlinkSocket, names: Names, recall: Recall, same: Same) -> Iterator[Mapping[Key, Item]]:
    def ours(body: bytes) -> Item | None:
        found = decode_route(body, names) if route_protocol(body) == PROTOCOL else None
        return same(found.item) if found else None

    for family in FAMILIES:
        bodies = socket.dump(c.RTM_GETROUTE, route_filter(family, protocol=PROTOCOL))
        yield recall.decode((c.RTM_GETROUTE, family), bodies, ours)
