"""What one side says arrives at the other."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import attrs
import pytest

from tests.waiting import wait_until

from ..daemons import Daemon
from ..exabgp import Exabgp
from ..values import Neighbour
from .bed import OUR_AS, OURS, OURS6, THEIR_AS, THEIRS, THEIRS6, THIRD, THIRD_AS, Bed, case, path, start, up


@case("RFC 4271, RFC 4760, RFC 6793")
def routes_between_systems(bed: Bed) -> None:
    """Each hears the other's prefixes of both families, with its AS in front, and the loss of them."""
    ours, theirs = bed.pair()
    ours.announce(path(OURS, origin="incomplete"), path(OURS6, as_path=(4200000000,)))
    theirs.announce(path(THEIRS), path(THEIRS6))
    heard, heard6 = theirs.wait_path(OURS), theirs.wait_path(OURS6)
    assert (heard.as_path, heard.origin) == ((OUR_AS,), "incomplete")
    assert (heard.next_hop, heard6.next_hop) == (ours.host.address(), ours.host.address(6))
    assert heard6.as_path == (OUR_AS, 4200000000)
    told, told6 = ours.wait_path(THEIRS), ours.wait_path(THEIRS6)
    assert (told.as_path, told.next_hop) == ((THEIR_AS,), theirs.host.address())
    assert (told6.as_path, told6.next_hop) == ((THEIR_AS,), theirs.host.address(6))
    ours.withdraw(OURS)
    theirs.wait_gone(OURS)
    theirs.withdraw(THEIRS6)
    ours.wait_gone(THEIRS6)
    assert theirs.wait_path(OURS6)


@case("RFC 4271, RFC 1997, RFC 4360, RFC 8092")
def every_attribute_within_a_system(bed: Bed) -> None:
    """LOCAL_PREF, MED, path and communities of all kinds arrive as they were announced, both ways."""
    ours, theirs = bed.pair(asns=(OUR_AS, OUR_AS))
    words: dict[str, Any] = {
        "as_path": (4200000000, 65010),
        "med": 7,
        "local_pref": 2147482623,
        "communities": frozenset({"65000:1", "65000:2"}),
        "extended": frozenset({"rt:65000:1"}),
        "large": frozenset({"4200000000:1:4294967295", "1:2:3"}),
    }
    for one, other, prefixes in ((ours, theirs, (OURS, OURS6)), (theirs, ours, (THEIRS, THEIRS6))):
        for each in prefixes:
            told = path(each, **words)
            one.announce(told)
            hop = one.host.address(told.prefix.version)
            expected = attrs.evolve(told, next_hop=hop, source=one.host.address())
            assert attrs.evolve(other.wait_path(each), path_id=None) == expected


@case("RFC 2545, RFC 4760")
def routes_over_ipv6(bed: Bed) -> None:
    """The session itself may be IPv6, and the next hop is then a global address."""
    ours, theirs = bed.pair(version=6, families=(6,))
    ours.announce(path(OURS6))
    theirs.announce(path(THEIRS6))
    assert theirs.wait_path(OURS6).next_hop == ours.host.address(6)
    assert ours.wait_path(THEIRS6).next_hop == theirs.host.address(6)


@case("RFC 8212", ours={"policy"})
def no_policy_no_routes(bed: Bed) -> None:
    """On eBGP without a policy nothing is heard and nothing is said; the session is up all the same."""
    ours, theirs = bed.pair(ours={"policy": False})
    theirs.announce(path(THEIRS))
    ours.announce(path(OURS))
    up(ours, theirs)
    with pytest.raises(AssertionError, match="not within"):
        ours.wait_path(THEIRS, patience=1)
    assert not [each for each in theirs.paths() if each.source]


@case("RFC 8950", both={"extended-next-hop"})
def ipv4_by_ipv6(bed: Bed) -> None:
    """IPv4 prefixes with IPv6 next hops, each way."""
    ours, theirs = bed.pair(version=6, extended_next_hop=True)
    ours.announce(path(OURS, next_hop=ours.host.address(6)))
    theirs.announce(path(THEIRS, next_hop=theirs.host.address(6)))
    assert theirs.wait_path(OURS).next_hop == ours.host.address(6)
    assert ours.wait_path(THEIRS).next_hop == theirs.host.address(6)


MANY = frozenset(f"65000:1:{each}" for each in range(400))


@case("RFC 8654", ours={"long-messages", "many-communities"}, theirs={"long-messages"})
def a_long_message_from_us(bed: Bed) -> None:
    """Attributes of 4,800 octets pass where both can do it; BIRD shows the first of them only."""
    ours, theirs = bed.pair(asns=(OUR_AS, OUR_AS))
    ours.announce(path(OURS, large=MANY))
    assert frozenset() < theirs.wait_path(OURS).large <= MANY


@case("RFC 8654", ours={"long-messages"}, theirs={"long-messages", "many-communities"})
def a_long_message_from_them(bed: Bed) -> None:
    """The same the other way."""
    ours, theirs = bed.pair(asns=(OUR_AS, OUR_AS))
    theirs.announce(path(THEIRS, large=MANY))
    assert frozenset() < ours.wait_path(THEIRS).large <= MANY


@case("RFC 7911", ours={"add-path-receive"}, theirs={"add-path-send"})
def several_paths_of_a_prefix(bed: Bed) -> None:
    """Theirs holds two paths of a prefix and tells us both."""
    here, middle, *edges = (bed.host() for _ in range(4))
    receiving = Neighbour(address=middle.address(), asn=OUR_AS, add_paths="receive")
    ours = bed.daemon(bed.ours, here, OUR_AS, receiving)
    sending = Neighbour(address=here.address(), asn=OUR_AS, add_paths="send", client=True)
    spokes = [Neighbour(address=each.address(), asn=OUR_AS, client=True) for each in edges]
    theirs = bed.daemon(bed.theirs, middle, OUR_AS, sending, *spokes)
    speakers = [
        bed.daemon(Exabgp, each, OUR_AS, Neighbour(address=middle.address(), asn=OUR_AS)) for each in edges
    ]
    start(ours, theirs, *speakers)
    for each in speakers:
        each.announce(path(THIRD))
    hops = {each.address() for each in edges}
    for hop in hops:
        ours.wait_path(THIRD, lambda held, hop=hop: held.next_hop == hop)  # type: ignore[misc]
    held = [each for each in ours.paths() if each.prefix == ip_network(THIRD)]
    assert {each.next_hop for each in held} == hops
    assert len(held) == 2
    speakers[0].withdraw(THIRD)
    wait_until(
        lambda: (
            [each.next_hop for each in ours.paths() if each.prefix == ip_network(THIRD)] == [edges[1].address()]
        ),
        what="one path is left",
    )


@case("RFC 2918", ours={"refresh"})
def we_ask_for_a_refresh(bed: Bed) -> None:
    """We are told everything again."""
    ours, theirs = bed.pair(graceful_restart=60)
    refreshed(asks=ours, tells=theirs, prefixes=[f"10.2.{at}.0/24" for at in range(4)])


@case("RFC 2918", theirs={"refresh"})
def they_ask_for_a_refresh(bed: Bed) -> None:
    """They are."""
    ours, theirs = bed.pair()
    refreshed(asks=theirs, tells=ours, prefixes=[f"10.1.{at}.0/24" for at in range(4)])


def refreshed(*, asks: Daemon, tells: Daemon, prefixes: list[str]) -> None:
    """Let one ask, and see that as many UPDATEs come as there are routes; an End-of-RIB may still come, too."""
    address = tells.host.address()
    tells.announce(*(path(each, as_path=(64600 + at,)) for at, each in enumerate(prefixes)))
    asks.wait_paths(prefixes)
    up(asks, tells)
    before = asks.sessions()[address].told
    asks.refresh(address)
    wait_until(lambda: asks.sessions()[address].told >= before + len(prefixes), what="all was told again")
    assert all(asks.wait_path(each) for each in prefixes)
    up(asks, tells)


@case("RFC 4271 s9.1.2.2, RFC 7938 s5.2.1", ours={"multipath"})
def two_equal_paths(bed: Bed) -> None:
    """Of one prefix by two neighbours both are used; of two unequal ones the shorter alone."""
    here, *edges = bed.host(), bed.host(), bed.host()
    neighbours = [Neighbour(address=each.address(), asn=THEIR_AS) for each in edges]
    ours = bed.daemon(bed.ours, here, OUR_AS, *neighbours, multipath=4)
    back = Neighbour(address=here.address(), asn=OUR_AS)
    both = [bed.daemon(bed.theirs, each, THEIR_AS, back) for each in edges]
    start(ours, *both)
    longer = {both[0]: (), both[1]: (THIRD_AS,)}
    for each in both:
        each.announce(path(THEIRS), path(THIRD, as_path=longer[each]))

    def used(prefix: str) -> set[Any]:
        return {each.next_hop for each in ours.paths() if each.best and str(each.prefix) == prefix}

    def known(prefix: str) -> int:
        return sum(str(each.prefix) == prefix for each in ours.paths())

    wait_until(lambda: known(THEIRS) == known(THIRD) == 2, what="two paths to each")
    assert used(THEIRS) == {each.address() for each in edges}
    assert used(THIRD) == {edges[0].address()}


@case("RFC 4486", ours={"max-prefix"})
def too_many_prefixes(bed: Bed) -> None:
    """Above the limit we end the session, and hold nothing of it."""
    ours, theirs = bed.pair(ours={"max_prefixes": 2})
    theirs.announce(path("10.2.1.0/24"), path("10.2.2.0/24"))
    ours.wait_paths(("10.2.1.0/24", "10.2.2.0/24"))
    for each in ("10.2.3.0/24", "10.2.4.0/24"):  # FRR looks at the limit before it counts
        theirs.announce(path(each))
    ours.wait_down(theirs.host.address())
    ours.wait_gone("10.2.1.0/24")


@case("RFC 4486", theirs={"max-prefix"})
def too_many_for_them(bed: Bed) -> None:
    """Above their limit they end the session, and we say why."""
    ours, theirs = bed.pair(theirs={"max_prefixes": 2})
    ours.announce(path("10.1.1.0/24"), path("10.1.2.0/24"))
    theirs.wait_paths(("10.1.1.0/24", "10.1.2.0/24"))
    for each in ("10.1.3.0/24", "10.1.4.0/24"):
        ours.announce(path(each))
    wait_until(
        lambda: (
            "maximum number of prefixes" in (ours.sessions()[theirs.host.address()].error + ours.log()).lower()
        ),
        what="we are told that it is too much",
    )
