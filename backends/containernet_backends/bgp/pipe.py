"""One TCP connection: octets out as the peer takes them, octets in as they come, and an end that is heard.

Nothing here knows BGP, waits, or reads a clock.
"""

from __future__ import annotations

import contextlib
import socket
from typing import Final

from containernet.model import Address

RECEIVE: Final = 1 << 19  # octets that are read at once: some 120,000 prefixes


class Pipe:
    """A connection, from the dial or from accept() until it is closed.

    Args:
        sock: non-blocking; the pipe owns it.
        id: the owner's number for it.
        dialing: it is not known yet whether the dial succeeds.

    Attributes:
        ending: nothing more is taken from the peer; what waits is still sent, and then our end is closed.
        waiting: octets that the kernel has not taken yet.
        local: our end's address, once it is connected.
        awaited: what the owner's selector waits for, as its mask; 0: it is not there.
    """

    def __init__(self, sock: socket.socket, id: int, *, dialing: bool = False) -> None:
        self.sock = sock
        self.id = id
        self.dialing = dialing
        self.ending = False
        self.waiting = 0
        self.local: Address | None = None
        self.awaited = 0
        self._rest = memoryview(b"")
        self._behind: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Put octets behind those that wait to be sent."""
        self._behind.append(data)
        self.waiting += len(data)

    def flush(self) -> bool:
        """Send what the kernel takes now; return whether it took any.

        Raises:
            OSError: the connection is gone.
        """
        before = self.waiting
        try:
            while self.waiting:
                if not self._rest:
                    self._rest = memoryview(b"".join(self._behind))
                    self._behind.clear()
                taken = self.sock.send(self._rest)
                self._rest = self._rest[taken:]
                self.waiting -= taken
        except (BlockingIOError, InterruptedError):
            pass
        if self.ending and not self.waiting:
            with contextlib.suppress(OSError):
                self.sock.shutdown(socket.SHUT_WR)
        return self.waiting < before

    def read(self) -> bytes | None:
        """Return what has come; empty: the peer sends no more; None: nothing has come.

        Raises:
            OSError: the connection is gone.
        """
        try:
            return self.sock.recv(RECEIVE)
        except (BlockingIOError, InterruptedError):
            return None

    def unread(self) -> bool:
        """Return whether something has come that nobody has read."""
        try:
            return bool(self.sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except OSError:
            return False

    def end(self) -> None:
        """Take no more from the peer, but send what waits: it is to read why this ends (RFC 4271 s6).

        A socket that is closed with unread octets resets the connection, and what was sent last may be lost. So
        the owner goes on to read until the peer has ended too, or a moment has passed, and then closes it.
        """
        self.ending = True
        with contextlib.suppress(OSError):
            self.flush()

    def close(self) -> None:
        """Close it at once; what waits is dropped."""
        self.sock.close()
        self._rest = memoryview(b"")
        self._behind.clear()
        self.waiting = 0
