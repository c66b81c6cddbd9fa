"""Desired: two owners of one key."""

from __future__ import annotations

from ipaddress import ip_address

from hypothesis import given, strategies as st

from containernet.desired import Desired, in_words, route_owner
from containernet.items import FdbEntry
from containernet.model import Prefix
from containernet.testing.strategies import PREFIXES


def entry(destination: str) -> FdbEntry:
    """Return the fdb entry of one and the same peer."""
    return FdbEntry(link="vxlan.1", mac="02:00:00:00:00:01", destination=ip_address(destination))


def test_an_item_stays_until_the_last_owner_lets_go() -> None:
    """Two subnets of one peer share its fdb entry; one of them goes."""
    desired = Desired()
    assert desired.put(("route", "a"), [entry("192.0.2.2")]) == [entry("192.0.2.2").key]
    assert desired.put(("route", "b"), [entry("192.0.2.2")]) == []
    assert desired.put(("route", "a"), ()) == []
    assert list(desired.values()) == [entry("192.0.2.2")]
    assert desired.put(("route", "b"), ()) == [entry("192.0.2.2").key]


def test_of_two_that_disagree_the_least_wins() -> None:
    """And when it lets go, the other has its way: a change, although no owner wants anything new."""
    desired = Desired()
    desired.put(("route", "b"), [entry("192.0.2.3")])
    assert desired.put(("route", "a"), [entry("192.0.2.2")]) == [entry("192.0.2.2").key]
    assert list(desired.values()) == [entry("192.0.2.2")]
    assert [*desired.disputed()] == [(("route", "b"), entry("192.0.2.3"), ("route", "a"))]
    desired.put(("route", "c"), [entry("192.0.2.2")])  # who wants what there is has no quarrel
    assert [owner for owner, _, _ in desired.disputed()] == [("route", "b")]
    desired.put(("route", "c"), ())
    assert desired.put(("route", "a"), ()) == [entry("192.0.2.2").key]
    assert list(desired.values()) == [entry("192.0.2.3")]
    assert not [*desired.disputed()]


def test_the_same_wish_again_changes_nothing() -> None:
    """A generator is taken as well as a list."""
    desired = Desired()
    desired.put(("host",), iter([entry("192.0.2.2")]))
    assert desired.put(("host",), iter([entry("192.0.2.2")])) == []


@given(st.sampled_from(PREFIXES))
def test_the_owner_of_a_route_is_called_by_its_prefix(prefix: Prefix) -> None:
    """Although it is kept as numbers."""
    assert in_words(route_owner(prefix)) == f"route {prefix}"
    assert in_words(("endpoint", "c1", "eth0")) == "endpoint c1 eth0"
