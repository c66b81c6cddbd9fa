"""Ports for servers that will be started again on them."""

from __future__ import annotations

import random
import socket

# Below the range from which the kernel takes ports for outgoing connections (ip_local_port_range). In it, a
# client that tries again and again while its server is away would some day be given the server's own port,
# connect to itself (simultaneous open, RFC 9293 s3.5), and keep the server from coming back.
FIRST, LAST = 10000, 32000


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on now."""
    while True:
        port = random.randint(FIRST, LAST)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
