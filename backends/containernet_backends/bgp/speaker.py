"""Sockets, timers, and the one thread that the whole speaker runs on.

A turn of the loop: what the peers sent, what the timers say, a slice of table work, what is to be told.
Sessions see their messages in the first part and only put UPDATEs aside, so that no keepalive ever waits for
a table (the third part ends after some ms, and goes on in the next turn).

Nobody waits for a slow peer: one that does not read is told no more until it does, and is not held in memory
(see `export`); one that talks faster than the table listens is not read for a while, and TCP tells it so.

Other threads call `table`, `exports` and the rest under `lock`, in short, and `wake` the loop afterwards.
`changed` is notified whenever a turn has changed what may be asked.

An error of ours, met while one peer is dealt with, costs that peer's session, which begins again after a rest.
One in what all have in common costs the table: everything begins again with an empty one.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import socket
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest

import attrs

from containernet.errors import ConfigError, StoreUnavailable
from containernet.jitter import jitter
from containernet.model import Address

from . import effects, sockets
from .arrival import Judge
from .attributes import Attributes
from .connection import earliest
from .deferral import heard_at
from .doors import Doors
from .effects import Effect
from .ending import kept
from .export import Exports, Member
from .families import FAMILIES, Family
from .hearing import hear
from .identifier import some_identifier
from .lines import GOODBYE, Lines
from .message import RouteRefresh
from .nlri import Nlri
from .notification import Violation
from .options import BgpOptions, Neighbour
from .pace import Pace
from .peering import Local, Peer
from .refusal import Ourselves
from .remote import OUTBOX, Remote, met
from .rib import Table
from .session import Session
from .telling import Terms
from .timers import Timers
from .turns import TurnLock
from .wires import Wires

log = logging.getLogger(__name__)

SLICE = 0.005  # seconds of table work in one turn
ACCEPTED = 64  # callers that are let in at one time
LAST_WORDS = 0.5  # seconds for what a peer said that leaves and asks us to keep its routes
STALE = 360.0  # seconds in which a peer that is back may tell everything again, before the rest is forgotten


def _jitter() -> float:
    return jitter(1.0, 0.75)  # RFC 4271 s10


class Speaker:
    """A BGP speaker. It opens sockets at `start`, and not before.

    Attributes:
        lock: held by whoever touches what follows. changed: the same lock, notified after changes.
        table, exports: what is known, and what is told. They are there after `start`.
        remotes: the peers by address.
        promised: families of which we shall have a route of our own.
        outages: how often the last session has ended, or the table was lost: what is missing then is not gone.
        callers: how many peers out of ranges there may be at one time.
        called_again: seconds in which everybody has been called twice (see `deferral`).
    """

    callers = 4096
    called_again = 6.0

    def __init__(self, options: BgpOptions) -> None:
        self.options = options
        self.lock = TurnLock()
        self.changed = threading.Condition(self.lock)  # type: ignore[arg-type]  # it has what that needs
        self.remotes: dict[Address, Remote] = {}
        self.table: Table
        self.exports: Exports
        self.local: Local
        self.promised: tuple[Family, ...] = ()
        self.up_since: float | None = None
        self.started_at = 0.0
        self.outages = 0
        self._own: dict[tuple[Family, Nlri], Attributes] = {}
        self._timers = Timers()
        self._lines = Lines()
        self._wires = Wires(
            self._lines, carry_out=self._carry_out, sparing=self._sparing, unreachable=self._unreachable
        )
        self._draining = False
        self._doors = Doors(
            open=lambda door: self._lines.listen(door, functools.partial(self._accept, door)),
            shut=self._lines.ignore,
        )
        self._busy: deque[Remote] = deque()  # peers with something in their inbox
        self._members: dict[Member, Remote] = {}
        self._more = False
        self._pace = Pace()
        self._complete = False  # we have heard everything, and say so to those who wait for it
        self._closing = False
        self._thread: threading.Thread | None = None

    # What other threads call

    def start(self) -> None:
        """Listen, begin to dial, and run; once is enough, more is no error. It may be tried again.

        Raises:
            StoreUnavailable: a socket that is to listen cannot, or there are no more descriptors or threads.
        """
        with self.lock:
            if self._thread is not None or self._closing:
                return
            try:
                self._start()
            except (OSError, RuntimeError) as error:  # of threading.Thread.start, where there can be no more
                self._hang_up()
                raise StoreUnavailable(f"BGP cannot start: {error}") from error
            except StoreUnavailable:
                self._hang_up()
                raise

    def _start(self) -> None:
        self._lines.open()
        self._doors.build(self.options)
        self.started_at = time.monotonic()
        self.local = Local(
            asn=self.options.asn,
            router_id=self.options.identifier() or some_identifier(self.options),
            cluster_id=self.options.cluster(),
            restart_time=self.options.restart_time,
            restarting=self.options.restart_time > 0,
        )
        self._set_up_table()
        for neighbour in self.options.peers:
            if neighbour.address:
                self._meet(neighbour, neighbour.reached.network_address)
        thread = threading.Thread(target=self._run, name="containernet-bgp", daemon=True)
        thread.start()
        self._thread = thread

    def _set_up_table(self) -> None:
        ourselves = Ourselves(self.local, self._wires.own_addresses)
        self.table = Table(Judge(ourselves=ourselves, local_pref=self.options.preference))
        self.exports = Exports(self.table, deferred=not self._complete)
        if self._draining:
            self.exports.drain()
        for (family, nlri), attributes in self._own.items():
            self.table.originate(family, nlri, attributes)

    def originate(self, family: Family, nlri: Nlri, attributes: Attributes | None) -> None:
        """Announce a route of our own, or withdraw it (None); the caller holds `lock`."""
        if attributes is None:
            self._own.pop((family, nlri), None)
        else:
            self._own[family, nlri] = attributes
        self.table.originate(family, nlri, attributes)
        self.changed.notify_all()
        self.wake()

    def shut_down(self, address: Address, reason: str = "") -> None:
        """End the session with a peer, and have none until `bring_up`; the caller holds `lock`.

        What it said is gone, and what it was told, too: graceful restart is not for this (RFC 8538 s3.1).

        Args:
            reason: for the peer's operator (RFC 9003).

        Raises:
            ConfigError: there is no such peer.
        """
        remote, now = self.peer(address), time.monotonic()
        remote.shut = remote.tried = True
        self._carry_out(remote, remote.session.stop(reason, hard=True, now=now), now)
        remote.reason = "shut down by our operator" + (f": {reason}" if reason else "")
        self.wake()

    def bring_up(self, address: Address) -> None:
        """Undo `shut_down`; the caller holds `lock`. Raises ConfigError: there is no such peer."""
        remote, now = self.peer(address), time.monotonic()
        remote.shut = False
        self._carry_out(remote, remote.session.start(now=now), now)
        self.wake()

    def refresh(self, address: Address) -> None:
        """Ask a peer to tell everything again (RFC 2918); the caller holds `lock`.

        Raises:
            ConfigError: there is no such peer, its session is not up, or it knows no such request.
        """
        remote, now = self.peer(address), time.monotonic()
        negotiated = remote.negotiated
        if negotiated is None:
            raise ConfigError(f"the session with {address} is not up")
        if not negotiated.route_refresh:
            raise ConfigError(f"{address} knows no route refresh (RFC 2918)")
        wanted = b"".join(RouteRefresh(family).encode() for family in negotiated.families)
        self._carry_out(remote, remote.session.send(wanted, now=now), now)
        self.wake()

    def drain(self) -> None:
        """Ask all peers to take other ways than ours, before we leave (RFC 8326); the caller holds `lock`."""
        self._draining = True
        self.exports.drain()
        self.wake()

    def peer(self, address: Address) -> Remote:
        """Return the peer at an address. Raises ConfigError with those that there are."""
        if (remote := self.remotes.get(address)) is None:
            known = ", ".join(map(str, self.remotes)) or "none"
            raise ConfigError(f"{address} is no peer; there are: {known}")
        return remote

    def wake(self) -> None:
        """Have the loop look at what has changed; the caller holds `lock`. Nothing where it runs no more."""
        self._lines.wake()

    def close(self, reason: str = "", *, hard: bool = False) -> None:
        """Tell what is still to be told, and end every session and the thread; may be called twice.

        Args:
            reason: for the peers' operators (RFC 9003).
            hard: our routes are void. Else peers that know graceful restart keep them for a while (RFC 4724).
        """
        with self.lock:
            if not self._closing and self._thread is not None:
                now = time.monotonic()
                self._doors.close()
                if not hard:
                    self._tell_the_rest(now + GOODBYE)
                for remote in list(self.remotes.values()):
                    with self._sparing(remote):
                        self._carry_out(remote, remote.session.stop(reason, hard=hard, now=now), now)
                self._wires.send()
                self.wake()
            self._closing = True
            self.changed.notify_all()
        if self._thread is not None:
            self._thread.join(GOODBYE + 4.0)

    def _tell_the_rest(self, until: float) -> None:
        """Tell what was withdrawn just now; or it would be kept, as all the rest is."""
        try:
            self._tell(until)
        except Exception:
            log.exception("BGP: not everything was told before the end")

    @property
    def closed(self) -> bool:
        """Whether it has ended, or is about to; it does not start again."""
        return self._closing

    @property
    def established(self) -> bool:
        """Whether any session is up."""
        return any(remote.established for remote in self.remotes.values())

    def heard_all_at(self) -> float | None:
        """Return the monotonic time at which everything is, or was, heard; None: nobody is there to hear."""
        return self._heard_at(lambda remote: remote.has_told_all)

    def _heard_at(self, enough: Callable[[Remote], bool]) -> float | None:
        return heard_at(
            self.remotes.values(),
            self.options,
            started_at=self.started_at,
            up_since=self.up_since,
            called_again=self.called_again,
            enough=enough,
        )

    def _completes_at(self) -> float | None:
        """Return when we may say that we have told everything: our own routes, and what we pass on.

        RFC 4724 s4.1: peers that have restarted as well are not waited for, or each would wait for the other.
        """
        heard = self._heard_at(lambda remote: remote.has_told_all or remote.has_restarted)
        own = self.table.own.held
        if heard is None or (own.total() and all(own[family] for family in self.promised)):
            return heard
        return max(heard, self.started_at + self.options.restart_time)

    # The loop

    def _run(self) -> None:
        try:
            while not self._closing or self._lines.first is not None:
                with self.lock:
                    timeout = self._timeout()
                waiting = self._lines.wait(timeout)
                try:
                    for ready, mask in waiting:
                        with self.lock:
                            ready(mask)
                    with self.lock:
                        self._turn()
                except Exception:
                    log.exception("BGP: an error that concerns all peers; the table begins anew")
                    with self.lock:
                        self._start_over()
        finally:
            with self.lock:
                self._hang_up()

    def _turn(self) -> None:
        now = time.monotonic()
        self._more = False
        self._expire(now)
        if not self._complete and (self._completes_at() or now + 1.0) <= now:
            self._complete = True
            self.local = attrs.evolve(self.local, restarting=False)
            self.exports.begin()
        learnt = self._learn(now + SLICE)
        began = time.monotonic()
        if self._pace.due(now=began, listening=bool(self._busy)):
            more = self._tell(began + SLICE)
            eased = self._wires.send()
            self._pace.told(began=began, ended=time.monotonic(), more=more)
        else:
            eased = self._wires.send()
        if learnt or eased or self._pace.more or self._busy or self._wires.unsent:
            self._more = True
        if learnt:
            self.changed.notify_all()

    def _timeout(self) -> float | None:
        if self._more:
            return 0.0
        completes_at = None if self._complete else self._completes_at()
        first = earliest(
            self._timers.first, self._doors.opens_at, self._pace.at, completes_at, self._lines.first
        )
        return None if first is None else max(0.0, first - time.monotonic())

    def _hang_up(self) -> None:
        """Let go of everything. Before the thread has begun it may be tried again; after it has ended not."""
        if self._thread is not None:
            self._closing = True
        self._doors.clear()
        for remote in list(self.remotes.values()):
            for pipe in remote.pipes.values():
                pipe.close()
            remote.pipes.clear()
            if remote.established:
                remote.end("this BGP speaker has ended", now=time.time())
        self._timers.clear()
        self._lines.close()
        if self._thread is None:
            self.remotes.clear()
        self.changed.notify_all()

    # Errors of ours

    @contextlib.contextmanager
    def _sparing(self, remote: Remote) -> Iterator[None]:
        """Have an error of ours cost this peer its session, and nothing else."""
        try:
            yield
        except Exception:
            log.exception("BGP: an error in dealing with %s; its session begins again", remote.address)
            self._begin_again(remote)

    def _begin_again(self, remote: Remote) -> None:
        """Give a peer a new session, after a rest: nobody knows what state the old one is in."""
        now = time.monotonic()
        for pipe in list(remote.pipes.values()):
            self._wires.drop(remote, pipe)
        remote.dialing = 0
        remote.session = self._session(remote.peer)
        remote.rests_until = None if remote.shut else now + remote.peer.idle_hold
        self._reckon(remote)
        if remote.negotiated is not None:
            keep = kept(remote.negotiated, None)  # the peer is there: as if TCP had ended
            seconds = float(remote.negotiated.restart_time or 0)
            self._down(remote, effects.Down("an error of ours, see the log", keep=keep, seconds=seconds), now)
            self._reckon(remote)

    def _start_over(self) -> None:
        """Give everybody a new session, and have an empty table."""
        self._members.clear()
        self._busy.clear()
        self._wires.unsent.clear()
        self.up_since = None
        self.outages += 1
        for remote in list(self.remotes.values()):
            if remote.established:
                remote.end("an error of ours, see the log", now=time.time())
            remote.stale_at = None
            self._begin_again(remote)
        self._set_up_table()
        self.changed.notify_all()

    # Who is there

    def _meet(self, neighbour: Neighbour, address: Address) -> Remote:
        session = self._session(self.options.peering(neighbour, address))
        remote = met(self.options, neighbour, address, session)
        now = time.monotonic()
        with self._sparing(remote):
            self._carry_out(remote, remote.session.start(now=now), now)
        self.remotes[address] = remote  # not before: a caller without a connection is forgotten
        return remote

    def _session(self, peer: Peer) -> Session:
        return Session(self.local, peer, jitter=_jitter)

    def _accept(self, listener: socket.socket, mask: int) -> None:
        for _ in range(ACCEPTED):
            if not self._accept_one(listener):
                return

    def _accept_one(self, listener: socket.socket) -> bool:
        """Let a caller in, or send it away; return False where there is none."""
        sock = self._doors.accept(listener, now=time.monotonic())
        if sock is None:
            return False
        try:
            local, address = sockets.ends(sock)
            remote = self.remotes.get(address) or self._caller(address)
            if remote is None:
                log.info("BGP: %s called, and is no peer of ours", address)
                sock.close()
                return True
            sockets.prepare(sock, remote.transport)
        except OSError:
            sock.close()
            return True
        self._wires.accepted(remote, sock, local)
        return True

    def _caller(self, address: Address) -> Remote | None:
        """Return the peer that an address of one of the ranges is."""
        if (neighbour := self.options.range_of(address)) is None:
            return None
        if sum(remote.peer.dynamic for remote in self.remotes.values()) >= self.callers:
            log.warning("BGP: %s called, and there are %d callers already", address, self.callers)
            return None
        return self._meet(neighbour, address)

    def _unreachable(self, remote: Remote, why: str) -> None:
        remote.tried = True
        if not remote.established:
            remote.reason = f"cannot connect to {remote.address} port {remote.peer.port}: {why}"
        self.changed.notify_all()  # nobody has to wait for it now

    # What sessions want done

    def _carry_out(self, remote: Remote, wanted: Sequence[Effect], now: float) -> None:
        for effect, following in zip_longest(wanted, wanted[1:]):
            match effect:
                case effects.Received(bodies=bodies):
                    remote.hear_updates(bodies)
                    self._has_said(remote)
                case effects.Write(connection=number, data=data):
                    self._wires.write(remote, number, data)
                case effects.Dial():
                    self._wires.dial(remote, now)
                case effects.Abandon():
                    self._wires.abandon(remote)
                    if isinstance(following, effects.Dial):
                        self._unreachable(remote, "no answer")
                case effects.Close(connection=number, graceful=graceful):
                    self._wires.close(remote, number, graceful=graceful, now=now)
                case effects.Up(connection=number, negotiated=negotiated):
                    remote.begin(number, negotiated, now=time.time())
                    self._up(remote, now)
                case effects.Refresh(family=family, subtype=subtype):
                    self._refresh(remote, family, subtype)
                case effects.Down():
                    self._down(remote, effect, now)
        self._reckon(remote)

    def _up(self, remote: Remote, now: float) -> None:
        negotiated = remote.negotiated
        assert negotiated is not None
        log.info(
            "BGP: session with %s is up: AS %d, %s", remote.address, negotiated.peer_asn, negotiated.peer_id
        )
        remote.tried = False
        if self.up_since is None:
            self.up_since = now
            self._try_again(now)
        remote.reason = ""
        if seconds := remote.session.send_hold_time:
            # What waits here the session sees for itself, and says so. Of what the kernel took it sees nothing.
            sockets.give_up(remote.pipes[remote.connection].sock, seconds + 1.0)
        self.table.join(remote.source, negotiated)
        local = remote.local_address = remote.pipes[remote.connection].local
        if remote.stale_at is not None:
            remote.stale_at = now + STALE  # RFC 4724 s4.2: an upper bound, where End-of-RIB never comes
        remote.member = Member(
            source=remote.source,
            negotiated=negotiated,
            terms=Terms.of(
                negotiated,
                addresses=(local,) if local else (),
                policy=self.options.judged_by(remote.neighbour.export_policy, external=negotiated.external),
                client=remote.neighbour.client,
                next_hop_self=remote.neighbour.next_hop_self,
            ),
        )
        self._members[remote.member] = remote
        self.exports.join(remote.member)
        self._more = True
        self.changed.notify_all()

    def _try_again(self, now: float) -> None:
        """Dial whoever could not be reached while nobody could: what kept them away may have been our cable."""
        for remote in self.remotes.values():
            if remote.tried and not remote.shut:
                remote.tried = False
                self._carry_out(remote, remote.session.dial(now=now), now)

    def _refresh(self, remote: Remote, family: Family, subtype: int) -> None:
        if subtype == RouteRefresh.REQUEST and remote.member is not None:
            self.exports.refresh(remote.member, family)
            self._more = True
        else:
            remote.hear((subtype, family))  # it stands between UPDATEs, and means those after it
            self._has_said(remote)

    def _down(self, remote: Remote, down: effects.Down, now: float) -> None:
        log.warning("BGP: session with %s ended: %s", remote.address, down.reason)
        if remote.member is not None:
            self.exports.leave(remote.member)
            self._members.pop(remote.member, None)
        if keep := down.keep:
            self._hear_out(remote)
            keep = keep if not remote.inbox else ()
        self.table.leave(remote.source, keep)
        remote.end(down.reason, now=time.time())
        remote.stale_at = now + down.seconds if keep else None
        if not self.established:
            self.up_since = None
            self.outages += 1
        self._more = True
        self.changed.notify_all()

    def _hear_out(self, remote: Remote) -> None:
        """Take what a peer said at last: a route would be kept that it has withdrawn. Not for long, though."""
        until = time.monotonic() + LAST_WORDS
        while remote.inbox and time.monotonic() < until:
            self._hear(remote)

    # Timers

    def _reckon(self, remote: Remote) -> None:
        """See to it that the loop wakes when the peer's first timer expires, and forget a caller that left."""
        deadline = remote.deadline
        if deadline is None and remote.forgettable and self.remotes.get(remote.address) is remote:
            del self.remotes[remote.address]
            remote.due = None
        else:
            self._timers.set(remote, deadline, peers=len(self.remotes))

    def _expire(self, now: float) -> None:
        for remote in self._timers.due(now):
            with self._sparing(remote):
                self._expire_one(remote, now)
        self._lines.expire(now)
        if self._doors.opens_at is not None and self._doors.opens_at <= now:
            self._doors.open()

    def _expire_one(self, remote: Remote, now: float) -> None:
        if remote.rests_until is not None and remote.rests_until <= now:
            remote.rests_until = None
            self._carry_out(remote, remote.session.start(now=now), now)
        for pipe in list(remote.pipes.values()):
            if not pipe.dialing and pipe.unread():
                self._carry_out(remote, remote.session.busy(pipe.id, now=now), now)
        if remote.stale_at is not None and remote.stale_at <= now:
            remote.stale_at = None
            for family in FAMILIES:
                self.table.end_of_rib(remote.source, family)
            self._more = True
        self._carry_out(remote, remote.session.expire(now=now), now)

    # Table work

    def _has_said(self, remote: Remote) -> None:
        if remote not in self._busy:
            self._busy.append(remote)

    def _learn(self, until: float) -> bool:
        """Take what peers said into the table, turn and turn about; return whether there was anything."""
        learnt = self.table.work()
        while self._busy and time.monotonic() < until:
            learnt = True
            remote = self._busy.popleft()
            with self._sparing(remote):
                for _ in range(32):
                    if not remote.inbox:
                        break
                    self._hear(remote)
                    if time.monotonic() >= until:
                        self._busy.append(remote)
                        break
                else:
                    self._busy.append(remote)
                if (pipe := remote.pipes.get(remote.connection)) is not None:
                    self._wires.interest(remote, pipe)
        return learnt

    def _hear(self, remote: Remote) -> None:
        try:
            hear(self.table, remote)
        except Violation as violation:
            now = time.monotonic()
            self._carry_out(remote, remote.session.reject(remote.connection, violation, now=now), now)

    # What goes out

    def _tell(self, until: float) -> bool:
        """Hand what is to be told to the sessions; return whether there is more for peers that take it."""
        messages: defaultdict[Member, list[bytes]] = defaultdict(list)
        waiting = {
            remote.member: remote.pipes[remote.connection].waiting
            for remote in self.remotes.values()
            if remote.member is not None
        }

        def ready(member: Member) -> bool:
            return waiting[member] < OUTBOX

        more = False
        for message, members in self.exports.produce(ready):
            for member in members:
                messages[member].append(message)
                waiting[member] += len(message)
            if time.monotonic() > until:
                more = True
                break
        now = time.monotonic()
        for member, some in messages.items():
            remote = self._members[member]
            with self._sparing(remote):
                self._carry_out(remote, remote.session.send(b"".join(some), now=now), now)
        return more
