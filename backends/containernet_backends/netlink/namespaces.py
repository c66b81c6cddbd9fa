"""Running code in another network namespace, without ever moving the caller's thread.

A network namespace belongs to a thread, and Linux offers no call that opens a socket or reads /proc/sys "over
there". So a short-lived thread goes there, does the one thing, and ends; a thread that failed to come back
would be a process that programs the wrong host. Python has `os.setns` from 3.12 on only, hence the C library.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import threading
from collections.abc import Callable
from typing import TypeVar

from containernet.errors import KernelError, NamespaceGone, PermissionRefused

from . import constants as c

_Result = TypeVar("_Result")


class Namespace:
    """A network namespace held by a file descriptor: it lives at least as long as this object is open.

    Args:
        path: such as /run/netns/c1 or /proc/42/ns/net; empty: the one that the process is in.

    Raises:
        NamespaceGone: nothing is at that path, or it is not a network namespace.
        KernelError: this process has too many files open.
        PermissionRefused: the path may not be opened.
    """

    def __init__(self, path: str = "") -> None:
        self.path = path
        self.descriptor = _open(path) if path else -1

    def run(self, function: Callable[[], _Result]) -> _Result:
        """Return what `function` returns, or raise what it raises, inside the namespace; blocks.

        Raises:
            PermissionRefused: this process may not enter.
        """
        if not self.path:
            return function()
        results: list[_Result] = []
        errors: list[BaseException] = []

        def visit() -> None:
            try:
                self._enter()
                results.append(function())
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=visit, name=f"netns {self.path}")
        thread.start()
        thread.join()
        if errors:
            raise errors[0]
        return results[0]

    def _enter(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(self.descriptor, c.CLONE_NEWNET) == 0:
            return
        code = ctypes.get_errno()
        if code == errno.EPERM:
            raise PermissionRefused(
                f"network namespace {self.path}: entering it needs CAP_SYS_ADMIN: run as root, or in the user "
                "namespace that made it"
            )
        raise KernelError(f"network namespace {self.path}: setns: {os.strerror(code)}")

    def close(self) -> None:
        """Let go of the namespace; may be called twice."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def _open(path: str) -> int:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError as error:
        raise PermissionRefused(f"network namespace {path}: {error.strerror}: run as root") from error
    except OSError as error:
        gone = error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ESRCH, errno.ENXIO)
        raise (NamespaceGone if gone else KernelError)(
            f"network namespace {path}: {error.strerror}: its container may have ended; "
            "`ip netns list` shows the named ones"
        ) from error
    try:
        kind = fcntl.ioctl(descriptor, c.NS_GET_NSTYPE)
    except OSError:
        kind = 0
    if kind != c.CLONE_NEWNET:
        os.close(descriptor)
        raise NamespaceGone(
            f"{path} is not a network namespace: expected a path such as /run/netns/NAME or /proc/PID/ns/net"
        )
    return descriptor
