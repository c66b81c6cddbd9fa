"""Our side against a raw peer: what no well-behaved daemon would do."""

from __future__ import annotations

import contextlib
from ipaddress import IPv4Address

import pytest

from tests.waiting import wait_until

from .. import raw
from ..daemons import Daemon
from ..raw import Listener, Raw
from ..topology import Host
from ..values import Neighbour
from .bed import OUR_AS, OURS, THIRD, THIRD_AS, Bed, case, path, start


@case("RFC 4271 s6.5", alone=True)
def a_raw_peer_falls_silent(bed: Bed) -> None:
    """NOTIFICATION 4/0 when its hold time is over."""
    ours, host = bed.against_raw(hold_time=3)
    peer = bed.dial(ours, host)
    peer.establish(THIRD_AS, "10.255.0.9", hold_time=3)
    assert peer.rejected(patience=15) == (4, 0)  # BIRD takes 10 s more if it finds itself busy


@case("RFC 4271 s6.1, s6.2", alone=True)
def broken_openings(bed: Bed) -> None:
    """Each is answered by its code, and the connection ends; a host each, for errors in a row cost time."""
    good = raw.open_message(THIRD_AS, "10.255.0.9", capabilities=raw.usual(THIRD_AS))
    broken = {
        (1, 1): b"\0" + good[1:],
        (1, 2): good[:16] + b"\0\x12" + good[18:],
        (1, 3): raw.message(99),
        (2, 1): good[:19] + b"\x03" + good[20:],
        (2, 2): raw.open_message(64999, "10.255.0.9", capabilities=raw.usual(64999)),
        (2, 3): raw.open_message(THIRD_AS, "0.0.0.0", capabilities=raw.usual(THIRD_AS)),
        (2, 6): raw.open_message(THIRD_AS, "10.255.0.9", hold_time=2, capabilities=raw.usual(THIRD_AS)),
    }
    here, hosts = bed.host(), {expected: bed.host() for expected in broken}
    neighbours = [Neighbour(address=each.address(), asn=THIRD_AS, passive=True) for each in hosts.values()]
    (ours,) = start(bed.daemon(bed.ours, here, OUR_AS, *neighbours))
    for expected, octets in broken.items():
        assert rejection(ours, hosts[expected], octets) == expected


def rejection(ours: Daemon, host: Host, octets: bytes) -> tuple[int, int]:
    """Dial until our side talks to us, say this, and return with which NOTIFICATION it ends the connection."""

    def tried() -> tuple[int, int] | None:
        try:
            with Raw.dial(host, ours.host.address()) as peer:
                peer.wait_for(raw.OPEN)
                peer.send(octets)
                return peer.rejected()
        except (
            OSError,
            raw.Closed,
        ):  # after an error it lets nobody in for a while (RFC 4271 s8.1.1)
            return None

    return wait_until(tried, what="a NOTIFICATION")


@case("RFC 7606 s7.1, s5.3", alone=True)
def broken_updates(bed: Bed) -> None:
    """A bad attribute takes the prefix away and leaves the session; a bad NLRI field ends it with 3/10."""
    ours, host = bed.against_raw()
    peer = bed.dial(ours, host)
    peer.establish(THIRD_AS, "10.255.0.9")
    good = raw.attributes(next_hop=str(host.address()), as_path=(THIRD_AS,))
    kept, hurt = "10.3.1.0/24", "10.3.2.0/24"
    peer.send(raw.update(attributes=good, nlri=raw.nlri(kept, hurt)))
    ours.wait_paths((kept, hurt))
    origin = raw.attribute(raw.WELL_KNOWN, 1, b"\x07")
    peer.send(raw.update(attributes=origin + good[4:], nlri=raw.nlri(hurt)))
    ours.wait_gone(hurt)
    assert ours.wait_path(kept)
    peer.send(raw.update(attributes=good, nlri=b"\x21\x0a\x03\x03\x00\x00"))
    assert peer.rejected() == (3, 10)
    ours.wait_gone(kept)


@case("RFC 4271 s9.1.2", alone=True)
def our_own_as_in_the_path(bed: Bed) -> None:
    """A loop is not held; the prefix after it is."""
    ours, host = bed.against_raw()
    peer = bed.dial(ours, host)
    peer.establish(THIRD_AS, "10.255.0.9")
    for asns, prefix in (((THIRD_AS, OUR_AS), "10.3.1.0/24"), ((THIRD_AS,), THIRD)):
        told = raw.attributes(next_hop=str(host.address()), as_path=asns)
        peer.send(raw.update(attributes=told, nlri=raw.nlri(prefix)))
    ours.wait_path(THIRD)
    assert not [each for each in ours.paths() if str(each.prefix) == "10.3.1.0/24" and each.best]


@case("RFC 6793 s4.2.2", alone=True)
def a_peer_of_two_octets(bed: Bed) -> None:
    """Who knows no 4-octet AS numbers is told AS_TRANS, and the true path beside it in AS4_PATH."""
    ours, host = bed.against_raw()
    peer = bed.dial(ours, host)
    peer.establish(THIRD_AS, "10.255.0.9", capabilities=raw.capability(1, b"\0\1\0\1"))
    ours.announce(path(OURS, as_path=(4200000000,)))
    while raw.nlri(OURS) not in (told := peer.wait_for(raw.UPDATE).body):
        pass
    assert OUR_AS.to_bytes(2) + raw.AS_TRANS.to_bytes(2) in told
    assert OUR_AS.to_bytes(4) + (4200000000).to_bytes(4) in told


@case("RFC 2918", alone=True)
def a_refresh_is_answered(bed: Bed) -> None:
    """Everything is told again."""
    ours, host = bed.against_raw()
    peer = bed.dial(ours, host)
    peer.establish(THIRD_AS, "10.255.0.9")
    ours.announce(path(OURS))
    for _ in range(2):
        while raw.nlri(OURS) not in peer.wait_for(raw.UPDATE).body:
            pass
        peer.send(raw.message(raw.ROUTE_REFRESH, b"\0\1\0\1"))


@case("RFC 4271 s6.8", alone=True)
def a_collision(bed: Bed) -> None:
    """Of two connections that both got as far as OPEN, the one that the higher identifier dialled stays."""
    for router_id, theirs_stays in (("10.255.0.200", True), ("10.0.0.1", False)):
        here, there = bed.host(), bed.host()
        ours = bed.daemon(bed.ours, here, OUR_AS, Neighbour(address=there.address(), asn=THIRD_AS))
        with Listener(there, there.address()) as listener:
            start(ours)
            dialled_by_us = bed.stack.enter_context(listener.accept())
            dialled_by_them = bed.dial(ours, there)
            hello = raw.open_message(THIRD_AS, router_id, hold_time=90, capabilities=raw.usual(THIRD_AS))
            stays, ends = dialled_by_us, dialled_by_them
            if theirs_stays:
                stays, ends = ends, stays
            for each in (ends, stays):
                each.wait_for(raw.OPEN)
                each.send(hello)
            assert ends.rejected() == (6, 7)
            stays.wait_for(raw.KEEPALIVE)
            stays.send(raw.message(raw.KEEPALIVE))
            ours.wait_session(there.address())
        ours.kill()


@case("RFC 9072", ours={"long-parameters"}, alone=True)
def long_parameters(bed: Bed) -> None:
    """An OPEN with the extended length of parameters is understood."""
    ours, host = bed.against_raw()
    peer = bed.dial(ours, host)
    offered = raw.usual(THIRD_AS)
    parameters = b"\x02" + len(offered).to_bytes(2) + offered
    plain = raw.open_message(THIRD_AS, "10.255.0.9", hold_time=0)
    body = plain[19:-1] + b"\xff\xff" + len(parameters).to_bytes(2) + parameters
    peer.send(raw.message(raw.OPEN, body))
    peer.wait_for(raw.KEEPALIVE)
    peer.send(raw.message(raw.KEEPALIVE))
    assert ours.wait_session(host.address()).capabilities >= {"ipv4", "ipv6", "as4"}


@case("RFC 5082", ours={"gtsm"}, alone=True)
def a_packet_from_afar(bed: Bed) -> None:
    """With TTL security what has passed a router is not read; what has not is."""
    here, near, far, anywhere = bed.host(), bed.host(), bed.host(), bed.host()
    neighbours = [
        Neighbour(address=each.address(), asn=THIRD_AS, passive=True, ttl_security=each is not anywhere)
        for each in (near, far, anywhere)
    ]
    (ours,) = start(bed.daemon(bed.ours, here, OUR_AS, *neighbours))
    bed.dial(ours, near, ttl=255).establish(THIRD_AS, "10.255.0.9")
    afar = bed.dial(ours, far, ttl=254)
    afar.wait_for(raw.OPEN)  # what comes before it has accepted and asked for the TTL, its kernel lets pass
    afar.send(raw.open_message(THIRD_AS, "10.255.0.8", capabilities=raw.usual(THIRD_AS)))
    with pytest.raises(TimeoutError):
        afar.wait_for(raw.KEEPALIVE, patience=1)


@case("RFC 5082", ours={"gtsm-at-once"}, alone=True)
def a_call_from_afar(bed: Bed) -> None:
    """Where all neighbours ask for it, not even a connection comes from behind a router."""
    ours, host = bed.against_raw(ttl_security=True)
    with pytest.raises(TimeoutError):
        bed.dial(ours, host, ttl=254, patience=1)
    bed.dial(ours, host, ttl=255).establish(THIRD_AS, "10.255.0.9")


@case("RFC 9687", ours={"send-hold"}, alone=True)
def a_peer_that_takes_nothing(bed: Bed) -> None:
    """One that lives but does not read is left alone, when its time is over; it is told 3 MB."""
    left_alone(*deaf(bed, told=900))


@case("RFC 9687", ours={"send-hold"}, alone=True)
def a_peer_that_takes_nothing_of_little(bed: Bed) -> None:
    """Nor is it waited for where all that it is told fits into our kernel's send buffer: 70 kB."""
    left_alone(*deaf(bed, told=20, buffer=4096))


def deaf(bed: Bed, *, told: int, buffer: int = 0) -> tuple[Daemon, Raw]:
    """Return our side, which announces so many prefixes of 3.6 kB each, and a peer that reads none."""
    ours, host = bed.against_raw(hold_time=3, send_hold_time=4)
    peer = bed.dial(ours, host, buffer=buffer)
    peer.establish(THIRD_AS, "10.255.0.9", hold_time=3)
    for first in range(0, told, 100):
        marks = [frozenset(f"65000:{each}:{at}" for at in range(300)) for each in range(first, told)[:100]]
        ours.announce(*(path(f"10.{first // 100}.{at}.0/24", large=each) for at, each in enumerate(marks)))
        with contextlib.suppress(OSError):  # on a slow machine our side has had enough by now
            peer.send(raw.message(raw.KEEPALIVE))
    return ours, peer


def left_alone(ours: Daemon, peer: Raw) -> None:
    """Let the peer live until our side, or its kernel, has had enough of it."""

    def why() -> str | None:
        with contextlib.suppress(OSError):
            peer.send(raw.message(raw.KEEPALIVE))
        (session,) = ours.sessions().values()
        return session.error if session.state != "established" else None

    error = wait_until(why, what="the session ends", patience=15)
    assert "RFC 9687" in error or "timed out" in error, error


@case("RFC 4456 s8", alone=True)
def reflection_loops(bed: Bed) -> None:
    """What we said ourselves, and what went through our cluster, is not used; what else was reflected is."""
    here, there = bed.host(), bed.host()
    neighbour = Neighbour(address=there.address(), asn=OUR_AS, passive=True, client=True)
    cluster = IPv4Address("10.254.0.1")
    (ours,) = start(bed.daemon(bed.ours, here, OUR_AS, neighbour, cluster_id=cluster))
    peer = bed.dial(ours, there)
    peer.establish(OUR_AS, "10.255.0.9")
    plain = raw.attributes(next_hop=str(there.address()), local_pref=100)
    stranger = IPv4Address("10.255.0.77")
    for originator, clusters, prefix in (
        (ours.speaker.router_id, (stranger,), "10.3.1.0/24"),
        (stranger, (stranger, cluster), "10.3.2.0/24"),
        (stranger, (stranger,), THIRD),
    ):
        reflected = raw.attribute(raw.OPTIONAL, 9, originator.packed)
        reflected += raw.attribute(raw.OPTIONAL, 10, b"".join(each.packed for each in clusters))
        peer.send(raw.update(attributes=plain + reflected, nlri=raw.nlri(prefix)))
    assert ours.wait_path(THIRD).originator_id == stranger
    assert [str(each.prefix) for each in ours.paths() if each.best] == [THIRD]
