"""The Kernel contract on Linux: one network namespace, spoken to over rtnetlink and /proc/sys.

`read` dumps what carries our mark. `execute` groups operations: routes, neighbours, fdb entries and addresses
that follow one another go to the kernel as one batch (`programming`); what is in nftables as one transaction;
links, ports of bridges and sysctls one by one. `changed` compares what the kernel reports with what `read` last
saw and `execute` asked for since (`view`, `nft_generations`), so that neither our own work nor other people's
wakes anybody.

One lock is held while `read` or `execute` runs; `changed` takes it only to judge what has arrived. So it
always judges finished work.
"""

from __future__ import annotations

import errno
import platform
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, Self, TypeVar

import attrs

from containernet.contracts import Failure, Options, UnderlayLink
from containernet.errors import KernelError, PermissionRefused
from containernet.items import (
    BridgePort,
    InterfaceAddress,
    Item,
    KernelRoute,
    Key,
    Link,
    Masquerade,
    Sysctl,
)
from containernet.options import between, build
from containernet.planning import Create, Delete, Operation
from containernet.values import shown

from . import constants as c
from .encoding import BATCHED
from .frames import Refusal
from .links import change_link, change_port, read_links
from .monitor import Listener
from .namespaces import Namespace
from .nexthops import PLAIN_GATEWAYS, Nexthops
from .nft_elements import TABLED
from .nft_generations import Generations
from .nft_library import Nft
from .nft_tables import NftTables
from .ownership import keeps_address_protocol
from .programming import Programmer
from .reading import read_items
from .recall import Recall
from .refusals import FORBIDDEN, Refused, explain
from .removal import Removals
from .socket import NetlinkSocket
from .sysctls import change_sysctl, read_sysctl
from .underlay import find_underlay
from .view import View

if TYPE_CHECKING:
    from containernet.tables import Tables

    from .conflicts import Occupants

_Result = TypeVar("_Result")


@attrs.frozen(kw_only=True)
class NetlinkOptions:
    """What may stand in the config file; see NetlinkKernel."""

    netns: str = ""
    plain_gateways: int = attrs.field(default=PLAIN_GATEWAYS, validator=between(0, 1 << 32))
    __repr__ = shown


class NetlinkKernel:
    """One network namespace of a Linux kernel.

    Fulfils Kernel, EntersNamespaces, FindsRivals, ReadsSysctls, ShowsTables and Underlay.

    Args:
        netns: the namespace's path, such as /run/netns/c1; empty: the one that the process is in.
        plain_gateways: of how many gateways over one link the routes tell them themselves; see `nexthops`.
    """

    def __init__(self, *, netns: str = "", plain_gateways: int = PLAIN_GATEWAYS) -> None:
        self._path = netns
        self._lock = threading.RLock()
        self._namespace: Namespace | None = None
        self._socket: NetlinkSocket | None = None
        self._listener: Listener | None = None
        self._waiting = 0
        self._closed = False
        self._removals = Removals(lambda: self._enter(NetlinkSocket))
        self._sysctls: dict[str, Sysctl] = {}
        self._beside: set[str] = set()  # the links of what was in the way
        self._nexthops = Nexthops(plain=plain_gateways)
        self._programmer = Programmer(self._nexthops)
        self._view = View(address_protocol=keeps_address_protocol(platform.release()), nexthops=self._nexthops)
        self._recall = Recall(same=self._view.same)
        self._generations = Generations(self._open_netfilter)
        self._tables = NftTables(lambda: self._enter(Nft), self._generations)

    @classmethod
    def from_options(cls, options: Options) -> Self:
        """Build the kernel from [kernel.netlink], see NetlinkOptions."""
        return cls(**attrs.asdict(build(NetlinkOptions, options, table="kernel.netlink")))

    def read(self) -> Mapping[Key, Item]:
        """Return every item of ours in the namespace, see Kernel.read."""
        with self._lock:
            socket = self._open()
            links = read_links(socket)
            items, stood_on = read_items(
                socket,
                links,
                address_protocol=self._view.address_protocol,
                recall=self._recall,
                nexthops=self._nexthops,
            )
            self._view.reset(links, items, stood_on)
            settings = self.sysctls(self._sysctls.values()) if self._sysctls else []
            return {**items, **{setting.key: setting for setting in settings}, **self._tabled()}

    def execute(self, operations: Sequence[Operation]) -> Sequence[Failure]:
        """Carry the operations out in order, see Kernel.execute.

        Raises:
            PermissionRefused: every operation was refused for lack of CAP_NET_ADMIN.
        """
        failures: list[Failure] = []
        with self._lock:
            socket = self._open()
            self._beside.clear()
            runs = list(_runs(operations))
            for way, run in runs:
                if way is not NftTables:
                    self._view.expect(run)
            for way, run in runs:
                if way is NftTables:
                    failures += self._tables.execute(run)
                else:
                    failures += self._batch(socket, run) if way is Programmer else self._each(socket, run)
            self._programmer.tidy(socket)
            self._view.refused(failures, beside=self._beside)
        if failures:
            self._require_permission(operations, failures)
        return failures

    @staticmethod
    def _require_permission(operations: Sequence[Operation], failures: Sequence[Failure]) -> None:
        # A sysctl is a file: root without the capability may write it, and may still program nothing.
        tried = sum(not isinstance(operation.item, Sysctl) for operation in operations)
        forbidden = sum(
            failure.errno in FORBIDDEN and not isinstance(failure.operation.item, Sysctl)
            for failure in failures
        )
        if tried and forbidden == tried:
            raise PermissionRefused(
                f"programming the kernel needs CAP_NET_ADMIN: run as root (refused: {forbidden} operations)"
            )

    def sysctls(self, wanted: Iterable[Sysctl]) -> Sequence[Sysctl]:
        """Return the settings that exist, with their values; see ReadsSysctls."""
        with self._lock:
            self._open()
            return self._enter(lambda: [found for found in map(read_sysctl, wanted) if found is not None])

    def changed(self, timeout: float) -> bool:
        """Wait for somebody else's change of what may be ours, see Kernel.changed."""
        deadline = time.monotonic() + timeout
        with self._lock:
            if self._closed:
                return False
            listener = self._listen()
            self._waiting += 1
        try:
            while listener.wait(deadline - time.monotonic()):
                with self._lock:
                    if self._closed:
                        return False
                    if listener.disturbed(self._view, self._generations):
                        return True
            return False
        finally:
            with self._lock:
                self._waiting -= 1
                self._stop_listening()

    def close(self) -> None:
        """Let go of sockets, see Kernel.close."""
        with self._lock:
            self._closed = True
            if self._listener is not None:
                self._listener.wake()
            self._stop_listening()
            self._removals.wait()
            for held in (self._socket, self._tables, self._generations, self._namespace):
                if held is not None:
                    held.close()

    def inside(self, netns: str) -> NetlinkKernel:
        """Return the kernel of the namespace at that path, see EntersNamespaces."""
        kernel = NetlinkKernel(netns=netns)
        kernel._open()
        return kernel

    def underlay(self, interface: str = "") -> UnderlayLink:
        """Return a link that the host already has, see Underlay."""
        with self._lock:
            found = find_underlay(self._open(), interface)
            self._view.watch(found.name)
            return found

    def rivals(self, items: Iterable[Item]) -> Sequence[str]:
        """Return whose items are used instead of those, see FindsRivals."""
        from .rivals import find_rivals, forwarded  # an audit's, not a start's

        with self._lock:
            found: defaultdict[type, list[Any]] = defaultdict(list)
            for item in items:
                found[type(item)].append(item)
            routes = found[KernelRoute]
            return [
                *find_rivals(self._open(), found[InterfaceAddress], routes),
                *self._tables.drops(forwarded(found[Masquerade], routes)),
            ]

    def show_tables(self) -> Tables:
        """Return all that the namespace forwards by, see ShowsTables."""
        from .tables import FORWARDING, read_tables  # an operator's, if ever

        with self._lock:
            return read_tables(self._open(), [*self.sysctls(FORWARDING), *self._tabled().values()])

    def _tabled(self) -> Mapping[Key, Item]:
        try:
            return self._tables.read()
        except Refused as refused:
            raise KernelError(f"nftables cannot be read: {refused.reason}") from refused

    def _open(self) -> NetlinkSocket:
        if self._closed:
            raise KernelError("this kernel was closed: make a new one")
        if self._namespace is None:
            self._namespace = Namespace(self._path)
        if self._socket is None:
            self._socket = self._namespace.run(NetlinkSocket)
        return self._socket

    def _enter(self, function: Callable[[], _Result]) -> _Result:
        self._open()
        assert self._namespace is not None
        return self._namespace.run(function)

    def _open_netfilter(self) -> NetlinkSocket:
        return self._enter(lambda: NetlinkSocket(protocol=c.NETLINK_NETFILTER))

    def _listen(self) -> Listener:
        if self._listener is None:
            socket = self._open()
            self._listener = self._enter(lambda: Listener(own_port=socket.port))
            if not self._view.links:
                self._view.reset(read_links(socket), {})
        return self._listener

    def _stop_listening(self) -> None:
        # The last one out closes: a descriptor that somebody polls must not become another file meanwhile.
        if self._closed and not self._waiting and self._listener is not None:
            self._listener.close()
            self._listener = None

    def _each(self, socket: NetlinkSocket, operations: Sequence[Operation]) -> list[Failure]:
        failures = []
        for operation in operations:
            try:
                match operation.item:
                    case Link():
                        change_link(socket, operation, self._removals)
                    case BridgePort():
                        change_port(socket, operation)
                    case Sysctl() as setting:
                        self._sysctls[setting.name] = setting
                        self._enter(lambda: change_sysctl(operation))  # noqa: B023 - called before the next turn
            except Refused as refused:
                failures.append(_failure(operation, refused))
            except PermissionRefused as error:  # the namespace may not be entered
                failures.append(Failure(operation=operation, errno=errno.EPERM, reason=str(error)))
        return failures

    def _batch(self, socket: NetlinkSocket, operations: Sequence[Operation]) -> list[Failure]:
        failures: dict[int, Failure] = {}
        instead: list[tuple[int, Operation]] = []
        occupants: Occupants | None = None
        for at, refused in self._programmer.send(socket, operations).items():
            operation = operations[at]
            if not (isinstance(operation, Create) and refused.errno == errno.EEXIST):
                failures[at] = _failure(operation, refused)
                continue
            if occupants is None:
                from .conflicts import Occupants

                occupants = Occupants(socket)
            try:
                instead += [(at, other) for other in occupants.instead(operation)]
            except Refused as objection:
                failures[at] = _failure(operation, objection)
        self._beside |= occupants.links if occupants else set()
        if any(isinstance(other, Delete) for _, other in instead):
            self._view.doubt()
        for nth, refused in self._programmer.send(socket, [other for _, other in instead]).items():
            at = instead[nth][0]
            failures[at] = _failure(operations[at], refused)
        return [failures[at] for at in sorted(failures)]


def _runs(operations: Sequence[Operation]) -> Iterator[tuple[type | None, Sequence[Operation]]]:
    """Yield operations in order, by how they are spoken of."""
    if {operation.item.__class__ for operation in operations} <= BATCHED:  # as nearly always, if there are many
        yield Programmer, operations
        return
    for way, group in groupby(operations, _way):
        yield way, list(group)


def _way(operation: Operation) -> type | None:
    """Return how an item is spoken of: in a batch, to nftables, or by itself."""
    kind = type(operation.item)
    return Programmer if kind in BATCHED else NftTables if kind in TABLED else None


def _failure(operation: Operation, refused: Refusal | Refused) -> Failure:
    reason = refused.reason if isinstance(refused, Refused) else explain(operation, refused)
    return Failure(operation=operation, errno=refused.errno, reason=reason)
