"""What holds for every cluster, whatever its shape: traced in the simulated world."""

from __future__ import annotations

from ipaddress import ip_network
from random import Random

import attrs
import pytest
from hypothesis import given, settings, strategies as st

from containernet import loading
from containernet.contracts import Dataplane
from containernet.items import Item, Key
from containernet.lab.topology import Topology
from containernet.model import Address, NetworkConfig, Pool, Route
from containernet.planning import Delete
from containernet.rendering import peer_items
from containernet.testing.simulation import Reply, World
from containernet_backends.ipip import Ipip
from containernet_backends.vxlan import Vxlan

pytestmark = pytest.mark.untraced

POOLS = {
    4: Pool(prefix=ip_network("10.4.0.0/16"), subnet_length=24),
    6: Pool(prefix=ip_network("fd00:4::/48"), subnet_length=64),
}
CROSSES_ROUTERS = ("vxlan", "ipip")
EVERY_WAY = [
    *((dataplane, "l2") for dataplane in ("host-gw", "bridge", "vxlan", "ipip")),
    *((dataplane, "routed") for dataplane in CROSSES_ROUTERS),
]


@st.composite
def topologies(draw: st.DrawFn) -> Topology:
    """Return clusters that can work, up to five hosts with up to three containers each."""
    dataplane, underlay = draw(st.sampled_from(EVERY_WAY))
    direct = ("direct=true",) if dataplane in CROSSES_ROUTERS and draw(st.booleans()) else ()
    return Topology(
        hosts=draw(st.integers(2, 5)),
        containers=draw(st.integers(1, 3)),
        dataplane=dataplane,
        underlay=underlay,
        options=direct,
        versions=draw(st.sampled_from(((4,), (6,), (4, 6)))),
        mtu=draw(st.sampled_from((1400, 1500, 9000))),
    )


def world_of(topology: Topology) -> World:
    """Return the world of a topology."""
    network = NetworkConfig(pools=tuple(POOLS[version] for version in topology.versions))
    bridge: dict[str, object] = {"uplink": "eth1"} if topology.dataplane == "bridge" else {}
    options: dict[str, object] = {"direct": True} if topology.options else bridge
    remote = loading.remote_dataplane(topology.dataplane, options)
    return World.of(topology, network, remote=remote, local=loading.local_dataplane("bridge", bridge))


worlds = topologies().map(world_of)


def containers(world: World) -> list[str]:
    """Return the names of all containers."""
    return [name for member in world.members.values() for name in member.endpoints]


def held(world: World) -> dict[str, dict[Key, Item]]:
    """Return what every host holds when it is settled."""
    world.settle_all()
    return {name: dict(member.kernel.read()) for name, member in world.members.items()}


@given(worlds)
def test_every_container_reaches_every_other(world: World) -> None:
    """In every family, with the largest packet that its interface takes; the next larger it is told about."""
    names = containers(world)
    for one in names:
        mtu = world.fabric.kernels[one].tables.devices["eth0"].mtu
        for other in names:
            for target in world.addresses(other) if one != other else ():
                assert world.ping(one, target) == Reply()
                assert world.ping(one, target, mtu) == Reply()
                assert world.ping(one, target, mtu + 1) != Reply()


@given(worlds)
def test_no_packet_is_wrapped_twice_and_none_goes_in_circles(world: World) -> None:
    """One encapsulation at most, and no namespace is left twice."""
    names = [*world.members, *containers(world)]
    for one in names:
        for other in names:
            for target in world.addresses(other) if one != other else ():
                way = world.trace(one, target)
                left = [hop.where for hop in way.hops]
                assert way.encapsulations <= 1
                assert len(left) == len(set(left))


@given(worlds, st.data())
def test_withdrawing_a_host_removes_exactly_its_items(world: World, data: st.DataObject) -> None:
    """What the others hold then is what they would hold had it never been there; and back again."""
    gone = data.draw(st.sampled_from(sorted(world.members)))
    before, routes = held(world), world.routes[gone]
    world.remove_host(gone)
    after = held(world)
    for name, member in world.members.items():
        theirs = {
            item.key for other in world.routes if other not in (gone, name)
            for route in world.routes[other] for item in peer_items(member.node, route, remote=world.remote)[0]
        }  # fmt: skip
        own = {item.key for route in routes for item in peer_items(member.node, route, remote=world.remote)[0]}
        expected = before[name].keys() - (own - theirs) if name != gone else before[name].keys()
        assert after[name].keys() == expected
    world.announce(gone, routes)
    assert held(world) == before


@given(worlds, st.randoms(use_true_random=False))
def test_the_order_in_which_peers_come_does_not_matter(world: World, random: Random) -> None:
    """The items for a peer depend on that peer alone."""
    before = held(world)
    routes: list[tuple[str, tuple[Route, ...]]] = list(world.routes.items())
    random.shuffle(routes)
    for name, _ in routes:
        world.remove_host(name)
    held(world)
    for name, told in routes:
        world.announce(name, told)
        held(world)
    assert held(world) == before


@given(worlds, st.data())
def test_no_prefix_of_a_plan_loses_a_path_that_was_there_and_will_be(world: World, data: st.DataObject) -> None:
    """A host has lost items, hears of a change, is configured anew: what reached, reaches at every moment."""
    names = sorted(world.members)
    host, leaving = data.draw(st.permutations(names))[:2]
    member = world.members[host]
    items = list(held(world)[host].values())
    lost = data.draw(st.lists(st.sampled_from([item for item in items if item.rank]), max_size=3, unique=True))
    member.kernel.disturb(*(Delete(item) for item in lost))
    if data.draw(st.booleans()):
        world.remove_host(leaving)
    if isinstance(world.remote, Vxlan | Ipip) and data.draw(st.booleans()):
        change_over(world, host, attrs.evolve(world.remote, direct=not world.remote.direct))
    member.reconciler.refresh()
    ways = [(one, other) for one in containers(world) for other in containers(world) if one != other]
    operations = world.pending(host)
    world.due.clear()  # the others stay as they are
    reached = [paths(world, ways)]
    for operation in operations:
        assert not member.kernel.execute([operation])
        reached.append(paths(world, ways))
    assert all(reached[0] & reached[-1] <= between for between in reached)


@settings(max_examples=60)
@given(worlds, st.data())
def test_no_moment_of_a_change_loses_a_path_wherever_each_host_stands(
    world: World, data: st.DataObject
) -> None:
    """Every host is somewhere in its own plan: what reached before and will reach after, reaches meanwhile.

    A host comes, another leaves, a container is detached, some hosts switch `direct`, all at once, and the
    operations of all of them are executed in any order that keeps each host's own. It cannot hold for a device
    that has to be made anew (another VNI, port or underlay address): between its deletion and its creation
    whatever stood on it is gone, and until both ends have it, they do not speak.
    """
    names = sorted(world.members)
    coming = data.draw(st.sampled_from([None, *names]))
    routes = dict(world.routes)
    if coming is not None:
        world.remove_host(coming)
    held(world)
    if coming is not None:
        world.announce(coming, routes[coming])
    leaving = data.draw(st.sampled_from([None, *(name for name in names if name != coming)]))
    if leaving is not None:
        world.remove_host(leaving)
    if isinstance(world.remote, Vxlan | Ipip):
        other = attrs.evolve(world.remote, direct=not world.remote.direct)
        for host in data.draw(st.lists(st.sampled_from(names), unique=True)):
            change_over(world, host, other)
    if (detaching := data.draw(st.sampled_from([None, *names]))) is not None:
        member = world.members[detaching]
        member.reconciler.want(("endpoint", next(iter(member.endpoints))), ())
    ways = [(one, other) for one in containers(world) for other in containers(world) if one != other]
    plans = {host: list(world.pending(host)) for host in names}
    world.due.clear()  # nobody does more than what is drawn
    turns = data.draw(st.permutations([host for host in names for _ in plans[host]]))
    reached = [paths(world, ways)]
    for host in turns:
        assert not world.members[host].kernel.execute([plans[host].pop(0)])
        reached.append(paths(world, ways))
    assert all(reached[0] & reached[-1] <= between for between in reached)


def change_over(world: World, host: str, remote: Dataplane) -> None:
    """Let one host reach the others in another way: into the tunnel, or out of it."""
    member = world.members[host]
    world.pending(host)  # what it has heard until now is in
    for other, routes in world.routes.items():
        items = [item for route in routes for item in peer_items(member.node, route, remote=remote)[0]]
        member.reconciler.want(("peer", other), items if other != host else ())


def paths(world: World, ways: list[tuple[str, str]]) -> set[tuple[str, Address]]:
    """Return from where to which address a packet arrives."""
    return {
        (one, target)
        for one, other in ways
        for target in world.addresses(other)
        if world.trace(one, target).arrived == other
    }
