"""Network namespaces in memory: what they hold, what they refuse, and what falls with what.

`FakeKernel` and `SimulatedKernel` are made of this. Both keep the Kernel contract (see `KernelContract`), and
on both a test can act behind everybody's back and say what is to go wrong next.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Generic, Self, TypeVar

import attrs

from .. import derive
from ..contracts import Failure, Options, UnderlayLink
from ..errors import ConfigError, KernelError, NamespaceGone
from ..items import Bridge, BridgePort, Item, Key, Link, Sysctl, Veth, Vxlan
from ..planning import Create, Delete, Operation, Replace
from ..reconciler import stands_on
from .faults import Faults

End = tuple[str, str]  # a namespace and the interface in it that a cable ends at
KernelT = TypeVar("KernelT", bound="MemoryKernel")


class Fabric(Generic[KernelT]):
    """Which namespaces there are, by their names and by their paths, and what is plugged into what."""

    def __init__(self) -> None:
        self.kernels: dict[str, KernelT] = {}
        self.namespaces: dict[str, KernelT] = {}
        self.cables: dict[End, End] = {}

    def add(self, kernel: KernelT, *, path: str | None = None) -> KernelT:
        """Take a namespace in under its name, and under a path if it has one; return it."""
        kernel.network = self
        self.kernels[kernel.name] = kernel
        if path is not None:
            self.namespaces[path] = kernel
        return kernel

    def plug(self, one: End, other: End) -> None:
        """Lay a cable."""
        self.cables[one], self.cables[other] = other, one

    def unplug(self, end: End) -> End | None:
        """Take a cable away; return its other end."""
        other = self.cables.pop(end, None)
        if other is not None:
            del self.cables[other]
        return other


@attrs.define
class _OperationFault:
    fits: Callable[[Operation], bool]
    errno: int
    times: int


class MemoryKernel:
    """One namespace: items under their keys, with the kernel's own refusals and its own cascade.

    Deleting a link deletes what stands on it, and the far end of a veth with all that stands on that. A device
    that wants what a kernel gives out only once, and an item whose link is not there, are refused. A veth is
    born with its far end in the namespace that it names.

    `items` are ours; `others` are somebody else's, with the owner's name; `foreign` are links that are not
    ours. `operations` and `reads` count. `faults` knows the calls read, execute, changed and inside.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.network: Fabric[Self] = Fabric()  # its own, until it is added to another
        self.items: dict[Key, Item] = {}
        self.others: dict[Key, str] = {}
        self.foreign: dict[str, UnderlayLink] = {}
        self.operations = self.reads = 0
        self.faults = Faults()
        self._operation_faults: list[_OperationFault] = []
        self._changed = threading.Condition(threading.RLock())
        self._disturbed = self._closed = False

    @classmethod
    def from_options(cls, options: Options) -> Self:
        """Build an empty one; there are no options."""
        for name in options:
            raise ConfigError(f"{cls.__name__} has no option {name!r}")
        return cls("host")

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
            self._note(operations)
            failures = [self._failed(each, code) for each in operations if (code := self._run(each))]
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

    def inside(self, netns: str) -> Self:
        """Return the kernel of the namespace at that path, open."""
        with self.faults.around("inside"), self._changed:
            if netns not in self.network.namespaces:
                raise NamespaceGone(f"{netns}: there is no such namespace")
            return self.network.namespaces[netns].reopen()

    def underlay(self, interface: str = "") -> UnderlayLink:
        """Return the link of that name that is not ours, or the first one."""
        for name in [interface] if interface else self.foreign:
            if name in self.foreign:
                return self.foreign[name]
        raise ConfigError(f"no link {interface!r}; there are: {', '.join(self.foreign) or 'none'}")

    # What a test does to it.

    def fail(self, fits: Callable[[Operation], bool], *, code: int = errno.EINVAL, times: int = 1) -> None:
        """Refuse the next `times` operations that fit."""
        self._operation_faults.append(_OperationFault(fits, code, times))

    def heal(self) -> None:
        """Forget every fault."""
        self._operation_faults.clear()
        self.faults.heal()

    def disturb(self, *operations: Operation) -> None:
        """Carry operations out as somebody else would, and say that something has changed."""
        with self._disturbing():
            failed = [str(each) for each in operations if self._carry_out(each)]
            assert not failed, failed

    def lose(self, *keys: Key) -> None:
        """Delete items as somebody else would, with the cascade."""
        self.disturb(*(Delete(self.items[key]) for key in keys))

    def put(self, *items: Item) -> None:
        """Add or change items as somebody else would, marked as ours."""
        there = self.items
        self.disturb(*(Replace(each, there[each.key]) if each.key in there else Create(each) for each in items))

    def reopen(self) -> Self:
        """Return what the next handle finds: the same items and namespaces, open again."""
        with self._changed:
            self._closed = False
            return self

    # What the other end of a cable does to it.

    def has_link(self, link: str) -> bool:
        """Return whether a link of that name is there, whoever made it."""
        return link in self.foreign or ("link", link) in self.items

    def gain_link(self, name: str, *, mac: str, mtu: int) -> None:
        """Find the far end of a veth inside."""
        self.foreign[name] = UnderlayLink(name=name, mtu=mtu, addresses=())

    def lose_link(self, name: str) -> None:
        """Lose a veth whose other end went, with all that stands on it."""
        self._drop_from(name)
        del self.foreign[name]

    # What a kernel knows better may refuse more, and keep more than the items.

    def _note(self, operations: Sequence[Operation]) -> None:
        self.operations += len(operations)

    def _refusal(self, item: Item) -> int:
        """Return the errno with which Linux refuses what cannot stand here; 0: it can."""
        needed = (item.link, item.bridge) if isinstance(item, BridgePort) else (item.link,)
        return 0 if all(not link or self.has_link(link) for link in needed) else errno.ENODEV

    def _hold(self, item: Item) -> int:
        self.items[item.key] = item
        return 0

    def _let_go(self, item: Item) -> None:
        del self.items[item.key]

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

    def _failed(self, operation: Operation, code: int) -> Failure:
        reason = self.others.get(operation.item.key, errno.errorcode[code])
        return Failure(operation=operation, errno=code, reason=reason)

    def _run(self, operation: Operation) -> int:
        for fault in self._operation_faults:
            if fault.times and fault.fits(operation):
                fault.times -= 1
                return fault.errno
        return self._carry_out(operation)

    def _carry_out(self, operation: Operation) -> int:
        item = operation.item
        if isinstance(operation, Create):
            return self._create(item)
        there = self.items.get(item.key)
        if isinstance(operation, Replace):
            return self._replace(item, there) if there is not None else errno.ENOENT
        if there is not None:
            self._drop(there)
        return 0

    def _create(self, item: Item) -> int:
        there = self.items.get(item.key)
        if there is not None and isinstance(item, Sysctl):
            return self._replace(item, there)
        if there is not None or item.key in self.others:
            return errno.EEXIST
        if isinstance(item, Link):
            return self._create_link(item)
        return self._refusal(item) or self._hold(item)

    def _create_link(self, link: Link) -> int:
        if link.name in self.foreign or (
            link.exclusive is not None
            and any(isinstance(each, Link) and each.exclusive == link.exclusive for each in self.items.values())
        ):
            return errno.EEXIST
        match link.type:
            case Vxlan(dev=dev) if not self.has_link(dev):
                return errno.ENODEV
            case Veth(peer=peer, peer_netns=path, peer_mac=mac):
                inner = self.network.namespaces.get(path)
                if inner is None:
                    return errno.ENOENT
                if inner.has_link(peer):
                    return errno.EEXIST
                inner.gain_link(peer, mac=mac or derive.mac("memory", inner.name, peer), mtu=link.mtu)
                self.network.plug((self.name, link.name), (inner.name, peer))
        if not link.mac and isinstance(link.type, Bridge | Vxlan | Veth):  # the others have no Ethernet
            link = attrs.evolve(link, mac=derive.mac("memory", self.name, link.name))
        return self._hold(link)

    def _replace(self, item: Item, there: Item) -> int:
        if isinstance(item, Link) and isinstance(there, Link):
            if item.type != there.type:
                return errno.EOPNOTSUPP
            return self._hold(attrs.evolve(item, mac=item.mac or there.mac))
        code = self._refusal(item)
        if not code:
            self._let_go(there)
            self._hold(item)
        return code

    def _drop(self, item: Item) -> None:
        if isinstance(item, Link):
            self._drop_from(item.name)
            if (far := self.network.unplug((self.name, item.name))) is not None:
                self.network.kernels[far[0]].lose_link(far[1])
        self._let_go(item)

    def _drop_from(self, link: str) -> None:
        for item in [each for each in self.items.values() if each.rank and stands_on(each, link)]:
            self._let_go(item)
