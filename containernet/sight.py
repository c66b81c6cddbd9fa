"""What can be seen of a packet's way: the tables and cables of this host and of its containers.

Looks and never touches. What may not be looked at is said, and the rest is shown without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_address

import attrs

from . import derive
from .addresses import recorded
from .config import Config
from .contracts import EntersNamespaces, Kernel, ShowsTables
from .errors import ConfigError, ContainernetError, StateUnavailable
from .explaining import Explanation, explain
from .hearsay import asked
from .model import Address, Endpoint
from .tables import Tables
from .tracing import End, Network, Port

HOST = "this host"


def explain_here(
    config: Config,
    kernel: Kernel,
    destination: str,
    *,
    source: str = "",
    version: int = 0,
    port: Port | None = None,
) -> Explanation:
    """Return the way of a packet as far as this host knows it.

    Args:
        destination: an address, or a container of this host.
        source: a container of this host; empty: the host itself.
        version: the family, where the destination is a container; 0: that of its first address.
        port: that the packet goes to; None: it is an echo request.

    Raises:
        ConfigError: no such container, or no such address; or this kernel cannot tell what it forwards by.
        KernelError, PermissionRefused: the source is there, and cannot be looked into.
    """
    notes: list[str] = []
    endpoints = {each.container: each for each in _endpoints(config, notes)}
    if source and source not in endpoints:
        known = ", ".join(sorted(endpoints)) or "none"
        raise ConfigError("; ".join([f"no container {source!r} on this host: there are {known}", *notes]))
    target = address(
        destination, {name: [own.ip for own in each.addresses] for name, each in endpoints.items()}, version
    )
    network = _view(kernel, endpoints, source, notes)
    told = explain(network, source or HOST, target, said=asked({HOST: config}), port=port)
    return attrs.evolve(told, notes=(*told.notes, *notes))


def address(word: str, names: Mapping[str, Iterable[Address]], version: int = 0) -> Address:
    """Return the address that a word means: itself, or the first of the container or host of that name.

    Args:
        version: of a name, the family; 0: any.

    Raises:
        ConfigError: it means none, or one that is not one interface's and routed.
    """
    if word in names:
        own = [each for each in names[word] if version in (0, each.version)]
        if not own:
            family = f"IPv{version} " if version else ""
            raise ConfigError(f"{word} has no {family}address: attach it, or choose another --family")
        return own[0]
    try:
        found = ip_address(word)
    except ValueError as error:
        known = ", ".join(names) or "none"
        raise ConfigError(f"{word!r} is neither an address nor one of these: {known}") from error
    kinds = ("multicast", "loopback", "link_local", "unspecified")
    kind = next((each for each in kinds if getattr(found, f"is_{each}")), "")
    if kind or int(found) == 0xFFFFFFFF:
        kind = kind.replace("_", "-") or "broadcast"
        raise ConfigError(
            f"{word} is a {kind} address: explain follows packets that are routed to one interface"
        )
    return found


def port(words: str) -> Port | None:
    """Return the port that words such as `8080`, `tcp/8080` or `udp/53` mean; None: there are none.

    Raises:
        ConfigError: they mean none.
    """
    if not words:
        return None
    protocol, _, number = words.rpartition("/")
    if protocol not in ("", "tcp", "udp") or not number.isascii() or not number.isdecimal():
        raise ConfigError(f"port {words!r}: expected a number, or tcp/8080 or udp/53")
    if not 1 <= int(number) <= 65535:
        raise ConfigError(f"port {words!r}: expected 1 to 65535")
    return protocol or "tcp", int(number)


def tables_of(kernel: Kernel) -> Tables:
    """Return what a kernel forwards by.

    Raises:
        ConfigError: this backend cannot tell.
    """
    if not isinstance(kernel, ShowsTables):
        raise ConfigError(f"{type(kernel).__name__} cannot tell what it forwards by; use backend netlink")
    return kernel.show_tables()


def cable(host: str, where: str, container: str, interface: str = "eth0") -> dict[End, End]:
    """Return a container's cable from both its ends."""
    ends = (host, derive.interface_name("veth", container, interface)), (where, interface)
    return {ends[0]: ends[1], ends[1]: ends[0]}


def _view(kernel: Kernel, endpoints: Mapping[str, Endpoint], source: str, notes: list[str]) -> Network:
    """Return what is seen from a host; a container that cannot be entered is noted, unless it is the source."""
    tables = {HOST: tables_of(kernel)}
    cables: dict[End, End] = {}
    unseen: dict[str, ContainernetError] = {}
    for name, endpoint in endpoints.items():
        if not isinstance(kernel, EntersNamespaces):
            raise ConfigError(f"{type(kernel).__name__} enters no containers; use backend netlink")
        try:
            inner = kernel.inside(endpoint.netns)
        except ContainernetError as error:
            if name == source:
                raise
            unseen[name] = error
            continue
        try:
            tables[name] = tables_of(inner)
        finally:
            inner.close()
        cables.update(cable(HOST, name, endpoint.container, endpoint.interface))
    if unseen:
        notes.append(f"not looked into: {', '.join(unseen)} ({next(iter(unseen.values()))})")
    return Network(tables=tables, cables=cables)


def _endpoints(config: Config, notes: list[str]) -> tuple[Endpoint, ...]:
    try:
        return recorded(config.addresses)
    except (StateUnavailable, PermissionError) as error:
        notes.append(f"the containers of this host are not shown: {error}; run as root")
        return ()
