"""Two sessions that dial each other over a bad network, in virtual time; and a peer that sends anything.

A connection keeps the order of what it carries, as TCP does, and cuts it anywhere. It may stall, break for both
ends, or break for one end that the other hears of only when it sends; a host may stop, or die and start again.
What has to hold at every moment is checked where an effect is carried out. And once the faults stop, both come
up, on one connection, and stay up.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from ipaddress import IPv4Address, ip_address
from itertools import count

from hypothesis import given, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from containernet_backends.bgp import capabilities, message
from containernet_backends.bgp.connection import LARGE_HOLD_TIME, State
from containernet_backends.bgp.effects import Abandon, Close, Dial, Down, Effect, Received, Refresh, Up, Write
from containernet_backends.bgp.families import IPV4
from containernet_backends.bgp.message import Notification, RouteRefresh
from containernet_backends.bgp.notification import Violation
from containernet_backends.bgp.peering import Local, Peer
from containernet_backends.bgp.session import LONGEST_REST, Session

HOLD_TIME = 9
PATIENCE = LARGE_HOLD_TIME + 2 * LONGEST_REST  # seconds until both are up, at the very most
AFTERMATH = 60.0  # seconds in which a fault may still come to light: a slow connection, then a hold timer


class Wire:
    """A TCP connection: an end at each host, by which side dialled, and what is on its way."""

    def __init__(self, number: int, delay: float) -> None:
        self.number = number
        self.delay = delay
        self.open = [False, False]  # whether each host's kernel knows it
        self.last = [0.0, 0.0]  # when the last of what was sent to each arrives
        self.stalled: list[Callable[[], None]] | None = None
        self.sent = [0, 0]  # UPDATEs, by the host that sent them
        self.heard = [0, 0]  # by the host that received them


class Host:
    """A session and the sockets below it."""

    def __init__(self, world: World, side: int) -> None:
        self.world = world
        self.side = side
        self.up: int | None = None
        self.ups = 0
        self.dialing: Wire | None = None
        self.last_heard = 0.0
        self.restart(again=False)

    def restart(self, *, again: bool) -> None:
        """Begin with nothing, as a process does."""
        side = self.side
        router_id = IPv4Address(self.world.identifiers[side])
        local = Local(asn=64512 + side * self.world.external, router_id=router_id, restarting=again)
        peer = Peer(
            address=ip_address(self.world.identifiers[1 - side]),
            hold_time=HOLD_TIME,
            passive=self.world.passive == side,
            graceful_restart=self.world.graceful,
        )
        self.session = Session(local, peer, jitter=lambda: self.world.random.uniform(0.75, 1.0))
        self.up = self.dialing = None
        self.tell("start")

    def tell(self, name: str, *arguments: object, **named: object) -> None:
        """Tell the session something, and carry out what it wants."""
        now = self.world.now
        for effect in getattr(self.session, name)(*arguments, now=now, **named):
            self.carry_out(effect)
        states = [each.state for each in self.session._connections.values()]
        assert states.count(State.ESTABLISHED) <= 1
        assert len(states) <= 3
        assert (State.ESTABLISHED in states) == (self.up is not None)

    def carry_out(self, effect: Effect) -> None:
        """Do what a speaker does, and look whether it makes sense."""
        world, side = self.world, self.side
        match effect:
            case Dial():
                assert self.dialing is None
                self.dialing = world.dial(side)
            case Abandon():
                assert self.dialing is not None
                world.close(self.dialing, side)
                self.dialing = None
            case Write(connection, data):
                wire = world.wires[connection]
                assert wire.open[side]
                world.carry(wire, side, data)
                # The turn is not over yet, so this comes after it, as it does in a speaker.
                world.at(world.now, lambda: self.tell("wrote", connection, pending=wire.stalled is not None))
            case Close(connection, graceful):
                assert world.wires[connection].open[side]
                world.close(world.wires[connection], side, drop=not graceful)
            case Up(connection, negotiated):
                assert self.up is None
                assert negotiated.hold_time == HOLD_TIME
                self.up, self.last_heard = connection, world.now
                self.ups += 1
            case Received(bodies):
                assert self.up is not None
                wire = world.wires[self.up]
                for body in bodies:
                    wire.heard[side] += 1
                    assert body == numbered(wire, 1 - side, wire.heard[side])
            case Refresh():
                assert self.up is not None
            case Down(keep=keep, seconds=seconds):
                assert self.up is not None
                assert bool(keep) == bool(seconds)
                self.up = None


def numbered(wire: Wire, side: int, number: int) -> bytes:
    """Return the body of the UPDATE that a host sends as its n-th on that connection."""
    return bytes(4) + f"{wire.number} {side} {number}".encode()


class World(RuleBasedStateMachine):
    """Two hosts, the network between them, and the clock."""

    @initialize(
        seed=st.integers(0, 2**32),
        identifiers=st.permutations(["192.0.2.1", "192.0.2.2"]),
        external=st.booleans(),
        passive=st.sampled_from([None, 0, 1]),
        graceful=st.booleans(),
        head_start=st.sampled_from([0.0, 0.3, 5.0, 70.0]),
    )
    def begin(
        self,
        seed: int,
        identifiers: list[str],
        external: bool,
        passive: int | None,
        graceful: bool,
        head_start: float,
    ) -> None:
        """Let both begin to dial, or one of them."""
        self.random = random.Random(seed)
        self.identifiers, self.external, self.passive, self.graceful = identifiers, external, passive, graceful
        self.now = 0.0
        self.order = count()
        self.queue: list[tuple[float, int, Callable[[], None]]] = []
        self.wires: dict[int, Wire] = {}
        self.refusing = False
        self.slowest = 0.2
        self.hosts: list[Host] = []
        for side in (0, 1):
            self.hosts.append(Host(self, side))
        self.run(head_start)

    # The network

    def at(self, when: float, what: Callable[[], None]) -> None:
        """Let something happen then; of two at one time the first that was asked for."""
        heapq.heappush(self.queue, (when, next(self.order), what))

    def dial(self, side: int) -> Wire:
        """Begin a connection: it arrives at the other host, and then it is there, or it is refused."""
        wire = Wire(len(self.wires) + 1, self.random.uniform(0.0001, self.slowest))
        self.wires[wire.number] = wire
        wire.open[side] = True

        def arrive() -> None:
            if self.refusing or len(self.hosts) < 2:
                self.at(self.now + wire.delay, lambda: answer(good=False))
            elif wire.open[side]:
                wire.open[1 - side] = True
                self.at(self.now + wire.delay, lambda: answer(good=True))
                self.hosts[1 - side].tell("accepted", wire.number)

        def answer(*, good: bool) -> None:
            host = self.hosts[side]
            if host.dialing is wire:
                host.dialing = None
                wire.open[side] = good
                host.tell("connected", wire.number) if good else host.tell("failed")

        self.at(self.now + wire.delay, arrive)
        wire.last[1 - side] = wire.last[side] = self.now + 2 * wire.delay
        return wire

    def deliver(self, wire: Wire, to: int, what: Callable[[], None]) -> None:
        """Let something arrive, after all that was sent that way before."""

        def arrive() -> None:
            if wire.stalled is None:
                what()
            else:
                wire.stalled.append(what)

        wire.last[to] = max(wire.last[to], self.now + wire.delay * self.random.uniform(1, 3))
        self.at(wire.last[to], arrive)

    def carry(self, wire: Wire, side: int, data: bytes) -> None:
        """Carry octets to the other end, cut somewhere; an end that knows nothing of them says so."""
        cut = self.random.randrange(len(data) + 1)
        for piece in filter(None, (data[:cut], data[cut:])):

            def arrive(piece: bytes = piece) -> None:
                if wire.open[1 - side]:
                    host = self.hosts[1 - side]
                    if host.up == wire.number:
                        host.last_heard = self.now
                    host.tell("received", wire.number, piece)
                else:
                    self.deliver(wire, side, lambda: self.lose(wire, side))

            self.deliver(wire, 1 - side, arrive)

    def close(self, wire: Wire, side: int, *, drop: bool = False) -> None:
        """Close one end; the other hears of it after what was sent before, or instead of it."""
        wire.open[side] = False
        if drop:
            self.at(self.now + wire.delay, lambda: self.lose(wire, 1 - side))
        else:
            self.deliver(wire, 1 - side, lambda: self.lose(wire, 1 - side))

    def lose(self, wire: Wire, side: int) -> None:
        """Tell a host that its connection is gone."""
        host = self.hosts[side]
        if wire.open[side]:
            wire.open[side] = False
            if host.dialing is wire:
                host.dialing = None
                host.tell("failed")
            else:
                host.tell("closed", wire.number)

    def run(self, seconds: float) -> None:
        """Let time pass: what arrives arrives, and every timer is looked after when it is due."""
        end = self.now + seconds
        while True:
            due = [host.session.deadline for host in self.hosts]
            times = [time for time in (self.queue[0][0] if self.queue else None, *due) if time is not None]
            if not times or min(times) > end:
                break
            assert min(times) >= self.now - 1e-6, "a timer that is over was not looked after"
            self.now = max(self.now, min(times))
            # What has arrived is read before the timers are looked at: so a session demands.
            while self.queue and self.queue[0][0] <= self.now:
                heapq.heappop(self.queue)[2]()
            for host in self.hosts:
                if host.session.deadline is not None and host.session.deadline <= self.now:
                    host.tell("expire")
                assert host.up is None or self.now <= host.last_heard + HOLD_TIME + 1e-6
        self.now = end

    def some_wire(self, place: int) -> Wire | None:
        """Return one of the connections that a host still knows; 0 is the newest."""
        wires = [wire for wire in self.wires.values() if any(wire.open)]
        return wires[-1 - place % len(wires)] if wires else None

    # What happens

    @rule(seconds=st.sampled_from([0.01, 0.1, 0.3, 1.0, 3.0, 12.0, 70.0]))
    def wait(self, seconds: float) -> None:
        """Nothing, for a while."""
        self.run(seconds)

    @rule(side=st.integers(0, 1), number=st.integers(1, 5))
    def announce(self, side: int, number: int) -> None:
        """A host has something to say, if it has somebody to say it to."""
        host = self.hosts[side]
        for _ in range(number if host.up is not None else 0):
            assert host.up is not None
            wire = self.wires[host.up]
            wire.sent[side] += 1
            host.tell("send", message.frame(message.UPDATE, numbered(wire, side, wire.sent[side])))

    @rule(place=st.integers(0, 3), first=st.integers(0, 1), told=st.booleans())
    def break_a_wire(self, place: int, first: int, told: bool) -> None:
        """A connection breaks, and one end does not hear of it before it sends."""
        if wire := self.some_wire(place):
            self.lose(wire, first)
            if told:
                self.lose(wire, 1 - first)

    @rule(place=st.integers(0, 3))
    def stall(self, place: int) -> None:
        """A connection carries nothing for a while."""
        wire = self.some_wire(place)
        if wire and wire.stalled is None:
            wire.stalled = []

    @rule(refusing=st.booleans())
    def refuse(self, refusing: bool) -> None:
        """No dial gets through, or every one does."""
        self.refusing = refusing

    @rule(slowest=st.sampled_from([0.001, 0.2, 2.0, 7.0]))
    def slow_down(self, slowest: float) -> None:
        """New connections are slower, or faster."""
        self.slowest = slowest

    @rule(side=st.integers(0, 1), hard=st.booleans())
    def stop(self, side: int, hard: bool) -> None:
        """An operator stops a session."""
        self.hosts[side].tell("stop", "enough", hard=hard)
        assert self.hosts[side].session.deadline is None

    @rule(side=st.integers(0, 1))
    def start(self, side: int) -> None:
        """An operator starts a session, or does so again."""
        self.hosts[side].tell("start")

    @rule(side=st.integers(0, 1), told=st.booleans())
    def restart(self, side: int, told: bool) -> None:
        """A host's daemon dies and comes back; its kernel tells the peer, or the power failed."""
        for wire in self.wires.values():
            if wire.open[side]:
                wire.open[side] = False
                if told:
                    self.deliver(wire, 1 - side, lambda wire=wire: self.lose(wire, 1 - side))  # type: ignore[misc]
        self.hosts[side].restart(again=True)

    @rule(side=st.integers(0, 1))
    def reject(self, side: int) -> None:
        """The table work finds an UPDATE bad."""
        if (up := self.hosts[side].up) is not None:
            self.hosts[side].tell("reject", up, Violation(3, 1))
            assert self.hosts[side].up is None

    @rule(side=st.integers(0, 1), place=st.integers(0, 3), data=st.binary(min_size=1, max_size=40))
    def disturb(self, side: int, place: int, data: bytes) -> None:
        """Something that is no BGP arrives."""
        wire = self.some_wire(place)
        if wire and wire.open[side] and self.hosts[side].dialing is not wire:
            self.hosts[side].tell("received", wire.number, b"\0" + data)

    @rule()
    def recover(self) -> None:
        """The faults stop: both come up, on one connection, and stay up."""
        self.come_up_and_stay(30.0)

    def come_up_and_stay(self, seconds: float) -> None:
        """End all faults, and see both come up; and then see nothing happen for that long."""
        self.refusing, self.slowest = False, 0.2
        for wire in list(self.wires.values()):
            stalled, wire.stalled = wire.stalled or [], None
            for what in stalled:
                what()
        for host in self.hosts:
            host.tell("start")
        self.run(AFTERMATH)
        began = self.now
        while not self.settled() and self.now < began + PATIENCE:
            self.run(5.0)
        assert self.settled(), [str(host.session.state) for host in self.hosts]
        before = [(host.up, host.ups) for host in self.hosts]
        for side in (0, 1, 0):
            self.announce(side, 3)
        self.run(seconds)
        assert [(host.up, host.ups) for host in self.hosts] == before
        up = self.hosts[0].up
        assert up is not None
        assert self.wires[up].heard == self.wires[up].sent[::-1]

    def settled(self) -> bool:
        """Return whether both are up, on one connection."""
        return self.hosts[0].up is not None and self.hosts[0].up == self.hosts[1].up

    def teardown(self) -> None:
        """Whatever happened, it is not for ever."""
        if hasattr(self, "hosts"):
            self.come_up_and_stay(LARGE_HOLD_TIME + 10)  # a connection that was forgotten ends meanwhile


World.TestCase.settings = settings(stateful_step_count=25)
test_two_sessions_over_a_bad_network = World.TestCase


# A peer that sends anything

US = Local(asn=64512, router_id=IPv4Address("192.0.2.1"))
PEER = Peer(address=ip_address("192.0.2.2"))
OPEN = capabilities.offer(Local(asn=64513, router_id=IPv4Address("192.0.2.2")), PEER).encode()

good = st.sampled_from(
    [
        OPEN,
        message.keepalive(),
        message.update(b"", b"", b""),
        RouteRefresh(IPV4).encode(),
        RouteRefresh(IPV4, 1).encode(),
        Notification.cease(2, "bye").encode(),
    ]
)
framed = st.builds(message.frame, st.integers(0, 7), st.binary(max_size=60))


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Return a good message with an octet or two changed."""
    octets = bytearray(draw(good))
    for _ in range(draw(st.integers(1, 2))):
        octets[draw(st.integers(0, len(octets) - 1))] = draw(st.integers(0, 255))
    return bytes(octets)


def established(messages: int) -> Session:
    """Return a session that has had the first few messages of a good peer."""
    session = Session(US, PEER, jitter=lambda: 1.0)
    session.start(now=0.0)
    session.connected(1, now=0.0)
    for each in (OPEN, message.keepalive())[:messages]:
        session.received(1, each, now=0.0)
    return session


def joined(effects: list[Effect]) -> list[Effect]:
    """Return effects with neighbouring UPDATEs together, as one piece of octets gives them."""
    result: list[Effect] = []
    for effect in effects:
        if isinstance(effect, Received) and result and isinstance(result[-1], Received):
            result[-1] = Received((*result[-1].bodies, *effect.bodies))
        else:
            result.append(effect)
    return result


@given(
    messages=st.integers(0, 2),
    pieces=st.lists(good | framed | damaged() | st.binary(max_size=60), max_size=8),
    cuts=st.randoms(use_true_random=False),
)
def test_whatever_a_peer_sends_is_an_answer_or_an_end(
    messages: int, pieces: list[bytes], cuts: random.Random
) -> None:
    """It never raises, it does not matter where the octets are cut, and what ended has ended."""
    octets = b"".join(pieces)
    whole = established(messages)
    at_once = whole.received(1, octets, now=1.0)
    in_pieces, step = established(messages), 0
    effects: list[Effect] = []
    while step < len(octets):
        size = cuts.choice([1, 1, 2, 7, 19, 40, 500])
        effects += in_pieces.received(1, octets[step : step + size], now=1.0)
        step += size
    assert joined(effects) == at_once
    assert in_pieces.state is whole.state
    closed = [effect for effect in at_once if isinstance(effect, Close)]
    assert len(closed) == (whole.state is State.IDLE)
    downs = sum(isinstance(effect, Down) for effect in at_once)
    ups = sum(isinstance(effect, Up) for effect in at_once) + (messages == 2)
    assert ups - downs == (whole.state is State.ESTABLISHED)
    assert not closed or at_once.index(closed[0]) >= len(at_once) - 2
