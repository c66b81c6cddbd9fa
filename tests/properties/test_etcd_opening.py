"""The list of a host that starts, against the rules that say when an old list is an answer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hypothesis import given, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from containernet_backends.etcd.client import Cancellation
from containernet_backends.etcd.moments import Moment
from containernet_backends.etcd.opening import AGE, Opening
from containernet_backends.etcd.view import Keys

KEYS = Keys("/net")
PARTS = (KEYS.settings, KEYS.records, KEYS.told)
parts = st.sampled_from(PARTS)
moments = st.builds(Moment, cluster=st.integers(0, 2), term=st.integers(0, 3), revision=st.integers(0, 3))


class Revisions:
    """An etcd in which each list shows another revision, under every kind of key."""

    def __init__(self) -> None:
        self.revision = 0
        self.away = False

    def range(self, begin: bytes, end: bytes, cancellation: Cancellation | None = None) -> Any:
        """Show it, or fail."""
        if self.away:
            raise ConnectionError
        self.revision += 1
        keys = [
            KEYS.config,
            KEYS.config + b"/x",
            KEYS.routes + b"a",
            KEYS.routes[:-1] + b"x",
            KEYS.subnets + b"a",
        ]
        header = SimpleNamespace(cluster_id=1, raft_term=2, revision=self.revision)
        kvs = [SimpleNamespace(key=key, mod_revision=self.revision) for key in keys if begin <= key < end]
        return SimpleNamespace(header=header, kvs=kvs)


class Starts(RuleBasedStateMachine):
    """Any number of hosts that start, ask, write, and take their time."""

    @initialize()
    def start(self) -> None:
        """Nothing was announced yet."""
        self.etcd, self.now = Revisions(), 100.0
        self.opening = Opening(self.etcd, KEYS, clock=lambda: self.now)  # type: ignore[arg-type]
        self.due: set[tuple[bytes, bytes]] = set()
        self.asked: float | None = None  # when this start's list was asked for

    def expire(self) -> None:
        """Nothing is due of a list that is too old."""
        if self.asked is not None and self.now - self.asked > AGE:
            self.due = set()
        if not self.due:
            self.asked = None

    @rule()
    def begin(self) -> None:
        """While a start goes on, this is the same one."""
        self.opening.begin()
        self.expire()
        self.due = self.due or set(PARTS)

    @rule(part=parts, take=st.booleans())
    def ask(self, part: tuple[bytes, bytes], take: bool) -> None:
        """What is due is answered by the one list of this start, and only what lies in the part."""
        self.expire()
        before = self.etcd.revision
        try:
            listed = (self.opening.take if take else self.opening.look)(part)
        except ConnectionError:
            assert self.etcd.away
            assert part in self.due
            assert self.asked is None
            return
        assert (listed is not None) == (part in self.due)
        lists = self.etcd.revision - before
        assert lists == (1 if listed is not None and self.asked is None else 0)
        if lists:
            self.asked = self.now
        if listed is not None:
            assert listed.moment == Moment(cluster=1, term=2, revision=self.etcd.revision)
            assert {kv.mod_revision for kv in listed.kvs} == {self.etcd.revision}
            assert all(part[0] <= kv.key < part[1] for kv in listed.kvs)
        if take:
            self.due.discard(part)
            self.expire()

    @rule(part=parts)
    def write(self, part: tuple[bytes, bytes]) -> None:
        """What is written is not hidden by a list from before."""
        self.opening.end(part)
        self.expire()
        self.due.discard(part)
        self.expire()

    @precondition(lambda self: self.asked is not None)
    @rule(seconds=st.sampled_from([1.0, AGE / 2, AGE, AGE + 1]))
    def wait(self, seconds: float) -> None:
        """Time passes, also in suspend."""
        self.now += seconds

    @rule()
    def go_away_or_come_back(self) -> None:
        """A list that failed is asked for again."""
        self.etcd.away = not self.etcd.away


TestStarts = Starts.TestCase


def test_what_nobody_takes_is_let_go_of() -> None:
    """At the next use, once it is too old: whose routes come from elsewhere holds no list for ever."""
    now = [0.0]
    opening = Opening(Revisions(), KEYS, clock=lambda: now[0])  # type: ignore[arg-type]
    opening.begin()
    opening.take(KEYS.settings)
    assert set(opening._listed) == {KEYS.records, KEYS.told}
    now[0] += AGE + 1
    opening.end(KEYS.records)
    assert not opening._listed


@given(moments, moments, moments)
def test_moments_follow_each_other_in_order(one: Moment, two: Moment, three: Moment) -> None:
    """Each follows itself and the one before any answer; two that follow each other are equally far."""
    assert one.follows(one)
    assert one.follows(Moment())
    if two.follows(one):
        assert two.revision >= one.revision
        assert two.term >= one.term or not two.term
        assert one.cluster in {0, two.cluster}
        if three.follows(two) and three.term:
            assert three.revision >= one.revision
