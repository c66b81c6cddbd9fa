"""Network namespaces for tests: made on the spot, gone with the test, for root and for an ordinary user.

A namespace here has no name and no mount: a descriptor of this process keeps it, and its path goes through
/proc. So a test that is killed leaves nothing behind, and nothing needs a writable /run.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from threading import Thread

import pytest

from containernet.items import Item
from containernet_backends.netlink import NetlinkKernel
from containernet_backends.netlink.constants import CLONE_NEWNET

from .peers import GROUND, connect, kernel_of, reach


class Netns:
    """A network namespace with loopback up, as long as it is not closed."""

    def __init__(self) -> None:
        self._descriptor = -1
        maker = Thread(target=self._make)
        maker.start()
        maker.join()
        if self._descriptor < 0:
            pytest.skip("no network namespaces: run as root, or under `unshare --user --map-root-user --net`")
        self.path = f"/proc/{os.getpid()}/fd/{self._descriptor}"
        self.ip("link set lo up")

    def _make(self) -> None:
        if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) == 0:
            self._descriptor = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    def run(self, *words: str, stdin: str = "") -> str:
        """Run a program inside; return what it prints."""
        command = ["nsenter", f"--net={self.path}", *words]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
        return done.stdout

    def ip(self, line: str) -> str:
        """Run `ip` with these words inside, as an operator or a rival program would."""
        return self.run("ip", *line.split())

    def can(self, line: str) -> bool:
        """Run `ip` with these words inside; return whether it could."""
        command = ["nsenter", f"--net={self.path}", "ip", *line.split()]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def nft(self, line: str) -> bool:
        """Run `nft` with these words inside; return whether it could."""
        command = ["nsenter", f"--net={self.path}", "nft", line]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def bridge(self, line: str) -> str:
        """Run `bridge` with these words inside."""
        return self.run("bridge", *line.split())

    def kernel(self) -> NetlinkKernel:
        """Return a kernel of ours for this namespace; the caller closes it."""
        return NetlinkKernel.from_options({"netns": self.path})

    def close(self) -> None:
        """Let go; the namespace ends when nobody else holds it. May be called twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


@pytest.fixture
def netns() -> Iterator[Callable[[], Netns]]:
    """A factory of namespaces, all of which end with the test."""
    with ExitStack() as stack:

        def make() -> Netns:
            made = Netns()
            stack.callback(made.close)
            return made

        yield make


@pytest.fixture
def far(netns: Callable[[], Netns]) -> Netns:
    """Whoever is at the other end of the host's eth0."""
    return netns()


@pytest.fixture
def host(netns: Callable[[], Netns], far: Netns) -> Netns:
    """A host with an underlay link."""
    host = netns()
    connect(host, far)
    return host


@contextmanager
def holding(kernel: NetlinkKernel, items: Iterable[Item]) -> Iterator[NetlinkKernel]:
    """A kernel that listens, and holds those items; closed in the end."""
    with closing(kernel):
        kernel.changed(0)
        reach(kernel, items)
        yield kernel


@pytest.fixture
def kernel(host: Netns) -> Iterator[NetlinkKernel]:
    """The host's kernel, which listens, and holds what peers stand on."""
    with holding(kernel_of(host), GROUND) as kernel:
        yield kernel
