"""What is plugged into what: a lab's own cables by their names, those that somebody made by hand by asking."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..items import Veth
from ..sight import cable
from ..tables import Tables
from ..tracing import End
from . import build, namespaces
from .topology import Topology


def cables(topology: Topology, tables: Mapping[str, Tables]) -> dict[End, End]:
    """Return every cable of a lab from both its ends; to be called inside."""
    known = _own(topology, tables)
    asked = {
        name: names
        for name, seen in tables.items()
        if (names := {each.name for each in _veths(seen) if (name, each.name) not in known})
    }
    return known | (_by_hand(asked) if asked else {})


def _own(topology: Topology, tables: Mapping[str, Tables]) -> dict[End, End]:
    found: dict[End, End] = {}
    routers = (build.ROUTER,) if topology.router else ()
    for host in (*routers, *(each.name for each in topology.stations)):
        for nic in build.NICS:
            if nic in tables[host].devices and (port := f"{host}-{nic}") in tables[build.SWITCHES].devices:
                found[host, nic], found[build.SWITCHES, port] = (build.SWITCHES, port), (host, nic)
    for member in topology.members:
        for container in member.containers:
            ends = cable(member.name, container, container)
            if all(link in tables[where].devices for where, link in ends):
                found.update(ends)
    return found


def _veths(tables: Tables) -> Iterable[Any]:
    return (each for each in tables.devices.values() if isinstance(each.type, Veth))


def _by_hand(asked: Mapping[str, set[str]]) -> dict[End, End]:
    """Return the cables of some veths, of which both ends are asked for.

    A veth tells its far end by number: of the link, and of the namespace as this one counts them (RTM_GETNSID).
    """
    from pyroute2 import IPRoute

    names: dict[tuple[str, int], str] = {}
    far: dict[End, tuple[str, int]] = {}
    for where in asked:
        with namespaces.network(build.path(where)), IPRoute() as links:
            numbers = {None: where}
            for other in asked.keys() - {where}:
                with build.path(other).open() as opened:
                    numbers[links.get_netnsid(fd=opened.fileno())["nsid"]] = other
            for link in links.get_links():
                name, namespace = link.get("ifname"), link.get("link_netnsid")
                names[where, link["index"]] = name
                if name in asked[where] and namespace in numbers:
                    far[where, name] = (numbers[namespace], link.get("link"))
    return {end: (there[0], names[there]) for end, there in far.items() if there in names}
