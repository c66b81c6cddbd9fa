"""What we believe the kernel holds, against what it reports: does a difference concern us.

Pure: messages in, yes or no out. The belief is what `read` last saw, then what `execute` was asked for since. A
round of messages is folded to the last word about each key, and only that is compared. So our own work is no
change, whatever intermediate states it passed and whatever the kernel says about its origin (links and fdb
entries name none before Linux 6.2); a refused operation stays a difference as soon as anybody touches its
key; and other people's routes, containers and learned neighbours pass without waking anyone.

IPv4 routes leave without a word when their link goes down or loses its last address. So the links that
our items stand on are watched, whoever's they are: their state, their MTU, their addresses. Where we take that
last address ourselves, nothing is believed until the next `read`.

What was refused because of somebody else is tried again as soon as that leaves: the device that has the VNI,
the route with the same key; or when an address comes to the link. Only these wake, however much else goes.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Mapping

import attrs

from containernet.contracts import Failure
from containernet.items import FdbEntry, InterfaceAddress, Item, KernelRoute, Key, Link, Neighbour, Vxlan
from containernet.planning import Delete, Operation
from containernet.values import shown

from . import constants as c
from .frames import Message
from .nexthops import Hop, Nexthops
from .ownership import PROTOCOL
from .refusals import only_once
from .wire import (
    LinkRecord,
    decode_address,
    decode_link,
    decode_neighbour,
    decode_nexthop,
    decode_route,
    link_family,
    neighbour_index,
    neighbour_state,
    route_key,
    route_protocol,
)


class View:
    """The belief about one namespace. Not for use by two threads at a time.

    Args:
        address_protocol: whether this kernel keeps IFA_PROTO.
        nexthops: the nexthop objects of the namespace, which others keep up to date.
    """

    def __init__(self, *, address_protocol: bool, nexthops: Nexthops) -> None:
        self.address_protocol = address_protocol
        self._nexthops = nexthops
        self.links: dict[int, LinkRecord] = {}
        self._names: dict[int, str] = {}
        self._items: dict[Key, Item] = {}
        self._expected: list[Operation] = []
        self._doubtful = False
        self._stands_on: set[str] = set()
        self._watched: set[str] = set()
        self._refused: dict[Key, Failure] = {}

    def reset(
        self, links: Mapping[int, LinkRecord], items: dict[Key, Item], stood_on: Iterable[str] = ()
    ) -> None:
        """Believe what has just been read, and nothing else.

        Args:
            links: every link.
            items: what is ours; the mapping is the view's from now on.
            stood_on: the links that the items are on.
        """
        self.links = dict(links)
        self._names = {index: record.name for index, record in links.items()}
        self._items = items
        self._expected.clear()
        self._doubtful = False
        self._refused.clear()
        self._stands_on = self._watched.union(stood_on)
        for record in links.values():
            if (link := items.get(("link", record.name))) is not None:
                self._lean(link)

    def same(self, item: Item) -> Item:
        """Return the believed item where it is equal: it is what others hold too, and quick to compare with."""
        if self._expected:
            self._catch_up()
        there = self._items.get(item.key) if self._items else None
        return there if there is not None and there == item else item

    def expect(self, operations: Iterable[Operation]) -> None:
        """Believe that the operations will have been carried out."""
        self._expected.extend(operations)

    def refused(self, failures: Iterable[Failure], *, beside: Iterable[str]) -> None:
        """Watch for the end of what was in the way of the operations that failed.

        Args:
            beside: the links of somebody else's routes among that.
        """
        self._refused.update((each.operation.item.key, each) for each in failures)
        self._stands_on.update(beside)

    def _catch_up(self) -> None:
        # Not at once: hashing the keys costs as much as encoding the messages, and mostly `read` comes first.
        for operation in self._expected:
            item = operation.item
            if not isinstance(operation, Delete):
                self._items[item.key] = item
                self._lean(item)
                continue
            self._items.pop(item.key, None)
            if isinstance(item, Link) and item.name not in self._watched:
                self._stands_on.discard(item.name)
            elif isinstance(item, InterfaceAddress):
                self._doubtful |= self._lost_its_last(item)
        self._expected.clear()

    def _lost_its_last(self, gone: InterfaceAddress) -> bool:
        """Return whether an address was the last one of IPv4 on a link that more stands on (fib_disable_ip)."""
        there = [each for each in self._items.values() if each.link == gone.link]
        return (
            gone.address.version == 4
            and any(isinstance(each, KernelRoute | Neighbour) for each in there)
            and not any(isinstance(each, InterfaceAddress) and each.address.version == 4 for each in there)
        )

    def doubt(self) -> None:
        """Believe nothing until `reset`: what was done may have had effects that the kernel does not report."""
        self._doubtful = True

    def watch(self, link: str) -> None:
        """Take a link as one that matters, whatever stands on it."""
        self._watched.add(link)
        self._stands_on.add(link)

    def _lean(self, item: Item) -> None:
        self._stands_on.add(item.link)
        if isinstance(item, Link) and isinstance(item.type, Vxlan):
            self._stands_on.add(item.type.dev)

    def differs(self, messages: Iterable[Message]) -> bool:
        """Return whether the messages tell of a state of our items other than the believed one.

        Raises:
            Malformed: a message does not parse.
        """
        self._catch_up()
        heard = _Round(self._contradicts)
        for message in messages:
            match message.type:
                case c.RTM_NEWLINK | c.RTM_DELLINK:
                    self._hear_link(message, heard)
                case c.RTM_NEWADDR | c.RTM_DELADDR:
                    self._hear_address(message, heard)
                case c.RTM_NEWNEIGH | c.RTM_DELNEIGH:
                    self._hear_neighbour(message, heard)
                case c.RTM_NEWROUTE | c.RTM_DELROUTE:
                    self._hear_route(message, heard)
                case c.RTM_NEWNEXTHOP | c.RTM_DELNEXTHOP:
                    self._hear_nexthop(message, heard)
        return (
            self._doubtful
            or heard.disturbed
            or any(hop != self._nexthops.ours.get(number, hop) for number, hop in heard.hops.items())
            or bool(heard.wrong)
        )

    def _contradicts(self, key: Key, item: Item | None) -> bool:
        believed = self._items.get(key)
        if isinstance(believed, Link) and isinstance(item, Link):
            return not believed.matches(item)
        return believed != item

    def _hear_link(self, message: Message, heard: _Round) -> None:
        record = decode_link(message.body)
        gone = message.type == c.RTM_DELLINK
        if link_family(message.body) == c.AF_BRIDGE:  # the bridge's own words: about the membership alone
            heard.tell(("port", record.name), None if gone else self._port(record))
            return
        before = self.links.pop(record.index, None)
        if before is not None and before.name != record.name:
            heard.tell(("link", before.name), None)
        if self._refused and before is not None and (had := only_once(before.type(self._names))):
            items = (each.operation.item for each in self._refused.values())
            lacking = {only_once(item.type) for item in items if isinstance(item, Link)}
            heard.disturbed |= had in lacking and (gone or only_once(record.type(self._names)) != had)
        if not gone:
            self.links[record.index] = record
            self._names[record.index] = record.name
        ours = record.ours and not gone
        heard.tell(("link", record.name), record.item(self._names) if ours else None)
        heard.tell(("port", record.name), None if gone else self._port(record))
        if record.name in self._stands_on and not ours and not self._is_believed(record.name):
            heard.disturbed |= gone or before is None or (before.up, before.mtu) != (record.up, record.mtu)
            # A moment after a link shows that its carrier is gone its nexthop objects go, with their routes and
            # without a word.
            heard.disturbed |= not record.carrier and self._nexthops.stand_on(record.index)

    def _is_believed(self, link: str) -> bool:
        return ("link", link) in self._items

    def _port(self, record: LinkRecord) -> Item | None:
        bridge = self.links.get(record.master)
        return record.port(self._names) if bridge is not None and bridge.ours else None

    def _hear_address(self, message: Message, heard: _Round) -> None:
        owned = decode_address(message.body, self._names)
        if owned is None:
            return
        key = owned.item.key
        ours = owned.protocol == PROTOCOL if self.address_protocol else self._is_believed(owned.item.link)
        if ours or key in self._items:
            heard.tell(key, owned.item if ours and message.type == c.RTM_NEWADDR else None)
        elif owned.item.link in self._stands_on:
            heard.disturbed |= message.type == c.RTM_DELADDR or self._was_missing(owned.item)

    def _was_missing(self, found: Item) -> bool:
        """Return whether a route was refused whose gateway is on link by that address."""
        return isinstance(found, InterfaceAddress) and any(
            isinstance(item := each.operation.item, KernelRoute)
            and each.errno != errno.EEXIST
            and item.link == found.link
            and item.gateway in found.address.network
            for each in self._refused.values()
        )

    def _hear_neighbour(self, message: Message, heard: _Round) -> None:
        if self._names.get(neighbour_index(message.body)) not in self._stands_on:
            return
        owned = decode_neighbour(message.body, self._names)
        if owned is None:
            return
        # An fdb entry has no owner: what is permanent on a device of ours is ours.
        ours = (
            self._is_believed(owned.item.link)
            if isinstance(owned.item, FdbEntry)
            else owned.protocol == PROTOCOL
        )
        stands = message.type == c.RTM_NEWNEIGH and neighbour_state(message.body) & c.NUD_PERMANENT
        heard.tell(owned.item.key, owned.item if ours and stands else None)

    def _hear_route(self, message: Message, heard: _Round) -> None:
        ours = route_protocol(message.body) == PROTOCOL
        if self._refused and not ours and message.type == c.RTM_DELROUTE:
            heard.disturbed |= route_key(message.body) in self._refused
        # Somebody else's route matters only where it took the place of one.
        if not ours and not message.flags & c.NLM_F_REPLACE:
            return
        owned = decode_route(message.body, self._names, self._nexthops.ours)
        if owned is not None:
            heard.tell(owned.item.key, owned.item if ours and message.type == c.RTM_NEWROUTE else None)

    def _hear_nexthop(self, message: Message, heard: _Round) -> None:
        found = decode_nexthop(message.body)
        stands = message.type == c.RTM_NEWNEXTHOP and found.protocol == PROTOCOL
        heard.hops[found.number] = found.hop if stands else None


@attrs.define
class _Round:
    """What is wrong by the last word about each key, those about nexthop objects, and what happened below.

    A word is compared at once, and only the difference kept: a round may tell of a hundred thousand items.
    """

    contradicts: Callable[[Key, Item | None], bool]
    wrong: set[Key] = attrs.field(factory=set)
    hops: dict[int, Hop | None] = attrs.field(factory=dict)
    disturbed: bool = False
    __repr__ = shown

    def tell(self, key: Key, item: Item | None) -> None:
        """Take note of the last word about a key; None: it is not there."""
        if self.contradicts(key, item):
            self.wrong.add(key)
        else:
            self.wrong.discard(key)
