"""Names and MAC addresses that derive from what is already known, so that nobody has to store them.

A restart, a re-created device and a second look all give the same value: that is what keeps neighbours' tables
true across them.
"""

from __future__ import annotations

import functools
from contextlib import suppress
from importlib import import_module
from ipaddress import IPv6Address
from types import ModuleType

from .model import Endpoint, Node


def number(word: str) -> int:
    """Return a stable number of 256 bits for a word, as if somebody had thrown dice for it."""
    return int.from_bytes(_digest((word,)), "big")


def mac(*parts: str) -> str:
    """Return a stable, locally administered unicast MAC (IEEE 802 s8.2.2) for these words."""
    digest = bytearray(_digest(parts)[:6])
    digest[0] = digest[0] & 0b11111100 | 0b00000010
    return digest.hex(":")


def endpoint_mac(node: Node, endpoint: Endpoint) -> str:
    """Return the MAC of a container's interface: the one that was asked for, or one for these names."""
    return endpoint.mac or mac("endpoint", node.name, endpoint.container, endpoint.interface)


def interface_name(prefix: str, *parts: str) -> str:
    """Return a stable interface name of 15 bytes that begins with `prefix`, for these words."""
    return prefix + _digest(parts).hex()[: 15 - len(prefix)]


def link_local(mac: str) -> IPv6Address:
    """Return the link-local address that Linux gives to an interface by default (RFC 4291 app. A)."""
    first, *rest = bytes.fromhex(mac.replace(":", ""))
    identifier = bytes((first ^ 2, *rest[:2], 0xFF, 0xFE, *rest[2:]))
    return IPv6Address(b"\xfe\x80" + bytes(6) + identifier)


def _digest(parts: tuple[str, ...]) -> bytes:
    digest: bytes = _hashing().sha256("\0".join(parts).encode()).digest()
    return digest


@functools.cache
def _hashing() -> ModuleType:
    """Return what Python has of SHA-256 by itself: hashlib loads OpenSSL, of which 3 MB stay."""
    for name in ("_sha2", "_sha256"):  # from 3.12 on, and before; `random` does the same
        with suppress(ImportError):
            return import_module(name)
    return import_module("hashlib")
