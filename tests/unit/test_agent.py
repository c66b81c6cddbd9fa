"""The agent: claim, announce, follow, program, heal; and what it does when the world around it fails."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any

import attrs
import pytest

from containernet import remembered
from containernet.addresses import AddressBook
from containernet.agent import Agent
from containernet.contracts import Settings
from containernet.errors import (
    AddressesExhausted,
    ConfigError,
    DaemonUnavailable,
    KernelError,
    PermissionRefused,
    StateUnavailable,
    StoreUnavailable,
)
from containernet.events import Quarantined
from containernet.items import InterfaceAddress, Item, KernelRoute, Key, Link
from containernet.listen import snapshot
from containernet.model import NetworkConfig, Node, Pool, Prefix, Route, Tunnel
from containernet.planning import Delete, Operation
from containernet.status import Status
from containernet.testing import FOR_EVER, SOON, FakeKernel
from containernet_backends.bridge import Bridge
from containernet_backends.host_gw import HostGateway
from containernet_backends.memory import MemoryStore
from containernet_backends.vxlan import Vxlan
from tests.fakes import FakeStore, wait_for_routes

NETWORK = NetworkConfig(
    pools=(
        Pool(prefix=ip_network("10.4.0.0/16"), subnet_length=24),
        Pool(prefix=ip_network("fd00:4::/48"), subnet_length=64),
    )
)
AWAY = StoreUnavailable("the store is away")
C1 = "/run/netns/c1"


class Observed(Agent):
    """An agent that can be waited for: it tells its status after every turn of its loop."""

    def __init__(self, **arguments: Any) -> None:
        self.turned = threading.Condition()
        self.last: Status | None = None
        super().__init__(**arguments)

    def _turn(self) -> None:
        super()._turn()
        with self.turned:
            self.last = self._status()
            self.turned.notify_all()

    def look_at_the_lease(self) -> None:
        """Renew it now, and not when a third of its time is over."""
        self._keeper.check()

    @property
    def ended(self) -> bool:
        """Whether it takes no calls any more."""
        return self._inbox.closed

    def lose_patience(self) -> None:
        """Wait for the route store no longer, and not only when its time is over."""
        self._inbox.later(lambda: setattr(self, "_give_up_waiting", 0.0))

    def let_callers_wait(self, seconds: float) -> None:
        """Tell callers after so long that nobody got to them."""
        self._inbox.patience = seconds

    def until(self, condition: Callable[[Status], object]) -> Status:
        """Wait until the status fulfils the condition; return it."""
        with self.turned:
            done = self.turned.wait_for(lambda: self.last is not None and condition(self.last), SOON)
            assert done, self.last and self.last.to_json()
            assert self.last is not None
            return self.last


@attrs.define(kw_only=True)
class Host:
    """A host of the test's network: what outlives an agent, and a way to run one."""

    directory: Path
    store: FakeStore
    kernel: FakeKernel
    node: Node
    remote: Any = attrs.Factory(HostGateway)
    local: Any = attrs.Factory(Bridge)

    @property
    def state(self) -> Path:
        """The remembered view's file."""
        return self.directory / f"{self.node.name}.json"

    @contextmanager
    def agent(
        self,
        *,
        leave: bool = False,
        raises: tuple[type[Exception], str] | None = None,
        when_ready: Callable[[Agent], None] = lambda _agent: None,
        **arguments: Any,
    ) -> Iterator[Observed]:
        """Run an agent on this host; at the end it is stopped, and raises what it raised, unless expected."""
        book = AddressBook(self.directory / f"{self.node.name}.db")
        values: dict[str, Any] = {
            "node": self.node,
            "network": NETWORK,
            "leases": self.store,
            "routes": self.store,
            "local": self.local,
            "remote": self.remote,
            "kernel": self.kernel.restart(),
            "addresses": book,
            "state": self.state,
            "store": "memory",
            "linger": 0.05,
        }
        agent = Observed(**{**values, **arguments})
        raised: list[BaseException] = []

        def run() -> None:
            try:
                agent.run(leave=leave, when_ready=partial(when_ready, agent))
            except BaseException as error:
                raised.append(error)
                with agent.turned:
                    agent.turned.notify_all()

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield agent
        finally:
            agent.stop()
            self.store.faults.let_go()
            thread.join(SOON)
            book.close()
        if raises is not None:
            [error] = raised
            assert isinstance(error, raises[0])
            assert raises[1] in str(error)
            return
        for error in raised:
            raise error

    @contextmanager
    def ready_agent(self, **arguments: Any) -> Iterator[Observed]:
        """Run an agent on this host, once it is ready."""
        with self.agent(**arguments) as agent:
            agent.until(ready)
            yield agent

    def hears_of(self, agent: Agent, count: int) -> list[Route]:
        """Let so many peers announce a subnet that is free; return their routes, which stand."""
        routes = [peer(number) for number in free_numbers(agent, count)]
        for route in routes:
            self.store.announce(route)
        self.kernel.wait_for(lambda items: {key_of(route) for route in routes} <= items.keys())
        return routes


@attrs.define(kw_only=True)
class World:
    """A store that all hosts share, and the hosts."""

    directory: Path
    store: MemoryStore

    def host(self, number: int, **values: Any) -> Host:
        """Return host number so-and-so, on the link of all others."""
        name = f"host-{number}"
        underlay = (f"192.0.2.{number}/24", f"2001:db8::{number}/64")
        return Host(
            directory=self.directory,
            store=FakeStore(name=str(self.directory)),
            kernel=FakeKernel(addresses=underlay),
            node=Node(name=name, interface="eth0", addresses=tuple(map(ip_interface, underlay))),
            **values,
        )


@pytest.fixture
def world(tmp_path: Path) -> World:
    """An empty network."""
    return World(directory=tmp_path, store=MemoryStore(name=str(tmp_path)))


@pytest.fixture
def host(world: World) -> Host:
    """The first host of an empty network."""
    return world.host(1)


def peer(number: int, *, name: str = "", hop: str = "192.0.2.77") -> Route:
    """Return the route of a peer that nobody runs."""
    return Route(
        prefix=ip_network(f"10.4.{number}.0/24"),
        node=name or f"peer-{number}",
        next_hop=ip_address(hop),
        tunnel=Tunnel(type="host-gw"),
    )


def key_of(route: Route) -> Key:
    """Return the key of the one item that host-gw makes of a route."""
    return KernelRoute(destination=route.prefix, link="eth0").key


def own_prefixes(world: World, name: str) -> set[Prefix]:
    """Return what a node holds in the store."""
    return {subnet for lease in world.store.leases() if lease.node == name for subnet in lease.subnets}


def free_numbers(agent: Agent, count: int) -> list[int]:
    """Return third octets of subnets that this agent does not hold."""
    own = {str(subnet) for subnet in agent.node.subnets}
    return [number for number in range(1, 250) if f"10.4.{number}.0/24" not in own][:count]


def lose_the_lease(host: Host, agent: Observed) -> None:
    """Take a node's only lease away while it hangs in renewing it; `faults.heal` lets it go on."""
    host.store.faults.hang("renew")
    agent.look_at_the_lease()
    host.store.faults.wait_until_hung("renew")
    (lease,) = host.store.leases()
    host.store.release(lease)


def ready(status: Status) -> bool:
    """Return whether the node is ready."""
    return status.ready


# The way that data flows.


def test_claim_announce_follow_program(world: World, host: Host) -> None:
    """A host takes a subnet of each pool, says so after its own side stands, and routes to a peer's."""
    with host.agent() as agent:
        status = agent.until(ready)
        assert set(status.node.subnets) == own_prefixes(world, "host-1")
        wait_for_routes(world.store, lambda routes: set(routes) == set(status.node.subnets))
        (other,) = host.hears_of(agent, 1)
        assert str(host.kernel.items[key_of(other)]) == f"route {other.prefix} via 192.0.2.77 dev eth0"
        world.store.withdraw(other)
        host.kernel.wait_for(lambda items: key_of(other) not in items)
        assert agent.status().repairs == 0


@pytest.mark.parametrize("remote", [HostGateway(), Vxlan()])
def test_two_agents_reach_each_other(world: World, remote: Any) -> None:
    """Each programs exactly the routes to the other's subnets."""
    one, two = world.host(1, remote=remote), world.host(2, remote=remote)
    with one.agent() as first, two.agent() as second:
        first.until(ready)
        second.until(ready)
        for host, other in ((one, second), (two, first)):
            keys: set[Key] = {KernelRoute(destination=subnet, link="any").key for subnet in other.node.subnets}
            host.kernel.wait_for(partial(_holds, keys))
        assert not {each.subnets for each in (first.node,)} & {each.subnets for each in (second.node,)}


def test_when_ready_may_ask_the_agent(world: World) -> None:
    """The callback runs on the agent's own thread, where waiting for an answer would wait for ever."""
    seen: list[bool] = []
    called = threading.Event()

    def when_ready(asked: Agent) -> None:
        seen.append(asked.status().ready)
        called.set()

    with world.host(1).agent(when_ready=when_ready) as agent:
        assert called.wait(SOON)
        agent.until(ready)
    assert seen == [True]


# Stores that are away.


def test_a_store_that_is_away_at_the_first_start_is_said_and_nothing_is_touched(host: Host) -> None:
    """Without a lease and without a memory there is nothing to program."""
    host.store.go_away()
    with host.agent() as agent:
        status = agent.until(lambda status: status.route_trouble and status.lease_trouble)
        assert status.reasons == [
            "no lease: the store is away",
            "the route store has not told its routes: the store is away",
            "nothing is programmed yet",
        ]
        assert not host.kernel.batches
        with pytest.raises(KernelError, match="no lease: the store is away"):
            agent.attach("c1", C1)
        host.store.come_back()
        agent.until(ready)


def test_a_store_that_is_away_at_a_restart_costs_nothing(world: World, host: Host) -> None:
    """The remembered view is programmed, nothing that stands is deleted, and the first Snapshot sweeps."""
    with host.ready_agent() as agent:
        kept, gone = host.hears_of(agent, 2)
        agent.status()
    before = dict(host.kernel.items)
    stale = KernelRoute(destination=ip_network("10.4.250.0/24"), link="eth0", gateway=ip_address("192.0.2.9"))
    host.kernel.put(stale)
    world.store.withdraw(gone)
    host.store.go_away()
    with host.agent() as agent:
        status = agent.until(lambda status: status.programming and status.settled)
        assert dict(host.kernel.items) == {**before, stale.key: stale}
        assert status.reasons == [
            "the route store has not told its routes: the store is away",
            "the node's own routes are not announced yet",
        ]
        assert status.warnings[0].startswith("the store is away; the lease holds for")
        host.store.come_back()
        agent.until(ready)
        host.kernel.wait_for(lambda items: stale.key not in items and key_of(gone) not in items)
        assert key_of(kept) in host.kernel.items
        assert agent.status().repairs == 0


class Telling(FakeStore):
    """A store that says to all hosts what their operator has said, whatever one of them would say."""

    word: Settings | None = Settings(network=NETWORK, dataplane="host-gw")

    def settings(self) -> Settings | None:
        """See KeepsSettings."""
        return self.word

    def keep(self, settings: Settings, *, over: Settings | None) -> Settings:
        """See KeepsSettings."""
        if self.word == over:
            self.word = settings
        assert self.word is not None
        return self.word


@pytest.mark.parametrize("kind", [Telling, FakeStore])
def test_what_is_remembered_of_the_settings_is_the_stores_word(world: World, kind: type[FakeStore]) -> None:
    """Not this host's own, which the store may contradict; and nothing of one that keeps none."""
    host = world.host(5)
    host.store = kind(name=str(world.directory))
    with host.ready_agent(settings=Settings(network=NETWORK, dataplane="vxlan")):
        pass  # it is written at the end at the latest
    assert remembered.load(host.state).settings == (Telling.word if kind is Telling else None)


def test_attaching_before_the_first_snapshot_deletes_nothing(host: Host) -> None:
    """A container that is attached again reads the kernel anew; a partial view still deletes nothing."""
    host.kernel.add_namespace(C1)
    with host.ready_agent() as agent:
        endpoint = agent.attach("c1", C1)
    stale = KernelRoute(destination=ip_network("10.4.250.0/24"), link="eth0", gateway=ip_address("192.0.2.9"))
    host.kernel.put(stale)
    host.store.go_away()
    with host.agent() as agent:
        agent.until(lambda status: status.programming and status.settled)
        assert agent.attach("c1", C1) == endpoint
        assert agent.detach("c1")
        assert stale.key in host.kernel.items


def test_detaching_before_anything_is_known_executes_nothing(host: Host) -> None:
    """The address is free at once; the interface goes when the kernel has been read."""
    host.kernel.add_namespace(C1)
    with host.ready_agent() as agent:
        agent.attach("c1", C1)
    host.store.faults.hang("leases")
    host.store.faults.hang("subscribe")
    with host.agent() as agent:
        assert agent.detach("c1")
        assert not agent.detach("c1")
        assert not host.kernel.batches
        host.store.faults.heal()
        agent.until(ready)
        host.kernel.wait_for(lambda items: not any(str(key[1]).startswith("veth") for key in items))


def test_a_store_that_dies_changes_nothing(world: World, host: Host) -> None:
    """Forwarding goes on, the status says so, and only what the store tells when it is back is acted on."""
    with host.ready_agent() as agent:
        kept, gone = host.hears_of(agent, 2)
        before = dict(host.kernel.items)
        host.store.go_away()
        world.store.withdraw(gone)
        status = agent.until(lambda status: status.route_trouble)
        assert status.ready
        assert "the connection was cut; forwarding goes on" in status.warnings
        assert dict(host.kernel.items) == before
        host.store.come_back()
        status = agent.until(lambda status: not status.route_trouble)
        host.kernel.wait_for(lambda items: key_of(gone) not in items)
        assert key_of(kept) in host.kernel.items


def test_a_store_that_has_forgotten_everything_costs_no_route(world: World, host: Host) -> None:
    """Its file was deleted: the others will announce again, but not at the moment at which we look."""
    with host.ready_agent(linger=3600.0) as agent:
        others = host.hears_of(agent, 2)
        host.kernel.batches.clear()
        host.store.go_away()
        for route in others:
            world.store.withdraw(route)
        host.store.come_back()
        status = agent.until(lambda status: len(status.lingering) == 2)
        assert any("the route store came back and tells nothing of it" in each for each in status.warnings)
        for route in others:
            world.store.announce(route)
        agent.until(lambda status: not status.lingering)
        world.store.withdraw(others[0])
        host.kernel.wait_for(lambda items: key_of(others[0]) not in items)
        assert [each.item for batch in host.kernel.batches for each in batch] == [
            item for item in _deleted(host) if item.key == key_of(others[0])
        ]


def test_a_store_that_breaks_in_a_way_that_nobody_foresaw_is_asked_again(host: Host) -> None:
    """A backend's own bug ends no thread: lease and routes are looked after all the same."""
    for call in ("leases", "subscribe", "next_event", "announce"):
        host.store.faults.fail(call, ZeroDivisionError("a bug"))
    with host.agent() as agent:
        status = agent.until(lambda status: "ZeroDivisionError: a bug" in status.lease_trouble)
        assert not status.ready
        agent.until(ready)


def test_what_went_wrong_is_not_said_any_longer_than_it_is_true(host: Host) -> None:
    """An announcement that failed once and stood later leaves no warning until the next renewal."""
    host.store.faults.fail("announce", AWAY)
    with host.agent() as agent:
        agent.until(lambda status: status.lease_trouble)
        status = agent.until(ready)
        assert not status.warnings


def test_a_node_is_not_ready_before_its_announcement_stands(host: Host) -> None:
    """That it was asked for is not enough."""
    host.store.faults.hang("announce")
    with host.agent() as agent:
        host.store.faults.wait_until_hung("announce")
        status = agent.until(lambda status: status.settled)
        assert status.reasons == ["the node's own routes are not announced yet"]
        host.store.faults.heal()
        agent.until(ready)


def test_other_hosts_routes_are_followed_while_the_lease_store_hangs(world: World, host: Host) -> None:
    """The kernel waits for no call of the keeper's."""
    with host.ready_agent() as agent:
        host.store.faults.hang("renew")
        agent.look_at_the_lease()
        host.store.faults.wait_until_hung("renew")
        assert host.hears_of(agent, 1)


# The lease and the announcement.


def test_an_announcement_that_somebody_deleted_is_made_again(world: World, host: Host) -> None:
    """The store tells of it, and the node puts it back."""
    with host.ready_agent() as agent:
        own = [route for route in _routes(world).values() if route.node == "host-1"]
        for route in own:
            world.store.withdraw(route)
        wait_for_routes(world.store, lambda routes: set(routes) == set(agent.node.subnets))
        agent.until(ready)
        assert set(agent.node.subnets) == own_prefixes(world, "host-1")


def test_a_lease_that_somebody_deleted_is_claimed_again_with_the_same_subnets(world: World, host: Host) -> None:
    """An alarm, not an exit; and the routes that went with the lease are announced again."""
    with host.agent() as agent:
        before = agent.until(ready).node.subnets
        (lease,) = world.store.leases()
        world.store.release(lease)
        wait_for_routes(world.store, lambda routes: set(routes) == set(before))
        status = agent.until(ready)
        assert status.node.subnets == before
        assert own_prefixes(world, "host-1") == set(before)
        assert agent.status().repairs == 0


def test_a_subnet_that_somebody_else_took_is_given_up(world: World, host: Host) -> None:
    """Other subnets are had, containers of the old ones are stranded and said so, and nothing overlaps."""
    host.kernel.add_namespace(C1)
    with host.agent() as agent:
        before = agent.until(ready).node.subnets
        endpoint = agent.attach("c1", C1)
        lose_the_lease(host, agent)
        world.store.claim(before, "thief", 3600)
        theirs = attrs.evolve(peer(1, name="thief"), prefix=before[0])
        world.store.announce(theirs)
        host.store.faults.heal()
        status = agent.until(lambda status: status.ready and status.node.subnets != before)
        assert not set(status.node.subnets) & set(before)
        assert status.stranded == (endpoint,)
        assert any("attach it again" in warning for warning in status.warnings)
        host.kernel.wait_for(lambda items: key_of(theirs) in items)
        held = [item for item in host.kernel.items.values() if isinstance(item, InterfaceAddress)]
        assert {item.address.network for item in held} == set(status.node.subnets)
        again = agent.attach("c1", C1)
        assert {own.network for own in again.addresses} == set(status.node.subnets)
        assert not agent.status().stranded


def test_a_host_of_the_same_name_is_an_alarm_and_no_quarrel(world: World, host: Host) -> None:
    """A copied machine takes over the lease with the name: who had it says so, and does not take it back."""
    with host.ready_agent() as agent:
        own = agent.node.subnets[0]
        clone = attrs.evolve(peer(1, name="host-1"), prefix=own)
        world.store.announce(clone)
        status = agent.until(lambda status: not status.ready)
        assert f"another host, at {clone.next_hop}, is called host-1 too" in status.reasons[0]
        world.store.announce(attrs.evolve(clone, next_hop=ip_address("192.0.2.78")))
        agent.until(lambda status: status.namesake == "192.0.2.78")
        world.store.withdraw(clone)
        agent.until(ready)
        assert own_prefixes(world, "host-1") == set(agent.node.subnets)


def test_two_hosts_that_say_the_same_of_themselves_are_named(world: World) -> None:
    """Copied machines again: two VTEPs of one MAC, of which the kernel can know one."""
    vtep = Tunnel(type="vxlan", data=[("VNI", 1), ("VtepMAC", "02:00:5e:10:00:01")])
    with world.host(1, remote=Vxlan()).ready_agent() as agent:
        one, other = (
            attrs.evolve(peer(number, hop=f"192.0.2.{number}"), tunnel=vtep)
            for number in free_numbers(agent, 3)[1:]
        )
        world.store.announce(one)
        world.store.announce(other)
        status = agent.until(lambda status: len(status.rivals) == 1)
        assert status.ready
        (line,) = status.warnings
        assert f"route {other.prefix} wants fdb" in line
        assert f"and route {one.prefix} has fdb" in line
        world.store.withdraw(one)
        agent.until(lambda status: not status.warnings)


class Unbound(FakeStore):
    """A route store that knows no leases, as BGP is one: what was announced stays until it is withdrawn."""

    def leases(self) -> list[Any]:
        """Hold none, so that no route ends with one."""
        return []


def test_routes_of_given_up_subnets_are_withdrawn_where_no_lease_ends_them(world: World, host: Host) -> None:
    """Otherwise two hosts would announce one prefix until somebody restarts."""
    routes = Unbound(name=f"{world.directory} routes")
    with host.agent(routes=routes) as agent:
        before = agent.until(ready).node.subnets
        lose_the_lease(host, agent)
        world.store.claim(before, "thief", 3600)
        host.store.faults.heal()
        after = agent.until(lambda status: status.ready and status.node.subnets != before).node.subnets
        wait_for_routes(routes, lambda routes: set(routes) == set(after))


def test_who_asks_again_and_again_does_not_put_off_the_start(world: World, host: Host) -> None:
    """Regression: whoever asked for the status more often than every 2 s kept a host from going on."""
    host.store.go_away()
    with host.agent(routes=Unbound(name=f"{world.directory} routes")) as agent:
        agent.until(lambda status: status.synced and status.lease_trouble)
        before = agent._give_up_waiting
        assert not agent.status().programming
        agent.status()
        assert agent._give_up_waiting == before


@pytest.mark.parametrize(("lease_store", "relied_on"), [("one", True), ("another", False)])
def test_a_host_that_starts_while_only_the_lease_store_is_away(
    world: World, host: Host, lease_store: str, relied_on: bool
) -> None:
    """Its lease holds, so it is announced, and ready; unless that was a lease of another store's."""
    routes = Unbound(name=f"{world.directory} routes")
    with host.agent(routes=routes, lease_store="one") as agent:
        subnets = agent.until(ready).node.subnets
    for route in snapshot(routes).routes:
        routes.withdraw(route)
    host.store.go_away()
    with host.agent(routes=routes, lease_store=lease_store) as agent:
        agent.until(lambda status: status.synced and status.lease_trouble)
        agent.lose_patience()
        if relied_on:
            status = agent.until(lambda status: status.ready and status.warnings)
            assert "the store is away; the lease holds for" in status.warnings[0]
            wait_for_routes(routes, lambda routes: set(routes) == set(subnets))
        status = agent.until(lambda status: status.programming and status.lease_trouble)
        assert (status.lease_seconds is not None) == status.ready == status.announced == relied_on
        assert status.node.subnets == subnets


def test_a_lease_that_cannot_be_had_again_is_said_with_every_reason(world: World, host: Host) -> None:
    """That it was lost, and why no other can be had."""
    with host.ready_agent() as agent:
        lose_the_lease(host, agent)
        world.store.reserve(tuple(pool.prefix for pool in NETWORK.pools))
        host.store.faults.heal()
        status = agent.until(lambda status: "no subnet left" in status.lease_trouble)
        assert status.lease_seconds is None
        assert "no longer holds revision" in status.reasons[0]
        assert "no subnet left" in status.reasons[0]
        assert host.kernel.items, "forwarding goes on"


def test_remembered_subnets_are_not_used_where_somebody_else_lives_in_them(world: World, host: Host) -> None:
    """The lease store is away, but the route store knows better than our disk."""
    with host.agent() as agent:
        before = agent.until(ready).node.subnets
    for lease in world.store.leases():
        world.store.release(lease)
    world.store.announce(attrs.evolve(peer(1, name="thief"), prefix=before[0]))
    host.store.faults.fail("leases", AWAY, times=FOR_EVER)
    host.kernel.items.clear()
    with host.agent() as agent:
        agent.until(lambda status: status.synced and status.lease_trouble)
        agent.lose_patience()
        status = agent.until(lambda status: not status.programming and status.lease_trouble)
        assert status.node.subnets == ()
        assert not host.kernel.batches


# The kernel.


def test_drift_is_repaired(world: World, host: Host) -> None:
    """A route that somebody deleted is back, and counted."""
    with host.ready_agent() as agent:
        (other,) = host.hears_of(agent, 1)
        agent.status()
        host.kernel.lose(key_of(other))
        host.kernel.wait_for(lambda items: key_of(other) in items)
        assert agent.until(lambda status: status.repairs).repairs == 1


def test_a_bridge_that_somebody_deleted_comes_back_with_all_that_stood_on_it(host: Host) -> None:
    """The cascade is seen by the full read and repaired; the inside of a container was not hurt."""
    inner = host.kernel.add_namespace(C1)
    with host.ready_agent() as agent:
        agent.attach("c1", C1)
        before, inside = dict(host.kernel.items), dict(inner.items)
        host.kernel.lose(("link", "cn0"))
        host.kernel.wait_for(lambda items: items.keys() == before.keys())
        assert inner.items == inside


def test_what_the_kernel_refused_is_tried_again(host: Host) -> None:
    """The node says which item is missing until it stands."""
    host.kernel.fail(lambda operation: "cn0" in str(operation), code=errno.EBUSY, times=1)
    with host.agent() as agent:
        status = agent.until(lambda status: status.failures)
        assert "the kernel does not hold everything that it should, first: + link cn0" in status.reasons[0]
        assert agent.until(ready).repairs == 0


def test_a_kernel_that_cannot_be_read_is_neither_guessed_nor_given_up(world: World, host: Host) -> None:
    """Nothing is executed on an unread kernel, whatever is heard meanwhile."""
    host.kernel.faults.fail("read", KernelError("no buffer space"), times=FOR_EVER)
    with host.agent() as agent:
        status = agent.until(lambda status: status.kernel_trouble)
        assert "the kernel cannot be read or programmed: no buffer space" in status.reasons
        world.store.announce(peer(free_numbers(agent, 1)[0]))
        agent.until(lambda status: status.routes)
        with pytest.raises(KernelError, match="no buffer space"):
            agent.attach("c1", C1)
        assert not host.kernel.batches
        host.kernel.faults.heal()
        agent.until(ready)


def test_a_process_that_may_not_program_the_kernel_ends(host: Host) -> None:
    """At the start that is the operator's to mend."""
    host.kernel.faults.fail("execute", PermissionRefused("needs CAP_NET_ADMIN"), times=FOR_EVER)
    with host.agent(raises=(PermissionRefused, "CAP_NET_ADMIN")) as agent, agent.turned:
        agent.turned.wait_for(lambda: agent.ended, SOON)


def test_a_permission_that_is_missing_later_is_said(world: World, host: Host) -> None:
    """One refused setting must not end a host's network that has worked until now."""
    with host.ready_agent() as agent:
        host.kernel.faults.fail("execute", PermissionRefused("read-only"))
        other = peer(free_numbers(agent, 1)[0])
        world.store.announce(other)
        agent.until(lambda status: "read-only" in status.kernel_trouble)
        host.kernel.wait_for(lambda items: key_of(other) in items)
        agent.until(ready)


def test_a_kernel_that_cannot_be_listened_to_is_read_nevertheless(host: Host) -> None:
    """Whatever the listener raised, drift is found."""
    with host.ready_agent():
        host.kernel.faults.fail("changed", ValueError("a bug in the listener"), times=3)
        host.kernel.lose(("link", "cn0"))  # wakes the call under way; the next ones fail
        host.kernel.wait_for(lambda items: ("link", "cn0") in items)


def test_a_burst_of_routes_is_few_batches(world: World, host: Host) -> None:
    """A thousand routes in one go are not a thousand transactions."""
    routes = [
        Route(prefix=ip_network(f"fd00:4:0:{number:x}::/64"), node="n", next_hop=ip_address("2001:db8::9"))
        for number in range(1000)
    ]
    for route in routes:
        world.store.announce(route)
    with host.ready_agent() as agent:
        assert len(agent.status().routes) >= 999
        assert len(host.kernel.batches) <= 5


class Counting(HostGateway):
    """host-gw, counting how often it was asked."""

    calls = 0

    def peer(self, node: Node, route: Route) -> Any:
        """Count, and answer."""
        type(self).calls += 1
        return super().peer(node, route)


@pytest.mark.parametrize("peers", [1, 200])
def test_an_event_costs_the_same_however_many_peers_there_are(world: World, peers: int) -> None:
    """One call of the dataplane, one operation, no read of the kernel."""
    host = world.host(1, remote=Counting())
    for number in range(peers):
        prefix = ip_network(f"fd00:4:0:{number:x}::/64")
        world.store.announce(Route(prefix=prefix, node="n", next_hop=ip_address("2001:db8::9")))
    with host.ready_agent() as agent:
        calls, reads, batches = Counting.calls, host.kernel.reads, len(host.kernel.batches)
        host.hears_of(agent, 1)
        agent.status()
        assert Counting.calls - calls == 1
        assert host.kernel.reads == reads
        assert [len(batch) for batch in host.kernel.batches[batches:]] == [1]


# Peers that are not believed.


class Stumbling(HostGateway):
    """A dataplane with a bug that one peer's announcement brings out."""

    def peer(self, node: Node, route: Route) -> Any:
        """Stumble over a tunnel that says so."""
        if route.tunnel.get("poison"):
            raise TypeError("unorderable")
        return super().peer(node, route)


def test_a_peer_that_the_dataplane_stumbles_over_is_refused_alone(world: World) -> None:
    """One record must not end the agents of a whole cluster, again after every restart."""
    host = world.host(1, remote=Stumbling())
    with host.ready_agent() as agent:
        good, bad = (peer(number) for number in free_numbers(agent, 2))
        bad = attrs.evolve(bad, tunnel=Tunnel(data={"poison": True}))
        world.store.announce(bad)
        world.store.announce(good)
        host.kernel.wait_for(lambda items: key_of(good) in items)
        status = agent.status()
        assert "TypeError: unorderable" in status.refused[str(bad.prefix)]
        assert status.ready
        world.store.announce(attrs.evolve(bad, tunnel=Tunnel()))
        host.kernel.wait_for(lambda items: key_of(bad) in items)
        assert not agent.status().refused


def test_a_route_that_cannot_be_believed_is_shown_and_not_programmed(world: World, host: Host) -> None:
    """With its reason, among the warnings, and the node is ready nevertheless."""
    with host.ready_agent() as agent:
        host.store.set_aside(Quarantined(key="/subnets/x", reason="not JSON"))
        world.store.announce(attrs.evolve(peer(1), prefix=ip_network("203.0.113.0/24")))
        status = agent.until(lambda status: status.refused)
        assert status.ready
        assert "203.0.113.0/24 lies outside the pool 10.4.0.0/16" in status.warnings
        status = agent.until(lambda status: status.quarantined)
        assert "record /subnets/x set aside: not JSON" in status.warnings
        host.store.set_aside(Quarantined(key="/subnets/x", reason=""))
        world.store.announce(peer(*free_numbers(agent, 1)))
        agent.until(lambda status: not status.quarantined)


# Containers.


def test_attach_is_idempotent_and_detach_too(host: Host) -> None:
    """The same container gets the same interface, and a second detach finds nothing."""
    inner = host.kernel.add_namespace(C1)
    with host.ready_agent() as agent:
        first = agent.attach("c1", C1)
        before = dict(host.kernel.items)
        assert agent.attach("c1", C1) == first
        assert host.kernel.items == before
        four, six = first.addresses
        assert inner.words() == [
            f"address {four} dev eth0",
            f"address {six} dev eth0",
            f"route 0.0.0.0/0 via {four.network[1]} dev eth0",
            f"route ::/0 via {six.network[1]} dev eth0",
        ]
        assert agent.detach("c1")
        assert not inner.items
        assert not agent.detach("c1")


@pytest.mark.parametrize("where", ["veth", "master", "inside"])
def test_an_attach_that_fails_leaves_nothing(host: Host, where: str) -> None:
    """No interface, no address, no name; and the next attempt succeeds."""
    inner = host.kernel.add_namespace(C1)
    with host.ready_agent() as agent:
        before = dict(host.kernel.items)
        if where == "inside":
            inner.fail(lambda operation: "route" in str(operation), times=1)
        else:
            host.kernel.fail(lambda operation: where in str(operation), times=1)
        with pytest.raises(KernelError, match="cannot attach c1"):
            agent.attach("c1", C1)
        assert host.kernel.items == before
        assert not inner.items
        assert not agent.status().endpoints
        lowest = agent.attach("c1", C1)
        assert agent.status().endpoints == (lowest,)


def test_an_attach_whose_rollback_fails_too_frees_the_address(host: Host) -> None:
    """What could not be deleted is nobody's wish any more, and goes with the next read."""
    host.kernel.add_namespace(C1)
    with host.ready_agent() as agent:
        before = set(host.kernel.items)
        host.kernel.fail(lambda operation: "master" in str(operation), times=1)
        host.kernel.fail(lambda operation: isinstance(operation, Delete), times=2)
        with pytest.raises(KernelError, match="cannot attach c1"):
            agent.attach("c1", C1)
        assert not agent.status().endpoints
        agent.until(ready)
        assert set(host.kernel.items) == before


def test_a_namespace_that_is_not_there_is_refused_before_anything_is_done(host: Host) -> None:
    """Nothing is assigned and nothing is programmed."""
    with host.ready_agent() as agent:
        batches = len(host.kernel.batches)
        with pytest.raises(KernelError, match="there is no such namespace"):
            agent.attach("c1", "/run/netns/nowhere")
        host.kernel.add_namespace(C1)
        with pytest.raises(ConfigError, match="container"):
            agent.attach("../c1", C1)
        assert len(host.kernel.batches) == batches
        assert not agent.status().endpoints


def test_a_namespace_that_ended_is_said_and_a_new_one_of_that_name_works(host: Host) -> None:
    """The address stays held until the container is detached or attached again."""
    host.kernel.add_namespace(C1)
    with host.ready_agent() as agent:
        endpoint = agent.attach("c1", C1)
        host.kernel.end_namespace(C1)
        status = agent.until(lambda status: status.gone)
        assert status.gone == (endpoint,)
        assert status.ready
        assert f"container c1: its namespace {C1} is gone; detach it" in status.warnings
        inner = host.kernel.add_namespace(C1)
        assert agent.attach("c1", C1) == endpoint
        assert inner.items
        assert not agent.status().gone


def test_a_container_that_moved_to_another_namespace_keeps_its_addresses(host: Host) -> None:
    """The old cable is cut and a new one laid."""
    old, new = host.kernel.add_namespace(C1), host.kernel.add_namespace("/run/netns/c2")
    with host.ready_agent() as agent:
        first = agent.attach("c1", C1)
        second = agent.attach("c1", "/run/netns/c2")
        assert second == attrs.evolve(first, netns="/run/netns/c2")
        assert not old.items
        assert new.items
        assert agent.status().endpoints == (second,)


def test_a_restart_finds_every_container_again(host: Host) -> None:
    """Same addresses, and not one operation on a kernel that holds everything."""
    host.kernel.add_namespace(C1)
    with host.ready_agent() as agent:
        endpoint = agent.attach("c1", C1)
    with host.agent() as agent:
        status = agent.until(ready)
        assert status.endpoints == (endpoint,)
        assert [len(batch) for batch in host.kernel.batches] == []
        assert agent.attach("c1", C1) == endpoint


def test_a_cable_that_somebody_cut_is_laid_again_with_its_inside(host: Host) -> None:
    """The far end lost its addresses with the cable; a failure there is said, and tried again."""
    inner = host.kernel.add_namespace(C1)
    with host.ready_agent() as agent:
        agent.attach("c1", C1)
        before = dict(inner.items)
        (veth,) = [
            item for item in host.kernel.items.values() if isinstance(item, Link) and "veth" in item.name
        ]
        inner.fail(lambda operation: "address" in str(operation), times=1)
        host.kernel.lose(veth.key)
        status = agent.until(lambda status: status.failures)
        assert "dev eth0: in container c1: EINVAL" in status.warnings[0]
        assert status.ready
        inner.wait_for(lambda items: items == before)
        agent.until(lambda status: not status.failures)


def test_a_full_subnet_is_an_error_that_changes_nothing(host: Host) -> None:
    """Addresses end; the node does not."""
    network = NetworkConfig(pools=(Pool(prefix=ip_network("10.4.0.0/16"), subnet_length=30),))
    with host.ready_agent(network=network) as agent:
        for number in range(1, 2):
            host.kernel.add_namespace(f"/run/netns/{number}")
            agent.attach(f"c{number}", f"/run/netns/{number}")
        host.kernel.add_namespace(C1)
        before = dict(host.kernel.items)
        with pytest.raises(AddressesExhausted):
            agent.attach("late", C1)
        assert host.kernel.items == before


# The end.


def test_stopping_leaves_the_kernel_as_it_is(world: World, host: Host) -> None:
    """And the lease, and the announcements."""
    with host.ready_agent():
        before = dict(host.kernel.items)
    assert host.kernel.items == before
    assert own_prefixes(world, "host-1")
    assert _routes(world)


def test_leaving_gives_everything_back(world: World, host: Host) -> None:
    """Routes, lease, addresses, kernel and file."""
    host.kernel.add_namespace(C1)
    with host.ready_agent(leave=True) as agent:
        agent.attach("c1", C1)
    assert not [item for item in host.kernel.items.values() if not str(item).startswith("sysctl")]
    assert not world.store.leases()
    assert not _routes(world)
    assert not host.state.exists()
    book = AddressBook(world.directory / "host-1.db")
    assert not book.assigned()
    book.close()


@pytest.mark.parametrize("call", ["withdraw", "leases", "release"])
def test_leaving_while_the_store_is_away_still_cleans_the_kernel(world: World, host: Host, call: str) -> None:
    """What could not be given back is said; the rest was."""
    with host.ready_agent(leave=True, raises=(StoreUnavailable, "the store is away")):
        host.store.faults.fail(call, AWAY)
    assert not [item for item in host.kernel.items.values() if not str(item).startswith("sysctl")]
    if call == "withdraw":
        assert not world.store.leases()


def test_leaving_after_a_lost_answer_still_gives_the_lease_back(world: World, host: Host) -> None:
    """The store holds a revision that the node has never seen."""
    with host.ready_agent(leave=True) as agent:
        host.store.faults.lose_answer("renew", AWAY)
        agent.look_at_the_lease()
        agent.until(lambda status: status.lease_trouble)
    assert not world.store.leases()


def test_what_the_kernel_keeps_when_leaving_is_an_error(world: World, host: Host) -> None:
    """Silence would be a lie."""

    def stuck(operation: Operation) -> bool:
        return isinstance(operation, Delete) and isinstance(operation.item, Link)

    with host.ready_agent(leave=True, raises=(KernelError, "left in the kernel")):
        host.kernel.fail(stuck, code=errno.EBUSY, times=FOR_EVER)
    assert not world.store.leases()


def test_a_stopped_agent_answers_at_once(host: Host) -> None:
    """A call that comes too late is not left hanging."""
    with host.ready_agent() as agent:
        pass
    with pytest.raises(DaemonUnavailable, match="has stopped"):
        agent.status()


def test_a_call_that_nobody_waits_for_any_more_is_not_made(host: Host) -> None:
    """A caller that was told of a timeout must not find the container attached later."""
    host.kernel.add_namespace(C1)
    with host.ready_agent() as agent:
        host.kernel.faults.hang("read")
        host.kernel.lose(("link", "cn0"))
        host.kernel.faults.wait_until_hung("read")
        agent.let_callers_wait(0.05)
        with pytest.raises(DaemonUnavailable, match="did not get to it"):
            agent.attach("c1", C1)
        host.kernel.faults.heal()
        agent.until(ready)
        assert not [key for key in host.kernel.items if str(key[1]).startswith("veth")]


@pytest.mark.parametrize("call", ["leases", "claim", "subscribe"])
def test_stopping_does_not_wait_for_a_store_that_fails(host: Host, call: str) -> None:
    """Neither the backoff nor the next attempt is waited for."""
    host.store.faults.fail(call, AWAY, times=FOR_EVER)
    with host.agent() as agent:
        agent.until(lambda status: status.lease_trouble or status.route_trouble)
    assert agent.ended


def test_a_node_that_cannot_take_part_says_why(world: World) -> None:
    """An underlay whose MTU leaves nothing for IPv6 is found when the subnets are there, and ends the agent."""
    host = world.host(1, remote=Vxlan())
    host.node = attrs.evolve(host.node, mtu=1300)
    with host.agent(raises=(ConfigError, "MTU 1300 of eth0 leaves 1230 octets")) as agent, agent.turned:
        agent.turned.wait_for(lambda: agent.ended, SOON)
    assert not host.kernel.items


# The file.


def test_a_view_of_another_network_is_not_used(host: Host) -> None:
    """Its subnets and routes could be anybody's here."""
    other = NetworkConfig(pools=(Pool(prefix=ip_network("10.5.0.0/16"), subnet_length=24),))
    remembered.save(
        host.state,
        remembered.Remembered(network=other, subnets=(ip_network("10.5.1.0/24"),), routes=(peer(1),)),
    )
    host.store.go_away()
    with host.agent() as agent:
        status = agent.until(lambda status: status.route_trouble and status.lease_trouble)
        assert not status.programming
        assert not status.routes


@pytest.mark.parametrize("text", ["", "{", "null", "[]", '{"version": 1}', '{"version": 99}', "\x00", "é"])
def test_a_broken_view_costs_a_slower_start_and_nothing_else(host: Host, text: str) -> None:
    """The file is replaced by a good one when the agent stops."""
    host.state.write_text(text, encoding="latin-1")
    with host.agent() as agent:
        subnets = agent.until(ready).node.subnets
    assert remembered.load(host.state).subnets == subnets


def test_a_full_disk_is_survived(world: World, host: Host, caplog: pytest.LogCaptureFixture) -> None:
    """The view cannot be saved, which is said; everything else goes on, to an orderly end."""
    full = world.directory / "full"
    with host.ready_agent(state=full / "view.json") as agent:  # no such directory: every save fails
        host.hears_of(agent, 1)
    assert "cannot remember the view" in caplog.text
    assert not full.exists()


def test_an_address_book_that_fails_fails_the_attach_alone(world: World, host: Host) -> None:
    """The node stays ready."""
    host.kernel.add_namespace(C1)
    book = AddressBook(world.directory / "closed.db")

    class Failing:
        def __getattr__(self, name: str) -> Any:
            return getattr(book, name)

        def assign(self, *_arguments: object, **_more: object) -> Any:
            raise StateUnavailable("disk full")

    with host.ready_agent(addresses=Failing()) as agent:
        with pytest.raises(StateUnavailable):
            agent.attach("c1", C1)
        assert agent.status().ready
    book.close()


def _deleted(host: Host) -> list[Item]:
    return [each.item for batch in host.kernel.batches for each in batch if isinstance(each, Delete)]


def _holds(keys: set[Key], items: Mapping[Key, Item]) -> bool:
    return keys <= items.keys()


def _routes(world: World) -> Mapping[Prefix, Route]:
    subscription = world.store.subscribe()
    snapshot = subscription.next_event(0)
    subscription.close()
    assert snapshot is not None
    return {route.prefix: route for route in snapshot.routes}  # type: ignore[union-attr]


# What a store may be able to do beside.


class Peering(FakeStore):
    """A route store that is told the pools, and whose peers go round a host that leaves."""

    confined: NetworkConfig | None = None
    drained: tuple[tuple[float, int], ...] = ()  # seconds, and routes that stood

    def confine(self, network: NetworkConfig) -> None:
        """Note the pools."""
        self.confined = network

    def drain(self, timeout: float) -> None:
        """Note for how long, and how many routes stand meanwhile."""
        self.drained += ((timeout, len(snapshot(self).routes)),)
        with self.faults.around("drain"):
            pass

    def subscribe(self) -> Any:
        """Begin to listen, within the pools."""
        assert self.confined == NETWORK
        return super().subscribe()


@pytest.fixture
def peering(world: World) -> Host:
    """A host with such a store."""
    return attrs.evolve(world.host(1), store=Peering(name=str(world.directory)))


def drained(host: Host) -> tuple[tuple[float, int], ...]:
    """Return what the store of a host has noted."""
    assert isinstance(host.store, Peering)
    return host.store.drained


def test_peers_go_round_a_host_before_its_routes_leave(world: World, peering: Host) -> None:
    """Once, with everything still announced; and the pools were told before anybody listened."""
    with peering.ready_agent(leave=True, drain=0.5):
        assert not drained(peering)
    assert drained(peering) == ((0.5, 2),)
    assert not _routes(world)


def test_a_host_that_only_stops_asks_nobody_to_go_round_it(peering: Host) -> None:
    """Its forwarding goes on."""
    with peering.ready_agent():
        pass
    assert not drained(peering)


def test_a_host_leaves_even_if_nobody_can_be_asked_to_go_round_it(
    world: World, peering: Host, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing was to be given back by that, so it is a warning and no error."""
    with peering.ready_agent(leave=True):
        peering.store.faults.fail("drain", AWAY)
    assert "leaving, though peers may still send here: the store is away" in caplog.text
    assert not world.store.leases()


def test_a_store_that_hangs_does_not_keep_a_host_from_leaving(
    world: World, peering: Host, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It was given its time."""
    free = threading.Event()
    monkeypatch.setattr(peering.store, "drain", lambda _timeout: free.wait(SOON))
    with peering.ready_agent(leave=True, drain=0.0):
        pass
    assert not free.is_set()
    free.set()
    assert "the route store has not answered for 0 s" in caplog.text
    assert not world.store.leases()
