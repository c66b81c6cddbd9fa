"""One TCP connection of a session, from our OPEN on: its state, its timers, and what it may carry when.

RFC 4271 s8.2.1 has a state machine for each connection. The part of it that comes before a connection, and what
happens between two of them, is in `session`; here is OpenSent, OpenConfirm and Established.
"""

from __future__ import annotations

import enum
from collections.abc import Callable

from .message import EXTENDED_MAXIMUM, KEEPALIVE, NOTIFICATION, OPEN, ROUTE_REFRESH, UPDATE, Framer
from .notification import STATE_MACHINE, Violation
from .peering import Negotiated, Peer

LARGE_HOLD_TIME = 240.0  # RFC 4271 s8.2.2: while no OPEN has come, 4 minutes
SHORTEST_KEEPALIVE = 1.0  # RFC 4271 s4.4: not more than one each second
SHORTEST_SEND_HOLD = 480.0  # RFC 9687 s6: 8 minutes, or twice the hold time where that is more


class State(enum.Enum):
    """The states of RFC 4271 s8.2.2, by how far they have come."""

    IDLE = "Idle"
    CONNECT = "Connect"
    ACTIVE = "Active"
    OPEN_SENT = "OpenSent"
    OPEN_CONFIRM = "OpenConfirm"
    ESTABLISHED = "Established"

    def __str__(self) -> str:
        return self.value


# What a peer may send when; NOTIFICATION always. RFC 6608 s3 names the subcode for everything else.
_EXPECTED = {
    State.OPEN_SENT: ({OPEN}, 1),
    State.OPEN_CONFIRM: ({KEEPALIVE}, 2),
    State.ESTABLISHED: ({KEEPALIVE, UPDATE, ROUTE_REFRESH}, 3),
}


def earliest(*times: float | None) -> float | None:
    """Return the first of the times that are set; None: none is."""
    return min((each for each in times if each is not None), default=None)


class Connection:
    """A connection that our OPEN was sent on.

    Args:
        id: the caller's number for it.
        dialed: by us, and not by the peer.
        jitter: gives a factor from 0.75 to 1.0 (RFC 4271 s10).
        now: seconds.

    Attributes:
        born: when it began. since: when it was established.
        hold_at, keepalive_at, stuck_at: when the hold timer, the keepalive timer and the send hold timer
            (RFC 9687) expire; None: they do not run.
        negotiated: what both OPENs agree on; None: the peer's has not come.
    """

    def __init__(self, id: int, *, dialed: bool, jitter: Callable[[], float], now: float) -> None:
        self.id = id
        self.dialed = dialed
        self.state = State.OPEN_SENT
        self.framer = Framer()
        self.negotiated: Negotiated | None = None
        self.born = self.since = now
        self.hold_at: float | None = now + LARGE_HOLD_TIME
        self.keepalive_at: float | None = None
        self.stuck_at: float | None = None
        self._jitter = jitter
        self._send_hold_time = 0.0  # as configured; 0: it is not

    @property
    def deadline(self) -> float | None:
        """When the first of its timers expires."""
        return earliest(self.hold_at, self.keepalive_at, self.stuck_at)

    def check(self, kind: int) -> None:
        """Raise the Violation for a message that is not to come in this state."""
        expected, subcode = _EXPECTED[self.state]
        if kind not in expected and kind != NOTIFICATION:
            raise Violation(
                STATE_MACHINE,
                subcode,
                bytes([kind]),  # RFC 6608 s4: the data is the type of the message
                f"message type {kind} in {self.state} (RFC 6608 s4)",
            )

    def opened(self, negotiated: Negotiated, peer: Peer, now: float) -> None:
        """Enter OpenConfirm: the peer's OPEN is good. A KEEPALIVE is to be written."""
        self.state = State.OPEN_CONFIRM
        self.negotiated = negotiated
        self._send_hold_time = peer.send_hold_time
        if peer.extended_messages:  # RFC 8654 s4: offered, so to be received, whatever the peer offered
            self.framer.maximum = EXTENDED_MAXIMUM
        # With a hold time of 0 the RFC starts no timer here (s8.2.2), and a peer that then says nothing more
        # would keep us here for ever. The large hold timer goes on instead, until it is established.
        self.heard(now)

    def establish(self, now: float) -> None:
        """Enter Established: the peer's first KEEPALIVE came."""
        self.state = State.ESTABLISHED
        self.since = now
        self.hold_at = None
        self.heard(now)

    def heard(self, now: float) -> None:
        """Start the hold timer again: a message came, or octets that nobody has read yet."""
        seconds = self.negotiated.hold_time if self.negotiated else LARGE_HOLD_TIME
        if seconds:  # RFC 4271 s4.2: 0 is for ever
            self.hold_at = now + seconds

    def sending(self, now: float, *, restarts: bool) -> None:
        """Note that something is written.

        Args:
            restarts: the keepalive timer. A KEEPALIVE and an UPDATE do (RFC 4271 s8.2.2); a ROUTE-REFRESH does
                not, for it is no sign of life to a peer that goes by the letter (s4.2).
        """
        if self.negotiated and self.negotiated.hold_time:
            if restarts:
                interval = self.negotiated.hold_time / 3 * self._jitter()  # RFC 4271 s4.4, s10
                self.keepalive_at = now + max(SHORTEST_KEEPALIVE, interval)
            if self.stuck_at is None:
                self.wrote(pending=True, now=now)

    def wrote(self, *, pending: bool, now: float) -> None:
        """Note that TCP took octets, and whether it was all."""
        # RFC 9687 s4.3: the send hold timer runs in Established, and not where the hold time is 0
        runs = pending and self.state is State.ESTABLISHED and self.negotiated and self.negotiated.hold_time
        self.stuck_at = now + self.send_hold_time if runs else None

    @property
    def send_hold_time(self) -> float:
        """Seconds in which TCP has to take something."""
        hold_time = self.negotiated.hold_time if self.negotiated else 0
        if self._send_hold_time:  # RFC 9687 s4.4: it MUST be longer than the hold time
            return max(self._send_hold_time, hold_time + 1.0)
        return max(SHORTEST_SEND_HOLD, 2.0 * hold_time)
