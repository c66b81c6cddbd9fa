"""What is told to whom: one example for each rule, and what slow and leaving peers may do."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

import attrs
import pytest

from containernet_backends.bgp import nlri, update
from containernet_backends.bgp.arrival import Judge
from containernet_backends.bgp.attributes import (
    AS_CONFED_SEQUENCE,
    AS_SEQUENCE,
    IGP,
    Attributes,
    Encapsulation,
    Segment,
    Unknown,
)
from containernet_backends.bgp.communities import (
    GRACEFUL_SHUTDOWN,
    NO_ADVERTISE,
    NO_EXPORT,
    NO_EXPORT_SUBCONFED,
)
from containernet_backends.bgp.export import Exports, Member
from containernet_backends.bgp.families import IPV4, IPV6, Family
from containernet_backends.bgp.message import Framer, RouteRefresh
from containernet_backends.bgp.paths import Source
from containernet_backends.bgp.peering import Local, Negotiated
from containernet_backends.bgp.policy import EVERYTHING, NOTHING, Policy
from containernet_backends.bgp.refusal import Ourselves
from containernet_backends.bgp.rib import Table
from containernet_backends.bgp.telling import Terms
from containernet_backends.bgp.update import Announcement, Reading, Withdrawal

US = IPv4Address("192.0.2.1")
ADDRESSES = (US, IPv6Address("2001:db8::1"))
LOCAL = Local(asn=64512, router_id=US, cluster_id=IPv4Address("9.9.9.9"))
INSIDE = Attributes(origin=IGP, next_hop=IPv4Address("192.0.2.7"), local_pref=150, med=5)
OUTSIDE = attrs.evolve(INSIDE, local_pref=None, as_path=(Segment(AS_SEQUENCE, (65001,)),))
PREFIX = nlri.encode(ip_network("10.4.7.0/24"))
SIX = nlri.encode(ip_network("fd00:4::/64"))


def everybody(_: Member) -> bool:
    """Nobody is behind."""
    return True


class Speaker:
    """A table with its exports."""

    def __init__(self, *, batch: int = 4, **changes: Any) -> None:
        ourselves = Ourselves(LOCAL, ADDRESSES)
        self.table = Table(Judge(ourselves=ourselves, local_pref=120), step=4)
        self.exports = Exports(self.table, batch=batch, **changes)

    def peer(
        self, at: int, *, asn: int = 64512, policy: Policy = EVERYTHING, enhanced: bool = False, **terms: Any
    ) -> Member:
        """Return a session that has just come up."""
        identifier = IPv4Address(at)
        families = terms.pop("families", (IPV4, IPV6))
        negotiated = Negotiated(
            local_asn=64512,
            peer_asn=asn,
            peer_id=identifier,
            families=families,
            extended_next_hop=terms.pop("extended_next_hop", ()),
            enhanced_refresh=enhanced,
            tunnels=terms.pop("tunnels", True),
        )
        source = Source(
            address=IPv4Address(0xC0000200 + at),
            asn=asn,
            identifier=identifier,
            external=asn != 64512,
            client=terms.get("client", False),
        )
        addresses = terms.pop("addresses", ADDRESSES)
        member = Member(
            source=source,
            negotiated=negotiated,
            terms=Terms.of(negotiated, addresses=addresses, policy=policy, **terms),
        )
        self.exports.join(member)
        return member

    def hears(
        self, member: Member, *prefixes: nlri.Nlri, said: Attributes = INSIDE, family: Family = IPV4
    ) -> None:
        """Let a peer announce prefixes."""
        reading = Reading((Announcement(family, said, list(prefixes), None),))
        self.table.learn(member.source, reading)

    def forgets(self, member: Member, *prefixes: nlri.Nlri) -> None:
        """Let a peer withdraw prefixes."""
        self.table.learn(member.source, Reading(withdrawn=(Withdrawal(IPV4, list(prefixes), None),)))

    def tells(
        self, ready: Callable[[Member], bool] = everybody, *, most: int = 1000
    ) -> dict[Member, list[Any]]:
        """Return what everybody is told now, in its order: (family, prefix, attributes or None), or an end."""
        told: dict[Member, list[Any]] = {}
        for message, members in self.exports.produce(ready):
            for member in members:
                told.setdefault(member, []).extend(read(message, member))
            most -= 1
            if not most:
                break
        return told


def read(octets: bytes, member: Member) -> list[Any]:
    """Return what a message says to a peer."""
    framer = Framer(4096)
    framer.feed(octets)
    [(kind, body)] = framer
    if kind == 5:
        return [RouteRefresh.decode(body, enhanced=True).subtype]
    ours = attrs.evolve(member.negotiated, local_asn=member.source.asn, peer_asn=64512)
    reading = update.Reader(ours).read(body)
    assert not reading.faults
    if reading.end_of_rib:
        return [reading.end_of_rib]
    gone = [(each.family, raw, None) for each in reading.withdrawn for raw in each.nlri]
    return gone + [(each.family, raw, each.attributes) for each in reading.announced for raw in each.nlri]


def told(
    said: Attributes, *, by: dict[str, Any], to: dict[str, Any], family: Family = IPV4, raw: nlri.Nlri = PREFIX
) -> Attributes | None:
    """Return what one peer hears of what another one says; None: nothing."""
    speaker = Speaker()
    teller, listener = speaker.peer(7, **by), speaker.peer(8, **to)
    speaker.hears(teller, raw, said=said, family=family)
    heard = [each for each in speaker.tells()[listener] if each not in (IPV4, IPV6)]
    assert (heard == []) is (speaker.exports.outcome(listener, family, raw).attributes is None)
    return heard[0][2] if heard else None


INTERNAL: dict[str, Any] = {}
CLIENT = {"client": True}
EXTERNAL = {"asn": 65001}
OTHER = {"asn": 65002}


def test_to_another_as() -> None:
    """RFC 4271 s5: our AS is first, the next hop is ours, and what is meant for inside stays inside."""
    said = attrs.evolve(
        OUTSIDE,
        unknown=(Unknown(0xE0, 99, b"x"),),
        extended=(bytes.fromhex("0002fde900000001"), bytes.fromhex("4002fde900000001")),
    )
    assert told(said, by=EXTERNAL, to=OTHER) == attrs.evolve(
        said,
        as_path=(Segment(AS_SEQUENCE, (64512, 65001)),),
        next_hop=US,
        med=None,
        extended=said.extended[:1],
    )


def test_tunnels_stay_inside_unless_told_otherwise() -> None:
    """RFC 9012 s11: for each external session the attribute is left out by default."""
    said = attrs.evolve(INSIDE, encapsulations=(Encapsulation(7, ((6, bytes(6)),)),))
    for to, there in ((CLIENT, True), (EXTERNAL, True), (EXTERNAL | {"tunnels": False}, False)):
        heard = told(said, by=INTERNAL, to=to)
        assert heard
        assert bool(heard.encapsulations) is there


def test_a_confederation_ends_where_our_as_does() -> None:
    """RFC 5065 s4.1 c: an internal peer may be in one; an external one would take the path for malformed."""
    inside = Segment(AS_CONFED_SEQUENCE, (65100, 65101))
    for path, expected in [((inside,), (64512,)), ((inside, Segment(AS_SEQUENCE, (65001,))), (64512, 65001))]:
        heard = told(attrs.evolve(INSIDE, as_path=path), by=INTERNAL, to=EXTERNAL)
        assert heard
        assert heard.as_path == (Segment(AS_SEQUENCE, expected),)
        reflected = told(attrs.evolve(INSIDE, as_path=path), by=CLIENT, to=INTERNAL)
        assert reflected
        assert reflected.as_path == path


def test_from_outside_to_inside() -> None:
    """RFC 4271 s5.1.5: it gets a LOCAL_PREF; the rest is as it came, MED included."""
    assert told(OUTSIDE, by=EXTERNAL, to=INTERNAL) == attrs.evolve(OUTSIDE, local_pref=120)
    through_us = told(OUTSIDE, by=EXTERNAL, to={"next_hop_self": True})
    assert through_us
    assert through_us.next_hop == US


def test_what_means_something_on_one_link_or_within_one_as_is_not_passed_on() -> None:
    """RFC 2545 s3: a link-local next hop. RFC 4456 s8: who reflected it."""
    said = attrs.evolve(
        INSIDE,
        next_hop=IPv6Address("2001:db8::7"),
        link_local=IPv6Address("fe80::7"),
        cluster_list=(IPv4Address(4),),
        originator_id=IPv4Address(3),
    )
    for to in (CLIENT, OTHER):
        heard = told(said, by=INTERNAL, to=to, family=IPV6, raw=SIX)
        assert heard
        assert heard.link_local is None
    speaker = Speaker()
    teller, listener = speaker.peer(7), speaker.peer(8, asn=65002)
    speaker.hears(teller, SIX, said=said, family=IPV6)
    outcome = speaker.exports.outcome(listener, IPV6, SIX)
    assert outcome.attributes
    assert (outcome.attributes.cluster_list, outcome.attributes.originator_id) == ((), None)


def test_our_address_of_the_routes_own_family_is_the_next_hop() -> None:
    """Also where the peer would take the other."""
    heard = told(OUTSIDE, by=EXTERNAL, to=OTHER | {"extended_next_hop": (IPV4,), "addresses": ADDRESSES[::-1]})
    assert heard
    assert heard.next_hop == US


@pytest.mark.parametrize(
    ("by", "to", "reflected"),
    [(INTERNAL, INTERNAL, False), (CLIENT, INTERNAL, True), (INTERNAL, CLIENT, True), (CLIENT, CLIENT, True)],
)
def test_between_internal_peers(by: dict[str, Any], to: dict[str, Any], reflected: bool) -> None:
    """RFC 4271 s9.2: nothing, unless one is a client (RFC 4456 s6), and then little is changed (s8)."""
    expected = attrs.evolve(INSIDE, originator_id=IPv4Address(7), cluster_list=(IPv4Address("9.9.9.9"),))
    assert told(INSIDE, by=by, to=to | {"next_hop_self": True}) == (expected if reflected else None)


def test_a_reflection_that_is_reflected_again_keeps_its_originator() -> None:
    """RFC 4456 s8: the list grows at its front."""
    said = attrs.evolve(INSIDE, originator_id=IPv4Address(3), cluster_list=(IPv4Address(4),))
    heard = told(said, by=CLIENT, to=CLIENT)
    assert heard
    assert heard.originator_id == IPv4Address(3)
    assert heard.cluster_list == (IPv4Address("9.9.9.9"), IPv4Address(4))


@pytest.mark.parametrize(
    ("community", "outside", "inside"),
    [
        (NO_EXPORT, False, True),
        (NO_EXPORT_SUBCONFED, False, True),
        (NO_ADVERTISE, False, False),
        (7, True, True),
    ],
)
def test_well_known_communities(community: int, outside: bool, inside: bool) -> None:
    """RFC 1997; and what a policy of ours adds is meant for the peer, not for us."""
    said = attrs.evolve(INSIDE, communities=(community,))
    assert bool(told(said, by=INTERNAL, to=EXTERNAL)) is outside
    assert bool(told(said, by=CLIENT, to=CLIENT)) is inside
    adds = Policy.from_options({"name": "p", "rule": [{"set": {"add": ["no-export"]}}]})
    heard = told(INSIDE, by=INTERNAL, to=EXTERNAL | {"policy": adds})
    assert heard
    assert heard.communities == (NO_EXPORT,)


def test_an_export_policy() -> None:
    """It sees a path as it is in the table, and sets what the peer hears; our AS still comes first."""
    rules = [
        {"match": {"prefixes": ["10.4.6.0/24"]}},
        {
            "match": {"prefixes": ["10.4.0.0/16 le 24"], "next_hops": ["192.0.2.7/32"]},
            "set": {"med": 9, "prepend": [64512, 64512], "next_hop_self": True},
        },
    ]
    policy = Policy.from_options({"name": "p", "rule": rules})
    outside = told(OUTSIDE, by=EXTERNAL, to=OTHER | {"policy": policy})
    assert outside
    assert (outside.med, outside.as_path) == (9, (Segment(AS_SEQUENCE, (64512, 64512, 64512, 65001)),))
    inside = told(OUTSIDE, by=EXTERNAL, to={"policy": policy})
    assert inside
    assert inside.next_hop == US
    assert told(OUTSIDE, by=EXTERNAL, to=OTHER | {"policy": NOTHING}) is None


def test_next_hops_of_the_other_family() -> None:
    """RFC 8950: where it was negotiated; or else what has none for the peer is not told."""
    six_only = {"addresses": (IPv6Address("2001:db8::1"),)}
    assert told(OUTSIDE, by=EXTERNAL, to=OTHER | six_only) is None
    heard = told(OUTSIDE, by=EXTERNAL, to=OTHER | six_only | {"extended_next_hop": (IPV4,)})
    assert heard
    assert heard.next_hop == IPv6Address("2001:db8::1")
    over_six = attrs.evolve(OUTSIDE, next_hop=ip_address("2001:db8::7"))
    assert told(over_six, by=EXTERNAL, to=INTERNAL) is None
    sixth = told(over_six, by=EXTERNAL, to=OTHER, family=IPV6, raw=SIX)
    assert sixth
    assert sixth.next_hop == IPv6Address("2001:db8::1")


def test_draining_asks_everybody_to_take_another_way() -> None:
    """RFC 8326: the community for other ASes, and the lowest preference within ours."""
    speaker = Speaker()
    inside, outside = speaker.peer(7), speaker.peer(8, asn=65001)
    speaker.table.originate(IPV4, PREFIX, Attributes(origin=IGP))
    speaker.tells()
    speaker.exports.drain()
    heard = speaker.tells()
    for member, preference in ((inside, 0), (outside, None)):
        [(_, _, said)] = heard[member]
        assert said.communities == (GRACEFUL_SHUTDOWN,)
        assert said.local_pref == preference
    for med in (1, None):
        speaker.table.originate(IPV4, PREFIX, Attributes(origin=IGP, med=med))
    assert speaker.tells() == {}, "once is enough"


def test_a_peer_hears_everything_and_then_that_this_was_all() -> None:
    """RFC 4724 s2, in each family; and later only what changes, once."""
    speaker = Speaker()
    teller = speaker.peer(7, client=True)
    speaker.hears(teller, PREFIX)
    listener = speaker.peer(8, client=True)
    first = speaker.tells()
    assert [each[:2] for each in first[listener] if each != IPV6] == [(IPV4, PREFIX), IPV4]
    assert first[listener].count(IPV6) == 1
    assert first[teller] == [IPV4, IPV6]
    speaker.hears(teller, PREFIX, said=attrs.evolve(INSIDE, med=1))
    speaker.hears(teller, PREFIX)
    assert speaker.tells() == {}, "it is as it was"
    speaker.forgets(teller, PREFIX)
    assert speaker.tells() == {listener: [(IPV4, PREFIX, None)]}


def test_who_becomes_the_best_itself_is_told_that_the_other_is_gone() -> None:
    """What a peer is not told of itself must not leave an older word standing."""
    speaker = Speaker()
    first, second, third = (speaker.peer(at, client=True) for at in (7, 8, 9))
    speaker.hears(first, PREFIX)
    speaker.tells()
    speaker.hears(second, PREFIX, said=attrs.evolve(INSIDE, local_pref=900))
    heard = speaker.tells()
    assert heard[second] == [(IPV4, PREFIX, None)]
    assert heard[first] == heard[third]
    assert heard[first][0][2].local_pref == 900


def test_what_was_never_told_is_not_withdrawn() -> None:
    """It came and went between two tellings."""
    speaker = Speaker()
    teller, _ = speaker.peer(7, client=True), speaker.peer(8, client=True)
    speaker.tells()
    speaker.hears(teller, PREFIX)
    speaker.forgets(teller, PREFIX)
    assert speaker.tells() == {}


def test_a_refresh_tells_everything_again_to_one_peer() -> None:
    """RFC 2918; RFC 7313 s4: between a beginning and an end, where both know it."""
    speaker = Speaker()
    teller, plain, enhanced = speaker.peer(7, client=True), speaker.peer(8), speaker.peer(9, enhanced=True)
    speaker.hears(teller, PREFIX)
    before = speaker.tells()
    assert before[plain] == before[enhanced]
    speaker.exports.refresh(plain, IPV4)
    assert speaker.tells() == {plain: before[plain][:1]}
    speaker.exports.refresh(enhanced, IPV4)
    assert speaker.tells() == {enhanced: [1, before[enhanced][0], 2]}
    speaker.exports.refresh(enhanced, Family(25, 65))
    speaker.hears(teller, PREFIX, said=attrs.evolve(INSIDE, med=1))
    speaker.hears(teller, PREFIX)
    assert speaker.tells() == {}, "that is over: what is as it was is not told again"


def test_a_refresh_begins_after_the_end_of_rib() -> None:
    """RFC 7313 s4: or else its end would be taken for the End-of-RIB, while the rest is still to come."""
    speaker = Speaker(batch=1, deferred=True)
    prefixes = [nlri.encode(ip_network(f"10.{at}.0.0/16")) for at in range(3)]
    speaker.hears(speaker.peer(7, client=True, families=(IPV4,)), *prefixes)
    enhanced, plain = speaker.peer(9, enhanced=True, families=(IPV4,)), speaker.peer(8, families=(IPV4,))
    first = speaker.tells(most=1)
    speaker.exports.refresh(enhanced, IPV4)
    speaker.exports.refresh(plain, IPV4)
    deferred = speaker.tells()
    assert [each[1] for each in first[enhanced] + deferred[enhanced]] == prefixes
    assert [each[1] for each in first[plain] + deferred[plain]] == prefixes * 2, "it knows no marks"
    speaker.exports.begin()
    ended, begins, *again, ends = speaker.tells()[enhanced]
    assert (ended, begins, ends) == (IPV4, 1, 2)
    assert [each[1] for each in again] == prefixes


def test_a_refresh_asked_for_too_early_is_not_forgotten() -> None:
    """It is of the peer that asked, also when that does not keep up with the others."""
    speaker = Speaker(batch=1)
    prefixes = [nlri.encode(ip_network(f"10.{at}.0.0/16")) for at in range(3)]
    speaker.hears(speaker.peer(7, client=True, families=(IPV4,)), *prefixes)
    fast, slow = speaker.peer(8, families=(IPV4,)), speaker.peer(9, families=(IPV4,))
    first = speaker.tells(most=2)
    speaker.exports.refresh(slow, IPV4)
    speaker.tells(lambda member: member is fast)
    heard = [each[1] for each in first[slow] + speaker.tells()[slow] if each != IPV4]
    assert heard == prefixes * 2


def test_nothing_waits_for_a_slow_peer_and_nothing_is_queued_for_it() -> None:
    """It is told the outcome when it reads again, not the history."""
    speaker = Speaker()
    teller, fast, slow = speaker.peer(7, client=True), speaker.peer(8), speaker.peer(9)
    speaker.tells()
    for med in range(5):
        speaker.hears(teller, PREFIX, said=attrs.evolve(INSIDE, med=med))
        assert set(speaker.tells(lambda member: member is not slow)) == {fast}
    [(_, _, said)] = speaker.tells()[slow]
    assert said.med == 4
    speaker.hears(teller, PREFIX)
    [(_, members)] = list(speaker.exports.produce(everybody))
    assert members == [fast, slow], "who has caught up is told in the same octets as the others"


def test_who_stops_in_the_middle_goes_on_there() -> None:
    """A caller that has other things to do loses nothing; who left meanwhile is told nothing."""
    speaker = Speaker(batch=2)
    teller, staying, leaving = speaker.peer(7, client=True), speaker.peer(8), speaker.peer(9)
    speaker.tells()
    prefixes = [nlri.encode(ip_network(f"10.4.{at}.0/24")) for at in range(9)]
    for at, prefix in enumerate(prefixes):
        speaker.hears(teller, prefix, said=attrs.evolve(INSIDE, med=at))
    first = speaker.tells(most=1)
    assert set(first) == {staying, leaving}
    speaker.exports.leave(leaving)
    rest = []
    while heard := speaker.tells(most=1):
        assert set(heard) == {staying}
        rest += heard[staying]
    assert [raw for _, raw, _ in first[staying] + rest] == prefixes


def test_the_last_of_its_kind_may_leave_in_the_middle() -> None:
    """Then nobody is left for the rest."""
    speaker = Speaker(batch=2)
    one, other = speaker.peer(8, families=(IPV4,)), speaker.peer(9, families=(IPV4,), asn=65001)
    speaker.tells()
    for at in range(4):
        speaker.table.originate(
            IPV4, nlri.encode(ip_network(f"10.{at}.0.0/16")), Attributes(origin=IGP, med=at)
        )
    messages = speaker.exports.produce(everybody)
    _, [told_first] = next(messages)
    speaker.exports.leave(told_first)
    left = {one, other} - {told_first}
    assert {member for _, members in messages for member in members} == left


def test_end_of_rib_waits_until_a_restarted_speaker_knows_everything() -> None:
    """RFC 4724 s4.1: who kept what we had told would drop what we have not told again."""
    speaker = Speaker(deferred=True)
    speaker.table.originate(IPV4, PREFIX, Attributes(origin=IGP))
    one = speaker.peer(8, families=(IPV4,))
    assert IPV4 not in speaker.tells()[one]
    other = speaker.peer(9, families=(IPV4,))
    assert IPV4 not in speaker.tells()[other]
    speaker.exports.begin()
    assert speaker.tells() == {one: [IPV4], other: [IPV4]}


def test_what_a_peer_is_told_can_be_asked_with_the_reason() -> None:
    """Without a table of what was told to whom."""
    speaker = Speaker()
    teller, listener, six = speaker.peer(7), speaker.peer(8), speaker.peer(9, families=(IPV6,))
    speaker.hears(teller, PREFIX)
    assert "neither is a client" in speaker.exports.outcome(listener, IPV4, PREFIX).why
    assert "own word" in speaker.exports.outcome(teller, IPV4, PREFIX).why
    assert "not negotiated" in speaker.exports.outcome(six, IPV4, PREFIX).why
    assert "no path" in speaker.exports.outcome(listener, IPV4, b"\x08\x09").why
    assert list(speaker.exports.told(listener, IPV4)) == []
