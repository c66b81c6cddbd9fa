"""The sockets that peers call: all open, or all shut for a moment, while there is no descriptor for callers."""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Callable

from containernet.errors import StoreUnavailable

from . import sockets
from .options import BgpOptions

log = logging.getLogger(__name__)

DEAF = 0.5  # seconds without callers, when there is no descriptor for one

# What accept(2) says where the caller is there and we have nothing to hold it with.
_SCARCE = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Doors:
    """Where peers call.

    Args:
        open, shut: are told which sockets to wait for, and which no longer.

    Attributes:
        opens_at: when they open again; None: they are open, or there are none.
    """

    def __init__(
        self, *, open: Callable[[socket.socket], object], shut: Callable[[socket.socket], object]
    ) -> None:
        self.opens_at: float | None = None
        self._open = open
        self._shut = shut
        self._listeners: list[socket.socket] = []

    def build(self, options: BgpOptions) -> None:
        """Listen wherever the options say.

        Raises:
            StoreUnavailable: that cannot be, with what to do.
        """
        for where in options.listening:
            try:
                hops = options.hops(where.address.version)
                listener = sockets.listen(where.address, where.port, hops=hops)
                self._listeners.append(listener)
                for neighbour in options.peers:
                    if neighbour.password and neighbour.reached.version == where.address.version:
                        sockets.sign(listener, neighbour.reached, neighbour.password)
            except OSError as error:
                raise StoreUnavailable(f"BGP cannot listen on {where}: {_advice(error)}") from error
        self.open()

    def open(self) -> None:
        """Let callers come."""
        for listener in self._listeners:
            self._open(listener)
        self.opens_at = None

    def accept(self, listener: socket.socket, *, now: float) -> socket.socket | None:
        """Return a caller's connection; None: nobody is there, or there is nothing to hold it with."""
        try:
            return listener.accept()[0]
        except OSError as error:
            if error.errno in _SCARCE and self.opens_at is None:
                log.warning("BGP: a caller has to wait: %s", error.strerror)
                self._ignore()
                self.opens_at = now + DEAF
            return None

    def close(self) -> None:
        """Listen no more; may be called twice."""
        self._ignore()
        self.clear()

    def clear(self) -> None:
        """Let go of the sockets, where nobody waits for them any more."""
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        self.opens_at = None

    def _ignore(self) -> None:
        if self.opens_at is None:
            for listener in self._listeners:
                self._shut(listener)


def _advice(error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return "another program listens there already; stop it, or set listen"
        case errno.EACCES:
            return "not permitted: ports below 1024 take CAP_NET_BIND_SERVICE; or set listen"
        case errno.EADDRNOTAVAIL:
            return "the address is not one of this host's; set listen"
        case errno.EAFNOSUPPORT:
            return 'this host has no IPv6; set listen = ["0.0.0.0:179"]'
        case errno.ENOPROTOOPT:
            return "this kernel signs no segments (TCP_MD5SIG), and a peer has a password"
        case _:
            return error.strerror or str(error)
