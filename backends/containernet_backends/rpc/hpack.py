"""Header fields as octets (RFC 7541). Pure.

There is no dynamic table. Our SETTINGS are the first that a server hears, and they ask for one of no octets; so
nothing that it sends us can refer to one, and a block of fields means the same wherever it stands. What we send
refers to nothing either: a few octets more in each request, and nothing to remember or to fill up.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable

from . import huffman

Fields = tuple[tuple[str, str], ...]

_WITHOUT_VALUE = """
    accept-language accept-ranges accept access-control-allow-origin age allow authorization cache-control
    content-disposition content-encoding content-language content-length content-location content-range
    content-type cookie date etag expect expires from host if-match if-modified-since if-none-match if-range
    if-unmodified-since last-modified link location max-forwards proxy-authenticate proxy-authorization
    range referer refresh retry-after server set-cookie strict-transport-security transfer-encoding
    user-agent vary via www-authenticate
""".split()  # noqa: SIM905
# RFC 7541 Appendix A, from 1.
STATIC: Fields = (
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    *((name, "") for name in _WITHOUT_VALUE),
)

LITERAL, NEVER_INDEXED = 0x00, 0x10
LARGEST = 1 << 24  # of an integer; what is longer than that does not come in a block that we take


def encode(fields: Iterable[tuple[str, str]], *, secret: str = "") -> bytes:
    """Return a block of fields, each a literal with its own name.

    Args:
        fields: names in lower case, values of visible ASCII.
        secret: the name of one that nobody on the way may index (RFC 7541 s7.1.3).
    """
    return b"".join(
        bytes([NEVER_INDEXED if name == secret else LITERAL]) + _string(name) + _string(value)
        for name, value in fields
    )


@functools.lru_cache(maxsize=32)
def decode(block: bytes) -> Fields:
    """Return the fields of a block; a server sends the same few again and again.

    Raises:
        ValueError: RFC 7541 does not allow it, or it refers to a dynamic table.
    """
    found, at = [], 0
    while at < len(block):
        first = block[at]
        if first & 0x80:  # s6.1
            index, at = _read_integer(block, at, 7)
            found.append(_entry(index))
        elif first & 0xE0 == 0x20:  # s6.3; s4.2: at the beginning of a block
            size, at = _read_integer(block, at, 5)
            if size or found:
                raise ValueError(f"a dynamic table of {size} octets, where none is allowed")
        else:  # s6.2: with indexing, which changes nothing in a table without room (s4.4), or without
            index, at = _read_integer(block, at, 6 if first & 0x40 else 4)
            name, at = (_entry(index)[0], at) if index else _read_string(block, at)
            value, at = _read_string(block, at)
            found.append((name, value))
    return tuple(found)


def _entry(index: int) -> tuple[str, str]:
    if not 0 < index <= len(STATIC):  # s2.3.3
        raise ValueError(f"field {index} of the tables, where there are {len(STATIC)}")
    return STATIC[index - 1]


def _string(text: str) -> bytes:
    octets = text.encode("ascii")
    return _integer(len(octets), 7) + octets


def _read_string(block: bytes, at: int) -> tuple[str, int]:
    if at >= len(block):
        raise ValueError("a field without its text")
    coded = block[at] & 0x80
    length, at = _read_integer(block, at, 7)
    if at + length > len(block):
        raise ValueError(f"a text of {length} octets, where {len(block) - at} follow")
    octets = block[at : at + length]
    return (huffman.decode(octets) if coded else octets).decode("latin1"), at + length


def _integer(value: int, bits: int) -> bytes:
    """Return an integer behind a prefix of zeros (s5.1)."""
    most = (1 << bits) - 1
    if value < most:
        return bytes([value])
    value, octets = value - most, bytearray([most])
    while value > 127:
        octets.append(value & 127 | 128)
        value >>= 7
    return bytes([*octets, value])


def _read_integer(block: bytes, at: int, bits: int) -> tuple[int, int]:
    """Return the integer that begins in the last `bits` of an octet, and where it ends."""
    most = (1 << bits) - 1
    value = block[at] & most
    at += 1
    if value < most:
        return value, at
    for shift in range(0, 28, 7):  # s5.1 leaves it to us what is too large
        if at >= len(block):
            break
        value += (block[at] & 127) << shift
        at += 1
        if not block[at - 1] & 128 and value <= LARGEST:
            return value, at
    raise ValueError("an integer that is too large, or has no end")
