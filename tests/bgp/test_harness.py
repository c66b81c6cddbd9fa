"""Real daemons tell each other what the harness says; without that, a test against them shows nothing."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_network

import attrs
import pytest

from .bird import Bird
from .daemons import Daemon, Run
from .exabgp import Exabgp
from .frr import Frr
from .gobgp import Gobgp
from .topology import Host, Segment
from .values import Neighbour, Path, Speaker

pytestmark = pytest.mark.bgp

PAIRS = [(Bird, Frr), (Bird, Gobgp), (Frr, Gobgp), (Exabgp, Bird)]


def host(segment: Segment, number: int) -> Host:
    """Return a host with an address of each family that ends in its number."""
    return segment.host(f"h{number}", f"192.0.2.{number}/24", f"2001:db8::{number}/64")


def router_id(of: Host) -> IPv4Address:
    """Return a BGP Identifier that is like no address."""
    return IPv4Address("10.255.0.0") + int(of.address()) % 256


def path(prefix: str, number: int, *, by: type[Daemon]) -> Path:
    """Return a path that has every attribute that a daemon can announce."""
    origins = {"ro:65000:100"} if "route-origin" in by.abilities else set()
    return Path(
        prefix=ip_network(prefix),
        origin=("igp", "incomplete")[number % 2],
        as_path=(65010 + number, 4200000000),
        med=number,
        local_pref=200 + number,
        communities=frozenset({f"65000:{number}", "65000:100"}),
        extended=frozenset({f"rt:65000:{number}"} | origins),
        large=frozenset({f"4200000000:{number}:3", "1:2:3"}),
    )


def announced_by(daemon: Daemon, number: int) -> list[Path]:
    """Let a daemon announce a path in either family; return them."""
    paths = [path(each, number, by=type(daemon)) for each in (f"10.{number}.0.0/24", f"2001:db8:{number}::/64")]
    daemon.announce(*paths)
    return paths


def as_held(told: Path, *, by: Daemon) -> Path:
    """Return a path as a neighbour on the same wire holds it that hears it from `by` itself."""
    return attrs.evolve(told, next_hop=by.host.address(told.prefix.version), source=by.host.address())


@pytest.mark.parametrize(("one", "other"), PAIRS, ids=lambda kind: kind.__name__)
def test_every_attribute_each_way(segment: Segment, make: Run, one: type[Daemon], other: type[Daemon]) -> None:
    """Within one AS all attributes arrive as they were announced, in both families, over TCP MD5."""
    hosts = host(segment, 1), host(segment, 2)
    ends = []
    for kind, here, there in zip((one, other), hosts, reversed(hosts), strict=True):
        neighbour = Neighbour(address=there.address(), asn=65000, password="secret", graceful_restart=120)
        speaker = Speaker(asn=65000, router_id=router_id(here), neighbours=(neighbour,))
        ends.append(make(kind, here, speaker).start(wait=False))
    told = {}
    for number, each in enumerate(ends, 1):
        each.wait()
        told[each] = announced_by(each, number)
    for end, far in zip(ends, reversed(ends), strict=True):
        session = end.wait_session(far.host.address())
        assert (session.asn, session.hold_time, session.router_id) == (65000, 9, far.speaker.router_id)
        assert session.capabilities >= {"ipv4", "ipv6", "as4", "refresh", "restart"}
        for one_path in told[far]:
            held = end.wait_path(one_path.prefix)
            assert attrs.evolve(held, path_id=None) == as_held(one_path, by=far)
        assert end.sessions()[far.host.address()].received == len(told[far])
    for end, far in zip(ends, reversed(ends), strict=True):
        end.withdraw(*(each.prefix for each in told[end]))
        for one_path in told[end]:
            far.wait_gone(one_path.prefix)


@pytest.mark.parametrize("kind", [Bird, Frr, Gobgp], ids=lambda kind: kind.__name__)
def test_a_reflector(segment: Segment, make: Run, kind: type[Daemon]) -> None:
    """Clients hear each other through it, with who said it first and whose clusters it went through."""
    middle, *others = (host(segment, number) for number in range(1, 4))
    cluster = IPv4Address("10.254.0.1")
    clients = tuple(Neighbour(address=each.address(), asn=65000, client=True) for each in others)
    speaker = Speaker(asn=65000, router_id=router_id(middle), cluster_id=cluster, neighbours=clients)
    reflector = make(kind, middle, speaker).start(wait=False)
    up = Neighbour(address=middle.address(), asn=65000)
    kinds: tuple[type[Daemon], ...] = (Bird, Exabgp)
    ends = [
        make(each, here, Speaker(asn=65000, router_id=router_id(here), neighbours=(up,))).start(wait=False)
        for each, here in zip(kinds, others, strict=True)
    ]
    told = {}
    reflector.wait()
    for number, end in enumerate(ends, 2):
        end.wait()
        told[end] = announced_by(end, number)
    for end, far in zip(ends, reversed(ends), strict=True):
        for each in told[far]:
            expected = attrs.evolve(
                as_held(each, by=far),
                source=middle.address(),
                originator_id=far.speaker.router_id,
                cluster_list=(cluster,),
            )
            assert end.wait_path(each.prefix) == expected


def test_a_wrong_password_is_silence(segment: Segment, make: Run) -> None:
    """Nothing comes up; with the right one it does: what is awaited is there at the end, and not before."""
    here, there = host(segment, 1), host(segment, 2)
    speakers = {
        here: Speaker(
            asn=65000,
            router_id=router_id(here),
            neighbours=(Neighbour(address=there.address(), asn=65000, password="right"),),
        ),
        there: Speaker(
            asn=65000,
            router_id=router_id(there),
            neighbours=(Neighbour(address=here.address(), asn=65000, password="wrong"),),
        ),
    }
    daemons = [make(kind, each, speakers[each]).start() for kind, each in ((Bird, here), (Frr, there))]
    with pytest.raises(AssertionError, match=r"not within 2 s: .* is established"):
        daemons[0].wait_session(there.address(), patience=2)
    assert daemons[1].sessions()[here.address()].state != "established"
