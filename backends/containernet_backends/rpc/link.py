"""One connection to a server, and the calls on it; for any number of threads.

There is no thread of its own. Whoever waits for an answer takes a turn: he connects if that is not done yet,
sends what is unsent, reads what comes, and hands it to whomever it is for; the others wait for him. While
nobody waits, nothing is read. So a host at rest has one thread that sleeps in poll(2), on behalf of its watch.

The socket is touched under a lock and never blocks; poll(2) waits without it. So a call can be made, and one
under way be cancelled, by any thread at any moment.

A connection that has gone silent is noticed while there is a call on it: after `PING_AFTER` seconds without an
octet a PING goes out, and after `ANSWERED` more without an octet the connection is given up.
"""

from __future__ import annotations

import math
import os
import select
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from . import call as calls
from .call import Call, Status
from .dialing import Connection, Dial, Waiting, dial
from .http2 import WINDOW, Data, Event, Failed, Http2, Settled

if TYPE_CHECKING:
    import ssl

OPENED = 2.0  # seconds for a connection to be made, and for the server's first word
# etcd ends the connection of a client that pings more often than every 5 s (--grpc-keepalive-min-time).
PING_AFTER = 6.0
ANSWERED = 3.0
AT_ONCE = 1 << 16  # octets of one read
READS = 16  # in one turn
LONG = 3600.0  # seconds of one wait

Clock = Callable[[], float]
Metadata = Sequence[tuple[str, str]]


class CallFailed(Exception):
    """A call did not end well; `status` says how, be it the server's word or ours.

    `unprocessed`: for sure, the server has not begun with it (RFC 9113 s8.7).
    """

    def __init__(self, status: Status, *, unprocessed: bool = False) -> None:
        super().__init__(f"{status.code}: {status.details}")
        self.status = status
        self.unprocessed = unprocessed


class Server(NamedTuple):
    """Where to connect to.

    Args:
        host, port: a name or an address. tls: makes what encrypts; None: nothing does.
        dial: makes the connection.
    """

    host: str
    port: int
    tls: Callable[[], ssl.SSLContext] | None = None
    dial: Callable[[str, int, ssl.SSLContext | None, Callable[[], None]], Dial] = dial

    @property
    def authority(self) -> str:
        """Host and port, as a URL has them."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Link:
    """A connection, from the attempt to make it to its end.

    `settled`: the server has answered; `ended`: why there is no connection any more, or never was one.

    Raises:
        Exception: whatever `Server.tls` raises.
    """

    def __init__(self, server: Server, *, clock: Clock = time.monotonic) -> None:
        self.began = clock()
        self.settled = False
        self.ended: Status | None = None
        self._server, self._clock = server, clock
        self._http2 = Http2()
        self._calls: dict[int, Call] = {}
        self._lock = threading.Lock()
        self._waiting: dict[int, threading.Condition] = {}  # by call, those who wait for whoever has the turn
        self._taken = self._polling = False  # somebody has the turn, and waits
        self._connection: Connection | None = None
        self._dialing: Waiting = (None, 0)  # while there is no connection yet
        self._unsent = b""
        self._deaf = ""  # why the server takes nothing any more
        self._more = False  # a read has left something
        self._heard, self._pinged = self.began, -math.inf
        tls = server.tls() if server.tls else None
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._dial: Dial | None = server.dial(server.host, server.port, tls, self.wake)

    # For any thread.

    @property
    def usable(self) -> bool:
        """Whether a call can be made here; hears what a server said while nobody listened."""
        with self._lock:
            if self._connection is not None and not self._taken:
                self._listen()
            return self.ended is None and not self._http2.going_away

    def open(
        self,
        path: str,
        message: bytes,
        *,
        last: bool,
        timeout: float | None,
        metadata: Metadata,
        secret: str = "",
    ) -> Stream:
        """Make a call, and send its first message.

        Args:
            path: such as /etcdserverpb.KV/Range. last: no other message follows.
            timeout: seconds after which the server need not answer any more.
            secret: the name of what nobody may keep of `metadata`.

        Raises:
            CallFailed: the connection has ended, or takes no more calls.
        """
        server = self._server
        scheme = "https" if server.tls else "http"
        fields = calls.request(
            path, scheme=scheme, authority=server.authority, timeout=timeout, metadata=metadata
        )
        with self._lock:
            if self.ended is not None or self._http2.going_away:
                why = self.ended or Status("UNAVAILABLE", "the server goes away")
                raise CallFailed(why, unprocessed=True)
            if self._http2.full:
                raise CallFailed(Status("RESOURCE_EXHAUSTED", "the server takes no more calls at once"))
            number = self._http2.open(fields, secret=secret)
            call = self._calls[number] = Call()
            self._http2.send(number, calls.enclosed(message), end=last)
            self._flush()
        return Stream(self, number, call)

    def receive(self, number: int, call: Call, deadline: float) -> bytes | None:
        """Return the next message of a call; see `Stream.receive`."""
        with self._lock:
            try:
                while not call.messages and call.status is None:
                    left = deadline - self._clock()
                    if left <= 0:
                        self._drop(number, Status("DEADLINE_EXCEEDED", "no answer in time"))
                    else:
                        self._wait(number, min(left, LONG))
            finally:
                self._pass_on()
            if call.messages:
                message = call.take()
                self._make_room(number, call)
                return message
        assert call.status is not None
        if call.status.code != "OK":
            raise CallFailed(call.status, unprocessed=call.unprocessed)
        return None

    def cancel(self, number: int) -> None:
        """End a call; whoever waits for it hears so at once. May be called twice."""
        with self._lock:
            self._drop(number, Status("CANCELLED", "the call was cancelled"))
        self.wake()

    def close(self) -> None:
        """End the connection and every call; may be called twice."""
        with self._lock:
            self._end("CANCELLED", "the connection was closed")
        self.wake()

    def wake(self) -> None:
        """Let whoever has the turn look again."""
        with self._lock:
            self._rouse()

    # What follows is done under the lock.

    def _wait(self, number: int, timeout: float) -> None:
        """Wait until something has come for a call: on a turn, or for whoever has it."""
        if self._taken:
            told = self._waiting[number] = threading.Condition(self._lock)
            told.wait(timeout)
            self._waiting.pop(number, None)
            return
        self._taken = True
        try:
            self._turn(timeout)
        finally:
            self._taken = False

    def _pass_on(self) -> None:
        """Let another take the next turn, if nobody has it."""
        if self._waiting and not self._taken:
            next(iter(self._waiting.values())).notify()

    def _tell(self, number: int) -> None:
        """Let whoever waits for a call look again."""
        if (waiting := self._waiting.pop(number, None)) is not None:
            waiting.notify()

    def _turn(self, timeout: float) -> None:
        """Wait once, and do what can be done then."""
        if self._dial is not None and self._dialing[0] is None:  # it begins, or a name may be known by now
            self._connect(self._dial)
        ready = self.ended is None and self._poll(timeout)
        if self.ended is not None:  # by another thread, which leaves it to us to let go
            self._let_go()
        elif self._dial is not None:
            if ready:
                self._connect(self._dial)
        elif ready or self._more or self._deaf:
            self._flush()
            self._listen()
        self._look_at_the_clock()

    def _poll(self, timeout: float) -> bool:
        """Wait, without the lock, for the socket; return whether something can be done there."""
        poller = select.poll()
        poller.register(self._wake, select.POLLIN)
        if self._connection is not None:
            poller.register(self._connection, select.POLLIN | (select.POLLOUT if self._unsent else 0))
        elif (dialing := self._dialing)[0] is not None:
            poller.register(dialing[0], dialing[1])
        timeout = 0.0 if self._more or self._deaf else max(0.0, min(timeout, self._due() - self._clock()))
        self._polling = True
        self._lock.release()
        try:
            found = [descriptor for descriptor, _ in poller.poll(math.ceil(timeout * 1e3))]
        finally:
            self._lock.acquire()
            self._polling = False
        if self._wake in found:
            os.eventfd_read(self._wake)
            found.remove(self._wake)
        return bool(found)

    def _rouse(self) -> None:
        """Let whoever polls look again."""
        if self._polling:
            os.eventfd_write(self._wake, 1)

    def _connect(self, dial: Dial) -> None:
        """Do the next step towards a connection."""
        try:
            self._dialing = next(dial)
        except StopIteration as done:
            self._connection, self._dial, self._dialing = done.value, None, (None, 0)
            self._flush()
        except OSError as error:
            self._dial = None
            self._end("UNAVAILABLE", _said(error))

    def _flush(self) -> None:
        """Send what the socket takes."""
        if self._connection is None or self._deaf:
            return
        try:
            while self._unsent or (octets := self._http2.take()):
                self._unsent = self._unsent or octets
                self._unsent = self._unsent[self._connection.send(self._unsent) :]
        except BlockingIOError:
            self._rouse()  # whoever polls has to wait for room as well
        except OSError as error:
            self._deaf = _said(error)
            self._rouse()

    def _listen(self) -> None:
        """Read what has come; what a server says last is its reason to go, such as an alert of TLS."""
        self._read()
        if self._deaf:
            self._lose(self._deaf)

    def _read(self) -> None:
        """Read what has come, and hand it over."""
        for _ in range(READS):
            if self._connection is None:  # it has ended
                return
            try:
                octets = self._connection.recv(AT_ONCE)
            except BlockingIOError:
                break
            except OSError as error:
                self._lose(_said(error))
                return
            if not octets:
                self._lose("the server has closed the connection")
                return
            self._heard = self._clock()
            self._hand_over(self._http2.receive(octets))
            if len(octets) < AT_ONCE and not self._deaf:
                break
        else:
            self._more = True
            return
        self._more = False

    def _hand_over(self, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, Settled):
                self.settled = True
            elif isinstance(event, Failed):
                self._flush()  # it shall hear why
                self._end("UNAVAILABLE", event.reason)
            elif (call := self._calls.get(event.stream)) is not None:
                call.receive(event)
                if call.messages or call.status is not None:
                    self._tell(event.stream)
                if call.status is not None:
                    self._forget(event.stream)
                elif isinstance(event, Data):
                    self._make_room(event.stream, call)
        self._flush()
        if self._http2.going_away and not self._calls:
            self._end("UNAVAILABLE", "the server goes away")

    def _make_room(self, number: int, call: Call) -> None:
        """Let the server send more, unless nobody takes what has come."""
        if call.waiting < WINDOW:
            self._http2.consumed(number)
            self._flush()

    def _drop(self, number: int, status: Status) -> None:
        """End a call of ours."""
        if (call := self._calls.get(number)) is not None:
            call.end(status)
            self._tell(number)
            self._forget(number)
            self._flush()

    def _forget(self, number: int) -> None:
        del self._calls[number]
        self._http2.reset(number)

    def _due(self) -> float:
        """Return when the clock must be looked at."""
        if not self.settled:
            return self.began + OPENED
        if not self._calls:
            return math.inf
        return self._pinged + ANSWERED if self._pinged > self._heard else self._heard + PING_AFTER

    def _look_at_the_clock(self) -> None:
        if self.ended is not None or self._clock() < self._due():
            return
        if not self.settled:
            self._end("UNAVAILABLE", f"no answer within {OPENED:g} s")
        elif self._pinged > self._heard:
            self._end("UNAVAILABLE", f"no answer to a ping within {ANSWERED:g} s")
        else:
            self._http2.ping()
            self._pinged = self._clock()
            self._flush()

    def _lose(self, reason: str) -> None:
        self._end("UNAVAILABLE", reason if self.settled else f"{reason} without a word")

    def _end(self, code: str, reason: str) -> None:
        """End the connection, and every call on it."""
        if self.ended is not None:
            return
        self.ended = Status(code, reason)
        for number, call in self._calls.items():
            call.end(self.ended)
            self._tell(number)
        self._calls.clear()
        if not self._polling:
            self._let_go()

    def _let_go(self) -> None:
        """Close what is open; nobody polls it."""
        if self._dial is not None:
            self._dial.close()
        if self._connection is not None:
            self._connection.close()
        if self._wake >= 0:
            os.close(self._wake)
        self._dial = self._connection = None
        self._wake = -1


class Stream:
    """A call that was made. One thread at a time receives; any may cancel."""

    def __init__(self, link: Link, number: int, call: Call) -> None:
        self._link, self._number, self._call = link, number, call

    def receive(self, deadline: float = math.inf) -> bytes | None:
        """Return the next message; blocks. None: there are no more, and all is well.

        Args:
            deadline: on the clock of time.monotonic().

        Raises:
            CallFailed: the call has ended in any other way.
        """
        return self._link.receive(self._number, self._call, deadline)

    def cancel(self) -> None:
        """End the call, unless it has ended; whoever waits for it hears so at once."""
        self._link.cancel(self._number)


def _said(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__
