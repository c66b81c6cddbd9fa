"""Many short UPDATEs at once: what a table costs that is told prefix by prefix.

Each of them says little, so what is done for each has to be little. Everything here loops in C over all of
them; what an UPDATE says that is not of this kind is for `update.Reader.read`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import takewhile
from operator import itemgetter
from typing import NamedTuple

from . import nlri
from .attributes import Attributes
from .families import IPV4
from .nlri import Nlri

LONGEST = 236  # octets of an UPDATE without its header: with it 255

_LENGTHS = itemgetter(slice(0, 4))  # of an UPDATE without withdrawn routes: those of both fields


class Crowd(NamedTuple):
    """IPv4 prefixes, each with the octets of the attributes that were said of it.

    Args:
        attributes: what these octets mean.
        raws, nlris: side by side, in the order of the UPDATEs; a prefix may be there again.
        firsts: the first octets of their addresses, as `nlri.split` returns them.
    """

    attributes: Mapping[bytes, Attributes]
    raws: list[bytes]
    nlris: list[Nlri]
    firsts: bytes

    @property
    def groups(self) -> Mapping[bytes, list[Nlri]]:
        """The prefixes by their attributes; their order is lost."""
        found: defaultdict[bytes, list[Nlri]] = defaultdict(list)
        for raw, prefix in zip(self.raws, self.nlris, strict=True):
            found[raw].append(prefix)
        return found


def gathered(bodies: Sequence[bytes], known: set[bytes]) -> tuple[int, list[bytes], list[Nlri], bytes]:
    """Return how many of the first UPDATEs only announce IPv4 prefixes; and what a Crowd has of them.

    Args:
        known: the octets of attributes that they may have.

    Raises:
        Violation: a field of prefixes is malformed; `Reader.read` says whose.
    """
    lengths = list(map(_LENGTHS, bodies))
    starts = {each: _start(each) for each in set(lengths)}
    if len(starts) == 1 and (start := starts[lengths[0]]):  # all are alike, as it often is
        raws = list(map(itemgetter(slice(4, start)), bodies))
        fields = list(map(itemgetter(slice(start, None)), bodies))
    else:
        begins = list(takewhile(bool, map(starts.__getitem__, lengths)))
        raws = [body[4:start] for body, start in zip(bodies, begins, strict=False)]
        fields = [body[start:] for body, start in zip(bodies, begins, strict=False)]
    if not known.issuperset(raws) or not all(fields):
        good = zip(map(known.__contains__, raws), fields, strict=True)
        del raws[len(list(takewhile(all, good))) :]
    del fields[len(raws) :]
    if nlri.are_single(fields):
        return len(raws), raws, *nlri.split(b"".join(fields), IPV4)
    prefixes = [nlri.split(field, IPV4) for field in fields]
    return (
        len(raws),
        [raw for raw, (some, _) in zip(raws, prefixes, strict=True) for _ in some],
        [each for some, _ in prefixes for each in some],
        b"".join([firsts for _, firsts in prefixes]),
    )


def _start(lengths: bytes) -> int:
    """Return where the prefixes begin; 0: routes are withdrawn before them."""
    return 4 + int.from_bytes(lengths[2:], "big") if lengths[:2] == b"\0\0" else 0
