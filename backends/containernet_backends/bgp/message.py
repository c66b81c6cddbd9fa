"""Messages (RFC 4271 s4): a stream of octets cut into them, and each as a value.

    Framer          a stream, in pieces of any size -> (type, body)
    Open            RFC 4271 s4.2, RFC 5492, RFC 9072
    UPDATE          RFC 4271 s4.3: three fields, cut by `update_fields` and put together by `update`
    Notification    RFC 4271 s4.5, RFC 9003, RFC 8538
    RouteRefresh    RFC 2918, RFC 7313

What a field means to a session is not decided here: `capabilities` judges an OPEN, `update` the attributes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from ipaddress import IPv4Address
from operator import itemgetter
from typing import Self

import attrs

from .families import Family
from .notification import (
    ADMINISTRATIVE_RESET,
    ADMINISTRATIVE_SHUTDOWN,
    BAD_MESSAGE_LENGTH,
    BAD_MESSAGE_TYPE,
    CEASE,
    HARD_RESET,
    INVALID_REFRESH_LENGTH,
    MALFORMED_ATTRIBUTES,
    MESSAGE_HEADER,
    NOT_SYNCHRONIZED,
    OPEN_MESSAGE,
    ROUTE_REFRESH as ROUTE_REFRESH_ERROR,
    UNSUPPORTED_PARAMETER,
    UNSUPPORTED_VERSION,
    UPDATE_MESSAGE,
    Violation,
    describe,
)

OPEN, UPDATE, NOTIFICATION, KEEPALIVE, ROUTE_REFRESH = range(1, 6)

HEADER = 19  # octets
MAXIMUM = 4096  # RFC 4271 s4
EXTENDED_MAXIMUM = 65535  # RFC 8654 s4

_MARKER = b"\xff" * 16
_HEADER = struct.Struct(">16sHB")
_MINIMUM = {OPEN: 29, UPDATE: 23, NOTIFICATION: 21, KEEPALIVE: 19, ROUTE_REFRESH: 23}
_LEAST = _MINIMUM[UPDATE]
_KEEPALIVE = _HEADER.pack(_MARKER, HEADER, KEEPALIVE)
_SHORT = _MARKER + b"\0"  # how a message of less than 256 octets begins
_SHORT_HEAD = itemgetter(slice(0, 6))  # what follows: length, type, and the lengths of two fields of an UPDATE
_SHORT_SIZES = frozenset(range(_LEAST - len(_SHORT), 256 - len(_SHORT)))  # of all that follows
_SHORT_LENGTHS = bytes((size + len(_SHORT)) % 256 for size in range(256))  # what the length then has to be


def frame(type: int, body: bytes) -> bytes:
    """Return the message with that body; the caller keeps to the maximum that was negotiated."""
    return _HEADER.pack(_MARKER, HEADER + len(body), type) + body


def keepalive() -> bytes:
    """Return a KEEPALIVE message."""
    return _KEEPALIVE


FEW = 16  # UPDATEs that are no volley


class Volley:
    """UPDATEs of less than 256 octets, one after the other; some of the first may have been taken away.

    Args:
        tails: of each what follows the first octet of its length.
        heads: of each tail the first six octets: the other octet of the length, the type, and the lengths of
            withdrawn routes and of attributes.
        octets: in all tails.

    Attributes:
        octets: in those that are left.
    """

    __slots__ = ("_at", "heads", "octets", "tails")

    def __init__(self, tails: list[bytes], heads: bytes, octets: int) -> None:
        self.tails = tails
        self.heads = heads
        self.octets = octets
        self._at = 0

    def __len__(self) -> int:
        return len(self.tails) - self._at

    def __iter__(self) -> Iterator[bytes]:
        """Yield their bodies."""
        return (tail[2:] for tail in self.tails[self._at :])

    @property
    def body(self) -> bytes:
        """The first one's."""
        return self.tails[self._at][2:]

    def first(self, most: int) -> Volley:
        """Return up to `most` of the first."""
        at, to = self._at, self._at + most
        if not at and to >= len(self.tails):
            return self
        tails = self.tails[at:to]
        return Volley(tails, self.heads[6 * at : 6 * to], sum(map(len, tails)))

    def skip(self, count: int) -> None:
        """Take the first away."""
        at, self._at = self._at, self._at + count
        self.octets -= sum(map(len, self.tails[at : self._at])) if len(self) else self.octets


class Framer:
    """Cuts a stream into messages: feed it, then iterate until it is exhausted.

    It holds at most what was fed since the last iteration and one incomplete message, whose header was already
    found good. After a Violation it is of no more use: the stream is out of step.

    Args:
        maximum: octets that a message may have: 65,535 once *we* have offered extended messages, whatever the
            peer says (RFC 8654 s4, s6). May be set at any time, and holds for the next message.
    """

    def __init__(self, maximum: int = MAXIMUM) -> None:
        self.maximum = maximum
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """Take what the peer sent next."""
        self._buffer += data

    def short_updates(self) -> Volley:
        """Take the UPDATEs of less than 256 octets that come next, but for the last.

        Often there are thousands: some tell a table prefix by prefix. They are cut where markers are, and that
        is right if every length says so.
        """
        if not self._buffer.startswith(_SHORT):
            return Volley([], b"", 0)
        _, *pieces = bytes(self._buffer).split(_SHORT)
        del pieces[-1]
        sizes, heads = list(map(len, pieces)), b"".join(map(_SHORT_HEAD, pieces))
        good = _SHORT_SIZES.issuperset(sizes) and heads[::6] == bytes(sizes).translate(_SHORT_LENGTHS)
        if not good or heads[1::6] != bytes([UPDATE]) * len(pieces):
            del pieces[next(at for at, piece in enumerate(pieces) if not _is_short_update(piece)) :]
            heads = b"".join(map(_SHORT_HEAD, pieces))
        octets = sum(sizes[: len(pieces)])
        del self._buffer[: octets + len(_SHORT) * len(pieces)]
        return Volley(pieces, heads, octets)

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        """Yield type and body of each message that is complete.

        Raises:
            Violation: a header breaks RFC 4271 s6.1; the messages before it have been yielded.
        """
        buffer = self._buffer
        if len(buffer) < HEADER or len(buffer) < self._check(buffer, 0)[0]:
            return
        data = bytes(buffer)  # one copy, then slices of it; a slice of a bytearray would be a bytearray
        at, end = 0, len(data)
        try:
            while end - at >= HEADER:
                length, kind = data[at + 16] << 8 | data[at + 17], data[at + 18]
                plain = kind == UPDATE and _LEAST <= length <= self.maximum and data.startswith(_MARKER, at)
                if not plain:  # `_check` knows all rules; this one is the hot path
                    length, kind = self._check(data, at)
                if end - at < length:
                    return
                body = data[at + HEADER : at + length]
                at += length
                yield kind, body
        finally:  # also where nobody asks for the rest
            del buffer[:at]

    def _check(self, data: bytes | bytearray, at: int) -> tuple[int, int]:
        marker, length, kind = _HEADER.unpack_from(data, at)
        # RFC 4271 s6.1, in its order: marker, length, type.
        if marker != _MARKER:
            raise Violation(
                MESSAGE_HEADER, NOT_SYNCHRONIZED, reason="the marker is not all ones (RFC 4271 s6.1)"
            )
        minimum = _MINIMUM.get(kind, HEADER)
        maximum = HEADER if kind == KEEPALIVE else MAXIMUM if kind == OPEN else self.maximum  # RFC 8654 s4
        if not minimum <= length <= maximum:
            raise Violation(
                MESSAGE_HEADER,
                BAD_MESSAGE_LENGTH,
                struct.pack(">H", length),
                f"{length} octets for message type {kind}, expected {minimum} to {maximum} (RFC 4271 s6.1)",
            )
        if kind not in _MINIMUM:
            raise Violation(
                MESSAGE_HEADER,
                BAD_MESSAGE_TYPE,
                bytes([kind]),
                f"message type {kind}, expected 1 to 5 (RFC 4271 s6.1)",
            )
        return length, kind


def _is_short_update(piece: bytes) -> bool:
    return len(piece) in _SHORT_SIZES and piece[:2] == bytes([len(piece) + len(_SHORT), UPDATE])


@attrs.frozen
class Capability:
    """One capability as it is on the wire (RFC 5492 s4)."""

    code: int
    value: bytes = b""


_OPEN = struct.Struct(">BHH4sB")
_CAPABILITIES = 2  # the only optional parameter in use (RFC 5492 s4)
_EXTENDED = 255  # RFC 9072 s2


@attrs.frozen(kw_only=True)
class Open:
    """An OPEN message (RFC 4271 s4.2).

    Args:
        asn: the field My Autonomous System, 2 octets; AS_TRANS (23456) where the number has four (RFC 6793).
        hold_time: seconds. router_id: the BGP Identifier.
        capabilities: in their order, whichever optional parameters they came in.
    """

    asn: int
    hold_time: int
    router_id: IPv4Address
    capabilities: tuple[Capability, ...] = ()

    def encode(self) -> bytes:
        """Return the message."""
        capabilities = b"".join(bytes([each.code, len(each.value)]) + each.value for each in self.capabilities)
        if not capabilities:
            parameters, length = b"", 0
        elif len(capabilities) + 2 <= 255:
            parameters = bytes([_CAPABILITIES, len(capabilities)]) + capabilities
            length = len(parameters)
        else:  # RFC 9072 s2: 255 twice, and lengths of two octets from there on
            inner = struct.pack(">BH", _CAPABILITIES, len(capabilities)) + capabilities
            parameters, length = struct.pack(">BH", _EXTENDED, len(inner)) + inner, 255
        fixed = _OPEN.pack(4, self.asn, self.hold_time, self.router_id.packed, length)
        return frame(OPEN, fixed + parameters)

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Return the value of a body that `Framer` yielded.

        Raises:
            Violation: another version, an unknown or a malformed optional parameter (RFC 4271 s6.2).
        """
        version, asn, hold_time, router_id, length = _OPEN.unpack_from(body)
        if version != 4:  # RFC 4271 s6.2: the data is the largest version that we know
            raise Violation(
                OPEN_MESSAGE, UNSUPPORTED_VERSION, b"\0\4", f"BGP version {version}, expected 4 (RFC 4271 s6.2)"
            )
        rest, width = body[_OPEN.size :], 1
        if length and rest[:1] == b"\xff":  # RFC 9072 s2: the type decides, the first length is not looked at
            if len(rest) < 3:
                raise _malformed("the extended length is cut off")
            length, rest, width = int.from_bytes(rest[1:3], "big"), rest[3:], 2
        if length != len(rest):
            raise _malformed(f"{len(rest)} octets of optional parameters, their length says {length}")
        capabilities: list[Capability] = []
        for kind, value in _pieces(rest, width):
            if kind != _CAPABILITIES:
                raise Violation(
                    OPEN_MESSAGE,
                    UNSUPPORTED_PARAMETER,
                    reason=f"optional parameter {kind}, expected 2, capabilities (RFC 4271 s6.2)",
                )
            capabilities.extend(Capability(code, each) for code, each in _pieces(value, 1))
        return cls(
            asn=asn,
            hold_time=hold_time,
            router_id=IPv4Address(router_id),
            capabilities=tuple(capabilities),
        )


def _pieces(field: bytes, width: int) -> Iterator[tuple[int, bytes]]:
    """Yield type and value of each piece: a type of one octet, a length of `width`, the value."""
    at = 0
    while at < len(field):
        start = at + 1 + width
        end = start + int.from_bytes(field[at + 1 : start], "big")
        if end > len(field):
            raise _malformed(f"type {field[at]} needs {end - at} octets, {len(field) - at} are left")
        yield field[at], field[start:end]
        at = end


def _malformed(what: str) -> Violation:
    # RFC 4271 s6.2: a recognised optional parameter that is malformed has the subcode 0
    return Violation(OPEN_MESSAGE, 0, reason=f"optional parameters: {what} (RFC 4271 s6.2)")


def update(withdrawn: bytes, attributes: bytes, nlri: bytes) -> bytes:
    """Return an UPDATE message of these three fields (RFC 4271 s4.3)."""
    return frame(
        UPDATE,
        b"%b%b%b%b%b"
        % (len(withdrawn).to_bytes(2, "big"), withdrawn, len(attributes).to_bytes(2, "big"), attributes, nlri),
    )


def update_fields(body: bytes) -> tuple[bytes, bytes, bytes]:
    """Return withdrawn routes, path attributes and NLRI of an UPDATE's body.

    Raises:
        Violation: their lengths exceed the message (RFC 4271 s6.3; RFC 7606 s3 keeps that a session reset).
    """
    attributes = 4 + (body[0] << 8 | body[1])
    if attributes <= len(body):
        nlri = attributes + (body[attributes - 2] << 8 | body[attributes - 1])
        if nlri <= len(body):
            return body[2 : attributes - 2], body[attributes:nlri], body[nlri:]
    raise Violation(
        UPDATE_MESSAGE,
        MALFORMED_ATTRIBUTES,
        reason=f"withdrawn routes and attributes do not fit into {len(body)} octets (RFC 4271 s6.3)",
    )


@attrs.frozen
class Notification:
    """A NOTIFICATION message (RFC 4271 s4.5): why a session ends."""

    code: int
    subcode: int
    data: bytes = b""

    @classmethod
    def of(cls, violation: Violation) -> Self:
        """Return what is sent for a violation."""
        return cls(violation.code, violation.subcode, violation.data)

    @classmethod
    def cease(cls, subcode: int, text: str = "") -> Self:
        """Return a Cease (RFC 4486), with a text for the operator over there (RFC 9003).

        A text is sent only with an administrative shutdown or reset, the two that have a place for it. It is
        cut at 128 octets of UTF-8: s3 allows 255 only if it is known that the peer takes as many.
        """
        if subcode not in _WITH_TEXT or not text:
            return cls(CEASE, subcode)
        octets = text.encode(errors="replace")[:_LONGEST_TEXT].decode(errors="ignore").encode()
        return cls(CEASE, subcode, bytes([len(octets)]) + octets)

    def hard(self) -> Notification:
        """Return this inside a hard reset, after which no routes are kept (RFC 8538 s3.1)."""
        return Notification(CEASE, HARD_RESET, bytes([self.code, self.subcode]) + self.data)

    @property
    def is_hard(self) -> bool:
        """Whether it is a hard reset."""
        return (self.code, self.subcode) == (CEASE, HARD_RESET)

    @property
    def cause(self) -> Notification:
        """What a hard reset encloses; else itself."""
        if self.is_hard and len(self.data) >= 2:
            return Notification(self.data[0], self.data[1], self.data[2:])
        return self

    @property
    def text(self) -> str:
        """What the operator over there says (RFC 9003), or ""; a stranger's words, without control codes."""
        cause = self.cause
        if cause.code != CEASE or cause.subcode not in _WITH_TEXT or not cause.data:
            return ""
        # RFC 9003 s4: a length or UTF-8 that is wrong is no reason for an error
        words = cause.data[1 : 1 + cause.data[0]].decode(errors="replace")
        return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in words)

    def encode(self) -> bytes:
        """Return the message, its data cut so that any peer may receive it (RFC 8654 s5)."""
        return frame(NOTIFICATION, (bytes([self.code, self.subcode]) + self.data)[: MAXIMUM - HEADER])

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Return the value of a body that `Framer` yielded. Any is good: there is no answer to a bad one."""
        return cls(body[0], body[1], body[2:])

    def __str__(self) -> str:
        cause, text = self.cause, self.text
        what = describe(cause.code, cause.subcode) + (f': "{text}"' if text else "")
        return f"hard reset for {what}" if cause is not self else what


_WITH_TEXT = (ADMINISTRATIVE_SHUTDOWN, ADMINISTRATIVE_RESET)
_LONGEST_TEXT = 128


@attrs.frozen
class RouteRefresh:
    """A ROUTE-REFRESH message: please announce that family again (RFC 2918), or where that begins and ends.

    Args:
        family: any; one that was not negotiated is ignored (RFC 2918 s4).
        subtype: REQUEST, BEGIN or END (RFC 7313 s3.2); others are ignored (s5).
    """

    family: Family
    subtype: int = 0

    REQUEST = 0
    BEGIN = 1
    END = 2

    def encode(self) -> bytes:
        """Return the message."""
        return frame(ROUTE_REFRESH, struct.pack(">HBB", self.family.afi, self.subtype, self.family.safi))

    @classmethod
    def decode(cls, body: bytes, *, enhanced: bool) -> Self:
        """Return the value of a body that `Framer` yielded.

        Args:
            enhanced: the peer has announced RFC 7313. Else there are no subtypes, and the octet is reserved.

        Raises:
            Violation: a BEGIN or END of a wrong length (RFC 7313 s5). What follows a request is a filter of
                RFC 5291, which we never offered, and is not looked at.
        """
        afi, subtype, safi = struct.unpack_from(">HBB", body)
        if not enhanced:
            return cls(Family(afi, safi))
        if subtype in (cls.BEGIN, cls.END) and len(body) != 4:
            raise Violation(
                ROUTE_REFRESH_ERROR,
                INVALID_REFRESH_LENGTH,
                frame(ROUTE_REFRESH, body),
                f"ROUTE-REFRESH of subtype {subtype} with {len(body)} octets, expected 4 (RFC 7313 s5)",
            )
        return cls(Family(afi, safi), subtype)
