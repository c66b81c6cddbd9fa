"""AS paths on the wire (RFC 4271 s4.3), also for speakers whose AS numbers have two octets (RFC 6793)."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from .attributes import AS_CONFED_SEQUENCE, AS_CONFED_SET, AS_SEQUENCE, AS_SET, Segment

AS_TRANS = 23456  # RFC 6793 s9: stands for a number that does not fit into two octets
CONFEDERATION = (AS_CONFED_SEQUENCE, AS_CONFED_SET)  # RFC 5065 s3


class Malformed(Exception):
    """Why a value is not one of its attribute."""


def decode(value: bytes, width: int) -> tuple[Segment, ...]:
    """Return the path of an AS_PATH or AS4_PATH, whose AS numbers have `width` octets.

    Raises:
        Malformed: as RFC 7606 s7.2 says, or a number is 0 (RFC 7607 s2).
    """
    segments = []
    at, size, form = 0, len(value), "H" if width == 2 else "I"
    while at < size:
        if size - at < 2:
            raise Malformed("a single octet is left")
        kind, count = value[at], value[at + 1]
        start, end = at + 2, at + 2 + count * width
        if not AS_SET <= kind <= AS_CONFED_SET:
            raise Malformed(f"segment type {kind}, expected 1 to 4")
        if not count:
            raise Malformed("a segment without AS numbers")
        if end > size:
            raise Malformed(f"a segment needs {end - at} octets, {size - at} are left")
        asns = struct.unpack(f">{count}{form}", value[start:end])
        if 0 in asns:
            raise Malformed("AS 0; RFC 7607 s2")
        segments.append(Segment(kind, asns))
        at = end
    return tuple(segments)


def encode(path: Iterable[Segment], width: int) -> bytes:
    """Return the value of an AS_PATH or AS4_PATH; a number that does not fit is AS_TRANS."""
    octets = bytearray()
    for segment in path:
        for at in range(0, len(segment.asns), 255):  # RFC 4271 s5.1.2 a: a full segment is followed by another
            asns = segment.asns[at : at + 255]
            octets += bytes([segment.type, len(asns)])
            if width == 4:
                octets += struct.pack(f">{len(asns)}I", *asns)
            else:
                octets += struct.pack(f">{len(asns)}H", *map(in_two_octets, asns))
    return bytes(octets)


def path_length(path: Iterable[Segment]) -> int:
    """Return how many ASes there are for the decision process (RFC 4271 s9.1.2.2 a, RFC 5065 s5.3)."""
    length = 0
    for segment in path:
        length += len(segment.asns) if segment.type == AS_SEQUENCE else segment.type == AS_SET
    return length


def merge(old: tuple[Segment, ...], new: tuple[Segment, ...]) -> tuple[Segment, ...]:
    """Return an AS_PATH put together with the AS4_PATH beside it (RFC 6793 s4.2.3)."""
    missing = path_length(old) - path_length(new)
    return _joined([*_leading(old, missing), *new]) if missing >= 0 else old


def _leading(path: Iterable[Segment], count: int) -> Iterator[Segment]:
    """Yield the front of `path` that has that length, and a confederation's segments before or behind it."""
    for segment in path:
        if segment.type in CONFEDERATION:
            yield segment
        elif not count:
            return
        elif segment.type == AS_SET:
            count -= 1
            yield segment
        else:
            yield Segment(AS_SEQUENCE, segment.asns[:count])
            if count < len(segment.asns):
                return
            count -= len(segment.asns)


def _joined(path: Iterable[Segment]) -> tuple[Segment, ...]:
    joined: list[Segment] = []
    for segment in path:
        if (
            joined
            and joined[-1].type == segment.type == AS_SEQUENCE
            and len(joined[-1].asns + segment.asns) <= 255
        ):
            joined[-1] = Segment(AS_SEQUENCE, joined[-1].asns + segment.asns)
        else:
            joined.append(segment)
    return tuple(joined)


def in_two_octets(asn: int) -> int:
    """Return the AS number, or what stands for it."""
    return asn if asn <= 0xFFFF else AS_TRANS
