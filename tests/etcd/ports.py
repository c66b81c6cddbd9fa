"""Ports for servers that will be started again on them."""

from __future__ import annotations

import socket
from random import SystemRandom

# Below the range from which the kernel takes ports for outgoing connections (ip_local_port_range). In it, a
# client that tries again and again while its server is away would some day be given the server's own port,
# connect to itself (simultaneous open, RFC 9293 s3.5), and keep the server from coming back.
FIRST, LAST = 10000, 32000
_dice = SystemRandom()  # Hypothesis has the module's own say the same again and again
_given: set[int] = set()


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on now, and that nobody here was given before."""
    while True:
        port = _dice.randint(FIRST, LAST)
        if port in _given:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given.add(port)
        return port
