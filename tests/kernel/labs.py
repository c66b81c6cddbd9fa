"""What the kernel tests share: labs that stand while a test needs them, and looks into their kernels."""

from __future__ import annotations

import base64
import functools
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from typing import Any

import attrs
import pytest

from containernet.control import ask
from containernet.items import Item, Key
from containernet.lab import build, cluster, daemons, namespaces, whole
from containernet.lab.cluster import Lab
from containernet.lab.topology import Topology
from containernet.planning import Delete
from containernet_backends.etcd import records
from containernet_backends.netlink import NetlinkKernel

# The host's kernel has no ipip; these run in user-mode-linux.
IPIP = pytest.param("ipip", marks=pytest.mark.uml)

# Of the labs that have etcd for a store: its keys.
PREFIX = "/coreos.com/network"
SUBNETS = f"{PREFIX}/subnets/"

LONG = 30.0  # seconds, where a silent connection has to be noticed (nine), on two busy processors

_numbers = itertools.count(1)


def lab(topology: Topology | None = None, **wanted: Any) -> AbstractContextManager[Lab]:
    """Stand a lab up with everything running, and take it down whatever happens."""
    return _while_up(whole.up(_fresh_name(), topology or Topology(**wanted)))


def bare(**wanted: Any) -> AbstractContextManager[Lab]:
    """Stand a lab up without daemons, and take it down whatever happens."""
    return _while_up(cluster.up(_fresh_name(), Topology(**wanted)))


def _fresh_name() -> str:
    return f"test-{os.getpid()}-{next(_numbers)}"


@contextmanager
def _while_up(built: Lab) -> Iterator[Lab]:
    try:
        yield built
    finally:
        built.down()
        built.close()


def containers(built: Lab) -> tuple[str, ...]:
    """Return the names of all containers of a lab."""
    return built.topology.container_names


def hosts(built: Lab) -> list[str]:
    """Return the names of all hosts."""
    return [host.name for host in built.topology.members]


def all_items(built: Lab) -> dict[str, Mapping[Key, Item]]:
    """Return what every kernel holds of ours."""
    return {host: items(built, host) for host in hosts(built)}


def items(built: Lab, host: str) -> Mapping[Key, Item]:
    """Return what the kernel of a host holds of ours."""
    return built.call(functools.partial(items_inside, host))


def items_inside(host: str) -> dict[Key, Item]:
    """Return what the kernel of a host holds of ours; to be called inside the lab."""
    with closing(NetlinkKernel(netns=str(build.path(host)))) as kernel:
        return dict(kernel.read())


def status(built: Lab, host: str) -> dict[str, Any]:
    """Return what a host's daemon says of itself."""
    answer: dict[str, Any] = ask(built.file(daemons.directory(host)) / "containernet.sock", "status")
    return answer


def seconds_until(condition: Callable[[], bool], *, at_most: float, pause: float = 0.002) -> float:
    """Return how long it takes until `condition` holds; fails the test when it takes longer than that.

    Args:
        pause: between two looks, seconds; longer where a look is dear.
    """
    start = time.monotonic()
    while not condition():
        waited = time.monotonic() - start
        assert waited < at_most, f"not within {at_most} s"
        time.sleep(pause)
    return time.monotonic() - start


def wait_until(condition: Callable[[], bool], *, at_most: float = LONG) -> None:
    """Wait until `condition` holds, without a hurry: most looks are a process each, and there are others."""
    seconds_until(condition, at_most=at_most, pause=0.2)


def delete(host: str, wanted: list[Item]) -> None:
    """Delete items of ours behind the daemon's back; to be called inside the lab."""
    with closing(NetlinkKernel(netns=str(build.path(host)))) as kernel:
        failures = kernel.execute([Delete(item) for item in wanted])
    assert not failures, failures


def log(built: Lab, host: str) -> str:
    """Return what a host's daemon has printed."""
    return built.file(daemons.log_file(host)).read_text()


@attrs.frozen
class Said:
    """How a program ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The document that it printed."""
        return json.loads(self.out)


def run(built: Lab, host: str, *words: str) -> Said:
    """Run `containernet` on a host of the lab, with the host's config file."""
    return built.call(functools.partial(_run, host, words))


def _run(host: str, words: tuple[str, ...]) -> Said:
    command = [
        sys.executable,
        "-m",
        "containernet.cli.main",
        "--config",
        str(daemons.config_file(host)),
        *words,
    ]
    with namespaces.network(build.path(host)):
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return Said(ended.returncode, ended.stdout, ended.stderr)


def stop(built: Lab, host: str, number: int = signal.SIGTERM) -> None:
    """End a host's daemon, as a service manager would, or by another signal."""
    built.call(functools.partial(daemons.stop, host, number))


def start(built: Lab, host: str) -> None:
    """Start a host's daemon, and wait until it is ready."""
    hosts = [each for each in built.topology.stations if each.name == host]
    built.call(functools.partial(daemons.start_ready, built.topology, hosts))


def send(built: Lab, host: str, number: int) -> None:
    """Send a daemon or a member a signal that does not end it."""
    built.call(functools.partial(_send, host, number))


def _send(host: str, number: int) -> None:
    os.kill(daemons.pid(host), number)


def plug(built: Lab, name: str, state: str) -> None:
    """Take away the cable of a host or a member (`down`), or plug it in again (`up`)."""
    assert built.run("underlay", ["ip", "link", "set", f"{name}-eth0", state]) == 0


def ctl(built: Lab, *words: str, via: str = "", stdin: str = "") -> str:
    """Run etcdctl on the host of one of the store's members (default: the first); return what it prints."""
    return built.call(functools.partial(_ctl, via or built.topology.servers[0].name, words, stdin))


def _ctl(via: str, words: tuple[str, ...], stdin: str) -> str:
    with namespaces.network(build.path(via)):
        done = subprocess.run(["etcdctl", *words], input=stdin, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def told(built: Lab, revision: int = 0) -> dict[str, str]:
    """Return every record by its key, now or as of a revision."""
    answer = json.loads(ctl(built, "get", "--prefix", SUBNETS, f"--rev={revision}", "--write-out=json"))
    return {_text(each["key"]).removeprefix(SUBNETS): _text(each["value"]) for each in answer.get("kvs", ())}


def owners(built: Lab) -> dict[str, str]:
    """Return which key is whose record."""
    return {records.decode(key, value.encode()).owner: key for key, value in told(built).items()}


def subnets(built: Lab, host: str) -> list[str]:
    """Return what a host says that it holds."""
    held: list[str] = status(built, host)["subnets"]
    return held


def _text(octets: str) -> str:
    return base64.b64decode(octets).decode()
