"""What an interface in another namespace has, asked of the kernel and not of anybody's memory."""

from __future__ import annotations

import contextlib
import fcntl
import socket
import struct
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from ..errors import KernelError
from ..model import Address
from . import namespaces

_SIOCGIFADDR, _SIOCGIFMTU = 0x8915, 0x8921  # netdevice(7)
_IFREQ = 40
_GLOBAL_SCOPE = "00"


def addresses(netns: Path, interface: str = "eth0") -> tuple[Address, ...]:
    """Return an interface's addresses that others can reach, IPv4 first; none where there is no interface."""
    with namespaces.network(netns):
        own: list[Address] = []
        with contextlib.suppress(OSError):  # no such interface, or no IPv4 address on it
            own.append(IPv4Address(_ask(_SIOCGIFADDR, interface)[20:24]))
        rows = [line.split() for line in Path("/proc/thread-self/net/if_inet6").read_text().splitlines()]
    own += [
        IPv6Address(bytes.fromhex(address))
        for address, _, _, scope, _, name in rows
        if name == interface and scope == _GLOBAL_SCOPE
    ]
    return tuple(own)


def mtu(netns: Path, interface: str = "eth0") -> int:
    """Return an interface's MTU, octets.

    Raises:
        KernelError: there is no such interface.
    """
    with namespaces.network(netns):
        try:
            (octets,) = struct.unpack_from("i", _ask(_SIOCGIFMTU, interface), 16)
        except OSError as error:
            raise KernelError(f"{netns.name} has no interface {interface}") from error
    return int(octets)


def _ask(request: int, interface: str) -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        return fcntl.ioctl(any_socket, request, struct.pack(f"16s{_IFREQ - 16}x", interface.encode()))
