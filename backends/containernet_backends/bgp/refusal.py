"""Paths that are never chosen, whatever a policy says: loops, and addresses that cannot be where they claim.

A refused path is kept and shown with its reason; it is out of the decision (RFC 4271 s9.1.2: "the route should
be excluded"), and so nothing that is told or forwarded rests on it.
"""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import IPv4Address, ip_network

import attrs

from containernet.model import Address

from .attributes import AS_CONFED_SEQUENCE, AS_CONFED_SET, AS_SET, Attributes, is_host
from .families import IPV4, IPV6, Family
from .nlri import Nlri, encode
from .paths import Source
from .peering import Local
from .prefixes import Range, matching

# RFC 6890 s2.2: what is never a destination of a network: this host and this network, loopback, link-local,
# multicast and above (RFC 5771, RFC 1112 s4); IPv4 in IPv6 (RFC 4291 s2.5.5). Documentation prefixes are not
# among them: laboratories use them.
_MARTIANS = (
    "0.0.0.0/8",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "224.0.0.0/3",
    "::/96",
    "::ffff:0:0/96",
    "fe80::/10",
    "ff00::/8",
)
_RANGES = [Range.parse(f"{prefix} le {128 if ':' in prefix else 32}") for prefix in _MARTIANS]
_IS_MARTIAN = {IPV4: matching(_RANGES, 4), IPV6: matching(_RANGES, 6)}
_DEFAULT_ROUTES = tuple(encode(ip_network(prefix)) for prefix in ("0.0.0.0/0", "::/0"))
_HARMLESS = {
    IPV4: bytes({*range(224)} - {0, 127, 169}),
    IPV6: bytes({*range(254)} - {0}),
}


@attrs.frozen
class Ourselves:
    """What a path must not name: us.

    Args:
        addresses: ours, of which none may be a next hop.
    """

    local: Local
    addresses: Collection[Address] = ()

    @property
    def cluster_id(self) -> IPv4Address:
        """Of this route reflector (RFC 4456 s7)."""
        return self.local.cluster_id or self.local.router_id

    def refuses(self, source: Source, attributes: Attributes) -> str:
        """Return why a path with these attributes may not be chosen; empty: it may."""
        return (
            _wrong_next_hop(attributes.next_hop, self.addresses)
            or self._loops(source, attributes)
            or _wrong_path(source, attributes)
        )

    def _loops(self, source: Source, attributes: Attributes) -> str:
        # RFC 4271 s9.1.2: the whole AS_PATH is searched for our own AS.
        ours = 0
        for segment in attributes.as_path:
            ours += segment.asns.count(self.local.asn)
        if ours > source.allow_own_as:
            return "our own AS is in the AS_PATH (RFC 4271 s9.1.2)"
        if attributes.originator_id is not None and attributes.originator_id == self.local.router_id:
            return "ORIGINATOR_ID is ours (RFC 4456 s8)"
        if attributes.cluster_list and self.cluster_id in attributes.cluster_list:
            return "our cluster is in the CLUSTER_LIST (RFC 4456 s8)"
        return ""


def _wrong_next_hop(next_hop: Address | None, ours: Collection[Address]) -> str:
    if next_hop is None:
        return "no next hop"
    if next_hop in ours:
        return "the next hop is ourselves (RFC 4271 s6.3)"
    if not is_host(next_hop):
        return "the next hop is no host's address (RFC 4271 s6.3)"
    if next_hop.version == 6 and next_hop.is_link_local:
        return "the next hop is link-local (RFC 2545 s3 asks for a global one)"
    return ""


def _wrong_path(source: Source, attributes: Attributes) -> str:
    # For each of these RFC 7606 asks to take the route for withdrawn, which this comes to.
    path = attributes.as_path
    types = {segment.type for segment in path}
    if not types.isdisjoint((AS_SET, AS_CONFED_SET)):
        return "there is an AS_SET in the AS_PATH (RFC 9774 s3)"
    if not source.external:
        return ""
    if AS_CONFED_SEQUENCE in types:
        return "a confederation's segment from outside of it (RFC 5065 s5)"
    if source.first_as and not (path and path[0].asns[:1] == (source.asn,)):
        return "the AS_PATH does not begin with the peer's AS (RFC 4271 s6.3)"
    return ""


def suspicious(family: Family, firsts: bytes) -> bool:
    """Return whether any of some prefixes has to be looked at closely; the common answer, no, is fast.

    Args:
        firsts: the first octet of each one's address, in any order; 0 of the default route, which has none.
    """
    return bool(firsts.translate(None, _HARMLESS[family]))


def wrong_prefix(family: Family, nlri: Nlri, *, named: bool) -> str:
    """Return why nothing may be said of that prefix; empty: it may.

    Args:
        named: a rule of a policy names the prefix, which is what the default route needs.
    """
    if nlri in _DEFAULT_ROUTES and not named:
        return "the default route, which no rule of a policy names"
    return "the prefix is a martian (RFC 6890)" if _IS_MARTIAN[family](nlri) else ""
