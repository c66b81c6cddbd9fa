"""Sockets, timers, and the one thread that the whole speaker runs on.

A turn of the loop: what the peers sent, what the timers say, a slice of table work, what is to be told.
Sessions see their messages in the first part and only put UPDATEs aside, so that no keepalive ever waits for
a table (the third part ends after some ms, and goes on in the next turn).

Nobody waits for a slow peer: one that does not read is told no more until it does, and is not held in memory
(see `export`); one that talks faster than the table listens is not read for a while, and TCP tells it so.

Other threads call `table`, `exports` and the rest under `lock`, in short, and `wake` the loop afterwards.
`changed` is notified whenever a turn has changed what may be asked.
"""

from __future__ import annotations

import contextlib
import errno
import heapq
import itertools
import logging
import os
import random
import selectors
import socket
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from hashlib import blake2s
from ipaddress import IPv4Address

from containernet.errors import ConfigError, StoreUnavailable
from containernet.model import Address

from . import effects, sockets
from .arrival import Judge
from .attributes import Attributes
from .effects import Effect
from .export import Exports, Member
from .families import FAMILIES, Family
from .message import RouteRefresh
from .notification import CEASE, OUT_OF_RESOURCES, Violation
from .options import BgpOptions, Neighbour
from .paths import Source
from .peering import Local
from .pipe import Pipe
from .policy import Policy, default
from .refusal import Ourselves
from .remote import INBOX, OUTBOX, Remote
from .rib import Table
from .session import Session
from .telling import Terms

log = logging.getLogger(__name__)

SLICE = 0.005  # seconds of table work in one turn
GOODBYE = 1.0  # seconds in which a peer may read why its connection ends
CALLERS = 4096  # peers out of ranges at one time

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


def _jitter() -> float:
    return random.uniform(0.75, 1.0)  # RFC 4271 s10


class Speaker:
    """A BGP speaker. It opens sockets at `start`, and not before.

    Attributes:
        lock: held by whoever touches what follows. changed: the same lock, notified after changes.
        table, exports: what is known, and what is told. They are there after `start`.
        remotes: the peers by address.
    """

    def __init__(self, options: BgpOptions) -> None:
        self.options = options
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.remotes: dict[Address, Remote] = {}
        self.table: Table
        self.exports: Exports
        self.local: Local
        self.own_addresses: set[Address] = set()
        self.up_since: float | None = None
        self.started_at = 0.0
        self._ranges = [peer for peer in options.peers if peer.range]
        self._selector = selectors.DefaultSelector()
        self._numbers = itertools.count(1)
        self._timers: list[tuple[float, int, Remote]] = []
        self._goodbyes: dict[Pipe, float] = {}
        self._listeners: list[socket.socket] = []
        self._busy: deque[Remote] = deque()  # peers with something in their inbox
        self._unsent: dict[Pipe, Remote] = {}
        self._members: dict[Member, Remote] = {}
        self._waker = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._more = False
        self._complete = False  # we have heard everything, and say so to those who wait for it
        self._closing = False
        self._thread: threading.Thread | None = None

    # What other threads call

    def start(self) -> None:
        """Listen, begin to dial, and run; once is enough, more is no error.

        Raises:
            StoreUnavailable: a socket that is to listen cannot.
        """
        with self.lock:
            if self._thread is not None or self._closing:
                return
            self._listen()
            self.started_at = time.monotonic()
            self.local = Local(
                asn=self.options.asn,
                router_id=self.options.identifier() or self._some_identifier(),
                cluster_id=self.options.cluster(),
                restart_time=self.options.restart_time,
                restarting=self.options.restart_time > 0,
            )
            ourselves = Ourselves(self.local, self.own_addresses)
            self.table = Table(Judge(ourselves=ourselves, local_pref=self.options.preference))
            self.exports = Exports(self.table, deferred=True)
            self._selector.register(self._waker, READ, self._woken)
            for listener in self._listeners:
                self._selector.register(listener, READ, lambda _, which=listener: self._accept(which))
            for neighbour in self.options.peers:
                if neighbour.address:
                    self._meet(neighbour, neighbour.reached.network_address)
            self._thread = threading.Thread(target=self._run, name="containernet-bgp", daemon=True)
            self._thread.start()

    def originate(self, family: Family, nlri: bytes, attributes: Attributes | None) -> None:
        """Announce a route of our own, or withdraw it (None); the caller holds `lock`."""
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
        remote, now = self._peer(address), time.monotonic()
        remote.shut = remote.tried = True
        self._carry_out(remote, remote.session.stop(reason, hard=True, now=now), now)
        remote.reason = "shut down by our operator" + (f": {reason}" if reason else "")
        self.wake()

    def bring_up(self, address: Address) -> None:
        """Undo `shut_down`; the caller holds `lock`. Raises ConfigError: there is no such peer."""
        remote, now = self._peer(address), time.monotonic()
        remote.shut = False
        self._carry_out(remote, remote.session.start(now=now), now)
        self.wake()

    def refresh(self, address: Address) -> None:
        """Ask a peer to tell everything again (RFC 2918); the caller holds `lock`.

        Raises:
            ConfigError: there is no such peer, its session is not up, or it knows no such request.
        """
        remote, now = self._peer(address), time.monotonic()
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
        self.exports.drain()
        self.wake()

    def _peer(self, address: Address) -> Remote:
        if (remote := self.remotes.get(address)) is None:
            known = ", ".join(map(str, self.remotes)) or "none"
            raise ConfigError(f"{address} is no peer; there are: {known}")
        return remote

    def wake(self) -> None:
        """Have the loop look at what has changed."""
        os.eventfd_write(self._waker, 1)

    def close(self, reason: str = "", *, hard: bool = False) -> None:
        """End every session and the thread; may be called twice.

        Args:
            reason: for the peers' operators (RFC 9003).
            hard: our routes are void. Else peers that know graceful restart keep them for a while (RFC 4724).
        """
        with self.lock:
            if self._closing:
                return
            self._closing = True
            thread = self._thread
            if thread is not None:
                self._stop_listening()
                now = time.monotonic()
                for remote in self.remotes.values():
                    self._carry_out(remote, remote.session.stop(reason, hard=hard, now=now), now)
                self._send()
                self.wake()
            self.changed.notify_all()
        if thread is not None:
            thread.join(GOODBYE + 4.0)
        else:
            self._selector.close()
            os.close(self._waker)

    @property
    def established(self) -> bool:
        """Whether any session is up."""
        return any(remote.established for remote in self.remotes.values())

    def heard_all_at(self) -> float | None:
        """Return the monotonic time at which everything is, or was, heard; None: nobody is there to hear.

        RFC 4724 s4.1: when every peer has said that this was all, or could not be reached; or by time.
        """
        return self._heard_at(lambda remote: remote.has_told_all)

    def _heard_at(self, enough: Callable[[Remote], bool]) -> float | None:
        wait = self.options.start_wait
        if not self.options.peers:
            return self.started_at
        if self.up_since is None:
            return None
        remotes = [remote for remote in self.remotes.values() if not remote.peer.dynamic]
        if all(enough(remote) or (remote.tried and not remote.established) for remote in remotes):
            callers = any(peer.range for peer in self.options.peers)
            return max(self.started_at + wait, self.up_since) if callers else self.up_since
        return self.up_since + wait

    def _completes_at(self) -> float | None:
        """Return when we may say that we have told everything: our own routes, and what we pass on.

        RFC 4724 s4.1: peers that have restarted as well are not waited for, or each would wait for the other.
        """
        heard = self._heard_at(lambda remote: remote.has_told_all or remote.has_restarted)
        if heard is None or self.table.own.held.total():
            return heard
        return max(heard, self.started_at + self.options.restart_time)

    # The loop

    def _run(self) -> None:
        try:
            while not self._closing or self._goodbyes:
                for key, mask in self._selector.select(self._timeout()):
                    with self.lock:
                        key.data(mask)
                with self.lock:
                    self._turn()
        finally:
            with self.lock:
                self._hang_up()

    def _turn(self) -> None:
        now = time.monotonic()
        self._expire(now)
        if not self._complete and (self._completes_at() or now + 1.0) <= now:
            self._complete = True
            self.exports.begin()
        until = now + SLICE
        learnt = self._learn(until)
        told_more = self._tell(until)
        self._send()
        self._more = learnt or told_more or bool(self._busy)
        if learnt:
            self.changed.notify_all()

    def _timeout(self) -> float | None:
        if self._more:
            return 0.0
        deadlines = [self._timers[0][0]] if self._timers else []
        deadlines += self._goodbyes.values()
        if not self._complete and (at := self._completes_at()) is not None:
            deadlines.append(at)
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None

    def _woken(self, mask: int) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._waker)

    def _hang_up(self) -> None:
        for remote in self.remotes.values():
            for pipe in remote.pipes.values():
                pipe.close()
        for pipe in self._goodbyes:
            pipe.close()
        self._selector.close()
        os.close(self._waker)

    # Peers and their connections

    def _listen(self) -> None:
        for where in self.options.listening:
            try:
                hops = self.options.hops(where.address.version)
                listener = sockets.listen(where.address, where.port, hops=hops)
                self._listeners.append(listener)
                for neighbour in self.options.peers:
                    if neighbour.password and neighbour.reached.version == where.address.version:
                        sockets.sign(listener, neighbour.reached, neighbour.password)
            except OSError as error:
                for listener in self._listeners:
                    listener.close()
                self._listeners.clear()
                raise StoreUnavailable(f"BGP cannot listen on {where}: {_advice(error)}") from error

    def _stop_listening(self) -> None:
        for listener in self._listeners:
            self._selector.unregister(listener)
            listener.close()
        self._listeners.clear()

    def _some_identifier(self) -> IPv4Address:
        """Return a BGP Identifier: the address that we reach a peer from, or a number made from it."""
        for neighbour in self.options.peers:
            local = neighbour.transport.local or sockets.own_address(neighbour.reached.network_address)
            if isinstance(local, IPv4Address):
                return local
            if local is not None:  # RFC 6286 s2.1: any four octets will do, but zero
                return IPv4Address(blake2s(local.packed, digest_size=4).digest() or b"\1")
        address = next((where.address for where in self.options.listening if int(where.address)), None)
        if isinstance(address, IPv4Address):
            return address
        named = socket.gethostname().encode()
        return IPv4Address(blake2s(named, digest_size=4).digest())

    def _meet(self, neighbour: Neighbour, address: Address) -> Remote:
        peer = self.options.peering(neighbour, address)
        external = self.options.external(neighbour)
        remote = Remote(
            neighbour=neighbour,
            peer=peer,
            transport=self.options.travel(neighbour),
            session=Session(self.local, peer, jitter=_jitter),
            source=Source(
                address=address,
                asn=peer.asn,
                identifier=IPv4Address(0),
                external=external,
                client=neighbour.client,
                policy=self._policy(neighbour.import_policy, external=external),
                allow_own_as=neighbour.allow_own_as,
                max_prefixes=neighbour.max_prefixes,
            ),
        )
        self.remotes[address] = remote
        now = time.monotonic()
        self._carry_out(remote, remote.session.start(now=now), now)
        return remote

    def _policy(self, name: str, *, external: bool) -> Policy:
        return self.options.policies[name] if name else default(external=external)

    def _accept(self, listener: socket.socket) -> None:
        try:
            sock, _ = listener.accept()
        except OSError:
            return  # it is gone already, or we have no descriptor for it; the peer will try again
        try:
            local, address = sockets.ends(sock)
            remote = self.remotes.get(address) or self._caller(address)
            if remote is None:
                log.info("BGP: %s called, and is no peer of ours", address)
                sock.close()
                return
            sockets.prepare(sock, remote.transport)
        except OSError:
            sock.close()
            return
        remote.local_address = local
        self.own_addresses.add(local)
        pipe = self._pipe(remote, sock)
        now = time.monotonic()
        self._carry_out(remote, remote.session.accepted(pipe.id, now=now), now)

    def _caller(self, address: Address) -> Remote | None:
        """Return the peer that an address of one of the ranges is."""
        fitting = [
            each for each in self._ranges if address.version == each.reached.version and address in each.reached
        ]
        if not fitting:
            return None
        if sum(remote.peer.dynamic for remote in self.remotes.values()) >= CALLERS:
            log.warning("BGP: %s called, and there are %d callers already", address, CALLERS)
            return None
        return self._meet(max(fitting, key=lambda each: each.reached.prefixlen), address)

    def _pipe(self, remote: Remote, sock: socket.socket, *, dialing: bool = False) -> Pipe:
        pipe = Pipe(sock, next(self._numbers), dialing=dialing)
        remote.pipes[pipe.id] = pipe
        self._selector.register(sock, WRITE if dialing else READ, lambda mask: self._ready(remote, pipe, mask))
        return pipe

    def _ready(self, remote: Remote, pipe: Pipe, mask: int) -> None:
        """A socket can be read or written."""
        if pipe.closed:
            return  # by what another socket said, that was ready at the same time
        now = time.monotonic()
        if pipe.ending:
            self._ready_to_end(pipe, mask)
        elif pipe.dialing:
            self._dialed(remote, pipe, now)
        else:
            try:
                if mask & WRITE:
                    self._unsent[pipe] = remote
                if mask & READ and (data := pipe.read()) is not None:
                    if not data:
                        self._lost(remote, pipe, "the peer closed the connection", now)
                    else:
                        self._carry_out(remote, remote.session.received(pipe.id, data, now=now), now)
            except OSError as error:
                self._lost(remote, pipe, error.strerror or str(error), now)

    def _ready_to_end(self, pipe: Pipe, mask: int) -> None:
        try:
            if mask & WRITE:
                pipe.flush()
                self._interest(pipe)
            if mask & READ and pipe.read() == b"":
                self._goodbyes[pipe] = 0.0
        except OSError:
            self._goodbyes[pipe] = 0.0

    def _dialed(self, remote: Remote, pipe: Pipe, now: float) -> None:
        why = sockets.outcome(pipe.sock)
        if why:
            self._drop(remote, pipe)
            self._failed(remote, why, now)
            return
        pipe.dialing = False
        remote.dialing = 0
        self._selector.modify(pipe.sock, READ, self._selector.get_key(pipe.sock).data)
        with contextlib.suppress(OSError):
            remote.local_address, _ = sockets.ends(pipe.sock)
            self.own_addresses.add(remote.local_address)
        self._carry_out(remote, remote.session.connected(pipe.id, now=now), now)

    def _failed(self, remote: Remote, why: str, now: float) -> None:
        remote.dialing = 0
        remote.tried = True
        if not remote.established:
            remote.reason = f"cannot connect to {remote.address} port {remote.peer.port}: {why}"
        self._carry_out(remote, remote.session.failed(why, now=now), now)

    def _lost(self, remote: Remote, pipe: Pipe, why: str, now: float) -> None:
        self._drop(remote, pipe)
        self._carry_out(remote, remote.session.closed(pipe.id, why, now=now), now)

    def _drop(self, remote: Remote, pipe: Pipe) -> None:
        self._selector.unregister(pipe.sock)
        del remote.pipes[pipe.id]
        self._unsent.pop(pipe, None)
        pipe.close()

    def _interest(self, pipe: Pipe, *, read: bool = True) -> None:
        """Wait for what a connection needs."""
        mask = (READ if read else 0) | (WRITE if pipe.waiting else 0)
        key = self._selector.get_key(pipe.sock)
        if mask and key.events != mask:
            self._selector.modify(pipe.sock, mask, key.data)

    # What sessions want done

    def _carry_out(self, remote: Remote, wanted: Sequence[Effect], now: float) -> None:
        for effect in wanted:
            match effect:
                case effects.Received(bodies=bodies):
                    for body in bodies:
                        remote.hear(body)
                    self._has_said(remote)
                case effects.Write(connection=number, data=data):
                    if (pipe := remote.pipes.get(number)) is not None:
                        pipe.write(data)
                        self._unsent[pipe] = remote
                case effects.Dial():
                    self._dial(remote, now)
                case effects.Abandon():
                    if (pipe := remote.pipes.get(remote.dialing)) is not None:
                        self._drop(remote, pipe)
                    remote.dialing = 0
                case effects.Close(connection=number, graceful=graceful):
                    if (pipe := remote.pipes.get(number)) is not None:
                        self._close(remote, pipe, graceful=graceful, now=now)
                case effects.Up(connection=number, negotiated=negotiated):
                    remote.begin(number, negotiated, now=time.time())
                    self._up(remote, now)
                case effects.Refresh(family=family, subtype=subtype):
                    self._refresh(remote, family, subtype)
                case effects.Down():
                    self._down(remote, effect, now)
        self._reckon(remote)

    def _dial(self, remote: Remote, now: float) -> None:
        try:
            sock = sockets.dial(remote.address, remote.peer.port, remote.transport)
        except OSError as error:
            self._failed(remote, error.strerror or str(error), now)
            return
        remote.dialing = self._pipe(remote, sock, dialing=True).id

    def _close(self, remote: Remote, pipe: Pipe, *, graceful: bool, now: float) -> None:
        if not graceful:
            self._drop(remote, pipe)
            return
        del remote.pipes[pipe.id]
        self._unsent.pop(pipe, None)
        pipe.end()
        self._goodbyes[pipe] = now + GOODBYE
        self._interest(pipe)

    def _up(self, remote: Remote, now: float) -> None:
        negotiated = remote.negotiated
        assert negotiated is not None
        log.info(
            "BGP: session with %s is up: AS %d, %s", remote.address, negotiated.peer_asn, negotiated.peer_id
        )
        if self.up_since is None:
            self.up_since = now
        remote.tried = False
        remote.reason = ""
        self.table.join(remote.source, negotiated)
        ends = {remote.local_address} if remote.local_address else set()
        remote.member = Member(
            source=remote.source,
            negotiated=negotiated,
            terms=Terms.of(
                negotiated,
                addresses=tuple(sorted(ends, key=str)),
                policy=self._policy(remote.neighbour.export_policy, external=negotiated.external),
                client=remote.neighbour.client,
                next_hop_self=remote.neighbour.next_hop_self,
            ),
        )
        self._members[remote.member] = remote
        self.exports.join(remote.member)
        self._more = True
        self.changed.notify_all()

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
            del self._members[remote.member]
        remote.end(down.reason, now=time.time())
        self.table.leave(remote.source, down.keep)
        remote.stale_at = now + down.seconds if down.keep else None
        if not self.established:
            self.up_since = None
        self._more = True
        self.changed.notify_all()

    # Timers

    def _reckon(self, remote: Remote) -> None:
        """See to it that the loop wakes when the peer's first timer expires."""
        deadline = remote.deadline
        if deadline is not None and (remote.due is None or deadline < remote.due):
            remote.due = deadline
            heapq.heappush(self._timers, (deadline, next(self._numbers), remote))

    def _expire(self, now: float) -> None:
        while self._timers and self._timers[0][0] <= now:
            due, _, remote = heapq.heappop(self._timers)
            if due != remote.due:
                continue  # an earlier one took its place
            remote.due = None
            for pipe in list(remote.pipes.values()):
                if not pipe.dialing and pipe.unread():
                    self._carry_out(remote, remote.session.busy(pipe.id, now=now), now)
            if remote.stale_at is not None and remote.stale_at <= now:
                remote.stale_at = None
                for family in FAMILIES:
                    self.table.end_of_rib(remote.source, family)
                self._more = True
            self._carry_out(remote, remote.session.expire(now=now), now)
            if remote.forgettable and self.remotes.get(remote.address) is remote:
                del self.remotes[remote.address]
        for pipe, until in list(self._goodbyes.items()):
            if until <= now:
                del self._goodbyes[pipe]
                self._selector.unregister(pipe.sock)
                pipe.close()

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
            for _ in range(32):
                if not remote.inbox:
                    break
                self._apply(remote)
            else:
                self._busy.append(remote)
            if (pipe := remote.pipes.get(remote.connection)) is not None:
                self._interest(pipe, read=remote.inbox_octets < INBOX)
        return learnt

    def _apply(self, remote: Remote) -> None:
        said = remote.next_said()
        table, source = self.table, remote.source
        if isinstance(said, tuple):
            subtype, family = said
            if subtype == RouteRefresh.BEGIN:
                table.begin_refresh(source, family)
            else:
                table.end_of_rib(source, family)
            return
        assert remote.reader is not None
        remote.updates += 1
        try:
            reading = remote.reader.read(said)
            table.learn(source, reading)
        except Violation as violation:
            self._reject(remote, violation)
            return
        except Exception:
            log.exception("BGP: an UPDATE of %s is beyond us: %s", remote.address, said[:64].hex())
            self._reject(remote, Violation(CEASE, OUT_OF_RESOURCES, reason="an UPDATE could not be processed"))
            return
        if reading.end_of_rib is not None:
            remote.complete.add(reading.end_of_rib)
            if remote.has_told_all:
                remote.stale_at = None
        for fault in reading.faults:
            log.warning("BGP: %s: %s", remote.address, fault)
            remote.note_fault(fault)

    def _reject(self, remote: Remote, violation: Violation) -> None:
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
            self._carry_out(remote, remote.session.send(b"".join(some), now=now), now)
        return more

    def _send(self) -> None:
        now = time.monotonic()
        for pipe, remote in list(self._unsent.items()):
            if pipe.dialing or pipe.id not in remote.pipes:
                continue
            try:
                took = pipe.flush()
            except OSError as error:
                self._lost(remote, pipe, error.strerror or str(error), now)
                continue
            if took:
                self._carry_out(remote, remote.session.wrote(pipe.id, pending=bool(pipe.waiting), now=now), now)
            self._interest(pipe, read=remote.inbox_octets < INBOX)
        self._unsent.clear()


def _advice(error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return "another program listens there already; stop it, or set listen"
        case errno.EACCES:
            return "not permitted: ports below 1024 take CAP_NET_BIND_SERVICE; or set listen"
        case errno.EADDRNOTAVAIL:
            return "the address is not one of this host's; set listen"
        case _:
            return error.strerror or str(error)
