"""The table and what is told of it, against a model that is slow and obvious, after any history."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, ip_network
from itertools import permutations
from random import Random
from typing import Any

import attrs
from hypothesis import given, strategies as st

from containernet_backends.bgp import update
from containernet_backends.bgp.arrival import Judge
from containernet_backends.bgp.attributes import AS_SEQUENCE, AS_SET, IGP, INCOMPLETE, Attributes, Segment
from containernet_backends.bgp.communities import GRACEFUL_SHUTDOWN, NO_ADVERTISE, NO_EXPORT
from containernet_backends.bgp.decision import BEST
from containernet_backends.bgp.export import Exports, Member
from containernet_backends.bgp.families import IPV4
from containernet_backends.bgp.message import UPDATE, Framer
from containernet_backends.bgp.nlri import Nlri, encode
from containernet_backends.bgp.paths import Source
from containernet_backends.bgp.peering import Local, Negotiated
from containernet_backends.bgp.policy import EVERYTHING
from containernet_backends.bgp.refusal import Ourselves
from containernet_backends.bgp.rib import Table
from containernet_backends.bgp.telling import Terms

US = 64512
OURS = IPv4Address("192.0.2.1")
LOCAL = Local(asn=US, router_id=OURS, cluster_id=IPv4Address("9.9.9.9"))
NLRIS = [encode(ip_network(f"10.0.{at}.0/24")) for at in range(5)]
NLRIS.append(encode(ip_network("127.0.0.0/8")))  # a martian
# name: AS, client. Two routers of one external AS, so that MED matters.
PEERS = {"a": (65001, False), "b": (65002, False), "c": (65001, False)} | {
    name: (US, name in "xy") for name in "xymn"
}


def address(name: str) -> IPv4Address:
    """Return where a peer is."""
    return IPv4Address(0xC6336400 + ord(name))


def identifier(name: str) -> IPv4Address:
    """Return its BGP identifier, in another order than the addresses."""
    return IPv4Address(0x0A0000FF - ord(name))


@attrs.frozen
class Spec:
    """What an announcement says, before it is fitted to who says it."""

    local_pref: int
    med: int | None
    origin: int
    path: tuple[int, ...]
    aggregated: bool
    next_hop: IPv4Address
    communities: tuple[int, ...]
    originator_id: IPv4Address | None
    cluster_list: tuple[IPv4Address, ...]
    starts_well: bool

    def said_by(self, name: str) -> Attributes:
        """Return the attributes as `name` would send them."""
        asn, _ = PEERS[name]
        external = asn != US
        front = (asn,) if external and self.starts_well else ()
        path = [Segment(AS_SEQUENCE, front + self.path)] if front + self.path else []
        if self.aggregated:
            path.append(Segment(AS_SET, (65100, 65101)))
        return Attributes(
            origin=self.origin,
            as_path=tuple(path),
            next_hop=self.next_hop,
            med=self.med,
            local_pref=None if external else self.local_pref,
            communities=self.communities,
            originator_id=None if external else self.originator_id,
            cluster_list=() if external else self.cluster_list,
        )


def of(*values: Any) -> st.SearchStrategy[Any]:
    """Return a choice, the first the simplest."""
    return st.sampled_from(values)


specs = st.builds(
    Spec,
    local_pref=of(100, 100, 200, 0),
    med=of(None, 0, 10, 20),
    origin=of(IGP, IGP, INCOMPLETE),
    path=of((), (), (65002,), (65001, 65003), (US,)),
    aggregated=of(False, False, True),
    next_hop=of(*map(IPv4Address, ("192.0.2.7", "192.0.2.8", "192.0.2.9", "192.0.2.1", "224.0.0.5"))),
    communities=of((), (), (NO_EXPORT,), (NO_ADVERTISE,), (GRACEFUL_SHUTDOWN,)),
    originator_id=of(None, None, IPv4Address("10.0.0.1"), OURS),
    cluster_list=of((), (), (IPv4Address("8.8.8.8"),), (IPv4Address("9.9.9.9"),)),
    starts_well=of(True, True, True, False),
)
names = st.sampled_from(sorted(PEERS))
nlris = st.lists(st.sampled_from(NLRIS), min_size=1, max_size=4)
path_ids = of(0, 0, 1, 2)
operations = st.lists(
    st.one_of(
        st.tuples(st.just("join"), names, st.booleans()),
        st.tuples(st.just("announce"), names, nlris, specs, path_ids),
        st.tuples(st.just("announce"), names, nlris, specs, path_ids),
        st.tuples(st.just("withdraw"), names, nlris, path_ids),
        st.tuples(st.just("leave"), names, st.booleans()),
        st.tuples(st.just("refresh"), names),
        st.tuples(st.just("begin_refresh"), names),
        st.tuples(st.just("end_of_rib"), names),
        st.tuples(st.just("originate"), st.sampled_from(NLRIS[:2]), st.booleans()),
        st.tuples(st.just("drain")),
        st.tuples(st.just("work")),
        st.tuples(st.just("produce"), st.integers(1, 5), st.sets(names)),
    ),
    max_size=40,
)


@attrs.frozen
class Word:
    """One peer's word on a prefix, as the model keeps it; `name` is empty for our own."""

    name: str
    path_id: int
    attributes: Attributes

    @property
    def external(self) -> bool:
        """Whether it is another AS's."""
        return bool(self.name) and PEERS[self.name][0] != US


def refused(nlri: Nlri, word: Word) -> bool:
    """Return whether a word must not be chosen."""
    said = word.attributes
    if not word.name:
        return False
    ases = [asn for segment in said.as_path for asn in segment.asns]
    wrong_start = word.external and ases[:1] != [PEERS[word.name][0]]
    loop = US in ases or (
        not word.external and (said.originator_id == OURS or IPv4Address("9.9.9.9") in said.cluster_list)
    )
    aggregated = any(segment.type == AS_SET for segment in said.as_path)  # RFC 9774
    wrong_path = aggregated or wrong_start or loop
    return nlri == NLRIS[-1] or said.next_hop in (OURS, IPv4Address("224.0.0.5")) or wrong_path


def keep_least(words: list[Word], key: Callable[[Word], Any]) -> list[Word]:
    """Return those that are least by `key`."""
    return [word for word in words if key(word) == min(map(key, words))]


def preference(word: Word) -> int:
    """Return the degree of preference."""
    if word.external:
        return 0 if GRACEFUL_SHUTDOWN in word.attributes.communities else 100
    return 100 if word.attributes.local_pref is None else word.attributes.local_pref


def equal_to_the_best(nlri: Nlri, words: Iterable[Word]) -> list[Word]:
    """Return what is left after (e) of RFC 4271 s9.1.2.2, eliminating step by step."""
    left = [word for word in words if not refused(nlri, word)]
    left = [word for word in left if not word.name] or left
    left = keep_least(left, lambda word: -preference(word))
    left = keep_least(
        left,
        lambda word: sum(len(segment.asns) for segment in word.attributes.as_path),
    )
    left = keep_least(left, lambda word: word.attributes.origin)

    def came_from(word: Word) -> int:
        path = word.attributes.as_path
        if word.external:
            return PEERS[word.name][0]
        return path[0].asns[0] if path else US

    left = [
        word
        for word in left
        if not any(
            came_from(other) == came_from(word) and (other.attributes.med or 0) < (word.attributes.med or 0)
            for other in left
        )
    ]
    return keep_least(left, lambda word: not word.external)


def best(nlri: Nlri, words: Iterable[Word]) -> Word | None:
    """Return the best word on a prefix."""
    left = equal_to_the_best(nlri, words)
    left = keep_least(
        left,
        lambda word: (
            (not word.external and word.attributes.originator_id)
            or (identifier(word.name) if word.name else OURS)
        ),
    )
    left = keep_least(left, lambda word: len(word.attributes.cluster_list))
    left = keep_least(left, lambda word: word.name)
    left = keep_least(left, lambda word: word.path_id)
    assert len(left) <= 1
    return left[0] if left else None


def told(word: Word, name: str, *, draining: bool) -> Attributes | None:
    """Return what `name` hears where `word` is best; None: nothing."""
    said, (asn, client) = word.attributes, PEERS[name]
    if word.name == name or NO_ADVERTISE in said.communities:
        return None
    shut = tuple(sorted({*said.communities, GRACEFUL_SHUTDOWN})) if draining else said.communities
    if asn != US:
        if NO_EXPORT in said.communities:
            return None
        front = said.as_path[0].asns if said.as_path else ()
        path = (Segment(AS_SEQUENCE, (US, *front)),)
        return attrs.evolve(
            said,
            as_path=path,
            next_hop=OURS,
            local_pref=None,
            med=None if word.name else said.med,
            originator_id=None,
            cluster_list=(),
            communities=shut,
        )
    heard = attrs.evolve(said, local_pref=0 if draining else preference(word), communities=shut)
    if not word.name:
        return attrs.evolve(heard, next_hop=OURS)
    if word.external:
        return heard
    if not client and not PEERS[word.name][1]:
        return None
    return attrs.evolve(
        heard,
        originator_id=said.originator_id or identifier(word.name),
        cluster_list=(IPv4Address("9.9.9.9"), *said.cluster_list),
    )


class World:
    """A table with its exports, and the model beside it, which does everything the slow way."""

    def __init__(self, *, batch: int = 2) -> None:
        self.table = Table(Judge(ourselves=Ourselves(LOCAL, [OURS])), step=2)
        self.exports = Exports(self.table, batch=batch)
        self.sources = {
            name: Source(
                address=address(name), asn=asn, identifier=identifier(name), external=asn != US, client=client
            )
            for name, (asn, client) in PEERS.items()
        }
        self.members: dict[str, Member] = {}
        self.knows: dict[str, dict[Nlri, Attributes]] = {}
        self.owed: dict[str, set[Nlri]] = {}
        self.ends: dict[str, int] = {}
        self.words: dict[tuple[Nlri, str, int], Word] = {}
        self.stale: set[tuple[Nlri, str, int]] = set()
        self.kept: set[tuple[Nlri, str, int]] = set()  # from before the session
        self.draining = False

    def negotiated(self, name: str, *, forwarding: bool) -> Negotiated:
        """Return what the session with `name` is like."""
        return Negotiated(
            local_asn=US,
            peer_asn=PEERS[name][0],
            peer_id=identifier(name),
            families=(IPV4,),
            forwarding=(IPV4,) if forwarding else (),
            enhanced_refresh=name in "ax",
        )

    def join(self, name: str, forwarding: bool) -> None:
        """A session comes up."""
        if name in self.members:
            return
        negotiated = self.negotiated(name, forwarding=forwarding)
        terms = Terms.of(negotiated, addresses=(OURS,), policy=EVERYTHING, client=PEERS[name][1])
        self.members[name] = Member(source=self.sources[name], negotiated=negotiated, terms=terms)
        self.knows[name], self.owed[name], self.ends[name] = {}, set(), 0
        self.table.join(self.sources[name], negotiated)
        self.exports.join(self.members[name])
        if not forwarding:
            self.forget_stale(name)

    def leave(self, name: str, keep: bool) -> None:
        """It goes down; `keep`: the peer restarts gracefully."""
        if name not in self.members:
            return
        self.exports.leave(self.members.pop(name))
        self.table.leave(self.sources[name], [IPV4] if keep else [])
        for key in [key for key in self.kept if key[1] == name]:
            self.forget(key)
        self.stale |= {key for key in self.words if key[1] == name}
        self.kept |= {key for key in self.words if key[1] == name}
        if not keep:
            self.forget_stale(name)

    def forget_stale(self, name: str) -> None:
        """The model forgets what is stale."""
        for key in [key for key in self.stale if key[1] == name]:
            self.forget(key)

    def forget(self, key: tuple[Nlri, str, int]) -> None:
        """The model forgets a word."""
        self.words.pop(key, None)
        self.stale.discard(key)
        self.kept.discard(key)

    def announce(self, name: str, nlris: list[Nlri], spec: Spec, path_id: int) -> None:
        """A peer announces."""
        if name not in self.members:
            return
        attributes = spec.said_by(name)
        announcement = update.Announcement(IPV4, attributes, nlris, [path_id] * len(nlris) if path_id else None)
        self.table.learn(self.sources[name], update.Reading((announcement,)))
        for nlri in nlris:
            self.forget((nlri, name, path_id))
            self.words[nlri, name, path_id] = Word(name, path_id, attributes)

    def withdraw(self, name: str, nlris: list[Nlri], path_id: int) -> None:
        """A peer withdraws."""
        if name not in self.members:
            return
        gone = update.Withdrawal(IPV4, nlris, [path_id] * len(nlris) if path_id else None)
        self.table.learn(self.sources[name], update.Reading(withdrawn=(gone,)))
        for nlri in nlris:
            self.forget((nlri, name, path_id))

    def refresh(self, name: str) -> None:
        """A peer wants to be told everything again."""
        if name in self.members:
            self.exports.refresh(self.members[name], IPV4)
            self.owed[name] |= set(self.knows[name])

    def begin_refresh(self, name: str) -> None:
        """A peer begins to tell everything again."""
        if name in self.members:
            self.table.begin_refresh(self.sources[name], IPV4)
            self.stale |= {key for key in self.words if key[1] == name}

    def end_of_rib(self, name: str) -> None:
        """A peer has told everything, or its time is over."""
        self.table.end_of_rib(self.sources[name], IPV4)
        self.forget_stale(name)

    def originate(self, nlri: Nlri, there: bool) -> None:
        """A route of our own comes or goes."""
        attributes = Attributes(origin=IGP, med=5) if there else None
        self.table.originate(IPV4, nlri, attributes)
        self.words.pop((nlri, "", 0), None)
        if attributes:
            self.words[nlri, "", 0] = Word("", 0, attributes)

    def drain(self) -> None:
        """We are about to leave."""
        self.draining = True
        self.exports.drain()

    def work(self) -> None:
        """Do a step."""
        self.table.work()

    def produce(self, most: int, blocked: set[str]) -> None:
        """Some messages go out; the `blocked` do not read."""
        late = [self.members.get(name) for name in blocked]
        for message, members in self.exports.produce(lambda member: member not in late):
            for member in members:
                self.hear(member, message)
            most -= 1
            if not most:
                return

    def hear(self, member: Member, octets: bytes) -> None:
        """Let a peer read a message, as another speaker would."""
        [name] = [name for name, source in self.sources.items() if source is member.source]
        assert self.members.get(name) is member, "told to a session that is over"
        for kind, body in framed(octets):
            if kind == UPDATE:
                theirs = attrs.evolve(
                    member.negotiated, local_asn=PEERS[name][0], peer_asn=US, peer_id=LOCAL.router_id
                )
                reading = update.Reader(theirs).read(body)
                assert not reading.faults
                self.ends[name] += reading.end_of_rib is not None
                for withdrawal in reading.withdrawn:
                    self.owed[name] -= set(withdrawal.nlri)
                    for nlri in withdrawal.nlri:
                        del self.knows[name][nlri]  # what was not told is not withdrawn
                for announcement in reading.announced:
                    self.owed[name] -= set(announcement.nlri)
                    self.knows[name] |= dict.fromkeys(announcement.nlri, announcement.attributes)

    def settle(self) -> None:
        """Everything is done, and everybody reads."""
        while self.table.work():
            pass
        self.produce(10**6, set())

    def check(self) -> None:
        """Compare everything that the table says, and everything that the peers know."""
        for nlri in NLRIS:
            words = [word for (prefix, _, _), word in self.words.items() if prefix == nlri]
            entry = self.table.entry(IPV4, nlri)
            expected = {(self.source(word), word.path_id) for word in words}
            assert {(path.source, path.path_id) for path in entry} == expected
            choice = best(nlri, words)
            path = self.table.best(IPV4, nlri)
            assert (choice and (self.source(choice), choice.path_id)) == (path and (path.source, path.path_id))
            side_by_side = self.table.multipath(IPV4, nlri, 9)
            left = equal_to_the_best(nlri, words)
            assert {path.attributes.next_hop for path in side_by_side} == {
                word.attributes.next_hop for word in left
            }
            assert side_by_side[:1] == ((path,) if path else ())
            ranked = self.table.explain(IPV4, nlri)
            assert [each.path for each in ranked] == list(entry)
            assert [each.path for each in ranked if each.rule == BEST] == ([path] if path else [])
            for name, knows in self.knows.items():
                if name in self.members:
                    heard = choice and told(choice, name, draining=self.draining)
                    assert knows.get(nlri) == heard, f"{name} of {nlri!r}"
        for name, member in self.members.items():
            assert self.ends[name] == 1
            assert not self.owed[name], "asked for again, and not told"
            assert dict(self.exports.told(member, IPV4)) == self.knows[name]
            held = sum(key[1] == name and key not in self.kept for key in self.words)
            assert self.sources[name].held[IPV4] == held

    def source(self, word: Word) -> Source:
        """Return whose word it is."""
        return self.sources[word.name] if word.name else self.table.own


@given(operations)
def test_after_any_history_everybody_knows_what_the_slow_model_says(history: list[tuple[Any, ...]]) -> None:
    """Joins, restarts, refreshes, loops, slow readers: what is chosen and told depends on the outcome alone."""
    world = World()
    for name in PEERS:
        world.join(name, False)
    for name, *arguments in history:
        getattr(world, name)(*arguments)
    world.settle()
    world.check()
    assert len(world.exports._streams) <= 3, "who has been told everything is of one stream again"


plain = Spec(
    local_pref=100,
    med=None,
    origin=IGP,
    path=(65003,),
    aggregated=False,
    next_hop=IPv4Address("192.0.2.7"),
    communities=(),
    originator_id=None,
    cluster_list=(),
    starts_well=True,
)
flat = st.builds(lambda med: attrs.evolve(plain, med=med), med=of(None, 1))
late = of("y", "b", "c")
meanwhile = st.lists(
    st.one_of(
        st.tuples(st.just("announce"), of("x"), nlris, flat, of(0)),
        st.tuples(st.just("withdraw"), of("x"), nlris, of(0)),
        st.tuples(st.just("produce"), st.integers(1, 3), st.sets(late)),
        st.tuples(st.just("produce"), st.integers(1, 3), st.sets(late)),
        st.tuples(st.just("refresh"), late),
        st.tuples(st.just("leave"), late, st.just(False)),
        st.tuples(st.just("join"), late, st.just(False)),
        st.tuples(st.just("drain")),
    ),
    min_size=5,
    max_size=30,
)


@given(meanwhile)
def test_who_joins_while_the_table_changes_misses_nothing(history: list[tuple[Any, ...]]) -> None:
    """Prefixes come and go ahead of the walk and behind it, and it stops, and begins anew, and goes on."""
    world = World(batch=1)
    world.join("x", False)
    world.announce("x", NLRIS, plain, 0)
    for name in "ybc":
        world.join(name, False)
    for name, *arguments in history:
        getattr(world, name)(*arguments)
    world.settle()
    world.check()


close = st.builds(
    lambda med, asn: attrs.evolve(plain, med=med, path=(asn,)),
    med=st.integers(0, 3),
    asn=of(65001, 65002, 65003),
)


@given(st.lists(st.tuples(names, close, path_ids), max_size=8), st.randoms())
def test_med_compares_paths_of_one_neighbour_as_alone(
    said: list[tuple[str, Spec, int]], random: Random
) -> None:
    """Of paths that differ by little more than MED, the winner is the model's, in whatever order they came."""
    latest = {(name, path_id): spec for name, spec, path_id in said}
    for _ in range(2):
        world = World()
        for (name, path_id), spec in random.sample(sorted(latest.items(), key=str), len(latest)):
            world.join(name, False)
            # Externals are one AS further away: level the ground.
            world.announce(
                name, NLRIS[:1], attrs.evolve(spec, path=() if PEERS[name][0] != US else spec.path), path_id
            )
        world.settle()
        world.check()


@given(st.integers(2, 5), st.booleans(), st.randoms())
def test_a_mesh_and_a_reflector_converge_and_nobody_is_told_its_own(
    hosts: int, mesh: bool, random: Random
) -> None:
    """Hosts that announce a prefix each know those of all others, however messages are delayed."""
    cluster = Cluster([f"192.0.2.{at}" for at in range(1, hosts + 1)], mesh=mesh)
    for at in random.sample(range(hosts), hosts):
        cluster.originate(at)
        cluster.deliver(random, random.randrange(10))
    cluster.deliver(random, None)
    for table in cluster.tables:
        assert set(table.routes[IPV4]) == set(NLRIS[:hosts])
        for at, nlri in enumerate(NLRIS[:hosts]):
            path = table.best(IPV4, nlri)
            assert path
            if path.source is not table.own:
                assert path.attributes.next_hop == cluster.addresses[at]
    cluster.withdraw(0)
    cluster.deliver(random, None)
    assert not any(NLRIS[0] in table.routes[IPV4] for table in cluster.tables)


class Cluster:
    """Tables that tell each other, over wires that keep the order and delay at will.

    Args:
        mesh: everybody speaks with everybody; or else with the first alone, which reflects.
    """

    def __init__(self, hosts: list[str], *, mesh: bool) -> None:
        self.addresses = list(map(IPv4Address, hosts))
        self.tables: list[Table] = []
        self.exports: list[Exports] = []
        self.wires: dict[tuple[int, int], deque[bytes]] = {}
        self.sources: dict[tuple[int, int], Source] = {}
        self.members: dict[Member, tuple[int, int]] = {}
        for address in self.addresses:
            ourselves = Ourselves(Local(asn=US, router_id=address), [address])
            self.tables.append(Table(Judge(ourselves=ourselves), step=2))
            self.exports.append(Exports(self.tables[-1], batch=2))
        for at, to in permutations(range(len(hosts)), 2):
            if mesh or 0 in (at, to):
                self.connect(at, to, client=not mesh and at == 0)

    def connect(self, at: int, to: int, *, client: bool) -> None:
        """Let `at` speak to `to`."""
        there = self.addresses[to]
        negotiated = Negotiated(local_asn=US, peer_asn=US, peer_id=there, families=(IPV4,))
        source = Source(address=there, asn=US, identifier=there, external=False, client=client)
        terms = Terms.of(negotiated, addresses=(self.addresses[at],), policy=EVERYTHING, client=client)
        member = Member(source=source, negotiated=negotiated, terms=terms)
        self.sources[at, to], self.members[member], self.wires[at, to] = source, (at, to), deque()
        self.tables[at].join(source, negotiated)
        self.exports[at].join(member)

    def originate(self, at: int) -> None:
        """A host announces its prefix."""
        self.tables[at].originate(IPV4, NLRIS[at], Attributes(origin=IGP))

    def withdraw(self, at: int) -> None:
        """A host takes it back."""
        self.tables[at].originate(IPV4, NLRIS[at], None)

    def deliver(self, random: Random, most: int | None) -> None:
        """Deliver that many messages over wires chosen at random; None: until there are none."""
        while most is None or most > 0:
            for exports in self.exports:
                for message, members in exports.produce(everybody):
                    for member in members:
                        self.wires[self.members[member]].append(message)
            busy = [way for way, wire in sorted(self.wires.items()) if wire]
            if not busy:
                return
            at, to = random.choice(busy)
            [(_, body)] = framed(self.wires[at, to].popleft())
            reading = update.Reader(Negotiated(local_asn=US, peer_asn=US, peer_id=self.addresses[at])).read(
                body
            )
            assert all(NLRIS[to] not in announcement.nlri for announcement in reading.announced)
            self.tables[to].learn(self.sources[to, at], reading)
            most = None if most is None else most - 1


def framed(octets: bytes) -> list[tuple[int, bytes]]:
    """Return the types and bodies of messages."""
    framer = Framer(4096)
    framer.feed(octets)
    return list(framer)


def everybody(_: Member) -> bool:
    """Nobody is behind."""
    return True
