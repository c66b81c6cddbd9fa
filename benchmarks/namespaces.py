"""Network namespaces for benchmarks: one for each side, so that nobody finds what another has left."""

from __future__ import annotations

import ctypes
import os
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from threading import Thread

from containernet.items import Item
from containernet.planning import Operation
from containernet_backends.netlink import NetlinkKernel
from containernet_backends.netlink.constants import CLONE_NEWNET

SETUP = """\
link add eth0 type bridge
link set eth0 up
address add 192.0.2.1/24 dev eth0
link add vxlan.1 address 02:00:00:00:00:01 type vxlan id 1 local 192.0.2.1 dev eth0 dstport 8472 nolearning
link set vxlan.1 up alias containernet
address add 10.4.0.0/32 dev vxlan.1
"""


class Netns:
    """A network namespace with an underlay link and a vxlan device, as long as it is not closed."""

    def __init__(self) -> None:
        made: list[int] = []

        def make() -> None:
            if ctypes.CDLL(None).unshare(CLONE_NEWNET) == 0:
                made.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))

        thread = Thread(target=make)
        thread.start()
        thread.join()
        if not made:
            raise SystemExit("no network namespaces here: run it by scripts/in-namespaces")
        (self._descriptor,) = made
        self.path = f"/proc/{os.getpid()}/fd/{self._descriptor}"
        self.run("ip", "-batch", "-", stdin=SETUP)

    def run(self, *command: str, stdin: str = "") -> None:
        """Run a program inside, and throw away what it prints."""
        subprocess.run(
            ["nsenter", f"--net={self.path}", *command],
            input=stdin,
            text=True,
            check=True,
            stdout=subprocess.DEVNULL,
        )

    def close(self) -> None:
        """Let go: it ends with the last who holds it."""
        os.close(self._descriptor)


def enter(path: str) -> None:
    """Move the calling thread into a namespace, and all that it starts; there is no way back."""
    descriptor = os.open(path, os.O_RDONLY)
    if ctypes.CDLL(None).setns(descriptor, CLONE_NEWNET) != 0:
        raise SystemExit(f"cannot enter {path}")
    os.close(descriptor)


def execute(kernel: NetlinkKernel, operations: Sequence[Operation]) -> float:
    """Return how many seconds it takes; nothing may fail."""
    began = time.perf_counter()
    failures = kernel.execute(operations)
    took = time.perf_counter() - began
    assert not failures, failures[0]
    return took


def batches(scratch: Path, work: Mapping[str, Iterable[Item]]) -> Mapping[str, Path]:
    """Return for each verb a file for `ip -batch`, or for fdb entries `bridge -batch`."""
    files = {verb: scratch / verb for verb in work}
    for verb, items in work.items():
        files[verb].write_text("".join(f"{_line(verb, item)}\n" for item in items))
    return files


def _line(verb: str, item: Item) -> str:
    kind, words = str(item).split(" ", 1)
    return f"{kind} {verb} {words}" + ("" if kind == "fdb" else " proto 77")
