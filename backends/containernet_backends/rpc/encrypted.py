"""A TLS connection that does not block, with a socket's own words for that."""

from __future__ import annotations

import errno
import select
import socket
import ssl


class Encrypted:
    """See `dialing.Connection`; takes the socket over."""

    def __init__(self, tls: ssl.SSLContext, plain: socket.socket, host: str) -> None:
        self.socket = tls.wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False)

    def handshake(self) -> int:
        """Go on with it; return poll(2)'s events to wait for, or 0: it is done.

        Raises:
            OSError: it failed (an ssl.SSLError), or the other end has left in the midst of it.
        """
        try:
            self.socket.do_handshake()
        except ssl.SSLWantReadError:
            return select.POLLIN
        except ssl.SSLWantWriteError:
            return select.POLLOUT
        # Which of these it is depends on whether an alert was read first; who speaks no TLS may do either.
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError) as error:
            raise OSError(errno.ECONNRESET, "closed during the TLS handshake") from error
        return 0

    @property
    def protocol(self) -> str | None:
        """What both agreed to speak (RFC 7301)."""
        return self.socket.selected_alpn_protocol()

    def fileno(self) -> int:
        """For poll(2)."""
        return self.socket.fileno()

    def send(self, octets: bytes) -> int:
        """Send some of it; return how much."""
        try:
            return self.socket.send(octets)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None

    def recv(self, most: int) -> bytes:
        """Return all that has come: what OpenSSL has decrypted already, poll(2) does not know of."""
        found = bytearray()
        while len(found) < most:
            try:
                octets = self.socket.recv(most - len(found))
            except OSError as error:
                if found:  # it will be said again
                    break
                if isinstance(error, ssl.SSLWantReadError | ssl.SSLWantWriteError):
                    raise BlockingIOError from None
                raise
            if not octets:
                break
            found += octets
        return bytes(found)

    def close(self) -> None:
        """Let go of it."""
        self.socket.close()
