"""Who dials whom, and how a session travels."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_network

import pytest

from tests.waiting import wait_until

from ..daemons import Daemon
from ..raw import AS_TRANS
from ..topology import NIC
from ..values import Neighbour, Range
from .bed import OUR_AS, OURS, THEIR_AS, THEIRS, THEIRS6, Bed, case, path, start, up


@case("RFC 4271 s6.8")
def two_dials_that_cross(bed: Bed) -> None:
    """Each has dialled, and was called before it looks: one of the two connections stays, for both the same."""
    hosts = bed.host(), bed.host()
    ours, theirs = (
        bed.daemon(kind, here, asn, Neighbour(address=there.address(), asn=far))
        for kind, here, there, asn, far in zip(
            (bed.ours, bed.theirs), hosts, reversed(hosts), (OUR_AS, THEIR_AS), (THEIR_AS, OUR_AS), strict=True
        )
    )
    for here, there in (hosts, hosts[::-1]):  # or the kernel finds out that nobody is there
        here.netns.ip(f"neighbour add {there.address()} lladdr {there.mac} dev {NIC} nud permanent")
    bed.segment.cut(hosts[0])
    start(ours, theirs)
    freeze_while_both_dial(ours, theirs)
    bed.segment.mend(hosts[0])
    wait_until(lambda: len(sockets(ours, "established")) == 2, what="two connections")
    ours.thaw()
    theirs.thaw()
    up(ours, theirs)
    ours.announce(path(OURS))
    theirs.announce(path(THEIRS))
    assert theirs.wait_path(OURS)
    assert ours.wait_path(THEIRS)
    wait_until(lambda: len(sockets(ours, "established")) == 1, what="one connection")


def freeze_while_both_dial(*both: Daemon) -> None:
    """Stop two daemons that are cut off from each other at a moment at which each waits for an answer."""

    def frozen() -> bool:
        for each in both:
            wait_until(lambda each=each: sockets(each, "syn-sent"), what=f"{each} dials")  # type: ignore[misc]
            each.freeze()
        dialling = all(sockets(each, "syn-sent") for each in both)
        for each in () if dialling else both:
            each.thaw()
        return dialling

    wait_until(frozen, what="both dial")


def sockets(daemon: Daemon, state: str) -> list[str]:
    """Return the TCP sockets of a daemon's host that are in a state of ss(8)."""
    return daemon.host.netns.run("ss", "-Htn", "state", state).splitlines()


@case("RFC 4271 s8.1.1", ours={"passive"})
def only_they_dial(bed: Bed) -> None:
    """A passive speaker waits for the other."""
    up(*bed.pair(ours={"passive": True}))


@case("RFC 4271 s8.1.1", theirs={"passive"})
def only_we_dial(bed: Bed) -> None:
    """A speaker dials one that is passive."""
    up(*bed.pair(theirs={"passive": True}))


@case("", ours={"range"})
def a_neighbour_out_of_a_range(bed: Bed) -> None:
    """Who calls from the range is let in, and forgotten when it has gone."""
    here, there = bed.host(), bed.host()
    like = Neighbour(address=there.address(), asn=THEIR_AS, local_address=here.address())
    ours = bed.daemon(bed.ours, here, OUR_AS, ranges=(Range(prefix=ip_network("192.0.2.0/24"), like=like),))
    theirs = bed.daemon(bed.theirs, there, THEIR_AS, Neighbour(address=here.address(), asn=OUR_AS))
    start(ours, theirs)
    theirs.announce(path(THEIRS))
    assert ours.wait_path(THEIRS).source == there.address()
    theirs.kill()
    ours.wait_gone(THEIRS)


@case("RFC 2385", both={"password"})
def a_password(bed: Bed) -> None:
    """With the same password on both sides the session comes up, over either IP."""
    for version in (4, 6):
        up(*bed.pair(password="secret", version=version), version=version)


@case("RFC 2385", ours={"password"}, theirs={"password", "passive"})
def a_wrong_password(bed: Bed) -> None:
    """With different ones nothing does; a second later it is still so."""
    ours, theirs = bed.pair(ours={"password": "right"}, theirs={"password": "wrong"})
    with pytest.raises(AssertionError, match="not within"):
        ours.wait_session(theirs.host.address(), patience=1.5)


@case("RFC 5082", both={"gtsm"})
def ttl_security(bed: Bed) -> None:
    """Both send with TTL 255 and take nothing less; over IPv6 it is called a hop limit."""
    for version in (4, 6):
        ours, theirs = bed.pair(ttl_security=True, version=version)
        theirs.announce(path(THEIRS if version == 4 else THEIRS6))
        assert ours.wait_path(THEIRS if version == 4 else THEIRS6)
        up(ours, theirs, version=version)


@case("", both={"multihop"})
def over_a_loopback(bed: Bed) -> None:
    """Between addresses that are not of the wire, eBGP too."""
    hosts = bed.host(), bed.host()
    loopbacks = "198.51.100.1", "198.51.100.2"
    made = []
    for at, (kind, here) in enumerate(zip((bed.ours, bed.theirs), hosts, strict=True)):
        here.netns.ip(f"address add {loopbacks[at]}/32 dev lo")
        here.netns.ip(f"route add {loopbacks[1 - at]} via {hosts[1 - at].address()}")
        neighbour = Neighbour(
            address=IPv4Address(loopbacks[1 - at]),
            local_address=IPv4Address(loopbacks[at]),
            asn=(THEIR_AS, OUR_AS)[at],
            multihop=2,
        )
        made.append(bed.daemon(kind, here, (OUR_AS, THEIR_AS)[at], neighbour))
    ours, theirs = start(*made)
    ours.wait_session(IPv4Address(loopbacks[1]))
    theirs.wait_session(IPv4Address(loopbacks[0]))


@case("RFC 6286 s2.2", both={"same-identifier"})
def one_identifier_in_two_systems(bed: Bed) -> None:
    """A BGP Identifier need be the only one in its AS alone."""
    up(*bed.pair(router_ids=("10.255.0.1", "10.255.0.1")))


@case("RFC 6793 s4.2", theirs={"two-octets"})
def a_neighbour_of_two_octets(bed: Bed) -> None:
    """What AS numbers of two octets have no room for passes in AS4_PATH, both ways."""
    ours, theirs = bed.pair(asns=(OUR_AS, 65002), theirs={"as4": False})
    long = 4200000000
    ours.announce(path(OURS, as_path=(long,)))
    theirs.announce(path(THEIRS, as_path=(long, 65010)))
    assert ours.wait_path(THEIRS).as_path == (65002, long, 65010)
    assert theirs.wait_path(OURS).as_path in {(OUR_AS, long), (OUR_AS, AS_TRANS)}
