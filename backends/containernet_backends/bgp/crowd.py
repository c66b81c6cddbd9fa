"""Many short UPDATEs at once: what a table costs that is told prefix by prefix.

Each of them says little, so what is done for each has to be little. Everything here loops in C over all of
them; what an UPDATE says that is not of this kind is for `update.Reader.read`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from itertools import takewhile
from operator import itemgetter
from typing import NamedTuple, Self

from . import nlri
from .families import IPV4
from .message import Volley
from .nlri import Nlri
from .wire_attributes import Understood


class Crowd(NamedTuple):
    """IPv4 prefixes, each with the octets of the attributes that were said of it.

    Args:
        known: what these octets mean, among others.
        raws, nlris: side by side, in the order of the UPDATEs; a prefix may be there again.
        firsts: the first octets of their addresses, in any order.
    """

    known: Mapping[bytes, Understood]
    raws: list[bytes]
    nlris: list[Nlri]
    firsts: bytes

    @classmethod
    def of(cls, known: Mapping[bytes, Understood], raws: list[bytes], fields: list[bytes]) -> Self:
        """Return what UPDATEs announce, of which these are the attributes and the prefixes.

        Raises:
            Violation: a field of prefixes is malformed; `Reader.read` says whose.
        """
        single = nlri.split_single(fields)
        if single is not None:
            return cls(known, raws, *single)
        prefixes = [nlri.split(field, IPV4) for field in fields]
        return cls(
            known,
            [raw for raw, (some, _) in zip(raws, prefixes, strict=True) for _ in some],
            [each for some, _ in prefixes for each in some],
            b"".join([firsts for _, firsts in prefixes]),
        )

    @property
    def groups(self) -> Mapping[bytes, list[Nlri]]:
        """The prefixes by their attributes; their order is lost."""
        found: defaultdict[bytes, list[Nlri]] = defaultdict(list)
        for raw, prefix in zip(self.raws, self.nlris, strict=True):
            found[raw].append(prefix)
        return found


def gathered(volley: Volley) -> tuple[list[bytes], list[bytes]]:
    """Return attributes and prefixes, as octets, of the first UPDATEs that only announce IPv4 prefixes.

    Args:
        volley: none of its UPDATEs was taken away.
    """
    # Nothing is withdrawn (two octets), and the attributes are no longer than the message (the first of two).
    zeros = [volley.heads[at::6] for at in (2, 3, 4)]
    count = min(len(each) - len(each.lstrip(b"\0")) for each in zeros)
    tails, sizes = volley.tails[:count], volley.heads[5 : 6 * count : 6]
    if count and sizes.count(sizes[0]) == count:  # all are alike, as it often is
        start = 6 + sizes[0]
        raws = list(map(itemgetter(slice(6, start)), tails))
        fields = list(map(itemgetter(slice(start, None)), tails))
    else:
        raws = [tail[6 : 6 + size] for tail, size in zip(tails, sizes, strict=True)]
        fields = [tail[6 + size :] for tail, size in zip(tails, sizes, strict=True)]
    if not all(fields):
        fields = list(takewhile(bool, fields))
    return raws[: len(fields)], fields
