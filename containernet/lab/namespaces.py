"""Linux namespaces from Python: unshare(2), setns(2), mount(2), and a process that moves into another's.

Nothing here knows what a lab is. The standard library learns unshare and setns in 3.12 only, mount never;
hence ctypes, once, here. No program is spawned.

Three rules of the kernel shape this file (user_namespaces(7), pid_namespaces(7)):

- only a process with a single thread may enter a user or a mount namespace, so `call_inside` forks first;
- a process that changes its pid namespace is not in it, only its children are, so `call_inside` forks again;
- a network namespace is a matter of one thread, so `network` may go to and fro as it likes.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import os
import pickle
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ..errors import ContainernetError, KernelError, PermissionRefused

T = TypeVar("T")

# <linux/sched.h>
NEW_MOUNT = 0x00020000
NEW_USER = 0x10000000
NEW_PID = 0x20000000
NEW_NETWORK = 0x40000000

# <linux/mount.h>
_NOSUID, _NODEV, _NOEXEC, _BIND, _RECURSIVE, _SLAVE = 0x2, 0x4, 0x8, 0x1000, 0x4000, 0x80000

OWN_NETWORK = Path("/proc/thread-self/ns/net")


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: object) -> None:
    """Call a function of the C library that returns 0 or sets errno.

    Raises:
        OSError: it set errno.
    """
    if getattr(_libc(), name)(*arguments):
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")


def unshare(flags: int) -> None:
    """Leave some namespaces for new ones."""
    _call("unshare", flags)


def setns(fd: int, flags: int) -> None:
    """Enter the namespace that `fd` is, or those of the process that the pidfd `fd` is (Linux 5.8)."""
    _call("setns", fd, flags)


def mount(source: str, target: str, filesystem: str | None, flags: int = 0, options: str = "") -> None:
    """Mount a filesystem, or a path on another (mount(2))."""
    kind = filesystem.encode() if filesystem else None
    _call("mount", source.encode(), target.encode(), kind, ctypes.c_ulong(flags), options.encode())


def become_root(uid: int, gid: int) -> None:
    """Map one ordinary user to root, from inside a user namespace just made (user_namespaces(7)).

    A group can be mapped without privilege only after setgroups(2) has been given up.
    """
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
    Path("/proc/self/gid_map").write_text(f"0 {gid} 1")


def private_mounts() -> None:
    """Give the calling process, first of new mount and pid namespaces, its own /proc and an empty /run.

    Mounts made outside still come in, none made inside gets out.
    """
    mount("none", "/", None, _RECURSIVE | _SLAVE)
    mount("proc", "/proc", "proc", _NOSUID | _NODEV | _NOEXEC)
    mount("tmpfs", "/run", "tmpfs", _NOSUID | _NODEV, "mode=0755")


@contextlib.contextmanager
def network(path: Path | None = None) -> Iterator[None]:
    """Let this thread be in the network namespace at `path`, or in a new one; afterwards where it was.

    A socket stays for its life in the namespace in which it was made.

    Raises:
        KernelError: there is no such namespace.
        PermissionRefused: this process may not enter it.
    """
    home = os.open(OWN_NETWORK, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _enter_network(path)
        try:
            yield
        finally:
            setns(home, NEW_NETWORK)
    finally:
        os.close(home)


def _enter_network(path: Path | None) -> None:
    if path is None:
        unshare(NEW_NETWORK)
        return
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise KernelError(f"network namespace {path}: {error.strerror}") from error
    try:
        setns(fd, NEW_NETWORK)
    except OSError as error:
        refused = PermissionRefused if error.errno == errno.EPERM else KernelError
        raise refused(f"network namespace {path}: {os.strerror(error.errno or 0)}") from error
    finally:
        os.close(fd)


def create_network(path: Path) -> None:
    """Make a network namespace that lives at `path` until it is unmounted, as `ip netns add` does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(exist_ok=False)
    with network():
        mount(str(OWN_NETWORK), str(path), None, _BIND)


def enter(pidfd: int) -> None:
    """Move this process, which must have one thread, into all namespaces of another; its children follow.

    Raises:
        PermissionRefused: the other belongs to somebody else.
        KernelError: it is gone, or this kernel is older than 5.8.
    """
    where = Path.cwd()
    for flags in (NEW_USER | NEW_MOUNT | NEW_PID | NEW_NETWORK, NEW_MOUNT | NEW_PID | NEW_NETWORK):
        try:
            setns(pidfd, flags)
        except OSError as error:
            last = error
        else:
            with contextlib.suppress(OSError):
                os.chdir(where)
            return
        if last.errno != errno.EINVAL:  # EINVAL: the other is in our own user namespace already
            break
    if last.errno == errno.EPERM:
        raise PermissionRefused("the lab belongs to another user; run as that user") from last
    raise KernelError(f"cannot enter the lab: {os.strerror(last.errno or 0)} (needs Linux 5.8)") from last


class Inside:
    """A function at work in another process's namespaces, in a process of its own.

    Args:
        pidfd: whose namespaces; stays the caller's.
        function: what runs there; it and what it returns cross by fork and pickle.
        close: the caller's ends of pipes to the function, which nobody there must hold open.
    """

    def __init__(self, pidfd: int, function: Callable[[], object], *, close: Sequence[int] = ()) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        self._answer, theirs = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            for fd in (self._answer, *close):
                os.close(fd)
            _run_inside(pidfd, function, theirs)
        os.close(theirs)

    def result(self) -> Any:
        """Wait for the function; return what it returned or raise what it raised."""
        with os.fdopen(self._answer, "rb") as stream:
            answer = stream.read()
        os.waitpid(self.pid, 0)
        if not answer:
            raise KernelError("the process inside the lab died; is the lab still up? (containernet lab list)")
        returned, raised = pickle.loads(answer)
        if raised is not None:
            raise raised
        return returned


def call_inside(pidfd: int, function: Callable[[], T]) -> T:
    """Return what `function` returns in the namespaces of the process `pidfd`."""
    result: T = Inside(pidfd, function).result()
    return result


def _run_inside(pidfd: int, function: Callable[[], object], answer: int) -> None:
    """Enter, fork, run, and never return: the child's whole life."""
    status = 1
    try:
        enter(pidfd)
        child = os.fork()
        if child == 0:
            _reply(function, answer)
            os._exit(0)
        os.closerange(3, 1 << 20)  # a pipe that the function waits at must not be kept open by us
        status = exit_status(os.waitpid(child, 0)[1])
    except BaseException as error:  # the parent raises it
        with contextlib.suppress(OSError):
            os.write(answer, pickle.dumps((None, error)))
    finally:
        os._exit(status)


def _reply(function: Callable[[], object], answer: int) -> None:
    try:
        reply: tuple[object, BaseException | None] = (function(), None)
    except ContainernetError as error:
        reply = (None, error)
    except BaseException as error:  # the parent raises it, with the trace as text
        import traceback

        reply = (None, RuntimeError(f"inside the lab: {''.join(traceback.format_exception(error))}"))
    sys.stdout.flush()
    sys.stderr.flush()
    with os.fdopen(answer, "wb") as stream:
        stream.write(pickle.dumps(reply))


def run_inside(pidfd: int, netns: Path, command: list[str]) -> int:
    """Run a command in the other's namespaces and that network; return its exit status as a shell would.

    The command keeps our terminal and our standard streams. Signals of the terminal are the command's to
    take: we wait.
    """
    pid = os.fork()
    if pid == 0:
        _exec_inside(pidfd, netns, command)
    ignored = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGQUIT)}
    try:
        return exit_status(os.waitpid(pid, 0)[1])
    finally:
        for number, handler in ignored.items():
            signal.signal(number, handler)


def _exec_inside(pidfd: int, netns: Path, command: list[str]) -> None:
    status = 127  # what a shell answers for a command that is not there
    try:
        enter(pidfd)
        child = os.fork()
        if child == 0:
            _enter_network(netns)
            os.execvp(command[0], command)
        for number in (signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, signal.SIG_IGN)
        status = exit_status(os.waitpid(child, 0)[1])
    except (OSError, ContainernetError) as error:
        reason = f"{command[0]}: {error.strerror}" if isinstance(error, OSError) else str(error)
        os.write(2, f"containernet: {reason}\n".encode())
    finally:
        os._exit(status)


def exit_status(wait_status: int) -> int:
    """Return a wait status as a shell shows it: the exit code, or 128 plus the signal."""
    code = os.waitstatus_to_exitcode(wait_status)
    return code if code >= 0 else 128 - code
