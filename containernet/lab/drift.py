"""Somebody else's hand in a host's kernel: delete a route behind the daemon's back, and time how it heals."""

from __future__ import annotations

import os
import select
import socket
import struct
import time
from pathlib import Path

from ..errors import KernelError
from ..model import Prefix
from . import namespaces

# <linux/netlink.h>, <linux/rtnetlink.h>
_ERROR, _NEW_ROUTE, _DELETE_ROUTE = 2, 24, 25
_REQUEST = 1
_ROUTE_GROUPS = {4: 0x40, 6: 0x400}  # RTMGRP_IPV4_ROUTE, RTMGRP_IPV6_ROUTE
_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
_HEADER = struct.Struct("=IHHII")
_ROUTE = struct.Struct("=BBBBBBBBI")  # family, dst_len, src_len, tos, table, protocol, scope, type, flags
_ATTRIBUTE = struct.Struct("=HH")
_DESTINATION = 1  # RTA_DST
_MAIN = 254
_ANY_SCOPE = 255  # RT_SCOPE_NOWHERE; protocol 0 and type 0 match any too


def delete_route(netns: Path, prefix: Prefix, *, deadline: float = 30.0) -> float:
    """Delete the route to `prefix` in a namespace; return after how many seconds it is back.

    The time runs from just before the kernel is asked to delete it to the kernel's word that it is there.
    Nothing but that word is waited for in between, so the time is the daemon's.

    Raises:
        KernelError: there is no such route, or it did not come back.
    """
    with namespaces.network(netns), _netlink() as listener:
        listener.bind((0, _ROUTE_GROUPS[prefix.version]))
        start = time.monotonic()
        listener.send(_deletion(prefix))
        _wait(listener, _DELETE_ROUTE, prefix, start + deadline)
        return _wait(listener, _NEW_ROUTE, prefix, start + deadline) - start


def _netlink() -> socket.socket:
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)


def _deletion(prefix: Prefix) -> bytes:
    """Return the request; the kernel answers it only where it fails."""
    destination = prefix.network_address.packed
    route = _ROUTE.pack(_FAMILY[prefix.version], prefix.prefixlen, 0, 0, _MAIN, 0, _ANY_SCOPE, 0, 0)
    attribute = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(destination), _DESTINATION) + destination
    length = _HEADER.size + len(route) + len(attribute)
    return _HEADER.pack(length, _DELETE_ROUTE, _REQUEST, 1, 0) + route + attribute


def _wait(listener: socket.socket, kind: int, prefix: Prefix, end: float) -> float:
    """Wait for the kernel's word on that prefix; return when it came, in monotonic seconds."""
    while (left := end - time.monotonic()) > 0 and select.select([listener], [], [], left)[0]:
        octets = listener.recv(1 << 16)
        now = time.monotonic()
        length, type_, *_ = _HEADER.unpack_from(octets)
        if type_ == _ERROR:
            code = -struct.unpack_from("=i", octets, _HEADER.size)[0]
            raise KernelError(f"cannot delete the route to {prefix}: {os.strerror(code)}")
        if type_ == kind and _destination(octets[_HEADER.size : length]) == prefix.network_address.packed:
            return now
    verb = "come back" if kind == _NEW_ROUTE else "go"
    raise KernelError(f"the route to {prefix} did not {verb} in time")


def _destination(message: bytes) -> bytes:
    """Return the RTA_DST of a route message, or nothing."""
    at = _ROUTE.size
    while at + _ATTRIBUTE.size <= len(message):
        length, kind = _ATTRIBUTE.unpack_from(message, at)
        if kind == _DESTINATION:
            return message[at + _ATTRIBUTE.size : at + length]
        at += max(_ATTRIBUTE.size, (length + 3) & ~3)  # RTA_ALIGN
    return b""
