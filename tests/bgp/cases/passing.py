"""What a third hears through one side: reflection, transit, and what is kept inside."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

from tests.waiting import wait_until

from ..daemons import Daemon
from ..exabgp import Exabgp
from ..ours import Ours
from ..values import NO_ADVERTISE, NO_EXPORT, Neighbour
from .bed import OUR_AS, OURS, OURS6, THEIR_AS, THEIRS, THIRD, THIRD_AS, Bed, case, path, start


def chain(
    bed: Bed, *, asns: tuple[int, int, int], clients: bool = False, **towards: Any
) -> tuple[Daemon, Daemon, Daemon]:
    """Return our side in the middle, theirs on the left, an observer on the right; asns from left to right."""
    left, here, right = bed.host(), bed.host(), bed.host()
    theirs = bed.daemon(bed.theirs, left, asns[0], Neighbour(address=here.address(), asn=asns[1]))
    ours = bed.daemon(
        bed.ours,
        here,
        asns[1],
        Neighbour(address=left.address(), asn=asns[0], client=clients),
        Neighbour(address=right.address(), asn=asns[2], client=clients, **towards),
        cluster_id=IPv4Address("10.254.0.1") if clients else None,
    )
    observer = bed.daemon(Exabgp, right, asns[2], Neighbour(address=here.address(), asn=asns[1]))
    start(theirs, ours, observer)
    return theirs, ours, observer


@case("RFC 4456", ours={"reflector", "decides"})
def we_reflect(bed: Bed) -> None:
    """A client hears another through us: the next hop kept, the originator and our cluster added."""
    theirs, _, observer = chain(bed, asns=(OUR_AS,) * 3, clients=True)
    theirs.announce(path(THEIRS, med=5, local_pref=150))
    heard = observer.wait_path(THEIRS)
    assert (heard.next_hop, heard.med, heard.local_pref) == (theirs.host.address(), 5, 150)
    assert heard.originator_id == theirs.speaker.router_id
    assert heard.cluster_list == (IPv4Address("10.254.0.1"),)
    observer.announce(path(THIRD))
    assert theirs.wait_path(THIRD).originator_id == observer.speaker.router_id
    theirs.withdraw(THEIRS)
    observer.wait_gone(THEIRS)


@case("RFC 4456", theirs={"reflector", "decides"})
def they_reflect(bed: Bed) -> None:
    """We are a client of theirs and hear another client."""
    here, middle, edge = bed.host(), bed.host(), bed.host()
    clients = [Neighbour(address=each.address(), asn=OUR_AS, client=True) for each in (here, edge)]
    to_middle = Neighbour(address=middle.address(), asn=OUR_AS)
    theirs = bed.daemon(bed.theirs, middle, OUR_AS, *clients, cluster_id=IPv4Address("10.254.0.2"))
    ours = bed.daemon(bed.ours, here, OUR_AS, to_middle)
    other = bed.daemon(Exabgp, edge, OUR_AS, to_middle)
    start(theirs, ours, other)
    other.announce(path(THIRD))
    ours.announce(path(OURS))
    held = ours.wait_path(THIRD)
    assert (held.next_hop, held.originator_id) == (edge.address(), other.speaker.router_id)
    assert held.cluster_list == (IPv4Address("10.254.0.2"),)
    assert other.wait_path(OURS).originator_id == ours.speaker.router_id


@case("RFC 4271 s9.2", ours={"decides"})
def no_reflection_without_clients(bed: Bed) -> None:
    """What is heard within the AS is not told within it; what is heard from outside is."""
    theirs, ours, observer = chain(bed, asns=(OUR_AS,) * 3)
    theirs.announce(path(THEIRS))
    ours.wait_path(THEIRS)
    ours.announce(path(OURS))
    observer.wait_path(OURS)
    assert THEIRS not in {str(each.prefix) for each in observer.paths()}


@case("RFC 4271 s9.1", ours={"decides"})
def transit(bed: Bed) -> None:
    """Between two other systems our AS is in the path, ours is the next hop; LOCAL_PREF stays inside."""
    theirs, _, observer = chain(bed, asns=(THEIR_AS, OUR_AS, THIRD_AS))
    theirs.announce(path(THEIRS, communities=frozenset({"65000:1"}), large=frozenset({"1:2:3"})))
    heard = observer.wait_path(THEIRS)
    assert (heard.as_path, heard.local_pref) == ((OUR_AS, THEIR_AS), None)
    assert heard.communities == {"65000:1"}
    assert heard.large == {"1:2:3"}


@case("RFC 1997", ours={"decides"}, theirs={"observer"})
def communities_that_keep_inside(bed: Bed) -> None:
    """NO_EXPORT does not leave the AS, NO_ADVERTISE goes nowhere; ExaBGP tells us both all the same."""
    theirs, ours, observer = chain(bed, asns=(OUR_AS, OUR_AS, THIRD_AS))
    theirs.announce(
        path("10.2.1.0/24", communities=frozenset({NO_EXPORT})),
        path("10.2.2.0/24", communities=frozenset({NO_ADVERTISE})),
        path(THEIRS),
    )
    ours.wait_paths(("10.2.1.0/24", "10.2.2.0/24", THEIRS))
    observer.wait_path(THEIRS)
    assert {str(each.prefix) for each in observer.paths()} == {THEIRS}


@case("RFC 9012 s2", ours={"tunnels"}, theirs={"reflector", "decides"})
def tunnels_through_them(bed: Bed) -> None:
    """How a host wants its packets arrives at another of ours, through a reflector of theirs."""
    middle, *ends = bed.host(), bed.host(), bed.host()
    clients = [Neighbour(address=each.address(), asn=OUR_AS, client=True) for each in ends]
    theirs = bed.daemon(bed.theirs, middle, OUR_AS, *clients)
    one, other = (
        bed.daemon(bed.ours, each, OUR_AS, Neighbour(address=middle.address(), asn=OUR_AS)) for each in ends
    )
    start(theirs, one, other)
    assert isinstance(one, Ours)
    assert isinstance(other, Ours)
    other.subscribe()
    words: dict[str, str | int] = {"VNI": 4097, "VtepMAC": "02:00:00:00:00:01", "Port": 8472}
    for prefix, version in ((OURS, 4), (OURS6, 6)):
        one.announce_route(prefix, ends[0].address(version), "vxlan", words)
    one.announce_route(THIRD, ends[0].address(), "ipip")
    # The next hop may be changed on the way; the endpoint is not.
    expected = {
        prefix: {"next_hops": [str(ends[0].address(version))], "tunnel": tunnel, "words": said}
        for prefix, version, tunnel, said in (
            (OURS, 4, "vxlan", words),
            (OURS6, 6, "vxlan", words),
            (THIRD, 4, "ipip", {}),
        )
    }
    wait_until(lambda: other.heard()["routes"] == expected, what="the tunnels arrive")


@case("RFC 4271 s5.1.3", ours={"decides"})
def next_hop_self(bed: Bed) -> None:
    """What comes from outside leads through us, for a neighbour that we tell so."""
    theirs, ours, observer = chain(bed, asns=(THEIR_AS, OUR_AS, OUR_AS), next_hop_self=True)
    theirs.announce(path(THEIRS))
    heard = observer.wait_path(THEIRS)
    assert (heard.next_hop, heard.as_path) == (ours.host.address(), (THEIR_AS,))
