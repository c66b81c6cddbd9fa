"""Rib: whatever a store tells, in whatever order, what is known is what an obvious model knows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import ip_address, ip_interface, ip_network

import attrs
from hypothesis import given, strategies as st

from containernet.events import Announced, Event, Quarantined, Snapshot, Withdrawn
from containernet.judging import Judge
from containernet.model import NetworkConfig, Node, Pool, Prefix, Route, multipath
from containernet.rib import Change, Rib

NETWORK = NetworkConfig(
    pools=(
        Pool(prefix=ip_network("10.4.0.0/16"), subnet_length=24),
        Pool(prefix=ip_network("fd00:4::/48"), subnet_length=64),
    )
)
NODE = Node(
    name="me",
    interface="eth0",
    addresses=(ip_interface("192.0.2.1/24"), ip_interface("2001:db8::1/64")),
    subnets=(ip_network("10.4.1.0/24"), ip_network("fd00:4:0:1::/64")),
)
PREFIXES = tuple(
    map(
        ip_network,
        (
            *("10.4.1.0/24", "10.4.2.0/24", "10.4.3.0/24", "10.4.2.0/25", "10.4.0.0/16", "203.0.113.0/24"),
            *("fd00:4:0:1::/64", "fd00:4:0:2::/64", "fd00:5::/64"),
        ),
    )
)
HOPS = tuple(
    map(
        ip_address,
        (
            *("192.0.2.1", "192.0.2.2", "192.0.2.3", "224.0.0.1", "127.0.0.1", "0.0.0.0", "255.255.255.255"),
            *("10.4.2.1", "2001:db8::1", "2001:db8::2", "ff02::1", "::1", "::", "fd00:4:0:2::1"),
            "::ffff:192.0.2.2",
        ),
    )
)
SUBNETS = (
    NODE.subnets,
    (),
    (ip_network("10.4.2.0/24"),),
    (ip_network("10.4.3.0/24"), ip_network("fd00:4:0:2::/64")),
)


def paths(prefix: Prefix) -> st.SearchStrategy[Route]:
    """Return a route to a prefix by one next hop."""
    return st.builds(
        Route,
        prefix=st.just(prefix),
        node=st.sampled_from(("", "me", "a", "b")),
        next_hop=st.sampled_from(HOPS),
    )


routes = st.sampled_from(PREFIXES).flatmap(
    lambda prefix: paths(prefix) | st.lists(paths(prefix), min_size=1, max_size=3).map(multipath)
)
records = st.builds(Quarantined, key=st.sampled_from("xyz"), reason=st.sampled_from(("junk", "rot")))
mended = st.builds(Quarantined, key=st.sampled_from("xyz"), reason=st.just(""))
events = st.one_of(
    st.builds(Announced, route=routes),
    st.builds(Withdrawn, prefix=st.sampled_from(PREFIXES)),
    records,
    mended,
    st.builds(
        Snapshot, routes=st.lists(routes, unique_by=lambda route: route.prefix), quarantined=st.lists(records)
    ),
)
steps = st.lists(events | st.sampled_from(SUBNETS), max_size=20)


class Model:
    """Everything that was heard, judged from scratch whenever anybody asks."""

    def __init__(self) -> None:
        self.node = NODE
        self.heard: dict[Prefix, Route] = {}
        self.records: dict[str, Quarantined] = {}

    def hear(self, event: Event) -> None:
        """Note what was told."""
        match event:
            case Announced(route=route):
                self.heard[route.prefix] = route
            case Withdrawn(prefix=prefix):
                self.heard.pop(prefix, None)
            case Quarantined(key=key, reason=""):
                self.records.pop(key, None)
            case Quarantined(key=key):
                self.records[key] = event
            case Snapshot():
                self.heard = {route.prefix: route for route in event.routes}
                self.records = {record.key: record for record in event.quarantined}

    def foreign(self) -> list[Route]:
        """Return what others have announced."""
        own = {address.ip for address in self.node.addresses}
        return only(
            self.heard.values(), lambda path: path.node not in {"", self.node.name} or path.next_hop not in own
        )

    def believed(self) -> dict[Prefix, Route]:
        """Return the routes that can be believed."""
        good = only(self.foreign(), lambda path: not Judge(NETWORK, self.node).refusal(path))
        return {route.prefix: route for route in good}


def only(routes: Iterable[Route], fits: Callable[[Route], bool]) -> list[Route]:
    """Return what is left of routes when all paths are gone that do not fit."""
    left = ([path for path in route.paths if fits(path)] for route in routes)
    return [multipath(paths) for paths in left if paths]


def changed(rib: Rib, step: Event | tuple[Prefix, ...], model: Model, *, now: float) -> list[Change]:
    """Do one step to both."""
    if isinstance(step, tuple):
        model.node = attrs.evolve(model.node, subnets=step)
        # What we announced ourselves is forgotten as soon as it is heard: it is not judged again.
        model.heard = {route.prefix: route for route in model.foreign()}
        return rib.judge_again(model.node, now=now)
    model.hear(step)
    return rib.apply(step, now=now)


@given(steps)
def test_folding_any_events_knows_what_the_model_knows(sequence: list[Event | tuple[Prefix, ...]]) -> None:
    """And the changes that it tells lead from what was known before to what is known after."""
    rib, model = Rib(NETWORK, NODE, store="x"), Model()
    followed: dict[Prefix, Route] = {}
    for now, step in enumerate(sequence):
        for change in changed(rib, step, model, now=now):
            assert change.old != change.new
            old_or_new = change.new or change.old
            assert old_or_new is not None
            prefix = old_or_new.prefix
            assert followed.pop(prefix, None) == change.old
            if change.new is not None:
                followed[prefix] = change.new
        assert {prefix: known.route for prefix, known in rib.routes.items()} == followed == model.believed()
        assert rib.quarantined == model.records
        foreign = {route.prefix: route for route in model.foreign()}
        assert {*rib.routes, *rib.refused} == foreign.keys()
        assert rib.refused.keys() == {prefix for prefix in foreign if foreign[prefix] != followed.get(prefix)}


@given(steps, st.lists(routes, unique_by=lambda route: route.prefix))
def test_after_a_gap_a_snapshot_is_everything(
    sequence: list[Event | tuple[Prefix, ...]], told: list[Route]
) -> None:
    """Whatever was known before, a Snapshot leads where it leads a fresh one."""
    rib, model = Rib(NETWORK, NODE, store="x"), Model()
    for step in sequence:
        changed(rib, step, model, now=0)
    fresh = Rib(NETWORK, model.node, store="x")
    for each in (rib, fresh):
        each.apply(Snapshot(routes=told), now=1)
    assert {known.route for known in rib.routes.values()} == {known.route for known in fresh.routes.values()}
    assert rib.refused == fresh.refused


@given(steps, st.lists(routes, unique_by=lambda route: route.prefix))
def test_what_a_forgetful_store_tells_nothing_of_lingers_until_it_is_forgotten(
    sequence: list[Event | tuple[Prefix, ...]], told: list[Route]
) -> None:
    """A Snapshot takes nothing from those whom it does not name; after `forget` it is everything."""
    rib, model = Rib(NETWORK, NODE, store="x"), Model()
    for step in sequence:
        changed(rib, step, model, now=0)
    before = dict(rib.routes)
    rib.linger = True
    rib.apply(Snapshot(routes=told), now=1)
    named = {path.node or str(path.next_hop) for route in told for path in route.paths}
    silent = {
        prefix
        for prefix, known in before.items()
        if not any((path.node or str(path.next_hop)) in named for path in known.route.paths)
    }
    assert rib.lingering == silent - {route.prefix for route in told}
    assert {prefix: rib.routes[prefix] for prefix in rib.lingering}.items() <= before.items()
    model.hear(Snapshot(routes=told))
    assert rib.routes.keys() - rib.lingering == model.believed().keys()
    rib.forget(now=2)
    assert not rib.lingering
    assert {prefix: known.route for prefix, known in rib.routes.items()} == model.believed()


@given(steps, records)
def test_a_record_that_cannot_be_read_removes_nothing(
    sequence: list[Event | tuple[Prefix, ...]], record: Quarantined
) -> None:
    """It is kept aside, and that is all."""
    rib = Rib(NETWORK, NODE, store="x")
    for step in sequence:
        changed(rib, step, Model(), now=0)
    before, refused = dict(rib.routes), dict(rib.refused)
    assert rib.apply(record, now=1) == []
    assert (rib.routes, rib.refused) == (before, refused)
    assert rib.quarantined[record.key] == record


@given(steps)
def test_hearing_the_same_again_changes_nothing(sequence: list[Event | tuple[Prefix, ...]]) -> None:
    """Not even since when it is known."""
    rib, model = Rib(NETWORK, NODE, store="x"), Model()
    for step in sequence:
        changed(rib, step, model, now=0)
    before = dict(rib.routes)
    for known in before.values():
        assert rib.apply(Announced(route=known.route), now=5) == []
    assert rib.judge_again(model.node, now=5) == []
    assert rib.routes == before
