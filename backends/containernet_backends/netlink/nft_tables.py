"""Our tables in the nftables of one namespace: read, and changed in one transaction for all of a batch.

What is remembered of a table is which elements it holds. A change is the difference to that; should the kernel
refuse it, because somebody was here, the table is read, and the difference made anew; should it refuse that as
well, each operation is tried by itself, so that one failure never stops the rest.

What is read stays true as long as nftables says that it is at the same generation, and is not read again.

Of a table that is not as its program says nothing is enforced: the next change makes it anew, in one
transaction with what it is to hold. One that is to hold nothing is deleted.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping, Sequence

from containernet.contracts import Failure
from containernet.items import Item, Key
from containernet.model import Prefix
from containernet.planning import Delete, Operation

from .nft_accepts import Accepts
from .nft_drops import find_drops
from .nft_elements import Element, elements, held, item, program
from .nft_generations import Generations
from .nft_library import Nft
from .nft_programs import PROGRAMS, Program
from .refusals import Refused

Held = dict[Key, frozenset[Element]]


class NftTables:
    """What one namespace holds of our tables.

    Args:
        open: makes a handle inside the namespace.
        generations: of that namespace's nftables.
    """

    def __init__(self, open: Callable[[], Nft], generations: Generations) -> None:
        self._open = open
        self._nft: Nft | None = None
        self._generations = generations
        self._accepts = Accepts(lambda: self._handle, generations)
        self._held: dict[Program, Held | None] = {}  # None: the table is not there
        self._broken: set[Program] = set()
        self._items: dict[Key, Item] = {}
        self._as_of = 0  # the generation that all of this is true of; 0: unknown

    def read(self) -> dict[Key, Item]:
        """Return the items of all tables. Raises Refused."""
        now = self._generations.now()
        if not now or now != self._as_of:
            self._items.clear()
            for each in PROGRAMS:
                self._read(each)
            self._items |= self._accepts.read()
            self._as_of = now
        return dict(self._items)

    def execute(self, operations: Sequence[Operation]) -> list[Failure]:
        """Carry the operations out, those of a table at once; return the failures in their order."""
        failures: list[Failure] = []
        for each in PROGRAMS:
            of_it = [operation for operation in operations if program(operation.item) is each]
            if of_it:
                failures += self._change(each, of_it)
        failures += self._accept([each for each in operations if program(each.item) is None])
        failures.sort(key=lambda failure: operations.index(failure.operation))
        return failures

    def drops(self, prefixes: Sequence[Prefix]) -> list[str]:
        """Return a line for each chain of somebody else's that drops what is forwarded for those prefixes."""
        try:
            return list(find_drops(self._handle, prefixes)) if prefixes else []
        except Refused:  # no nftables: nobody drops anything there
            return []

    def close(self) -> None:
        """Let go of the handle."""
        if self._nft is not None:
            self._nft.close()

    @property
    def _handle(self) -> Nft:
        if self._nft is None:
            self._nft = self._open()
        return self._nft

    def _read(self, which: Program) -> None:
        self._held[which] = None
        self._broken.discard(which)
        if not self._generations.has_table(which.family, which.name):
            return
        listing = self._handle.list(f"table {which.table}")
        whole = which.is_whole(listing)
        try:
            self._held[which] = held(which, listing)
        except (ValueError, LookupError, TypeError):  # somebody put into it what we never do
            self._held[which], whole = {}, False
        if not whole:
            self._broken.add(which)
        self._items |= {key: item(key, of, whole=whole) for key, of in (self._held[which] or {}).items()}

    def _accept(self, operations: Sequence[Operation]) -> list[Failure]:
        """Change the chains of others: a few rules in a host's life, so each by itself."""
        failures = []
        for operation in operations:
            try:
                try:
                    self._in_others_chain(operation)
                except Refused:  # somebody was here since its rules were listed
                    self._in_others_chain(operation)
            except Refused as refused:
                failures.append(Failure(operation=operation, errno=refused.errno, reason=refused.reason))
        return failures

    def _in_others_chain(self, operation: Operation) -> None:
        if text := self._accepts.transaction(operation):
            self._run(text)
        self._items.pop(operation.item.key, None)
        if not isinstance(operation, Delete):
            self._items[operation.item.key] = operation.item

    def _run(self, text: str) -> None:
        self._as_of = self._generations.make(lambda: self._handle.run(text), on=self._as_of)

    def _change(self, which: Program, operations: Sequence[Operation]) -> list[Failure]:
        failures = []
        try:
            if which not in self._held:
                self._read(which)
            self._attempt(which, operations)
        except Refused:
            try:
                self._as_of = 0
                self._read(which)
                self._attempt(which, operations)
            except Refused:
                for each in operations:
                    failures += self._alone(which, each)
        return failures

    def _alone(self, which: Program, operation: Operation) -> list[Failure]:
        try:
            self._attempt(which, [operation])
        except Refused as refused:
            return [Failure(operation=operation, errno=refused.errno, reason=refused.reason)]
        return []

    def _attempt(self, which: Program, operations: Sequence[Operation]) -> None:
        there = self._held[which]
        after = {each.item.key: _wanted(each) for each in operations}
        makes = any(after.values())
        if there is None and not makes:
            return
        if there is None or which in self._broken:
            there, text = {}, _transaction(which, None, after) if makes else _farewell(which)
        else:
            before = {key: there[key] for key in after if key in there}
            stays = makes or len(there) > len(before)
            text = _transaction(which, before, after) if stays else _farewell(which)
        if text:
            self._run(text)
        self._broken.discard(which)
        for each in operations:
            key, of = each.item.key, after[each.item.key]
            there.pop(key, None)
            self._items.pop(key, None)
            if of:
                there[key], self._items[key] = of, each.item
        self._held[which] = there or None


def _wanted(operation: Operation) -> frozenset[Element]:
    try:
        return frozenset() if isinstance(operation, Delete) else elements(operation.item)
    except ValueError as error:
        reason = f"nftables has no words for the interface {error}: choose another name"
        raise Refused(errno.EINVAL, reason) from error


def _farewell(which: Program) -> str:
    return f"delete table {which.table}\n"


def _transaction(which: Program, before: Held | None, after: Held) -> str:
    """Return what turns some elements of a table into others; empty: nothing.

    Args:
        before: None: the table is to be made.
    """
    old, new = _all(before or {}), _all(after)
    lines = [which.text] if before is None else []
    for verb, some in (("delete", old - new), ("add", new - old)):
        by_set: dict[str, list[str]] = {}
        for each in sorted(some):
            by_set.setdefault(each.set, []).append(str(each))
        lines += [
            f"{verb} element {which.table} {name} {{ {', '.join(those)} }}" for name, those in by_set.items()
        ]
    return "\n".join([*lines, ""]) if lines else ""


def _all(of: Mapping[Key, frozenset[Element]]) -> set[Element]:
    return {each for some in of.values() for each in some}
