"""What the table holds after something happened: examples, and what it must refuse."""

from __future__ import annotations

from collections import Counter
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

import attrs
import pytest

from containernet_backends.bgp import nlri
from containernet_backends.bgp.arrival import Judge
from containernet_backends.bgp.attributes import (
    AS_CONFED_SEQUENCE,
    AS_CONFED_SET,
    AS_SEQUENCE,
    AS_SET,
    IGP,
    Attributes,
    Encapsulation,
    Segment,
    Unknown,
)
from containernet_backends.bgp.communities import GRACEFUL_SHUTDOWN
from containernet_backends.bgp.families import IPV4, IPV6, Family
from containernet_backends.bgp.notification import CEASE, MAXIMUM_PREFIXES, OUT_OF_RESOURCES, Violation
from containernet_backends.bgp.paths import Source
from containernet_backends.bgp.peering import Local, Negotiated
from containernet_backends.bgp.policy import NOTHING, Policy
from containernet_backends.bgp.refusal import Ourselves
from containernet_backends.bgp.rib import Table
from containernet_backends.bgp.update import Announcement, Reading, Withdrawal

LOCAL = Local(asn=64512, router_id=IPv4Address("192.0.2.1"))
OURSELVES = Ourselves(LOCAL, [ip_address("192.0.2.1"), ip_address("2001:db8::1")])
INSIDE = Attributes(origin=IGP, next_hop=IPv4Address("192.0.2.7"), local_pref=100)
OUTSIDE = attrs.evolve(INSIDE, local_pref=None, as_path=(Segment(AS_SEQUENCE, (65001,)),))


def table(**changes: Any) -> Table:
    """Return an empty one."""
    return Table(Judge(ourselves=OURSELVES, **changes), step=4)


def source(at: int, *, asn: int = 64512, **changes: Any) -> Source:
    """Return a peer."""
    return Source(
        address=IPv4Address(0xC0000200 + at),
        asn=asn,
        identifier=IPv4Address(at),
        external=asn != 64512,
        **changes,
    )


def raw(*texts: str) -> list[nlri.Nlri]:
    """Return prefixes as the table has them."""
    return [nlri.encode(ip_network(text)) for text in texts]


def says(*texts: str, family: Family = IPV4, said: Attributes = INSIDE, path_id: int | None = None) -> Reading:
    """Return an UPDATE that announces prefixes."""
    path_ids = None if path_id is None else [path_id] * len(texts)
    return Reading((Announcement(family, said, raw(*texts), path_ids),))


def takes_back(*texts: str, path_id: int | None = None) -> Reading:
    """Return an UPDATE that withdraws prefixes."""
    path_ids = None if path_id is None else [path_id] * len(texts)
    return Reading(withdrawn=(Withdrawal(IPV4, raw(*texts), path_ids),))


def finish(rib: Table) -> None:
    """Do what is to be done."""
    while rib.work():
        pass


def refusal(said: Attributes, *, by: Source, prefix: str = "10.4.7.0/24", rib: Table | None = None) -> str:
    """Return why a path is not believed; empty: it is."""
    rib = rib or table()
    family = IPV4 if ":" not in prefix else IPV6
    rib.learn(by, says(prefix, family=family, said=said))
    [path] = rib.entry(family, *raw(prefix))
    assert (rib.best(family, *raw(prefix)) is None) is bool(path.refused)
    assert by.refused == ({path.refused: 1} if path.refused else {})
    return path.refused


@pytest.mark.parametrize(
    ("by", "changes", "why"),
    [
        (source(7), {}, ""),
        (source(8, asn=65001), {}, ""),
        (source(7), {"next_hop": ip_address("192.0.2.1")}, "the next hop is ourselves"),
        (source(7), {"next_hop": ip_address("127.0.0.1")}, "no host's address"),
        (source(7), {"next_hop": ip_address("224.0.0.5")}, "no host's address"),
        (source(7), {"next_hop": ip_address("240.0.0.1")}, "no host's address"),
        (source(7), {"next_hop": ip_address("0.0.0.0")}, "no host's address"),
        (source(7), {"next_hop": ip_address("fe80::1")}, "link-local"),
        (source(7), {"next_hop": None}, "no next hop"),
        (source(7), {"as_path": (Segment(AS_SEQUENCE, (1, 64512)),)}, "our own AS"),
        (source(7, allow_own_as=1), {"as_path": (Segment(AS_SEQUENCE, (1, 64512)),)}, ""),
        (source(7, allow_own_as=1), {"as_path": (Segment(AS_SEQUENCE, (64512, 64512)),)}, "our own AS"),
        (source(7), {"originator_id": LOCAL.router_id}, "ORIGINATOR_ID is ours"),
        (source(7), {"cluster_list": (IPv4Address(9), LOCAL.router_id)}, "our cluster"),
        (source(8, asn=65001), {"as_path": ()}, "does not begin with the peer's AS"),
        (source(8, asn=65001), {"as_path": (Segment(AS_SEQUENCE, (65002, 65001)),)}, "does not begin"),
        (source(8, asn=65001, first_as=False), {"as_path": (Segment(AS_SEQUENCE, (65002,)),)}, ""),
        (source(8, asn=65001), {"as_path": (Segment(AS_CONFED_SEQUENCE, (65001,)),)}, "RFC 5065 s5"),
        (
            source(8, asn=65001),
            {"as_path": (Segment(AS_SEQUENCE, (65001,)), Segment(AS_CONFED_SEQUENCE, (65002,)))},
            "RFC 5065 s5",
        ),
        (source(7), {"as_path": (Segment(AS_CONFED_SEQUENCE, (65001,)),)}, ""),
        (source(8, asn=65001), {"as_path": (Segment(AS_SET, (65001,)),)}, "RFC 9774 s3"),
        (source(7), {"as_path": (Segment(AS_SEQUENCE, (1,)), Segment(AS_SET, (2, 3)))}, "RFC 9774 s3"),
        (source(7), {"as_path": (Segment(AS_CONFED_SET, (65001,)),)}, "RFC 9774 s3"),
        (source(8, asn=65001, policy=NOTHING), {}, "RFC 8212"),
    ],
)
def test_what_is_never_chosen(by: Source, changes: dict[str, Any], why: str) -> None:
    """It is kept and shown with its reason, and counted."""
    found = refusal(attrs.evolve(OUTSIDE if by.external else INSIDE, **changes), by=by)
    assert why in found
    assert bool(why) is bool(found)


@pytest.mark.parametrize(
    "prefix",
    [
        *(
            "0.0.0.0/8",
            "127.0.0.0/8",
            "127.1.0.0/16",
            "169.254.7.0/24",
            "224.0.0.0/4",
            "239.1.0.0/16",
            "255.0.0.0/8",
        ),
        *(
            "::/128",
            "::1/128",
            "::ffff:10.0.0.0/104",
            "fe80::/10",
            "fe80:1::/32",
            "ff02::/16",
            "0.0.0.0/0",
            "::/0",
        ),
    ],
)
def test_martians_and_a_default_route_that_nobody_asked_for(prefix: str) -> None:
    """RFC 6890: no network has these prefixes, whatever the policy says."""
    hop = ip_address("2001:db8::7" if ":" in prefix else "192.0.2.7")
    why = refusal(attrs.evolve(INSIDE, next_hop=hop), by=source(7), prefix=prefix)
    assert ("default route" if prefix.endswith("/0") else "martian") in why


@pytest.mark.parametrize(
    "prefix", ["0.0.0.0/1", "128.0.0.0/1", "168.0.0.0/6", "64:ff9b::/96", "fc00::/7", "2000::/3"]
)
def test_their_neighbours_are_no_martians(prefix: str) -> None:
    """What begins with the same octet, or covers a martian and more, is looked at closely and then believed."""
    assert refusal(INSIDE, by=source(7), prefix=prefix) == ""


def test_a_rule_that_names_the_default_route_lets_it_in() -> None:
    """It is a prefix like others for whoever wants it."""
    rule = {"match": {"prefixes": ["0.0.0.0/0 le 32"]}}
    policy = Policy.from_options({"name": "p", "rule": [rule]})
    assert refusal(INSIDE, by=source(7, policy=policy), prefix="0.0.0.0/0") == ""
    assert "martian" in refusal(INSIDE, by=source(7, policy=policy), prefix="127.0.0.0/8")


def test_an_unreachable_next_hop_and_its_cost() -> None:
    """The cost is asked once for each set of attributes."""
    costs = {IPv4Address("192.0.2.7"): 5, IPv4Address("192.0.2.8"): None}
    rib = table(cost=costs.__getitem__)
    assert "no way to the next hop" in refusal(
        attrs.evolve(INSIDE, next_hop=IPv4Address("192.0.2.8")), by=source(7), rib=rib
    )
    assert refusal(INSIDE, by=source(8), prefix="10.5.0.0/16", rib=rib) == ""


def test_graceful_shutdown_makes_an_external_path_the_last_choice() -> None:
    """RFC 8326 s4.2; an internal peer says it by its LOCAL_PREF."""
    rib, leaving, staying = table(), source(1, asn=65001), source(9, asn=65001)
    rib.learn(leaving, says("10.4.7.0/24", said=attrs.evolve(OUTSIDE, communities=(GRACEFUL_SHUTDOWN,))))
    rib.learn(staying, says("10.4.7.0/24", said=attrs.evolve(OUTSIDE, med=9)))
    assert [path.source for path in rib.entry(IPV4, *raw("10.4.7.0/24"))] == [staying, leaving]


def test_our_own_prefix_is_ours_whatever_others_say() -> None:
    """The other word is shown, and is what there is when ours is gone."""
    rib, peer, [prefix] = table(), source(7), raw("10.4.7.0/24")
    rib.learn(peer, says("10.4.7.0/24", said=attrs.evolve(INSIDE, local_pref=900)))
    rib.originate(IPV4, prefix, Attributes(origin=IGP))
    assert [(each.path.source, each.rule) for each in rib.explain(IPV4, prefix)] == [
        (rib.own, "best"),
        (peer, "this speaker originates the prefix"),
    ]
    rib.originate(IPV4, prefix, None)
    best = rib.best(IPV4, prefix)
    assert best
    assert best.source is peer


def test_prefixes_with_the_same_attributes_share_one_entry() -> None:
    """So that a prefix costs its octets and a place in one dictionary."""
    rib, peer, other = table(), source(7), source(8)
    for by in (peer, other):
        rib.learn(by, says("10.4.1.0/24", "10.4.2.0/24"))
        rib.learn(by, says("10.4.3.0/24", "10.4.2.0/24"))
    assert len({id(entry) for entry in rib.routes[IPV4].values()}) == 1


def test_a_prefix_withdrawn_and_announced_by_one_update_is_announced() -> None:
    """RFC 4271 s4.3."""
    rib, peer = table(), source(7)
    rib.learn(peer, says("10.4.1.0/24"))
    rib.learn(peer, says("10.4.1.0/24")._replace(withdrawn=takes_back("10.4.1.0/24", "10.4.9.0/24").withdrawn))
    assert rib.best(IPV4, *raw("10.4.1.0/24"))
    assert peer.held[IPV4] == 1


def test_several_paths_of_one_peer() -> None:
    """RFC 7911 s3: each has its identifier, and a withdrawal takes one of them."""
    rib, peer = table(), source(7)
    hops = [IPv4Address("192.0.2.7"), IPv4Address("192.0.2.8")]
    for path_id, hop in enumerate(hops):
        rib.learn(peer, says("10.4.1.0/24", said=attrs.evolve(INSIDE, next_hop=hop), path_id=path_id))
    [prefix] = raw("10.4.1.0/24")
    assert [path.attributes.next_hop for path in rib.multipath(IPV4, prefix, 8)] == hops
    rib.learn(peer, takes_back("10.4.1.0/24", path_id=0))
    assert [path.path_id for path in rib.entry(IPV4, *raw("10.4.1.0/24"))] == [1]


def test_a_hostile_peer_cannot_make_an_entry_long() -> None:
    """4,294,967,296 identifiers for one prefix would each cost more than the last."""
    rib, peer = table(), source(7)
    for path_id in range(100):
        rib.learn(peer, says("10.4.1.0/24", path_id=path_id))
    assert len(rib.entry(IPV4, *raw("10.4.1.0/24"))) == peer.held[IPV4] == 32


@pytest.mark.parametrize(
    ("changes", "long"),
    [
        ({"as_path": (Segment(AS_SEQUENCE, tuple(range(1, 65))),)}, False),
        ({"as_path": (Segment(AS_SEQUENCE, tuple(range(1, 66))),)}, True),
        ({"communities": tuple(range(65))}, True),
        ({"large": tuple((at, 0, 0) for at in range(65))}, True),
        ({"unknown": (Unknown(0xE0, 99, bytes(520)),)}, True),
        ({"encapsulations": (Encapsulation(8, ((200, bytes(520)),)),)}, True),
    ],
)
def test_what_is_long_is_in_the_table_alone(changes: dict[str, Any], long: bool) -> None:
    """A peer may tell 64 KiB of attributes in each UPDATE; what it has taken back is nowhere any more."""
    rib, peers = table(), [source(7), source(8)]
    said = attrs.evolve(INSIDE, **changes)
    for peer in peers:
        rib.learn(peer, says("10.4.1.0/24", said=said))
        rib.learn(peer, says("10.4.1.0/24"))
    assert any(said in key for known in rib._known.values() for key in known) is not long
    kept = {path.attributes for entry, path in rib._merged for path in (*entry, path)}
    assert (said in kept) is not long


def test_path_identifiers_cost_no_judgement() -> None:
    """Some peers number all paths that they have, and not those of one prefix: each UPDATE has hundreds."""
    asked = Counter[object]()

    def cost(next_hop: object) -> int:
        asked[next_hop] += 1
        return 0

    rib, peer = table(cost=cost), source(7)
    prefixes = [f"10.4.{at}.0/24" for at in range(200)]
    nlris = raw(*prefixes)
    rib.learn(peer, Reading((Announcement(IPV4, INSIDE, nlris, list(range(1, 201))),)))
    assert asked.total() == 1
    assert [path.path_id for nlri in nlris for path in rib.entry(IPV4, nlri)] == list(range(1, 201))
    rib.learn(peer, says(*prefixes[:2], path_id=7))
    first, second = (rib.entry(IPV4, nlri) for nlri in nlris[:2])
    assert first[-1] is second[-1]


def test_more_prefixes_than_allowed_end_the_session() -> None:
    """RFC 4486 s4, by family; what is replaced or named twice counts once, a new session begins at nothing."""
    rib, peer = table(), source(7, max_prefixes=2)
    rib.learn(peer, says("10.4.1.0/24", "10.4.2.0/24", "10.4.1.0/24"))
    rib.learn(peer, says("10.4.1.0/24", said=attrs.evolve(INSIDE, med=1)))
    sixth = attrs.evolve(INSIDE, next_hop=IPv6Address("2001:db8::7"))
    rib.learn(peer, says("fd00::/64", family=IPV6, said=sixth))
    with pytest.raises(Violation) as caught:
        rib.learn(peer, says("10.4.3.0/24"))
    assert (caught.value.code, caught.value.subcode) == (CEASE, MAXIMUM_PREFIXES)
    assert caught.value.data == bytes.fromhex("0001 01 00000002")
    rib.leave(peer)
    rib.learn(peer, says("10.4.3.0/24", "10.4.4.0/24"))
    finish(rib)
    assert set(rib.routes[IPV4]) == set(raw("10.4.3.0/24", "10.4.4.0/24"))


def test_attributes_that_are_too_long_to_be_kept_end_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is said again, or taken back, counts once, or not at all; what is short is free."""
    monkeypatch.setattr("containernet_backends.bgp.rib._HEAVIEST", 3 * 100)
    rib, peer = table(), source(7)
    said = [attrs.evolve(INSIDE, communities=tuple(range(at, at + 100))) for at in range(9)]
    for at, long in enumerate(said):
        rib.learn(peer, says("10.4.1.0/24", said=long))
        rib.learn(peer, says(f"10.4.{10 + at}.0/24"))
        rib.learn(peer, says(f"10.4.{20 + at}.0/24", said=long))
        rib.learn(peer, takes_back(f"10.4.{20 + at}.0/24"))
    rib.learn(peer, says("10.4.2.0/24", "10.4.3.0/24", said=said[0]))
    assert peer.weight[IPV4] == 300
    with pytest.raises(Violation) as caught:
        rib.learn(peer, says("10.4.4.0/24", said=said[0]))
    assert (caught.value.code, caught.value.subcode) == (CEASE, OUT_OF_RESOURCES)
    rib.leave(peer)
    assert not peer.weight[IPV4]


def test_a_peer_that_leaves_is_forgotten_in_small_steps() -> None:
    """No step looks at more prefixes than it was told to; those who leave meanwhile are seen to, too."""
    rib, peers = table(), [source(at) for at in (7, 8)]
    prefixes = [f"10.4.{at}.0/24" for at in range(20)]
    for peer in peers:
        rib.learn(peer, says(*prefixes))
    rib.leave(peers[0])
    assert rib.work()
    assert [len(rib.entry(IPV4, each)) for each in raw(*prefixes)] == [1] * 4 + [2] * 16
    rib.leave(peers[1])
    finish(rib)
    assert not rib.routes[IPV4]


def test_a_graceful_restart_keeps_paths_until_the_peer_has_told_everything() -> None:
    """RFC 4724 s4.2: what is not told again is gone at End-of-RIB."""
    rib, peer = table(), source(7)
    back = Negotiated(local_asn=64512, peer_asn=64512, peer_id=IPv4Address(7), forwarding=(IPV4,))
    rib.learn(peer, says("10.4.1.0/24", "10.4.2.0/24"))
    rib.leave(peer, [IPV4, IPV6])
    rib.join(peer, back)
    rib.learn(peer, says("10.4.2.0/24", "10.4.3.0/24"))
    finish(rib)
    assert len(rib.routes[IPV4]) == 3
    rib.learn(peer, Reading(end_of_rib=IPV4))
    finish(rib)
    assert set(rib.routes[IPV4]) == set(raw("10.4.2.0/24", "10.4.3.0/24"))


@pytest.mark.parametrize("change", [{"forwarding": ()}, {"families": (IPV6,), "forwarding": (IPV4, IPV6)}])
def test_a_restart_that_lost_its_forwarding_keeps_nothing(change: dict[str, Any]) -> None:
    """RFC 4724 s4.2: then the paths lead into a black hole."""
    rib, peer = table(), source(7)
    rib.learn(peer, says("10.4.1.0/24"))
    rib.leave(peer, [IPV4])
    rib.join(peer, Negotiated(local_asn=64512, peer_asn=64512, peer_id=IPv4Address(7), **change))
    finish(rib)
    assert not rib.routes[IPV4]


def test_a_second_restart_before_the_first_is_over_keeps_what_was_told_since() -> None:
    """RFC 4724 s4.2: what was stale already is removed, or it might be kept for ever."""
    rib, peer = table(), source(7)
    rib.learn(peer, says("10.4.1.0/24", "10.4.2.0/24"))
    rib.leave(peer, [IPV4])
    rib.learn(peer, says("10.4.2.0/24"))
    rib.leave(peer, [IPV4])
    finish(rib)
    assert list(rib.routes[IPV4]) == raw("10.4.2.0/24")


def test_a_refresh_that_is_not_over_is_no_restart() -> None:
    """RFC 7313 s4: until its end all routes of the session are valid; RFC 4724 s4.2 keeps them."""
    rib, peer = table(), source(7)
    rib.learn(peer, says("10.4.1.0/24", "10.4.2.0/24"))
    rib.begin_refresh(peer, IPV4)
    rib.learn(peer, says("10.4.2.0/24"))
    rib.leave(peer, [IPV4])
    finish(rib)
    assert set(rib.routes[IPV4]) == set(raw("10.4.1.0/24", "10.4.2.0/24"))


def test_a_refresh_counts_only_after_the_end_of_rib() -> None:
    """RFC 7313 s4: or its end would end what End-of-RIB is to end, too early."""
    rib, peer = table(), source(7)
    back = Negotiated(
        local_asn=64512, peer_asn=64512, peer_id=IPv4Address(7), forwarding=(IPV4,), restart_time=120
    )
    rib.learn(peer, says("10.4.1.0/24", "10.4.2.0/24"))
    rib.leave(peer, [IPV4])
    rib.join(peer, back)
    rib.begin_refresh(peer, IPV4)
    rib.learn(peer, says("10.4.2.0/24"))
    rib.end_refresh(peer, IPV4)
    finish(rib)
    assert len(rib.routes[IPV4]) == 2
    rib.learn(peer, Reading(end_of_rib=IPV4))
    rib.begin_refresh(peer, IPV4)
    rib.end_refresh(peer, IPV4)
    finish(rib)
    assert not rib.routes[IPV4]
    rib.leave(peer)
    rib.join(peer, attrs.evolve(back, restart_time=None))
    rib.learn(peer, says("10.4.1.0/24"))
    rib.begin_refresh(peer, IPV4)
    rib.end_refresh(peer, IPV4)
    finish(rib)
    assert not rib.routes[IPV4], "who does not promise End-of-RIB is not waited for"


def test_refreshes_that_never_end_give_no_second_share_of_prefixes() -> None:
    """What a session has told counts, stale or not, until it is taken back."""
    rib, peer = table(), source(7, max_prefixes=3)
    rib.learn(peer, says("10.4.1.0/24", "10.4.2.0/24"))
    rib.begin_refresh(peer, IPV4)
    rib.learn(peer, says("10.4.2.0/24", "10.4.3.0/24"))
    assert peer.held[IPV4] == 3
    rib.begin_refresh(peer, IPV4)
    with pytest.raises(Violation, match="RFC 4486 s4"):
        rib.learn(peer, says("10.4.4.0/24"))
    rib.end_refresh(peer, IPV4)
    finish(rib)
    assert peer.held[IPV4] == len(rib.routes[IPV4]) == 1


def test_path_identifiers_may_be_others_after_a_restart() -> None:
    """RFC 7911 s5: what was kept makes room for what the peer says now."""
    rib, peer = table(), source(7)
    for path_id in range(32):
        rib.learn(peer, says("10.4.1.0/24", path_id=path_id))
    rib.leave(peer, [IPV4])
    for path_id in range(100, 140):
        rib.learn(peer, says("10.4.1.0/24", path_id=path_id))
    [prefix] = raw("10.4.1.0/24")
    assert peer.held[IPV4] == 32
    assert {path.path_id for path in rib.entry(IPV4, prefix)} == set(range(100, 132))


def test_a_watch_remembers_what_its_reader_last_saw() -> None:
    """A prefix that changes often, or back, is told of once; one that is announced again as it was, never."""
    rib, peer = table(), source(7)
    rib.learn(peer, says("10.4.1.0/24"))
    watch = rib.watch(IPV4)
    assert watch.take(9) == (raw("10.4.1.0/24"), [None])
    first = rib.entry(IPV4, *raw("10.4.1.0/24"))
    rib.learn(peer, says("10.4.1.0/24"))
    assert not watch.pending
    for med in range(9):
        rib.learn(peer, says("10.4.1.0/24", "10.4.2.0/24", said=attrs.evolve(INSIDE, med=med)))
    rib.learn(peer, takes_back("10.4.1.0/24", "10.4.8.0/24"))
    assert watch.take(1) == (raw("10.4.1.0/24"), [first])
    assert watch.take(9) == (raw("10.4.2.0/24"), [None])
    rib.unwatch(watch)
    rib.learn(peer, says("10.4.3.0/24"))
    assert not watch.pending


def test_a_policy_that_names_prefixes_parts_an_update() -> None:
    """Some of its prefixes are accepted, some changed, some refused."""
    rules = [
        {"match": {"prefixes": ["10.4.1.0/24"]}, "action": "reject"},
        {"match": {"prefixes": ["10.4.2.0/24"]}, "set": {"local_pref": 300}},
    ]
    rib = table()
    peer = source(7, policy=Policy.from_options({"name": "p", "rule": rules, "default": "accept"}))
    prefixes = ["10.4.1.0/24", "10.4.2.0/24", "10.4.3.0/24", "127.0.0.0/8"]
    rib.learn(peer, says(*prefixes))
    paths = [rib.entry(IPV4, each)[0] for each in raw(*prefixes)]
    assert [path.attributes.local_pref for path in paths] == [100, 300, 100, 100]
    assert [path.refused for path in paths] == [
        "policy p: rule 1 rejects",
        "",
        "",
        "the prefix is a martian (RFC 6890)",
    ]
    assert peer.held[IPV4] == 4
