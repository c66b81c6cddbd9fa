"""What we offer, what is agreed on, and which OPENs are refused."""

from __future__ import annotations

from ipaddress import IPv4Address

import attrs
import pytest

from containernet_backends.bgp import notification as n
from containernet_backends.bgp.as_paths import AS_TRANS
from containernet_backends.bgp.capabilities import Capabilities, Restart, negotiate, offer
from containernet_backends.bgp.families import FAMILIES, IPV4, IPV6, Family
from containernet_backends.bgp.message import Capability, Open
from containernet_backends.bgp.notification import Violation
from containernet_backends.bgp.peering import Local, Peer

LOCAL = Local(asn=65000, router_id=IPv4Address("192.0.2.1"))
OTHER = Local(asn=65001, router_id=IPv4Address("192.0.2.2"), hostname="leaf")
PEER = Peer(address=IPv4Address("192.0.2.2"))


def said(**changes: object) -> Open:
    """Return the other one's OPEN, with other capabilities."""
    offered = Capabilities.decode(offer(OTHER, PEER).capabilities)
    changed = attrs.evolve(offered, **changes)  # type: ignore[arg-type]
    return attrs.evolve(offer(OTHER, PEER), capabilities=changed.encode())


def test_what_we_offer() -> None:
    """The list that data-centre peers expect, in the order of the codes."""
    codes = [each.code for each in offer(LOCAL, attrs.evolve(PEER, add_paths=(IPV4,))).capabilities]
    assert codes == [1, 1, 2, 5, 6, 64, 65, 69, 70]
    few = attrs.evolve(
        PEER, families=(IPV6,), extended_next_hop=False, extended_messages=False, graceful_restart=False
    )
    assert [each.code for each in offer(LOCAL, few).capabilities] == [1, 2, 65, 70]


def test_two_of_us_agree_on_everything() -> None:
    """What both offer is what is negotiated."""
    agreed = negotiate(LOCAL, PEER, offer(OTHER, PEER))
    assert (agreed.local_asn, agreed.peer_asn, agreed.peer_id) == (65000, 65001, OTHER.router_id)
    assert (agreed.hold_time, agreed.families, agreed.hostname) == (9, FAMILIES, "leaf")
    assert agreed.as4
    assert agreed.extended_messages
    assert agreed.route_refresh
    assert agreed.enhanced_refresh
    assert agreed.extended_next_hop == (IPV4,)
    assert (agreed.restart_time, agreed.restartable, agreed.forwarding) == (120, FAMILIES, FAMILIES)
    assert agreed.notification_restart
    assert agreed.external


def test_a_speaker_from_before_capabilities() -> None:
    """RFC 4760 s8, RFC 6793 s4: IPv4 unicast, 2-octet AS numbers, and nothing else."""
    agreed = negotiate(LOCAL, PEER, Open(asn=65001, hold_time=180, router_id=OTHER.router_id))
    assert (agreed.families, agreed.hold_time) == ((IPV4,), 9)
    others = (agreed.as4, agreed.extended_messages, agreed.route_refresh, agreed.extended_next_hop)
    assert (*others, agreed.restart_time) == (False, False, False, (), None)


def test_an_as_number_of_four_octets() -> None:
    """RFC 6793 s4.1: AS_TRANS where there is room for two."""
    big = attrs.evolve(OTHER, asn=4_200_000_000)
    assert offer(big, PEER).asn == AS_TRANS
    assert negotiate(LOCAL, PEER, offer(big, PEER)).peer_asn == 4_200_000_000


@pytest.mark.parametrize(("theirs", "ours", "agreed"), [(0, 9, 0), (3, 9, 3), (240, 9, 9), (240, 0, 0)])
def test_the_lower_hold_time_counts(theirs: int, ours: int, agreed: int) -> None:
    """RFC 4271 s4.2; zero is the lowest, and means none."""
    opened = attrs.evolve(offer(OTHER, PEER), hold_time=theirs)
    assert negotiate(LOCAL, attrs.evolve(PEER, hold_time=ours), opened).hold_time == agreed


def test_paths_are_received_where_one_offers_to_send_and_the_other_to_receive() -> None:
    """RFC 7911 s4."""
    both = attrs.evolve(PEER, add_paths=FAMILIES)
    sends = said(paths=((IPV4, 3), (IPV6, 1), (Family(25, 70), 2)))
    assert negotiate(LOCAL, both, sends).receives_paths == (IPV4,)
    assert negotiate(LOCAL, PEER, sends).receives_paths == ()


def test_a_restart_is_for_families_of_both() -> None:
    """RFC 4724 s4.2."""
    restart = Restart(seconds=30, restarted=True, families=((IPV6, True), (Family(25, 70), True)))
    agreed = negotiate(LOCAL, PEER, said(restart=restart))
    assert (agreed.restart_time, agreed.restartable, agreed.forwarding) == (30, (IPV6,), (IPV6,))
    assert agreed.restarting
    assert not agreed.notification_restart
    assert (
        negotiate(LOCAL, attrs.evolve(PEER, graceful_restart=False), said(restart=restart)).restart_time is None
    )


def test_a_restart_is_offered_only_for_families_that_the_peer_has() -> None:
    """Regression of others: one that has only IPv4 waited six minutes for the End-of-RIB of IPv6."""
    theirs = said(families=(IPV4,))
    restart = Capabilities.decode(offer(LOCAL, PEER, theirs=theirs).capabilities).restart
    assert restart is not None
    assert [family for family, _ in restart.families] == [IPV4]


def test_the_bits_of_a_restart() -> None:
    """RFC 4724 s3, RFC 8538 s2: R, N and F."""
    back = attrs.evolve(LOCAL, restarting=True, restart_time=90)
    (value,) = (each.value for each in offer(back, PEER).capabilities if each.code == 64)
    assert value == bytes.fromhex("c05a 0001 01 80 0002 01 80")
    helper = attrs.evolve(LOCAL, restart_time=0)
    assert Capability(64, bytes.fromhex("4000")) in offer(helper, PEER).capabilities


REFUSED = {
    "AS 0, RFC 7607": (attrs.evolve(offer(OTHER, PEER), asn=0), n.BAD_PEER_AS),
    "AS 0 in four octets, RFC 7607": (said(as4=0), n.BAD_PEER_AS),
    "AS_TRANS alone, RFC 6793 s9": (
        Open(asn=AS_TRANS, hold_time=9, router_id=OTHER.router_id),
        n.BAD_PEER_AS,
    ),
    "two AS numbers, RFC 6793 s4.1": (said(as4=65002), n.BAD_PEER_AS),
    "hold time 2 s, RFC 4271 s6.2": (attrs.evolve(offer(OTHER, PEER), hold_time=2), n.UNACCEPTABLE_HOLD_TIME),
    "identifier 0.0.0.0, RFC 6286": (
        attrs.evolve(offer(OTHER, PEER), router_id=IPv4Address(0)),
        n.BAD_IDENTIFIER,
    ),
    "our own identifier within our AS, RFC 6286": (offer(LOCAL, PEER), n.BAD_IDENTIFIER),
    "no common family, RFC 5492 s5": (said(families=(Family(25, 70),)), n.UNSUPPORTED_CAPABILITY),
    "a multiprotocol capability of three octets": (
        attrs.evolve(offer(OTHER, PEER), capabilities=(Capability(1, bytes(3)),)),
        0,
    ),
    "a 4-octet AS number of two": (
        attrs.evolve(offer(OTHER, PEER), capabilities=(Capability(65, bytes(2)),)),
        0,
    ),
}


@pytest.mark.parametrize(("opened", "subcode"), REFUSED.values(), ids=REFUSED)
def test_opens_that_are_refused(opened: Open, subcode: int) -> None:
    """RFC 4271 s6.2."""
    with pytest.raises(Violation) as caught:
        negotiate(LOCAL, PEER, opened)
    assert (caught.value.code, caught.value.subcode) == (2, subcode)
    assert str(caught.value)


def test_an_external_peer_is_of_another_as() -> None:
    """RFC 4271 s6.2: or it would be believed as one of ours, and told as one."""
    anybody = attrs.evolve(PEER, external=True)
    outside = negotiate(LOCAL, anybody, offer(attrs.evolve(OTHER, asn=65002), PEER))
    ours = attrs.evolve(OTHER, asn=LOCAL.asn)
    inside = negotiate(LOCAL, PEER, offer(ours, PEER))
    assert (outside.external, inside.external) == (True, False)
    assert (outside.tunnels, inside.tunnels) == (False, True), "RFC 9012 s11"
    with pytest.raises(Violation, match="expected another") as caught:
        negotiate(LOCAL, anybody, offer(ours, PEER))
    assert (caught.value.code, caught.value.subcode) == (2, n.BAD_PEER_AS)


def test_the_as_that_was_configured_is_demanded() -> None:
    """RFC 4271 s6.2; 0 is anybody's."""
    negotiate(LOCAL, attrs.evolve(PEER, asn=65001), offer(OTHER, PEER))
    with pytest.raises(Violation, match="it is of AS 65001, expected AS 65002"):
        negotiate(LOCAL, attrs.evolve(PEER, asn=65002), offer(OTHER, PEER))


def test_what_was_needed_is_in_the_answer() -> None:
    """RFC 5492 s5: as capabilities, the way an OPEN has them."""
    with pytest.raises(Violation) as caught:
        negotiate(LOCAL, attrs.evolve(PEER, families=(IPV6,)), said(families=(IPV4,)))
    assert caught.value.data == bytes.fromhex("01 04 0002 00 01")


def test_an_identifier_of_another_as_may_be_ours() -> None:
    """RFC 6286 s2.1: it is unique within an AS."""
    twin = attrs.evolve(OTHER, router_id=LOCAL.router_id)
    assert negotiate(LOCAL, PEER, offer(twin, PEER)).peer_id == LOCAL.router_id


def test_what_does_not_parse_is_kept_and_means_nothing() -> None:
    """RFC 7911 s4 asks for it, and no session is worth less for a wrong hostname."""
    odd = (
        Capability(2, b"x"),
        Capability(5, bytes(5)),
        Capability(64, bytes(3)),
        Capability(69, bytes(3)),
        Capability(73, b"\x09a"),
        Capability(73, b"\x02a\n\x00"),
        Capability(9, b"\x00"),
    )
    assert Capabilities.decode(odd) == Capabilities(unknown=odd)


def test_the_last_restart_and_the_last_mode_count() -> None:
    """RFC 4724 s3; RFC 7911 s4: a mode that does not exist is not counted."""
    both = [Capability(64, bytes.fromhex("0001")), Capability(64, bytes.fromhex("8002"))]
    restart = Capabilities.decode(both).restart
    assert restart == Restart(seconds=2, restarted=True)
    assert Capabilities.decode([Capability(69, bytes.fromhex("00010102 00010104"))]).paths == ((IPV4, 2),)
