"""A kernel in memory, that fails, hangs and forgets exactly what a test tells it to.

It keeps the contract of a real one, and its refusals, but for those that a whole routing table would take
(`SimulatedKernel` has one). A test can end a container's namespace, and wait for what it holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from ipaddress import ip_interface
from typing import Self

from ..contracts import UnderlayLink
from ..items import Item, Key
from ..planning import Create, Delete, Operation
from .faults import SOON
from .memory_kernel import MemoryKernel


class FakeKernel(MemoryKernel):
    """One network namespace, with a memory of what was asked of it. Fulfils Kernel, EntersNamespaces, Underlay.

    Args:
        foreign: names of links that are there and not ours.
        addresses: of the first foreign link: what `underlay` tells.
        mtu: of all of them.
    """

    def __init__(
        self,
        name: str = "host",
        *,
        foreign: Iterable[str] = ("eth0",),
        addresses: Iterable[str] = ("192.0.2.1/24", "2001:db8::1/64"),
        mtu: int = 1500,
    ) -> None:
        super().__init__(name)
        self.batches: list[tuple[Operation, ...]] = []
        own = tuple(map(ip_interface, addresses))
        for link in foreign:
            self.foreign[link] = UnderlayLink(name=link, mtu=mtu, addresses=() if self.foreign else own)

    @property
    def namespaces(self) -> dict[str, Self]:
        """The containers' namespaces, by their paths."""
        return self.network.namespaces

    def add_namespace(self, netns: str) -> Self:
        """Make a container's namespace."""
        with self._changed:
            # A path may be another namespace later; a name is one for ever.
            name = f"{netns} ({len(self.network.kernels)})"
            return self.network.add(type(self)(name, foreign=(), addresses=()), path=netns)

    def end_namespace(self, netns: str) -> None:
        """End a container's namespace: its veth goes with it, and the kernel says so."""
        ended = self.namespaces.pop(netns)
        cables = self.network.cables.items()
        self.lose(*(("link", one[1]) for one, other in cables if (one[0], other[0]) == (self.name, ended.name)))

    def become(self, items: Mapping[Key, Item]) -> None:
        """Hold these items instead of whatever there was, as if somebody else had made them one by one."""
        ascending = sorted(items.values(), key=lambda item: item.rank)
        self.disturb(*map(Delete, self.items.values()), *map(Create, ascending))

    def restart(self) -> Self:
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

    def _note(self, operations: Sequence[Operation]) -> None:
        super()._note(operations)
        self.batches.append(tuple(operations))
