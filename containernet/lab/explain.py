"""The way of a packet through a whole laboratory: every namespace is looked at, and the way crosses hosts."""

from __future__ import annotations

import contextlib
import functools

from .. import loading
from ..control import ask
from ..errors import ConfigError, DaemonUnavailable
from ..explaining import Explanation, cable, explain as explain_way, tables_of, target as parsed
from ..model import Address
from ..tracing import End, Network
from . import build, daemons, whole
from .cluster import Lab
from .topology import Topology


def explain(lab: Lab, source: str, destination: str, *, version: int = 4) -> Explanation:
    """Return the way from a host or a container to another's address of that family, or to an address.

    Raises:
        ConfigError: the lab has nothing of that name, or it has no such address.
    """
    lab.netns(source)
    target = _target(lab, destination, version)
    return lab.call(functools.partial(_explain, lab.topology, source, target))


def _target(lab: Lab, destination: str, version: int) -> Address:
    if destination not in lab.topology.names:
        return parsed(destination, {})
    for address in whole.addresses(lab, destination):
        if address.version == version:
            return address
    raise ConfigError(f"{destination} has no IPv{version} address")


def _explain(topology: Topology, source: str, target: Address) -> Explanation:
    host = source if source in {each.name for each in topology.stations} else topology.host_of(source).name
    status = None
    with contextlib.suppress(DaemonUnavailable):
        status = ask(daemons.directory(host) / "containernet.sock", "status")
    return explain_way(_view(topology), source, target, status=status)


def _view(topology: Topology) -> Network:
    routers = (build.ROUTER,) if topology.router else ()
    tables = {}
    for name in (build.SWITCHES, *routers, *topology.names):
        kernel = loading.kernel("netlink", {"netns": str(build.path(name))})
        with contextlib.closing(kernel):
            tables[name] = tables_of(kernel)
    cables: dict[End, End] = {}
    for host in (*routers, *(each.name for each in topology.stations)):
        for nic in build.NICS:
            if nic in tables[host].devices and (port := f"{host}-{nic}") in tables[build.SWITCHES].devices:
                cables[host, nic], cables[build.SWITCHES, port] = (build.SWITCHES, port), (host, nic)
    for member in topology.members:
        for container in member.containers:
            cables.update(cable(member.name, container, container))
    return Network(tables=tables, cables=cables)
