"""Rib: what is not believed, in the words that the operator reads; and what an event costs."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network

import attrs
import pytest

from containernet.events import Announced, Snapshot, Withdrawn
from containernet.judging import Judge
from containernet.model import NetworkConfig, Node, Pool, Prefix, Route
from containernet.rib import Change, Known, Rib

NETWORK = NetworkConfig(pools=(Pool(prefix=ip_network("10.4.0.0/16"), subnet_length=24),))
NODE = Node(
    name="me",
    interface="eth0",
    addresses=(ip_interface("192.0.2.1/24"), ip_interface("2001:db8::1/64")),
    subnets=(ip_network("10.4.1.0/24"),),
)
GOOD = Route(prefix=ip_network("10.4.2.0/24"), node="peer", next_hop=ip_address("192.0.2.2"))


def route(prefix: str = "10.4.2.0/24", hop: str = "192.0.2.2") -> Route:
    """Return a peer's route."""
    return Route(prefix=ip_network(prefix), node="peer", next_hop=ip_address(hop))


@pytest.mark.parametrize(
    ("heard", "reason"),
    [
        (route("203.0.113.0/24"), "203.0.113.0/24 lies outside the pool 10.4.0.0/16"),
        (route("10.0.0.0/8"), "10.0.0.0/8 lies outside the pool 10.4.0.0/16"),
        (route("fd00::/64"), "the network has no IPv6 pool"),
        (route("10.4.2.0/25"), "10.4.2.0/25 is not a /24, as every subnet of 10.4.0.0/16 is"),
        (route("10.4.0.0/16"), "10.4.0.0/16 is not a /24, as every subnet of 10.4.0.0/16 is"),
        (route("10.4.1.0/24"), "10.4.1.0/24 is this node's own subnet, and peer announces it too"),
        (route(hop="ff02::5"), "next hop ff02::5 is not a unicast address of a host"),
        (route(hop="2001:db8::1"), "next hop 2001:db8::1 is this node itself"),
        (route(hop="224.0.0.5"), "next hop 224.0.0.5 is not a unicast address of a host"),
        (route(hop="127.0.0.1"), "next hop 127.0.0.1 is not a unicast address of a host"),
        (route(hop="0.0.0.0"), "next hop 0.0.0.0 is not a unicast address of a host"),
        (route(hop="255.255.255.255"), "next hop 255.255.255.255 is not a unicast address of a host"),
        (route(hop="192.0.2.1"), "next hop 192.0.2.1 is this node itself"),
        (
            route(hop="10.4.9.9"),
            "next hop 10.4.9.9 lies in the pool 10.4.0.0/16, so it is a container's and not a host's",
        ),
    ],
)
def test_what_is_not_believed_is_kept_with_its_reason(heard: Route, reason: str) -> None:
    """And is no route, whatever stood there before."""
    rib = Rib(NETWORK, NODE, store="x")
    assert rib.apply(Announced(route=heard), now=0) == []
    assert rib.refused == {heard.prefix: (heard, reason)}
    assert not rib.routes


@pytest.mark.parametrize("prefix", ["10.4.2.0/24", "fd00:4:0:2::/64"])
def test_no_host_has_an_address_of_ipv4_written_as_ipv6(prefix: str) -> None:
    """Regression: IPv4-mapped next hops were believed. Their neighbours to either side may be somebody's."""
    pools = (*NETWORK.pools, Pool(prefix=ip_network("fd00:4::/48"), subnet_length=64))
    judge = Judge(NetworkConfig(pools=pools), NODE)
    refused = "is not a unicast address of a host"
    for hop in ("::ffff:0:0", "::ffff:192.0.2.2", "::ffff:255.255.255.255"):
        assert refused in (judge.refusal(route(prefix, hop)) or "")
    for hop in ("::fffe:ffff:ffff", "::1:0:0:0"):
        assert judge.refusal(route(prefix, hop)) is None


def test_a_refusal_ends_the_route_that_stood_there() -> None:
    """Its announcer took that one back by announcing another."""
    rib = Rib(NETWORK, NODE, store="x")
    rib.apply(Announced(route=GOOD), now=0)
    bad = attrs.evolve(GOOD, next_hop=ip_address("224.0.0.1"))
    assert rib.apply(Announced(route=bad), now=1) == [Change(old=GOOD, new=None)]
    assert rib.apply(Announced(route=GOOD), now=2) == [Change(old=None, new=GOOD)]
    assert rib.routes[GOOD.prefix] == Known(route=GOOD, store="x", since=2)
    assert not rib.refused


def test_what_was_refused_is_judged_again_when_our_subnets_change() -> None:
    """A subnet that we gave up may be somebody else's now."""
    rib = Rib(NETWORK, NODE, store="x")
    theirs = route("10.4.1.0/24")
    rib.apply(Announced(route=theirs), now=0)
    moved = attrs.evolve(NODE, subnets=(ip_network("10.4.7.0/24"),))
    assert rib.judge_again(moved, now=1) == [Change(old=None, new=theirs)]
    assert rib.judge_again(NODE, now=2) == [Change(old=theirs, new=None)]


def test_what_lingers_is_forgotten_even_if_it_was_refused_for_a_while() -> None:
    """We had its subnet meanwhile, and lost it again; still nobody has announced it."""
    rib = Rib(NETWORK, NODE, store="x")
    rib.linger = True
    rib.apply(Announced(route=GOOD), now=0)
    assert rib.apply(Snapshot(routes=[]), now=1) == []
    rib.judge_again(attrs.evolve(NODE, subnets=(GOOD.prefix,)), now=2)
    assert rib.judge_again(NODE, now=3) == [Change(old=None, new=GOOD)]
    assert rib.forget(now=4) == [Change(old=GOOD, new=None)]
    assert not rib.routes
    assert not rib.refused


@pytest.mark.parametrize("name", ["me", ""])
def test_our_own_announcement_is_neither_a_route_nor_refused(name: str) -> None:
    """It comes back from every store; from one that carries no names, without ours."""
    own = Route(prefix=NODE.subnets[0], node=name, next_hop=ip_address("192.0.2.1"))
    rib = Rib(NETWORK, NODE, store="x")
    assert rib.apply(Snapshot(routes=[own]), now=0) == []
    assert not rib.refused


def test_somebody_with_our_name_is_somebody_else() -> None:
    """Two hosts of one name is a mistake that has to be seen."""
    clone = Route(prefix=NODE.subnets[0], node="me", next_hop=ip_address("192.0.2.9"))
    assert "announces it too" in (Judge(NETWORK, NODE).refusal(clone) or "")


class Counted(dict[Prefix, Known]):
    """A dict that counts how often somebody goes through all of it."""

    walks = 0

    def __iter__(self):  # type: ignore[no-untyped-def]
        self.walks += 1
        return super().__iter__()

    def values(self):  # type: ignore[no-untyped-def]
        """Count."""
        self.walks += 1
        return super().values()

    def items(self):  # type: ignore[no-untyped-def]
        """Count."""
        self.walks += 1
        return super().items()


def test_an_event_does_not_walk_through_the_routes() -> None:
    """One announcement costs the same whatever else is known."""
    rib = Rib(NETWORK, NODE, store="x")
    rib.apply(Snapshot(routes=[route(f"10.4.{number}.0/24") for number in range(2, 200)]), now=0)
    counted = rib.routes = Counted(rib.routes)
    rib.apply(Announced(route=route("10.4.250.0/24")), now=1)
    rib.apply(Withdrawn(prefix=ip_network("10.4.250.0/24")), now=2)
    assert counted.walks == 0
