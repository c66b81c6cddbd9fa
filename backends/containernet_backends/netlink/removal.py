"""Removing a cable without waiting until the kernel has forgotten it.

Linux takes a device out of all its tables at once, and then waits some 20 ms until nobody on any processor can
still be looking at it; only then is the request answered. Whoever asks the kernel sees the first part alone. So
the request is made by a thread on a socket of its own, and we go on as soon as the kernel shows the device no
more: its name is free, its far end is gone, and what else there is to do waits for nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from . import constants as c
from .frames import Refusal
from .socket import NetlinkSocket
from .wire import link_body

_PAUSE = 0.0005  # seconds between two looks; each waits for the kernel's lock, so there is hardly ever a second


class Removals:
    """The links of one namespace that are on their way out.

    Args:
        another: opens one more socket in that namespace.
    """

    def __init__(self, another: Callable[[], NetlinkSocket]) -> None:
        self._another = another
        self._threads: list[threading.Thread] = []

    def remove(self, socket: NetlinkSocket, index: int) -> Refusal | None:
        """Delete a link; return the refusal, or None as soon as it is gone."""
        answers: list[Refusal | None] = []
        own = self._another()

        def ask() -> None:
            try:
                answers.append(own.request(c.RTM_DELLINK, 0, link_body(index=index)))
            finally:
                own.close()

        thread = threading.Thread(target=ask, name=f"remove link {index}", daemon=True)
        self._threads = [*filter(threading.Thread.is_alive, self._threads), thread]
        thread.start()
        while thread.is_alive() and isinstance(socket.get(c.RTM_GETLINK, link_body(index=index)), bytes):
            thread.join(_PAUSE)
        return answers[0] if answers else None

    def wait(self) -> None:
        """Wait until the kernel has forgotten all of them."""
        for thread in self._threads:
            thread.join()
