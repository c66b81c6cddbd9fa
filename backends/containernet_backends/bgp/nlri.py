"""NLRI: prefixes as BGP carries them (RFC 4271 s4.3, RFC 4760 s5, RFC 7911 s3).

Inside the program a prefix stays what it was on the wire, as `bytes`: one octet with its length in bits, and
as many octets as these bits need. The spare bits of the last octet are zero here, whatever a peer sent: RFC
4271 s4.3 calls their value irrelevant, so two spellings are one prefix. Equal prefixes are equal bytes, which
hash and compare at C speed; `ipaddress` objects are made for those that leave this package.

A field is split by runs of prefixes that take as many octets, which is what most fields are. Where they change
too often, one compiled expression goes on, with an alternative for each prefix length. Both find nothing but
well-formed prefixes without spare bits; if these do not add up to the field, the field is read again slowly,
which either clears the spare bits or says what is wrong.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from ipaddress import IPv4Network, IPv6Network
from operator import itemgetter

from containernet.model import Prefix

from .families import IPV4, Family
from .notification import INVALID_NETWORK_FIELD, UPDATE_MESSAGE, Violation

_BITS = {1: 32, 2: 128}
_TYPES: dict[int, type[IPv4Network] | type[IPv6Network]] = {1: IPv4Network, 2: IPv6Network}
# The most frequent lengths of the Internet's tables: the expression tries its alternatives in this order.
_FREQUENT = {1: (24, 22, 23, 20, 21, 19, 16, 18, 17, 32), 2: (48, 64, 32, 44, 40, 36, 29, 46, 42, 128)}
_PATH_ID = 4  # RFC 7911 s3: octets
_FIRST, _LAST = itemgetter(0), itemgetter(-1)
_OCTETS = {  # that a prefix of each length takes; 0: there is none so long
    afi: bytes(1 + (length + 7) // 8 if length <= bits else 0 for length in range(256))
    for afi, bits in _BITS.items()
}
_AS_LONG = {  # the lengths of prefixes that take so many octets
    octets: bytes(length for length in range(129) if 1 + (length + 7) // 8 == octets) for octets in range(1, 18)
}
_FEW, _MOST, _MOST_RUNS = 8, 1024, 64
_SPARE = bytes(0xFF >> length % 8 if length % 8 else 0 for length in range(256))  # bits of their last octets


def encode(prefix: Prefix) -> bytes:
    """Return the one wire form of `prefix`."""
    length = prefix.prefixlen
    return bytes([length]) + prefix.network_address.packed[: (length + 7) // 8]


def decode(family: Family, raw: bytes) -> Prefix:
    """Return the prefix that `raw`, an element of what `split` returned, stands for."""
    width = _BITS[family.afi] // 8
    return _TYPES[family.afi]((raw[1:].ljust(width, b"\0"), raw[0]))


def split(field: bytes, family: Family) -> list[bytes]:
    """Return the prefixes in `field`, in their order.

    Raises:
        Violation: a prefix is longer than an address, or the last one is cut off (RFC 7606 s5.3). Then nothing
            in the field can be trusted, not even to withdraw it.
    """
    found, at = _runs(field, family)
    if at < len(field):
        rest = field[at:]
        others: list[bytes] = _expression(family).findall(rest)
        if len(b"".join(others)) != len(rest):  # faster than to add the lengths
            return _slowly(field, family, skip=0)[1]
        found += others
    return found


def _runs(field: bytes, family: Family) -> tuple[list[bytes], int]:
    """Return prefixes from the front of `field`, and how far they reach.

    Neighbours that take as many octets are cut off together.
    """
    found: list[bytes] = []
    at, size = 0, len(field)
    for _ in range(_MOST_RUNS):
        if at == size or not (octets := _OCTETS[family.afi][field[at]]):
            break
        lengths = field[at::octets]
        count = min(len(lengths) - len(lengths.lstrip(_AS_LONG[octets])), (size - at) // octets, _MOST)
        end = at + count * octets
        if not count or _spare_bits(lengths[:count], field[at + octets - 1 : end : octets]):
            break
        if count < _FEW:
            found += [field[each : each + octets] for each in range(at, end, octets)]
        else:
            found += _cutter(octets, count)(field, at)
        at = end
    return found, at


@lru_cache(256)  # of these the longest take 32 kB
def _cutter(octets: int, count: int) -> Callable[[bytes, int], tuple[bytes, ...]]:
    return struct.Struct(f"{octets}s" * count).unpack_from


def are_single(fields: Sequence[bytes]) -> bool:
    """Return whether each of these IPv4 fields, none of which is empty, is one prefix without spare bits."""
    lengths = bytes(map(_FIRST, fields))
    single = lengths.translate(_OCTETS[IPV4.afi]) == bytes(map(len, fields))
    return single and not _spare_bits(lengths, bytes(map(_LAST, fields)))


def _spare_bits(lengths: bytes, lasts: bytes) -> int:
    """Return the spare bits of prefixes with these lengths and last octets, as one number; 0: none is set."""
    return int.from_bytes(lasts, "big") & int.from_bytes(lengths.translate(_SPARE), "big")


def split_paths(field: bytes, family: Family) -> tuple[list[int], list[bytes]]:
    """Return the path identifiers and the prefixes in `field`, of a family in which they were negotiated.

    Raises:
        Violation: as in `split`.
    """
    found = _expression_with_paths(family).findall(field)
    if not found:
        return _slowly(field, family, skip=_PATH_ID)
    paths, prefixes = map(list, zip(*found, strict=True))
    if len(b"".join(prefixes)) + _PATH_ID * len(paths) != len(field):
        return _slowly(field, family, skip=_PATH_ID)
    return list(struct.unpack(f">{len(paths)}I", b"".join(paths))), prefixes


def join_paths(paths: list[int], prefixes: list[bytes]) -> bytes:
    """Return the field that `split_paths` splits."""
    return b"".join([path.to_bytes(_PATH_ID, "big") + raw for path, raw in zip(paths, prefixes, strict=True)])


def _slowly(field: bytes, family: Family, *, skip: int) -> tuple[list[int], list[bytes]]:
    paths, prefixes = [], []
    at, bits = 0, _BITS[family.afi]
    while at < len(field):
        start = at + skip
        length = field[start] if start < len(field) else 0
        end = start + 1 + (length + 7) // 8
        # RFC 7606 s5.3: an NLRI field is syntactically incorrect for these two reasons.
        if length > bits:
            raise _malformed(f"a prefix of {length} bits at octet {at}, expected at most {bits}")
        if end > len(field):
            raise _malformed(f"the prefix at octet {at} needs {end - at} octets, {len(field) - at} are left")
        raw = bytearray(field[start:end])
        if length % 8:
            raw[-1] &= 0xFF00 >> length % 8
        paths.append(int.from_bytes(field[at:start], "big"))
        prefixes.append(bytes(raw))
        at = end
    return paths, prefixes


def _malformed(what: str) -> Violation:
    return Violation(UPDATE_MESSAGE, INVALID_NETWORK_FIELD, reason=f"NLRI: {what} (RFC 7606 s5.3)")


@cache
def _expression(family: Family) -> re.Pattern[bytes]:
    return re.compile(_alternatives(family.afi), re.DOTALL)


@cache
def _expression_with_paths(family: Family) -> re.Pattern[bytes]:
    return re.compile(b"(....)(" + _alternatives(family.afi) + b")", re.DOTALL)


def _alternatives(afi: int) -> bytes:
    others = [length for length in range(_BITS[afi] + 1) if length not in _FREQUENT[afi]]
    return b"|".join(_of_length(length) for length in [*_FREQUENT[afi], *others])


def _of_length(length: int) -> bytes:
    octets, rest = divmod(length, 8)
    expression = re.escape(bytes([length])) + b"." * octets
    if not rest:
        return expression
    without_spare_bits = b"".join(b"\\x%02x" % value for value in range(0, 256, 1 << (8 - rest)))
    return expression + b"[" + without_spare_bits + b"]"
