"""What the kernel should hold, as the union over its reasons.

Every item is wanted by an owner: the host itself, one route, one container. An owner's items are replaced as a
whole, and the keys whose effective item changed come back, so that one event costs one small diff.

Two owners may want one key (two subnets of one peer share its fdb entry). The item stays until the last of
them lets go. Where they want different items, the least owner wins, so that the result does not depend on the
order in which they came.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from .items import Item, Key

Owner = tuple[str, ...]


class Desired(Mapping[Key, Item]):
    """A mapping of key to item, made of the items of many owners."""

    def __init__(self) -> None:
        self._effective: dict[Key, Item] = {}
        self._by_owner: dict[Owner, dict[Key, Item]] = {}
        self._shared: dict[Key, set[Owner]] = {}
        self._single: dict[Key, Owner] = {}

    def put(self, owner: Owner, items: Iterable[Item]) -> set[Key]:
        """Make `items` all that `owner` wants; return the keys whose effective item is not what it was.

        Idempotent. O(items of this owner). No items: the owner is forgotten.
        """
        new = {item.key: item for item in items}
        old = self._by_owner.get(owner, {})
        # In the order given, not a set's: the same items make the same plan in every process.
        before = {key: self._effective.get(key) for key in (*old, *new)}
        if new:
            self._by_owner[owner] = new
        else:
            self._by_owner.pop(owner, None)
        for key in old.keys() - new.keys():
            self._leave(key, owner)
        for key in new:
            self._join(key, owner)
        return {key for key, item in before.items() if self._settle(key) != item}

    def owners(self) -> list[Owner]:
        """Return everybody who wants something."""
        return list(self._by_owner)

    def of(self, owner: Owner) -> Mapping[Key, Item]:
        """Return what one owner wants."""
        return self._by_owner.get(owner, {})

    def __getitem__(self, key: Key) -> Item:
        return self._effective[key]

    def __iter__(self) -> Iterator[Key]:
        return iter(self._effective)

    def __len__(self) -> int:
        return len(self._effective)

    # Nearly every key has one owner; only the others pay for a set.

    def _join(self, key: Key, owner: Owner) -> None:
        if key in self._shared:
            self._shared[key].add(owner)
        elif self._single.setdefault(key, owner) != owner:
            self._shared[key] = {self._single.pop(key), owner}

    def _leave(self, key: Key, owner: Owner) -> None:
        if self._single.get(key) == owner:
            del self._single[key]
        elif key in self._shared:
            self._shared[key].discard(owner)
            if len(self._shared[key]) == 1:
                self._single[key] = self._shared.pop(key).pop()

    def _settle(self, key: Key) -> Item | None:
        owner = self._single.get(key)
        if owner is None:
            owner = min(self._shared.get(key, ()), default=None)
        if owner is None:
            self._effective.pop(key, None)
            return None
        item = self._effective[key] = self._by_owner[owner][key]
        return item
