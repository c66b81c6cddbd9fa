"""Hypothesis strategies for what BGP carries."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from hypothesis import strategies as st

from containernet.model import Prefix
from containernet_backends.bgp.attributes import (
    AS_CONFED_SEQUENCE,
    AS_CONFED_SET,
    AS_SEQUENCE,
    AS_SET,
    Attributes,
    Encapsulation,
    Segment,
    Unknown,
    is_host,
)
from containernet_backends.bgp.families import FAMILIES, IPV4, Family
from containernet_backends.bgp.peering import Negotiated

IDENTIFIERS = st.builds(IPv4Address, st.integers(1, 2**32 - 1))
HOSTS4 = st.builds(IPv4Address, st.integers(1, 0xDFFFFFFF)).filter(is_host)
HOSTS6 = st.builds(IPv6Address, st.integers(2, 0xFE << 120))
LINK_LOCAL = st.builds(IPv6Address, st.integers(0xFE80 << 112, (0xFE80 << 112) + 2**64 - 1))
ASNS = st.one_of(st.integers(1, 0xFFFF), st.integers(1, 2**32 - 1)).filter(lambda asn: asn != 23456)
FAMILY = st.sampled_from(FAMILIES)


def prefixes(family: Family) -> st.SearchStrategy[Prefix]:
    """Return every prefix of that family, short ones as often as long ones."""
    bits = 32 if family == IPV4 else 128
    network: type[IPv4Network] | type[IPv6Network] = IPv4Network if family == IPV4 else IPv6Network

    def prefix(length: int, number: int) -> Prefix:
        return network((number >> (bits - length) << (bits - length), length))

    return st.builds(prefix, st.integers(0, bits), st.integers(0, 2**bits - 1))


def terms(*, external: bool | None = None, as4: bool | None = None) -> st.SearchStrategy[Negotiated]:
    """Return what two speakers may have agreed on."""

    def build(other_as: bool, **rest: object) -> Negotiated:
        return Negotiated(local_asn=65000, peer_asn=65001 if other_as else 65000, **rest)  # type: ignore[arg-type]

    return st.builds(
        build,
        st.booleans() if external is None else st.just(external),
        peer_id=IDENTIFIERS,
        as4=st.booleans() if as4 is None else st.just(as4),
        extended_messages=st.booleans(),
        extended_next_hop=st.sampled_from([(), (IPV4,)]),
        receives_paths=st.sampled_from([(), (IPV4,), FAMILIES]),
    )


def segments(types: list[int]) -> st.SearchStrategy[Segment]:
    """Return segments of an AS path."""
    asns = st.lists(ASNS, min_size=1, max_size=5).map(tuple)
    return st.builds(Segment, st.sampled_from(types), asns)


PATHS = st.lists(segments([AS_SET, AS_SEQUENCE]), max_size=4).map(tuple)
ANY_PATHS = st.lists(segments([AS_SET, AS_SEQUENCE, AS_CONFED_SEQUENCE, AS_CONFED_SET]), max_size=4).map(tuple)
WORDS = st.integers(0, 2**32 - 1)
SUBTLVS = st.tuples(st.integers(0, 255), st.binary(max_size=200))
UNKNOWN = st.builds(Unknown, st.just(0xE0), st.integers(33, 255), st.binary(max_size=300))


def attributes(family: Family) -> st.SearchStrategy[Attributes]:
    """Return what an internal peer with 4-octet AS numbers may say of routes of that family."""
    return st.builds(
        Attributes,
        origin=st.integers(0, 2),
        as_path=ANY_PATHS,
        next_hop=HOSTS4 if family == IPV4 else HOSTS6,
        link_local=st.none() if family == IPV4 else st.none() | LINK_LOCAL,
        med=st.none() | WORDS,
        local_pref=st.none() | WORDS,
        atomic_aggregate=st.booleans(),
        aggregator=st.none() | st.tuples(ASNS, IDENTIFIERS),
        communities=st.frozensets(WORDS, max_size=70).map(sorted).map(tuple),
        extended=st.frozensets(st.binary(min_size=8, max_size=8), max_size=3).map(sorted).map(tuple),
        large=st.frozensets(st.tuples(WORDS, WORDS, WORDS), max_size=3).map(sorted).map(tuple),
        originator_id=st.none() | IDENTIFIERS,
        cluster_list=st.lists(IDENTIFIERS, max_size=3).map(tuple),
        encapsulations=st.lists(
            st.builds(Encapsulation, st.integers(0, 65535), st.lists(SUBTLVS, max_size=3).map(tuple)),
            max_size=2,
        ).map(tuple),
        unknown=st.lists(UNKNOWN, max_size=2, unique_by=lambda each: each.type)
        .map(lambda each: sorted(each, key=lambda unknown: unknown.type))
        .map(tuple),
    )
