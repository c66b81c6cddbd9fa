"""What to do when something is already where we were told to create.

Ours already: put it right, as a replacement. Nobody's (a neighbour that the kernel learned by itself, an
address on a link of ours): take it. Anybody else's: leave it alone and say whose it is.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from socket import AF_INET, AF_INET6

from containernet.items import FdbEntry, InterfaceAddress, KernelRoute, Key, Neighbour
from containernet.planning import Create, Delete, Operation, Replace

from . import constants as c
from .links import read_links
from .ownership import PROTOCOL, protocol_name, removal
from .reading import read_routes
from .refusals import Refused
from .socket import NetlinkSocket
from .wire import (
    BatchedItem,
    LinkRecord,
    Owned,
    address_filter,
    decode_address,
    decode_neighbour,
    neighbour_filter,
    neighbour_state,
)

_FAMILY = {4: AF_INET, 6: AF_INET6}
_STATIC = c.NUD_PERMANENT | c.NUD_NOARP


class Occupants:
    """Who is in the way, read once for each table in which something is; for the length of one batch.

    `links` are those that the others' items are on.
    """

    def __init__(self, socket: NetlinkSocket) -> None:
        self.links: set[str] = set()
        self._socket = socket
        self._links: dict[int, LinkRecord] = read_links(socket)
        self._names = {index: record.name for index, record in self._links.items()}
        self._tables: dict[object, dict[Key, Owned]] = {}

    def instead(self, operation: Operation) -> Sequence[Operation]:
        """Return what to do instead of a refused creation. Raises Refused where nothing may be done."""
        item = operation.item
        if isinstance(item, FdbEntry):  # on a device of ours all entries are ours, and no other device gets any
            return (Replace(item, item),)
        assert isinstance(item, KernelRoute | Neighbour | InterfaceAddress)
        found = self._table(item).get(item.key)
        if found is not None and found.protocol == PROTOCOL:
            return (Replace(item, item),)
        if found is not None and self._may_take(found):
            # Linux up to 6.1 at least does not change the number of an IPv4 address that stands.
            return (Delete(item), Create(item))
        if found is not None:
            self.links.add(found.item.link)
            owner = protocol_name(found.protocol)
            reason = f"{found.item} exists already, proto {owner}: {_way_out(found)}"
            raise Refused(errno.EEXIST, reason)
        return self._instead_of_unseen(item)

    def _may_take(self, found: Owned) -> bool:
        on_our_link = isinstance(found.item, InterfaceAddress) and self._is_ours(found.item.link)
        return found.protocol == PROTOCOL or on_our_link

    def _is_ours(self, link: str) -> bool:
        return any(record.ours for record in self._links.values() if record.name == link)

    def _instead_of_unseen(self, item: KernelRoute | Neighbour | InterfaceAddress) -> Sequence[Operation]:
        match item:
            case Neighbour():  # learned by the kernel
                return (Replace(item, item),)
            case KernelRoute():
                where = f"`ip route show table {item.table}`"
                reason = f"{item.destination} exists already, but of another type: {where}"
                raise Refused(errno.EEXIST, reason)
            case InterfaceAddress():
                # IPv6 tells the addresses of a link apart without their prefix lengths, so the other goes first
                others = [
                    found for found in self._table(item).values()
                    if isinstance(found.item, InterfaceAddress)
                    and (found.item.link, found.item.address.ip) == (item.link, item.address.ip)
                ]  # fmt: skip
                if not all(map(self._may_take, others)):
                    reason = f"{item.address.ip} is on {item.link} with another prefix length: remove it"
                    raise Refused(errno.EEXIST, reason)
                return (*(Delete(found.item) for found in others), Create(item))

    def _table(self, item: KernelRoute | Neighbour | InterfaceAddress) -> dict[Key, Owned]:
        family = _FAMILY[_version(item)]
        name = (type(item), family, getattr(item, "table", 0))
        if name not in self._tables:
            self._tables[name] = {found.item.key: found for found in self._read(item, family)}
        return self._tables[name]

    def _read(self, item: BatchedItem, family: int) -> list[Owned]:
        match item:
            case KernelRoute():
                return list(read_routes(self._socket, self._names, family=family, table=item.table))
            case Neighbour():
                bodies = self._socket.dump(c.RTM_GETNEIGH, neighbour_filter(family))
                found = [
                    decode_neighbour(body, self._names) for body in bodies if neighbour_state(body) & _STATIC
                ]
            case _:
                bodies = self._socket.dump(c.RTM_GETADDR, address_filter(family))
                found = [decode_address(body, self._names) for body in bodies]
        return [owned for owned in found if owned]


def _version(item: KernelRoute | Neighbour | InterfaceAddress) -> int:
    return (item.destination if isinstance(item, KernelRoute) else item.address).version


def _way_out(found: Owned) -> str:
    if isinstance(found.item, KernelRoute):
        return f"`{removal(found.item, found.protocol)}`, or exclude it from the pool"
    return "remove it or choose another address"
