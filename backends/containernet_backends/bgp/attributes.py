"""Path attributes as values (RFC 4271 s5, s4.3 and the RFCs named below)."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address

import attrs

from containernet.model import Address

IGP, EGP, INCOMPLETE = range(3)  # ORIGIN, RFC 4271 s5.1.1
AS_SET, AS_SEQUENCE, AS_CONFED_SEQUENCE, AS_CONFED_SET = range(1, 5)  # RFC 4271 s4.3, RFC 5065 s3
LONG = 64


@attrs.frozen
class Segment:
    """A segment of an AS_PATH: `type` is AS_SET, AS_SEQUENCE or one of RFC 5065's; 4-octet AS numbers."""

    type: int
    asns: tuple[int, ...]


@attrs.frozen
class Encapsulation:
    """One tunnel of a Tunnel Encapsulation attribute (RFC 9012 s2).

    Args:
        type: IANA's tunnel type: 7 IP in IP, 8 VXLAN.
        subtlvs: sub-TLVs in their order: type and value.
    """

    type: int
    subtlvs: tuple[tuple[int, bytes], ...] = ()


@attrs.frozen
class Unknown:
    """An attribute that we have no words for; optional transitive ones are passed on (RFC 4271 s5).

    Args:
        flags: with which it is passed on.
    """

    flags: int
    type: int
    value: bytes


@attrs.frozen(kw_only=True, cache_hash=True)
class Attributes:
    """What is said of a set of prefixes of one family. One object per distinct set: compare with `is` first.

    Args:
        origin: IGP, EGP or INCOMPLETE.
        as_path: segments, the nearest first; empty within the AS where the route is from.
        next_hop: of either family (RFC 8950); None: only while it is built.
        link_local: the next hop's link-local address beside a global one (RFC 2545 s3).
        med: MULTI_EXIT_DISC; None: not there, which the decision process takes for 0.
        local_pref: None: not there, as from an external peer.
        aggregator: AS number and address (RFC 4271 s5.1.7).
        communities: RFC 1997, 32 bits each, in rising order.
        extended: RFC 4360, 8 octets each. large: RFC 8092, three 32-bit numbers each. Both in rising order.
        originator_id, cluster_list: RFC 4456 s8.
        encapsulations: RFC 9012 s2.
        unknown: optional transitive attributes that are kept for others, by type.
        partial: types of those above that somebody has passed on who did not know them (RFC 4271 s4.3).
    """

    origin: int = INCOMPLETE
    as_path: tuple[Segment, ...] = ()
    next_hop: Address | None = None
    link_local: IPv6Address | None = None
    med: int | None = None
    local_pref: int | None = None
    atomic_aggregate: bool = False
    aggregator: tuple[int, IPv4Address] | None = None
    communities: tuple[int, ...] = ()
    extended: tuple[bytes, ...] = ()
    large: tuple[tuple[int, int, int], ...] = ()
    originator_id: IPv4Address | None = None
    cluster_list: tuple[IPv4Address, ...] = ()
    encapsulations: tuple[Encapsulation, ...] = ()
    unknown: tuple[Unknown, ...] = ()
    partial: tuple[int, ...] = ()


@lru_cache(4096)  # next hops are few, and ipaddress takes its time
def is_host(address: Address) -> bool:
    """Return whether an address can be that of one host, as a next hop has to be (RFC 4271 s6.3)."""
    reserved = address.version == 4 and address.is_reserved  # RFC 1112 s4: class E
    return not (reserved or address.is_unspecified or address.is_loopback or address.is_multicast)


def is_long(attributes: Attributes) -> bool:
    """Return whether so much is said that it is not worth being remembered: more than 64 numbers, or so.

    A hostile peer may say 64 KiB in every UPDATE, and something else in the next. What is kept to be shared is
    counted in sets of attributes, and has a bound only if each of them has one.
    """
    return size(attributes) > LONG


def size(attributes: Attributes) -> int:
    """Return how much is said: AS numbers, communities and the like; of what we do not know each 8 octets."""
    count = len(attributes.communities) + len(attributes.extended) + len(attributes.large)
    count += len(attributes.cluster_list)
    for segment in attributes.as_path:
        count += len(segment.asns)
    if not attributes.unknown and not attributes.encapsulations:
        return count
    octets = sum(len(each.value) for each in attributes.unknown)
    octets += sum(len(value) for each in attributes.encapsulations for _, value in each.subtlvs)
    return count + octets // 8
