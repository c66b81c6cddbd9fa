"""What the kernel should hold, as the union over its reasons.

Every item is wanted by an owner: the host itself, one route, one container. An owner's items are replaced as a
whole, and the keys whose effective item changed come back, so that one event costs one small diff.

Two owners may want one key (two subnets of one peer share its fdb entry). The item stays until the last of
them lets go. Where they want different items, the least owner wins, so that the result does not depend on the
order in which they came.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Network, IPv6Network

from .items import Item, Key, by_key
from .model import Prefix

Owner = tuple[str | int, ...]


def route_owner(prefix: Prefix) -> Owner:
    """Return who wants the items of a route; numbers, because the text would take as long as all the rest."""
    return ("route", prefix.version, int(prefix.network_address), prefix.prefixlen)


def in_words(owner: Owner) -> str:
    """Return an owner as people would call it."""
    match owner:
        case ("route", 4, first, length):
            return f"route {IPv4Network((first, length))}"
        case ("route", 6, first, length):
            return f"route {IPv6Network((first, length))}"
        case words:
            return " ".join(map(str, words))


class Desired(Mapping[Key, Item]):
    """A mapping of key to item, made of the items of many owners."""

    def __init__(self) -> None:
        self._effective: dict[Key, Item] = {}
        self._by_owner: dict[Owner, tuple[Item, ...]] = {}
        self._winner: dict[Key, Owner] = {}
        self._others: dict[Key, set[Owner]] = {}  # nearly every key has one owner; only the rest pay for a set

    def put(self, owner: Owner, items: Iterable[Item]) -> list[Key]:
        """Make `items` all that `owner` wants; return the keys whose effective item is not what it was.

        Idempotent. O(items of this owner). No items: the owner is forgotten.
        """
        new = by_key(items)
        old = self._by_owner.pop(owner, ())
        if new:
            self._by_owner[owner] = tuple(new.values())
        # In the order given, not a set's: the same items make the same plan in every process.
        changed = [item.key for item in old if item.key not in new and self._leave(item.key, owner)]
        winners, effective = self._winner, self._effective
        for key, item in new.items():
            if key not in winners:  # as nearly always, and at a start for each of thousands
                winners[key], effective[key] = owner, item
                changed.append(key)
            elif self._join(key, owner, item):
                changed.append(key)
        return changed

    def owners(self) -> list[Owner]:
        """Return everybody who wants something."""
        return list(self._by_owner)

    def disputed(self) -> Iterator[tuple[Owner, Item, Owner]]:
        """Yield who wants which item and does not get it, and who wants another of that key and does."""
        for key, others in self._others.items():
            for owner in sorted(others):
                item = self.of(owner)[key]
                if item != self._effective[key]:
                    yield owner, item, self._winner[key]

    def of(self, owner: Owner) -> Mapping[Key, Item]:
        """Return what one owner wants."""
        return by_key(self._by_owner.get(owner, ()))

    @property
    def effective(self) -> Mapping[Key, Item]:
        """The same as a plain dict, for who walks all of it; it stays ours."""
        return self._effective

    def __getitem__(self, key: Key) -> Item:
        return self._effective[key]

    def __iter__(self) -> Iterator[Key]:
        return iter(self._effective)

    def __len__(self) -> int:
        return len(self._effective)

    # Both return whether the effective item of that key is another one than before.

    def _join(self, key: Key, owner: Owner, item: Item) -> bool:
        winner = self._winner[key]
        if winner != owner:
            others = self._others.setdefault(key, set())
            others.add(max(winner, owner))
            if winner < owner:
                return False
            others.discard(owner)
            self._winner[key] = owner
        before = self._effective[key]
        self._effective[key] = item
        return before != item

    def _leave(self, key: Key, owner: Owner) -> bool:
        others = self._others.get(key)
        if others is None:
            del self._winner[key], self._effective[key]
            return True
        before = self._effective[key]
        if self._winner[key] == owner:
            self._winner[key] = heir = min(others)
            self._effective[key] = self.of(heir)[key]
            owner = heir
        others.remove(owner)
        if not others:
            del self._others[key]
        return self._effective[key] != before
