"""What the host already has: the link that leads to the other hosts. Looked at, never touched."""

from __future__ import annotations

from collections.abc import Mapping

from containernet.contracts import UnderlayLink
from containernet.errors import ConfigError
from containernet.items import InterfaceAddress, KernelRoute
from containernet.model import Interface

from . import constants as c
from .links import read_links
from .ownership import PROTOCOL
from .reading import FAMILIES, read_routes
from .socket import NetlinkSocket
from .wire import Names, address_filter, decode_address


def find_underlay(socket: NetlinkSocket, interface: str = "") -> UnderlayLink:
    """Return the link of that name, or the one of the default route (IPv4 first); see contracts.Underlay."""
    links = {record.name: record for record in read_links(socket).values()}
    names = {record.index: record.name for record in links.values()}
    present = ", ".join(sorted(links))
    if not interface:
        interface = _default(socket, names)
        if not interface:
            raise ConfigError(
                f"no default route tells the underlay link: set interface under [node] to one of {present}"
            )
    if interface not in links:
        raise ConfigError(f"there is no link {interface!r}: expected one of {present}")
    if links[interface].ours:
        raise ConfigError(
            f"link {interface} leads to no other host: containernet made it, for a container; run the daemon "
            "on the host, or set interface under [node] to another link"
        )
    return UnderlayLink(
        name=interface, mtu=links[interface].mtu, addresses=tuple(_addresses(socket, names)[interface])
    )


def _default(socket: NetlinkSocket, names: Names) -> str:
    """Return the link of the default route that the kernel prefers, or "" where there is none."""
    for family in FAMILIES:
        routes = read_routes(socket, names, family=family, table=c.RT_TABLE_MAIN)
        found = [owned.item for owned in routes]
        defaults = [
            route for route in found
            if isinstance(route, KernelRoute) and route.table == c.RT_TABLE_MAIN
            and route.destination.prefixlen == 0 and route.link
        ]  # fmt: skip
        if defaults:
            return min(defaults, key=lambda route: route.metric).link
    return ""


def _addresses(socket: NetlinkSocket, names: Names) -> Mapping[str, list[Interface]]:
    """Return every global address that is not ours by link, IPv4 first, in the kernel's order."""
    found: dict[str, list[Interface]] = {name: [] for name in names.values()}
    for family in FAMILIES:
        for body in socket.dump(c.RTM_GETADDR, address_filter(family)):
            owned = decode_address(body, names)
            if owned and owned.protocol != PROTOCOL and isinstance(owned.item, InterfaceAddress):
                found.setdefault(owned.item.link, []).append(owned.item.address)
    return found
