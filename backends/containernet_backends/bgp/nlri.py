"""NLRI: prefixes as BGP carries them (RFC 4271 s4.3, RFC 4760 s5, RFC 7911 s3).

On the wire a prefix is one octet with its length in bits, and as many octets as these bits need. The spare bits
of the last octet are zero here, whatever a peer sent: RFC 4271 s4.3 calls their value irrelevant, so two
spellings are one prefix.

Inside the program a prefix is an `Nlri`: in IPv4 these octets as one number, in IPv6 these octets. Equal
prefixes are equal, and hash and compare at C speed; `ipaddress` objects are made for those that leave this
package. A number hashes to itself, so prefixes in a row are in a row in a dictionary, too, which is filled in
less than half of the time. But only below 2^61 - 1: above that a peer could choose prefixes of one hash, and
each would be compared with all that came before. The hash of octets is keyed, which no peer can know.

A field is split by runs of prefixes that take as many octets, which is what most fields are. Where they change
too often, one compiled expression goes on, with an alternative for each prefix length. Both find nothing but
well-formed prefixes without spare bits; if these do not add up to the field, the field is read again slowly,
which either clears the spare bits or says what is wrong.
"""

from __future__ import annotations

import re
import struct
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import cache, lru_cache
from ipaddress import IPv4Network, IPv6Network
from operator import itemgetter
from typing import cast

from containernet.model import Prefix

from .families import IPV4, Family
from .notification import INVALID_NETWORK_FIELD, UPDATE_MESSAGE, Violation

Nlri = int | bytes

_BITS = {1: 32, 2: 128}
_TYPES: dict[int, type[IPv4Network] | type[IPv6Network]] = {1: IPv4Network, 2: IPv6Network}
# The most frequent lengths of the Internet's tables: the expression tries its alternatives in this order.
_FREQUENT = {1: (24, 22, 23, 20, 21, 19, 16, 18, 17, 32), 2: (48, 64, 32, 44, 40, 36, 29, 46, 42, 128)}
_PATH_ID = 4  # RFC 7911 s3: octets
_LENGTH, _FIRST = itemgetter(0), itemgetter(1)
_OCTETS = {  # that a prefix of each length takes; 0: there is none so long
    afi: bytes(1 + (length + 7) // 8 if length <= bits else 0 for length in range(256))
    for afi, bits in _BITS.items()
}
_AS_LONG = {  # the lengths of prefixes that take so many octets
    octets: bytes(length for length in range(129) if 1 + (length + 7) // 8 == octets) for octets in range(1, 18)
}
_MOST, _MOST_RUNS = 1024, 64
_SPARE = bytes(0xFF >> length % 8 if length % 8 else 0 for length in range(256))  # bits of their last octets
_WIDTHS = bytes(max(1, (bits + 7) // 8) for bits in range(41))  # octets of a number of so many bits
_NUMBERS = {1: "B", 2: "H", 4: "I"}  # octets that `struct` takes for a number
_FIVE = 25 << 24  # what takes five octets is more, and everything else is less


def encode(prefix: Prefix) -> Nlri:
    """Return the one form of `prefix`."""
    length = prefix.prefixlen
    raw = bytes([length]) + prefix.network_address.packed[: (length + 7) // 8]
    return int.from_bytes(raw) if prefix.version == 4 else raw


def decode(family: Family, nlri: Nlri) -> Prefix:
    """Return the prefix that `nlri`, an element of what `split` returned, stands for."""
    [raw] = octets([nlri])
    width = _BITS[family.afi] // 8
    return _TYPES[family.afi]((raw[1:].ljust(width, b"\0"), raw[0]))


def inside(raws: Sequence[bytes], family: Family) -> list[Nlri]:
    """Return prefixes that are as on the wire, without spare bits, as they are inside the program."""
    if family.afi == IPV4.afi:
        return list(map(int.from_bytes, raws))
    return list(raws)


def octets(nlris: Sequence[Nlri]) -> Sequence[bytes]:
    """Return prefixes of one family as they are on the wire."""
    if not nlris or isinstance(nlris[0], bytes):
        return cast(Sequence[bytes], nlris)
    numbers = cast(Sequence[int], nlris)
    return list(map(int.to_bytes, numbers, map(_WIDTHS.__getitem__, map(int.bit_length, numbers))))


def join(nlris: Sequence[Nlri]) -> bytes:
    """Return the field that `split` splits, of prefixes of one family."""
    if not nlris or isinstance(nlris[0], bytes) or max(numbers := cast(Sequence[int], nlris)) >= _FIVE:
        return b"".join(octets(nlris))
    rows = bytearray(struct.pack(f">{len(numbers)}I", *numbers))  # zeros before those that take fewer octets
    tops = rows[::4]
    if tops.count(0) > len(tops) // 8:
        return b"".join(octets(nlris))
    at = tops.rfind(0)
    while at >= 0:
        del rows[4 * at : 4 * at + 4 - _WIDTHS[numbers[at].bit_length()]]
        at = tops.rfind(0, 0, at)
    return bytes(rows)


def firsts(raws: Iterable[bytes]) -> bytes:
    """Return the first octet of each prefix's address, of some as on the wire; 0 where it has none."""
    some = list(raws)
    try:
        return bytes(map(_FIRST, some))
    except IndexError:
        return bytes(raw[1] if len(raw) > 1 else 0 for raw in some)


def split(field: bytes, family: Family) -> tuple[list[Nlri], bytes]:
    """Return the prefixes in `field`, in their order, and the octets of `firsts`, in any order.

    Raises:
        Violation: a prefix is longer than an address, or the last one is cut off (RFC 7606 s5.3). Then nothing
            in the field can be trusted, not even to withdraw it.
    """
    found, begin, at = _runs(field, family)
    if at < len(field):
        rest = field[at:]
        others: list[bytes] = _expression(family).findall(rest)
        if len(b"".join(others)) != len(rest):  # faster than to add the lengths
            others = _slowly(field, family, skip=0)[1]
            return inside(others, family), firsts(others)
        found += inside(others, family)
        begin += firsts(others)
    return found, begin


def _runs(field: bytes, family: Family) -> tuple[list[Nlri], bytes, int]:
    """Return prefixes from the front of `field`, their first octets, and how far they reach.

    Neighbours that take as many octets are cut off together.
    """
    found: list[Nlri] = []
    pieces: defaultdict[int, list[bytes]] = defaultdict(list)  # by the octets that a prefix takes there
    at, size, widths = 0, len(field), _OCTETS[family.afi]
    for _ in range(_MOST_RUNS):
        if at == size or not (width := widths[field[at]]):
            break
        end = at + width
        if end > size:
            break
        if end < size and widths[field[end]] == width:
            lengths = field[at::width]
            count = min(len(lengths) - len(lengths.lstrip(_AS_LONG[width])), (size - at) // width, _MOST)
            end = at + count * width
            piece = field[at:end]
            found += _cutter(width, count, family.afi)(piece)
        else:
            piece = field[at:end]
            found += inside([piece], family)
        pieces[width].append(piece)
        at = end
    begin = b""
    for width, some in pieces.items():
        joined = b"".join(some)
        if _spare_bits(joined[::width], joined[width - 1 :: width]):
            return [], b"", 0
        begin += joined[1::width] if width > 1 else joined
    return found, begin, at


@lru_cache(1024)  # of these the longest take 32 kB
def _cutter(width: int, count: int, afi: int) -> Callable[[bytes], Iterable[Nlri]]:
    """Return what cuts so many prefixes apart that take so many octets."""
    if afi == IPV4.afi and width in _NUMBERS:
        return struct.Struct(f">{count}{_NUMBERS[width]}").unpack
    cut = struct.Struct(f"{width}s" * count).unpack
    return cut if afi != IPV4.afi else lambda field: map(int.from_bytes, cut(field))


def split_single(fields: Sequence[bytes]) -> tuple[list[Nlri], bytes] | None:
    """Return what `split` returns for all of these IPv4 fields, if each is one prefix; else None.

    Args:
        fields: none is empty, or has more than 255 octets.
    """
    field, sizes = b"".join(fields), bytes(map(len, fields))
    alike = sizes.count(sizes[:1]) == len(sizes)
    lengths = field[:: sizes[0]] if field and alike else bytes(map(_LENGTH, fields))
    return split(field, IPV4) if lengths.translate(_OCTETS[IPV4.afi]) == sizes else None


def _spare_bits(lengths: bytes, lasts: bytes) -> int:
    """Return the spare bits of prefixes with these lengths and last octets, as one number; 0: none is set."""
    return int.from_bytes(lasts, "big") & int.from_bytes(lengths.translate(_SPARE), "big")


def split_paths(field: bytes, family: Family) -> tuple[list[int], list[Nlri], bytes]:
    """Return the path identifiers before the prefixes in `field`, and what `split` returns.

    They are there where they were negotiated for the family (RFC 7911 s3).

    Raises:
        Violation: as in `split`.
    """
    found = _expression_with_paths(family).findall(field)
    paths, raws = map(list, zip(*found, strict=True)) if found else ([], [])
    if len(b"".join(raws)) + _PATH_ID * len(paths) == len(field):
        numbers = list(struct.unpack(f">{len(paths)}I", b"".join(paths)))
    else:
        numbers, raws = _slowly(field, family, skip=_PATH_ID)
    return numbers, inside(raws, family), firsts(raws)


def join_paths(paths: list[int], nlris: list[Nlri]) -> bytes:
    """Return the field that `split_paths` splits."""
    pairs = zip(paths, octets(nlris), strict=True)
    return b"".join([path.to_bytes(_PATH_ID, "big") + raw for path, raw in pairs])


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
