"""TCP as BGP wants it: signed segments, near neighbours only, and nothing that blocks.

Linux's own numbers stand here where Python's socket module has no names for them (tcp(7), ip(7), and the
kernel's include/uapi/linux/tcp.h, in.h, in6.h).
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from ipaddress import ip_address, ip_network

import attrs

from containernet.errors import ConfigError
from containernet.model import Address, Prefix

_TCP_MD5SIG = 14
_TCP_MD5SIG_EXT = 32
_TCP_MD5SIG_FLAG_PREFIX = 1
_TCP_MD5SIG_MAXKEYLEN = 80
_IP_MINTTL = 21
_IPV6_MINHOPCOUNT = 73
_INTERNETWORK_CONTROL = 0xC0  # RFC 4271 appendix E.3: the IP precedence of routing protocols

BUFFER = 1 << 20  # octets that the kernel may hold for a session: a table goes out in few turns


@attrs.frozen(kw_only=True)
class Transport:
    """How a session travels.

    Args:
        local: the address to dial from; None: the kernel's choice.
        password: of RFC 2385, at most 80 octets; empty: unsigned.
        ttl: of what we send, 1 to 255; 1 keeps a session on its link.
        hops: how many hops away the peer may be, by the TTL of what it sends (RFC 5082 s3: it sends 255);
            0: its TTL is not looked at.
    """

    local: Address | None = None
    password: str = attrs.field(default="", repr=False)
    ttl: int = 255
    hops: int = 0

    def __attrs_post_init__(self) -> None:
        if len(self.password.encode()) > _TCP_MD5SIG_MAXKEYLEN:
            raise ConfigError(f"password: expected at most {_TCP_MD5SIG_MAXKEYLEN} octets (RFC 2385)")
        if not 1 <= self.ttl <= 255:
            raise ConfigError(f"multihop = {self.ttl}: expected a TTL of 1 to 255")
        if not 0 <= self.hops <= 254:
            raise ConfigError(f"ttl_security = {self.hops}: expected 0 (off) to 254 hops (RFC 5082)")


def listen(address: Address, port: int, *, hops: int = 0) -> socket.socket:
    """Return a socket that listens there; the caller owns it.

    Args:
        hops: how many hops away whoever calls may be at most (RFC 5082); 0: any.

    Raises:
        OSError: the address is not ours, the port is taken, or it takes CAP_NET_BIND_SERVICE.
    """
    listener = socket.socket(_domain(address), socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if address.version == 6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        # What answers a SYN is the listener: a peer that asks for TTL 255 would not hear another.
        _limit_hops(listener, ttl=255, hops=hops)  # Linux: what is accepted inherits both
        listener.bind((str(address), port))
        listener.listen(1024)
    except OSError:
        listener.close()
        raise
    return listener


def sign(sock: socket.socket, peers: Prefix, password: str) -> None:
    """Have segments to and from `peers` signed (RFC 2385); an empty password ends that.

    On a listener it is set before a peer dials, for each peer or range of them.

    Raises:
        OSError: this kernel has no TCP_MD5SIG (ENOPROTOOPT), or takes CAP_NET_ADMIN for it.
    """
    key = password.encode()
    address = peers.network_address
    if address.version == 4:
        name = struct.pack("=HH4s", socket.AF_INET, 0, address.packed)
    else:
        name = struct.pack("=HHI16sI", socket.AF_INET6, 0, 0, address.packed, 0)
    whole = peers.prefixlen == peers.max_prefixlen
    option, flags = (_TCP_MD5SIG, 0) if whole else (_TCP_MD5SIG_EXT, _TCP_MD5SIG_FLAG_PREFIX)
    value = struct.pack("=128sBBHi80s", name, flags, 0 if whole else peers.prefixlen, len(key), 0, key)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, option, value)
    except OSError as error:
        if error.errno != errno.ENOENT or key:  # to end what never began is no failure
            raise


def prepare(sock: socket.socket, transport: Transport) -> None:
    """Set on a connection, accepted or not yet dialled, what `transport` asks for."""
    ipv6 = sock.family == socket.AF_INET6
    level = socket.IPPROTO_IPV6 if ipv6 else socket.IPPROTO_IP
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
    sock.setsockopt(level, socket.IPV6_TCLASS if ipv6 else socket.IP_TOS, _INTERNETWORK_CONTROL)
    # RFC 5082 s3: both send 255
    _limit_hops(sock, ttl=255 if transport.hops else transport.ttl, hops=transport.hops)


def _limit_hops(sock: socket.socket, *, ttl: int, hops: int) -> None:
    ipv6 = sock.family == socket.AF_INET6
    level = socket.IPPROTO_IPV6 if ipv6 else socket.IPPROTO_IP
    sock.setsockopt(level, socket.IPV6_UNICAST_HOPS if ipv6 else socket.IP_TTL, ttl)
    if hops:  # RFC 5082 s3: what has passed more routers than there may be is dropped unread.
        sock.setsockopt(level, _IPV6_MINHOPCOUNT if ipv6 else _IP_MINTTL, 256 - hops)


def give_up(sock: socket.socket, after: float) -> None:
    """Have the kernel end a connection whose peer has taken nothing of what it holds for so many seconds.

    A peer that lives and does not read lets the kernel try for ever (RFC 9293 s3.8.6.1); see tcp(7).
    """
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(after * 1000))


def dial(peer: Address, port: int, transport: Transport) -> socket.socket:
    """Begin to connect, and return the socket: writable when it is known how that went (see `outcome`).

    Raises:
        OSError: it could not even begin: no route, or `transport.local` is not ours.
    """
    sock = socket.socket(_domain(peer), socket.SOCK_STREAM)
    try:
        prepare(sock, transport)
        if transport.password:
            sign(sock, ip_network(peer), transport.password)
        if transport.local is not None:
            sock.bind((str(transport.local), 0))
        started = sock.connect_ex((str(peer), port))
        if started not in (0, errno.EINPROGRESS):
            raise OSError(started, os.strerror(started))
    except OSError:
        sock.close()
        raise
    return sock


def outcome(sock: socket.socket) -> str:
    """Return why a dial failed, in words; empty: it did not."""
    number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    return os.strerror(number) if number else ""


def ends(sock: socket.socket) -> tuple[Address, Address]:
    """Return our address and the peer's. Raises OSError: the connection is gone."""
    return _address(sock.getsockname()[0]), _address(sock.getpeername()[0])


def own_address(towards: Address) -> Address | None:
    """Return the address that the kernel would send from; None: it knows no way. Sends nothing."""
    with socket.socket(_domain(towards), socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((str(towards), 179))
            return _address(probe.getsockname()[0])
        except OSError:
            return None


def _address(text: str) -> Address:
    return ip_address(text.partition("%")[0])  # without the zone of a link-local address (RFC 4007 s11)


def _domain(address: Address) -> socket.AddressFamily:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6
