"""A kernel in memory, that fails, hangs and forgets exactly what a test tells it to.

It keeps the contract of a real one, and its refusals: see `KernelContract`, which both pass. On top of that a
test can arm a fault, act behind everybody's back, end a container's namespace, and wait for what it holds.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from ipaddress import ip_interface
from typing import Self

import attrs

from ..contracts import Failure, Options, UnderlayLink
from ..errors import ConfigError, KernelError
from ..items import Item, Key, Link, Sysctl, Veth, by_key
from ..model import Interface
from ..planning import Create, Delete, Operation, Replace
from .faults import SOON, Faults


@attrs.define
class _OperationFault:
    fits: Callable[[Operation], bool]
    errno: int
    times: int


class FakeKernel:
    """One network namespace: items under their keys, with the kernel's own refusals and its own cascade.

    Deleting a link deletes what stands on it, and the far end of a veth with all that stands on that. A device
    that wants what a kernel gives out only once, and an item whose link is not there, are refused. A veth is
    born with its far end in the namespace that it names.

    Args:
        foreign: names of links that are there and not ours.
        addresses: of the first foreign link: what `underlay` tells.
        mtu: of the same.
    """

    def __init__(
        self,
        *,
        foreign: Iterable[str] = ("eth0",),
        addresses: Iterable[str] = ("192.0.2.1/24", "2001:db8::1/64"),
        mtu: int = 1500,
    ) -> None:
        self.items: dict[Key, Item] = {}
        self.foreign = list(foreign)
        self.others: dict[Key, str] = {}  # items of somebody else, with the owner's name
        self.namespaces: dict[str, FakeKernel] = {}
        self._far_ends: dict[str, FakeKernel] = {}  # by the name of our end
        self.faults = Faults()
        self.batches: list[tuple[Operation, ...]] = []
        self.reads = 0
        self._addresses = tuple(map(ip_interface, addresses))
        self._mtu = mtu
        self._operation_faults: list[_OperationFault] = []
        self._changed = threading.Condition(threading.RLock())
        self._disturbed = False
        self._closed = False

    @classmethod
    def from_options(cls, options: Options) -> Self:
        """Build an empty one; there are no options."""
        for name in options:
            raise ConfigError(f"the fake kernel has no option {name!r}")
        return cls()

    # The contract.

    def read(self) -> Mapping[Key, Item]:
        """Return every item of ours."""
        with self.faults.around("read"), self._changed:
            self._refuse_closed()
            self.reads += 1
            return dict(self.items)

    def execute(self, operations: Sequence[Operation]) -> Sequence[Failure]:
        """Carry the operations out in order; one failure never stops the rest."""
        with self.faults.around("execute"), self._changed:
            self._refuse_closed()
            self.batches.append(tuple(operations))
            failures = [failure for each in operations if (failure := self._run(each))]
            self._changed.notify_all()
            return failures

    def changed(self, timeout: float) -> bool:
        """Wait for somebody else's change."""
        with self.faults.around("changed"), self._changed:
            self._changed.wait_for(lambda: self._disturbed or self._closed, timeout)
            disturbed, self._disturbed = self._disturbed, False
            return disturbed and not self._closed

    def close(self) -> None:
        """Wake `changed`; the items stay."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def inside(self, netns: str) -> FakeKernel:
        """Return the kernel of a container's namespace, open."""
        with self.faults.around("inside"), self._changed:
            if netns not in self.namespaces:
                raise KernelError(f"{netns}: there is no such namespace")
            inner = self.namespaces[netns]
            return inner.reopen()

    def underlay(self, interface: str = "") -> UnderlayLink:
        """Return the first foreign link."""
        if interface not in {"", *self.foreign}:
            raise ConfigError(f"no link {interface!r}; there are: {', '.join(self.foreign)}")
        addresses: tuple[Interface, ...] = self._addresses
        return UnderlayLink(name=interface or self.foreign[0], mtu=self._mtu, addresses=addresses)

    # What a test does to it.

    def fail(self, fits: Callable[[Operation], bool], *, code: int = errno.EINVAL, times: int = 1) -> None:
        """Refuse the next `times` operations that fit."""
        self._operation_faults.append(_OperationFault(fits, code, times))

    def heal(self) -> None:
        """Forget every fault."""
        self._operation_faults.clear()
        self.faults.heal()

    def lose(self, *keys: Key) -> None:
        """Delete items as somebody else would, with the cascade."""
        with self._disturbing():
            for key in keys:
                self._drop(self.items[key])

    def put(self, *items: Item) -> None:
        """Add or change items as somebody else would, marked as ours."""
        with self._disturbing():
            self.items.update(by_key(items))

    def become(self, items: Mapping[Key, Item]) -> None:
        """Hold these items instead of whatever there was, as if somebody else had made them one by one."""
        with self._disturbing():
            for item in list(self.items.values()):
                if item.key in self.items:
                    self._drop(item)
            for item in sorted(items.values(), key=lambda item: item.rank):
                failure = self._run(Create(item))
                assert failure is None, failure

    def add_namespace(self, netns: str) -> FakeKernel:
        """Make a container's namespace."""
        with self._changed:
            inner = self.namespaces[netns] = FakeKernel(foreign=(), addresses=())
            return inner

    def end_namespace(self, netns: str) -> None:
        """End a container's namespace: its veth goes with it, and the kernel says so."""
        with self._disturbing():
            ended = self.namespaces.pop(netns)
            for name in [name for name, inner in self._far_ends.items() if inner is ended]:
                self._drop(self.items[("link", name)])

    def reopen(self) -> FakeKernel:
        """Return what the next handle finds: the same items and namespaces, open again."""
        with self._changed:
            self._closed = False
            return self

    def restart(self) -> FakeKernel:
        """Return what the next process finds: the same, and nothing that it was told of."""
        with self._changed:
            self._disturbed = False
            self.batches, self.reads = [], 0
            return self.reopen()

    def wait_for(self, condition: Callable[[Mapping[Key, Item]], bool], *, timeout: float = SOON) -> None:
        """Wait until what the kernel holds fulfils the condition."""
        with self._changed:
            done = self._changed.wait_for(lambda: condition(self.items), timeout)
            assert done, f"the kernel holds: {self.words()}"

    def words(self) -> list[str]:
        """Return every item in the operator's words, in the order of their creation by rank."""
        with self._changed:
            return [str(item) for item in sorted(self.items.values(), key=lambda item: (item.rank, str(item)))]

    # How it works.

    @contextmanager
    def _disturbing(self) -> Iterator[None]:
        with self._changed:
            yield
            self._disturbed = True
            self._changed.notify_all()

    def _refuse_closed(self) -> None:
        if self._closed:
            raise KernelError("this kernel was closed: make a new one")

    def _run(self, operation: Operation) -> Failure | None:
        code = self._armed(operation)
        if code is None:
            match operation:
                case Create(item):
                    code = self._create(item)
                case Replace(item, old):
                    code = self._replace(item, old)
                case Delete(item):
                    if item.key in self.items:
                        self._drop(self.items[item.key])
        if code is None:
            return None
        reason = self.others.get(operation.item.key, errno.errorcode[code])
        return Failure(operation=operation, errno=code, reason=reason)

    def _armed(self, operation: Operation) -> int | None:
        for fault in self._operation_faults:
            if fault.times and fault.fits(operation):
                fault.times -= 1
                return fault.errno
        return None

    def _create(self, item: Item) -> int | None:
        if item.key in self.others or (item.key in self.items and not isinstance(item, Sysctl)):
            return errno.EEXIST
        if isinstance(item, Link):
            return self._create_link(item)
        if not _stands_on(item) <= self._links():
            return errno.ENODEV
        self.items[item.key] = item
        return None

    def _create_link(self, link: Link) -> int | None:
        mine = [each for each in self.items.values() if isinstance(each, Link)]
        if link.name in self.foreign:
            return errno.EEXIST
        if link.exclusive is not None and link.exclusive in {each.exclusive for each in mine}:
            return errno.EEXIST
        if isinstance(link.type, Veth):
            inner = self.namespaces.get(link.type.peer_netns)
            if inner is None:
                return errno.ENOENT
            if link.type.peer in inner.foreign:
                return errno.EEXIST
            inner.foreign.append(link.type.peer)
            self._far_ends[link.name] = inner
        self.items[link.key] = attrs.evolve(link, mac=link.mac or "02:00:00:00:00:99")
        return None

    def _replace(self, item: Item, old: Item) -> int | None:
        there = self.items.get(item.key)
        if there is None:
            return errno.ENOENT
        if isinstance(item, Link) and isinstance(there, Link):
            if item.type != there.type:
                return errno.EOPNOTSUPP
            item = attrs.evolve(item, mac=item.mac or there.mac)
        if not isinstance(item, Link) and not _stands_on(item) <= self._links():
            return errno.ENODEV
        self.items[item.key] = item
        return None

    def _drop(self, item: Item) -> None:
        del self.items[item.key]
        if not isinstance(item, Link):
            return
        for key in [key for key, each in self.items.items() if item.name in _stands_on(each)]:
            del self.items[key]
        if isinstance(item.type, Veth) and (inner := self._far_ends.pop(item.name, None)):
            inner.foreign.remove(item.type.peer)
            gone = [key for key, each in inner.items.items() if each.link == item.type.peer]
            for key in gone:
                del inner.items[key]

    def _links(self) -> set[str]:
        return {"", *self.foreign, *(item.name for item in self.items.values() if isinstance(item, Link))}


def _stands_on(item: Item) -> set[str]:
    return set() if isinstance(item, Link) else {item.link, getattr(item, "bridge", "")}
