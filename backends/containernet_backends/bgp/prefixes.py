"""Sets of prefixes that are asked at C speed: one compiled expression over the wire form of an NLRI.

The wire form is a length octet and the address's octets (see `nlri`). That a prefix lies within another, and
has a length in a range, is therefore a regular language: a class for the length, the outer prefix's whole
octets, a class for its last bits, and then anything. `map` runs over a thousand prefixes without a Python
frame.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from ipaddress import ip_network

import attrs

from containernet.errors import ConfigError
from containernet.model import Prefix

from .nlri import Nlri, octets


class Match:
    """What tells whether prefixes are in any of some ranges.

    Args:
        expression: matches the wire form of those that are.
    """

    __slots__ = ("_match",)

    def __init__(self, expression: bytes) -> None:
        self._match: Callable[[bytes], object] = re.compile(expression, re.DOTALL).match

    def __call__(self, nlri: Nlri) -> bool:
        """Return whether a prefix is."""
        return self.each([nlri])[0]

    def each(self, nlris: Sequence[Nlri]) -> list[bool]:
        """Return for each of these prefixes of one family whether it is."""
        return list(map(bool, map(self._match, octets(nlris))))


@attrs.frozen
class Range:
    """All prefixes within `prefix` whose length is from `shortest` to `longest`."""

    prefix: Prefix
    shortest: int
    longest: int

    @classmethod
    def parse(cls, text: str) -> Range:
        """Return what `10.4.0.0/16`, `10.4.0.0/16 ge 24`, `... le 26` or `... ge 24 le 26` stands for.

        Without `ge` and `le` it is that prefix alone; with `ge` alone all longer ones, too; `le` begins at the
        prefix's own length.

        Raises:
            ConfigError: it stands for nothing.
        """
        outer, *words = text.split() or [""]
        bounds = dict(zip(words[::2], words[1::2], strict=False))
        try:
            prefix = ip_network(outer)
            shortest = int(bounds.pop("ge", prefix.prefixlen))
            longest = int(bounds.pop("le", prefix.max_prefixlen if "ge" in words else prefix.prefixlen))
        except ValueError as error:
            raise _not_a_range(text, str(error)) from None
        if bounds or len(words) % 2 or not prefix.prefixlen <= shortest <= longest <= prefix.max_prefixlen:
            raise _not_a_range(text, "lengths have to rise")
        return cls(prefix, shortest, longest)

    @property
    def expression(self) -> bytes:
        """What matches the wire form of its members."""
        whole, bits = divmod(self.prefix.prefixlen, 8)
        packed = self.prefix.network_address.packed
        expression = _octets(self.shortest, self.longest) + re.escape(packed[:whole])
        if bits:
            expression += _octets(packed[whole], packed[whole] | 0xFF >> bits)
        return expression


def matching(ranges: Iterable[Range], version: int) -> Match:
    """Return what tells whether prefixes of that address family are in any of the ranges."""
    mine = [each.expression for each in ranges if each.prefix.version == version]
    return Match(b"|".join(mine) or b"(?!)")


def _octets(low: int, high: int) -> bytes:
    return b"[\\x%02x-\\x%02x]" % (low, high)


def _not_a_range(text: str, why: str) -> ConfigError:
    return ConfigError(f"{text!r}: expected a prefix with lengths, such as '10.4.0.0/16 ge 24 le 26' ({why})")
