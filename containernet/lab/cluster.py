"""The lab as its user sees it from outside: up, find, call inside, run inside, down.

A `Lab` is a handle on the process that holds the namespaces (`holder`). It keeps a pidfd, so that it can never
reach another process by a recycled pid, and it remembers nothing that the lab itself does not hold: files,
topology and logs are read from inside.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import select
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self, TypeVar

from .. import errors
from ..errors import ConfigError, ContainernetError, KernelError, PermissionRefused
from . import build, holder, namespaces
from .topology import Topology

T = TypeVar("T")

HOME = Path("/run/lab")  # the lab's files, on the tmpfs that only the lab sees
_TOPOLOGY = HOME / "topology.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}")
_DEADLINE = 10.0  # seconds for a process to start or to die; both take milliseconds


class Lab:
    """A lab that stands, or stood when the handle was made.

    Args:
        name: which one of this user's labs.
        pid: the holder, in the caller's pid namespace.
        pidfd: the holder; the handle owns it, and `close` or `with` lets go of it. The lab lives on.
    """

    def __init__(self, *, name: str, pid: int, pidfd: int) -> None:
        self.name = name
        self.pid = pid
        self.pidfd = pidfd

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the handle, once."""
        os.close(self.pidfd)

    def file(self, path: Path) -> Path:
        """Return the path, outside, of a file inside."""
        return Path(f"/proc/{self.pid}/root{path}")

    @functools.cached_property
    def topology(self) -> Topology:
        """What was asked for when the lab was made.

        Raises:
            KernelError: the lab is still being built, or is gone.
        """
        try:
            return Topology(**json.loads(self.file(_TOPOLOGY).read_text()))
        except OSError as error:
            raise KernelError(f"lab {self.name!r} is not built yet, or is going down: try again") from error

    def call(self, function: Callable[[], T]) -> T:
        """Return what `function` returns inside the lab; it runs in a process of its own.

        Raises:
            KernelError, PermissionRefused: the lab is gone, or somebody else's.
            Exception: whatever the function raised.
        """
        return namespaces.call_inside(self.pidfd, function)

    def run(self, where: str, command: Sequence[str]) -> int:
        """Run a command in a host or a container, on our terminal; return its exit status."""
        return namespaces.run_inside(self.pidfd, self.netns(where), list(command))

    def netns(self, where: str) -> Path:
        """Return the path, inside, of a host's or a container's network namespace.

        Raises:
            ConfigError: the lab has nothing of that name.
        """
        extra = (build.SWITCHES, build.ROUTER) if self.topology.router else (build.SWITCHES,)
        if where not in (*self.topology.names, *extra):
            known = ", ".join((*self.topology.names, *extra))
            raise ConfigError(f"lab {self.name!r} has no {where!r}: expected one of {known}")
        return build.path(where)

    def down(self) -> None:
        """Take the lab down: processes, networks and files, all at once. May be called twice."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        _wait_readable(self.pidfd, f"lab {self.name!r} (process {self.pid}) does not die")


def up(name: str, topology: Topology) -> Lab:
    """Make a lab: namespaces, links, addresses, a router. No daemon yet. A failure leaves nothing behind.

    Raises:
        AlreadyRunning: one of that name stands.
        ConfigError: the name is none.
        PermissionRefused: this machine gives us no namespaces; the message says why.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(f"--name {name!r}: expected 1 to 40 letters, digits, dots, dashes or underscores")
    _start_holder(name)
    lab = find(name)
    try:
        lab.call(functools.partial(_furnish, topology))
    except BaseException:
        lab.down()
        lab.close()
        raise
    return lab


def _furnish(topology: Topology) -> None:
    HOME.mkdir()
    build.build(topology)
    _TOPOLOGY.write_text(json.dumps(topology.to_json()))


def _start_holder(name: str) -> None:
    """Start the holder and wait for its word."""
    command = [sys.executable, "-m", holder.__name__, name]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        word = process.stdout.read().strip()
    if word == holder.READY:
        return
    kind, _, message = word.partition(" ")
    refused = getattr(errors, kind, None)
    if isinstance(refused, type) and issubclass(refused, ContainernetError):
        raise refused(message)
    last = word.splitlines()[-1] if word else f"exit status {process.returncode}"
    raise KernelError(f"the lab's holder did not start: {last}")


def find(name: str) -> Lab:
    """Return a handle on the lab of that name; the caller closes it.

    Raises:
        ConfigError: there is none.
    """
    uid = os.geteuid()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
        try:
            door.connect(holder.socket_name(name, uid))
        except ConnectionRefusedError as error:
            others = ", ".join(names()) or "none"
            raise ConfigError(
                f"no lab named {name!r} is up (up: {others}); make one with `containernet lab up --name {name}`"
            ) from error
        pid, owner, _ = struct.unpack("3i", door.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if owner != uid:
            raise PermissionRefused(f"the lab {name!r} belongs to uid {owner}, not to {uid}")
        return Lab(name=name, pid=pid, pidfd=os.pidfd_open(pid))


def names() -> list[str]:
    """Return the names of the labs of this user that are up."""
    start = f"@{holder.PREFIX}/{os.geteuid()}/"
    rows = [line.split()[-1] for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
    return sorted({path.removeprefix(start) for path in rows if path.startswith(start)})


def _wait_readable(fd: int, otherwise: str) -> None:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    if not poll.poll(_DEADLINE * 1000):
        raise KernelError(otherwise)
