"""Path attributes on the wire (RFC 4271 s4.3, s5), and what an error in one costs (RFC 7606).

Three approaches, the mildest first: the attribute is discarded, the routes are taken for withdrawn, the session
is reset. Nothing is raised for the first two: they are part of what was understood, each with a line to read.
Of several, the strongest counts (RFC 7606 s3 h).

MP_REACH_NLRI and MP_UNREACH_NLRI hold prefixes and are read in `update`: what is left is the same in many
UPDATEs, and worth remembering.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from enum import IntEnum
from functools import lru_cache
from ipaddress import IPv4Address
from typing import NamedTuple

import attrs

from . import as_paths
from .as_paths import AS_TRANS, CONFEDERATION, Malformed
from .attributes import (
    INCOMPLETE,
    Attributes,
    Encapsulation,
    Segment,
    Unknown,
)
from .families import IPV4, Family
from .notification import (
    INVALID_NEXT_HOP,
    INVALID_ORIGIN,
    LENGTH_ERROR,
    MALFORMED_AS_PATH,
    MALFORMED_ATTRIBUTES,
    OPTIONAL_ATTRIBUTE,
    UNRECOGNIZED_WELL_KNOWN,
    UPDATE_MESSAGE,
    Violation,
)
from .peering import Negotiated

ORIGIN, AS_PATH, NEXT_HOP, MULTI_EXIT_DISC, LOCAL_PREF, ATOMIC_AGGREGATE, AGGREGATOR = range(
    1, 8
)  # RFC 4271 s5
COMMUNITIES = 8  # RFC 1997
ORIGINATOR_ID, CLUSTER_LIST = 9, 10  # RFC 4456 s8
MP_REACH_NLRI, MP_UNREACH_NLRI = 14, 15  # RFC 4760
EXTENDED_COMMUNITIES = 16  # RFC 4360
AS4_PATH, AS4_AGGREGATOR = 17, 18  # RFC 6793
TUNNEL_ENCAPSULATION = 23  # RFC 9012
LARGE_COMMUNITIES = 32  # RFC 8092

OPTIONAL, TRANSITIVE, PARTIAL, EXTENDED_LENGTH = 0x80, 0x40, 0x20, 0x10  # RFC 4271 s4.3
_WELL_KNOWN = TRANSITIVE
_BOTH = OPTIONAL | TRANSITIVE


class Approach(IntEnum):
    """What an error costs (RFC 7606 s2), the mildest first."""

    DISCARD = 0
    WITHDRAW = 1
    RESET = 2


@attrs.frozen
class Fault:
    """An error in an UPDATE; `subcode` and `data` are for a session that it costs after all (RFC 7606 s5.2)."""

    approach: Approach
    reason: str
    subcode: int = MALFORMED_ATTRIBUTES
    data: bytes = b""

    def __str__(self) -> str:
        return f"{_WORDS[self.approach]}: {self.reason}"

    def violation(self) -> Violation:
        """Return this as the end of the session."""
        return Violation(UPDATE_MESSAGE, self.subcode, self.data, self.reason)


_WORDS = {
    Approach.DISCARD: "attribute discarded",
    Approach.WITHDRAW: "treated as withdrawn",
    Approach.RESET: "session reset",
}


class Piece(NamedTuple):
    """One attribute as it was cut out; `raw` is all of it."""

    flags: int
    type: int
    value: bytes
    raw: bytes


def cut(field: bytes) -> tuple[list[Piece], list[Fault]]:
    """Return the attributes in an UPDATE's field of them, up to the first whose length is wrong."""
    pieces: list[Piece] = []
    at, size = 0, len(field)
    while at < size:
        start = at + (4 if field[at] & EXTENDED_LENGTH else 3)
        end = start + int.from_bytes(field[at + 2 : start], "big")
        if end > size:  # RFC 7606 s4: both cases; the message's own lengths are relied upon
            reason = f"an attribute needs {end - at} octets, {size - at} are left (RFC 7606 s4)"
            return pieces, [Fault(Approach.WITHDRAW, reason)]
        pieces.append(Piece(field[at], field[at + 1], field[start:end], field[at:end]))
        at = end
    return pieces, []


@attrs.frozen(kw_only=True)
class Understood:
    """What a set of attributes means.

    Args:
        attributes: the values; the next hop is that of NEXT_HOP.
        faults: what was wrong, each DISCARD or WITHDRAW.
        missing: those of ORIGIN, AS_PATH and NEXT_HOP that are not there.
        complete: nothing was wrong and nothing is missing.
    """

    attributes: Attributes
    faults: tuple[Fault, ...] = ()
    missing: tuple[int, ...] = ()
    complete: bool = attrs.field(init=False)

    @complete.default
    def _complete(self) -> bool:
        return not self.faults and not self.missing


class _Kind(NamedTuple):
    """What the standards say of one attribute.

    Args:
        flags: what OPTIONAL and TRANSITIVE have to be.
        name: the field of `Attributes`.
        decode: the value's octets to the field, or Malformed.
        approach: what a malformed one costs. subcode: of RFC 4271 s6.3.
        internal: it is discarded where it comes from another AS.
        rule: where the approach is demanded.
    """

    flags: int
    name: str
    decode: Callable[[bytes, Negotiated], object]
    approach: Approach
    subcode: int
    rule: str
    internal: bool = False


def understand(pieces: Iterable[Piece], negotiated: Negotiated) -> Understood:
    """Return what these attributes mean, from a peer on those terms.

    Args:
        pieces: without MP_REACH_NLRI and MP_UNREACH_NLRI.

    Raises:
        Violation: a well-known attribute that we do not know (RFC 4271 s6.3).
    """
    values: dict[str, object] = {}
    unknown: list[Unknown] = []
    partial: list[int] = []
    faults: list[Fault] = []
    seen: set[int] = set()
    again: set[int] = set()
    for piece in pieces:
        if piece.type in seen:  # RFC 7606 s3 g: the first counts
            if piece.type not in again:
                faults.append(Fault(Approach.DISCARD, f"{name(piece.type)} again (RFC 7606 s3 g)"))
            again.add(piece.type)
            continue
        seen.add(piece.type)
        kind = _KINDS.get(piece.type)
        if kind is None:
            unknown.extend(_passed_on(piece))
            continue
        # RFC 7606 s7.5, s7.9, s7.10: discarded before anything in it is looked at; RFC 6793 s4.1 likewise
        if kind.internal and negotiated.external:
            faults.append(Fault(Approach.DISCARD, f"{name(piece.type)} from an external peer ({kind.rule})"))
            continue
        if piece.type == TUNNEL_ENCAPSULATION and not negotiated.tunnels:
            reason = f"{name(piece.type)} from an external peer without `tunnels` (RFC 9012 s11)"
            faults.append(Fault(Approach.DISCARD, reason))
            continue
        if piece.type in (AS4_PATH, AS4_AGGREGATOR) and negotiated.as4:
            faults.append(
                Fault(Approach.DISCARD, f"{name(piece.type)} from a peer with 4-octet AS numbers ({kind.rule})")
            )
            continue
        try:
            if piece.flags & _BOTH != kind.flags:  # RFC 7606 s3 c: of the four flags these two count
                raise Malformed(f"flags {piece.flags:#04x}, expected {kind.flags:#04x}; RFC 7606 s3 c")
            values[kind.name] = kind.decode(piece.value, negotiated)
            if piece.flags & PARTIAL and kind.flags == _BOTH:
                partial.append(piece.type)
        except Malformed as malformed:
            reason = f"{name(piece.type)}: {malformed} ({kind.rule})"
            faults.append(Fault(kind.approach, reason, kind.subcode, piece.raw))
    if not negotiated.as4:
        _merge(values)
    if unknown:
        values["unknown"] = tuple(sorted(unknown, key=lambda each: each.type))
    if partial:
        values["partial"] = tuple(sorted(partial))
    return Understood(
        attributes=Attributes(**values),  # type: ignore[arg-type]
        faults=tuple(faults),
        missing=tuple(each for each in (ORIGIN, AS_PATH, NEXT_HOP) if each not in seen),
    )


def name(type: int) -> str:
    """Return the attribute's name."""
    return _NAMES.get(type, f"attribute {type}")


def _passed_on(piece: Piece) -> Iterator[Unknown]:
    if not piece.flags & OPTIONAL:  # RFC 4271 s6.3, which RFC 7606 leaves as it is
        raise Violation(
            UPDATE_MESSAGE,
            UNRECOGNIZED_WELL_KNOWN,
            piece.raw,
            f"attribute {piece.type} is well-known, and not to us (RFC 4271 s6.3)",
        )
    if piece.flags & TRANSITIVE:  # RFC 4271 s5: kept, with the Partial bit; s9: non-transitive ones are dropped
        yield Unknown(OPTIONAL | TRANSITIVE | PARTIAL, piece.type, piece.value)


def _sized(value: bytes, size: int) -> bytes:
    if len(value) != size:
        raise Malformed(f"{len(value)} octets, expected {size}")
    return value


def _elements(value: bytes, size: int) -> list[bytes]:
    if not value or len(value) % size:
        raise Malformed(f"{len(value)} octets, expected a multiple of {size}")
    return [value[at : at + size] for at in range(0, len(value), size)]


def _origin(value: bytes, negotiated: Negotiated) -> int:
    if _sized(value, 1)[0] > INCOMPLETE:
        raise Malformed(f"{value[0]}, expected 0 to 2")
    return value[0]


def _as_path(value: bytes, negotiated: Negotiated) -> tuple[Segment, ...]:
    return as_paths.decode(value, 4 if negotiated.as4 else 2)


def _as4_path(value: bytes, negotiated: Negotiated) -> tuple[Segment, ...]:
    if len(value) < 6:
        raise Malformed(f"{len(value)} octets, expected at least 6")
    # RFC 6793 s6: segments of confederations are dropped, and the rest is good
    return tuple(segment for segment in as_paths.decode(value, 4) if segment.type not in CONFEDERATION)


def _aggregator(value: bytes, negotiated: Negotiated) -> tuple[int, IPv4Address]:
    return _aggregated(_sized(value, 8 if negotiated.as4 else 6))


def _as4_aggregator(value: bytes, negotiated: Negotiated) -> tuple[int, IPv4Address]:
    return _aggregated(_sized(value, 8))


def _aggregated(value: bytes) -> tuple[int, IPv4Address]:
    asn = int.from_bytes(value[:-4], "big")
    if not asn:
        raise Malformed("AS 0; RFC 7607 s2")
    return asn, IPv4Address(value[-4:])


def _next_hop(value: bytes, negotiated: Negotiated) -> IPv4Address:
    return _address(_sized(value, 4))


_address = lru_cache(4096)(IPv4Address)  # next hops are few


def _number(value: bytes, negotiated: Negotiated) -> int:
    return int.from_bytes(_sized(value, 4), "big")


def _nothing(value: bytes, negotiated: Negotiated) -> bool:
    _sized(value, 0)
    return True


def _communities(value: bytes, negotiated: Negotiated) -> tuple[int, ...]:
    return tuple(sorted({int.from_bytes(each, "big") for each in _elements(value, 4)}))


def _extended(value: bytes, negotiated: Negotiated) -> tuple[bytes, ...]:
    return tuple(sorted(set(_elements(value, 8))))


def _large(value: bytes, negotiated: Negotiated) -> tuple[tuple[int, int, int], ...]:
    # RFC 8092 s3: duplicates are removed
    return tuple(sorted({struct.unpack(">III", each) for each in _elements(value, 12)}))


def _identifier(value: bytes, negotiated: Negotiated) -> IPv4Address:
    return IPv4Address(_sized(value, 4))


def _clusters(value: bytes, negotiated: Negotiated) -> tuple[IPv4Address, ...]:
    return tuple(map(IPv4Address, _elements(value, 4)))


def _encapsulations(value: bytes, negotiated: Negotiated) -> tuple[Encapsulation, ...]:
    if not value:
        raise Malformed("no tunnel")
    tunnels = []
    at = 0
    while at < len(value):
        start = at + 4
        end = start + int.from_bytes(value[at + 2 : start], "big")
        if end > len(value):
            raise Malformed("a tunnel is cut off")
        tunnel = int.from_bytes(value[at : at + 2], "big")
        tunnels.append(Encapsulation(tunnel, tuple(_subtlvs(value[start:end]))))
        at = end
    return tuple(tunnels)


def _subtlvs(value: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(value):
        start = at + (2 if value[at] < 128 else 3)  # RFC 9012 s2: two octets of length from 128 on
        end = start + int.from_bytes(value[at + 1 : start], "big")
        if end > len(value):
            raise Malformed(f"sub-TLV {value[at]} is cut off")
        yield value[at], value[start:end]
        at = end


_DISCARD, _WITHDRAW = Approach.DISCARD, Approach.WITHDRAW
_KINDS = {
    ORIGIN: _Kind(_WELL_KNOWN, "origin", _origin, _WITHDRAW, INVALID_ORIGIN, "RFC 7606 s7.1"),
    AS_PATH: _Kind(_WELL_KNOWN, "as_path", _as_path, _WITHDRAW, MALFORMED_AS_PATH, "RFC 7606 s7.2"),
    NEXT_HOP: _Kind(_WELL_KNOWN, "next_hop", _next_hop, _WITHDRAW, INVALID_NEXT_HOP, "RFC 7606 s7.3"),
    MULTI_EXIT_DISC: _Kind(OPTIONAL, "med", _number, _WITHDRAW, LENGTH_ERROR, "RFC 7606 s7.4"),
    LOCAL_PREF: _Kind(
        _WELL_KNOWN, "local_pref", _number, _WITHDRAW, LENGTH_ERROR, "RFC 7606 s7.5", internal=True
    ),
    # RFC 7606 s3 f: whatever is wrong with these two, flags included, costs no more than themselves
    ATOMIC_AGGREGATE: _Kind(_WELL_KNOWN, "atomic_aggregate", _nothing, _DISCARD, LENGTH_ERROR, "RFC 7606 s7.6"),
    AGGREGATOR: _Kind(_BOTH, "aggregator", _aggregator, _DISCARD, OPTIONAL_ATTRIBUTE, "RFC 7606 s7.7"),
    COMMUNITIES: _Kind(_BOTH, "communities", _communities, _WITHDRAW, OPTIONAL_ATTRIBUTE, "RFC 7606 s7.8"),
    ORIGINATOR_ID: _Kind(
        OPTIONAL, "originator_id", _identifier, _WITHDRAW, OPTIONAL_ATTRIBUTE, "RFC 7606 s7.9", internal=True
    ),
    CLUSTER_LIST: _Kind(
        OPTIONAL, "cluster_list", _clusters, _WITHDRAW, OPTIONAL_ATTRIBUTE, "RFC 7606 s7.10", internal=True
    ),
    EXTENDED_COMMUNITIES: _Kind(_BOTH, "extended", _extended, _WITHDRAW, OPTIONAL_ATTRIBUTE, "RFC 7606 s7.14"),
    AS4_PATH: _Kind(_BOTH, "as4_path", _as4_path, _DISCARD, OPTIONAL_ATTRIBUTE, "RFC 6793 s6"),
    AS4_AGGREGATOR: _Kind(
        _BOTH, "as4_aggregator", _as4_aggregator, _DISCARD, OPTIONAL_ATTRIBUTE, "RFC 6793 s6"
    ),
    TUNNEL_ENCAPSULATION: _Kind(
        _BOTH, "encapsulations", _encapsulations, _WITHDRAW, OPTIONAL_ATTRIBUTE, "RFC 9012 s13"
    ),
    LARGE_COMMUNITIES: _Kind(_BOTH, "large", _large, _WITHDRAW, OPTIONAL_ATTRIBUTE, "RFC 8092 s6"),
}
_NAMES = {
    ORIGIN: "ORIGIN",
    AS_PATH: "AS_PATH",
    NEXT_HOP: "NEXT_HOP",
    MULTI_EXIT_DISC: "MULTI_EXIT_DISC",
    LOCAL_PREF: "LOCAL_PREF",
    ATOMIC_AGGREGATE: "ATOMIC_AGGREGATE",
    AGGREGATOR: "AGGREGATOR",
    COMMUNITIES: "COMMUNITIES",
    ORIGINATOR_ID: "ORIGINATOR_ID",
    CLUSTER_LIST: "CLUSTER_LIST",
    MP_REACH_NLRI: "MP_REACH_NLRI",
    MP_UNREACH_NLRI: "MP_UNREACH_NLRI",
    EXTENDED_COMMUNITIES: "EXTENDED COMMUNITIES",
    AS4_PATH: "AS4_PATH",
    AS4_AGGREGATOR: "AS4_AGGREGATOR",
    TUNNEL_ENCAPSULATION: "TUNNEL ENCAPSULATION",
    LARGE_COMMUNITIES: "LARGE COMMUNITIES",
}


def _merge(values: dict[str, object]) -> None:
    """Put together what a speaker with 2-octet AS numbers passed on (RFC 6793 s4.2.3)."""
    path: tuple[Segment, ...] = values.pop("as4_path", ())  # type: ignore[assignment]
    aggregator = values.pop("as4_aggregator", None)
    if aggregator and "aggregator" in values:
        if values["aggregator"][0] != AS_TRANS:  # type: ignore[index]
            return  # somebody aggregated again who knew neither: both are of an older path
        values["aggregator"] = aggregator
    if path and "as_path" in values:
        values["as_path"] = as_paths.merge(values["as_path"], path)  # type: ignore[arg-type]


def encode(attributes: Attributes, negotiated: Negotiated, *, family: Family) -> bytes:
    """Return the path attributes for routes of `family`, without MP_REACH_NLRI.

    What must not be told to an external peer is left out (RFC 4271 s5.1.5, RFC 4456 s8). NEXT_HOP is there only
    if `family` is IPv4 and so is the next hop: else it is in MP_REACH_NLRI.
    """
    partial = attributes.partial  # RFC 4271 s5: nobody may clear that bit
    return b"".join(
        attribute(flags | PARTIAL * (kind in partial), kind, value)
        for flags, kind, value in _encoded(attributes, negotiated, family)
    )


def attribute(flags: int, type: int, value: bytes) -> bytes:
    """Return one attribute."""
    if len(value) > 255:
        return struct.pack(">BBH", flags | EXTENDED_LENGTH, type, len(value)) + value
    return bytes([flags & ~EXTENDED_LENGTH, type, len(value)]) + value


def _encoded(
    attributes: Attributes, negotiated: Negotiated, family: Family
) -> Iterator[tuple[int, int, bytes]]:
    # By rising type, as RFC 4271 s5 asks for.
    hop = attributes.next_hop
    yield _WELL_KNOWN, ORIGIN, bytes([attributes.origin])
    yield _WELL_KNOWN, AS_PATH, as_paths.encode(attributes.as_path, 4 if negotiated.as4 else 2)
    if family == IPV4 and hop is not None and hop.version == 4:
        yield _WELL_KNOWN, NEXT_HOP, hop.packed
    if attributes.med is not None:
        yield OPTIONAL, MULTI_EXIT_DISC, struct.pack(">I", attributes.med)
    if attributes.local_pref is not None and not negotiated.external:
        yield _WELL_KNOWN, LOCAL_PREF, struct.pack(">I", attributes.local_pref)
    if attributes.atomic_aggregate:
        yield _WELL_KNOWN, ATOMIC_AGGREGATE, b""
    if attributes.aggregator:
        asn, address = attributes.aggregator
        number = struct.pack(">I", asn) if negotiated.as4 else struct.pack(">H", as_paths.in_two_octets(asn))
        yield _BOTH, AGGREGATOR, number + address.packed
    if attributes.communities:
        yield _BOTH, COMMUNITIES, struct.pack(f">{len(attributes.communities)}I", *attributes.communities)
    if attributes.originator_id is not None and not negotiated.external:
        yield OPTIONAL, ORIGINATOR_ID, attributes.originator_id.packed
    if attributes.cluster_list and not negotiated.external:
        yield OPTIONAL, CLUSTER_LIST, b"".join(each.packed for each in attributes.cluster_list)
    yield from sorted(_optional(attributes, negotiated), key=lambda each: each[1])


def _optional(attributes: Attributes, negotiated: Negotiated) -> Iterator[tuple[int, int, bytes]]:
    if attributes.extended:
        yield _BOTH, EXTENDED_COMMUNITIES, b"".join(attributes.extended)
    if not negotiated.as4:
        # RFC 6793 s4.2.2: only where something did not fit, and without a confederation's segments
        path = [segment for segment in attributes.as_path if segment.type not in CONFEDERATION]
        if any(asn > 0xFFFF for segment in path for asn in segment.asns):
            yield _BOTH, AS4_PATH, as_paths.encode(path, 4)
        if attributes.aggregator and attributes.aggregator[0] > 0xFFFF:
            asn, address = attributes.aggregator
            yield _BOTH, AS4_AGGREGATOR, struct.pack(">I", asn) + address.packed
    if attributes.encapsulations:
        yield _BOTH, TUNNEL_ENCAPSULATION, b"".join(map(_encapsulation, attributes.encapsulations))
    if attributes.large:
        yield _BOTH, LARGE_COMMUNITIES, b"".join(struct.pack(">III", *each) for each in attributes.large)
    for unknown in attributes.unknown:
        yield unknown.flags, unknown.type, unknown.value


def _encapsulation(encapsulation: Encapsulation) -> bytes:
    value = b"".join(
        bytes([kind]) + len(octets).to_bytes(1 if kind < 128 else 2, "big") + octets
        for kind, octets in encapsulation.subtlvs
    )
    return struct.pack(">HH", encapsulation.type, len(value)) + value
