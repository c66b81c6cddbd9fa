"""What the store promises: when a Snapshot comes, what is told as withdrawn, and what outlives us."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from containernet.errors import StoreUnavailable
from containernet.events import Announced, Snapshot, Withdrawn
from containernet.model import NetworkConfig, Pool, Prefix, Route, Tunnel
from containernet_backends.bgp import BgpStore, nlri
from containernet_backends.bgp.families import IPV4
from containernet_backends.bgp.store import BgpSubscription
from tests.waiting import wait_until

from . import raw
from .loopback import ASN, PORT, Place, Wire, call, is_up, options, place, wait_down, wait_up, wait_welcome
from .raw import Raw

FIRST, SECOND = ip_network("10.1.0.0/24"), ip_network("10.2.0.0/24")


END4, END6 = bytes(4), bytes.fromhex("0000 0006 800f03 000201")  # End-of-RIB, RFC 4724 s2
VXLAN: dict[str, str | int] = {"VNI": 4096, "VtepMAC": "02:00:00:00:00:01"}


def route(prefix: Prefix = FIRST, next_hop: str = "192.0.2.1", **more: object) -> Route:
    """Return a route as a node announces it."""
    return Route(prefix=prefix, node="", next_hop=ip_address(next_hop), **more)  # type: ignore[arg-type]


@contextmanager
def opened(own: str, *peers: Mapping[str, object], **more: object) -> Iterator[BgpStore]:
    """Open a store at that address."""
    store = BgpStore(options(own, *peers, **more))
    try:
        yield store
    finally:
        store.close()


@contextmanager
def reflecting(**more: object) -> Iterator[tuple[BgpStore, Place]]:
    """Run a reflector for all who call."""
    at = place()
    with opened(at(1), {"range": f"{at(0)}/24", "client": True}, **{"start_wait": 0.0, **more}) as store:
        store.speaker.start()
        yield store, at


class Reader:
    """Somebody who listens, and what it believes."""

    def __init__(self, store: BgpStore) -> None:
        self.store = store
        self.subscription: BgpSubscription | None = None
        self.routes: dict[Prefix, Route] = {}
        self.snapshots = 0
        self.withdrawn: list[Prefix] = []

    def listen(self, seconds: float = 0.01) -> None:
        """Take the next event, if one comes; begin again where there has been a gap."""
        try:
            self.subscription = self.subscription or self.store.subscribe()
            event = self.subscription.next_event(seconds)
        except StoreUnavailable:
            self.leave()
            return
        match event:
            case Snapshot(routes=routes):
                self.routes = {each.prefix: each for each in routes}
                self.snapshots += 1
            case Announced(route=new):
                self.routes[new.prefix] = new
            case Withdrawn(prefix=prefix):
                del self.routes[prefix]
                self.withdrawn.append(prefix)

    def until(self, *routes: Route, patience: float = 30.0) -> None:
        """Listen until these are all there is, after a Snapshot."""
        wanted = {each.prefix: each for each in routes}
        deadline = time.monotonic() + patience
        while not (self.snapshots and self.routes == wanted):
            assert time.monotonic() < deadline, f"{self.routes} and not {wanted}"
            self.listen()

    def leave(self) -> None:
        """Stop listening; what is believed stays."""
        if self.subscription is not None:
            self.subscription.close()
            self.subscription = None


class TestFirstSnapshot:
    """A Snapshot says that what is not in it is gone, so it comes late rather than early."""

    def test_when_all_have_told_all_and_the_dead_are_known(self) -> None:
        """A peer that refuses to be dialled keeps nobody waiting, once it has been dialled again."""
        with (
            reflecting() as (hub, at),
            opened(at(2), {"address": at(1)}, {"address": at(9)}, start_wait=60.0) as one,
        ):
            one.speaker.called_again = 1.0
            hub.announce(route())
            reader = Reader(one)
            reader.until(route(), patience=5.0)
            assert time.monotonic() >= one.speaker.started_at + 1.0
            assert reader.snapshots == 1

    def test_not_before_a_peer_has_told_all(self) -> None:
        """Without its End-of-RIB nothing is known, until the time for that is over."""
        at = place()
        with opened(at(1), {"address": at(2), "passive": True}, start_wait=0.5) as one:
            subscription = one.subscribe()
            with Raw(call(at(2), at(1))) as slow:
                slow.establish(ASN, at(2))
                wait_up(one.speaker, at(2))
                began = time.monotonic()
                event = subscription.next_event(10.0)
                assert isinstance(event, Snapshot)
                assert 0.3 < time.monotonic() - began < 5.0

    def test_a_peer_that_never_answers(self) -> None:
        """It delays the Snapshot, but not for longer than `start_wait`."""
        with reflecting() as (hub, at), socket.create_server((at(9), PORT)):
            hub.announce(route())
            with opened(at(2), {"address": at(1)}, {"address": at(9)}, start_wait=0.5) as one:
                Reader(one).until(route(), patience=5.0)

    def test_nobody_is_there(self) -> None:
        """Then there is no Snapshot but a reason, by peer."""
        at = place()
        with opened(at(1), {"address": at(9)}, start_wait=0.2) as one:
            subscription = one.subscribe()
            with pytest.raises(StoreUnavailable) as caught:
                subscription.next_event(10.0)
            assert str(caught.value) == (
                f"no BGP session is up: {at(9)}: cannot connect to {at(9)} port {PORT}: Connection refused"
            )


class TestCutOff:
    """When the last session ends it is we who are cut off, and nothing was withdrawn."""

    def test_the_last_session_ends(self) -> None:
        """The subscription ends; the next begins with a Snapshot once somebody is there again."""
        with ExitStack() as stack:
            hub, at = stack.enter_context(reflecting())
            hub.announce(route())
            one = stack.enter_context(opened(at(2), {"address": at(1)}))
            reader = Reader(one)
            reader.until(route())
            hub.close()
            wait_down(one.speaker, at(1))
            subscription = reader.subscription
            with pytest.raises(StoreUnavailable):
                subscription.next_event(5.0)  # type: ignore[union-attr]
            again = stack.enter_context(opened(at(1), {"range": f"{at(0)}/24", "client": True}, start_wait=0.0))
            again.announce(route(SECOND))
            reader.until(route(SECOND))
            assert reader.withdrawn == []
            assert reader.snapshots == 2

    def test_all_sessions_end_and_are_back_while_nobody_looks(self) -> None:
        """What the peers have not told again yet is not withdrawn either."""
        at = place()
        with opened(at(1), {"address": at(2), "passive": True}, start_wait=0.1) as one:
            reader = Reader(one)
            reader.listen()
            with Raw(call(at(2), at(1))) as other:
                other.establish(ASN, at(2))
                attributes = raw.attributes(next_hop="192.0.2.1", local_pref=100)
                other.send(raw.update(attributes=attributes, nlri=raw.nlri(str(FIRST))))
                reader.until(route())
            wait_welcome(one.speaker, at(2))
            wait_until(lambda: not one.speaker.table.routes[IPV4], what="its routes are gone")
            with Raw(call(at(2), at(1))) as other:
                other.establish(ASN, at(2))
                wait_up(one.speaker, at(2))
                reader.listen()
                assert reader.subscription is None
                reader.until()
                assert reader.withdrawn == []


class TestRestart:
    """RFC 4724: what we announced outlives us for a while."""

    def test_closed_and_opened_again(self) -> None:
        """Our peer's subscribers hear of nothing, and what we do not announce again goes at the end."""
        at = place()
        with opened(at(1), {"address": at(2), "passive": True}, restart_time=60) as peer:
            reader = Reader(peer)
            with opened(at(2), {"address": at(1)}, restart_time=60) as one:
                one.announce(route())
                one.announce(route(SECOND))
                reader.until(route(), route(SECOND))
                subscription = reader.subscription
            wait_down(peer.speaker, at(2))
            with pytest.raises(StoreUnavailable):
                subscription.next_event(5.0)  # type: ignore[union-attr]
            with opened(at(2), {"address": at(1)}, restart_time=60) as one:
                one.announce(route())
                reader.until(route())
        assert FIRST not in reader.withdrawn

    def test_a_third_hears_nothing(self) -> None:
        """Behind a reflector the subscription goes on; what was withdrawn before the end is gone at once."""
        with reflecting(restart_time=60) as (hub, at), opened(at(3), {"address": at(1)}) as third:
            reader = Reader(third)
            with opened(at(2), {"address": at(1)}, restart_time=60) as one:
                one.announce(route())
                one.announce(route(SECOND))
                reader.until(route(), route(SECOND))
                one.withdraw(route(SECOND))
            wait_down(hub.speaker, at(2))
            reader.until(route())
            with opened(at(2), {"address": at(1)}, restart_time=60) as one:
                one.announce(route())
                wait_up(hub.speaker, at(2))
                wait_until(lambda: told_all(hub, at(2)), what="End-of-RIB")
                reader.until(route())
            assert reader.withdrawn == [SECOND]
            assert reader.snapshots == 1

    def test_killed(self) -> None:
        """A process that is killed says nothing, and the kernel closes its sockets."""
        with reflecting(restart_time=60) as (hub, at), opened(at(3), {"address": at(1)}) as third:
            reader = Reader(third)
            child = subprocess.Popen(
                [sys.executable, "-c", CHILD, at(2), at(1), str(FIRST)], cwd=Path(__file__).parents[2]
            )
            try:
                reader.until(route())
            finally:
                os.kill(child.pid, signal.SIGKILL)
                child.wait()
            wait_down(hub.speaker, at(2))
            reader.listen(0.1)
            assert reader.withdrawn == []
            assert reader.routes == {FIRST: route()}

    def test_without_graceful_restart(self) -> None:
        """With `restart_time = 0` our routes go when we go."""
        with reflecting() as (_, at), opened(at(3), {"address": at(1)}) as third:
            reader = Reader(third)
            with opened(at(2), {"address": at(1)}) as one:
                one.announce(route())
                reader.until(route())
            reader.until()
            assert reader.withdrawn == [FIRST]

    def test_our_end_of_rib_waits_for_what_we_announce(self) -> None:
        """Or a peer would drop what it has kept for us before our node has said it again."""
        at = place()
        with opened(at(1), {"address": at(2), "passive": True}, restart_time=60, start_wait=0.0) as one:
            one.subscribe()
            with Raw(call(at(2), at(1))) as other:
                other.establish(ASN, at(2))
                with pytest.raises(TimeoutError):
                    other.wait_for(raw.UPDATE, patience=0.3)
                one.announce(route())
                assert other.wait_for(raw.UPDATE).body.endswith(raw.nlri(str(FIRST)))
                assert other.wait_for(raw.UPDATE).body[:2] == bytes(2)

    def test_our_end_of_rib_waits_for_every_family_of_the_network(self) -> None:
        """A node announces one after the other, and the peer has kept both."""
        at, other_family = place(), route(ip_network("2001:db8::/64"), "2001:db8::1")
        pools = (Pool(prefix=FIRST, subnet_length=24), Pool(prefix=other_family.prefix, subnet_length=64))
        with opened(at(1), {"address": at(2), "passive": True}, restart_time=60, start_wait=0.0) as one:
            one.confine(NetworkConfig(pools=pools))
            one.announce(route())
            with Raw(call(at(2), at(1))) as other:
                other.establish(ASN, at(2))
                assert other.wait_for(raw.UPDATE).body.endswith(raw.nlri(str(FIRST)))
                with pytest.raises(TimeoutError):
                    other.wait_for(raw.UPDATE, patience=0.3)
                one.announce(other_family)
                said = [other.wait_for(raw.UPDATE).body for _ in range(3)]
        assert [body for body in said if len(body) > len(END6)] == said[:1]
        assert sorted(said[1:]) == [END4, END6]

    def test_of_a_peer_that_is_back_late(self) -> None:
        """RFC 4724 s4.2: once its session is up again the restart time is over, and it may go on telling."""
        with reflecting(restart_time=60) as (hub, at):
            restarting = raw.usual(ASN) + raw.capability(64, b"\x00\x01" + b"\x00\x01\x01\x80")
            for turn in range(2):
                with Raw(call(at(2), at(1))) as one:
                    one.establish(ASN, at(2), capabilities=restarting)
                    wait_up(hub.speaker, at(2))
                    if not turn:
                        attributes = raw.attributes(next_hop="192.0.2.1", local_pref=100)
                        one.send(raw.update(attributes=attributes, nlri=raw.nlri(str(FIRST))))
                        wait_until(lambda: hub.speaker.table.routes[IPV4], what="the route")
                    else:
                        stale = hub.speaker.remotes[ip_address(at(2))].stale_at
                        assert stale is not None
                        assert stale > time.monotonic() + 60
                wait_welcome(hub.speaker, at(2))
            wait_until(lambda: not hub.speaker.table.routes[IPV4], what="one second was enough")


CHILD = """
import sys, signal
from ipaddress import ip_address, ip_network
from containernet.model import Route
from tests.bgp.loopback import options
from containernet_backends.bgp import BgpStore
own, hub, prefix = sys.argv[1:]
store = BgpStore(options(own, {"address": hub}, restart_time=60))
store.announce(Route(prefix=ip_network(prefix), node="", next_hop=ip_address("192.0.2.1")))
signal.pause()
"""


def told_all(store: BgpStore, address: str) -> bool:
    """Return whether that peer has told everything."""
    with store.speaker.lock:
        return store.speaker.remotes[ip_address(address)].has_told_all


class TestRoutes:
    """What arrives is what was announced."""

    def test_ours_wins(self) -> None:
        """What others say of a prefix that we announce is not told, until we withdraw it."""
        with (
            reflecting() as (_, at),
            opened(at(2), {"address": at(1)}) as one,
            opened(at(3), {"address": at(1)}) as two,
        ):
            theirs, ours = route(next_hop="192.0.2.3"), route(next_hop="192.0.2.2", tunnel=Tunnel(type="ipip"))
            two.announce(theirs)
            reader = Reader(one)
            reader.until(theirs)
            one.announce(ours)
            reader.until(ours)
            one.withdraw(ours)
            reader.until(theirs)
            assert reader.withdrawn == []

    def test_two_announce_one_prefix(self) -> None:
        """One of them is told, and when it goes, the other; in between nothing is withdrawn."""
        with reflecting() as (hub, at), ExitStack() as stack:
            handles = [stack.enter_context(opened(at(number), {"address": at(1)})) for number in (2, 3)]
            reader = Reader(stack.enter_context(opened(at(4), {"address": at(1)})))
            both = [route(next_hop="192.0.2.2"), route(next_hop="192.0.2.3")]
            handles[0].announce(both[0])
            reader.until(both[0])
            handles[1].announce(both[1])
            raw_prefix = nlri.encode(FIRST)
            wait_until(lambda: len(hub.speaker.table.entry(IPV4, raw_prefix)) == 2, what="both")
            handles[0].withdraw(both[0])
            reader.until(both[1])
            assert reader.withdrawn == []

    def test_two_ways_of_equal_cost(self) -> None:
        """Told by two peers alike, a prefix has both next hops."""
        at = place()
        with ExitStack() as stack:
            ends = [stack.enter_context(opened(at(number), {"address": at(1)})) for number in (2, 3)]
            peers = [{"address": at(number), "passive": True} for number in (2, 3)]
            one = stack.enter_context(opened(at(1), *peers))
            for number, end in enumerate(ends, 2):
                end.announce(route(next_hop=f"192.0.2.{number}"))
            second = route(next_hop="192.0.2.3")
            Reader(one).until(route(next_hop="192.0.2.2", equal_cost=(second,)))

    @pytest.mark.parametrize(
        "sent",
        [
            route(tunnel=Tunnel(type="vxlan", data=VXLAN)),
            route(tunnel=Tunnel(type="ipip")),
            route(next_hop="2001:db8::1"),
            route(ip_network("2001:db8:1::/64"), "2001:db8::1", tunnel=Tunnel(type="ipip")),
        ],
        ids=["vxlan", "ipip", "IPv4 by IPv6", "IPv6"],
    )
    def test_through_a_reflector(self, sent: Route) -> None:
        """Tunnels, and next hops of either family (RFC 8950), arrive as they were sent."""
        with (
            reflecting() as (_, at),
            opened(at(2), {"address": at(1)}) as one,
            opened(at(3), {"address": at(1)}) as two,
        ):
            one.announce(sent)
            Reader(two).until(sent)

    def test_confined_to_pools(self) -> None:
        """What lies outside of the pools is not told, now or later."""
        with (
            reflecting() as (_, at),
            opened(at(2), {"address": at(1)}) as one,
            opened(at(3), {"address": at(1)}) as two,
        ):
            two.confine(NetworkConfig(pools=(Pool(prefix=ip_network("10.2.0.0/16"), subnet_length=24),)))
            reader = Reader(two)
            one.announce(route())
            one.announce(route(SECOND))
            reader.until(route(SECOND))
            one.announce(route(ip_network("2001:db8::/64"), "2001:db8::1"))
            one.announce(route(ip_network("10.2.9.0/24")))
            reader.until(route(SECOND), route(ip_network("10.2.9.0/24")))


class TestThreads:
    """Every method may be called from any thread."""

    def test_everything_at_once(self) -> None:
        """Announce, withdraw, subscribe and close, until the store is closed below; then all know it."""
        with reflecting() as (_, at), opened(at(2), {"address": at(1)}) as one:
            one.announce(route())
            Reader(one).until(route())
            turns = [0] * 4

            def work(number: int) -> None:
                with contextlib.suppress(StoreUnavailable):
                    while True:
                        mine = route(ip_network(f"10.3.{number}.0/24"))
                        one.announce(mine)
                        reader = one.subscribe()
                        reader.next_event(0.01)
                        reader.close()
                        one.withdraw(mine)
                        turns[number] += 1

            with ThreadPoolExecutor(len(turns)) as pool:
                done = [pool.submit(work, number) for number in range(len(turns))]
                wait_until(lambda: all(turn > 20 for turn in turns), what="everybody has worked")
                one.close()
                for each in done:
                    each.result(10)
            assert not one._subscriptions

    def test_a_reader_that_takes_long_does_not_end_sessions(self) -> None:
        """A Snapshot of a large table is made in pieces: meanwhile, other threads have their turn."""
        with opened(place()(1)) as hub:
            prefixes = [ip_network((0x0A000000 + number, 32)) for number in range(10_000)]
            with hub.speaker.lock:
                for prefix in prefixes:
                    hub.announce(route(prefix))
            waits = []
            over = threading.Event()

            def look() -> None:
                while not over.is_set():
                    began = time.monotonic()
                    with hub.speaker.lock:
                        waits.append(time.monotonic() - began)
                    over.wait(0.001)

            with ThreadPoolExecutor(1) as pool:
                looking = pool.submit(look)
                try:
                    event = hub.subscribe().next_event(30.0)
                finally:
                    over.set()
                looking.result()
            assert isinstance(event, Snapshot)
            assert len(event.routes) == 10_000
            assert len(waits) > 4  # in one piece it would be two at most


NAMES = (2, 3, 4)  # the hosts of the stores


@settings(max_examples=5, stateful_step_count=15)
class Faults(RuleBasedStateMachine):
    """Three stores around a reflector: whatever breaks, nobody hears that a route went whose node is there."""

    @initialize()
    def begin(self) -> None:
        """Everybody is there, and has announced nothing."""
        self.stack = ExitStack()
        self.hub, self.at = self.stack.enter_context(reflecting())
        self.wires = {name: Wire(self.at(10 + name), self.at(20 + name), self.at(1)) for name in NAMES}
        for wire in self.wires.values():
            self.stack.callback(wire.close)
        self.cut: set[int] = set()
        self.mine: dict[int, set[Prefix]] = {name: set() for name in NAMES}
        self.stores: dict[int, BgpStore] = {}
        self.readers: dict[int, Reader] = {}
        for name in NAMES:
            self.reopen(name)
        self.excused: set[Prefix] = set()

    def reopen(self, name: int) -> None:
        """Open a store, which has lost what it knew."""
        if name in self.stores:
            self.readers[name].leave()
            self.stores[name].close()
        self.stores[name] = BgpStore(options(self.at(name), {"address": self.at(10 + name)}))
        self.stores[name].speaker.start()
        self.readers[name] = Reader(self.stores[name])
        for prefix in self.mine[name]:
            self.stores[name].announce(self.route(name, prefix))

    def route(self, name: int, prefix: Prefix) -> Route:
        """Return what a store announces of a prefix."""
        return route(prefix, f"192.0.2.{name}")

    @rule(name=st.sampled_from(NAMES), number=st.integers(0, 2))
    def announce(self, name: int, number: int) -> None:
        """A node announces one of its prefixes."""
        prefix = ip_network(f"10.{name}.{number}.0/24")
        self.mine[name].add(prefix)
        self.stores[name].announce(self.route(name, prefix))

    @rule(name=st.sampled_from(NAMES))
    def withdraw(self, name: int) -> None:
        """A node withdraws one of its prefixes."""
        if self.mine[name]:
            prefix = self.mine[name].pop()
            self.excused.add(prefix)
            self.stores[name].withdraw(self.route(name, prefix))

    @rule(name=st.sampled_from(NAMES))
    def restart(self, name: int) -> None:
        """A node restarts, without graceful restart."""
        self.excused |= self.mine[name]
        self.reopen(name)

    @rule(name=st.sampled_from(NAMES))
    def cut_off(self, name: int) -> None:
        """A node loses its network."""
        self.excused |= self.mine[name]
        self.cut.add(name)
        self.wires[name].cut()

    @precondition(lambda self: self.cut)
    @rule()
    def mend(self) -> None:
        """Everybody has a network."""
        for name in self.cut:
            self.wires[name].mend()
        self.cut.clear()

    @rule()
    def listen(self) -> None:
        """Who has a network knows all routes of those who have; who has none forgets nothing."""
        for name, reader in self.readers.items():
            if name in self.cut:
                reader.listen()
                assert set(reader.withdrawn) <= self.excused
                continue
            there = [other for other in NAMES if other == name or other not in self.cut]
            wait_until(partial(self.linked, there), what="sessions")
            reader.until(*(self.route(other, prefix) for other in there for prefix in self.mine[other]))
            assert set(reader.withdrawn) <= self.excused, (name, reader.withdrawn, self.excused)
            reader.withdrawn.clear()
        self.excused = {prefix for name in self.cut for prefix in self.mine[name]}

    def linked(self, names: list[int]) -> bool:
        """Return whether these have sessions."""
        return all(is_up(self.stores[name].speaker, self.at(10 + name)) for name in names)

    def teardown(self) -> None:
        """Everything comes right in the end, and ends."""
        if hasattr(self, "stores"):
            try:
                self.mend()
                self.listen()
            finally:
                for name in NAMES:
                    self.readers[name].leave()
                    self.stores[name].close()
                self.stack.close()


TestFaults = Faults.TestCase
