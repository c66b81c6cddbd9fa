"""What one network namespace forwards by: devices, addresses, routes, neighbours, fdb, and whether it forwards.

The same tables are filled from items (a simulated kernel) and from a real kernel's own dumps (`explain`), ours
and other people's entries alike: a packet does not ask who made a route. `tracing` reads them.

Left out, because containernet uses none of it: rules and tables other than `main`, multipath over several
links, netfilter, broadcast and multicast, and the reverse path filter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import attrs

from .items import (
    BridgePort,
    FdbEntry,
    ForwardAccept,
    Hairpin,
    InterfaceAddress,
    Item,
    KernelRoute,
    Link,
    LinkType,
    Masquerade,
    Neighbour,
    PortForward,
    SourceGuard,
    Sysctl,
)
from .model import Address
from .translation import Translations
from .values import shown

MAIN = 254
_FORWARDING = {"net/ipv4/ip_forward": 4, "net/ipv6/conf/all/forwarding": 6}


@attrs.frozen(kw_only=True)
class Device:
    """A network interface, whoever made it.

    Args:
        type: of a link that containernet could have made; None: a network card, or what is like one.
        master: the bridge that it is a port of; empty: none.
        hairpin: as a port, whether a frame may leave where it came in.
    """

    name: str
    mac: str = ""
    mtu: int = 1500
    up: bool = True
    type: LinkType | None = None
    master: str = ""
    hairpin: bool = False
    __repr__ = shown


class Tables:
    """One namespace. `put` and `drop` cost the same however much there is."""

    def __init__(self) -> None:
        self.devices: dict[str, Device] = {}
        self.ports: dict[str, dict[str, None]] = {}  # by bridge
        self.addresses: dict[Address, list[InterfaceAddress]] = {}
        self.neighbours: dict[tuple[str, Address], Neighbour] = {}
        self.learned: dict[tuple[str, Address], str] = {}  # MACs that somebody was asked for
        self.fdb: dict[tuple[str, str], FdbEntry] = {}
        self.forwarding: set[int] = set()
        self.translations = Translations()
        self._routes: dict[int, dict[int, dict[int, list[KernelRoute]]]] = {4: {}, 6: {}}
        self._lengths: dict[int, list[int]] = {4: [], 6: []}

    def put(self, item: Item) -> None:
        """Take an item in; one of the same key must have been dropped before."""
        match item:  # the most frequent first
            case KernelRoute():
                self._put_route(item)
            case Neighbour():
                self.neighbours[item.link, item.address] = item
            case FdbEntry():
                self.fdb[item.link, item.mac] = item
            case Link():
                before = self.devices.get(item.name, Device(name=item.name))
                self.put_device(attrs.evolve(before, mac=item.mac, mtu=item.mtu, up=item.up, type=item.type))
            case BridgePort():
                device = self.devices[item.link]
                self.put_device(attrs.evolve(device, master=item.bridge, hairpin=item.hairpin))
            case InterfaceAddress(address=address) if address.is_link_local:
                pass  # no packet of ours goes there
            case InterfaceAddress():
                self.addresses.setdefault(item.address.ip, []).append(item)
                if (route := connected(item)) is not None:
                    self._put_route(route)
            case Sysctl():
                self._set(item)
            case Masquerade() | Hairpin() | PortForward():
                self.translations.put(item)
            case SourceGuard() | ForwardAccept():
                pass

    def drop(self, item: Item) -> None:
        """Let an item go; a link's own items must have gone before it."""
        match item:
            case Link():
                self.drop_device(item.name)
            case BridgePort():
                if (device := self.devices.get(item.link)) is not None:
                    self.put_device(attrs.evolve(device, master="", hairpin=False))
            case InterfaceAddress(address=address) if address.is_link_local:
                pass
            case InterfaceAddress():
                self.addresses[item.address.ip].remove(item)
                if not self.addresses[item.address.ip]:
                    del self.addresses[item.address.ip]
                if (route := connected(item)) is not None:
                    self._drop_route(route)
            case Sysctl() | SourceGuard() | ForwardAccept():
                pass  # a setting is never unset
            case Masquerade() | Hairpin() | PortForward():
                self.translations.drop(item)
            case FdbEntry():
                del self.fdb[item.link, item.mac]
            case Neighbour():
                del self.neighbours[item.link, item.address]
            case KernelRoute():
                self._drop_route(item)

    def put_device(self, device: Device) -> None:
        """Add a device, or change the one of that name."""
        if (before := self.devices.get(device.name)) is not None and before.master:
            self.ports[before.master].pop(device.name)
        self.devices[device.name] = device
        if device.master:
            self.ports.setdefault(device.master, {})[device.name] = None

    def drop_device(self, name: str) -> None:
        """Take a device away."""
        device = self.devices.pop(name)
        if device.master:
            self.ports[device.master].pop(name)

    def own(self, address: Address) -> bool:
        """Return whether the address is this namespace's own: of IPv6, on a device that is up."""
        # A device that goes down loses its addresses of IPv6; those of IPv4 stay the host's.
        there = self.addresses.get(address, ())
        return any(address.version == 4 or self.devices[each.link].up for each in there)

    def on(self, link: str, version: int) -> Iterator[InterfaceAddress]:
        """Yield the addresses of a family on a device, in the order in which they came."""
        for each in self.addresses.values():
            for own in each:
                if own.link == link and own.address.version == version:
                    yield own

    def route(self, destination: Address, *, link: str = "") -> KernelRoute | None:
        """Return the route that the kernel would choose: the longest prefix, then the lowest metric.

        Args:
            link: only routes over that device; empty: any.
        """
        number, version = int(destination), destination.version
        longest = destination.max_prefixlen
        for length in self._lengths[version]:
            network = number >> (longest - length) << (longest - length)
            usable = [
                route
                for route in self._routes[version][length].get(network, ())
                if route.blackhole or (link in ("", route.link) and self.devices[route.link].up)
            ]
            if usable:
                return min(usable, key=_priority)
        return None

    def tells(self, address: Address) -> bool:
        """Return whether an ICMP error would be sent to that address, as far as this namespace is concerned.

        RFC 4443 s2.4(e.6): none to an anycast address. Linux takes an address for one that is the first of a
        route's destination where the route has no gateway (ipv6_anycast_destination): a subnet-router anycast
        address (RFC 4291 s2.6.1). The addresses on tunnel devices are such.
        """
        if address.version == 4 or self.own(address):
            return True
        route = self.route(address)
        return (
            route is None
            or route.gateway is not None
            or route.destination.prefixlen >= 127  # RFC 6164 s6: of a link with two ends, none is anycast
            or route.destination.network_address != address
        )

    def _set(self, setting: Sysctl) -> None:
        if (version := _FORWARDING.get(setting.name)) is not None:
            (self.forwarding.add if setting.value != "0" else self.forwarding.discard)(version)

    def _put_route(self, route: KernelRoute) -> None:
        if route.table != MAIN:
            return
        version, length = route.destination.version, route.destination.prefixlen
        if length not in self._routes[version]:
            self._routes[version][length] = {}
            self._lengths[version] = sorted(self._routes[version], reverse=True)
        network = int(route.destination.network_address)
        self._routes[version][length].setdefault(network, []).append(route)

    def _drop_route(self, route: KernelRoute) -> None:
        if route.table != MAIN:
            return
        of_length = self._routes[route.destination.version][route.destination.prefixlen]
        network = int(route.destination.network_address)
        of_length[network].remove(route)
        if not of_length[network]:
            del of_length[network]


def filled(devices: Iterable[Device], items: Iterable[Item]) -> Tables:
    """Return the tables of a namespace with those devices and those items, which name no other device."""
    tables = Tables()
    for device in devices:
        tables.put_device(device)
    for item in items:
        tables.put(item)
    return tables


def connected(item: InterfaceAddress) -> KernelRoute | None:
    """Return the route that comes with an address by itself; None: nothing is on link."""
    if item.address.network.prefixlen == item.address.max_prefixlen:
        return None
    network = item.address.network
    return KernelRoute(destination=network, link=item.link, metric=0 if network.version == 4 else 256)


def _priority(route: KernelRoute) -> int:
    return route.metric or (0 if route.destination.version == 4 else 1024)
