"""Brings one kernel to what is desired, and remembers what it has been brought to.

Between two full reads the reconciler works on its own memory of the kernel, so that one event costs one small
diff. `refresh` replaces the memory by the truth. Whatever failed stays on the list of failures until it
succeeds or nobody wants it any more; the caller decides when to try again.

No thread, no clock, no retry: those are the agent's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .contracts import Failure, FindsRivals, Kernel
from .desired import Desired, Owner, in_words
from .items import Item, Key, Link, Sysctl
from .planning import Delete, Operation, plan


class Reconciler:
    """Desired items of many owners, on one kernel.

    `prune` may be set at any time. False: what nobody ever wanted here is left alone, because the view is known
    to be partial; True, the default: it is deleted.
    """

    def __init__(self, kernel: Kernel) -> None:
        self.desired = Desired()
        self.failures: dict[Key, Failure] = {}
        self.prune = True
        self.kernel = kernel
        self._programmed: dict[Key, Item] = {}
        self._touched: dict[Key, None] = {}  # a set that keeps the order: equal input, equal plan
        self._whole = True

    @property
    def settled(self) -> bool:
        """Whether, as far as anybody told us, the kernel holds exactly what is desired."""
        return not (self._whole or self._touched or self.failures)

    @property
    def due(self) -> set[Key]:
        """The keys that are known not to be as they should: wanted otherwise since, or failed."""
        return self._touched.keys() | self.failures.keys()

    @property
    def programmed(self) -> Mapping[Key, Item]:
        """What the kernel holds of ours, as we remember it."""
        return self._programmed

    def want(self, owner: Owner, items: Iterable[Item]) -> None:
        """Make `items` all that `owner` wants; nothing is executed before `apply`."""
        self._touched.update(dict.fromkeys(self.desired.put(owner, items)))

    def refresh(self) -> None:
        """Read the kernel, so that the next `apply` compares everything.

        Raises:
            KernelError, PermissionRefused: it cannot be read; the memory stays as it was.
        """
        desired = self.desired.effective
        read = self.kernel.read()
        if read != self._programmed:
            # Of an item that is as desired one copy is enough; there may be a hundred thousand.
            self._programmed = {
                key: wanted if (wanted := desired.get(key)) == item else item for key, item in read.items()
            }
        self._whole = True

    def rivals(self) -> tuple[str, ...]:
        """Return which items are not used as they are wanted, though the kernel refuses none of them.

        Two owners want different items of one key, and one gets what it wants; or the kernel uses an item of
        somebody else's instead of ours, if it can tell.

        Raises:
            KernelError, PermissionRefused: it cannot be read.
        """
        disputed = [
            f"{in_words(owner)} wants {item}, and {in_words(winner)} has {self.desired[item.key]}: both hosts "
            "say the same of themselves, look at what each announces"
            for owner, item, winner in self.desired.disputed()
            # The host asks for a setting that a container's wish comes before, if there is one (see `edge`).
            if not isinstance(item, Sysctl)
        ]
        if not isinstance(self.kernel, FindsRivals):
            return tuple(disputed)
        return (*disputed, *self.kernel.rivals(self._programmed.values()))

    def pending(self) -> tuple[Operation, ...]:
        """Return what `apply` would execute now, executing nothing."""
        desired, actual = self.desired.effective, self.programmed
        if not self._whole:
            touched = {key: desired[key] for key in self._touched if key in desired}
            there = {key: actual[key] for key in self._touched if key in actual}
            if not _rebuilds_a_link(touched, there):
                desired, actual = touched, there
        if not self.prune:
            actual = {key: item for key, item in actual.items() if key in desired or key in self._touched}
        return plan(desired, actual)

    def apply(self) -> tuple[Operation, ...]:
        """Execute what is pending; return the operations that were executed, failed ones included.

        Raises:
            KernelError, PermissionRefused: nothing could be executed at all; everything stays pending.
        """
        operations = self.pending()
        failures = self.kernel.execute(operations) if operations else ()
        if self._whole:
            self.failures.clear()
        for key in self.failures.keys() & self._touched.keys():
            del self.failures[key]
        self._whole = False
        self._touched = {}
        self._remember(operations, failures)
        return operations

    def _remember(self, operations: Iterable[Operation], failures: Iterable[Failure]) -> None:
        failed = {failure.operation: failure for failure in failures}
        for operation in operations:
            key = operation.item.key
            if self.failures:
                self.failures.pop(key, None)
            if failed and (failure := failed.get(operation)):
                self.failures[key] = failure
            elif isinstance(operation, Delete):
                self._programmed.pop(key, None)
                if isinstance(operation.item, Link):
                    self._forget_what_stood_on(operation.item)
            else:
                self._programmed[key] = operation.item

    def _forget_what_stood_on(self, link: Link) -> None:
        stood = [key for key, item in self._programmed.items() if stands_on(item, link.name)]
        for key in stood:
            del self._programmed[key]


def _rebuilds_a_link(desired: Mapping[Key, Item], actual: Mapping[Key, Item]) -> bool:
    # A device made anew takes everything on it along, and the planner has to see all of that.
    links = [item for item in desired.values() if isinstance(item, Link)]
    return any(link.key in actual or link.exclusive is not None for link in links)


def stands_on(item: Item, link: str) -> bool:
    """Return whether the kernel drops `item` together with that link."""
    return link in {item.link, getattr(item, "bridge", "")}
