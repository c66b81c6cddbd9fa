"""The process that a lab is: `python -m containernet.lab.holder NAME`.

A lab leaves no file behind, because it never makes one: its namespaces live as long as this process, the
first of a pid namespace, so that its death, by whatever hand, takes every daemon, every network and every
file with it (the lab's files are on a tmpfs that only the lab sees).

Its name is an abstract Unix socket (unix(7)), which the kernel gives to one process only, and which goes with
the process. Who connects learns by SO_PEERCRED, from the kernel and not from a file, which process holds the
lab, and whose it is. So there is no stale state and no recycled pid to guard against.

The holder does nothing: it buries orphans and answers the door. What builds and uses the lab comes in from
outside (`namespaces.enter`) and goes again.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import socket
import sys
from pathlib import Path

from ..errors import AlreadyRunning, ContainernetError, PermissionRefused
from . import namespaces

PREFIX = "containernet-lab"
READY = "ready"


def socket_name(name: str, uid: int) -> str:
    """Return the abstract address of a user's lab; the first byte is the NUL that makes it abstract."""
    return f"\0{PREFIX}/{uid}/{name}"


def refusal(uid: int) -> str:
    """Return, in one line, why this machine gives no namespaces to this user, and what to do."""
    settings = (
        ("kernel/unprivileged_userns_clone", "0", "=1"),
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "=0"),
        ("user/max_user_namespaces", "0", "=10000"),
        ("user/max_net_namespaces", "0", "=10000"),
    )
    for path, bad, cure in settings:
        with contextlib.suppress(OSError):
            if Path("/proc/sys", path).read_text().strip() == bad:
                setting = path.replace("/", ".") + cure
                return f"this machine gives an ordinary user no namespaces: sysctl -w {setting}"
    if uid == 0:
        return "root without CAP_SYS_ADMIN: make the surrounding container a privileged one"
    return "seccomp or a security module forbids user namespaces: run outside of the container, or as root"


def claim(name: str) -> socket.socket:
    """Take the lab's name in the network namespace of the caller.

    Raises:
        AlreadyRunning: a lab of that name stands.
    """
    door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        door.bind(socket_name(name, os.geteuid()))
    except OSError as error:
        door.close()
        if error.errno != errno.EADDRINUSE:
            raise
        raise AlreadyRunning(
            f"a lab named {name!r} is up: take it down with `containernet lab down --name {name}`, "
            "or give this one another --name"
        ) from error
    return door


def isolate() -> None:
    """Move into new namespaces; the next child is the first process in them.

    Raises:
        PermissionRefused: the kernel gives us none; says what stands in the way.
    """
    uid, gid = os.geteuid(), os.getegid()
    wanted = namespaces.NEW_MOUNT | namespaces.NEW_NETWORK | namespaces.NEW_PID
    try:
        if uid == 0 and _may_administer():
            namespaces.unshare(wanted)
        else:
            namespaces.unshare(wanted | namespaces.NEW_USER)
            namespaces.become_root(uid, gid)
    except OSError as error:
        raise PermissionRefused(f"{error.strerror}; {refusal(uid)}") from error


def _may_administer() -> bool:
    """Return whether we hold CAP_SYS_ADMIN (bit 21); root in a container often does not."""
    status = Path("/proc/self/status").read_text()
    effective = next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff:"))
    return bool(int(effective, 16) >> 21 & 1)


def hold(door: socket.socket) -> None:
    """Bury orphans and answer the door, until SIGTERM."""
    wakeup, signalled = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(signalled, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        readable, _, _ = select.select([wakeup, door.fileno()], [], [])
        if door.fileno() in readable:
            door.accept()[0].close()
        if wakeup in readable:
            if signal.SIGTERM in os.read(wakeup, 4096):
                return
            _bury()


def _bury() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _become_daemon() -> None:
    """Let go of the terminal and the pipe of who started us: from here on nobody waits for us."""
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)


def main(arguments: list[str]) -> int:
    """Become the lab named by the only argument; say READY, or why not, on standard output."""
    os.setsid()
    try:
        door = claim(arguments[0])
        isolate()
    except ContainernetError as error:
        print(f"{type(error).__name__} {error}")
        return error.exit_code
    if os.fork():
        os._exit(0)
    try:
        namespaces.private_mounts()
    except OSError as error:
        print(f"PermissionRefused {error.strerror}; a container that masks /proc can hold no lab")
        return PermissionRefused.exit_code
    door.listen()  # by this process: SO_PEERCRED shows who called listen(2)
    print(READY, flush=True)
    _become_daemon()
    hold(door)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
