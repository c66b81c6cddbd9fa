"""What the loop waits for: sockets, a word from other threads, and connections that only end.

A connection that we end is not closed at once: the peer is to read why (see `Pipe.end`). For that moment nobody
knows of it but this.
"""

from __future__ import annotations

import contextlib
import functools
import os
import selectors
import socket
from collections.abc import Callable

from .pipe import Pipe

GOODBYE = 1.0  # seconds in which a peer may read why its connection ends
GOODBYES = 256  # connections that end at one time; of more, the oldest are closed at once

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE

Ready = Callable[[int], object]  # is told which of READ and WRITE can be done


class Lines:
    """The selector, and what hangs on it. Of no use before `open` and after `close`."""

    def __init__(self) -> None:
        self._selector: selectors.BaseSelector
        self._waker = -1
        self._goodbyes: dict[Pipe, float] = {}

    def open(self) -> None:
        """Take what it needs of the kernel. Raises OSError: there is no more."""
        self._selector = selectors.DefaultSelector()
        self._waker = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._selector.register(self._waker, READ, self._woken)

    def close(self) -> None:
        """Let go of everything; may be called twice, or without `open`."""
        for pipe in self._goodbyes:
            pipe.close()
        self._goodbyes.clear()
        if self._waker >= 0:
            os.close(self._waker)
            self._waker = -1
            self._selector.close()

    def wait(self, timeout: float | None) -> list[tuple[Ready, int]]:
        """Wait until something can be done, and return who is to be told, and what."""
        return [(key.data, mask) for key, mask in self._selector.select(timeout)]

    def wake(self) -> None:
        """End a `wait` of another thread; nothing where there is none any more."""
        if self._waker >= 0:
            os.eventfd_write(self._waker, 1)

    def _woken(self, mask: int) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._waker)

    def listen(self, door: socket.socket, ready: Ready) -> None:
        """Wait for callers."""
        self._selector.register(door, READ, ready)

    def ignore(self, door: socket.socket) -> None:
        """Wait for them no more."""
        self._selector.unregister(door)

    def await_(self, pipe: Pipe, mask: int, ready: Ready) -> None:
        """Wait for that, and nothing else; 0 is nothing at all."""
        if mask == pipe.awaited:
            return
        if not mask:
            self._selector.unregister(pipe.sock)
        else:
            change = self._selector.modify if pipe.awaited else self._selector.register
            change(pipe.sock, mask, ready)
        pipe.awaited = mask

    def forget(self, pipe: Pipe) -> None:
        """Close a connection at once."""
        self._goodbyes.pop(pipe, None)
        if pipe.awaited:
            self._selector.unregister(pipe.sock)
            pipe.awaited = 0
        pipe.close()

    # Connections that only end

    def end(self, pipe: Pipe, *, now: float) -> None:
        """Send what waits, and close it when the peer has ended too, or after a moment."""
        pipe.end()
        self._goodbyes[pipe] = now + GOODBYE
        if pipe.awaited:
            self._selector.unregister(pipe.sock)
            pipe.awaited = 0
        self._await_end(pipe)
        if len(self._goodbyes) > GOODBYES:
            self.forget(next(iter(self._goodbyes)))

    def expire(self, now: float) -> None:
        """Close those whose moment is over."""
        for pipe in [pipe for pipe, until in self._goodbyes.items() if until <= now]:
            self.forget(pipe)

    @property
    def first(self) -> float | None:
        """When the first of these moments is over; None: nothing ends."""
        return min(self._goodbyes.values(), default=None)

    def _await_end(self, pipe: Pipe) -> None:
        self.await_(pipe, READ | (WRITE if pipe.waiting else 0), functools.partial(self._ends, pipe))

    def _ends(self, pipe: Pipe, mask: int) -> None:
        if pipe not in self._goodbyes:
            return
        try:
            if mask & WRITE:
                pipe.flush()
                self._await_end(pipe)
            if mask & READ and pipe.read() == b"":
                self.forget(pipe)
        except OSError:
            self.forget(pipe)
