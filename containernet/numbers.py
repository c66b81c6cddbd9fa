"""Addresses, prefixes and interfaces of numbers that are known to be right, in a third of the time.

The constructors of `ipaddress` find out what they were given, and check it. Who has read octets of a fixed
length knows that already, thousands of times in a start. So the objects are made here as those constructors
leave them, attribute by attribute. Where an interpreter's objects have other attributes, which is seen once, at
import, the constructors are called after all.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import Any

from .model import Address, Interface, Prefix

_ADDRESSES: dict[int, type[Address]] = {4: IPv4Address, 6: IPv6Address}
_INTERFACES: dict[int, type[Interface]] = {4: IPv4Interface, 6: IPv6Interface}
_NETWORKS: dict[int, type[Prefix]] = {4: IPv4Network, 6: IPv6Network}
_LONGEST = {4: 30, 6: 126}  # behind it, `hosts` is another one for each network
_NETMASKS: dict[int, dict[int, Address]] = {4: {}, 6: {}}  # as far as somebody has asked


def plain_address(version: int, number: int) -> Address:
    """Return what `address` returns, by the constructors of `ipaddress`."""
    return _ADDRESSES[version](number)


def plain_prefix(version: int, first: int, length: int) -> Prefix:
    """Return what `prefix` returns, by the constructors of `ipaddress`."""
    return _NETWORKS[version]((first, length))


def quick_address(version: int, number: int) -> Address:
    """Return what `address` returns, attribute by attribute."""
    made: Any = object.__new__(_ADDRESSES[version])
    made._ip = number  # noqa: SLF001 - the property that holds this is in tests/properties/test_numbers.py
    if version == 6:
        made._scope_id = None  # noqa: SLF001
    return made  # type: ignore[no-any-return]


def quick_prefix(version: int, first: int, length: int) -> Prefix:
    """Return what `prefix` returns, attribute by attribute."""
    mask = _NETMASKS[version].get(length)
    if mask is None:
        if length > _LONGEST[version]:
            return plain_prefix(version, first, length)
        mask = _NETMASKS[version][length] = plain_prefix(version, 0, length).netmask
    made: Any = object.__new__(_NETWORKS[version])
    made.network_address = quick_address(version, first)
    made.netmask = mask
    made._prefixlen = length  # noqa: SLF001
    return made  # type: ignore[no-any-return]


def plain_interface(number: int, network: Prefix) -> Interface:
    """Return what `interface` returns, by the constructors of `ipaddress`."""
    return _INTERFACES[network.version]((number, network.prefixlen))


def quick_interface(number: int, network: Prefix) -> Interface:
    """Return what `interface` returns, attribute by attribute."""
    made: Any = object.__new__(_INTERFACES[network.version])
    made._ip = number  # noqa: SLF001
    if network.version == 6:
        made._scope_id = None  # noqa: SLF001
    made.network = network
    made.netmask = network.netmask
    made._prefixlen = network.prefixlen  # noqa: SLF001
    return made  # type: ignore[no-any-return]


def _has_usual_attributes() -> bool:
    try:
        return all(
            _attributes(quick_address(version, number)) == _attributes(plain_address(version, number))
            and _attributes(quick_prefix(version, number, 24)) == _attributes(plain_prefix(version, number, 24))
            and _attributes(quick_interface(number, plain_prefix(version, number, 24)))
            == _attributes(plain_interface(number, plain_prefix(version, number, 24)))
            for version, number in ((4, 0x0A040100), (6, 0xFD00_04 << 104))
        )
    except (AttributeError, TypeError):
        return False


def _attributes(made: object) -> dict[str, object]:
    names = [name for kind in type(made).__mro__ for name in getattr(kind, "__slots__", ())]
    slots = {name: getattr(made, name, None) for name in names if name != "__weakref__"}
    return slots | getattr(made, "__dict__", {})


_QUICK = _has_usual_attributes()

address: Callable[[int, int], Address] = quick_address if _QUICK else plain_address
"""Return the address of that version, 4 or 6, whose number that is; it must be in range."""

prefix: Callable[[int, int, int], Prefix] = quick_prefix if _QUICK else plain_prefix
"""Return the prefix of that version, first address and length; nothing may be set behind its length."""

interface: Callable[[int, Prefix], Interface] = quick_interface if _QUICK else plain_interface
"""Return the address of that number with the network that it is in, which the result shares."""
