"""Which of two paths is best, and what people are told why: one example for each rule."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from itertools import permutations
from typing import Any

import attrs
import pytest

from containernet_backends.bgp.attributes import (
    AS_CONFED_SEQUENCE,
    AS_SEQUENCE,
    AS_SET,
    EGP,
    IGP,
    Attributes,
    Segment,
)
from containernet_backends.bgp.decision import BEST, EQUAL, explain, multipath, order
from containernet_backends.bgp.paths import Path, Source

BASE = Attributes(origin=IGP, next_hop=IPv4Address("192.0.2.7"), local_pref=100)


def source(at: int, *, asn: int = 64512, identifier: int | None = None, own: bool = False) -> Source:
    """Return a peer; with an AS that is not ours it is external."""
    return Source(
        address=None if own else IPv4Address(0xC0000200 + at),
        asn=asn,
        identifier=IPv4Address(at if identifier is None else identifier),
        external=asn != 64512,
    )


def path(at: int, *, cost: int = 0, path_id: int = 0, refused: str = "", of: Any = None, **said: Any) -> Path:
    """Return a path of a peer."""
    return Path(of or source(at), attrs.evolve(BASE, **said), cost=cost, path_id=path_id, refused=refused)


def through(*asns: int) -> tuple[Segment, ...]:
    """Return an AS_PATH."""
    return (Segment(AS_SEQUENCE, asns),)


SAME = source(5)
RULES = [
    (path(9, of=source(9, own=True)), path(1, local_pref=500), "this speaker originates the prefix"),
    (path(9, local_pref=200), path(1), "LOCAL_PREF 100 < 200 (RFC 4271 s9.1.1)"),
    (path(9), path(1, local_pref=0), "LOCAL_PREF 0 < 100 (RFC 4271 s9.1.1)"),
    (
        path(9, as_path=through(1, 2)),
        path(1, as_path=through(1, 2, 3)),
        "AS_PATH length 3 > 2 (RFC 4271 s9.1.2.2 a)",
    ),
    (path(9), path(1, origin=EGP), "ORIGIN 1 > 0 (RFC 4271 s9.1.2.2 b)"),
    (
        path(9, as_path=through(7), med=10),
        path(1, as_path=through(7), med=20),
        "MULTI_EXIT_DISC 20 > 10 from AS 7 (RFC 4271 s9.1.2.2 c)",
    ),
    (path(9, of=source(9, asn=7)), path(1), "internal, the best is external (RFC 4271 s9.1.2.2 d)"),
    (path(9, cost=10), path(1, cost=20), "cost of the next hop 20 > 10 (RFC 4271 s9.1.2.2 e)"),
    (path(9, of=source(9, identifier=1)), path(2), "BGP identifier is higher (RFC 4271 s9.1.2.2 f)"),
    (
        path(9, originator_id=IPv4Address(1), cluster_list=()),
        path(2, originator_id=IPv4Address(1), cluster_list=(IPv4Address(3),)),
        "CLUSTER_LIST length 1 > 0 (RFC 4456 s9)",
    ),
    (
        path(1, of=source(1, identifier=7)),
        path(2, of=source(2, identifier=7)),
        "peer address is higher (RFC 4271 s9.1.2.2 g)",
    ),
    (path(5, of=SAME, path_id=1), path(5, of=SAME, path_id=2), "path identifier 2 > 1 (RFC 7911)"),
    (path(9), path(1, refused="a reason", local_pref=900), "refused: a reason"),
]


@pytest.mark.parametrize(("winner", "loser", "rule"), RULES, ids=[rule for *_, rule in RULES])
def test_each_rule_decides_where_all_before_it_are_equal(winner: Path, loser: Path, rule: str) -> None:
    """The winner has the higher address wherever that is not what is asked, so that no later rule helps it."""
    for given in permutations([winner, loser]):
        first, second = explain(order(given))
        assert (first.path, first.rule) == (winner, BEST)
        assert second.path is loser
        assert second.rule == rule


def test_med_of_another_neighbour_as_means_nothing() -> None:
    """A high MED loses to a lower one of the same AS, and to nobody else's."""
    low, high = path(1, as_path=through(7), med=900), path(2, as_path=through(8), med=1)
    assert order([high, low])[0] is low


def test_the_outcome_of_med_does_not_depend_on_the_order_of_arrival() -> None:
    """Pairwise comparison would go round in circles: a beats b, b beats c and c beats a."""
    a = path(3, as_path=through(7), med=0)
    b = path(1, as_path=through(7), med=10)
    c = path(2, as_path=through(8), med=5)
    assert {order(given) for given in permutations([a, b, c])} == {(c, a, b)}


def test_a_path_without_med_has_the_lowest() -> None:
    """RFC 4271 s9.1.2.2 c."""
    none, some = path(9, as_path=through(7)), path(1, as_path=through(7), med=1)
    assert order([some, none])[0] is none


def test_a_set_counts_as_one_and_a_confederation_as_nothing() -> None:
    """RFC 4271 s9.1.2.2 a, RFC 5065 s5.3."""
    confederation = Segment(AS_CONFED_SEQUENCE, (65001, 65002, 65003))
    short = path(9, as_path=(confederation, *through(1), Segment(AS_SET, (2, 3, 4))))
    assert order([path(1, as_path=through(1, 2, 3)), short])[0] is short


def test_the_neighbour_is_the_as_beyond_the_confederation() -> None:
    """RFC 5065 s5.3: its members are of one AS; and a path that begins with a set is of ours."""
    confederation = Segment(AS_CONFED_SEQUENCE, (65001,))
    low = path(9, as_path=(confederation, *through(7)), med=1)
    assert order([path(1, as_path=through(7), med=2), low])[0] is low
    assert path(1, as_path=(Segment(AS_SET, (7, 8)),)).neighbour == path(2).neighbour == 0


def test_a_clients_identifier_is_that_of_the_originator() -> None:
    """RFC 4456 s9: whoever reflects it, an identifier stands for who announced it."""
    reflected = path(9, originator_id=IPv4Address(1))
    assert order([path(2), reflected])[0] is reflected


def test_equal_paths_through_different_next_hops_carry_traffic_side_by_side() -> None:
    """Up to the limit, each next hop once, and nothing that is worse before the identifier is asked."""
    ways = [path(at, next_hop=IPv4Address(0xC0000200 + at)) for at in range(1, 5)]
    twin = path(6, next_hop=IPv4Address("192.0.2.1"))
    worse = path(7, cost=1, next_hop=IPv6Address("2001:db8::1"))
    entry = order([worse, twin, *reversed(ways)])
    assert multipath(entry, 16) == tuple(ways)
    assert multipath(entry, 2) == tuple(ways[:2])
    rules = {each.path: each.rule for each in explain(entry, limit=16)}
    assert [rules[way] for way in ways] == [BEST, EQUAL, EQUAL, EQUAL]
    assert rules[twin].startswith("BGP identifier")
    assert rules[worse].startswith("cost of the next hop")


def test_external_and_internal_paths_are_never_side_by_side() -> None:
    """Traffic that came from outside would leave again by the way that it is kept from."""
    outside = path(1, of=source(1, asn=7), as_path=through(7))
    inside = path(2, as_path=through(7), next_hop=IPv4Address("192.0.2.9"))
    assert multipath(order([inside, outside]), 16) == (outside,)


def test_refused_paths_alone_are_no_way() -> None:
    """A prefix may be known and unreachable."""
    entry = order([path(1, refused="a"), path(2, refused="b")])
    assert multipath(entry, 16) == ()
    assert [each.rule for each in explain(entry)] == ["refused: a", "refused: b"]
