"""Carrying out operations on routes, neighbours, fdb entries and addresses, many in one batch.

Routes through many gateways go by nexthop objects (`nexthops`), which are made before them and taken away
behind them, each time all in one batch. What the kernel does not do with an object it is asked to do without.
"""

from __future__ import annotations

import errno
from collections.abc import Container, Iterable, Mapping, Sequence

from containernet.items import FdbEntry, Item, KernelRoute, Vxlan
from containernet.planning import Delete, Operation

from . import constants as c
from .encoding import Alike, Encoder, encode_about_nexthops, encode_nexthops, sort
from .frames import Refusal, Run
from .links import find_link
from .nexthops import PLAIN, Hop, Nexthops
from .ownership import PROTOCOL
from .reading import dump_nexthops
from .refusals import GONE
from .socket import NetlinkSocket
from .wire import LinkRecord, nexthop_owner


class Programmer:
    """Sends operations. Not for use by two threads at a time.

    Args:
        nexthops: what is known of the namespace's nexthop objects; kept up to date.
    """

    def __init__(self, nexthops: Nexthops) -> None:
        self._nexthops = nexthops
        self._encoder = Encoder()

    def send(self, socket: NetlinkSocket, operations: Sequence[Operation]) -> dict[int, Refusal]:
        """Have operations on batched items carried out in order; return the refusals by position.

        Raises:
            KernelError: the kernel does not answer; what has been carried out is not known.
        """
        try:
            return self._send(socket, operations)
        except BaseException:
            self._nexthops.doubt()
            raise

    def _send(self, socket: NetlinkSocket, operations: Sequence[Operation]) -> dict[int, Refusal]:
        groups, homeless = sort(operations, _Places(socket))
        self._make_nexthops(socket, groups)
        first = socket.sequence(len(operations))
        runs: list[Run] = []
        numbers: dict[int, int] = {}  # of the nexthop objects that routes name, by position
        for alike in groups:
            told = self._nexthops.numbers(alike.way, alike.gateways) if alike.gateways else ()
            if told:
                runs += self._encoder.encode_by_number(alike, told, first + alike.start)
                numbers.update(zip(range(alike.start, alike.start + len(told)), told, strict=True))
            else:
                runs.append(self._encoder.encode(alike, first + alike.start))
        answers = {number - first: why for number, why in socket.transact(runs).items()}
        refusals = {at: why for at, why in {**homeless, **answers}.items() if not _is_gone(operations[at], why)}
        if numbers or self._nexthops.used:
            self._send_plainly(socket, operations, numbers, refusals)
            for alike in groups:
                if alike.are_routes:
                    self._note(alike, numbers, refusals)
        return refusals

    def _note(self, alike: Alike, numbers: Mapping[int, int], refusals: Container[int]) -> None:
        """Take note which nexthop objects routes use now."""
        for at, operation in enumerate(alike.operations, alike.start):
            if at not in refusals:
                self._nexthops.uses(operation.item.key, numbers.get(at, PLAIN))

    def _make_nexthops(self, socket: NetlinkSocket, groups: Iterable[Alike]) -> None:
        wanted: dict[int, Hop] = {}
        for alike in groups:
            if alike.gateways:
                wanted.update(self._nexthops.place(alike.way, alike.gateways))
        if wanted:
            first = socket.sequence(len(wanted))
            refusals = socket.transact(encode_nexthops(wanted, first))
            for at, number in enumerate(wanted, first):
                if at in refusals:
                    self._nexthops.refused(number, supported=refusals[at].errno != errno.EOPNOTSUPP)

    def _send_plainly(
        self,
        socket: NetlinkSocket,
        operations: Sequence[Operation],
        numbers: dict[int, int],
        refusals: dict[int, Refusal],
    ) -> None:
        """Have routes tell their gateways themselves whose objects are not there, whatever we believed."""
        again = [at for at, why in refusals.items() if at in numbers and why.errno != errno.EEXIST]
        for at in again:
            self._nexthops.refused(numbers.pop(at), supported=True)
            del refusals[at]
        if again:
            answers = self._send(socket, [operations[at] for at in again])
            refusals.update((again[nth], why) for nth, why in answers.items())

    def tidy(self, socket: NetlinkSocket) -> None:
        """Take away the nexthop objects of ours that no route uses any more."""
        idle = self._nexthops.idle
        if not idle:
            return
        # Linux removes any object by its number alone, so look first whether it still is ours.
        ours = {
            number
            for number, protocol in map(nexthop_owner, self._look_at(socket, idle))
            if protocol == PROTOCOL
        }
        gone = [number for number in idle if number in ours]
        if gone:
            socket.transact([encode_about_nexthops(c.RTM_DELNEXTHOP, gone, socket.sequence(len(gone)))])
        for number in idle:
            self._nexthops.forget(number)

    def _look_at(self, socket: NetlinkSocket, numbers: Sequence[int]) -> Sequence[bytes]:
        """Return nexthop objects, as far as they are there; others perhaps, where it is quicker to see all."""
        if 8 * len(numbers) > len(self._nexthops.ours):
            return dump_nexthops(socket)
        asked = encode_about_nexthops(c.RTM_GETNEXTHOP, numbers, socket.sequence(len(numbers)))
        return socket.gather([asked])


class _Places:
    """Which link an item is on, looked up once for each link of a batch."""

    def __init__(self, socket: NetlinkSocket) -> None:
        self._socket = socket
        self._links: dict[str, LinkRecord | None] = {}

    def __call__(self, operation: Operation) -> int | Refusal:
        item = operation.item
        if type(item) is KernelRoute and (item.blackhole or type(operation) is Delete):
            return 0  # its identity names no link
        if item.link not in self._links:
            self._links[item.link] = find_link(self._socket, item.link)
        return _oif(item, self._links[item.link])


def _oif(item: Item, link: LinkRecord | None) -> int | Refusal:
    if link is None:
        return Refusal(errno.ENODEV)
    if isinstance(item, FdbEntry) and not (link.ours and link.kind == Vxlan.kind):
        return Refusal(errno.EOPNOTSUPP if link.ours else errno.EBUSY)
    return link.index


def _is_gone(operation: Operation, why: Refusal) -> bool:
    return isinstance(operation, Delete) and why.errno in GONE
