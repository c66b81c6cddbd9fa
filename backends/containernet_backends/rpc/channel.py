"""An endpoint: a connection when there is something to ask, and another when that one is gone.

One that could not even be made, or said nothing, is not tried again at once: after 0.2 s, then ever more
rarely, down to every 3 s, give or take a fifth, so that many clients do not come at once. Until then every call
fails with the reason of that attempt.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

from containernet.jitter import jitter

from .call import Status
from .link import CallFailed, Clock, Link, Metadata, Server, Stream

FIRST_PAUSE, LONGEST_PAUSE, GROWTH, JITTER = 0.2, 3.0, 1.6, 0.2  # seconds, and factors


class Channel:
    """The way to one server, for any number of threads; opens nothing before the first call.

    Args:
        clock: as of time.monotonic(). vary: as `jitter` does.
    """

    def __init__(
        self,
        server: Server,
        *,
        clock: Clock = time.monotonic,
        vary: Callable[[float, float, float], float] = jitter,
    ) -> None:
        self._server, self._clock, self._vary = server, clock, vary
        self._link: Link | None = None
        self._leaving: list[Link] = []  # with calls that go on, but none that begins
        self._failures = 0  # in a row
        self._not_before, self._reason = -math.inf, Status("UNAVAILABLE")
        self._closed = False
        self._lock = threading.Lock()

    def open(
        self,
        path: str,
        message: bytes,
        *,
        last: bool = True,
        timeout: float | None = None,
        metadata: Metadata = (),
        secret: str = "",
    ) -> Stream:
        """Make a call; see `Link.open`.

        Raises:
            CallFailed: there is no connection, and it is not time yet to try again; or the channel was closed.
        """
        link = self._usable()
        return link.open(path, message, last=last, timeout=timeout, metadata=metadata, secret=secret)

    def close(self) -> None:
        """End every call, and let go of the connections; may be called twice."""
        with self._lock:
            self._closed = True
            links = [*self._leaving, *([self._link] if self._link else [])]
        for link in links:
            link.close()

    def _usable(self) -> Link:
        """Return a connection on which a call can be made."""
        with self._lock:
            if self._closed:
                raise CallFailed(Status("CANCELLED", "the channel was closed"))
            if self._link is not None and not self._link.usable:
                self._leave(self._link)
            if self._link is None:
                if self._clock() < self._not_before:
                    raise CallFailed(self._reason)
                self._link = Link(self._server, clock=self._clock)
            return self._link

    def _leave(self, link: Link) -> None:
        """Make no more calls on a connection; see how long to wait before the next is made."""
        self._link = None
        self._leaving = [each for each in (*self._leaving, link) if each.ended is None]
        if link.settled or link.ended is None:
            self._failures = 0
            return
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * GROWTH ** min(self._failures, 99))
        self._failures += 1
        self._not_before = link.began + self._vary(pause, 1 - JITTER, 1 + JITTER)
        self._reason = link.ended
