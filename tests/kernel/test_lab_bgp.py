"""Hosts that tell each other by BGP: real daemons, real kernels, and nothing but sessions over the underlay."""

from __future__ import annotations

import functools
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from containernet.items import KernelRoute
from containernet.lab import daemons, drift, explain, whole
from containernet.lab.cluster import Lab
from containernet.lab.ping import Tally

from . import labs
from .labs import LONG, all_items, log, plug, send, start, stop, wait_until

pytestmark = [pytest.mark.kernel, pytest.mark.untraced]

HOLD, RESTART = 3, 5  # seconds; the first is the least that RFC 4271 s4.2 allows
OPTIONS = (f"hold_time={HOLD}", f"restart_time={RESTART}")
NEVER = 60  # seconds; longer than a lab may take


@pytest.fixture(scope="module")
def full() -> Iterator[Lab]:
    """Four hosts, two on each side of a router, each with a session with each; who waits in vain, fails."""
    options = (*OPTIONS, f"start_wait={NEVER}")
    with labs.lab(store="bgp", store_options=options, underlay="routed", hosts=4, containers=1) as built:
        yield built


@pytest.fixture(scope="module")
def reflected() -> Iterator[Lab]:
    """Four hosts on one switch, IPv6 alone, with sessions to host1 and host2 alone."""
    options = (*OPTIONS, "start_wait=2")  # a reflector hears late callers' routes from the other one
    with labs.lab(
        store="bgp",
        store_options=options,
        mesh="reflector",
        dataplane="host-gw",
        versions=(6,),
        hosts=4,
        containers=1,
    ) as built:
        yield built


def check_everybody_reaches_everybody(built: Lab) -> None:
    """Check every pair of containers, in all families."""
    results = whole.ping(built, labs.containers(built))
    number = len(built.topology.container_names)
    assert len(results) == number * (number - 1) * len(built.topology.versions)
    assert all(each.reached for each in results), results


@contextmanager
def undisturbed(built: Lab, *pairs: tuple[str, str]) -> Iterator[None]:
    """Let hosts' containers ping each other, both ways and in both families, and lose nothing."""
    with ExitStack() as stack:
        stops = [
            stack.enter_context(whole.streaming(built, f"{one}-c1", address, rate=50))
            for pair in pairs
            for one, other in (pair, pair[::-1])
            for address in whole.addresses(built, f"{other}-c1")
        ]
        yield
        tallies: list[Tally] = [stop() for stop in stops]
    assert not [str(tally) for tally in tallies if tally.lost or tally.sent < 10]


def sessions(built: Lab, host: str, peer: str) -> tuple[int, int]:
    """Return how often a host's session with another has come up, and how often it has ended."""
    address = built.topology.host(int(peer.removeprefix("host"))).addresses[0].ip
    text = log(built, host)
    return text.count(f"session with {address} is up"), text.count(f"session with {address} ended")


def leads_to(built: Lab, host: str, other: str) -> bool:
    """Return whether a host's kernel has a route to any of another's containers."""
    routes = [each.destination for each in labs.items(built, host).values() if isinstance(each, KernelRoute)]
    return any(address in route for address in whole.addresses(built, f"{other}-c1") for route in routes)


def says_nobody_is_there(built: Lab, host: str) -> bool:
    """Return whether a host's status says that it hears nobody, and that this changes nothing."""
    warnings = labs.status(built, host)["warnings"]
    return any("no BGP session is up" in each and "forwarding goes on" in each for each in warnings)


def test_every_container_reaches_every_other(full: Lab) -> None:
    """Over sessions across a router, one for both families; and hosts that begin together wait for nobody."""
    check_everybody_reaches_everybody(full)
    assert [sessions(full, "host1", peer) for peer in ("host2", "host3", "host4")] == [(1, 0)] * 3


def test_a_way_is_explained_and_a_route_is_repaired_as_with_any_store(full: Lab) -> None:
    """Of a route it is said who announced it: by address, for BGP knows no names of hosts."""
    told = explain.explain(full, "host1-c1", "host2-c1").to_json()
    assert (told["arrived"], told["wrong"]) == ("host2-c1", None)
    announced = told["hops"][1]["decided"][0]["announced"]
    assert (announced["node"], announced["store"]) == ("198.51.100.2", "bgp")
    (prefix,) = (
        route.destination
        for route in labs.items(full, "host1").values()
        if isinstance(route, KernelRoute) and whole.addresses(full, "host2-c1")[0] in route.destination
    )
    assert full.call(functools.partial(drift.delete_route, full.netns("host1"), prefix)) < 1


def test_what_is_known_and_due_is_asked_of_the_daemon(full: Lab) -> None:
    """A second speaker on a host would end the sessions of the first, so nobody becomes one to look."""
    before = sessions(full, "host1", "host2")
    assert len(labs.run(full, "host1", "routes", "--json").json["routes"]) == 2 * 3
    assert labs.run(full, "host1", "plan", "--json").json["operations"] == []
    host2 = str(full.topology.host(2).addresses[0].ip)
    assert labs.run(full, "host1", "bgp", "peers", host2, "--json").json["families"] == ["ipv4", "ipv6"]
    assert sessions(full, "host1", "host2") == before


def test_a_daemon_is_killed_and_comes_back(full: Lab) -> None:
    """Its peers keep its routes meanwhile (RFC 4724), and it finds its own kernel as it left it."""
    before = all_items(full)
    with undisturbed(full, ("host1", "host2")):
        stop(full, "host2", signal.SIGKILL)
        wait_until(lambda: sessions(full, "host1", "host2")[1] == 1)
        assert all_items(full) == before
        start(full, "host2")
        wait_until(lambda: sessions(full, "host1", "host2") == (2, 1))
    assert all_items(full) == before
    check_everybody_reaches_everybody(full)


def test_all_daemons_are_killed_and_come_back(full: Lab) -> None:
    """None of them takes for gone who is only late."""
    before = all_items(full)
    with undisturbed(full, ("host1", "host2"), ("host3", "host4")):
        for host in before:
            stop(full, host, signal.SIGKILL)
        full.call(functools.partial(daemons.start_ready, full.topology, full.topology.members))
        assert all_items(full) == before
    check_everybody_reaches_everybody(full)


def test_a_daemon_sleeps_for_longer_than_the_hold_time(full: Lab) -> None:
    """Its silence ends its sessions, and its containers are reached all the while."""
    before = all_items(full)
    _, ended = sessions(full, "host1", "host4")
    with undisturbed(full, ("host1", "host4"), ("host3", "host4")):
        send(full, "host4", signal.SIGSTOP)
        try:
            wait_until(lambda: sessions(full, "host1", "host4")[1] == ended + 1)
            assert {host: labs.items(full, host) for host in before} == before
        finally:
            send(full, "host4", signal.SIGCONT)
        wait_until(lambda: sessions(full, "host1", "host4")[0] == ended + 2)
        wait_until(lambda: all(labs.status(full, host)["ready"] for host in before))
    assert all_items(full) == before
    assert not sum(labs.status(full, host)["repairs"] for host in before)


def test_a_host_that_is_cut_off_freezes_and_the_others_forget_it(full: Lab) -> None:
    """To the others it is dead: its routes leave after hold time and restart time. It keeps all that it has.

    Even if its daemon starts anew meanwhile, and when its peers come back one after the other.
    """
    before, begun = all_items(full), time.monotonic()
    plug(full, "host3", "down")
    with undisturbed(full, ("host1", "host2")):
        wait_until(lambda: says_nobody_is_there(full, "host3"))
        stop(full, "host3", signal.SIGKILL)
        full.call(lambda: daemons.start(full.topology, full.topology.host(3)).notify.close())
        wait_until(lambda: not leads_to(full, "host1", "host3"))
        assert HOLD * 2 / 3 + RESTART < time.monotonic() - begun < HOLD + RESTART + 2
        plug(full, "host3", "up")
        while not labs.status(full, "host3")["ready"] or all_items(full) != before:
            assert labs.items(full, "host3") == before["host3"]
            assert time.monotonic() - begun < LONG
    assert not says_nobody_is_there(full, "host3")
    check_everybody_reaches_everybody(full)


def test_a_host_that_leaves_takes_its_routes_along(full: Lab) -> None:
    """It lets the others drain first (RFC 8326), and no hold time passes once its daemon has ended."""
    stop(full, "host4")
    command = [sys.executable, "-m", "containernet.daemon", "--config", str(daemons.config_file("host4"))]
    full.call(lambda: daemons.wait_ready([daemons.launch("host4", [*command, "--leave"])]))
    assert leads_to(full, "host1", "host4")
    with undisturbed(full, ("host1", "host2")):
        stop(full, "host4")
        others = ("host1", "host2", "host3")
        labs.seconds_until(lambda: not any(leads_to(full, host, "host4") for host in others), at_most=HOLD / 2)
    assert not labs.items(full, "host4")


def test_reflectors_pass_on_what_their_clients_say(reflected: Lab) -> None:
    """Clients have sessions with the reflectors alone, and reach each other directly: next hops stay."""
    check_everybody_reaches_everybody(reflected)
    assert sessions(reflected, "host3", "host4") == (0, 0)
    for peer in ("host1", "host2"):
        wait_until(lambda peer=peer: sessions(reflected, "host3", peer) == (1, 0))  # type: ignore[misc]


def test_a_reflector_dies_and_comes_back(reflected: Lab) -> None:
    """The other one is enough: nothing is lost, and who leaves meanwhile is heard of."""
    before = all_items(reflected)
    with undisturbed(reflected, ("host1", "host3"), ("host2", "host4")):
        stop(reflected, "host1", signal.SIGKILL)
        wait_until(lambda: sessions(reflected, "host3", "host1")[1] == 1)
        assert all_items(reflected) == before
        start(reflected, "host1")
        wait_until(lambda: sessions(reflected, "host3", "host1")[0] == 2)
        assert all_items(reflected) == before
    check_everybody_reaches_everybody(reflected)


@pytest.mark.uml
def test_ipip_learns_all_that_it_has_to_know() -> None:
    """What a tunnel has to know of its far end comes with the route (RFC 9012)."""
    with labs.lab(store="bgp", dataplane="ipip", underlay="routed", hosts=2, containers=1) as built:
        check_everybody_reaches_everybody(built)
