"""UPDATE messages (RFC 4271 s4.3): from octets to routes and back, with RFC 4760, 2545, 7606, 7911 and 8950.

Reading is the hottest path of the speaker. Many UPDATEs say the same of different prefixes, so what attributes
mean is remembered by their octets: one that says nothing new costs a lookup and the cutting of its prefixes.

A prefix may be both withdrawn and announced by one UPDATE; then it is announced (RFC 4271 s4.3). Who applies a
`Reading` gets that by doing what was withdrawn first.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address
from itertools import islice, takewhile
from typing import NamedTuple

import attrs

from containernet.model import Address

from . import nlri, wire_attributes as wire
from .attributes import Attributes
from .crowd import Crowd, gathered
from .families import IPV4, IPV6, Family
from .message import EXTENDED_MAXIMUM, FEW, HEADER, MAXIMUM, Volley, update, update_fields
from .nlri import Nlri
from .notification import (
    MALFORMED_ATTRIBUTES,
    MISSING_WELL_KNOWN,
    OPTIONAL_ATTRIBUTE,
    UPDATE_MESSAGE,
    Violation,
)
from .peering import Negotiated
from .wire_attributes import Approach, Fault, Piece, Understood


class Announcement(NamedTuple):
    """Prefixes that can be reached, and what is said of them all.

    Args:
        nlri: as `nlri.split` returns them.
        path_ids: one for each; None where the family has none (RFC 7911).
        firsts: the first octets of their addresses, in any order; None: nobody has looked.
    """

    family: Family
    attributes: Attributes
    nlri: list[Nlri]
    path_ids: list[int] | None
    firsts: bytes | None = None


class Withdrawal(NamedTuple):
    """Prefixes that cannot be reached that way any more, or that RFC 7606 takes for such."""

    family: Family
    nlri: list[Nlri]
    path_ids: list[int] | None


class Reading(NamedTuple):
    """What an UPDATE says. Whoever applies it begins with what is withdrawn.

    Args:
        end_of_rib: everything of that family has been announced (RFC 4724 s2).
        faults: a line for each error that RFC 7606 does not let end the session, at most 16.
    """

    announced: tuple[Announcement, ...] = ()
    withdrawn: tuple[Withdrawal, ...] = ()
    end_of_rib: Family | None = None
    faults: tuple[str, ...] = ()


_MOST_FAULTS = 16
_MOST_REMEMBERED = 1 << 14  # sets of attributes
_MANY = 16384  # UPDATEs that are read together: some ms
_NEW = 256  # sets of attributes that are new to those: as long
_MOST_OCTETS = 1 << 20  # in which they are written; as values they take up to thirty times as much


class Reader:
    """Reads the UPDATEs of one session. Not for two threads at once.

    Equal octets give the same `Attributes` object, as long as they are remembered: the memory is bounded, and
    begun anew when it is full.

    Args:
        negotiated: on which terms.

    Attributes:
        several: how many UPDATEs are worth a try to read them together: more and more, until it fails.
    """

    def __init__(self, negotiated: Negotiated) -> None:
        self.several = FEW
        self._negotiated = negotiated
        self._plain = IPV4 in negotiated.families and IPV4 not in negotiated.receives_paths
        self._known: dict[bytes, Understood] = {}
        self._clean: set[bytes] = set()  # of these, those that are complete
        self._elsewhere: dict[tuple[bytes, bytes], tuple[Family, Attributes, bool]] = {}
        self._octets = 0

    def read(self, body: bytes) -> Reading:
        """Return what the body of an UPDATE says.

        Raises:
            Violation: an error that ends the session even by RFC 7606: lengths that do not fit the message,
                prefixes that cannot be told apart, and what its s3, s5 and s7.11 name.
        """
        if self._plain and not body[0] and not body[1]:  # the common case: prefixes, and nothing withdrawn
            at = 4 + (body[2] << 8 | body[3])
            raw, prefixes = body[4:at], body[at:]
            known = self._known.get(raw)
            if known is None and prefixes:
                self._make_room(len(raw))
                known = self._get_to_know(raw)
            if known is not None and known.complete and prefixes:
                nlris, firsts = nlri.split(prefixes, IPV4)
                announcement = _new(Announcement, (IPV4, known.attributes, nlris, None, firsts))
                return _new(Reading, ((announcement,), (), None, ()))
        withdrawn, field, prefixes = update_fields(body)
        if not withdrawn and not prefixes and field[1:2] == _FIRST:
            again = self._again(field)
            if again is not None:
                return again
        return self._read(withdrawn, field, prefixes)

    def gathers(self, body: bytes) -> bool:
        """Return whether it is worth a try to read this UPDATE together with those behind it."""
        return self._plain and not body[0] and not body[1] and len(body) > 4 + (body[2] << 8 | body[3])

    def together(self, volley: Volley) -> tuple[int, Crowd]:
        """Return how many of the first of some UPDATEs can be read together, and what they announce.

        They announce IPv4 prefixes, and nothing is wrong with their attributes; `read` is for the one behind
        them, and says what is.

        Args:
            volley: at most `several` of them, of which none was taken away.
        """
        raws, fields = gathered(volley) if self._plain else ([], [])
        if not self._clean.issuperset(raws):
            self._get_to_know_some(raws)
            raws = list(takewhile(self._clean.__contains__, raws))
        count = len(raws)
        try:
            crowd = Crowd.of(self._known, raws, fields[:count])
        except Violation:
            count, crowd = 0, Crowd(self._known, [], [], b"")
        self.several = min(2 * self.several, _MANY) if count == len(volley) else FEW
        return count, crowd

    def _get_to_know_some(self, raws: Sequence[bytes]) -> None:
        """Find out what the first of these sets of attributes mean that are new."""
        new = list(islice((raw for raw in dict.fromkeys(raws) if raw not in self._known), _NEW))
        self._make_room(sum(map(len, new)), len(new))
        for raw in new:
            self._get_to_know(raw)

    def _get_to_know(self, raw: bytes) -> Understood | None:
        """Find out what attributes mean; None where that is hard: one has prefixes in it, or is cut off."""
        pieces, faults = wire.cut(raw)
        if not faults and _MULTIPROTOCOL.isdisjoint([piece.type for piece in pieces]):
            with contextlib.suppress(Violation):
                return self._understand(raw, pieces)
        return None

    def _again(self, field: bytes) -> Reading | None:
        """Return what an MP_REACH_NLRI says in front of attributes that are remembered with its next hop."""
        start = 4 if field[0] & wire.EXTENDED_LENGTH else 3
        end = start + int.from_bytes(field[2:start], "big")
        hop_end = start + 4 + int.from_bytes(field[start + 3 : start + 4], "big")
        found = self._elsewhere.get((field[end:], field[start:hop_end]))
        if found is None or hop_end + 1 >= end or field[0] & _FLAGS != wire.OPTIONAL:
            return None
        family, attributes, clean = found
        if not clean:
            return None
        prefixes = self._prefixes(family, field[hop_end + 1 : end], [], within=field[:end])
        return Reading(tuple([each.announced(attributes) for each in prefixes]))

    def _read(self, withdrawn: bytes, field: bytes, prefixes: bytes) -> Reading:
        pieces, faults = wire.cut(field)
        others = [piece for piece in pieces if piece.type not in _MULTIPROTOCOL]
        elsewhere = len(others) < len(pieces)
        reach, unreach = (_reach(pieces), _unreach(pieces)) if elsewhere else (None, None)
        announces = bool(prefixes or (reach and reach.prefixes))
        if not withdrawn and not announces and not faults:  # RFC 4724 s2
            if not pieces:
                return Reading(end_of_rib=self._ours(IPV4))
            if unreach and not unreach.prefixes and len(pieces) == 1:
                return Reading(end_of_rib=self._ours(unreach.family))

        rest = b"".join([piece.raw for piece in others])
        known = self._understood(rest, others)
        faults += known.faults
        withdrawals = self._prefixes(IPV4, withdrawn, faults) if withdrawn else []
        if unreach:
            withdrawals += self._prefixes(unreach.family, unreach.prefixes, faults, within=unreach.raw)
        announced = []
        if prefixes:
            faults += _missing(known, _MANDATORY)
            announced += [each.announced(known.attributes) for each in self._prefixes(IPV4, prefixes, faults)]
        if reach and reach.prefixes:
            faults += _missing(known, _MANDATORY_ELSEWHERE)
            announced += [
                each.announced(self._with_next_hop(rest, known, reach, faults))
                for each in self._prefixes(reach.family, reach.prefixes, faults, within=reach.raw)
            ]

        gone = [Withdrawal(each.family, each.nlri, each.path_ids) for each in withdrawals]
        worst = max(faults, key=lambda fault: fault.approach, default=None)  # RFC 7606 s3 h
        if worst is not None and worst.approach is Approach.WITHDRAW:
            if not announces:  # RFC 7606 s5.2: then it is not sure that no prefix was overlooked
                raise worst.violation()
            gone += [Withdrawal(each.family, each.nlri, each.path_ids) for each in announced]
            announced = []
        return Reading(tuple(announced), tuple(gone), faults=_lines(faults))

    def _ours(self, family: Family) -> Family | None:
        return family if family in self._negotiated.families else None

    def _understood(self, raw: bytes, pieces: list[Piece]) -> Understood:
        known = self._known.get(raw)
        if known is None:
            self._make_room(len(raw))
            known = self._understand(raw, pieces)
        return known

    def _understand(self, raw: bytes, pieces: list[Piece]) -> Understood:
        known = self._known[raw] = wire.understand(pieces, self._negotiated)
        if known.complete:
            self._clean.add(raw)
        return known

    def _with_next_hop(self, rest: bytes, known: Understood, reach: _Reach, faults: list[Fault]) -> Attributes:
        found = self._elsewhere.get((rest, reach.head))
        if found is not None:
            return found[1]
        hop, link_local = _next_hop(reach, self._negotiated)
        attributes = attrs.evolve(known.attributes, next_hop=hop, link_local=link_local)
        self._make_room(len(rest) + len(reach.head))
        self._elsewhere[rest, reach.head] = reach.family, attributes, not faults
        return attributes

    def _make_room(self, octets: int, count: int = 1) -> None:
        self._octets += octets
        full = len(self._known) + len(self._elsewhere) + count > _MOST_REMEMBERED
        if self._octets > _MOST_OCTETS or full:
            self._known.clear()
            self._clean.clear()
            self._elsewhere.clear()
            self._octets = octets

    def _prefixes(
        self, family: Family, field: bytes, faults: list[Fault], *, within: bytes = b""
    ) -> list[_Prefixes]:
        if family not in self._negotiated.families:  # RFC 4760 s8: nobody said that it may be sent
            faults.append(Fault(Approach.DISCARD, f"{family} was not negotiated (RFC 4760 s8)"))
            return []
        if not field:
            return []
        try:
            if family in self._negotiated.receives_paths:
                paths, nlris, firsts = nlri.split_paths(field, family)
                return [_Prefixes(family, nlris, paths, firsts)]
            nlris, firsts = nlri.split(field, family)
            return [_Prefixes(family, nlris, None, firsts)]
        except Violation as violation:
            if within:  # RFC 4760 s7
                raise Violation(UPDATE_MESSAGE, OPTIONAL_ATTRIBUTE, within, violation.reason) from violation
            raise


_new = tuple.__new__  # a third of the time of a named tuple's own constructor
_FIRST = bytes([wire.MP_REACH_NLRI])  # RFC 7606 s5.1: where it is found
_FLAGS = wire.OPTIONAL | wire.TRANSITIVE
_MULTIPROTOCOL = frozenset({wire.MP_REACH_NLRI, wire.MP_UNREACH_NLRI})
_MANDATORY = (wire.ORIGIN, wire.AS_PATH, wire.NEXT_HOP)  # RFC 4271 s5
_MANDATORY_ELSEWHERE = (wire.ORIGIN, wire.AS_PATH)  # RFC 4760 s3


def _missing(known: Understood, mandatory: tuple[int, ...]) -> list[Fault]:
    return [  # RFC 7606 s3 d
        Fault(
            Approach.WITHDRAW,
            f"{wire.name(each)} is missing (RFC 7606 s3 d)",
            MISSING_WELL_KNOWN,
            bytes([each]),
        )
        for each in known.missing
        if each in mandatory
    ]


def _lines(faults: list[Fault]) -> tuple[str, ...]:
    lines = tuple(map(str, faults[:_MOST_FAULTS]))
    return (*lines, f"and {len(faults) - _MOST_FAULTS} more") if len(faults) > _MOST_FAULTS else lines


class _Prefixes(NamedTuple):
    """A field of prefixes; see `Announcement`."""

    family: Family
    nlri: list[Nlri]
    path_ids: list[int] | None
    firsts: bytes

    def announced(self, attributes: Attributes) -> Announcement:
        """Return that this is said of them."""
        return Announcement(self.family, attributes, self.nlri, self.path_ids, self.firsts)


class _Reach(NamedTuple):
    """An MP_REACH_NLRI (RFC 4760 s3); `head` is all before the reserved octet."""

    family: Family
    head: bytes
    prefixes: bytes
    raw: bytes


class _Unreach(NamedTuple):
    """An MP_UNREACH_NLRI (RFC 4760 s4)."""

    family: Family
    prefixes: bytes
    raw: bytes


def _reach(pieces: Iterable[Piece]) -> _Reach | None:
    piece = _only(pieces, wire.MP_REACH_NLRI)
    if piece is None:
        return None
    value = piece.value
    if len(value) < 5:  # RFC 7606 s5.3
        raise _broken(piece, f"{len(value)} octets, expected at least 5 (RFC 7606 s5.3)")
    afi, safi, size = struct.unpack_from(">HBB", value)
    if 5 + size > len(value):  # RFC 7606 s7.11
        raise _broken(piece, f"a next hop of {size} octets in {len(value)} (RFC 7606 s7.11)")
    # One octet between next hop and prefixes is reserved and ignored (RFC 4760 s3).
    return _Reach(Family(afi, safi), value[: 4 + size], value[5 + size :], piece.raw)


def _unreach(pieces: Iterable[Piece]) -> _Unreach | None:
    piece = _only(pieces, wire.MP_UNREACH_NLRI)
    if piece is None:
        return None
    if len(piece.value) < 3:  # RFC 7606 s5.3
        raise _broken(piece, f"{len(piece.value)} octets, expected at least 3 (RFC 7606 s5.3)")
    afi, safi = struct.unpack_from(">HB", piece.value)
    return _Unreach(Family(afi, safi), piece.value[3:], piece.raw)


def _only(pieces: Iterable[Piece], type: int) -> Piece | None:
    found = [piece for piece in pieces if piece.type == type]
    if len(found) > 1:  # RFC 7606 s3 g
        raise Violation(UPDATE_MESSAGE, MALFORMED_ATTRIBUTES, reason=f"{wire.name(type)} twice (RFC 7606 s3 g)")
    for piece in found:
        if piece.flags & _FLAGS != wire.OPTIONAL:  # RFC 7606 s5.3
            raise _broken(piece, f"flags {piece.flags:#04x}, expected 0x80 (RFC 7606 s5.3)")
        return piece
    return None


def _broken(piece: Piece, what: str) -> Violation:
    # RFC 4760 s7: an optional attribute error; RFC 7606 s7.11 keeps that a session reset
    return Violation(UPDATE_MESSAGE, OPTIONAL_ATTRIBUTE, piece.raw, f"{wire.name(piece.type)}: {what}")


def _next_hop(reach: _Reach, negotiated: Negotiated) -> tuple[Address, IPv6Address | None]:
    octets = reach.head[4:]
    if reach.family == IPV4 and len(octets) == 4:
        return IPv4Address(octets), None
    other = reach.family == IPV4 and IPV4 not in negotiated.extended_next_hop
    if other or len(octets) not in (16, 32):  # RFC 2545 s3, RFC 8950 s3; RFC 7606 s7.11
        raise Violation(
            UPDATE_MESSAGE,
            OPTIONAL_ATTRIBUTE,
            reach.raw,
            f"MP_REACH_NLRI: a next hop of {len(octets)} octets for {reach.family}, "
            f"expected {'4' if other else '16 or 32'} (RFC 7606 s7.11)",
        )
    hop = IPv6Address(octets[:16])
    if len(octets) == 16:
        return hop, None
    link_local = IPv6Address(octets[16:])
    if not link_local.is_link_local:  # RFC 2545 s3 has no other meaning for it
        return hop, None
    # Some have no global address, and fill its place with zeros.
    return (link_local, None) if hop.is_unspecified else (hop, link_local)


def pack(
    family: Family, attributes: Attributes, nlris: Iterable[Nlri], negotiated: Negotiated
) -> Iterator[bytes]:
    """Yield UPDATE messages that announce `nlris`, as full as the peer can take them.

    What cannot be told to this peer is withdrawn, for it may have heard an older word: routes whose attributes
    leave no room for a prefix (RFC 8654 s4), and an IPv4 route with an IPv6 next hop where RFC 8950 was not
    negotiated.

    Args:
        nlris: read lazily, one message ahead at most.
    """
    hop = attributes.next_hop
    if hop is None or (hop.version, family.version) == (4, 6):
        raise ValueError(f"next hop {hop} for {family}")
    common = wire.encode(attributes, negotiated, family=family)
    room = _room(negotiated) - len(common)
    head = b""
    if hop.version == 6:
        octets = hop.packed + (attributes.link_local.packed if attributes.link_local else b"")
        head = struct.pack(">HBB", *family, len(octets)) + octets + b"\0"
        room -= len(head) + 4
    unheard_of = hop.version != family.version and family not in negotiated.extended_next_hop
    if unheard_of or room < _WIDEST[family]:
        yield from pack_withdrawals(family, nlris, negotiated)
        return
    for field in _fields(nlris, room, family):
        if head:  # RFC 7606 s5.1: the first of all attributes
            yield update(b"", _multiprotocol(wire.MP_REACH_NLRI, head + field) + common, b"")
        else:
            yield update(b"", common, field)


def pack_withdrawals(family: Family, nlris: Iterable[Nlri], negotiated: Negotiated) -> Iterator[bytes]:
    """Yield UPDATE messages that withdraw `nlris`, as full as the peer can take them."""
    if family == IPV4:
        for field in _fields(nlris, _room(negotiated), family):
            yield update(field, b"", b"")
        return
    head = struct.pack(">HB", *family)
    for field in _fields(nlris, _room(negotiated) - len(head) - 4, family):
        yield update(b"", _multiprotocol(wire.MP_UNREACH_NLRI, head + field), b"")


def end_of_rib(family: Family) -> bytes:
    """Return the End-of-RIB marker of that family (RFC 4724 s2)."""
    if family == IPV4:
        return update(b"", b"", b"")
    return update(b"", wire.attribute(wire.OPTIONAL, wire.MP_UNREACH_NLRI, struct.pack(">HB", *family)), b"")


_WIDEST = {IPV4: 5, IPV6: 17}  # octets of a prefix


def _room(negotiated: Negotiated) -> int:
    return (EXTENDED_MAXIMUM if negotiated.extended_messages else MAXIMUM) - HEADER - 4


def _multiprotocol(type: int, value: bytes) -> bytes:
    return struct.pack(">BBH", wire.OPTIONAL | wire.EXTENDED_LENGTH, type, len(value)) + value


def _fields(nlris: Iterable[Nlri], room: int, family: Family) -> Iterator[bytes]:
    """Yield fields of at most `room` octets, in which not even the widest prefix would find a place.

    As many prefixes are taken at a time as fit if all are the widest; a few rounds fill the field.
    """
    widest = _WIDEST[family]
    rest = iter(nlris)
    while True:
        field = b""
        while (count := (room - len(field)) // widest) and (some := nlri.join(list(islice(rest, count)))):
            field += some
        if not field:
            return
        yield field
