"""Everything of ours that a namespace holds, as items with normalised values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from socket import AF_INET, AF_INET6

from containernet.items import Item, Key

from . import constants as c
from .ownership import PROTOCOL
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


def read_items(
    socket: NetlinkSocket, links: Mapping[int, LinkRecord], *, address_protocol: bool
) -> dict[Key, Item]:
    """Return all items of ours but the sysctls.

    Args:
        links: every link of the namespace.
        address_protocol: whether this kernel keeps IFA_PROTO.
    """
    names = {index: record.name for index, record in links.items()}
    items: dict[Key, Item] = {}
    for part in (
        _links(links, names),
        _addresses(socket, links, names, address_protocol=address_protocol),
        _fdb(socket, links, names),
        _neighbours(socket, names),
        _routes(socket, names),
    ):
        items.update((item.key, item) for item in part)
    return items


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


def _fdb(socket: NetlinkSocket, links: Mapping[int, LinkRecord], names: Names) -> Iterator[Item]:
    for record in links.values():
        if record.ours and record.kind == "vxlan":
            for body in socket.dump(c.RTM_GETNEIGH, neighbour_filter(c.AF_BRIDGE, record.index)):
                found = decode_neighbour(body, names)
                if found and neighbour_state(body) & c.NUD_PERMANENT and found.item.link == record.name:
                    yield found.item


def _neighbours(socket: NetlinkSocket, names: Names) -> Iterator[Item]:
    for family in FAMILIES:
        for body in socket.dump(c.RTM_GETNEIGH, neighbour_filter(family)):
            if neighbour_state(body) & c.NUD_PERMANENT:
                found = decode_neighbour(body, names)
                if found and found.protocol == PROTOCOL:
                    yield found.item


def _routes(socket: NetlinkSocket, names: Names) -> Iterator[Item]:
    for family in FAMILIES:
        for body in socket.dump(c.RTM_GETROUTE, route_filter(family, protocol=PROTOCOL)):
            if route_protocol(body) == PROTOCOL:
                found = decode_route(body, names)
                if found:
                    yield found.item
