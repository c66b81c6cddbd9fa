"""The lab's side of containernetd: its config file, its start and its end, and what it answers.

Everything that the lab knows about the daemon is in this file. Each host's files are in a directory of its own
under the lab's home, on the tmpfs that goes with the lab. All but `ask` run inside the lab.

The store's servers (`server`) are started, waited for and stopped in the same way, each on its host: etcd, too,
tells by sd_notify(3) that it is ready.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import attrs

from .. import control, loading
from ..errors import ConfigError, ContainernetError, DaemonUnavailable
from ..items import Hairpin, SourceGuard
from ..planning import Create, Delete
from . import build, cluster, mesh, namespaces, server
from .topology import Host, Topology

POOLS = {4: 'pool = "10.4.0.0/16"', 6: 'pool6 = "fd00:4::/48"'}
DEADLINE = 20.0  # seconds for daemons to be ready
_LOG_LINES = 5


def directory(host: str) -> Path:
    """Return where a host's files are, inside the lab."""
    return cluster.HOME / host


def config_file(host: str) -> Path:
    """Return the path, inside, of a host's config file."""
    return directory(host) / "containernet.toml"


def log_file(host: str) -> Path:
    """Return the path, inside, of what the host's daemon prints."""
    return directory(host) / "log"


def config(topology: Topology, host: Host, *, edge: bool = True) -> str:
    """Return a host's config file.

    Args:
        edge: what an operator gets who says nothing; False: for a kernel without nftables.

    Raises:
        ConfigError: no lab can be made with that store.
    """
    if topology.store not in _STORES:
        raise ConfigError(
            f"--store {topology.store}: no lab can be made with it; expected {', '.join(_STORES)}"
        )
    lines = ["[node]", f'name = "{host.name}"', f'interface = "{build.NICS[0]}"', "[network]"]
    lines += [POOLS[version] for version in topology.versions]
    leases = "sqlite" if topology.store == "bgp" else topology.store  # BGP gives nobody a subnet
    lines += ["[store]", f'leases = "{leases}"', f'routes = "{topology.store}"']
    lines += _STORES[topology.store](topology, host)
    lines += ["[dataplane]", f'local = "{topology.local}"', f'remote = "{topology.dataplane}"']
    lines += [] if edge else ["masquerade = false", "guard = false"]
    lines += [f"[dataplane.{topology.dataplane}]", *topology.options]
    if topology.dataplane == "bridge":
        lines += [f'uplink = "{build.NICS[1]}"']
    lines += ["[daemon]", f'state_dir = "{directory(host.name)}"', f'run_dir = "{directory(host.name)}"']
    lines += [f"lease_ttl = {topology.lease_ttl}", f'subnet_file = "{directory(host.name) / "subnet.env"}"']
    return "\n".join(lines) + "\n"


def _sqlite(topology: Topology, host: Host) -> list[str]:
    own = topology.store_options if topology.store == "sqlite" else ()
    return ["[store.sqlite]", f'path = "{cluster.HOME / "store.db"}"', *own]


def _etcd(topology: Topology, host: Host) -> list[str]:
    lines = ["[store.etcd]", f"endpoints = {json.dumps(server.endpoints(topology))}"]
    if topology.certificates:
        named = zip(("ca", "cert", "key"), server.files(topology, host.name), strict=True)
        lines += [f"{name} = {json.dumps(str(path))}" for name, path in named]
    return [*lines, *topology.store_options]


def _bgp(topology: Topology, host: Host) -> list[str]:
    return [*_sqlite(topology, host), *mesh.table(topology, host)]


_STORES: dict[str, Callable[[Topology, Host], list[str]]] = {"sqlite": _sqlite, "etcd": _etcd, "bgp": _bgp}


@attrs.frozen(kw_only=True)
class Started:
    """A daemon that was just started.

    Args:
        pid: in the lab's pid namespace.
        notify: where it says that it is ready (sd_notify(3)); the owner closes it.
    """

    host: str
    pid: int
    notify: socket.socket


def start(topology: Topology, host: Host) -> Started:
    """Start a host's daemon, or the store's server on a host of its own."""
    if host in topology.servers:
        path, data = server.program(topology), directory(host.name) / "data"
        return launch(host.name, server.command(topology, host, path=path, data=data))
    return start_with(host.name, config(topology, host, edge=topology.edge and has_nftables(host.name)))


def has_nftables(host: str) -> bool:
    """Return whether a host's kernel can masquerade and guard, and has the library that it is told by."""
    guard = SourceGuard(interface="probe", mac="02:00:00:00:00:01", addresses=(), bridged=True)
    probes = (guard, Hairpin(subnet=ip_network("192.0.2.0/24")))
    with contextlib.closing(loading.kernel("netlink", {"netns": str(build.path(host))})) as kernel:
        refused = kernel.execute([Create(each) for each in probes if each.key not in kernel.read()])
        kernel.execute([Delete(each) for each in probes])
    return not refused


def start_with(host: str, text: str) -> Started:
    """Start a host's daemon with that config file."""
    directory(host).mkdir(exist_ok=True)
    config_file(host).write_text(text)
    return launch(host, [sys.executable, "-m", "containernet.daemon", "--config", str(config_file(host))])


def launch(host: str, command: Sequence[str]) -> Started:
    """Start a host's daemon by its command; the lab's holder inherits it."""
    home = directory(host)
    home.mkdir(exist_ok=True)
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    address = home / "notify"
    address.unlink(missing_ok=True)
    notify.bind(str(address))
    with namespaces.network(build.path(host)), log_file(host).open("ab") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "NOTIFY_SOCKET": str(address)},
            start_new_session=True,
        )
    (home / "pid").write_text(str(process.pid))
    process.returncode = 0  # it outlives us: no warning that nobody waited for it
    return Started(host=host, pid=process.pid, notify=notify)


def start_ready(topology: Topology, hosts: Iterable[Host], *, deadline: float = DEADLINE) -> None:
    """Start the daemons of those hosts at once, and wait until each says that it is ready.

    Raises:
        DaemonUnavailable: some are not, with what each says about it.
    """
    wait_ready([start(topology, host) for host in hosts], deadline=deadline)


def wait_ready(started: Iterable[Started], *, deadline: float = DEADLINE) -> None:
    """Wait until each of those daemons says that it is ready.

    Raises:
        DaemonUnavailable: some are not, with what each says about it.
    """
    waiting = {daemon.host: daemon for daemon in started}
    end = time.monotonic() + deadline
    dead: set[str] = set()
    with contextlib.ExitStack() as stack:
        poll = select.poll()
        owners = {}
        for daemon in waiting.values():
            pidfd = os.pidfd_open(daemon.pid)
            stack.callback(os.close, pidfd)
            stack.enter_context(daemon.notify)
            for fd in (daemon.notify.fileno(), pidfd):
                owners[fd] = daemon
                poll.register(fd, select.POLLIN)
        while waiting.keys() - dead and (left := end - time.monotonic()) > 0:
            for fd, _ in poll.poll(left * 1000):
                daemon = owners[fd]
                if fd != daemon.notify.fileno():
                    poll.unregister(fd)
                    dead.add(daemon.host)
                elif b"READY=1" in daemon.notify.recv(4096):
                    waiting.pop(daemon.host, None)
    if waiting:
        raise DaemonUnavailable("; ".join(_why_not_ready(host, dead) for host in waiting))


def _why_not_ready(host: str, dead: set[str]) -> str:
    lines = log_file(host).read_text().splitlines()[-_LOG_LINES:]
    last = " | ".join(lines) or "it said nothing"
    if host in dead:
        return f"{host}: its daemon ended: {last}"
    try:
        reasons = ", ".join(ask(directory(host), "status", timeout=2.0)["reasons"])
    except ContainernetError as error:
        reasons = str(error)
    return f"{host}: not ready: {reasons}; its log ends: {last}"


def pid(host: str) -> int:
    """Return the process of a host's daemon, in the lab's pid namespace."""
    return int((directory(host) / "pid").read_text())


def stop(host: str, number: int = signal.SIGTERM) -> None:
    """Send a host's daemon a signal that ends it, and wait until it is dead.

    Raises:
        DaemonUnavailable: it is not running, or does not die.
    """
    own = pid(host)
    try:
        pidfd = os.pidfd_open(own)
    except ProcessLookupError as error:
        raise DaemonUnavailable(f"{host}: no daemon is running") from error
    try:
        signal.pidfd_send_signal(pidfd, number)
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        if not poll.poll(DEADLINE * 1000):
            raise DaemonUnavailable(f"{host}: its daemon (process {own}) does not end")
    finally:
        os.close(pidfd)


def ask(home: Path, command: str, *, timeout: float = 60.0, **arguments: object) -> Any:
    """Ask the daemon whose directory is `home`, which may be the path inside or outside."""
    return control.ask(home / "containernet.sock", command, timeout=timeout, **arguments)


def attach(container: str, host: str) -> None:
    """Have a host's daemon give one of its containers an interface."""
    ask(directory(host), "attach", container=container, netns=str(build.path(container)))


def wait_for_routes(topology: Topology, *, deadline: float = DEADLINE) -> None:
    """Wait until every host has programmed, or refused, the routes of every other.

    Raises:
        DaemonUnavailable: some have not, with how many are missing.
    """
    wanted = (topology.hosts - 1) * len(topology.versions)
    end = time.monotonic() + deadline
    for host in topology.members:
        while (missing := _missing(host.name, wanted)) and time.monotonic() < end:
            select.select([], [], [], 0.01)
        if missing:
            raise DaemonUnavailable(f"{host.name}: {missing}; see `containernet lab logs {host.name}`")


def _missing(host: str, wanted: int) -> str:
    """Return what a host still lacks, or nothing."""
    status = ask(directory(host), "status")
    known = {route["prefix"] for route in status["routes"] if route["node"] != host} | set(status["refused"])
    if len(known) < wanted:
        return f"has heard of {len(known)} of {wanted} routes"
    return "" if status["settled"] else "is still programming"
