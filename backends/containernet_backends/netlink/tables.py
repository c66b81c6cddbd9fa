"""All that a namespace forwards by, ours and other people's alike. Looked at, never touched."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from containernet.items import InterfaceAddress, Item, KernelRoute, Neighbour, Sysctl
from containernet.tables import Device, Tables, filled

from . import constants as c
from .links import read_links
from .reading import FAMILIES, read_routes
from .socket import NetlinkSocket
from .wire import (
    LinkRecord,
    Names,
    address_filter,
    decode_address,
    decode_neighbour,
    neighbour_filter,
    neighbour_state,
)

FORWARDING = tuple(
    Sysctl(name=name, value="") for name in ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding")
)
_NO_ANSWER = 0x01 | 0x20  # NUD_INCOMPLETE, NUD_FAILED


def read_tables(socket: NetlinkSocket, settings: Iterable[Item]) -> Tables:
    """Return what a namespace forwards by.

    Args:
        settings: its forwarding and our translations, read elsewhere: in files, and in nftables.
    """
    links = read_links(socket)
    names = {index: record.name for index, record in links.items()}
    devices = [_device(record, names) for record in links.values()]
    items = [*_addresses(socket, names), *_routes(socket, names), *settings]
    tables = filled(devices, items)
    _add_neighbours(socket, names, tables)
    for record in links.values():
        if record.kind == "vxlan":
            for body in socket.dump(c.RTM_GETNEIGH, neighbour_filter(c.AF_BRIDGE, record.index)):
                found = decode_neighbour(body, names)
                if found and found.item.link == record.name:
                    tables.put(found.item)
    return tables


def _device(record: LinkRecord, names: Names) -> Device:
    return Device(
        name=record.name,
        mac=record.mac,
        mtu=record.mtu,
        up=record.up,
        type=record.type(names),
        master=names.get(record.master, ""),
        hairpin=record.hairpin,
    )


def _addresses(socket: NetlinkSocket, names: Names) -> Iterator[Item]:
    for family in FAMILIES:
        for body in socket.dump(c.RTM_GETADDR, address_filter(family)):
            found = decode_address(body, names)
            # Every device has a link-local network of IPv6, and no packet of ours goes there.
            if found and isinstance(found.item, InterfaceAddress) and not found.item.address.is_link_local:
                yield found.item


def _routes(socket: NetlinkSocket, names: Names) -> Iterator[Item]:
    for family in FAMILIES:
        for found in read_routes(socket, names, family=family, table=c.RT_TABLE_MAIN):
            if isinstance(found.item, KernelRoute) and (found.item.link or found.item.blackhole):
                yield found.item


def _add_neighbours(socket: NetlinkSocket, names: Names, tables: Tables) -> None:
    for family in FAMILIES:
        for body in socket.dump(c.RTM_GETNEIGH, neighbour_filter(family)):
            found = decode_neighbour(body, names)
            if found is None or not isinstance(found.item, Neighbour):
                continue
            if neighbour_state(body) & c.NUD_PERMANENT:
                tables.put(found.item)
            elif not neighbour_state(body) & _NO_ANSWER:
                tables.learned[found.item.link, found.item.address] = found.item.mac
