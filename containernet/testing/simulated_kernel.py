"""A kernel in memory that keeps the tables a packet is forwarded by.

It holds items as `FakeKernel` does, and refuses also what Linux refuses for the sake of its routing table, with
the same errno. `tracing` reads its tables; `World` plugs many of them together.
"""

from __future__ import annotations

import copy
import errno
from collections.abc import Iterable, Sequence
from ipaddress import ip_address

from ..contracts import UnderlayLink
from ..errors import ConfigError
from ..items import (
    Bridge,
    BridgePort,
    FdbEntry,
    InterfaceAddress,
    Item,
    KernelRoute,
    Link,
    Neighbour,
    Sysctl,
    Vxlan,
)
from ..model import Interface, contains
from ..tables import Device, Tables, connected
from .memory_kernel import MemoryKernel


class SimulatedKernel(MemoryKernel):
    """One network namespace.

    Fulfils Kernel, EntersNamespaces, FindsRivals, ReadsSysctls, ShowsTables and Underlay. A `Fabric`
    plugs it into others.
    """

    def __init__(self, name: str = "host") -> None:
        super().__init__(name)
        self.tables = Tables()

    def sysctls(self, wanted: Iterable[Sysctl]) -> Sequence[Sysctl]:
        """Return those settings that were made, with their values."""
        return [found for each in wanted if isinstance(found := self.items.get(each.key), Sysctl)]

    def rivals(self, items: Iterable[Item]) -> Sequence[str]:
        """Return who is preferred to those items."""
        return [line for item in items if (line := self._rival(item))]

    def _rival(self, item: Item) -> str:
        if isinstance(item, KernelRoute) and item.key in self.items:
            destination = item.destination
            way = self.tables.route(destination[0])
            if way is not None and way != item and contains(destination, way.destination):
                return f"{destination} goes by {way}, proto {self.others.get(way.key)}"
        subnet = connected(item) if isinstance(item, InterfaceAddress) else None
        for link in self.foreign.values() if subnet else ():
            for other in link.addresses:
                its = connected(InterfaceAddress(link=link.name, address=other))
                if subnet and its and contains(subnet.destination, its.destination):
                    return f"{subnet.destination} is on link at {link.name} too"
        return ""

    def show_tables(self) -> Tables:
        """Return what it forwards by."""
        with self._changed:
            return copy.deepcopy(self.tables)

    def underlay(self, interface: str = "") -> UnderlayLink:
        """Return the link of that name that is not ours, or the one of the default route."""
        ways = [self.tables.route(address) for address in map(ip_address, ("0.0.0.0", "::"))]
        defaults = [way.link for way in ways if way is not None and way.destination.prefixlen == 0]
        if not interface and not defaults:
            raise ConfigError(f"no default route; there are: {', '.join(self.foreign) or 'none'}")
        return super().underlay(interface or defaults[0])

    def put_foreign(self, device: Device, addresses: Iterable[Interface] = ()) -> None:
        """Add a device that is not ours, or change it."""
        with self._changed:
            before = self.foreign[device.name].addresses if device.name in self.foreign else ()
            new = tuple(addresses)
            self.foreign[device.name] = UnderlayLink(
                name=device.name, mtu=device.mtu, addresses=(*before, *new)
            )
            self.tables.put_device(device)
            for address in new:
                self.tables.put(InterfaceAddress(link=device.name, address=address))

    def put_foreign_route(self, route: KernelRoute, *, owner: str = "static") -> None:
        """Add a route that is not ours."""
        self.others[route.key] = owner
        self.tables.put(route)

    def gain_link(self, name: str, *, mac: str, mtu: int) -> None:
        """Find the far end of a veth inside."""
        self.put_foreign(Device(name=name, mac=mac, mtu=mtu))

    def lose_link(self, name: str) -> None:
        """Lose a veth whose other end went, with all that stands on it."""
        super().lose_link(name)
        self.tables.drop_device(name)

    def _refusal(self, item: Item) -> int:
        device = self.tables.devices.get(item.link)
        if device is None:
            return errno.ENODEV if item.link else 0
        match item:
            case KernelRoute():
                return max(self._refused_route(path, device) for path in item.paths)
            case FdbEntry():
                return 0 if isinstance(device.type, Vxlan) else errno.EOPNOTSUPP
            case BridgePort(bridge=bridge):
                if bridge not in self.tables.devices:
                    return errno.ENODEV
                return 0 if isinstance(self.tables.devices[bridge].type, Bridge) else errno.EOPNOTSUPP
            case _:
                return 0

    def _refused_route(self, route: KernelRoute, device: Device) -> int:
        if not device.up:
            return errno.ENETDOWN
        if route.gateway is None:
            return 0
        if self.tables.own(route.gateway) or route.gateway.version < route.destination.version:
            return errno.EINVAL
        if route.onlink:
            return 0
        way = self.tables.route(route.gateway, link=route.link)
        if way is None or way.gateway is not None:
            return errno.ENETUNREACH if route.gateway.version == 4 else errno.EHOSTUNREACH
        return 0

    def _hold(self, item: Item) -> int:
        super()._hold(item)
        self.tables.put(item)
        if isinstance(item, Link) and not item.up:
            self._flush(item.name)
        return 0

    def _let_go(self, item: Item) -> None:
        super()._let_go(item)
        self.tables.drop(item)

    def _drop(self, item: Item) -> None:
        super()._drop(item)
        if isinstance(item, InterfaceAddress) and not any(self.tables.on(item.link, item.address.version)):
            self._without_addresses(item.link, item.address.version)

    def _without_addresses(self, link: str, version: int) -> None:
        """With its last address of IPv4 a device loses its routes of IPv4 (fib_disable_ip); IPv6 keeps them."""
        for item in list(self.items.values()) if version == 4 else ():
            if isinstance(item, KernelRoute) and (item.link, item.destination.version) == (link, version):
                self._let_go(item)

    def _flush(self, link: str) -> None:
        """A link that goes down takes its routes and neighbours along, the permanent ones too."""
        for item in [each for each in self.items.values() if each.link == link]:
            if isinstance(item, KernelRoute | Neighbour):
                self._let_go(item)
