"""What the lease stores have in common: what they refuse at once, how they say no, and their clock.

A store decides by comparing. `check_*` keep out the values with which a comparison would go wrong silently: a
claim without a node would look like a reservation, and a time to live that is no number would never end.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

from containernet.errors import ConfigError, LeaseLost, LeaseTaken
from containernet.model import Lease, Prefix, Route

Clock = Callable[[], float]


def boot_clock() -> float:
    """Return seconds since the boot; never set, and counts while the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def check_subnets(subnets: Sequence[Prefix]) -> None:
    """Refuse a claim of nothing, and one of two subnets of a family.

    Raises:
        ConfigError: with what was given.
    """
    versions = [subnet.version for subnet in subnets]
    if not versions or len(versions) != len(set(versions)):
        raise ConfigError(
            f"subnets to lease: expected one for IPv4, IPv6 or each of both, got {_words(subnets) or 'none'}"
        )


def check_ttl(ttl: float) -> None:
    """Refuse a time to live that has no end, or is over before it begins.

    Raises:
        ConfigError: with what was given.
    """
    if not 0 < ttl < math.inf:
        raise ConfigError(f"ttl {ttl}: expected a number of seconds above 0")


def check_claim(subnets: Sequence[Prefix], node: str, ttl: float) -> None:
    """Refuse a claim that no lease store can hold.

    Raises:
        ConfigError: with what was given and what was expected.
    """
    check_subnets(subnets)
    check_ttl(ttl)
    if not node:
        raise ConfigError("a claim needs the name of its node; use reserve() to set subnets aside")


def check_announcement(route: Route) -> None:
    """Refuse a route that the records of our stores have no room for: one of several next hops.

    Raises:
        ConfigError: with what was given and what was expected.
    """
    if route.equal_cost:
        hops = ", ".join(str(path.next_hop) for path in route.paths)
        raise ConfigError(f"{route.prefix} via {hops}: expected one next hop, as every node announces")


def taken(subnets: Sequence[Prefix], lease: Lease) -> LeaseTaken:
    """Return the error that says which lease stands in the way of `subnets`, and if it is told for how long."""
    until = f"leased to {lease.node}" if lease.node else "reserved"
    if lease.expires is not None:
        until += f" for another {lease.expires:.0f} s"
    return LeaseTaken(f"{_words(subnets)}: {_words(lease.subnets)} is {until}; choose other subnets")


def lost(lease: Lease) -> LeaseLost:
    """Return the error that says that the store holds another revision of `lease`, or none."""
    return LeaseLost(
        f"{_words(lease.subnets)}: the store no longer holds revision {lease.revision} "
        f"of {lease.node or 'the reservation'}; list the leases and claim again"
    )


def _words(subnets: Sequence[Prefix]) -> str:
    return ", ".join(map(str, subnets))
