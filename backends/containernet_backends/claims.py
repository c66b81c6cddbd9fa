"""What every lease store refuses before it looks at what it holds.

A store decides by comparing; these are the values with which a comparison would go wrong silently: a claim
without a node would look like a reservation, and a time to live that is no number would never end.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from containernet.errors import ConfigError
from containernet.model import Prefix


def check_subnets(subnets: Sequence[Prefix]) -> None:
    """Refuse a claim of nothing, and one of two subnets of a family.

    Raises:
        ConfigError: with what was given.
    """
    versions = [subnet.version for subnet in subnets]
    if not versions or len(versions) != len(set(versions)):
        given = ", ".join(map(str, subnets)) or "none"
        raise ConfigError(f"subnets to lease: expected one for IPv4, IPv6 or each of both, got {given}")


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
