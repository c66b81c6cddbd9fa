"""Nexthop objects: which of ours the kernel holds, and which of our routes use them. Pure bookkeeping.

Linux keeps the gateways of all IPv4 routes over one link in one list, and walks it whenever a route is added.
With thousands of gateways that is most of the work, and grows with their square. A gateway that stands in an
object of its own (ip-nexthop(8), Linux 5.3), to which routes refer by number, is not in that list. Up to some
hundred gateways the list costs less than the objects; and a route that tells its gateway itself outlives a
carrier that goes for a moment. So the first gateways of a link are told plainly, and those beyond have objects.
IPv6 has no such list, and of routes with several next hops there are few sets: those are plain.

An object of ours carries our protocol number, is shared by all routes with its gateway, and is taken away when
the last of them has gone. What the kernel does not take as an object is told plainly. Which route uses which
object is known from the last read, and from what succeeded since. None is taken away of which we are not sure,
because Linux takes its routes along.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from containernet.items import Key

from .ownership import PROTOCOL

PLAIN = 0  # in place of a number: the route tells its gateway itself
PLAIN_GATEWAYS = 512  # of a link; by then walking the list takes as long as making an object
# The kernel and other programs number from 1 on.
_FIRST = PROTOCOL << 24
_NUMBERS = 1 << 24


class Way(NamedTuple):
    """What the gateways of one list have in common."""

    oif: int
    onlink: bool


class Hop(NamedTuple):
    """Where a nexthop object leads; `gateway` is packed."""

    way: Way
    gateway: bytes


class Nexthop(NamedTuple):
    """A nexthop object as the kernel holds it; `hop` None: of a kind that we never make."""

    number: int
    protocol: int
    hop: Hop | None


class Nexthops:
    """The nexthop objects of one namespace. Not for use by two threads at a time.

    Args:
        plain: how many gateways of a link are told plainly before one gets an object.

    `ours` holds where the objects of ours lead, by number; `used` the numbers of those that routes use.
    """

    def __init__(self, *, plain: int = PLAIN_GATEWAYS) -> None:
        self._plain = plain
        self._supported = True
        self._numbers: dict[Way, dict[bytes, int]] = {}
        self._told_plainly: Counter[Way] = Counter()
        self._plain_hops: Iterable[Hop] = ()
        self.used: dict[Key, int] = {}
        self._users: Counter[int] = Counter()
        self._idle: dict[int, None] = {}  # a set that keeps the order
        self._sure = True
        self._taken: frozenset[int] = frozenset()
        self._next = _FIRST
        self.ours: dict[int, Hop] = {}

    def reset(self, there: Iterable[Nexthop], *, used: Mapping[Key, int], plain: Iterable[Hop]) -> None:
        """Know what has just been read, and nothing else.

        Args:
            there: all objects, whoever's they are.
            used: the objects that our routes use.
            plain: the gateways that our routes tell themselves; looked at when there is need to.
        """
        self._numbers = {}
        self._told_plainly = Counter()
        self._plain_hops = plain
        self.used = dict(used)
        self._users = Counter(used.values())
        self._idle = {}
        self._sure = True
        self._taken = frozenset(each.number for each in there)
        self.ours = {}
        for number, protocol, hop in there:
            if protocol != PROTOCOL:
                continue
            if hop is not None:
                self.ours[number] = hop
                self._numbers.setdefault(hop.way, {})[hop.gateway] = number
            if not self._users[number]:
                self._idle[number] = None

    def place(self, way: Way, gateways: Iterable[bytes]) -> Mapping[int, Hop]:
        """Decide how gateways are told; return the objects that have to be made for it, by number."""
        self._count_plain()
        known = self._numbers.setdefault(way, {})
        new = [gateway for gateway in dict.fromkeys(gateways) if gateway not in known]
        room = max(0, self._plain - self._told_plainly[way]) if self._supported else len(new)
        for gateway in new[:room]:
            self._tell_plainly(Hop(way, gateway))
        return dict(self._number(Hop(way, gateway)) for gateway in new[room:])

    def numbers(self, way: Way, gateways: Iterable[bytes]) -> Sequence[int]:
        """Return the number for each of the gateways, which have been placed; nothing where all are PLAIN."""
        known = self._numbers[way]
        return [known[gateway] for gateway in gateways] if self._told_plainly[way] < len(known) else ()

    def refused(self, number: int, *, supported: bool) -> None:
        """Take note that an object is not there for us to use; its gateway is told plainly from now on."""
        self._supported = self._supported and supported
        self._idle.pop(number, None)
        hop = self.ours.pop(number, None)
        if hop is not None:
            self._tell_plainly(hop)

    def uses(self, route: Key, number: int) -> None:
        """Take note which object a route of ours uses now; PLAIN: none, or the route is gone."""
        before = self.used.get(route, PLAIN)
        if before == number:
            return
        if before != PLAIN:
            del self.used[route]
            self._users[before] -= 1
            if before in self.ours and not self._users[before]:
                self._idle[before] = None
        if number != PLAIN:
            self.used[route] = number
            self._users[number] += 1
            self._idle.pop(number, None)

    @property
    def idle(self) -> Sequence[int]:
        """The objects of ours that no route of ours uses; none as long as that is not known."""
        return tuple(self._idle) if self._sure else ()

    def doubt(self) -> None:
        """Take note that routes may have been made of which nobody knows, until the next `reset`."""
        self._sure = False

    def forget(self, number: int) -> None:
        """Take note that an object is gone, or not ours any more."""
        self._idle.pop(number, None)
        hop = self.ours.pop(number, None)
        if hop and self._numbers[hop.way].get(hop.gateway) == number:
            del self._numbers[hop.way][hop.gateway]

    def stand_on(self, oif: int) -> bool:
        """Return whether there are objects on the link of that index."""
        return any(hop.way.oif == oif for hop in self.ours.values())

    def _number(self, hop: Hop) -> tuple[int, Hop]:
        while self._next in self.ours or self._next in self._taken:
            self._next = _FIRST + (self._next + 1 - _FIRST) % _NUMBERS
        number = self._next
        self.ours[number] = hop
        self._numbers[hop.way][hop.gateway] = number
        self._idle[number] = None
        return number, hop

    def _tell_plainly(self, hop: Hop) -> None:
        self._numbers.setdefault(hop.way, {})[hop.gateway] = PLAIN
        self._told_plainly[hop.way] += 1

    def _count_plain(self) -> None:
        for hop in set(self._plain_hops):
            if hop.gateway not in self._numbers.get(hop.way, {}):
                self._tell_plainly(hop)
        self._plain_hops = ()
