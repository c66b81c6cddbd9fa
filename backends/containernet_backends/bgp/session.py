"""The session with one peer: RFC 4271 section 8, events in, effects out, the time passed in.

    start  stop  dial                the operator                       (events 1 to 8)
    expire                           a timer, when `deadline` is over   (events 9 to 13)
    accepted  connected  failed      TCP                                (events 14 to 18)
    closed  wrote  busy
    received                         octets of the peer                 (events 19 to 28)
    send  reject                     the table work above

Both sides may dial, so for a moment there can be several connections, each with a state of its own (RFC 4271
s8.2.1), which `connection` holds; `collision` says which of two stays, and `ending` what becomes of the routes.
Beside them here: when to dial (Connect, Active), and how long to rest after an error (Idle). One connection at
most is established, and there is a Down between two Ups.

Of what RFC 4271 leaves to choose, DampPeerOscillations and CollisionDetectEstablishedState are on, DelayOpen
and TrackTcpState are off, and PassiveTcpEstablishment is `Peer.passive`. A dial that fails leads from Connect
to Idle and, by an automatic passive start (event 5), at once to Active: the peer's dial is welcome meanwhile.

The caller reads what its sockets hold before it calls `expire`: a peer must not be found silent because we were
busy. Where it cannot read, because the table work is behind, it says so with `busy`.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from . import capabilities
from .collision import restarted, wins
from .connection import Connection, State, earliest
from .effects import Abandon, Close, Dial, Down, Effect, Received, Refresh, Up, Write
from .ending import farewell, kept, verdict
from .message import (
    FEW,
    HEADER,
    KEEPALIVE,
    NOTIFICATION,
    OPEN,
    ROUTE_REFRESH,
    UPDATE,
    Notification,
    Open,
    RouteRefresh,
    keepalive,
)
from .notification import (
    CEASE,
    COLLISION,
    CONNECTION_REJECTED,
    HOLD_TIMER_EXPIRED,
    OPEN_MESSAGE,
    UNSUPPORTED_VERSION,
    Violation,
)
from .peering import Local, Negotiated, Peer

LONGEST_REST = 60.0  # seconds in Idle after errors in a row
STABLE = LONGEST_REST  # a session that lasted as long ended a row of errors

_REFRESH_SUBTYPES = (RouteRefresh.REQUEST, RouteRefresh.BEGIN, RouteRefresh.END)
_COLLIDED = (Notification.cease(COLLISION), "another connection stays (RFC 4271 s6.8)")  # RFC 4486 s4
_PROGRESS = (State.ESTABLISHED, State.OPEN_CONFIRM, State.OPEN_SENT)


class Session:
    """The session with `peer`, over whatever connections there are.

    Connections have numbers that the caller chooses, each used once. What is told of a connection that the
    session has closed, or never knew, changes nothing.

    Args:
        jitter: gives a factor from 0.75 to 1.0 (RFC 4271 s10).

    Attributes:
        last_error: one line: what ended the last connection that ended otherwise than by `stop`; or "".
    """

    def __init__(self, local: Local, peer: Peer, *, jitter: Callable[[], float]) -> None:
        self.last_error = ""
        self._local = local
        self._peer = peer
        self._jitter = jitter
        self._dials = not (peer.passive or peer.dynamic)
        self._started = False
        self._resting_until: float | None = None  # IdleHoldTimer, RFC 4271 s8.1.3
        self._retry_at: float | None = None  # ConnectRetryTimer
        self._dialing = False
        self._errors = 0  # in a row; ConnectRetryCounter, as far as it damps
        self._connections: dict[int, Connection] = {}
        self._heard: Open | None = None  # the last OPEN that was good
        self._effects: list[Effect] = []

    @property
    def state(self) -> State:
        """The state of RFC 4271 s8.2.2: that of the connection that has come furthest."""
        states = {each.state for each in self._connections.values()}
        for state in _PROGRESS:
            if state in states:
                return state
        if self._dialing:
            return State.CONNECT
        return State.ACTIVE if self._started and self._resting_until is None else State.IDLE

    @property
    def deadline(self) -> float | None:
        """When `expire` is to be called; None: nothing is waited for."""
        timers = (each.deadline for each in self._connections.values())
        return earliest(self._resting_until, self._retry_at, *timers)

    @property
    def negotiated(self) -> Negotiated | None:
        """What the established session agreed on; None: there is none."""
        up = self._established
        return up.negotiated if up else None

    @property
    def since(self) -> float | None:
        """When the session was established; None: it is not."""
        up = self._established
        return up.since if up else None

    @property
    def send_hold_time(self) -> float:
        """Seconds in which the established peer has to take something (RFC 9687); 0: no limit."""
        up = self._established
        return up.send_hold_time if up and up.negotiated and up.negotiated.hold_time else 0.0

    # The operator

    def start(self, *, now: float) -> list[Effect]:
        """Begin to dial, or to wait for the peer; in Idle it ends a rest at once (events 1, 3 to 7)."""
        if not self._started or self._resting_until is not None:  # RFC 4271 s8.2.2: ignored but in Idle
            self._started = True
            self._errors = 0
            self._resting_until = None
        return self._done(now)

    def stop(self, reason: str = "", *, hard: bool = False, now: float) -> list[Effect]:
        """Close everything, and stay in Idle (events 2, 8).

        Args:
            reason: words for the operator over there (RFC 9003).
            hard: what we announced is void. Else a peer that knows graceful restart keeps it for a while.
        """
        self._started = False
        self._errors = 0
        self._resting_until = None
        up = self._established
        for one in list(self._connections.values()):
            notification = farewell(self._local, one.negotiated if one is up else None, reason, hard=hard)
            self._end(one, notification, "stopped" + (f": {reason}" if reason else ""))
        return self._done(now)

    def dial(self, *, now: float) -> list[Effect]:
        """Dial at once where that was to be done later; nothing where it is not to be done."""
        if self._retry_at is not None:
            self._retry_at = now
        return self._done(now)

    # TCP

    def accepted(self, connection: int, *, now: float) -> list[Effect]:
        """The peer dialled, and TCP is there (event 17)."""
        if not self._started:
            # RFC 4271 s8.2.2: Idle refuses, and RFC 4486 s4: with these words where it is not for a moment
            self._effects += [
                Write(connection, Notification.cease(CONNECTION_REJECTED).encode()),
                Close(connection),
            ]
        elif self._resting_until is not None:
            self._effects.append(Close(connection))
        else:
            for other in list(self._connections.values()):
                # A peer has one dial at a time, so it has forgotten the one before.
                if other.state is State.OPEN_SENT and not other.dialed:
                    self._end(other, Notification.cease(COLLISION), "the peer dialled again")
            self._begin(connection, dialed=False, now=now)
        return self._done(now)

    def connected(self, connection: int, *, now: float) -> list[Effect]:
        """Our dial made a connection (event 16)."""
        if self._dialing:
            self._dialing = False
            self._retry_at = None
            self._begin(connection, dialed=True, now=now)
        else:
            self._effects.append(Close(connection))
        return self._done(now)

    def failed(self, reason: str = "", *, now: float) -> list[Effect]:
        """Our dial came to nothing (event 18 in Connect)."""
        if self._dialing:
            self._dialing = False
            self._retry_at = now + self._retry_time()
            self.last_error = reason or "no connection"
        return self._done(now)

    def closed(self, connection: int, reason: str = "", *, now: float) -> list[Effect]:
        """TCP lost the connection, or the peer closed it (event 18). It is the caller's to tidy away."""
        one = self._connections.get(connection)
        if one is not None:
            self._end(one, None, reason or "the peer closed the connection", closed=True)
            if one.state is State.OPEN_SENT:  # RFC 4271 s8.2.2: to Active, and not to Idle
                if one.dialed or self._retry_at is None:
                    self._retry_at = now + self._retry_time()
            else:
                self._rest(one, now, fault=False, counts=not _restarts(one, None))
        return self._done(now)

    def wrote(self, connection: int, *, pending: bool, now: float) -> list[Effect]:
        """TCP took octets that were to be written; `pending`: more of them wait. To be told each time."""
        one = self._connections.get(connection)
        if one is not None:
            one.wrote(pending=pending, now=now)
        return self._done(now)

    def busy(self, connection: int, *, now: float) -> list[Effect]:
        """Octets of the peer wait in the socket, and we are not ready for them: the peer is not silent."""
        one = self._connections.get(connection)
        if one is not None and one.hold_at is not None:
            one.heard(now)
        return self._done(now)

    # Timers

    def expire(self, *, now: float) -> list[Effect]:
        """Do what the time asks for; nothing where `deadline` is not over."""
        for one in list(self._connections.values()):
            if one.hold_at is not None and now >= one.hold_at:  # event 10
                self._violated(one, Violation(HOLD_TIMER_EXPIRED, 0, reason=_silence(one)), now)
            elif one.stuck_at is not None and now >= one.stuck_at:
                # RFC 9687 s4.3: a NOTIFICATION would wait behind what the peer does not take
                reason = f"the peer took nothing for {one.send_hold_time:.0f} s (RFC 9687)"
                self._end(one, None, reason, graceful=False)
                self._rest(one, now, fault=True)
            elif one.keepalive_at is not None and now >= one.keepalive_at:  # event 11
                self._write(one, keepalive(), now)
        if self._resting_until is not None and now >= self._resting_until:  # event 13
            self._resting_until = None
        return self._done(now)

    # The table work

    def send(self, data: bytes, *, now: float) -> list[Effect]:
        """Write UPDATEs, or a ROUTE-REFRESH, over the established session; nothing where there is none."""
        up = self._established
        if up is not None:
            self._write(up, data, now)
        return self._done(now)

    def reject(self, connection: int, violation: Violation, *, now: float) -> list[Effect]:
        """End the session: an UPDATE of that connection was found bad (event 28), or too much (RFC 4486)."""
        one = self._connections.get(connection)
        if one is not None:
            self._violated(one, violation, now)
        return self._done(now)

    # Octets

    def received(self, connection: int, data: bytes, *, now: float) -> list[Effect]:
        """Take what the peer sent, cut anywhere."""
        one = self._connections.get(connection)
        if one is None:
            return self._done(now)
        one.framer.feed(data)
        kind, updates = 0, list[bytes]()
        if one.state is State.ESTABLISHED and (volley := one.framer.short_updates()):
            kind = UPDATE
            if len(volley) < FEW:
                updates += volley
            else:
                self._effects.append(Received(volley))
        try:
            for kind, body in one.framer:
                if kind == UPDATE and one.state is State.ESTABLISHED:  # event 27
                    updates.append(body)
                    continue
                self._pass_on(updates)
                self._take(one, kind, body, now)
                if connection not in self._connections:
                    break
        except Violation as violation:  # events 21, 22, and those of RFC 6608
            self._pass_on(updates)
            self._violated(one, violation, now)
        self._pass_on(updates)
        if kind:
            one.heard(now)
        return self._done(now)

    def _pass_on(self, updates: list[bytes]) -> None:
        if updates:
            self._effects.append(Received(tuple(updates)))
            updates.clear()

    def _take(self, one: Connection, kind: int, body: bytes, now: float) -> None:
        one.check(kind)
        if kind == NOTIFICATION:  # events 24, 25
            self._notified(one, Notification.decode(body), now)
        elif kind == OPEN:  # event 19
            self._open(one, Open.decode(body), now)
        elif kind == KEEPALIVE:  # event 26
            if one.state is State.OPEN_CONFIRM:
                self._up(one, now)
        else:
            self._refresh(one, body)

    def _open(self, one: Connection, theirs: Open, now: float) -> None:
        negotiated = capabilities.negotiate(self._local, self._peer, theirs)
        self._heard = theirs
        if self._stays(one, negotiated, now):
            one.opened(negotiated, self._peer, now)
            self._write(one, keepalive(), now)

    def _up(self, one: Connection, now: float) -> None:
        assert one.negotiated is not None
        one.establish(now)
        # RFC 4724 s4.1: the R bit stands in the first session after a restart, and in no later one
        self._local = attrs.evolve(self._local, restarting=False)
        self.last_error = ""
        self._effects.append(Up(one.id, one.negotiated))

    def _notified(self, one: Connection, notification: Notification, now: float) -> None:
        # RFC 4271 s6.4: a NOTIFICATION is never answered by one
        self._end(one, None, f"the peer sent {notification}", received=notification)
        # RFC 4271 s8.2.2, event 24: that the peer wants another version does not count
        version = (notification.code, notification.subcode) == (OPEN_MESSAGE, UNSUPPORTED_VERSION)
        counts = not version and not _restarts(one, notification)
        self._rest(one, now, fault=notification.cause.code != CEASE, counts=counts)

    def _refresh(self, one: Connection, body: bytes) -> None:
        assert one.negotiated is not None
        refresh = RouteRefresh.decode(body, enhanced=one.negotiated.enhanced_refresh)
        # RFC 2918 s4: another family is ignored. RFC 7313 s5: so is another subtype
        if refresh.family in one.negotiated.families and refresh.subtype in _REFRESH_SUBTYPES:
            self._effects.append(Refresh(refresh.family, refresh.subtype))

    # Two connections

    def _stays(self, new: Connection, negotiated: Negotiated, now: float) -> bool:
        """Let one connection remain of `new`, whose OPEN has come, and those whose OPEN came before it."""
        for old in list(self._connections.values()):
            if old is new or old.negotiated is None:
                continue  # RFC 4271 s6.8: in OpenSent we do not know yet who it is
            if restarted(old, new, negotiated):
                # RFC 4724 s4.2: the old one is closed without a word, and its routes stay as stale ones
                self._end(old, None, "the peer restarted", graceful=False)
                self._forgive(old, now)
            elif wins(self._local, old, new, negotiated):
                self._end(old, *_COLLIDED)
            else:
                self._end(new, *_COLLIDED)
                if old.state is State.ESTABLISHED:
                    # Should the peer have forgotten it, its TCP says so when it gets this.
                    self._write(old, keepalive(), now)
                return False
        return True

    # What all of these come to

    @property
    def _established(self) -> Connection | None:
        return next((each for each in self._connections.values() if each.state is State.ESTABLISHED), None)

    def _begin(self, connection: int, *, dialed: bool, now: float) -> None:
        """Send our OPEN, and enter OpenSent."""
        one = Connection(connection, dialed=dialed, jitter=self._jitter, now=now)
        self._connections[connection] = one
        offer = capabilities.offer(self._local, self._peer, theirs=self._heard)
        self._write(one, offer.encode(), now)

    def _write(self, one: Connection, data: bytes, now: float) -> None:
        one.sending(now, restarts=data[HEADER - 1] != ROUTE_REFRESH)
        self._effects.append(Write(one.id, data))

    def _violated(self, one: Connection, violation: Violation, now: float) -> None:
        """End a connection for what the peer did, or did not do."""
        self._end(one, verdict(violation, one.negotiated), str(violation))
        self._rest(one, now, fault=True)

    def _end(
        self,
        one: Connection,
        notification: Notification | None,
        reason: str,
        *,
        received: Notification | None = None,
        closed: bool = False,
        graceful: bool = True,
    ) -> None:
        """Take a connection away.

        Args:
            notification: is sent first. received: was received.
            closed: by TCP, so there is nothing to close.
        """
        del self._connections[one.id]
        if notification is not None:
            self._effects.append(Write(one.id, notification.encode()))
        if not closed:
            self._effects.append(Close(one.id, graceful=graceful))
        if self._started:
            self.last_error = reason
        if one.state is State.ESTABLISHED:
            assert one.negotiated is not None
            ended_by = received or notification
            keep = kept(one.negotiated, ended_by) if self._started else ()
            seconds = float(one.negotiated.restart_time or 0) if keep else 0.0
            sent = notification is not None
            self._effects.append(Down(reason, ended_by, sent=sent, keep=keep, seconds=seconds))

    def _forgive(self, one: Connection, now: float) -> bool:
        """Return whether `one` was established for long; then the errors before it do not count."""
        stable = one.state is State.ESTABLISHED and now - one.since >= STABLE
        if stable:
            self._errors = 0
        return stable

    def _rest(self, one: Connection, now: float, *, fault: bool, counts: bool = True) -> None:
        """Go to Idle, unless another connection is there, and stay the longer the more errors came in a row.

        RFC 4271 s8.1.1, DampPeerOscillations. TCP's end of a stable session is no error: a passive side that
        rested then would turn away a peer that is back at once. Nor does a graceful restart count, however
        young the session: the row would grow with every restart, until the peer is away for longer than its
        routes are kept.
        """
        stable = self._forgive(one, now)
        if self._connections or (stable and not fault):
            return
        self._errors += counts
        rest = self._peer.idle_hold * 2 ** min(max(0, self._errors - 1), 16)
        self._resting_until = now + min(LONGEST_REST, rest) * self._jitter()

    def _retry_time(self) -> float:
        return self._peer.connect_retry * self._jitter()

    def _done(self, now: float) -> list[Effect]:
        """Dial if it is time to, or give a dial up that is needed no more; return what is to be done."""
        others = self._connections.values()
        if (
            self._started
            and self._dials
            and self._resting_until is None
            and not any(each.dialed or each.negotiated for each in others)
        ):
            if self._retry_at is None:  # at once from Idle; where the peer has dialled, it may be enough
                self._retry_at = now + self._retry_time() if others else now
            if now >= self._retry_at:  # event 9, or the start
                if self._dialing:
                    self._effects.append(Abandon())
                self._dialing = True
                self._retry_at = now + self._retry_time()
                self._effects.append(Dial())
        else:
            self._retry_at = None
            if self._dialing:
                self._dialing = False
                self._effects.append(Abandon())
        effects, self._effects = self._effects, []
        return effects


def _restarts(one: Connection, notification: Notification | None) -> bool:
    """Return whether a session ends as that of a peer does that will be back in a moment."""
    if one.state is not State.ESTABLISHED or one.negotiated is None:
        return False
    cease = notification is None or notification.cause.code == CEASE
    return cease and bool(kept(one.negotiated, notification))


def _silence(one: Connection) -> str:
    assert one.hold_at is not None
    wanted = "OPEN" if one.state is State.OPEN_SENT else "message"
    return f"hold timer expired: no {wanted} in time, in {one.state} (RFC 4271 s6.5)"
