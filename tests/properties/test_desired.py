"""Desired: the union of what the owners want, by an obvious model, whatever they wanted before."""

from __future__ import annotations

from hypothesis import given, strategies as st

from containernet.desired import Desired, Owner
from containernet.items import Item, Key, Neighbour, by_key
from containernet.testing.strategies import MACS, UNDERLAY, items_on

OWNERS: tuple[Owner, ...] = ((), ("host",), ("route", "1"), ("route", "2"), ("endpoint", "c", "eth0"))
owners = st.sampled_from(OWNERS)
# Few keys with two values each, so that owners meet and disagree.
contested = st.builds(
    Neighbour, link=st.just("vx0"), address=st.sampled_from(UNDERLAY), mac=st.sampled_from(MACS)
)
wishes = st.lists(contested | items_on("vx0"), max_size=6)
puts = st.lists(st.tuples(owners, wishes), max_size=15)


def union(wanted: dict[Owner, dict[Key, Item]]) -> dict[Key, Item]:
    """Return the obvious union: owners in descending order, so that the least has the last word."""
    items: dict[Key, Item] = {}
    for owner in sorted(wanted, reverse=True):
        items.update(wanted[owner])
    return items


@given(puts)
def test_it_is_the_union_and_says_what_changed(sequence: list[tuple[Owner, list[Item]]]) -> None:
    """After any sequence; what `put` returns is exactly where the union differs from before."""
    desired, wanted = Desired(), dict[Owner, dict[Key, Item]]()
    for owner, items in sequence:
        before = union(wanted)
        wanted[owner] = by_key(items)
        after = union(wanted)
        changed = desired.put(owner, items)
        assert set(changed) == {
            key for key in before.keys() | after.keys() if before.get(key) != after.get(key)
        }
        assert len(changed) == len(set(changed))
        assert dict(desired) == after
        assert len(desired) == len(after)
        assert desired.of(owner) == wanted[owner]
        assert set(desired.owners()) == {owner for owner, items in wanted.items() if items}


@given(st.dictionaries(owners, wishes), st.data())
def test_the_order_of_the_owners_does_not_matter(wanted: dict[Owner, list[Item]], data: st.DataObject) -> None:
    """Nor what they wanted in between."""
    one, other = Desired(), Desired()
    for owner, items in wanted.items():
        one.put(owner, items)
    for owner in data.draw(st.permutations(sorted(wanted))):
        other.put(owner, data.draw(wishes))
        other.put(owner, wanted[owner])
    assert dict(one) == dict(other)


@given(puts)
def test_when_everybody_has_let_go_nothing_is_left(sequence: list[tuple[Owner, list[Item]]]) -> None:
    """Neither an item nor a trace of who wanted it."""
    desired = Desired()
    for owner, items in sequence:
        desired.put(owner, items)
    for owner in OWNERS:
        desired.put(owner, ())
    assert not desired
    assert not [*desired._by_owner, *desired._winner, *desired._others]
