"""What a speaker of ours must be able to do with a daemon of others, a case each, from the list of standards.

A case is a function of a `Bed`, which knows our side's class and theirs. Our side is whatever has the
interface of `Daemon`, so the cases are proved with two real daemons before there is a speaker of ours. What a
class cannot do is missing in its `abilities`, and a case says which it needs of which side; so nothing is
skipped, and what is not played is not in the table.

`ALONE` are cases of our side against a raw peer: what no well-behaved daemon would do.
"""

from __future__ import annotations

import contextlib
import itertools
import tempfile
from collections.abc import Callable, Iterator, Set as AbstractSet
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address, ip_network
from pathlib import Path as File
from typing import Any

import attrs
import pytest

from tests.waiting import wait_until

from . import calico, raw
from .daemons import Daemon
from .exabgp import Exabgp
from .frr import Frr
from .ours import Ours
from .raw import Listener, Raw
from .topology import Host, Segment
from .values import GRACEFUL_SHUTDOWN, NO_ADVERTISE, NO_EXPORT, Neighbour, Path, Range, Speaker

# What a class may have in its `abilities`.
ABILITIES = {
    "calico": "is a Calico node",
    "add-path-receive": "RFC 7911, told several paths of a prefix",
    "add-path-send": "RFC 7911, telling them",
    "decides": "holds a table, and passes on what is best in it (RFC 4271 s9)",
    "extended-next-hop": "RFC 8950",
    "drain": "RFC 8326, asking others to take another way",
    "gtsm": "RFC 5082",
    "gtsm-at-once": "RFC 5082, from the first packet on",
    "long-messages": "RFC 8654",
    "many-communities": "can announce hundreds on one prefix",
    "max-prefix": "ends a session that tells too much (RFC 4486: Cease/1)",
    "long-parameters": "RFC 9072",
    "multihop": "eBGP over routers",
    "multipath": "uses several paths of equal cost",
    "notification-restart": "RFC 8538",
    "observer": "shows what was on the wire",
    "passive": "waits to be dialled",
    "password": "RFC 2385",
    "policy": "without a policy nothing passes on eBGP (RFC 8212), by configuration or by itself",
    "range": "takes neighbours that it does not know",
    "reflector": "RFC 4456",
    "refresh": "RFC 2918",
    "restart": "RFC 4724, as the one who restarts and as the one who waits",
    "route-origin": "can announce RFC 4360's Route Origin",
    "same-identifier": "RFC 6286: one BGP Identifier in two ASes",
    "send-hold": "RFC 9687",
    "shutdown-message": "RFC 9003",
    "tunnels": "RFC 9012",
}

OUR_AS, THEIR_AS, THIRD_AS = 65001, 4200000002, 65003
OURS, THEIRS, THIRD = "10.1.0.0/24", "10.2.0.0/24", "10.3.0.0/24"
OURS6, THEIRS6 = "2001:db8:1::/64", "2001:db8:2::/64"


@attrs.frozen(kw_only=True, eq=False)
class Bed:
    """A wire of its own for one case, and the two sides that it is played with.

    Args:
        ours, theirs: the classes of both sides.
        segment: the wire.
        stack: ends everything.
    """

    ours: type[Daemon]
    theirs: type[Daemon]
    segment: Segment
    stack: ExitStack
    _numbers: Iterator[int] = attrs.field(factory=lambda: itertools.count(1))

    def host(self) -> Host:
        """Plug a further host in, with an address of each family."""
        number = next(self._numbers)
        addresses = f"192.0.2.{number}/24", f"2001:db8::{number}/64"
        return self.segment.host(f"h{number}", *addresses, link_local=self.link_local)

    @property
    def link_local(self) -> bool:
        """Whether the hosts have link-local addresses: bgpd without zebra refuses what is told with one."""
        return Frr not in {self.ours, self.theirs}

    def daemon(self, kind: type[Daemon], host: Host, asn: int, *neighbours: Neighbour, **more: Any) -> Daemon:
        """Make a daemon on a host; its BGP Identifier is like no address. Not started yet."""
        kind.needed()
        directory = File(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="bgp-")))
        more.setdefault("router_id", IPv4Address("10.255.0.0") + int(host.address()) % 256)
        speaker = Speaker(asn=asn, neighbours=neighbours, **more)
        return self.stack.enter_context(kind(host, speaker, directory))

    def pair(
        self,
        *,
        asns: tuple[int, int] = (OUR_AS, THEIR_AS),
        ours: dict[str, Any] | None = None,
        theirs: dict[str, Any] | None = None,
        version: int = 4,
        router_ids: tuple[str, str] = ("10.255.0.1", "10.255.0.2"),
        **both: Any,
    ) -> tuple[Daemon, Daemon]:
        """Return both sides, started, each the other's neighbour.

        Args:
            asns: of ours and theirs.
            ours, theirs, both: `Neighbour`'s arguments, as one side or both have the other configured.
            version: over which IP they speak.
        """
        hosts = self.host(), self.host()
        made = []
        for kind, here, there, at, own in zip(
            (self.ours, self.theirs), hosts, reversed(hosts), (0, 1), (ours, theirs), strict=True
        ):
            words = {"address": there.address(version), "asn": asns[1 - at], **both, **(own or {})}
            router_id = IPv4Address(router_ids[at])
            made.append(self.daemon(kind, here, asns[at], Neighbour(**words), router_id=router_id))
        return start(*made)[0], made[1]

    def against_raw(self, **words: Any) -> tuple[Daemon, Host]:
        """Return our side, started and waiting to be dialled, and the host of a raw peer of another AS."""
        here, there = self.host(), self.host()
        neighbour = Neighbour(**{"address": there.address(), "asn": THIRD_AS, "passive": True, **words})
        (made,) = start(self.daemon(self.ours, here, OUR_AS, neighbour))
        return made, there

    def dial(self, ours: Daemon, host: Host, **words: Any) -> Raw:
        """Dial our side from a raw peer's host."""
        return self.stack.enter_context(Raw.dial(host, ours.host.address(), **words))


@attrs.frozen(kw_only=True)
class Case:
    """One thing that has to work.

    Args:
        name: a word. rfc: where it is demanded.
        play: does it, and fails where it does not work.
        ours, theirs: which abilities it needs of each side.
        alone: it is played by our side and a raw peer.
    """

    name: str
    rfc: str
    play: Callable[[Bed], None]
    ours: frozenset[str]
    theirs: frozenset[str]
    alone: bool = False

    def fits(self, ours: type[Daemon], theirs: type[Daemon]) -> bool:
        """Return whether these two can play it."""
        return self.ours <= ours.abilities and (self.alone or self.theirs <= theirs.abilities)


def case(
    rfc: str,
    *,
    both: AbstractSet[str] = frozenset(),
    ours: AbstractSet[str] = frozenset(),
    theirs: AbstractSet[str] = frozenset(),
    alone: bool = False,
) -> Callable[[Callable[[Bed], None]], Case]:
    """Make a case of a function."""

    def made(play: Callable[[Bed], None]) -> Case:
        return Case(
            name=play.__name__,
            rfc=rfc,
            play=play,
            ours=frozenset(both | ours),
            theirs=frozenset(both | theirs),
            alone=alone,
        )

    return made


def played(wanted: Case, ours: type[Daemon], theirs: type[Daemon]) -> None:
    """Play a case on a wire of its own; may be called from several threads at once."""
    with bed(ours, theirs) as made:
        wanted.play(made)


@contextmanager
def bed(ours: type[Daemon], theirs: type[Daemon]) -> Iterator[Bed]:
    """Return a bed that ends with the block."""
    with ExitStack() as stack:
        segment = stack.enter_context(Segment())
        yield Bed(ours=ours, theirs=theirs, segment=segment, stack=stack)


def start(*daemons: Daemon) -> tuple[Daemon, ...]:
    """Start daemons side by side; return them when all of them answer."""
    for each in daemons:
        each.start(wait=False)
    for each in daemons:
        each.wait()
    return daemons


def path(prefix: str, **words: Any) -> Path:
    """Return a path to be announced."""
    return Path(prefix=ip_network(prefix), **words)


def up(one: Daemon, other: Daemon, *, version: int = 4) -> None:
    """Wait until both sides say that their session is up."""
    one.wait_session(other.host.address(version))
    other.wait_session(one.host.address(version))


# Sessions and routes.


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


@case("RFC 4271 s6.8", theirs={"decides"})
def both_dial(bed: Bed) -> None:
    """Cut off from each other both dial; when the wire is back, one session comes up and stays."""
    hosts = bed.host(), bed.host()
    made = [
        bed.daemon(kind, here, asn, Neighbour(address=there.address(), asn=far))
        for kind, here, there, asn, far in zip(
            (bed.ours, bed.theirs), hosts, reversed(hosts), (OUR_AS, THEIR_AS), (THEIR_AS, OUR_AS), strict=True
        )
    ]
    bed.segment.cut(hosts[0])
    ours, theirs = start(*made)
    ours.announce(path(OURS))
    theirs.announce(path(THEIRS))
    bed.segment.mend(hosts[0])
    assert theirs.wait_path(OURS)
    assert ours.wait_path(THEIRS)
    up(ours, theirs)


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
    """With the same password on both sides the session comes up."""
    up(*bed.pair(password="secret"))


@case("RFC 2385", ours={"password"}, theirs={"password", "passive"})
def a_wrong_password(bed: Bed) -> None:
    """With different ones nothing does; a second later it is still so."""
    ours, theirs = bed.pair(ours={"password": "right"}, theirs={"password": "wrong"})
    with pytest.raises(AssertionError, match="not within"):
        ours.wait_session(theirs.host.address(), patience=1.5)


@case("RFC 5082", both={"gtsm"})
def ttl_security(bed: Bed) -> None:
    """Both send with TTL 255 and take nothing less."""
    ours, theirs = bed.pair(ttl_security=True)
    theirs.announce(path(THEIRS))
    assert ours.wait_path(THEIRS)
    up(ours, theirs)


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


# Reflection and what is passed on.


def chain(bed: Bed, *, asns: tuple[int, int, int], clients: bool = False) -> tuple[Daemon, Daemon, Daemon]:
    """Return our side in the middle, theirs on the left, an observer on the right; asns from left to right."""
    left, here, right = bed.host(), bed.host(), bed.host()
    theirs = bed.daemon(bed.theirs, left, asns[0], Neighbour(address=here.address(), asn=asns[1]))
    ours = bed.daemon(
        bed.ours,
        here,
        asns[1],
        Neighbour(address=left.address(), asn=asns[0], client=clients),
        Neighbour(address=right.address(), asn=asns[2], client=clients),
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


@case("RFC 2918", ours={"refresh"})
def we_ask_for_a_refresh(bed: Bed) -> None:
    """An observer sees the request, and we still hold what it tells again."""
    ours, theirs = bed.pair()
    theirs.announce(path(THEIRS))
    ours.wait_path(THEIRS)
    ours.refresh(theirs.host.address())
    if isinstance(theirs, Exabgp):
        wait_until(
            lambda: any(each.type == raw.ROUTE_REFRESH for each in theirs.packets()),
            what="a ROUTE-REFRESH came",
        )
    assert ours.wait_path(THEIRS)
    up(ours, theirs)


# A Calico node.


@case("Calico's confd templates", theirs={"calico"})
def a_calico_node(bed: Bed) -> None:
    """Its block arrives with its preference, ours gets into its kernel, as a route of the wire."""
    here, there = bed.host(), bed.host()
    ours = bed.daemon(bed.ours, here, calico.AS, Neighbour(address=there.address(), asn=calico.AS))
    us = calico.towards(Neighbour(address=here.address(), asn=calico.AS, families=(4,)))
    theirs = bed.daemon(bed.theirs, there, calico.AS, us)
    start(ours, theirs)
    theirs.announce(path("10.2.0.64/26"), path("203.0.113.0/24"))
    held = ours.wait_path("10.2.0.64/26")
    assert (held.local_pref, held.next_hop) == (calico.LOCAL_PREF, there.address())
    ours.announce(path(OURS, local_pref=calico.LOCAL_PREF))
    theirs.wait_path(OURS)
    told = wait_until(lambda: there.netns.ip(f"route show {OURS}"), what=f"{OURS} is in the node's kernel")
    assert told.startswith(f"{OURS} via {here.address()} dev eth0 proto bird")
    assert "203.0.113.0/24" not in {str(each.prefix) for each in ours.paths()}


@case("Calico's confd templates", both={"calico"})
def like_a_calico_node(bed: Bed) -> None:
    """As one node to another: both dial, paths have identifiers, routes the preference of Calico's."""
    here, there = bed.host(), bed.host()
    ours = bed.daemon(
        bed.ours,
        here,
        calico.AS,
        Neighbour(address=there.address(), asn=calico.AS, add_paths="both", graceful_restart=120),
    )
    us = calico.towards(Neighbour(address=here.address(), asn=calico.AS))
    theirs = bed.daemon(bed.theirs, there, calico.AS, us)
    start(ours, theirs)
    ours.announce(path(OURS), path(OURS6))
    theirs.announce(path(THEIRS), path(THEIRS6))
    for each in (OURS, OURS6):
        assert theirs.wait_path(each).local_pref == calico.LOCAL_PREF
    for each in (THEIRS, THEIRS6):
        held = ours.wait_path(each)
        assert held.local_pref == calico.LOCAL_PREF
        assert held.path_id
    session = ours.sessions()[there.address()]
    assert session.capabilities >= {"add-path", "restart", "refresh", "enhanced-refresh"}
    assert session.hold_time == 240
    up(ours, theirs)


@case("RFC 8326 s4.1", ours={"drain"})
def we_drain(bed: Bed) -> None:
    """Before we leave, our routes are told again as the last choice: by community, within the AS by rank."""
    for asns in ((OUR_AS, OUR_AS), (OUR_AS, THEIR_AS)):
        ours, theirs = bed.pair(asns=asns)
        ours.announce(path(OURS), path(OURS6))
        theirs.wait_paths((OURS, OURS6))
        ours.drain()  # type: ignore[attr-defined]
        for each in (OURS, OURS6):
            held = theirs.wait_path(each, lambda held: GRACEFUL_SHUTDOWN in held.communities)
            assert held.local_pref == 0 or asns[0] != asns[1]


@case("RFC 8326 s4.2", ours={"drain"})
def they_drain(bed: Bed) -> None:
    """What another system marks so is the last choice of ours."""
    ours, theirs = bed.pair()
    theirs.announce(path(THEIRS, communities=frozenset({GRACEFUL_SHUTDOWN})))
    assert ours.wait_path(THEIRS).local_pref == 0


@case("RFC 8538 s4", both={"notification-restart"})
def a_notification_keeps_routes(bed: Bed) -> None:
    """Who falls silent is told so, and its routes stay as stale; both ways."""
    ours, theirs = bed.pair(hold_time=3, graceful_restart=60)
    ours.announce(path(OURS))
    theirs.announce(path(THEIRS))
    for one, other, prefix in ((ours, theirs, THEIRS), (theirs, ours, OURS)):
        one.wait_path(prefix)
        other.wait_session(one.host.address())
        other.freeze()
        one.wait_down(other.host.address(), patience=6)
        assert one.wait_path(prefix).stale
        other.thaw()
        one.wait_path(prefix, lambda held: not held.stale)


@case("RFC 8538 s3.1", both={"notification-restart"})
def a_hard_reset_takes_them_away(bed: Bed) -> None:
    """A session that the administrator shuts down leaves nothing on either side."""
    ours, theirs = bed.pair(graceful_restart=60)
    ours.announce(path(OURS))
    theirs.announce(path(THEIRS))
    theirs.wait_path(OURS)
    ours.wait_path(THEIRS)
    ours.shut_down(theirs.host.address())
    theirs.wait_gone(OURS)
    ours.wait_gone(THEIRS)


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


# How sessions end.


@case("RFC 4271 s6.5", theirs={"decides"})
def they_fall_silent(bed: Bed) -> None:
    """Their process hangs: when the hold time is over the session is down and their routes are gone."""
    ours, theirs = bed.pair(hold_time=3)
    theirs.announce(path(THEIRS))
    ours.wait_path(THEIRS)
    up(ours, theirs)
    theirs.freeze()
    ours.wait_down(theirs.host.address(), patience=6)
    ours.wait_gone(THEIRS)
    theirs.thaw()
    assert ours.wait_path(THEIRS)


@case("RFC 4271 s6.5")
def we_fall_silent(bed: Bed) -> None:
    """Our process hangs: they take our routes away, and hear of them again when we go on."""
    ours, theirs = bed.pair(hold_time=3)
    ours.announce(path(OURS))
    theirs.wait_path(OURS)
    ours.freeze()
    theirs.wait_down(ours.host.address(), patience=6)
    ours.thaw()
    assert theirs.wait_path(OURS)


@case("RFC 4271 s8.2.2")
def they_crash(bed: Bed) -> None:
    """Without graceful restart their routes are gone at once, and back with them."""
    ours, theirs = bed.pair()
    theirs.announce(path(THEIRS))
    ours.wait_path(THEIRS)
    theirs.kill()
    ours.wait_gone(THEIRS)
    theirs.start()
    assert ours.wait_path(THEIRS)


@case("RFC 4724 s4.2", both={"restart"})
def they_restart(bed: Bed) -> None:
    """They crash: their routes stay as stale; back again, what they tell is fresh, the rest gone."""
    ours, theirs = bed.pair(graceful_restart=60)
    ours.announce(path(OURS))  # one that has nothing to say takes its time to say that this was all
    theirs.announce(path(THEIRS), path("10.2.1.0/24"))
    ours.wait_paths((THEIRS, "10.2.1.0/24"))
    up(ours, theirs)
    theirs.kill()
    ours.wait_path(THEIRS, lambda held: held.stale)
    theirs._announced.pop(ip_network("10.2.1.0/24"))
    theirs.start(restarting=True)
    ours.wait_path(THEIRS, lambda held: not held.stale)
    ours.wait_gone("10.2.1.0/24")


@case("RFC 4724 s4.1", both={"restart"})
def we_restart(bed: Bed) -> None:
    """We crash: they keep our routes, and find them fresh when we are back and have told all."""
    ours, theirs = bed.pair(graceful_restart=60)
    ours.announce(path(OURS), path(OURS6))
    theirs.wait_paths((OURS, OURS6))
    up(ours, theirs)
    ours.kill()
    theirs.wait_path(OURS, lambda held: held.stale)
    ours.start(restarting=True)
    theirs.wait_path(OURS, lambda held: not held.stale)
    theirs.wait_path(OURS6, lambda held: not held.stale)


@case("RFC 9003, RFC 4486", ours={"shutdown-message"})
def we_say_why(bed: Bed) -> None:
    """We end a session with a message, which they show to their operator."""
    ours, theirs = bed.pair()
    shown(by=theirs, end=ours)


@case("RFC 9003, RFC 4486", theirs={"shutdown-message"})
def they_say_why(bed: Bed) -> None:
    """They end a session with a message, which we show to our operator; and it comes up again."""
    ours, theirs = bed.pair()
    shown(by=ours, end=theirs)
    theirs.bring_up(ours.host.address())
    up(ours, theirs)


def shown(*, by: Daemon, end: Daemon) -> None:
    """Let one side end the session with a message, and wait until the other shows it."""
    up(end, by)
    end.shut_down(by.host.address(), "maintenance tonight")
    wait_until(
        lambda: "maintenance tonight" in by.sessions()[end.host.address()].error + by.log(),
        what=f"{by} shows the message",
    )


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


# Our side alone, against a raw peer.


@case("RFC 4271 s6.5", alone=True)
def a_raw_peer_falls_silent(bed: Bed) -> None:
    """NOTIFICATION 4/0 when its hold time is over."""
    ours, host = bed.against_raw(hold_time=3)
    peer = bed.dial(ours, host)
    peer.establish(THIRD_AS, "10.255.0.9", hold_time=3)
    assert peer.rejected(patience=6) == (4, 0)


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


CASES: tuple[Case, ...] = (
    routes_between_systems,
    every_attribute_within_a_system,
    routes_over_ipv6,
    both_dial,
    only_they_dial,
    only_we_dial,
    a_neighbour_out_of_a_range,
    a_password,
    a_wrong_password,
    ttl_security,
    over_a_loopback,
    one_identifier_in_two_systems,
    no_policy_no_routes,
    ipv4_by_ipv6,
    a_long_message_from_us,
    a_long_message_from_them,
    several_paths_of_a_prefix,
    we_reflect,
    they_reflect,
    no_reflection_without_clients,
    transit,
    communities_that_keep_inside,
    we_ask_for_a_refresh,
    a_calico_node,
    like_a_calico_node,
    we_drain,
    they_drain,
    a_notification_keeps_routes,
    a_hard_reset_takes_them_away,
    two_equal_paths,
    tunnels_through_them,
    they_fall_silent,
    we_fall_silent,
    they_crash,
    they_restart,
    we_restart,
    we_say_why,
    they_say_why,
    too_many_prefixes,
)
ALONE: tuple[Case, ...] = (
    a_raw_peer_falls_silent,
    broken_openings,
    broken_updates,
    our_own_as_in_the_path,
    a_peer_of_two_octets,
    a_refresh_is_answered,
    a_collision,
    long_parameters,
    a_packet_from_afar,
    a_call_from_afar,
    a_peer_that_takes_nothing,
    a_peer_that_takes_nothing_of_little,
    reflection_loops,
)
