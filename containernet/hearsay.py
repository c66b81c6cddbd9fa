"""What daemons and stores say of an address: who announced it, who leases it, why a host has no route to it.

The tables of a kernel show what it forwards by, and not why. `Hearsay` adds the why. It is filled by `asked`,
which may block; everything else is pure. Whoever does not answer is named, and the rest is said without him.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import attrs

from . import loading
from .addresses import bridge_address
from .config import Config
from .control import ask
from .errors import ContainernetError
from .model import Address, Lease, NetworkConfig, Pool, Prefix, contains


@attrs.frozen(kw_only=True)
class Fault:
    """What is wrong, where, and what to do about it."""

    where: str
    reason: str
    advice: str

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"

    def to_json(self) -> dict[str, str]:
        """Return the fault as JSON values."""
        return attrs.asdict(self)


@attrs.frozen(kw_only=True)
class Announcement:
    """Who announced a route, which store told it, and when it was heard (seconds since 1970)."""

    node: str
    store: str
    since: float

    def __str__(self) -> str:
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        return f"announced by {self.node}, heard from {self.store} at {at}"

    def to_json(self) -> dict[str, Any]:
        """Return the announcement as JSON values."""
        return attrs.asdict(self)


@attrs.frozen(kw_only=True)
class Leased:
    """What the lease store says.

    Args:
        network: the pools; None: not known.
        leases: who holds what; None: the store was not heard.
        trouble: why it was not.
    """

    network: NetworkConfig | None = None
    leases: tuple[Lease, ...] | None = None
    trouble: str = ""


@attrs.frozen(kw_only=True)
class Hearsay:
    """What is said.

    Args:
        statuses: of the daemons that answered, by the namespace of their host.
        silent: why the others did not.
        network: the pools, where a config says them.
        leased: asks the lease store; called only where it matters.
    """

    statuses: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict[str, Mapping[str, Any]])
    silent: Mapping[str, str] = attrs.field(factory=dict[str, str])
    network: NetworkConfig | None = None
    leased: Callable[[], Leased] = Leased

    @property
    def hosts(self) -> frozenset[str]:
        """The namespaces in which a daemon should make routes."""
        return frozenset(self.statuses) | frozenset(self.silent)

    def announced(self, where: str, prefix: Prefix) -> Announcement | None:
        """Return who announced exactly that prefix, as a host heard it."""
        for route in self._routes(where):
            if ip_network(route["prefix"]) == prefix:
                return _announcement(route)
        return None

    def in_pool(self, where: Address | Prefix) -> bool:
        """Return whether an address, or all of a prefix, lies in a pool."""
        pool = self._pool(where.version)
        return pool is not None and contains(pool.prefix, ip_network(where))

    def refused(self, where: str, destination: Address) -> Fault | None:
        """Return why a host makes no route to an address, if its daemon heard of one and refuses it."""
        for prefix, reason in self._status(where).get("refused", {}).items():
            if destination in ip_network(prefix):
                advice = "as containernetd says; `containernet status` shows all that it refuses"
                return Fault(where=where, reason=str(reason), advice=advice)
        return None

    def routeless(self, where: str, destination: Address) -> Fault | None:
        """Return why a host has no route into the pool for an address; None: that is no pool's matter."""
        if (refused := self.refused(where, destination)) is not None:
            return refused
        pool = self._pool(destination.version)
        if pool is None or destination not in pool.prefix:
            return None
        subnet = ip_network((destination, pool.subnet_length), strict=False)
        missing = f"no route to {subnet}"
        if any(destination in each for each in self._subnets(where)):
            return Fault(
                where=where,
                reason=f"{missing}, which is its own: its bridge is gone, or down, or has no address",
                advice="`ip address` shows the bridge, `containernet plan` what is missing",
            )
        for route in self._routes(where):
            if destination in ip_network(route["prefix"]):
                return Fault(
                    where=where,
                    reason=f"{missing} in the kernel ({_announcement(route)})",
                    advice="`containernet plan` shows what is missing, `containernet status` why",
                )
        if where in self.silent:
            return Fault(where=where, reason=missing, advice=self.silent[where])
        return _unannounced(where, subnet, self.leased(), pool=pool.prefix)

    def elsewhere(self, where: str, prefix: Prefix, behind: Address) -> Fault | None:
        """Return that a host sends packets for a prefix to another host than the one that announced it."""
        for route in self._routes(where):
            paths = [route, *route.get("equal_cost", ())]
            if ip_network(route["prefix"]) == prefix and behind not in [
                ip_address(p["next_hop"]) for p in paths
            ]:
                owners = " and ".join(f"{path['node']} is at {path['next_hop']}" for path in paths)
                return Fault(
                    where=where,
                    reason=f"{prefix} is sent to {behind}, and {owners}",
                    advice="`containernet plan` shows the entry that is wrong, and what it should be",
                )
        return None

    def nowhere(self, destination: Address) -> Fault | None:
        """Return that no container has an address of a host that was heard; None: one has, or who knows."""
        for where, status in self.statuses.items():
            for subnet in self._subnets(where):
                if destination not in subnet:
                    continue
                taken = {ip_interface(each).ip for one in status["endpoints"] for each in one["addresses"]}
                if destination in {*taken, subnet.network_address, bridge_address(subnet).ip}:
                    return None
                return Fault(
                    where=where,
                    reason=f"no container has {destination}",
                    advice="`containernet status` there lists the containers with their addresses",
                )
        return None

    def owner(self, destination: Address) -> str:
        """Return whose an address is, in a line; empty: no daemon that was heard says."""
        for where, status in self.statuses.items():
            for one in status["endpoints"]:
                if any(ip_interface(each).ip == destination for each in one["addresses"]):
                    return f"{destination} is the container {one['container']} of {where}"
        return ""

    def notes(self, hosts: Iterable[str], wrong: Fault | None) -> Iterator[str]:
        """Yield what should be known of those hosts beside the way; warnings only where something is wrong."""
        for host in dict.fromkeys(hosts):
            if host in self.silent and not (wrong and wrong.advice == self.silent[host]):
                yield f"{host}: who announced a route is not known: {self.silent[host]}"
            status = self._status(host)
            yield from (f"{host} is not ready: {reason}" for reason in status.get("reasons", ()))
            if wrong:
                refused = set(status.get("refused", {}).values())
                yield from (
                    f"{host} warns: {each}" for each in status.get("warnings", ()) if each not in refused
                )

    def _pool(self, version: int) -> Pool | None:
        network = self.network or self.leased().network
        return network.pool(version) if network else None

    def _status(self, where: str) -> Mapping[str, Any]:
        return self.statuses.get(where, {})

    def _routes(self, where: str) -> Iterator[Mapping[str, Any]]:
        yield from self._status(where).get("routes", ())

    def _subnets(self, where: str) -> Iterator[Prefix]:
        yield from map(ip_network, self._status(where).get("subnets", ()))


def _announcement(route: Mapping[str, Any]) -> Announcement:
    return Announcement(node=route["node"] or route["next_hop"], store=route["store"], since=route["since"])


def _unannounced(where: str, subnet: Prefix, leased: Leased, *, pool: Prefix) -> Fault:
    """Return who should have announced a subnet of the pool, and has not."""
    if leased.leases is None:
        reason = f"nobody announced {subnet} of the pool {pool}"
        advice = f"who leases it is not known: {leased.trouble}"
        return Fault(where=where, reason=reason, advice=advice)
    holders = [lease.node for lease in leased.leases for own in lease.subnets if own.overlaps(subnet)]
    if not holders:
        reason = f"nobody leases {subnet} of the pool {pool}, so no container has such an address"
        advice = "is the address right? `containernet leases` shows who has which subnet"
    elif not holders[0]:
        reason = f"{subnet} of the pool {pool} is reserved: no host has it"
        advice = "is the address right? `containernet leases` shows who has which subnet"
    else:
        reason = f"{holders[0]} leases {subnet} and has not announced it"
        advice = f"is {holders[0]} ready? `containernet status` there says why not"
    return Fault(where=where, reason=reason, advice=advice)


def asked(configs: Mapping[str, Config]) -> Hearsay:
    """Ask the daemon of each host, by its namespace; the lease store of the first when it comes to that.

    May block. Never raises: who does not answer is in the result.
    """
    statuses, silent = {}, {}
    for where, config in configs.items():
        try:
            statuses[where] = ask(config.socket, "status")
        except ContainernetError as error:
            silent[where] = str(error)
    first = next(iter(configs.values()), None)
    return Hearsay(
        statuses=statuses,
        silent=silent,
        network=first.network if first else None,
        leased=functools.cache(functools.partial(_leased, first)),
    )


def _leased(config: Config | None) -> Leased:
    if config is None:
        return Leased()
    try:
        with closing(loading.lease_store(config.leases.name, config.leases.options)) as store:
            return Leased(network=store.network() or config.network, leases=tuple(store.leases()))
    except ContainernetError as error:
        return Leased(network=config.network, trouble=str(error))
