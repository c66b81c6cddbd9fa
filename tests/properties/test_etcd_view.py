"""A view of etcd's keys, against the most obvious one: what each key says now, looked at as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_address, ip_network

import attrs
from hypothesis import given, strategies as st

from containernet.events import Announced, Event, Quarantined, Snapshot, Withdrawn
from containernet.model import Prefix, Route, Tunnel
from containernet_backends.etcd import records
from containernet_backends.etcd.moments import Moment
from containernet_backends.etcd.records import Record
from containernet_backends.etcd.view import Keys, View

KEYS = Keys("/net")
SUBNETS = [ip_network("10.4.1.0/24"), ip_network("10.4.2.0/24"), ip_network("fd00:4::/64")]
HOPS = {4: ["192.0.2.1", "192.0.2.2"], 6: ["2001:db8::1", "2001:db8::2"]}


@attrs.frozen(kw_only=True)
class Written:
    """A key as etcd shows it; without a value, it was deleted."""

    key: bytes
    value: bytes | None
    mod_revision: int = 0
    lease: int = 0


def a_record(subnets: Sequence[Prefix], hop: int, kind: str) -> Written:
    """Return a host's record of one subnet, or of one of each family."""
    hops = [ip_address(HOPS[subnet.version][hop]) for subnet in subnets]
    record = Record(subnets=subnets, node=f"n{hop}", next_hops=hops, type=kind)
    return Written(key=KEYS.subnets + records.key_of(subnets).encode(), value=records.encode(record))


def a_route(subnet: Prefix, hop: int) -> Written:
    """Return a route under a key of its own."""
    next_hop = ip_address(HOPS[subnet.version][hop])
    route = Route(prefix=subnet, node=f"n{hop}", next_hop=next_hop, tunnel=Tunnel(type="ipip"))
    return Written(key=KEYS.routes + records.route_key(subnet).encode(), value=records.encode_route(route))


hops = st.sampled_from([0, 1])
good = st.one_of(
    st.builds(
        a_record,
        st.sampled_from([SUBNETS[:1], SUBNETS[1:2], SUBNETS[1:], SUBNETS[2:], SUBNETS[::2]]),
        hops,
        st.sampled_from(["", "vxlan", "host-gw"]),
    ),
    st.builds(a_route, st.sampled_from(SUBNETS), hops),
)
others = st.sampled_from([KEYS.subnets + b"junk", KEYS.routes + b"junk", KEYS.routes[:-1] + b"x"])
changes = st.one_of(
    good,
    st.builds(lambda kv: attrs.evolve(kv, value=b"junk"), good),
    st.builds(lambda kv: attrs.evolve(kv, value=None), good),
    st.builds(lambda key, value: Written(key=key, value=value), others, st.sampled_from([b"{}", None])),
)
histories = st.lists(changes, max_size=12).map(
    lambda history: [attrs.evolve(kv, mod_revision=10 + number) for number, kv in enumerate(history)]
)


class Model:
    """What each key said last that could be read, and which keys cannot be read now."""

    def __init__(self) -> None:
        self.there: dict[bytes, Written] = {}
        self.said: dict[bytes, Sequence[Route]] = {}
        self.junk: set[str] = set()

    def write(self, kv: Written) -> None:
        """Take note of a change."""
        self.junk.discard(kv.key.decode())
        if kv.value is None:
            self.there.pop(kv.key, None)
            self.said.pop(kv.key, None)
            return
        self.there[kv.key] = kv
        try:
            self.said[kv.key] = self._routes(kv.key, kv.value)
        except records.BadRecord:
            self.junk.add(kv.key.decode())

    def _routes(self, key: bytes, value: bytes) -> Sequence[Route]:
        if key.startswith(KEYS.routes):
            return [records.decode_route(key.removeprefix(KEYS.routes).decode(), value)]
        if key.startswith(KEYS.subnets):
            return records.routes(records.decode(key.removeprefix(KEYS.subnets).decode(), value))
        return []

    def routes(self) -> dict[Prefix, Route]:
        """Return what is told of each prefix: by the first key in order, a route before a record."""
        return {route.prefix: route for key in sorted(self.said, reverse=True) for route in self.said[key]}


@attrs.define
class Reader:
    """What somebody knows who hears nothing but the events."""

    routes: dict[Prefix, Route] = attrs.Factory(dict)
    junk: set[str] = attrs.Factory(set)

    def hear(self, events: Iterable[Event]) -> None:
        """Fold events in."""
        for event in events:
            match event:
                case Snapshot():
                    self.routes = {route.prefix: route for route in event.routes}
                    self.junk = {each.key for each in event.quarantined}
                case Announced():
                    self.routes[event.route.prefix] = event.route
                case Withdrawn():
                    del self.routes[event.prefix]
                case Quarantined(key=key, reason=reason):
                    self.junk.add(key) if reason else self.junk.remove(key)


def fold(view: View, kv: Written) -> list[Event]:
    """Let a view hear of a change, as a watch would."""
    return view.delete(kv.key, revision=kv.mod_revision) if kv.value is None else view.put(kv)  # type: ignore[arg-type]


def load(view: View, there: Mapping[bytes, Written], revision: int) -> Snapshot:
    """Let a view hear of a list."""
    moment = Moment(cluster=1, term=2, revision=revision)
    return view.load(there.values(), moment=moment)  # type: ignore[arg-type]


@given(histories, st.integers(0, 12))
def test_events_are_the_difference_of_what_is_told(history: Sequence[Written], listed: int) -> None:
    """From a list anywhere in a history on, the events tell what each key says, and nothing twice."""
    model, view, reader = Model(), View(KEYS), Reader()
    for kv in history[:listed]:
        model.write(kv)
    for key in model.junk:  # what it said before it was junk, no list can tell
        model.said.pop(key.encode(), None)
    reader.hear([load(view, model.there, 9 + listed)])
    assert (reader.routes, reader.junk) == (model.routes(), model.junk)
    for kv in history[listed:]:
        before = model.routes()
        model.write(kv)
        events = fold(view, kv)
        reader.hear(events)
        assert (reader.routes, reader.junk) == (model.routes(), model.junk)
        assert view.revision == kv.mod_revision
        told = {event.route.prefix for event in events if isinstance(event, Announced)}
        told |= {event.prefix for event in events if isinstance(event, Withdrawn)}
        assert told == {prefix for prefix, _ in before.items() ^ model.routes().items()}
        assert len(events) == len(told) + sum(isinstance(event, Quarantined) for event in events)


@given(histories, st.sets(st.integers(0, 12)))
def test_a_list_in_between_changes_nothing(history: Sequence[Written], listed: set[int]) -> None:
    """Who lists now and then, and hears the rest one by one, ends with what he knows who heard it all."""
    model, heard, chunked = Model(), View(KEYS), View(KEYS)
    for view in (heard, chunked):
        load(view, {}, 9)
    for number, kv in enumerate(history):
        fold(heard, kv)
        fold(chunked, kv)
        model.write(kv)
        if number in listed:
            load(chunked, model.there, kv.mod_revision)
    ours, theirs = Reader(), Reader()
    ours.hear([heard.snapshot()])
    theirs.hear([chunked.snapshot()])
    assert ours == theirs
    assert heard.revision == chunked.revision


@given(histories, good)
def test_junk_removes_nothing(history: Sequence[Written], kv: Written) -> None:
    """Whatever is known, a record that cannot be read adds a line to what is set aside, and that is all."""
    view, before, after = View(KEYS), Reader(), Reader()
    for each in (*history, attrs.evolve(kv, mod_revision=50)):
        fold(view, each)
    before.hear([view.snapshot()])
    events = fold(view, attrs.evolve(kv, value=b"junk", mod_revision=51))
    assert [type(event) for event in events] == [Quarantined]
    after.hear([view.snapshot()])
    assert after.routes == before.routes
    assert after.junk == before.junk | {kv.key.decode()}


@given(histories, histories)
def test_another_history_is_told_from_ours(ours: Sequence[Written], theirs: Sequence[Written]) -> None:
    """What etcd had at a revision is like a view's, if it is the same; else mostly not."""
    view, same, other = View(KEYS), Model(), Model()
    for kv in ours:
        fold(view, kv)
        same.write(kv)
    for kv in theirs:
        other.write(kv)
    assert like(view, same)
    if len(same.there) != len(other.there) or newest(same) != newest(other):
        assert not like(view, other)


def newest(model: Model) -> list[Written]:
    """Return what etcd returns for the key that was written last."""
    return sorted(model.there.values(), key=lambda kv: kv.mod_revision)[-1:]


def like(view: View, model: Model) -> bool:
    """Ask a view whether it knows what a model holds, as a subscription does."""
    return view.like(newest(model), count=len(model.there))  # type: ignore[arg-type]
