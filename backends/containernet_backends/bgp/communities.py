"""Communities in words: `65000:1`, `no-export`, `rt:65000:1`, `65000:1:2` (RFC 1997, RFC 4360, RFC 8092).

What a text stands for is told by its type, so one list holds all three kinds: a number of 32 bits is a standard
community, 8 octets are an extended one, three numbers a large one.
"""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address

from containernet.errors import ConfigError

Community = int | bytes | tuple[int, int, int]

GRACEFUL_SHUTDOWN = 0xFFFF0000  # RFC 8326
BLACKHOLE = 0xFFFF029A  # RFC 7999
NO_EXPORT, NO_ADVERTISE, NO_EXPORT_SUBCONFED = 0xFFFFFF01, 0xFFFFFF02, 0xFFFFFF03  # RFC 1997
NO_PEER = 0xFFFFFF04  # RFC 3765

_WELL_KNOWN = {
    "graceful-shutdown": GRACEFUL_SHUTDOWN,
    "accept-own": 0xFFFF0001,  # RFC 7611
    "llgr-stale": 0xFFFF0006,  # RFC 9494
    "no-llgr": 0xFFFF0007,  # RFC 9494
    "blackhole": BLACKHOLE,
    "no-export": NO_EXPORT,
    "no-advertise": NO_ADVERTISE,
    "no-export-subconfed": NO_EXPORT_SUBCONFED,
    "no-peer": NO_PEER,
}
_NAMES = {value: name for name, value in _WELL_KNOWN.items()}

_SUBTYPES = {"rt": 2, "soo": 3}  # RFC 4360 s4, s5: route target and route origin
_SUBNAMES = {value: name for name, value in _SUBTYPES.items()}
_TWO_OCTET_AS, _IPV4_ADDRESS, _FOUR_OCTET_AS = 0, 1, 2  # RFC 4360 s3; RFC 5668 s2

_NUMBERS = re.compile(r"\d{1,10}(:\d{1,10}){1,2}")
_EXTENDED = re.compile(r"(rt|soo):(\d{1,10}|\d+\.\d+\.\d+\.\d+):(\d{1,10})")
_OCTETS = re.compile(r"0x[0-9a-f]{16}")


def parse(text: str) -> Community:
    """Return the community that `text` stands for; `show` writes it.

    Raises:
        ConfigError: it stands for none.
    """
    words = text.strip().lower()
    if words in _WELL_KNOWN:
        return _WELL_KNOWN[words]
    if _OCTETS.fullmatch(words):
        return bytes.fromhex(words[2:])
    if _NUMBERS.fullmatch(words):
        numbers = [int(number) for number in words.split(":")]
        if len(numbers) == 2 and max(numbers) <= 0xFFFF:
            return numbers[0] << 16 | numbers[1]
        if len(numbers) == 3 and max(numbers) <= 0xFFFFFFFF:
            return numbers[0], numbers[1], numbers[2]
    elif match := _EXTENDED.fullmatch(words):
        kind, administrator, number = match.groups()
        extended = _extended(kind, administrator, int(number))
        if extended is not None:
            return extended
    raise ConfigError(
        f"community {text!r}: expected two numbers up to 65535 (65000:1), three up to 4294967295 (65000:1:2), "
        "rt:65000:1, soo:192.0.2.1:1, 16 hexadecimal digits behind 0x, or one of " + ", ".join(_WELL_KNOWN)
    )


def show(community: Community) -> str:
    """Return the text of a community, which `parse` reads back."""
    if isinstance(community, int):
        return _NAMES.get(community) or f"{community >> 16}:{community & 0xFFFF}"
    if isinstance(community, tuple):
        return ":".join(map(str, community))
    kind, name = community[0], _SUBNAMES.get(community[1])
    if name and kind == _TWO_OCTET_AS:
        return f"{name}:{_number(community[2:4])}:{_number(community[4:])}"
    if name and kind == _IPV4_ADDRESS:
        return f"{name}:{IPv4Address(community[2:6])}:{_number(community[6:])}"
    if name and kind == _FOUR_OCTET_AS and _number(community[2:6]) > 0xFFFF:
        return f"{name}:{_number(community[2:6])}:{_number(community[6:])}"
    return f"0x{community.hex()}"


def _extended(kind: str, administrator: str, number: int) -> bytes | None:
    """Return an extended community; an AS number gets two octets if they do, what follows the others."""
    subtype = _SUBTYPES[kind]
    if "." in administrator:
        try:
            first, octets = _IPV4_ADDRESS, IPv4Address(administrator).packed
        except AddressValueError:
            return None
    elif int(administrator) <= 0xFFFF:
        first, octets = _TWO_OCTET_AS, int(administrator).to_bytes(2, "big")
    elif int(administrator) <= 0xFFFFFFFF:
        first, octets = _FOUR_OCTET_AS, int(administrator).to_bytes(4, "big")
    else:
        return None
    width = 6 - len(octets)
    if number >= 1 << 8 * width:
        return None
    return bytes([first, subtype]) + octets + number.to_bytes(width, "big")


def _number(octets: bytes) -> int:
    return int.from_bytes(octets, "big")
