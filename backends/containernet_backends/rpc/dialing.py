"""A connection that is being made: names, addresses, TLS. It never blocks; who wants it asks what to wait for.

A generator does one step after the other, and yields in between what its socket waits for (poll(2)'s events).
So whoever drives it may give up at any moment, and another may go on.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import threading
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import ssl

ALPN = "h2"  # RFC 9113 s3.2


class Connection(Protocol):
    """What a link needs of a socket that does not block; each raises BlockingIOError where it would."""

    def fileno(self) -> int:
        """For poll(2)."""

    def send(self, octets: bytes, /) -> int:
        """Send some of it; return how much."""

    def recv(self, most: int, /) -> bytes:
        """Return what has come; less than `most`: that was all. Nothing: the other end has said everything."""

    def close(self) -> None:
        """Let go of it."""


# What a dial yields: where to wait, if there is a socket yet, and for which events.
Waiting = tuple[socket.socket | None, int]
Dial = Generator[Waiting, None, Connection]
Address = tuple[int, Any]  # family, and what connect(2) takes


def dial(host: str, port: int, tls: ssl.SSLContext | None, wake: Callable[[], None]) -> Dial:
    """Connect to the first address of a host that takes it.

    Args:
        wake: called, from another thread, when a name is known: there is no socket that tells it.

    Raises:
        OSError: there is no such host, no address of it answers, or TLS fails (an ssl.SSLError is one).
    """
    failure: OSError | None = None
    for address in (yield from _resolved(host, port, wake)):
        try:
            return (yield from _connected(address, host, tls))
        except OSError as error:
            failure = error
    raise failure or OSError(errno.EADDRNOTAVAIL, "the name has no address")


def _resolved(host: str, port: int, wake: Callable[[], None]) -> Generator[Waiting, None, Sequence[Address]]:
    """Return the addresses of a host; getaddrinfo(3) may block for long, so it has a thread to itself."""
    try:
        return _addresses(host, port, socket.AI_NUMERICHOST)
    except socket.gaierror:
        pass
    answer: list[Sequence[Address] | OSError] = []

    def ask() -> None:
        try:
            answer.append(_addresses(host, port, 0))
        except OSError as error:
            answer.append(error)
        wake()

    threading.Thread(target=ask, name=f"containernet-name-{host}", daemon=True).start()
    while not answer:
        yield None, 0
    (found,) = answer
    if isinstance(found, OSError):
        raise found
    return found


def _addresses(host: str, port: int, flags: int) -> Sequence[Address]:
    # Text goes through the codec for names that are not ASCII, which takes 3 ms and half a megabyte to load.
    name = host.encode() if host.isascii() else host
    found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=flags)
    return [(family, address) for family, _, _, _, address in found]


def _connected(address: Address, host: str, tls: ssl.SSLContext | None) -> Dial:
    family, where = address
    plain = socket.socket(family, socket.SOCK_STREAM)
    try:
        plain.setblocking(False)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        code = plain.connect_ex(where)
        if code == errno.EINPROGRESS:
            yield plain, select.POLLOUT
            code = plain.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))
        return plain if tls is None else (yield from _encrypted(plain, host, tls))
    except BaseException:  # also GeneratorExit: nobody goes on
        plain.close()
        raise


def _encrypted(plain: socket.socket, host: str, tls: ssl.SSLContext) -> Dial:
    from .encrypted import Encrypted

    connection = Encrypted(tls, plain, host)
    try:
        while events := connection.handshake():
            yield connection.socket, events
        if connection.protocol != ALPN:
            raise OSError(errno.EPROTONOSUPPORT, "the server offers no HTTP/2 in TLS (ALPN)")
    except BaseException:
        connection.close()
        raise
    return connection
