"""The session with one peer: every event in every state (RFC 4271 s8.2.2), and what its extensions change."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, ip_address
from typing import Any

import attrs
import pytest

from containernet_backends.bgp import capabilities, message
from containernet_backends.bgp.connection import State
from containernet_backends.bgp.effects import Abandon, Close, Dial, Down, Effect, Received, Refresh, Up, Write
from containernet_backends.bgp.ending import kept
from containernet_backends.bgp.families import FAMILIES, IPV4, IPV6, Family
from containernet_backends.bgp.message import Notification, RouteRefresh
from containernet_backends.bgp.notification import Violation
from containernet_backends.bgp.peering import Local, Peer
from containernet_backends.bgp.session import LONGEST_REST, STABLE, Session

US = Local(asn=64512, router_id=IPv4Address("192.0.2.1"), restart_time=120)
THEM = Local(asn=64512, router_id=IPv4Address("192.0.2.2"), restart_time=90)
PEER = Peer(address=ip_address("192.0.2.2"), asn=64512, hold_time=9, connect_retry=5.0, idle_hold=1.0)
UPDATE = message.update(b"", b"", b"")  # End-of-RIB
VERSION = Notification(2, 1, b"\0\4")
BAD_HEADER = b"\0" * 19


class Rig:
    """A session, a clock, and a short word for everything that it wants done."""

    def __init__(self, local: Local = US, peer: Peer = PEER, them: Local = THEM, **offered: Any) -> None:
        self.session = Session(local, peer, jitter=lambda: 1.0)
        self.now = 1000.0
        self.done: list[Effect] = []
        mine = attrs.evolve(peer, address=ip_address("192.0.2.1"), asn=0, hold_time=90)
        self.open = capabilities.offer(them, attrs.evolve(mine, **offered)).encode()

    def __call__(self, name: str, *arguments: Any, after: float = 0.0, **named: Any) -> str:
        """Tell the session something, `after` seconds later, and return what it wants done."""
        self.now += after
        self.done = getattr(self.session, name)(*arguments, now=self.now, **named)
        return ", ".join(map(word, self.done))

    def hear(self, *messages: bytes, on: int = 1, after: float = 0.0) -> str:
        """Let the peer send that."""
        return self("received", on, b"".join(messages), after=after)

    def to(self, state: str) -> Rig:
        """Come to a state by the shortest way; connection 1 is one that we dialled."""
        if state != "stopped":
            self("start")
        if state == "Active":
            self("failed")
        elif state not in ("stopped", "Connect"):
            self("connected", 1)
        if state == "resting":
            self.hear(BAD_HEADER)
        if state in ("OpenConfirm", "Established"):
            self.hear(self.open)
        if state == "Established":
            self.hear(message.keepalive())
        return self

    @property
    def down(self) -> Down:
        """The only Down in what is to be done."""
        (down,) = (each for each in self.done if isinstance(each, Down))
        return down


def word(effect: Effect) -> str:
    """Return an effect in a word or two; connection 1 goes without saying."""
    match effect:
        case Write(connection, data):
            kind, body = data[18], data[19:]
            what = {1: "OPEN", 2: "UPDATE", 4: "KEEPALIVE", 5: "REFRESH"}.get(kind) or f"{body[0]}/{body[1]}"
            return what if connection == 1 else f"{what} on {connection}"
        case Close(connection, graceful):
            what = "close" if graceful else "abort"
            return what if connection == 1 else f"{what} {connection}"
        case Down(keep=keep):
            return f"down, keeps {len(keep)}" if keep else "down"
        case Received(bodies):
            return f"{len(bodies)} received"
    return type(effect).__name__.lower()


STATES = ("stopped", "resting", "Connect", "Active", "OpenSent", "OpenConfirm", "Established")
EVENTS: dict[str, Callable[[Rig], str]] = {
    "start (1)": lambda rig: rig("start"),
    "stop (2)": lambda rig: rig("stop"),
    "stop hard (2)": lambda rig: rig("stop", hard=True),
    "dial now (9)": lambda rig: rig("dial"),
    "first timer (9, 11, 13)": lambda rig: rig("expire", after=(rig.session.deadline or rig.now) - rig.now),
    "all timers (9, 10, 13)": lambda rig: rig("expire", after=300.0),
    "too early for a timer": lambda rig: rig("expire", after=0.5),
    "dialled (16)": lambda rig: rig("connected", 2),
    "accepted (17)": lambda rig: rig("accepted", 2),
    "dial failed (18)": lambda rig: rig("failed"),
    "closed (18)": lambda rig: rig("closed", 1),
    "OPEN (19)": lambda rig: rig.hear(rig.open),
    "header error (21)": lambda rig: rig.hear(BAD_HEADER),
    "OPEN error (22)": lambda rig: rig.hear(rig.open[:20] + b"\0\1" + rig.open[22:]),
    "collision: its OPEN on the other (23)": lambda rig: rig("accepted", 2) + "; " + rig.hear(rig.open, on=2),
    "NOTIFICATION of the version (24)": lambda rig: rig.hear(VERSION.encode()),
    "NOTIFICATION (25)": lambda rig: rig.hear(Notification(3, 1).encode()),
    "KEEPALIVE (26)": lambda rig: rig.hear(message.keepalive()),
    "UPDATE (27)": lambda rig: rig.hear(UPDATE),
    "UPDATE error (28)": lambda rig: rig("reject", 1, Violation(3, 10)),
    "ROUTE-REFRESH (RFC 2918)": lambda rig: rig.hear(RouteRefresh(IPV4).encode()),
    "TCP took it (RFC 9687)": lambda rig: rig("wrote", 1, pending=False),
}
# RFC 4271 s8.2.2, state by state. What is not here changes nothing: no effect, and the same state.
TABLE = {
    "stopped": {
        "start (1)": "dial -> Connect",
        "accepted (17)": "6/5 on 2, close 2 -> Idle",  # RFC 4486 s4
        "dialled (16)": "close 2 -> Idle",
        "collision: its OPEN on the other (23)": "6/5 on 2, close 2;  -> Idle",
    },
    "resting": {  # Idle as well, by DampPeerOscillations (s8.1.1)
        "start (1)": "dial -> Connect",
        "stop (2)": " -> Idle",
        "first timer (9, 11, 13)": "dial -> Connect",
        "all timers (9, 10, 13)": "dial -> Connect",
        "accepted (17)": "close 2 -> Idle",
        "dialled (16)": "close 2 -> Idle",
        "collision: its OPEN on the other (23)": "close 2;  -> Idle",
    },
    "Connect": {
        "stop (2)": "abandon -> Idle",
        "stop hard (2)": "abandon -> Idle",
        "dial now (9)": "abandon, dial -> Connect",
        "first timer (9, 11, 13)": "abandon, dial -> Connect",
        "all timers (9, 10, 13)": "abandon, dial -> Connect",
        "dialled (16)": "OPEN on 2 -> OpenSent",
        "accepted (17)": "OPEN on 2 -> OpenSent",  # the dial goes on, a state machine of its own (s8.2.1)
        "dial failed (18)": " -> Active",
        "collision: its OPEN on the other (23)": "OPEN on 2; KEEPALIVE on 2, abandon -> OpenConfirm",
    },
    "Active": {
        "stop (2)": " -> Idle",
        "stop hard (2)": " -> Idle",
        "dial now (9)": "dial -> Connect",
        "first timer (9, 11, 13)": "dial -> Connect",
        "all timers (9, 10, 13)": "dial -> Connect",
        "dialled (16)": "close 2 -> Active",  # it was given up
        "accepted (17)": "OPEN on 2 -> OpenSent",
        "collision: its OPEN on the other (23)": "OPEN on 2; KEEPALIVE on 2 -> OpenConfirm",
    },
    "OpenSent": {
        "stop (2)": "6/2, close -> Idle",
        "stop hard (2)": "6/2, close -> Idle",
        "first timer (9, 11, 13)": "4/0, close -> Idle",  # the large hold timer
        "all timers (9, 10, 13)": "4/0, close -> Idle",
        "dialled (16)": "close 2 -> OpenSent",
        "accepted (17)": "OPEN on 2 -> OpenSent",
        "closed (18)": " -> Active",
        "OPEN (19)": "KEEPALIVE -> OpenConfirm",
        "header error (21)": "1/1, close -> Idle",
        "OPEN error (22)": "2/2, close -> Idle",
        "collision: its OPEN on the other (23)": "OPEN on 2; KEEPALIVE on 2 -> OpenConfirm",
        "NOTIFICATION of the version (24)": "close -> Idle",
        "NOTIFICATION (25)": "close -> Idle",
        "KEEPALIVE (26)": "5/1, close -> Idle",  # RFC 6608 s4
        "UPDATE (27)": "5/1, close -> Idle",
        "UPDATE error (28)": "3/10, close -> Idle",
        "ROUTE-REFRESH (RFC 2918)": "5/1, close -> Idle",
    },
    "OpenConfirm": {
        "stop (2)": "6/2, close -> Idle",
        "stop hard (2)": "6/2, close -> Idle",
        "first timer (9, 11, 13)": "KEEPALIVE -> OpenConfirm",
        "all timers (9, 10, 13)": "4/0, close -> Idle",
        "dialled (16)": "close 2 -> OpenConfirm",
        "accepted (17)": "OPEN on 2 -> OpenConfirm",
        "closed (18)": " -> Idle",
        "OPEN (19)": "5/2, close -> Idle",
        "header error (21)": "1/1, close -> Idle",
        "OPEN error (22)": "5/2, close -> Idle",
        # s6.8: what the higher identifier dialled stays, and the peer's is higher
        "collision: its OPEN on the other (23)": "OPEN on 2; 6/7, close, KEEPALIVE on 2 -> OpenConfirm",
        "NOTIFICATION of the version (24)": "close -> Idle",
        "NOTIFICATION (25)": "close -> Idle",
        "KEEPALIVE (26)": "up -> Established",
        "UPDATE (27)": "5/2, close -> Idle",
        "UPDATE error (28)": "3/10, close -> Idle",
        "ROUTE-REFRESH (RFC 2918)": "5/2, close -> Idle",
    },
    "Established": {
        "stop (2)": "6/4, close, down -> Idle",  # RFC 8538 s4: our routes stay there
        "stop hard (2)": "6/9, close, down -> Idle",  # ... and now they do not
        "first timer (9, 11, 13)": "KEEPALIVE -> Established",
        "all timers (9, 10, 13)": "4/0, close, down, keeps 2 -> Idle",
        "dialled (16)": "close 2 -> Established",
        "accepted (17)": "OPEN on 2 -> Established",  # tracked until its OPEN comes
        "closed (18)": "down, keeps 2 -> Idle",
        "OPEN (19)": "5/3, close, down, keeps 2 -> Idle",
        "header error (21)": "1/1, close, down, keeps 2 -> Idle",
        "OPEN error (22)": "5/3, close, down, keeps 2 -> Idle",
        "collision: its OPEN on the other (23)": (
            "OPEN on 2; 6/7, close, down, keeps 2, KEEPALIVE on 2 -> OpenConfirm"
        ),
        "NOTIFICATION of the version (24)": "close, down, keeps 2 -> Idle",
        "NOTIFICATION (25)": "close, down, keeps 2 -> Idle",
        "UPDATE (27)": "1 received -> Established",
        "UPDATE error (28)": "3/10, close, down, keeps 2 -> Idle",
        "ROUTE-REFRESH (RFC 2918)": "refresh -> Established",
    },
}


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("state", STATES)
def test_every_event_in_every_state(state: str, event: str) -> None:
    """RFC 4271 s8.2.2, and nothing else."""
    rig = Rig().to(state)
    before = rig.session.state
    expected = TABLE[state].get(event, f" -> {before}" if "collision" not in event else "")
    assert f"{EVENTS[event](rig)} -> {rig.session.state}" == expected


def test_the_table_names_only_what_there_is() -> None:
    """A row that is misspelt would never be looked at."""
    assert set(TABLE) == set(STATES)
    assert all(set(rows) <= set(EVENTS) for rows in TABLE.values())


# Timers


def test_keepalives_come_at_a_third_of_the_hold_time() -> None:
    """RFC 4271 s4.4, with the jitter of s10, and never more than one each second."""
    rig = Rig().to("Established")
    assert rig.session.deadline == rig.now + 3.0
    rig.session._connections[1]._jitter = lambda: 0.75
    rig("expire", after=3.0)
    assert rig.session.deadline == rig.now + 2.25
    quick = Rig(peer=attrs.evolve(PEER, hold_time=3))
    quick.session._jitter = lambda: 0.75
    quick.to("Established")
    assert quick.session.deadline == quick.now + 1.0


def test_an_update_is_as_good_as_a_keepalive() -> None:
    """RFC 4271 s8.2.2: what we send starts our keepalive timer, what the peer sends our hold timer."""
    rig = Rig().to("Established")
    rig("wrote", 1, pending=False)
    assert rig("send", UPDATE, after=2.0) == "UPDATE"
    assert rig("expire", after=2.0) == ""
    assert rig("expire", after=1.0) == "KEEPALIVE"
    assert rig.hear(UPDATE, after=3.5) == "1 received"
    assert rig("expire", after=8.0) == "KEEPALIVE"
    assert rig("expire", after=1.0) == "4/0, close, down, keeps 2"


def test_a_refresh_is_no_keepalive() -> None:
    """RFC 4271 s8.2.2: a peer that goes by the letter does not take it for a sign of life."""
    rig = Rig().to("Established")
    assert rig("send", RouteRefresh(IPV4).encode(), after=2.0) == "REFRESH"
    assert rig("expire", after=1.0) == "KEEPALIVE"


def test_the_lower_hold_time_counts() -> None:
    """RFC 4271 s4.2."""
    rig = Rig(peer=attrs.evolve(PEER, hold_time=180)).to("Established")
    assert rig.session.deadline == rig.now + 30.0
    assert "4/0" in rig("expire", after=90.0)


def test_a_hold_time_of_zero_is_for_ever() -> None:
    """RFC 4271 s4.2: no keepalives, and no hold timer; but 4 minutes for the first one."""
    peer = attrs.evolve(PEER, hold_time=0)
    assert Rig(peer=peer).to("Established").session.deadline is None
    waiting = Rig(peer=peer).to("OpenConfirm")
    assert waiting("expire", after=239.0) == ""
    assert waiting("expire", after=1.0) == "4/0, close"


def test_a_peer_is_not_silent_while_we_do_not_read() -> None:
    """The table work may be behind; what waits in the socket is a sign of life."""
    rig = Rig().to("Established")
    for _ in range(10):
        rig("busy", 1, after=8.0)
        assert rig("expire") == "KEEPALIVE"
    assert "4/0" in rig("expire", after=9.0)


def test_a_peer_that_takes_nothing_is_given_up() -> None:
    """RFC 9687: 8 minutes or twice the hold time; progress starts it again; no NOTIFICATION would arrive."""
    # hold time, what is configured, and what comes of it: always more than the hold time
    for hold_time, configured, patience in ((9, 0, 480.0), (300, 0, 600.0), (9, 30, 30.0), (9, 5, 10.0)):
        peer = attrs.evolve(PEER, hold_time=hold_time, send_hold_time=configured)
        rig = Rig(peer=peer, hold_time=hold_time).to("Established")
        rig("wrote", 1, pending=True, after=10.0)
        rig("busy", 1, after=patience - 1)
        assert rig("expire") == "KEEPALIVE"
        assert rig("expire", after=1.0) == "abort, down, keeps 2"
        assert "RFC 9687" in rig.down.reason
        assert rig.down.notification is None
    rig = Rig().to("Established")
    rig("wrote", 1, pending=False)
    rig("busy", 1, after=481.0)
    assert rig("expire") == "KEEPALIVE"  # nothing was waiting meanwhile
    rig("busy", 1, after=480.0)
    assert rig("expire") == "abort, down, keeps 2"


def test_errors_in_a_row_double_the_rest_and_a_long_session_ends_the_row() -> None:
    """RFC 4271 s8.1.1, DampPeerOscillations."""
    rig = Rig().to("resting")
    rests = []
    for number in range(2, 10):
        assert rig.session.deadline is not None
        rests.append(rig.session.deadline - rig.now)
        assert rig("expire", after=rests[-1]) == "dial"
        rig("connected", number)
        rig.hear(BAD_HEADER, on=number)
    assert rests == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    rig("expire", after=LONGEST_REST)
    rig("connected", 1)
    rig.hear(rig.open, message.keepalive())
    rig.hear(message.keepalive(), after=STABLE)
    assert "1/1" in rig.hear(BAD_HEADER)
    assert rig.session.deadline == rig.now + 1.0


def test_another_version_does_not_count_as_an_error() -> None:
    """RFC 4271 s8.2.2, event 24; and still we do not dial without a pause."""
    rig = Rig().to("Connect")
    for number in range(5):
        rig("connected", number)
        rig.hear(VERSION.encode(), on=number)
        assert rig.session.deadline == rig.now + 1.0
        rig("expire", after=1.0)


@pytest.mark.parametrize("end", ["closed", "reset", "shutdown", "error", "without graceful restart"])
def test_who_restarts_again_and_again_is_met_again_as_soon(end: str) -> None:
    """An operator's restarts in a row are no errors, as long as they are graceful (RFC 4724)."""
    rig = Rig(graceful_restart=end != "without graceful restart").to("Connect")
    rests = []
    for number in range(1, 5):
        rig("connected", number)
        rig.hear(rig.open, message.keepalive(), on=number)
        if end in ("closed", "without graceful restart"):
            rig("closed", number)
        else:
            said = {"reset": Notification.cease(4), "shutdown": Notification.cease(2).hard()}
            rig.hear(said.get(end, Notification(3, 1)).encode(), on=number)
        assert rig.session.deadline is not None
        rests.append(rig.session.deadline - rig.now)
        assert rig("expire", after=rests[-1]) == "dial"
    assert rests == ([1.0] * 4 if end in ("closed", "reset") else [1.0, 2.0, 4.0, 8.0])


@pytest.mark.parametrize("end", ["closed", "reset"])
def test_after_a_long_session_its_end_is_no_error(end: str) -> None:
    """A peer that restarts is back at once, and must not be turned away."""
    rig = Rig().to("Established")
    rig.hear(message.keepalive(), after=STABLE)
    if end == "closed":
        assert rig("closed", 1) == "down, keeps 2, dial"
    else:
        assert rig.hear(Notification.cease(4).encode()) == "close, down, keeps 2, dial"
    assert rig("accepted", 2) == "OPEN on 2"


def test_a_dial_is_tried_again_after_connect_retry() -> None:
    """RFC 4271 s8.2.2, Active; jittered (s10)."""
    rig = Rig().to("Active")
    assert rig.session.deadline == rig.now + 5.0
    rig.session._jitter = lambda: 0.75
    assert rig("expire", after=5.0) == "dial"
    assert rig("failed", "No route to host") == ""
    assert rig.session.deadline == rig.now + 3.75
    assert rig.session.last_error == "No route to host"
    rig("failed", "it cannot fail twice", after=1.0)
    assert rig.session.deadline == rig.now + 2.75
    assert rig.session.last_error == "No route to host"


def test_a_peer_that_comes_and_goes_does_not_postpone_our_dial() -> None:
    """Its connections have state machines of their own (RFC 4271 s8.2.1)."""
    rig = Rig().to("Active")
    for number in range(2, 6):
        rig("accepted", number, after=1.0)
        assert rig("closed", number) == ""
    assert rig("expire", after=1.0) == "dial"


@pytest.mark.parametrize("kind", ["passive", "dynamic"])
def test_a_passive_session_never_dials(kind: str) -> None:
    """RFC 4271 s8.1.1, PassiveTcpEstablishment."""
    rig = Rig(peer=attrs.evolve(PEER, passive=kind == "passive", dynamic=kind == "dynamic"))
    assert (rig("start"), rig.session.state, rig.session.deadline) == ("", State.ACTIVE, None)
    rig("accepted", 1)
    assert rig.hear(rig.open, message.keepalive()) == "KEEPALIVE, up"
    assert rig("closed", 1) == "down, keeps 2"
    assert rig("expire", after=60.0) == ""
    assert rig.session.state is State.ACTIVE


# Two connections


def collide(ours: Local, theirs: Local, *, first: str) -> tuple[str, str]:
    """Let both dial, and the peer's OPEN come on both; return what is done then, and which connections stay."""
    rig = Rig(ours, attrs.evolve(PEER, asn=0), theirs)
    rig("start")
    rig("connected", 1)
    rig("accepted", 2)
    order = (1, 2) if first == "ours" else (2, 1)
    assert rig.hear(rig.open, on=order[0]).startswith("KEEPALIVE")
    return rig.hear(rig.open, on=order[1]), "".join(map(str, rig.session._connections))


@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_of_two_connections_the_dial_of_the_higher_identifier_stays(first: str) -> None:
    """RFC 4271 s6.8, whichever OPEN comes first: compared as a number, 10.0.0.0 is above 9.255.255.255."""
    low, high = (attrs.evolve(US, router_id=IPv4Address(text)) for text in ("9.255.255.255", "10.0.0.0"))
    assert collide(high, low, first=first)[1] == "1"
    assert collide(low, high, first=first)[1] == "2"


@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_of_equal_identifiers_the_higher_as_number_counts(first: str) -> None:
    """RFC 6286 s2.3."""
    low, high = attrs.evolve(US, asn=100), attrs.evolve(US, asn=4200000000)
    assert collide(high, low, first=first)[1] == "1"
    assert collide(low, high, first=first)[1] == "2"


def test_the_loser_is_told_why() -> None:
    """RFC 4486 s4, subcode 7; `new` loses and is not answered, or `old` goes."""
    assert collide(THEM, US, first="ours")[0] == "6/7 on 2, close 2"
    assert collide(THEM, US, first="theirs")[0] == "6/7 on 2, close 2, KEEPALIVE"


def test_a_dial_that_crosses_an_established_session_is_no_restart() -> None:
    """Each side must come to the same answer, also the one that is established already."""
    rig = Rig(THEM, PEER, US).to("Established")  # our identifier is the higher one, and we dialled
    rig("accepted", 2, after=1.0)
    # The KEEPALIVE finds out whether the peer still knows the old connection.
    assert rig.hear(rig.open, on=2) == "6/7 on 2, close 2, KEEPALIVE"
    assert rig.session.state is State.ESTABLISHED


@pytest.mark.parametrize("sign", ["R bit", "its second dial", "later"])
def test_a_new_connection_of_a_graceful_peer_means_that_it_restarted(sign: str) -> None:
    """RFC 4724 s4.2: the old one is closed without a word, its routes stay, and the new one is the session."""
    rig = Rig(THEM, PEER, US)
    if sign == "its second dial":
        rig("start")
        rig("accepted", 1)
        rig.hear(rig.open, message.keepalive())
    else:
        rig.to("Established")
    rig.hear(message.keepalive(), after=5.0)
    rig("accepted", 2, after=6.0 if sign == "later" else 0.0)
    again = capabilities.offer(attrs.evolve(US, restarting=sign == "R bit"), PEER).encode()
    assert rig.hear(again, on=2) == "abort, down, keeps 2, KEEPALIVE on 2"
    assert (rig.down.keep, rig.down.seconds, rig.down.notification) == (FAMILIES, 120.0, None)
    assert rig("closed", 1) == rig.hear(UPDATE) == ""  # nothing of the old connection is heard any more
    assert rig.hear(message.keepalive(), UPDATE, on=2) == "up, 1 received"


def test_without_graceful_restart_an_established_session_stays() -> None:
    """RFC 4271 s6.8: the newly created connection is closed."""
    rig = Rig(THEM, PEER, US, graceful_restart=False)
    rig("start")
    rig("accepted", 1)
    rig.hear(rig.open, message.keepalive())
    rig("accepted", 2, after=5.0)
    assert rig.hear(rig.open, on=2) == "6/7 on 2, close 2, KEEPALIVE"


def test_of_two_dials_of_the_peer_the_later_stays() -> None:
    """It has one dial at a time, so the earlier one is forgotten over there; and no more than three can be."""
    rig = Rig().to("Active")
    rig("accepted", 1)
    assert rig("accepted", 2) == "6/7, close, OPEN on 2"
    rig.hear(rig.open, on=2)
    assert rig("accepted", 3) == "OPEN on 3"
    assert rig.hear(rig.open, on=3) == "6/7 on 2, close 2, KEEPALIVE on 3"
    for number in range(4, 50):
        rig("accepted", number)
    assert len(rig.session._connections) == 2


def test_a_connection_that_is_left_goes_on_when_another_ends() -> None:
    """There is no rest while the peer is on the line."""
    rig = Rig().to("OpenSent")
    rig("accepted", 2)
    assert rig.hear(BAD_HEADER) == "1/1, close"
    assert rig("accepted", 3) == "6/7 on 2, close 2, OPEN on 3"  # Idle would have refused
    assert rig.hear(rig.open, message.keepalive(), on=3) == "KEEPALIVE on 3, up"


# What the end of a session means


ENDS: dict[str, tuple[Callable[[Rig], str], bool, bool]] = {
    # how it ends: do routes stay where only RFC 4724 is known, and where RFC 8538 is known too
    "TCP": (lambda rig: rig("closed", 1), True, True),
    "silence": (lambda rig: rig("expire", after=9.0), False, True),
    "our NOTIFICATION": (lambda rig: rig("reject", 1, Violation(3, 1)), False, True),
    "the peer's": (lambda rig: rig.hear(Notification(6, 2).encode()), False, True),
    "its hard reset": (lambda rig: rig.hear(Notification(6, 2).hard().encode()), False, False),
    "our stop": (lambda rig: rig("stop", hard=True), False, False),
    "our soft stop": (lambda rig: rig("stop"), False, False),
}


@pytest.mark.parametrize("known", ["neither", "RFC 4724", "RFC 8538"])
@pytest.mark.parametrize("end", ENDS)
def test_whose_routes_stay(end: str, known: str) -> None:
    """RFC 4724 s4.2, RFC 8538 s4: for the peer's restart time, and only families that it can restart."""
    finish, plainly, notified = ENDS[end]
    rig = Rig(graceful_restart=known != "neither")
    if known == "RFC 4724":  # the N bit taken out of the capability: 64, its length, flags and 90 s
        assert rig.open.count(b"\x40\x0a\x40\x5a") == 1
        rig.open = rig.open.replace(b"\x40\x0a\x40\x5a", b"\x40\x0a\x00\x5a")
    rig.to("Established")
    finish(rig)
    stays = {"neither": False, "RFC 4724": plainly, "RFC 8538": notified}[known]
    assert (rig.down.keep, rig.down.seconds) == ((FAMILIES, 90.0) if stays else ((), 0.0))


def test_without_time_to_wait_nothing_stays() -> None:
    """RFC 4724 s3: a restart time of 0, or no capability at all."""
    negotiated = Rig().to("Established").session.negotiated
    assert negotiated is not None
    assert kept(negotiated, None) == FAMILIES
    for restart_time in (0, None):
        assert kept(attrs.evolve(negotiated, restart_time=restart_time), None) == ()


def test_a_soft_stop_says_what_keeps_our_routes_there() -> None:
    """RFC 4724 s4: TCP's end alone; RFC 8538 s4: a NOTIFICATION as well; neither: then it is a shutdown."""
    assert Rig().to("Established")("stop", "upgrade") == "6/4, close, down"
    plain = Rig(graceful_restart=False).to("Established")
    assert plain("stop") == "6/2, close, down"
    old = Rig()
    old.open = old.open.replace(b"\x40\x0a\x40\x5a", b"\x40\x0a\x00\x5a")
    assert old.to("Established")("stop") == "close, down"
    assert old.session.state is State.IDLE
    brief = Rig(attrs.evolve(US, restart_time=0))  # we offered that nothing of ours be kept
    assert brief.to("Established")("stop") == "6/2, close, down"


def test_the_operators_words_are_carried() -> None:
    """RFC 9003, also inside a hard reset (RFC 8538 s3.1); a stranger's control characters are not."""
    rig = Rig().to("Established")
    rig("stop", "moving to rack 4", hard=True)
    told = Notification.decode(next(each.data for each in rig.done if isinstance(each, Write))[19:])
    assert (told.is_hard, told.cause.subcode, told.text) == (True, 2, "moving to rack 4")
    there = Rig().to("Established")
    assert there.hear(told.encode()) == "close, down"
    assert "moving to rack 4" in there.down.reason
    assert (there.down.notification, there.down.sent) == (told, False)
    rude = Rig().to("Established")
    rude.hear(Notification(6, 2, b"\x05a\x1b[2J").encode())
    assert "\x1b" not in rude.down.reason


def test_what_was_wrong_is_in_the_reason() -> None:
    """One line for the operator: value, what was expected, RFC."""
    rig = Rig(them=attrs.evolve(THEM, asn=65001)).to("OpenSent")
    rig.hear(rig.open)
    assert "65001" in rig.session.last_error
    assert "64512" in rig.session.last_error


def test_too_many_prefixes_are_no_reason_to_keep_them() -> None:
    """RFC 8538 s5.1: a hard reset, where the peer knows it; RFC 4486 s4: AFI, SAFI and limit are the data."""
    too_many = Violation(6, 1, b"\0\2\1\0\0\3\xe8", "too many")
    old = Rig(graceful_restart=False).to("Established")
    assert old("reject", 1, too_many) == "6/1, close, down"
    rig = Rig().to("Established")
    assert rig("reject", 1, too_many) == "6/9, close, down"
    assert rig.down.notification == Notification(6, 9, b"\6\1\0\2\1\0\0\3\xe8")
    assert (rig.down.sent, rig.session.state) == (True, State.IDLE)


def test_the_type_of_an_unexpected_message_is_the_data() -> None:
    """RFC 6608 s4."""
    rig = Rig().to("OpenSent")
    rig.hear(UPDATE)
    (write,) = (each for each in rig.done if isinstance(each, Write))
    assert Notification.decode(write.data[19:]) == Notification(5, 1, b"\2")


# Offers


def test_the_r_bit_stands_in_the_first_session_after_a_restart_only() -> None:
    """RFC 4724 s4.1; until that session is established every OPEN has it."""
    rig = Rig(attrs.evolve(US, restarting=True))

    def restarting(number: int) -> bool:
        rig("connected", number)
        (write,) = (each for each in rig.done if isinstance(each, Write))
        said = capabilities.Capabilities.decode(message.Open.decode(write.data[19:]).capabilities)
        assert said.restart is not None
        return said.restart.restarted

    rig("start")
    assert restarting(1)
    rig("closed", 1)
    rig("expire", after=5.0)
    assert restarting(2)
    rig.hear(rig.open, message.keepalive(), on=2)
    rig("closed", 2)
    rig("expire", after=1.0)
    assert not restarting(3)


def test_graceful_restart_is_offered_for_what_the_peer_named_once_it_is_known() -> None:
    """Some wait for the End-of-RIB of every family that was offered, common or not."""
    rig = Rig(families=(IPV4,)).to("Established")
    rig("closed", 1)
    rig("expire", after=1.0)
    rig("connected", 2)
    (write,) = (each for each in rig.done if isinstance(each, Write))
    said = capabilities.Capabilities.decode(message.Open.decode(write.data[19:]).capabilities)
    assert said.families == FAMILIES
    assert said.restart is not None
    assert [family for family, _ in said.restart.families] == [IPV4]


# Messages of an established session


def test_many_short_updates_are_passed_on_as_they_came() -> None:
    """However they are cut, and what stands between them in its place."""
    bodies = [bytes(4) + bytes([24, 10, 4, at]) for at in range(80)]
    updates = [message.frame(message.UPDATE, body) for body in bodies]
    stream = b"".join([*updates[:60], RouteRefresh(IPV6).encode(), *updates[60:]])
    for size in (1, 100, 1000, len(stream)):
        rig, heard = Rig().to("Established"), list[object]()
        for at in range(0, len(stream), size):
            rig.hear(stream[at : at + size])
            for effect in rig.done:
                heard += effect.bodies if isinstance(effect, Received) else [effect]
        assert heard == [*bodies[:60], Refresh(IPV6, 0), *bodies[60:]]


def test_updates_are_passed_on_together_and_in_their_order() -> None:
    """Raw, and before whatever comes after them; cut anywhere."""
    bodies = [bytes(4), b"\0\3\x18\x0a\4\0\0", b"\0\2\x10\x0b\0\0"]
    first, second, third = (message.frame(message.UPDATE, body) for body in bodies)
    stream = first + second + RouteRefresh(IPV6).encode() + third + message.keepalive()
    rig = Rig().to("Established")
    assert rig.hear(stream) == "2 received, refresh, 1 received"
    assert rig.done == [Received(tuple(bodies[:2])), Refresh(IPV6, 0), Received((bodies[2],))]
    taken: list[Effect] = []
    for octet in stream:
        rig.hear(bytes([octet]))
        taken += rig.done
    assert taken == [*(Received((body,)) for body in bodies[:2]), Refresh(IPV6, 0), Received((bodies[2],))]


def test_what_came_before_an_error_counts_and_what_comes_after_does_not() -> None:
    """A stream is true up to where it is wrong."""
    rig = Rig().to("Established")
    assert rig.hear(UPDATE, BAD_HEADER, UPDATE) == "1 received, 1/1, close, down, keeps 2"
    rig = Rig().to("Established")
    assert rig.hear(UPDATE, Notification(6, 4).encode(), UPDATE) == "1 received, close, down, keeps 2"
    assert rig.hear(UPDATE) == ""


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (RouteRefresh(IPV6).encode(), "refresh"),
        (RouteRefresh(IPV6, RouteRefresh.BEGIN).encode(), "refresh"),
        (RouteRefresh(IPV6, 77).encode(), ""),  # RFC 7313 s5
        (RouteRefresh(Family(25, 70)).encode(), ""),  # RFC 2918 s4
        (message.frame(5, b"\0\1\1\1\0"), "7/1, close, down, keeps 2"),  # RFC 7313 s5
    ],
)
def test_route_refresh(octets: bytes, expected: str) -> None:
    """A family or a subtype that was not agreed on is ignored; a wrong length is not."""
    assert Rig().to("Established").hear(octets) == expected


def test_long_messages_are_taken_once_they_were_offered() -> None:
    """RFC 8654 s4: from the OPEN on; else they are a header error."""
    long = message.frame(message.UPDATE, bytes(5000))
    assert Rig().to("Established").hear(long) == "1 received"
    short = Rig(peer=attrs.evolve(PEER, extended_messages=False)).to("Established")
    assert short.hear(long).startswith("1/2")


def test_nothing_is_sent_without_a_session() -> None:
    """What the table work has ready for an earlier session is not for the next one."""
    for state in STATES[:-1]:
        assert Rig().to(state)("send", UPDATE) == ""
    assert Rig().to("Established")("send", UPDATE) == "UPDATE"


def test_what_is_negotiated_is_told() -> None:
    """With Up, and while it lasts."""
    rig = Rig().to("Established")
    (up,) = (each for each in rig.done if isinstance(each, Up))
    assert up.negotiated.peer_id == THEM.router_id

    def shown() -> tuple[object, object]:
        return rig.session.negotiated, rig.session.since

    assert shown() == (up.negotiated, rig.now)
    rig("closed", 1)
    assert shown() == (None, None)


def test_a_stop_ends_everything() -> None:
    """Dials, connections, timers; and nothing begins again by itself."""
    rig = Rig().to("Connect")
    rig("accepted", 2)
    assert rig("stop") == "6/2 on 2, close 2, abandon"
    assert {type(each) for each in rig.done} == {Write, Close, Abandon}
    assert rig.session.deadline is None
    assert rig("expire", after=1000.0) == ""
    assert rig("start") == "dial"
    assert rig.done == [Dial()]
