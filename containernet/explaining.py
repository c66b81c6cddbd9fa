"""Why a packet gets where it gets, or does not: the tracer's way, in words, with who announced the route.

The view is whatever the caller can read: one host with its containers, where the way ends at the network card,
or a whole laboratory.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from ipaddress import ip_address, ip_network
from typing import Any

import attrs

from . import derive
from .addresses import AddressBook
from .config import Config
from .contracts import EntersNamespaces, Kernel, ShowsTables
from .errors import ConfigError, DaemonUnavailable, KernelError
from .items import KernelRoute
from .model import Address, Endpoint
from .tables import Tables
from .tracing import End, Network, Trace, trace

LARGEST = 65535  # octets of an IP packet


@attrs.frozen(kw_only=True)
class Explanation:
    """A way in words.

    Args:
        start: the namespace that the packet comes from.
        way: the trace.
        fits: the largest packet that takes the same way, octets; 0: none does.
        announced: prefix to who announced it, and when that was heard.
        refused: why the daemon makes no route to the destination; empty: it makes one, or was not asked.
    """

    start: str
    way: Trace
    fits: int
    announced: Mapping[str, str]
    refused: str = ""

    @property
    def wrong(self) -> str:
        """The first thing that is wrong, in one line; empty: nothing that can be seen from here."""
        death = self.way.death
        return self.refused or (f"{death.where}: {death.reason}" if death else "")

    def lines(self) -> Iterator[str]:
        """Yield the explanation line by line."""
        yield f"{self.start} > {self.way.destination}"
        for hop in self.way.hops:
            yield f"{hop.where} sends it by {hop.link}, mtu {hop.mtu}"
            yield from (f"    {self._decided(entry)}" for entry in hop.entries)
            yield from (f"        {layer}" for layer in hop.headers)
            yield from (f"    through {bridge} of {where}" for where, bridge in hop.switches)
        death = self.way.death
        if death is not None:
            yield f"it ends at {death.where}: {death.reason}"
            yield from (f"    {self._decided(entry)}" for entry in death.entries)
        if self.refused:
            yield f"the daemon makes no route there: {self.refused}"
        elif death is not None:
            yield f"what to do: {death.advice}"
        elif self.way.left:
            yield f"it leaves {self.way.hops[-1].where}, out of sight; at most {self.fits} octets fit"
        else:
            yield f"it arrives at {self.way.arrived}; at most {self.fits} octets fit"

    def to_json(self) -> dict[str, Any]:
        """Return the explanation as JSON values."""
        death = self.way.death
        return {
            "from": self.start,
            "source": str(self.way.source) if self.way.source else None,
            "destination": str(self.way.destination),
            "hops": [
                {
                    "where": hop.where,
                    "link": hop.link,
                    "mtu": hop.mtu,
                    "decided": [self._decided(entry) for entry in hop.entries],
                    "headers": [str(layer) for layer in hop.headers],
                    "switches": [list(end) for end in hop.switches],
                }
                for hop in self.way.hops
            ],
            "arrived": self.way.arrived or None,
            "left": self.way.left,
            "fits": self.fits,
            "wrong": self.wrong or None,
            "death": None
            if death is None
            else {
                "where": death.where,
                "reason": death.reason,
                "advice": death.advice,
                "decided": [self._decided(entry) for entry in death.entries],
            },
        }

    def _decided(self, entry: object) -> str:
        who = self.announced.get(str(entry.destination)) if isinstance(entry, KernelRoute) else None
        return f"{entry}  ({who})" if who else str(entry)


def explain(
    network: Network, start: str, destination: Address, *, status: Mapping[str, Any] | None = None
) -> Explanation:
    """Return the way of a small packet, and how large it could be.

    Args:
        status: of the daemon of the host where the packet starts; None: it does not answer.
    """
    way = trace(network, start, destination)
    return Explanation(
        start=start,
        way=way,
        fits=0 if way.death else _largest(network, start, destination),
        announced=announced_by(status) if status else {},
        refused=refused_by(status, destination) if status else "",
    )


def _largest(network: Network, start: str, destination: Address) -> int:
    fits, too_large = 100, LARGEST + 1
    while too_large - fits > 1:
        middle = (fits + too_large) // 2
        if trace(network, start, destination, size=middle).death is None:
            fits = middle
        else:
            too_large = middle
    return fits


def announced_by(status: Mapping[str, Any]) -> dict[str, str]:
    """Return who announced which prefix, out of a daemon's status."""
    return {
        route["prefix"]: f"announced by {route['node'] or route['next_hop']}, heard from {route['store']} at "
        f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(route['since']))}"
        for route in status["routes"]
    }


def refused_by(status: Mapping[str, Any], destination: Address) -> str:
    """Return why a daemon makes no route to an address, out of its status; empty: it does not refuse one."""
    return next(
        (str(reason) for prefix, reason in status["refused"].items() if destination in ip_network(prefix)),
        "",
    )


def explain_here(config: Config, kernel: Kernel, destination: str, *, source: str = "") -> Explanation:
    """Return the way of a packet as far as this host knows it.

    Args:
        destination: an address, or a container of this host.
        source: a container of this host; empty: the host itself.

    Raises:
        ConfigError: no such container, or no such address; or this kernel cannot tell what it forwards by.
    """
    from .control import ask

    endpoints = {each.container: each for each in _endpoints(config)}
    network = _view(kernel, endpoints)
    if source and source not in network.tables:
        known = ", ".join(sorted(endpoints)) or "none"
        raise ConfigError(f"no container {source!r} on this host: there are {known}")
    try:
        status = ask(config.socket, "status")
    except DaemonUnavailable:
        status = None
    return explain(network, source or HOST, target(destination, endpoints), status=status)


HOST = "this host"


def target(word: str, endpoints: Mapping[str, Endpoint]) -> Address:
    """Return the address that a word means: itself, or a container's first.

    Raises:
        ConfigError: it means none.
    """
    if word in endpoints:
        return endpoints[word].addresses[0].ip
    try:
        return ip_address(word)
    except ValueError as error:
        known = ", ".join(sorted(endpoints)) or "none"
        raise ConfigError(f"{word!r} is neither an address nor a container of this host ({known})") from error


def tables_of(kernel: Kernel) -> Tables:
    """Return what a kernel forwards by.

    Raises:
        ConfigError: this backend cannot tell.
    """
    if not isinstance(kernel, ShowsTables):
        raise ConfigError(f"{type(kernel).__name__} cannot tell what it forwards by; use backend netlink")
    return kernel.show_tables()


def _view(kernel: Kernel, endpoints: Mapping[str, Endpoint]) -> Network:
    tables = {HOST: tables_of(kernel)}
    cables: dict[End, End] = {}
    for name, endpoint in endpoints.items():
        if not isinstance(kernel, EntersNamespaces):
            break
        try:
            inner = kernel.inside(endpoint.netns)
        except KernelError:
            continue  # the container is gone, and its interface with it
        try:
            tables[name] = tables_of(inner)
        finally:
            inner.close()
        cables.update(cable(HOST, name, endpoint.container, endpoint.interface))
    return Network(tables=tables, cables=cables)


def cable(host: str, where: str, container: str, interface: str = "eth0") -> dict[End, End]:
    """Return a container's cable from both its ends."""
    ends = (host, derive.interface_name("veth", container, interface)), (where, interface)
    return {ends[0]: ends[1], ends[1]: ends[0]}


def _endpoints(config: Config) -> tuple[Endpoint, ...]:
    if not config.addresses.exists():
        return ()
    book = AddressBook(config.addresses)
    try:
        return book.assigned()
    finally:
        book.close()
