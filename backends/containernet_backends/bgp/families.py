"""Address families, as BGP numbers them (RFC 4760 s3)."""

from __future__ import annotations

from typing import NamedTuple


class Family(NamedTuple):
    """An address family and what its routes are for.

    Args:
        afi: address family identifier, IANA's registry: 1 IPv4, 2 IPv6.
        safi: subsequent address family identifier: 1 unicast.
    """

    afi: int
    safi: int

    @property
    def version(self) -> int:
        """4 or 6; 0 for a family that is not ours."""
        return {1: 4, 2: 6}.get(self.afi, 0)

    def __str__(self) -> str:
        return {IPV4: "ipv4", IPV6: "ipv6"}.get(self) or f"afi {self.afi} safi {self.safi}"


IPV4 = Family(1, 1)
IPV6 = Family(2, 1)
FAMILIES = (IPV4, IPV6)
