"""The way of a packet through a whole laboratory: every namespace is looked at, and the way crosses hosts."""

from __future__ import annotations

import contextlib
import functools

from .. import config, loading
from ..explaining import Explanation, explain as explain_way
from ..hearsay import Hearsay, asked
from ..model import Address
from ..sight import address, tables_of
from ..tracing import Network, Port
from . import build, daemons, whole
from .cables import cables
from .cluster import Lab
from .topology import Topology


def explain(
    lab: Lab, source: str, destination: str, *, version: int = 4, port: Port | None = None
) -> Explanation:
    """Return the way from a host or a container to another's address of that family, or to an address.

    Args:
        port: that the packet goes to; None: it is an echo request.

    Raises:
        ConfigError: the lab has nothing of that name, or it has no such address.
    """
    lab.netns(source)
    names: dict[str, tuple[Address, ...]] = dict.fromkeys(lab.topology.names, ())
    if destination in names:
        names[destination] = tuple(whole.addresses(lab, destination))
    target = address(destination, names, version)
    return lab.call(functools.partial(_explain, lab.topology, source, target, port))


def _explain(topology: Topology, source: str, target: Address, port: Port | None) -> Explanation:
    return explain_way(_view(topology), source, target, said=_said(topology), port=port)


def _said(topology: Topology) -> Hearsay:
    """Return what the daemons say; those of a lab that was made without are not missed."""
    files = {host.name: daemons.config_file(host.name) for host in topology.members}
    return asked({name: config.load(file) for name, file in files.items() if file.exists()})


def _view(topology: Topology) -> Network:
    routers = (build.ROUTER,) if topology.router else ()
    tables = {}
    for name in (build.SWITCHES, *routers, *topology.names):
        kernel = loading.kernel("netlink", {"netns": str(build.path(name))})
        with contextlib.closing(kernel):
            tables[name] = tables_of(kernel)
    return Network(tables=tables, cables=cables(topology, tables))
