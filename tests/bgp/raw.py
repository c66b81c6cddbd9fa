"""A BGP peer that does what a test says and nothing else: no timer, no table, no state machine.

It knows nothing of our codec, nor of anybody's: octets by struct, after RFC 4271 s4. So it can be late, be
silent, break any rule, and see exactly what comes back. It runs in the test's own process; only its sockets are
inside the host's namespace, where a socket stays for its life.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Iterable
from ipaddress import IPv4Address, ip_network
from typing import Self

import attrs

from containernet.lab import namespaces
from containernet.model import Address, Prefix

from .daemons import BGP_PORT
from .topology import Host

OPEN, UPDATE, NOTIFICATION, KEEPALIVE, ROUTE_REFRESH = range(1, 6)  # RFC 4271 s4.1, RFC 2918
MARKER = b"\xff" * 16
PATIENCE = 20.0  # seconds; more than the longest hold time of the tests
AS_TRANS = 23456  # RFC 6793 s9

# RFC 4271 s4.3: the flags of an attribute.
OPTIONAL, TRANSITIVE, PARTIAL, EXTENDED_LENGTH = 0x80, 0x40, 0x20, 0x10
WELL_KNOWN = TRANSITIVE

_TCP_MD5SIG = 14  # <linux/tcp.h>


def message(type: int, body: bytes = b"") -> bytes:
    """Return a message with its header (RFC 4271 s4.1)."""
    return MARKER + struct.pack("!HB", 19 + len(body), type) + body


def capability(code: int, value: bytes = b"") -> bytes:
    """Return a capability (RFC 5492 s4)."""
    return struct.pack("!BB", code, len(value)) + value


def usual(asn: int, *, families: Iterable[int] = (1, 2)) -> bytes:
    """Return the capabilities that everybody offers: families, refresh, 4-octet AS numbers."""
    spoken = b"".join(capability(1, struct.pack("!HBB", afi, 0, 1)) for afi in families)
    return spoken + capability(2) + capability(65, struct.pack("!I", asn))


def open_message(
    asn: int, router_id: IPv4Address | str, *, hold_time: int = 90, capabilities: bytes = b""
) -> bytes:
    """Return an OPEN (RFC 4271 s4.2) with its capabilities in one optional parameter (RFC 5492 s4)."""
    parameters = struct.pack("!BB", 2, len(capabilities)) + capabilities if capabilities else b""
    asn_of_two = asn if asn < 1 << 16 else AS_TRANS
    head = struct.pack("!BHH4sB", 4, asn_of_two, hold_time, IPv4Address(router_id).packed, len(parameters))
    return message(OPEN, head + parameters)


def attribute(flags: int, type: int, value: bytes) -> bytes:
    """Return a path attribute (RFC 4271 s4.3); its length in two octets where that is needed or asked."""
    if len(value) > 255 or flags & EXTENDED_LENGTH:
        return struct.pack("!BBH", flags | EXTENDED_LENGTH, type, len(value)) + value
    return struct.pack("!BBB", flags, type, len(value)) + value


def attributes(*, next_hop: str = "", as_path: Iterable[int] = (), local_pref: int | None = None) -> bytes:
    """Return ORIGIN, AS_PATH (4-octet AS numbers) and, where given, NEXT_HOP and LOCAL_PREF."""
    asns = tuple(as_path)
    segment = struct.pack(f"!BB{len(asns)}I", 2, len(asns), *asns) if asns else b""
    parts = attribute(WELL_KNOWN, 1, b"\0") + attribute(WELL_KNOWN, 2, segment)
    if next_hop:
        parts += attribute(WELL_KNOWN, 3, IPv4Address(next_hop).packed)
    if local_pref is not None:
        parts += attribute(WELL_KNOWN, 5, struct.pack("!I", local_pref))
    return parts


def nlri(*prefixes: Prefix | str) -> bytes:
    """Return prefixes as they are on the wire (RFC 4271 s4.3)."""
    found = map(ip_network, prefixes)
    return b"".join(
        bytes([each.prefixlen]) + each.network_address.packed[: (each.prefixlen + 7) // 8] for each in found
    )


def update(*, withdrawn: bytes = b"", attributes: bytes = b"", nlri: bytes = b"") -> bytes:
    """Return an UPDATE of these three parts."""
    lengths = struct.pack("!H", len(withdrawn)), struct.pack("!H", len(attributes))
    return message(UPDATE, lengths[0] + withdrawn + lengths[1] + attributes + nlri)


def notification(code: int, subcode: int, data: bytes = b"") -> bytes:
    """Return a NOTIFICATION (RFC 4271 s4.5)."""
    return message(NOTIFICATION, bytes([code, subcode]) + data)


@attrs.frozen
class Message:
    """A message that came: its type, and what follows the header."""

    type: int
    body: bytes

    @property
    def error(self) -> tuple[int, int]:
        """The code and the subcode of a NOTIFICATION."""
        assert self.type == NOTIFICATION, self
        return self.body[0], self.body[1]


class Closed(Exception):
    """The other side ended the connection."""


class Raw:
    """One TCP connection; the caller closes it. Never reads, writes or answers but when told to."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._rest = b""

    @classmethod
    def dial(
        cls,
        host: Host,
        remote: Address,
        *,
        local: Address | None = None,
        password: str = "",
        ttl: int = 0,
        port: int = BGP_PORT,
        buffer: int = 0,
        patience: float = PATIENCE,
    ) -> Raw:
        """Connect from a host's namespace.

        Args:
            remote: whom to. local: from which address. port: to which port.
            password: RFC 2385. ttl: of what is sent; 0: the kernel's.
            buffer: octets that may come unread; 0: as the kernel likes.

        Raises:
            OSError: refused, or no answer within `patience` seconds.
        """
        made = _socket(host, remote, password=password, ttl=ttl)
        try:
            if local:
                made.bind((str(local), 0))
            if buffer:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
            made.settimeout(patience)
            made.connect((str(remote), port))
        except BaseException:
            made.close()
            raise
        return cls(made)

    def send(self, octets: bytes) -> None:
        """Send octets, whatever they are."""
        self._socket.sendall(octets)

    def receive(self, *, patience: float = PATIENCE) -> Message:
        """Return the next message.

        Raises:
            Closed: there is none, and the connection has ended.
            TimeoutError: neither within `patience` seconds.
        """
        deadline, incoming = time.monotonic() + patience, select.poll()
        incoming.register(self._socket, select.POLLIN)
        while len(self._rest) < 19 or len(self._rest) < int.from_bytes(self._rest[16:18]):
            left = deadline - time.monotonic()
            if not incoming.poll(max(0.0, left) * 1000):
                raise TimeoutError(f"no message within {patience} s")
            try:
                got = self._socket.recv(1 << 16)
            except ConnectionResetError:
                got = b""
            if not got:
                raise Closed
            self._rest += got
        length = int.from_bytes(self._rest[16:18])
        whole, self._rest = self._rest[:length], self._rest[length:]
        assert whole[:16] == MARKER, whole
        return Message(whole[18], whole[19:])

    def wait_for(self, type: int, *, patience: float = PATIENCE) -> Message:
        """Return the next message of a type; those before it are dropped, but for a NOTIFICATION.

        Raises:
            AssertionError: a NOTIFICATION came in its place.
        """
        deadline = time.monotonic() + patience
        while (got := self.receive(patience=deadline - time.monotonic())).type != type:
            assert got.type != NOTIFICATION, f"NOTIFICATION {got.error}: {got.body[2:]!r}"
        return got

    def rejected(self, *, patience: float = PATIENCE) -> tuple[int, int]:
        """Return code and subcode of the NOTIFICATION that comes, and see the connection end after it."""
        error = self.wait_for(NOTIFICATION, patience=patience).error
        try:
            more = self.receive(patience=patience)
        except Closed:
            return error
        raise AssertionError(f"after NOTIFICATION {error} came {more}")

    def establish(
        self, asn: int, router_id: IPv4Address | str, *, hold_time: int = 0, capabilities: bytes | None = None
    ) -> Message:
        """Bring a session up, and return the other side's OPEN.

        Args:
            hold_time: 0: nobody sends keepalives, and the session lasts (RFC 4271 s4.2).
            capabilities: None: `usual`.
        """
        offered = usual(asn) if capabilities is None else capabilities
        self.send(open_message(asn, router_id, hold_time=hold_time, capabilities=offered))
        theirs = self.wait_for(OPEN)
        self.send(message(KEEPALIVE))
        self.wait_for(KEEPALIVE)
        return theirs

    def reset(self) -> None:
        """End the connection with a TCP reset, as a peer that crashed does."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def close(self) -> None:
        """End the connection in order; may be called twice."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Listener:
    """The port of a host, open for those who dial; the caller closes it."""

    def __init__(
        self, host: Host, address: Address, *, password: str = "", password_of: Address | None = None
    ) -> None:
        self._socket = _socket(host, password_of or address, password=password)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((str(address), BGP_PORT))
        self._socket.listen()

    def accept(self, *, patience: float = PATIENCE) -> Raw:
        """Return the next connection.

        Raises:
            TimeoutError: nobody dialled within `patience` seconds.
        """
        self._socket.settimeout(patience)
        connected, _ = self._socket.accept()
        return Raw(connected)

    def close(self) -> None:
        """Let nobody in any more; may be called twice."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _socket(host: Host, remote: Address, *, password: str = "", ttl: int = 0) -> socket.socket:
    with namespaces.network(host.path):
        made = socket.socket(socket.AF_INET if remote.version == 4 else socket.AF_INET6)
    if ttl:
        made.setsockopt(*_ttl_option(remote), ttl)
    if password:
        made.setsockopt(socket.IPPROTO_TCP, _TCP_MD5SIG, _md5(remote, password))
    return made


def _ttl_option(remote: Address) -> tuple[int, int]:
    if remote.version == 4:
        return socket.IPPROTO_IP, socket.IP_TTL
    return socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS


def _md5(remote: Address, password: str) -> bytes:
    """Return a struct tcp_md5sig of <linux/tcp.h>."""
    if remote.version == 4:
        address = struct.pack("=H2x4s120x", socket.AF_INET, remote.packed)
    else:
        address = struct.pack("=H6x16s104x", socket.AF_INET6, remote.packed)
    key = password.encode()
    return address + struct.pack("=BBHi80s", 0, 0, len(key), 0, key)
