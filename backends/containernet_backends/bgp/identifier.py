"""A BGP Identifier where none is configured: some address of ours, or a number made from one."""

from __future__ import annotations

import socket
from hashlib import blake2s
from ipaddress import IPv4Address

from . import sockets
from .options import BgpOptions


def some_identifier(options: BgpOptions) -> IPv4Address:
    """Return the IPv4 address that we reach a peer from or listen at, or else a number made of what we have."""
    for neighbour in options.peers:
        someone = neighbour.reached[min(1, neighbour.reached.num_addresses - 1)]
        local = neighbour.transport.local or sockets.own_address(someone)
        if isinstance(local, IPv4Address):
            return local
        if local is not None:
            return _identifier(local.packed)
    address = next((where.address for where in options.listening if int(where.address)), None)
    if isinstance(address, IPv4Address):
        return address
    return _identifier(socket.gethostname().encode())


def _identifier(seed: bytes) -> IPv4Address:
    # RFC 6286 s2.1: any four octets will do, but zero
    return IPv4Address(int.from_bytes(blake2s(seed, digest_size=4).digest()) or 1)
