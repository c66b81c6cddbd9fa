"""The speaker among peers that are slow, loud, silent, hostile, or gone, on real sockets."""

from __future__ import annotations

import ctypes
import gc
import os
import random
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from ipaddress import ip_address, ip_network
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from containernet.errors import StoreUnavailable
from containernet_backends.bgp import nlri
from containernet_backends.bgp.attributes import IGP, Attributes
from containernet_backends.bgp.connection import State
from containernet_backends.bgp.families import IPV4
from containernet_backends.bgp.lines import GOODBYES
from containernet_backends.bgp.pipe import RECEIVE
from containernet_backends.bgp.remote import INBOX, OUTBOX
from containernet_backends.bgp.session import Session
from containernet_backends.bgp.sockets import sign
from containernet_backends.bgp.speaker import Speaker
from tests.waiting import wait_until

from . import raw
from .loopback import (
    ASN,
    PORT,
    call,
    holds,
    is_up,
    many,
    options,
    originate,
    peer,
    place,
    remote,
    reset,
    retract,
    speaking,
    wait_down,
    wait_up,
)
from .raw import Closed, Raw

PREFIX = "10.1.0.0/24"
FIRST, SECOND = 2, 3  # hosts that call host 1


def announcement(prefix: str = PREFIX, *, next_hop: str = "192.0.2.9") -> bytes:
    """Return an UPDATE of an internal peer."""
    attributes = raw.attributes(next_hop=next_hop, local_pref=100)
    return raw.update(attributes=attributes, nlri=raw.nlri(prefix))


def announcements(nlris: list[bytes], *, each: int = 700) -> bytes:
    """Return UPDATEs with that many prefixes each."""
    attributes = raw.attributes(next_hop="192.0.2.9", local_pref=100)
    batches = (nlris[at : at + each] for at in range(0, len(nlris), each))
    return b"".join(raw.update(attributes=attributes, nlri=b"".join(batch)) for batch in batches)


def descriptors() -> int:
    """Return how many descriptors this process has open."""
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))


@contextmanager
def hub(*names: int, **more: object) -> Iterator[tuple[Speaker, Callable[[int], str]]]:
    """Run a speaker that waits for these hosts to call it, and is a reflector for them."""
    at = place()
    peers = [{"address": at(name), "passive": True, "client": True} for name in names]
    with speaking(at(1), *peers, **more) as speaker:
        yield speaker, at


class TestEffects:
    """What a session wants done is done."""

    def test_two_speakers_tell_each_other_what_they_announce(self) -> None:
        """Two speakers that dial each other have one session, and each has the other's route."""
        at = place()
        with speaking(at(1), {"address": at(2)}) as one, speaking(at(2), {"address": at(1)}) as two:
            originate(one, PREFIX)
            originate(two, "10.2.0.0/24")
            wait_until(lambda: holds(two, PREFIX) and holds(one, "10.2.0.0/24"), what="both routes")
            retract(one, PREFIX)
            wait_until(lambda: not holds(two, PREFIX), what="the route is gone")

    def test_many_that_dial_each_other_at_once_have_one_session_each(self) -> None:
        """RFC 4271 s6.8: where the connections of a pair collide one stays, the same on both sides."""
        at, count = place(), 8
        with ExitStack() as stack:
            everybody = [
                Speaker(options(at(one), *({"address": at(two)} for two in range(1, count + 1) if two != one)))
                for one in range(1, count + 1)
            ]
            for speaker in everybody:
                stack.callback(speaker.close)
            with ThreadPoolExecutor(count) as pool:
                list(pool.map(Speaker.start, everybody))
            for number, speaker in enumerate(everybody, 1):
                wait_up(speaker, *(at(other) for other in range(1, count + 1) if other != number))
            wait_until(
                lambda: all(
                    list(each.pipes) == [each.connection]
                    for speaker in everybody
                    for each in list(speaker.remotes.values())
                ),
                what="one connection for each session",
            )

    def test_the_last_word_is_read_by_a_peer_that_still_talks(self) -> None:
        """A NOTIFICATION arrives even if the peer had sent much that nobody will read."""
        with hub(FIRST) as (speaker, at), peer(at(FIRST), at(1)) as one:
            one.send(b"\0" * 19 + bytes(200_000))
            assert one.rejected() == (1, 1)  # RFC 4271 s6.1: connection not synchronized
            wait_down(speaker, at(FIRST))

    def test_a_peer_that_does_not_hang_up_is_left_after_a_moment(self) -> None:
        """Who was told the end and does not close its side costs a socket for a second."""
        with hub(FIRST) as (_, at):
            before = descriptors()
            with peer(at(FIRST), at(1)) as one:
                one.send(raw.notification(6, 2))
                wait_until(lambda: descriptors() == before + 1, what="the speaker's end is closed")

    @pytest.mark.parametrize(
        ("address", "more", "why"),
        [
            ("127.0.99.1", {}, "Connection refused"),
            ("224.0.0.1", {}, "Network is unreachable"),
            ("127.0.99.1", {"local_address": "203.0.113.1"}, "Cannot assign requested address"),
        ],
    )
    def test_a_dial_that_fails_says_why(self, address: str, more: dict[str, str], why: str) -> None:
        """And nobody has to be waited for."""
        with speaking(place()(1), {"address": address, **more}) as speaker:
            found = remote(speaker, address)
            assert found is not None
            wait_until(lambda: found.tried, what="the dial failed")
            assert found.reason == f"cannot connect to {address} port {PORT}: {why}"

    def test_a_dial_without_an_answer_is_given_up_and_tried_again(self) -> None:
        """A host that is off is known as unreachable after one dial, and found when it is on."""
        at = place()
        with socket.create_server((at(2), PORT), backlog=0) as busy, ExitStack() as stack:
            for _ in range(3):  # the queue is full, and further SYNs are dropped
                waiting = stack.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex((at(2), PORT))
            with speaking(at(1), {"address": at(2)}) as speaker:
                found = remote(speaker, at(2))
                assert found is not None
                wait_until(lambda: found.tried, what="the dial was given up")
                assert found.reason == f"cannot connect to {at(2)} port {PORT}: no answer"
                busy.close()
                wait_until(lambda: "refused" in found.reason, what="it was tried again")


class TestListening:
    """What an operator reads when it cannot listen."""

    def refusal(self, **more: object) -> str:
        """Return why a speaker does not start; nothing is left of it."""
        before = descriptors()
        speaker = Speaker(options(place()(1), **more))
        with pytest.raises(StoreUnavailable) as caught:
            speaker.start()
        assert descriptors() == before
        speaker.close()
        assert descriptors() == before
        return str(caught.value)

    def test_a_port_that_is_taken(self) -> None:
        """Another program is there, and once it is gone we can start."""
        where = place()(1)
        speaker = Speaker(options(where, listen=["127.0.0.1:1799", f"{where}:{PORT}"]))
        with socket.create_server((where, PORT)):
            with pytest.raises(StoreUnavailable) as caught:
                speaker.start()
            assert str(caught.value) == (
                f"BGP cannot listen on {where}:{PORT}: "
                "another program listens there already; stop it, or set listen"
            )
        speaker.start()
        speaker.close()

    def test_an_address_that_is_not_ours(self) -> None:
        """The address is somebody else's."""
        assert self.refusal(listen=["203.0.113.1:1790"]) == (
            "BGP cannot listen on 203.0.113.1:1790: the address is not one of this host's; set listen"
        )

    def test_a_port_that_is_not_for_everybody(self) -> None:
        """Without CAP_NET_BIND_SERVICE there is no port 179; capabilities(7) has them by thread."""

        def without() -> str:
            libc = ctypes.CDLL(None, use_errno=True)
            header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3
            sets = (ctypes.c_uint32 * 6)()
            assert libc.capget(header, sets) == 0
            sets[0] &= ~(1 << 10)
            assert libc.capset(header, sets) == 0
            return self.refusal(listen=["127.0.0.1:179"])

        with ThreadPoolExecutor(1) as pool:
            words = pool.submit(without).result()
        assert words.endswith("ports below 1024 take CAP_NET_BIND_SERVICE; or set listen")


class TestCallers:
    """Those who call."""

    def test_a_stranger_is_refused_and_costs_nothing(self) -> None:
        """Who is no peer hears nothing and is not remembered."""
        with hub(FIRST) as (speaker, at):
            before = descriptors()
            for _ in range(100):
                with call(at(9), at(1)) as stranger:
                    assert stranger.recv(1) == b""
            assert list(speaker.remotes) == [ip_address(at(FIRST))]
            wait_until(lambda: descriptors() == before, what="all are closed")

    def test_peers_of_a_range_come_go_and_are_forgotten(self) -> None:
        """A caller is a peer for as long as it is there, and its routes go with it."""
        at = place()
        with speaking(at(1), {"range": f"{at(0)}/24"}) as speaker:
            for _ in range(2):
                with peer(at(2), at(1)) as two, peer(at(3), at(1)):
                    two.send(announcement())
                    wait_until(lambda: holds(speaker, PREFIX), what="the route")
                    assert len(speaker.remotes) == 2
                wait_until(lambda: not speaker.remotes, what="both are forgotten")
                wait_until(lambda: not holds(speaker, PREFIX), what="the route is gone")

    def test_a_caller_that_says_nothing_is_forgotten_when_it_goes(self) -> None:
        """What never became a session leaves nothing, not even a timer."""
        at = place()
        with speaking(at(1), {"range": f"{at(0)}/24"}) as speaker:
            with call(at(2), at(1)):
                wait_until(lambda: speaker.remotes, what="it is known")
            wait_until(lambda: not speaker.remotes, what="it is forgotten")

    def test_there_is_a_limit_of_callers(self) -> None:
        """One more than there may be is refused, and let in when another has gone."""

        class Small(Speaker):
            callers = 2

        at = place()
        speaker = Small(options(at(1), {"range": f"{at(0)}/24"}))
        speaker.start()
        try:
            with peer(at(2), at(1)):
                with peer(at(3), at(1)), call(at(4), at(1)) as third:
                    assert third.recv(1) == b""
                wait_until(lambda: len(speaker.remotes) == 1, what="one has gone")
                with peer(at(4), at(1)):
                    pass
        finally:
            speaker.close()

    def test_thousands_come_and_go(self) -> None:
        """Nothing is left of peers and strangers that connect and disconnect, in any manner."""
        with hub(FIRST) as (speaker, at):
            before = descriptors()
            for number in range(1500):
                made = call(at(FIRST + number % 2), at(1))
                if number % 3:
                    reset(made)
                made.close()
            with speaker.lock:
                assert len(speaker._lines._goodbyes) <= GOODBYES
            wait_until(lambda: descriptors() == before, what="all are closed")
            wait_until(lambda: session_possible(at), what="a session is possible")

    def test_a_thousand_callers_that_say_nothing(self) -> None:
        """They keep nobody out, and no keepalive waiting; when they go they are forgotten."""
        at, everybody = place(), ip_network("127.99.0.0/22")  # where no place is
        more_descriptors()
        with ExitStack() as stack:
            ranges = [{"range": str(everybody)}, {"range": f"{at(0)}/24"}]
            speaker = stack.enter_context(speaking(at(1), *ranges))
            witness = stack.enter_context(peer(at(2), at(1), hold_time=3))
            mute = [stack.enter_context(call(str(each), at(1))) for each in islice(everybody.hosts(), 1000)]
            for each in mute:
                each.send(b"\xff")
            for _ in range(3):
                witness.wait_for(raw.KEEPALIVE)
                witness.send(raw.message(raw.KEEPALIVE))
            with peer(at(3), at(1)) as other:
                other.send(announcement())
                wait_until(lambda: holds(speaker, PREFIX), what="the route")
            for each in mute:
                each.close()
            wait_until(lambda: len(speaker.remotes) == 1, what="all are forgotten")
            assert is_up(speaker, at(2))

    def test_no_descriptor_is_left(self) -> None:
        """Without a descriptor for a caller the rest goes on, without haste; later the caller is let in."""
        with hub(FIRST, SECOND) as (speaker, at), peer(at(FIRST), at(1), hold_time=3) as one:
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            with socket.socket() as caller:
                caller.bind((at(SECOND), 0))
                caller.settimeout(10)
                lowest = os.open("/dev/null", os.O_RDONLY)
                os.close(lowest)
                resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
                try:
                    caller.connect((at(1), PORT))
                    spent = time.process_time()
                    one.wait_for(raw.KEEPALIVE)  # a second
                    one.send(announcement())
                    wait_until(lambda: holds(speaker, PREFIX), what="the route")
                    assert time.process_time() - spent < 0.5
                finally:
                    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                Raw(caller).establish(ASN, at(SECOND))
                assert is_up(speaker, at(FIRST))


def more_descriptors() -> None:
    """Let this process have as many descriptors as it may."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 1 << 14), hard))


def session_possible(at: Callable[[int], str]) -> bool:
    """Return whether the first peer can have a session now."""
    with suppress(Closed, OSError, AssertionError), peer(at(FIRST), at(1)):
        return True
    return False


class TestTransport:
    """RFC 2385 and RFC 5082."""

    @pytest.mark.parametrize("whom", ["address", "range"])
    def test_a_password(self, whom: str) -> None:
        """A caller with the password has a session; the SYN of one with another, or none, is not answered."""
        at = place()
        peers: dict[str, dict[str, object]] = {
            "address": {"address": at(2), "passive": True},
            "range": {"range": f"{at(0)}/24"},
        }
        with speaking(at(1), {**peers[whom], "password": "right"}) as speaker:
            for wrong in ("wrong", ""):
                with pytest.raises(TimeoutError):
                    call(at(2), at(1), password=wrong, patience=0.2)
            with peer(at(2), at(1), password="right"):
                wait_up(speaker, at(2))

    @pytest.mark.parametrize("listening", [{"address": "::1", "passive": True}, {"range": "::/64"}])
    def test_a_password_over_ipv6(self, listening: dict[str, object]) -> None:
        """An address and a range of either family."""
        more = {"router_id": "192.0.2.1", "listen": ["[::1]:1791"]}
        signed = {"local_address": "::1", "password": "right"}
        with (
            speaking("::1", {**listening, **signed}, **more) as speaker,
            socket.socket(socket.AF_INET6) as without,
            socket.socket(socket.AF_INET6) as one,
        ):
            without.settimeout(0.2)
            with pytest.raises(TimeoutError):
                without.connect(("::1", 1791))
            one.settimeout(10)
            sign(one, ip_network("::1"), "right")
            one.connect(("::1", 1791))
            Raw(one).establish(ASN, "192.0.2.2")
            wait_up(speaker, "::1")

    def test_two_speakers_with_a_password(self) -> None:
        """What we dial is signed, too; and signing wrong is no answer."""
        at = place()
        with speaking(at(1), {"address": at(2), "password": "right", "passive": True}) as one:
            with speaking(at(2), {"address": at(1), "password": "wrong"}) as wrong:
                found = remote(wrong, at(1))
                assert found is not None
                wait_until(lambda: "no answer" in found.reason, what="the dial was given up")
            with speaking(at(2), {"address": at(1), "password": "right"}):
                wait_up(one, at(2))

    def test_a_peer_from_too_far(self) -> None:
        """RFC 5082 s3: what comes with a lower TTL than a neighbour's is not read."""
        at = place()
        with speaking(at(1), {"address": at(2), "passive": True, "ttl_security": 1}) as speaker:
            with suppress(OSError), Raw(call(at(2), at(1), ttl=64, patience=0.2)) as far:
                far.send(raw.open_message(ASN, at(2), capabilities=raw.usual(ASN)))
                with pytest.raises((TimeoutError, Closed)):
                    far.wait_for(raw.KEEPALIVE, patience=0.2)
            assert not is_up(speaker, at(2))
            with peer(at(2), at(1), ttl=255):
                wait_up(speaker, at(2))


class TestFlow:
    """Peers that are slower than we, or faster."""

    def test_one_octet_at_a_time(self) -> None:
        """However a peer's octets are cut, they mean the same."""
        with hub(FIRST) as (speaker, at), Raw(call(at(FIRST), at(1))) as one:
            usual = raw.open_message(ASN, at(FIRST), hold_time=0, capabilities=raw.usual(ASN))
            for octet in usual + raw.message(raw.KEEPALIVE) + announcement():
                one.send(bytes([octet]))
            wait_until(lambda: holds(speaker, PREFIX), what="the route")

    def test_an_error_is_written_down_once(self, caplog: pytest.LogCaptureFixture) -> None:
        """RFC 7606 s6: with the whole UPDATE, so that it can be traced; the session goes on."""
        caplog.set_level("INFO")
        wrong = raw.update(attributes=raw.attributes(next_hop="192.0.2.9")[:-1], nlri=raw.nlri("10.2.0.0/24"))
        with hub(FIRST) as (speaker, at), peer(at(FIRST), at(1)) as one:
            one.send(wrong + wrong + announcement())
            wait_until(lambda: holds(speaker, PREFIX), what="the route behind the errors")
        assert sum(wrong[19:].hex() in text for text in caplog.messages) == 1

    def test_an_open_that_never_comes(self) -> None:
        """A peer that connected and says nothing harms nobody, and may call again."""
        with (
            hub(FIRST, SECOND) as (speaker, at),
            call(at(FIRST), at(1)),
            peer(at(SECOND), at(1)),
            peer(at(FIRST), at(1)),
        ):
            wait_up(speaker, at(FIRST), at(SECOND))

    def test_garbage(self) -> None:
        """Whatever comes before a session, or in it, ends it at most."""
        noise = random.Random(5)
        at = place()
        with speaking(at(1), {"range": f"{at(0)}/24"}) as speaker, peer(at(2), at(1)) as witness:
            for number in range(40):
                with suppress(OSError, Closed, AssertionError), peer(at(3 + number), at(1)) as one:
                    octets = noise.randbytes(noise.randint(1, 2000))
                    one.send(raw.message(noise.randint(0, 6), octets) if number % 2 else octets)
                    one.rejected(patience=0.5)
            witness.send(announcement())
            wait_until(lambda: holds(speaker, PREFIX), what="the route")
            wait_until(lambda: len(speaker.remotes) == 1, what="the others are forgotten")

    def test_a_peer_that_does_not_read(self) -> None:
        """Nothing more is queued for it, others are told everything; when it reads, it hears all."""
        nlris = many(1200)
        with (
            hub(FIRST, SECOND) as (speaker, at),
            peer(at(FIRST), at(1), buffer=1 << 16) as deaf,
            peer(at(SECOND), at(1)) as good,
        ):
            for one in (deaf, good):
                for _ in range(2):  # families
                    one.wait_for(raw.UPDATE)  # End-of-RIB: whatever waits from now on, the test has caused
            waiting = []
            for some in (nlris[:1000], nlris[1000:]):
                with speaker.lock:
                    for each in some:  # each takes a message of some 3 KB
                        speaker.originate(IPV4, int.from_bytes(each), wordy(int.from_bytes(each)))
                heard(good, some)
                found = remote(speaker, at(FIRST))
                assert found is not None
                waiting.append(found.pipes[found.connection].waiting)
            assert waiting[0] == waiting[1] > OUTBOX
            heard(deaf, nlris)

    def test_a_peer_that_takes_all_that_waits_at_once(self) -> None:
        """It is told the rest, though nothing else happens: no keepalive, and nobody else's word."""
        with hub(FIRST) as (speaker, at), peer(at(FIRST), at(1), buffer=1 << 16) as deaf:
            wait_up(speaker, at(FIRST))
            found = remote(speaker, at(FIRST))
            assert found is not None
            left, told = many(2000), list[bytes]()

            def waits() -> bool:
                return found.pipes[found.connection].waiting >= OUTBOX

            def settled() -> bool:
                return waits() or not any(each.has_news for each in speaker.exports._streams)

            while not waits():  # some more messages than the kernel takes, and not many
                told += announced_by(speaker, left[:10])
                del left[:10]
                wait_until(settled, what="it is told, or waits")
            heard(deaf, told + announced_by(speaker, left[:50]))

    def test_a_peer_that_talks_faster_than_the_table_listens(self) -> None:
        """It is not read for a while and TCP tells it so; no session ends meanwhile, and nothing is lost."""
        with hub(FIRST, SECOND) as (speaker, at):
            gate = threading.Event()
            with (
                peer(at(FIRST), at(1), hold_time=3) as loud,
                peer(at(SECOND), at(1), hold_time=3) as other,
                ThreadPoolExecutor(1) as pool,
            ):
                wait_up(speaker, at(FIRST), at(SECOND))
                found = remote(speaker, at(FIRST))
                assert found is not None
                assert found.reader is not None
                with speaker.lock:
                    found.reader = Slow(found.reader, gate)  # type: ignore[assignment]
                saying = pool.submit(flood, loud)
                most = 0
                for _ in range(4):  # more than the hold time
                    other.wait_for(raw.KEEPALIVE)
                    other.send(raw.message(raw.KEEPALIVE))
                    most = max(most, found.inbox_octets)
                assert INBOX <= most < INBOX + 2 * RECEIVE
                assert not saying.done()
                gate.set()

                def over() -> bool:
                    other.send(raw.message(raw.KEEPALIVE))
                    return holds(speaker, PREFIX)

                wait_until(over, what="all that it said was heard")
                saying.result(20)
                assert found.sessions == 1
                assert is_up(speaker, at(SECOND))

    def test_the_keepalives_of_others_while_a_hundred_thousand_routes_go(self) -> None:
        """The sweep of a table is cut into pieces: a peer with a hold time of 3 s notices nothing."""
        with hub(FIRST, SECOND) as (speaker, at), peer(at(SECOND), at(1), hold_time=3) as other:
            nlris = many(100_000)
            with peer(at(FIRST), at(1)) as one:
                one.send(announcements(nlris))
                wait_until(lambda: len(speaker.table.routes[IPV4]) == len(nlris), what="all routes")
                other.send(raw.message(raw.KEEPALIVE))
                one.reset()
            started = time.monotonic()
            heard(other, nlris, gone=True)
            assert time.monotonic() - started < 2.5
            assert not speaker.table.routes[IPV4]
            assert is_up(speaker, at(SECOND))


class Slow:
    """A reader that waits before each UPDATE until a gate is open."""

    def __init__(self, reader: Any, gate: threading.Event) -> None:
        self._reader = reader
        self._gate = gate

    def together(self, bodies: Any) -> Any:
        """Read none at once with others."""
        return self._reader.together(())

    def read(self, body: bytes) -> Any:
        """Read it, when it is time."""
        self._gate.wait(0.01)
        return self._reader.read(body)


def flood(loud: Raw) -> None:
    """Say much that is of no interest, and then announce a route."""
    unknown = raw.attribute(raw.OPTIONAL, 99, bytes(3900))
    nothing = raw.update(attributes=raw.attributes(next_hop="192.0.2.9", local_pref=100) + unknown)
    for _ in range(80):
        loud.send(nothing * 100)
    loud.send(announcement())


def wordy(number: int) -> Attributes:
    """Return attributes that fill most of a message, and that no other route has."""
    large = tuple((number & 0xFFFFFFFF, other, 0) for other in range(250))
    return Attributes(origin=IGP, next_hop=ip_address("192.0.2.1"), local_pref=100, large=large)


def announced_by(speaker: Speaker, nlris: list[bytes]) -> list[bytes]:
    """Let a speaker announce these, a message each."""
    with speaker.lock:
        for each in nlris:
            speaker.originate(IPV4, int.from_bytes(each), wordy(int.from_bytes(each)))
    return nlris


def heard(one: Raw, nlris: list[bytes], *, gone: bool = False) -> None:
    """Read until all these prefixes were announced, or, `gone`, announced and withdrawn."""
    left = set(nlris)
    while left:
        body = one.wait_for(raw.UPDATE).body
        length = int.from_bytes(body[:2])
        attributes = int.from_bytes(body[2 + length : 4 + length])
        said = body[2 : 2 + length] if gone else body[4 + length + attributes :]
        left.difference_update(nlri.octets(nlri.split(said, IPV4)[0]))


class TestClosing:
    """The end, at any moment, leaves no thread and no descriptor."""

    @pytest.fixture(autouse=True)
    def nothing_is_left(self) -> Iterator[None]:
        """Compare before and after."""
        before = descriptors(), set(threading.enumerate())
        yield
        wait_until(lambda: (descriptors(), set(threading.enumerate())) == before, what="nothing is left")

    def test_before_the_start(self) -> None:
        """What was never started has nothing to end, and does not start any more."""
        speaker = Speaker(options(place()(1), {"address": "127.0.99.1"}))
        speaker.close()
        speaker.start()
        assert not speaker.remotes

    def test_never(self) -> None:
        """Who is not started need not be closed."""
        Speaker(options(place()(1)))

    def test_twice_and_from_everywhere(self) -> None:
        """When any `close` returns, the speaker is at its end."""
        at = place()
        with speaking(at(1), {"address": at(2)}) as one, speaking(at(2), {"address": at(1)}):
            wait_up(one, at(2))

            def close(_: int) -> bool:
                one.close()
                return one.established

            with ThreadPoolExecutor(4) as pool:
                assert not any(pool.map(close, range(4)))
            one.close()

    def test_at_any_moment(self) -> None:
        """Two speakers that dial each other are closed some moments after they began to."""
        at = place()
        for turn in range(4 * len(State)):
            one = Speaker(options(at(1), {"address": at(2)}))
            two = Speaker(options(at(2), {"address": at(1)}))
            for each in (one, two):
                each.start()
            moment = list(State)[turn // 4]
            with suppress(AssertionError):  # it may have passed by
                session = one.remotes[ip_address(at(2))].session
                wait_until(partial(reached, session, moment), what="", patience=0.05)
            for each in (one, two) if turn % 2 else (two, one):
                each.close()

    def test_what_was_withdrawn_just_before_is_told(self) -> None:
        """A peer would keep it otherwise, with all the rest, for as long as we may take to be back."""
        at = place()
        with speaking(at(1), {"address": at(2), "passive": True}, restart_time=60) as keeper:
            speaker = Speaker(options(at(2), {"address": at(1)}, restart_time=60))
            speaker.start()
            originate(speaker, PREFIX, "10.2.0.0/24")
            wait_until(lambda: holds(keeper, PREFIX) and holds(keeper, "10.2.0.0/24"), what="the routes")
            retract(speaker, PREFIX)
            speaker.close()
            wait_down(keeper, at(2))
            assert not holds(keeper, PREFIX)
            assert holds(keeper, "10.2.0.0/24")


def reached(session: Session, moment: State) -> bool:
    """Return whether a session is there."""
    return session.state is moment


class Planted(Exception):
    """An error of ours."""


class Fuse:
    """Lets calls pass until it has burnt down; then one fails, before it does anything or after it has."""

    def __init__(self) -> None:
        self.left = 0
        self.after = False

    def call(self, what: Callable[..., Any], *args: Any, **more: Any) -> Any:
        """Call it, or fail."""
        self.left -= 1
        fails = self.left == 0
        if fails and not self.after:
            raise Planted
        result = what(*args, **more)
        if fails:
            raise Planted
        return result


class Frail:
    """Something of the speaker's, with a fuse in each of its calls."""

    def __init__(self, sound: Any, fuse: Fuse) -> None:
        self.__dict__.update(sound=sound, fuse=fuse)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.sound, name)
        if not callable(found) or name in ("fileno", "close"):
            return found
        return lambda *args, **more: self.fuse.call(found, *args, **more)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self.sound, name, value)


def plant(speaker: Speaker, part: str, fuse: Fuse) -> None:
    """Put a fuse into a part of the speaker, new each time."""
    with speaker.lock:
        if part in ("table", "exports"):
            sound = getattr(speaker, part)
            setattr(speaker, part, Frail(sound.sound if isinstance(sound, Frail) else sound, fuse))
            return
        for each in speaker.remotes.values():
            if part == "sock":
                for pipe in each.pipes.values():
                    if not isinstance(pipe.sock, Frail):
                        pipe.sock = Frail(pipe.sock, fuse)  # type: ignore[assignment]
            elif not isinstance(getattr(each, part), Frail):
                setattr(each, part, Frail(getattr(each, part), fuse))


class TestOurOwnErrors:
    """Whatever fails in the speaker, wherever: it recovers, and what everybody knows comes out right."""

    @pytest.mark.parametrize("part", ["session", "reader", "table", "exports", "sock"])
    def test_a_call_that_fails(self, part: str, caplog: pytest.LogCaptureFixture) -> None:
        """Each of the first calls fails once; what is announced meanwhile arrives, and what has gone goes."""
        caplog.set_level("CRITICAL")
        faults = [(number, after) for number in range(1, 9) for after in (False, True)]
        with ThreadPoolExecutor(4) as pool:
            failed = list(pool.map(lambda fault: self.outcome(part, *fault), faults))
        assert sum(failed) >= 2

    def outcome(self, part: str, number: int, after: bool) -> bool:
        """Let that call fail, and see everything come right; return whether it was called at all."""
        fuse = Fuse()
        with ExitStack() as stack:
            speaker, at = stack.enter_context(hub(2, 3, 4))
            one = stack.enter_context(speaking(at(2), {"address": at(1)}))
            two = stack.enter_context(speaking(at(3), {"address": at(1)}))
            wait_up(speaker, at(2), at(3))
            fuse.left, fuse.after = number, after
            plant(speaker, part, fuse)
            originate(one, PREFIX)
            with suppress(OSError, Closed, AssertionError), peer(at(4), at(1)) as guest:
                plant(speaker, part, fuse)
                guest.send(announcement("10.2.0.0/24"))
                wait_until(lambda: holds(two, "10.2.0.0/24"), what="", patience=0.2)
            wait_until(lambda: holds(two, PREFIX), what=f"the route, with a fault in {part} {number} {after}")
            wait_until(lambda: not holds(two, "10.2.0.0/24"), what="the guest's route is gone")
            wait_until(lambda: not is_up(speaker, at(4)), what="the guest is gone")
            return fuse.left <= 0
