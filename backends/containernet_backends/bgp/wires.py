"""Between the sockets of peers and their sessions: what TCP does is told to a session, what it wants is done.

Sessions know connections by numbers (see `session`); a number's socket is a `Pipe` of its `Remote`. What a
session wants after it was told something is for the owner to carry out: much of it comes back here.
"""

from __future__ import annotations

import functools
import itertools
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from containernet.model import Address

from . import sockets
from .effects import Effect
from .lines import READ, WRITE, Lines
from .pipe import Pipe
from .remote import INBOX, OUTBOX, Remote


class Wires:
    """All connections of all peers.

    Args:
        lines: what waits for them.
        carry_out: does what a session wants, at that time.
        sparing: has an error of ours cost a peer its session, and nothing else.
        unreachable: is told of a peer that a dial has not reached, and why.

    Attributes:
        own_addresses: of ours, as far as peers have called or been called from there.
        unsent: connections with something to be sent.
    """

    def __init__(
        self,
        lines: Lines,
        *,
        carry_out: Callable[[Remote, Sequence[Effect], float], None],
        sparing: Callable[[Remote], AbstractContextManager[None]],
        unreachable: Callable[[Remote, str], None],
    ) -> None:
        self.own_addresses: set[Address] = set()
        self.unsent: dict[Pipe, Remote] = {}
        self._lines = lines
        self._carry_out = carry_out
        self._sparing = sparing
        self._unreachable = unreachable
        self._numbers = itertools.count(1)

    # What sessions want

    def dial(self, remote: Remote, now: float) -> None:
        """Begin a connection to a peer."""
        try:
            sock = sockets.dial(remote.address, remote.peer.port, remote.transport)
        except OSError as error:
            self._failed(remote, error.strerror or str(error), now)
            return
        remote.dialing = self._pipe(remote, sock, dialing=True).id

    def abandon(self, remote: Remote) -> None:
        """Give up the dial that is under way."""
        if (pipe := remote.pipes.get(remote.dialing)) is not None:
            self.drop(remote, pipe)
        remote.dialing = 0

    def write(self, remote: Remote, number: int, data: bytes) -> None:
        """Put octets behind those that are to be sent."""
        if (pipe := remote.pipes.get(number)) is not None:
            pipe.write(data)
            self.unsent[pipe] = remote

    def close(self, remote: Remote, number: int, *, graceful: bool, now: float) -> None:
        """Close a connection, or let it end."""
        pipe = remote.pipes.get(number)
        if pipe is None:
            return
        if not graceful:
            self.drop(remote, pipe)
            return
        del remote.pipes[pipe.id]
        self.unsent.pop(pipe, None)
        self._lines.end(pipe, now=now)

    def drop(self, remote: Remote, pipe: Pipe) -> None:
        """Close a connection at once; its session is told nothing."""
        del remote.pipes[pipe.id]
        self.unsent.pop(pipe, None)
        self._lines.forget(pipe)

    def interest(self, remote: Remote, pipe: Pipe) -> None:
        """Wait for what a connection needs. A peer that talks faster than the table listens is not read."""
        read = remote.inbox_octets < INBOX
        self._await(remote, pipe, (READ if read else 0) | (WRITE if pipe.waiting else 0))

    def send(self) -> bool:
        """Send what the kernel takes now; return whether any peer may be told more again since."""
        now, eased = time.monotonic(), False
        unsent, self.unsent = self.unsent, {}
        for pipe, remote in unsent.items():
            if remote.pipes.get(pipe.id) is pipe:
                full = pipe.waiting >= OUTBOX
                with self._sparing(remote):
                    self._flush(remote, pipe, now)
                eased |= full and pipe.waiting < OUTBOX
        return eased

    # What TCP does

    def accepted(self, remote: Remote, sock: socket.socket, local: Address) -> None:
        """A peer has called."""
        now = time.monotonic()
        with self._sparing(remote):
            pipe = self._pipe(remote, sock)
            self._arrived(pipe, local)
            self._carry_out(remote, remote.session.accepted(pipe.id, now=now), now)

    def _ready(self, remote: Remote, pipe: Pipe, mask: int) -> None:
        """A socket can be read or written, unless it was closed since that was found."""
        now = time.monotonic()
        if remote.pipes.get(pipe.id) is pipe:
            with self._sparing(remote):
                if pipe.dialing:
                    self._dialed(remote, pipe, now)
                    return
                if mask & WRITE:
                    self.unsent[pipe] = remote
                if mask & READ:
                    self._read(remote, pipe, now)

    def _read(self, remote: Remote, pipe: Pipe, now: float) -> None:
        try:
            data = pipe.read()
        except OSError as error:
            self._lost(remote, pipe, error.strerror or str(error), now)
            return
        if data:
            self._carry_out(remote, remote.session.received(pipe.id, data, now=now), now)
        elif data is not None:
            self._lost(remote, pipe, "the peer closed the connection", now)

    def _dialed(self, remote: Remote, pipe: Pipe, now: float) -> None:
        why = sockets.outcome(pipe.sock)
        if not why:
            try:
                self._arrived(pipe, sockets.ends(pipe.sock)[0])
            except OSError as error:  # it has ended since
                why = error.strerror or str(error)
        if why:
            self.drop(remote, pipe)
            self._failed(remote, why, now)
            return
        pipe.dialing = False
        remote.dialing = 0
        self._await(remote, pipe, READ)
        self._carry_out(remote, remote.session.connected(pipe.id, now=now), now)

    def _failed(self, remote: Remote, why: str, now: float) -> None:
        remote.dialing = 0
        self._unreachable(remote, why)
        self._carry_out(remote, remote.session.failed(why, now=now), now)

    def _lost(self, remote: Remote, pipe: Pipe, why: str, now: float) -> None:
        self.drop(remote, pipe)
        self._carry_out(remote, remote.session.closed(pipe.id, why, now=now), now)

    def _flush(self, remote: Remote, pipe: Pipe, now: float) -> None:
        try:
            took = pipe.flush()
        except OSError as error:
            self._lost(remote, pipe, error.strerror or str(error), now)
            return
        self.interest(remote, pipe)
        if took:
            self._carry_out(remote, remote.session.wrote(pipe.id, pending=bool(pipe.waiting), now=now), now)

    def _pipe(self, remote: Remote, sock: socket.socket, *, dialing: bool = False) -> Pipe:
        pipe = Pipe(sock, next(self._numbers), dialing=dialing)
        remote.pipes[pipe.id] = pipe
        self._await(remote, pipe, WRITE if dialing else READ)
        return pipe

    def _arrived(self, pipe: Pipe, local: Address) -> None:
        pipe.local = local
        self.own_addresses.add(local)

    def _await(self, remote: Remote, pipe: Pipe, mask: int) -> None:
        self._lines.await_(pipe, mask, functools.partial(self._ready, remote, pipe))
