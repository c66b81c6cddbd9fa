"""Sleeping until a file is touched, whoever touches it: inotify(7), at no cost while nothing happens.

One watch on one inode. It fires when

- somebody calls utime(2) on the file: how our own writers ring after a commit;
- somebody who had the file open for writing closes it, or is killed: the ring that a dead writer owed;
- the file loses a name or is renamed: it was deleted or replaced.

Content is not watched, on purpose. A database that keeps a write-ahead log writes its content *before* the
change can be read; whoever woke by that would look too early, find nothing, and sleep through the change.

Where the kernel gives no inotify instance (fs.inotify.max_user_instances, a seccomp filter), `wait` returns
once a second instead. It may always return early, so the caller looks again each time and sees no difference.
"""

from __future__ import annotations

import ctypes
import math
import os
import select
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

IN_ATTRIB = 0x04
IN_CLOSE_WRITE = 0x08
IN_DELETE_SELF = 0x400
IN_MOVE_SELF = 0x800
MASK = IN_ATTRIB | IN_CLOSE_WRITE | IN_DELETE_SELF | IN_MOVE_SELF

FALLBACK_INTERVAL = 1.0  # seconds


def listen(path: Path) -> int:
    """Return an inotify instance with one watch on the inode that `path` names; raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd: int = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if fd < 0:
        raise OSError(ctypes.get_errno(), "inotify_init1")
    if libc.inotify_add_watch(fd, os.fsencode(path), MASK) < 0:
        os.close(fd)
        raise OSError(ctypes.get_errno(), "inotify_add_watch", str(path))
    return fd


class Watch:
    """One sleeper on one file.

    What happened since the last `wait` is not lost: the next one returns at once. So the order "wait, then
    look" misses nothing.

    Args:
        path: the file, which must be there.
        listen: how to get an inotify instance that watches it; what raises OSError means that there is none.

    Raises:
        OSError: not even an eventfd is to be had (EMFILE).
    """

    def __init__(self, path: Path, *, listen: Callable[[Path], int] = listen) -> None:
        self._alarm = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._inotify: int | None = None
        with suppress(OSError):
            self._inotify = listen(path)
        self._poll = select.poll()
        self._poll.register(self._alarm, select.POLLIN)
        if self._inotify is not None:
            self._poll.register(self._inotify, select.POLLIN)

    def wait(self, timeout: float) -> None:
        """Sleep until the file is touched or `wake` is called, `timeout` seconds at most; may return early."""
        if self._inotify is None:
            timeout = min(timeout, FALLBACK_INTERVAL)
        # Rounded up: a sleep that ends a fraction before its deadline would be followed by a busy loop.
        for fd, _ in self._poll.poll(math.ceil(min(timeout, 86400.0) * 1000)):
            with suppress(BlockingIOError):
                os.read(fd, 65536)

    def wake(self) -> None:
        """End the current `wait`, or the next one; from any thread."""
        os.eventfd_write(self._alarm, 1)

    def close(self) -> None:
        """Let go of the descriptors; nobody may be inside `wait`."""
        os.close(self._alarm)
        if self._inotify is not None:
            os.close(self._inotify)
