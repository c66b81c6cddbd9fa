"""A connection and who waits at it: many threads, faults at every call of the socket, silence, and goodbyes."""

from __future__ import annotations

import errno
import itertools
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from containernet_backends.rpc import channel as channels, frames, hpack, link as links
from containernet_backends.rpc.call import enclosed
from containernet_backends.rpc.channel import Channel
from containernet_backends.rpc.dialing import Connection, Dial, dial
from containernet_backends.rpc.link import CallFailed, Server as Where
from tests.rpc_server import Server
from tests.waiting import wait_until

SOON = 5.0


class Clock:
    """The real time, and what a test adds to it."""

    def __init__(self) -> None:
        self.added = 0.0

    def __call__(self) -> float:
        """Return what time it is."""
        return time.monotonic() + self.added


@pytest.fixture
def server() -> Iterator[Server]:
    """A server that answers."""
    with Server() as made:
        yield made


def descriptors() -> int:
    """Return how many files this process has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@contextmanager
def to(port: int, *, host: str = "127.0.0.1", dial: Any = dial) -> Iterator[tuple[Channel, Clock]]:
    """Return a channel to a port, and its clock; no descriptor of it is left in the end."""
    before = descriptors()
    clock = Clock()
    where = Where(host=host, port=port, dial=dial)
    with closing(Channel(where, clock=clock, vary=lambda pause, *_: pause)) as made:
        yield made, clock
    wait_until(lambda: descriptors() <= before, what="descriptors are closed", patience=2)


def ask(channel: Channel, path: str = "/echo", message: bytes = b"x", *, within: float = SOON) -> bytes | None:
    """Make a call with one answer; return that."""
    call = channel.open(path, message, timeout=within)
    answer = call.receive(channel._clock() + within)
    assert answer is None or call.receive(channel._clock() + within) is None
    return answer


def failure(work: Callable[[], object]) -> str:
    """Return the status with which a call fails."""
    with pytest.raises(CallFailed) as raised:
        work()
    return f"{raised.value.status.code}: {raised.value.status.details}"


class Rigged:
    """A connection that fails once, at the call with a certain number."""

    def __init__(self, real: Connection, at: int, fault: Callable[[Rigged, str], Any]) -> None:
        self.real, self.left, self._fault = real, at, fault

    def _due(self) -> bool:
        self.left -= 1
        return self.left == -1

    def fileno(self) -> int:
        """As the real one."""
        return self.real.fileno()

    def send(self, octets: bytes) -> int:
        """Send, or fail."""
        if self._due():
            found = self._fault(self, "send")
            return int(self.real.send(octets[:1])) if found is None else found
        return self.real.send(octets)

    def recv(self, most: int) -> bytes:
        """Receive, or fail."""
        if self._due():
            found = self._fault(self, "recv")
            return self.real.recv(1) if found is None else found
        return self.real.recv(most)

    def close(self) -> None:
        """As the real one."""
        self.real.close()


def broken(number: int) -> Callable[[Rigged, str], Any]:
    """Return a fault that raises."""

    def fault(rigged: Rigged, call: str) -> Any:
        raise OSError(number, os.strerror(number))

    return fault


def half_closed(rigged: Rigged, call: str) -> Any:
    """The other end has said everything."""
    return b"" if call == "recv" else 0


def blocked(rigged: Rigged, call: str) -> Any:
    """Not now."""
    raise BlockingIOError


def one_octet(rigged: Rigged, call: str) -> Any:
    """Only one goes through."""


def junk(rigged: Rigged, call: str) -> Any:
    """It is not HTTP/2 any more."""
    return b"\xff" * 40 if call == "recv" else 0


FAULTS: dict[str, Callable[[Rigged, str], Any]] = {
    "reset": broken(errno.ECONNRESET),
    "pipe": broken(errno.EPIPE),
    "timed out": broken(errno.ETIMEDOUT),
    "half closed": half_closed,
    "blocked": blocked,
    "one octet": one_octet,
    "junk": junk,
}
HARMLESS = {"blocked", "one octet"}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_at_any_call_of_the_socket_costs_no_more_than_the_call(server: Server, fault: str) -> None:
    """The call is answered, or says that it was not; the next one is answered, on another connection."""
    failures = replaced = 0
    for at in range(8):
        rigs: list[Rigged] = []

        def rigged(*where: Any, at: int = at, rigs: list[Rigged] = rigs) -> Dial:
            rigs.append(Rigged((yield from dial(*where)), -1 if rigs else at, FAULTS[fault]))
            return rigs[-1]

        before = server.connections
        with to(server.port, dial=rigged) as (channel, clock):
            while not rigs or rigs[0].left >= 0:
                with suppress(CallFailed):
                    assert ask(channel, within=1.0) == b"x"
                    continue
                failures += 1
                clock.added += channels.LONGEST_PAUSE * 2
            assert ask(channel) == b"x"
            replaced += server.connections - before - 1
    # Where the fault comes while nobody asks, not even a call is lost.
    assert (failures > 0, failures <= replaced <= 8) == (fault not in HARMLESS, True)


class Scripted:
    """A connection that brings given octets, read by read, and takes what is sent the first time only."""

    def __init__(self, reads: list[bytes]) -> None:
        self._reads = reads
        self._ready = os.eventfd(1)
        self._sent = False

    def fileno(self) -> int:
        """Always ready."""
        return self._ready

    def send(self, octets: bytes) -> int:
        """Take the first."""
        if self._sent:
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")
        self._sent = True
        return len(octets)

    def recv(self, most: int) -> bytes:
        """Bring the next."""
        return self._reads.pop(0) if self._reads else b""

    def close(self) -> None:
        """Let go of it."""
        os.close(self._ready)


def test_what_was_said_before_a_send_failed_is_heard_in_order() -> None:
    """An answer may be here although nothing can be sent any more, not even that it came."""
    fields = hpack.encode([(":status", "200"), ("content-type", "application/grpc")])
    octets = enclosed(b"message")
    data = [frames.frame(frames.DATA, 0, 1, octets[at : at + 4]) for at in range(0, len(octets), 4)]
    end = frames.frame(frames.HEADERS, 5, 1, hpack.encode([("grpc-status", "0")]))
    begin = frames.settings({}) + frames.frame(frames.HEADERS, 4, 1, fields)
    for split in range(len(data) + 1):
        reads = [begin + b"".join(data[:split]), b"".join(data[split:]) + end]

        def scripted(*where: object, reads: list[bytes] = reads) -> Dial:
            yield from ()
            return Scripted(reads)

        with to(1, dial=scripted) as (channel, _):
            call = channel.open("/echo", b"x")
            assert call.receive(channel._clock() + SOON) == b"message"
            assert call.receive(channel._clock() + SOON) is None


def test_a_dial_that_fails_at_any_step(server: Server) -> None:
    """A pause, in which calls fail with that reason; then another attempt."""
    for step in range(2):
        failing = iter([True])

        def dialling(*where: Any, step: int = step, failing: Iterator[bool] = failing) -> Dial:
            real = dial(*where)
            for _ in range(step):
                yield next(real)
            if next(failing, False):
                real.close()
                raise OSError(errno.EHOSTUNREACH, "No route to host")
            return (yield from real)

        with to(server.port, dial=dialling) as (channel, clock):
            assert failure(lambda: ask(channel)) == "UNAVAILABLE: No route to host"
            assert failure(lambda: ask(channel)) == "UNAVAILABLE: No route to host"
            clock.added += channels.FIRST_PAUSE
            assert ask(channel) == b"x"


def test_many_threads_share_one_connection(server: Server) -> None:
    """Each gets the answers to its own questions, whoever reads them."""
    with to(server.port) as (channel, _), ThreadPoolExecutor(8) as pool:
        waiting = channel.open("/never", b"")
        listening = pool.submit(lambda: failure(waiting.receive))

        def converse(number: int) -> bool:
            told = [b"%d %d" % (number, each) * (1 + each % 7) for each in range(40)]
            return [ask(channel, message=each) for each in told] == told

        assert all(pool.map(converse, range(7)))
        waiting.cancel()
        assert listening.result(SOON) == "CANCELLED: the call was cancelled"
        assert server.connections == 1


def test_whoever_leaves_hands_over(server: Server) -> None:
    """The one who reads gives up, or has what he wanted; the next reads on, and misses nothing."""
    with to(server.port) as (channel, _), ThreadPoolExecutor(4) as pool:
        slow = [pool.submit(ask, channel, "/slow", b"%d" % each) for each in range(3)]
        short = "DEADLINE_EXCEEDED: no answer in time"
        assert failure(lambda: ask(channel, "/never", within=0.1)) == short
        assert ask(channel) == b"x"
        assert [each.result(SOON) for each in slow] == [b"0", b"1", b"2"]
        wait_until(lambda: server.resets == 1, what="the server hears that nobody waits", patience=SOON)


def test_cancelled_and_closed_at_once(server: Server) -> None:
    """By another thread, whoever of them reads."""
    with to(server.port) as (channel, _), ThreadPoolExecutor(3) as pool:
        calls = [channel.open("/never", b"") for _ in range(3)]
        waiting = [pool.submit(failure, call.receive) for call in calls]
        for call, result in zip(calls[:2], waiting[:2], strict=True):
            began = time.monotonic()
            call.cancel()
            call.cancel()
            assert result.result(SOON).startswith("CANCELLED")
            assert time.monotonic() - began < 1
        assert ask(channel) == b"x"
        channel.close()
        channel.close()
        assert waiting[2].result(SOON).startswith("CANCELLED")
        assert failure(lambda: ask(channel)) == "CANCELLED: the channel was closed"


def test_silence_is_noticed(server: Server) -> None:
    """After a while a ping, and without an answer the end; a server that answers is asked, and kept."""
    with Server(mute=True) as mute, ThreadPoolExecutor(1) as pool:
        for each, lives in ((mute, False), (server, True)):
            with to(each.port) as (channel, clock):
                call = channel.open("/never", b"")
                waiting = pool.submit(failure, call.receive)
                wait_until(lambda: channel._link.settled, what="it has answered")  # type: ignore[union-attr]
                link = channel._link
                assert link is not None
                clock.added += links.PING_AFTER - 0.5
                link.wake()
                assert link._pinged == -float("inf")
                clock.added += 0.6
                link.wake()
                wait_until(lambda: link._pinged > 0, what="it pings")  # noqa: B023
                if lives:
                    wait_until(lambda: server.pings and link._heard > link._pinged, what="an answer")  # noqa: B023
                clock.added += links.ANSWERED
                link.wake()
                if lives:
                    assert ask(channel) == b"x"
                    call.cancel()
                    assert waiting.result(SOON).startswith("CANCELLED")
                else:
                    assert waiting.result(SOON) == "UNAVAILABLE: no answer to a ping within 3 s"
    assert server.pings == 1


def test_nobody_speaks_at_the_other_end() -> None:
    """Whoever accepts and says nothing is given up; what hung up without a word is said to have."""
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        port = listener.getsockname()[1]
        with to(port) as (channel, clock):
            waiting = pool.submit(lambda: failure(lambda: ask(channel)))
            accepted, _ = listener.accept()
            with accepted:
                clock.added += links.OPENED
                assert channel._link is not None
                wait_until(lambda: channel._link._polling or waiting.done(), what="it waits")  # type: ignore[union-attr]
                channel._link.wake()
                assert waiting.result(SOON) in {
                    "UNAVAILABLE: no answer within 2 s",
                    "DEADLINE_EXCEEDED: no answer in time",
                }
        with to(port) as (channel, _):
            waiting = pool.submit(lambda: failure(lambda: ask(channel)))
            listener.accept()[0].close()
            assert waiting.result(SOON).endswith("without a word")
    with to(port) as (channel, _):
        assert failure(lambda: ask(channel)) == "UNAVAILABLE: Connection refused"


def test_a_server_that_says_goodbye_is_left_when_its_calls_are_over(server: Server) -> None:
    """The next call has a connection of its own, and nobody hears of it."""
    with to(server.port) as (channel, _):
        going_on = channel.open("/slow", b"late")
        assert ask(channel, "/goodbye") == b"x"
        link = channel._link
        assert link is not None
        with pytest.raises(CallFailed) as raised:
            link.open("/echo", b"x", last=True, timeout=1.0, metadata=()).receive()
        assert raised.value.unprocessed
        assert ask(channel) == b"x"
        assert server.connections == 2
        assert going_on.receive(time.monotonic() + SOON) == b"late"


def test_a_connection_that_was_closed_while_nobody_listened_is_replaced(server: Server) -> None:
    """Without a call that fails."""
    with to(server.port) as (channel, _):
        assert ask(channel) == b"x"
        server.hang_up()
        wait_until(lambda: not channel._link.usable, what="it is gone")  # type: ignore[union-attr]
        assert ask(channel) == b"x"
        assert failure(lambda: ask(channel, "/hang-up")) == "UNAVAILABLE: the server has closed the connection"
        assert ask(channel) == b"x"


def test_more_messages_than_one_are_heard_in_order(server: Server) -> None:
    """A thousand, of which many come at once."""
    with to(server.port) as (channel, _):
        call = channel.open("/many/1000", b"message")
        heard = list(iter(lambda: call.receive(time.monotonic() + SOON), None))
        assert heard == [b"message"] * 1000


def test_attempts_become_rarer(server: Server) -> None:
    """Down to one each three seconds; and when one has succeeded, the next failure begins anew."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    attempts: list[float] = []

    def dialling(*where: Any) -> Dial:
        attempts.append(clock())
        return (yield from dial("127.0.0.1", goal[0], *where[2:]))

    goal = [port]
    with to(port, dial=dialling) as (channel, clock):
        while len(attempts) < 10:
            failure(lambda: ask(channel))
            clock.added += 0.05
        pauses = [later - earlier for earlier, later in itertools.pairwise(attempts)]
        least = [
            min(channels.LONGEST_PAUSE, channels.FIRST_PAUSE * channels.GROWTH**failures)
            for failures in range(9)
        ]
        # A machine that is busy may lengthen any of them, and shortens none.
        assert all(pause >= 0.95 * planned for pause, planned in zip(pauses, least, strict=True))
        assert sum(pauses) < sum(least) + 5
        goal[0] = server.port
        clock.added += channels.LONGEST_PAUSE
        assert ask(channel) == b"x"
        goal[0] = port
        server.hang_up()
        wait_until(lambda: not channel._link.usable, what="it is gone")  # type: ignore[union-attr]
        failure(lambda: ask(channel))
        again = len(attempts)
        clock.added += channels.FIRST_PAUSE + 0.01
        failure(lambda: ask(channel))
        assert len(attempts) == again + 1


def test_names_are_looked_up(server: Server) -> None:
    """And each address is tried; who does not exist is said not to."""
    with to(server.port, host="localhost") as (channel, _):
        assert ask(channel) == b"x"
    with to(server.port, host="no-such-host.invalid") as (channel, _):
        assert failure(lambda: ask(channel)).startswith("UNAVAILABLE: ")
    wait_until(
        lambda: not [each for each in threading.enumerate() if each.name.startswith("containernet-name")],
        what="the threads that ask end",
    )


def test_an_unlucky_moment_to_close(server: Server) -> None:
    """At each step of a connection that is being made, nothing is left of it."""
    for steps in range(4):
        before = descriptors()
        channel = Channel(Where(host="127.0.0.1", port=server.port))
        call = channel.open("/echo", b"x")
        link = channel._link
        assert link is not None
        for _ in range(steps):
            with link._lock:
                if not call._call.messages:
                    link._wait(1, 0.5)
        channel.close()
        wait_until(lambda: descriptors() <= before, what="descriptors are closed", patience=2)  # noqa: B023
