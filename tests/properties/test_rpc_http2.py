"""HTTP/2 and gRPC on it, bytes in and events out: with the package h2 at the other end, and with much worse."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded
from h2.settings import SettingCodes
from hypothesis import given, strategies as st

from containernet_backends.rpc import call as calls, frames, hpack, http2
from containernet_backends.rpc.call import Call, Status, enclosed
from containernet_backends.rpc.frames import Code, frame
from containernet_backends.rpc.http2 import Data, Event, Failed, Fields, Http2, Reset, Settled

FIELDS = calls.request("/x/Y", scheme="http", authority="a:1", timeout=1.5, metadata=[("token", "x")])
GOOD = ((":status", "200"), ("content-type", "application/grpc"))
SETTLED = frames.settings({})
cuts = st.randoms(use_true_random=False)


def pieces(octets: bytes, cuts: random.Random) -> Iterator[bytes]:
    """Yield octets in pieces of any size."""
    while octets:
        size = cuts.choice([1, 2, 9, 10, 100, 5000, len(octets)])
        yield octets[:size]
        octets = octets[size:]


class Server:
    """h2's end of a connection: it answers each request, when that is over, with what was asked for it."""

    def __init__(self, answers: Sequence[bytes], settings: dict[SettingCodes, int]) -> None:
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.h2.update_settings(settings)  # type: ignore[arg-type]
        self.asked: dict[int, bytes] = {}
        self._answers = iter(answers)
        self._unsent: dict[int, memoryview] = {}

    def receive(self, octets: bytes) -> None:
        """Take octets of the client's; h2 raises an exception if they break the rules."""
        for event in self.h2.receive_data(octets):
            match event:
                case RequestReceived(stream_id=stream, headers=headers):
                    assert [(str(name), str(value)) for name, value in headers] == FIELDS
                    self.asked[stream] = b""
                case DataReceived(stream_id=stream, data=data, flow_controlled_length=length):
                    self.asked[stream] += data
                    self.h2.acknowledge_received_data(length, stream)
                case StreamEnded(stream_id=stream):
                    self.h2.send_headers(stream, GOOD)
                    self._unsent[stream] = memoryview(next(self._answers))
        for stream in list(self._unsent):
            self._send(stream)

    def _send(self, stream: int) -> None:
        while self._unsent[stream] and (room := self.h2.local_flow_control_window(stream)):
            size = min(room, self.h2.max_outbound_frame_size)
            self.h2.send_data(stream, bytes(self._unsent[stream][:size]))
            self._unsent[stream] = self._unsent[stream][size:]
        if not self._unsent[stream]:
            del self._unsent[stream]
            self.h2.send_headers(stream, [("grpc-status", "0")], end_stream=True)


sizes = st.one_of(st.integers(0, 50), st.integers(60_000, 70_000), st.integers(0, 300_000))


@given(
    st.lists(st.tuples(sizes, sizes), min_size=1, max_size=4),
    st.fixed_dictionaries(
        {},
        optional={
            SettingCodes.INITIAL_WINDOW_SIZE: st.integers(5000, 200_000),
            SettingCodes.MAX_FRAME_SIZE: st.integers(1 << 14, 1 << 17),
        },
    ),
    cuts,
)
def test_what_is_sent_arrives_both_ways(
    asks: list[tuple[int, int]], settings: dict[SettingCodes, int], cuts: random.Random
) -> None:
    """Whatever fits no window at once, whatever the server sets, and however the octets are cut."""
    requests = [bytes([number]) * ask for number, (ask, _) in enumerate(asks)]
    answers = [bytes([number]) * answer for number, (_, answer) in enumerate(asks)]
    client, server = Http2(), Server(answers, settings)
    for _ in range(2):
        server.receive(client.take())
        client.receive(server.h2.data_to_send())
    streams = [client.open(FIELDS) for _ in requests]
    for stream, request in zip(streams, requests, strict=True):
        client.send(stream, request, end=True)
    got, ended = dict.fromkeys(streams, b""), []
    while (out := client.take()) or (back := server.h2.data_to_send()):
        for piece in pieces(out, cuts):
            server.receive(piece)
        back = server.h2.data_to_send() if out else back
        for piece in pieces(back, cuts):
            for event in client.receive(piece):
                assert not isinstance(event, Failed | Reset)
                if isinstance(event, Data):
                    got[event.stream] += event.octets
                    client.consumed(event.stream)
                elif isinstance(event, Fields) and event.ended:
                    ended.append(event.stream)
    assert server.asked == dict(zip(streams, requests, strict=True))
    assert sorted(got.values()) == sorted(answers)
    assert sorted(ended) == streams
    assert client.streams == 0


def test_more_than_all_windows_arrives(subtests: pytest.Subtests) -> None:
    """Of one stream, and of many together that each have less than the connection's."""
    for count, size in ((1, http2.CONNECTION_WINDOW + 1), (5, http2.WINDOW)):
        with subtests.test(count=count):
            client, server = Http2(), Server([bytes(size)] * count, {})
            for _ in range(count):
                client.send(client.open(FIELDS), b"", end=True)
            got = 0
            while (out := client.take()) or (back := server.h2.data_to_send()):
                server.receive(out)
                back = server.h2.data_to_send() if out else back
                for event in client.receive(back):
                    if isinstance(event, Data):
                        got += len(event.octets)
                        client.consumed(event.stream)
            assert got == count * size


def test_who_takes_nothing_is_sent_no_more() -> None:
    """A window's worth, and the rest when there is room again."""
    client, server = Http2(), Server([bytes(2 * http2.WINDOW)], {})
    stream = client.open(FIELDS)
    client.send(stream, b"", end=True)

    def talk() -> int:
        got = 0
        while (out := client.take()) or (back := server.h2.data_to_send()):
            server.receive(out)
            back = server.h2.data_to_send() if out else back
            got += sum(len(event.octets) for event in client.receive(back) if isinstance(event, Data))
        return got

    assert talk() == http2.WINDOW
    client.consumed(stream)
    assert talk() == http2.WINDOW


def opened() -> Http2:
    """Return a client with stream 1 open, that has sent what it had to send."""
    client = Http2()
    client.receive(SETTLED)
    client.open(FIELDS)
    client.take()
    return client


def headers(*fields: tuple[str, str], flags: int = frames.END_HEADERS, stream: int = 1) -> bytes:
    """Return a HEADERS frame."""
    return frame(frames.HEADERS, flags, stream, hpack.encode(fields))


some_frames = st.builds(
    frame,
    st.integers(0, 12),
    st.one_of(st.just(0), st.sampled_from([1, 4, 5, 8, 0x20, 0x2D]), st.integers(0, 255)),
    st.sampled_from([0, 1, 1, 1, 2, 3, 1 << 30]),
    st.one_of(
        st.sampled_from([b"", bytes(4), bytes(8), b"\x7f\xff\xff\xff", hpack.encode(GOOD), bytes(100)]),
        st.binary(max_size=30),
    ),
)
conversations = st.lists(
    st.one_of(
        some_frames,
        st.sampled_from([headers(*GOOD), headers(*GOOD, flags=5), frame(frames.DATA, 0, 1, enclosed(b"x"))]),
    ),
    max_size=12,
)


@given(conversations, cuts)
def test_any_octets_mean_the_same_however_they_are_cut(conversation: list[bytes], cuts: random.Random) -> None:
    """The same events, and the same answers."""
    octets = b"".join(conversation)
    whole, cut = opened(), opened()
    events = whole.receive(octets)
    assert [event for piece in pieces(octets, cuts) for event in cut.receive(piece)] == events
    assert cut.take() == whole.take()


@given(conversations, st.binary(max_size=40))
def test_a_server_cannot_break_us(conversation: list[bytes], junk: bytes) -> None:
    """Nothing is raised; who breaks the rules hears so, and is not listened to any more."""
    client = opened()
    events: list[Event] = []
    for octets in (*conversation, junk):
        events += client.receive(octets)
    out = client.take()
    failed = [event for event in events if isinstance(event, Failed)]
    if failed:
        assert events[-1] is failed[-1]
        assert len(failed) == 1
        assert client.going_away
        cut = list(frames.Cutter().cut(out))
        assert cut[-1].type == frames.GOAWAY
        assert client.receive(SETTLED) == []
        assert client.take() == b""
    ends = [event for event in events if getattr(event, "ended", False) or isinstance(event, Reset)]
    assert len(ends) <= 1
    assert client.streams == 1 - len(ends) or failed


RULES: Sequence[tuple[str, bytes, Code]] = (
    ("s4.2 a frame that is too long", b"\x00\x40\x01" + bytes(6), Code.FRAME_SIZE_ERROR),
    ("s5.1 data on a stream that is idle", frame(frames.DATA, 0, 3, b""), Code.PROTOCOL_ERROR),
    ("s5.1.1 fields on a stream of a server's", headers(*GOOD, stream=2), Code.PROTOCOL_ERROR),
    ("s6.1 padding longer than the frame", frame(frames.DATA, 8, 1, b"\x05abc"), Code.PROTOCOL_ERROR),
    ("s6.2 a priority that is cut off", frame(frames.HEADERS, 0x24, 1, b"abc"), Code.FRAME_SIZE_ERROR),
    ("s4.3 fields that are none", frame(frames.HEADERS, 4, 1, b"\xff\xff\xff"), Code.COMPRESSION_ERROR),
    ("s6.4 a reset of wrong length", frame(frames.RST_STREAM, 0, 1, b""), Code.FRAME_SIZE_ERROR),
    ("s6.5 settings of a stream", frame(frames.SETTINGS, 0, 1, b""), Code.PROTOCOL_ERROR),
    ("s6.5 settings of wrong length", frame(frames.SETTINGS, 0, 0, bytes(5)), Code.FRAME_SIZE_ERROR),
    ("s6.5 settings in an acknowledgement", frame(frames.SETTINGS, 1, 0, bytes(6)), Code.FRAME_SIZE_ERROR),
    ("s6.5.2 push from a server", frames.settings({frames.ENABLE_PUSH: 1}), Code.PROTOCOL_ERROR),
    ("s6.5.2 a window", frames.settings({frames.INITIAL_WINDOW_SIZE: 1 << 31}), Code.FLOW_CONTROL_ERROR),
    ("s6.5.2 short frames", frames.settings({frames.MAX_FRAME_SIZE: 100}), Code.PROTOCOL_ERROR),
    ("s6.6 a push", frame(frames.PUSH_PROMISE, 4, 1, bytes(4)), Code.PROTOCOL_ERROR),
    ("s6.7 a ping of wrong length", frame(frames.PING, 0, 0, bytes(7)), Code.FRAME_SIZE_ERROR),
    ("s6.7 a ping on a stream", frame(frames.PING, 0, 1, bytes(8)), Code.PROTOCOL_ERROR),
    ("s6.8 a goodbye on a stream", frame(frames.GOAWAY, 0, 1, bytes(8)), Code.PROTOCOL_ERROR),
    ("s6.9 no more room", frames.window_update(0, 0), Code.PROTOCOL_ERROR),
    ("s6.9 room of wrong length", frame(frames.WINDOW_UPDATE, 0, 0, b"abc"), Code.FRAME_SIZE_ERROR),
    ("s6.9.1 too much room", frames.window_update(0, (1 << 31) - 1), Code.FLOW_CONTROL_ERROR),
    ("s6.10 a continuation of nothing", frame(frames.CONTINUATION, 4, 1, b""), Code.PROTOCOL_ERROR),
    ("s6.10 data among fields", headers(flags=0) + frame(frames.DATA, 0, 1, b""), Code.PROTOCOL_ERROR),
    ("s10.5.1 endless fields", headers(flags=0) + frame(9, 0, 1, bytes(9999)) * 2, Code.ENHANCE_YOUR_CALM),
    ("s10.5 answers that nobody takes", frame(frames.PING, 0, 0, bytes(8)) * 5000, Code.ENHANCE_YOUR_CALM),
)  # fmt: skip


@pytest.mark.parametrize(("octets", "code"), [rule[1:] for rule in RULES], ids=[rule[0] for rule in RULES])
def test_who_breaks_a_rule_is_told_which(octets: bytes, code: Code) -> None:
    """RFC 9113, by sections."""
    client = opened()
    events = client.receive(octets)
    assert isinstance(events[-1], Failed)
    assert events[-1].reason.startswith(f"{code.name}: ")
    *_, last = frames.Cutter().cut(client.take())
    assert (last.type, last.payload[4:8]) == (frames.GOAWAY, code.to_bytes(4, "big"))


def test_who_speaks_something_else_is_asked_whether_it_is_http2() -> None:
    """HTTP/1.1, an alert of TLS, frames without SETTINGS (s3.4)."""
    for octets in (b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x15\x03\x01\x00\x02\x02\x46xx", headers(*GOOD)):
        (event,) = Http2().receive(octets)
        assert isinstance(event, Failed)
        assert event.reason.endswith("; is HTTP/2 spoken there?")


def test_a_stream_with_more_data_than_room_is_reset() -> None:
    """And the others go on (s6.9.1)."""
    client = opened()
    other = client.open(FIELDS)
    events: list[Event] = []
    for _ in range(http2.WINDOW // frames.LONGEST + 1):
        events += client.receive(frame(frames.DATA, 0, 1, bytes(frames.LONGEST)))
    assert events[-1] == Reset(1, Code.FLOW_CONTROL_ERROR, "more data than there is room for")
    assert client.receive(frame(frames.DATA, 0, other, b"x")) == [Data(other, b"x", False)]


def test_a_connection_with_more_data_than_room_fails() -> None:
    """On streams that are over, whose room nobody counts any more, as well (s6.9)."""
    client = opened()
    client._consumed -= 1 << 40  # it never gives room back
    client.reset(1)
    events: list[Event] = []
    for _ in range(http2.CONNECTION_WINDOW // frames.LONGEST + 1):
        events += client.receive(frame(frames.DATA, 0, 1, bytes(frames.LONGEST)))
    assert [type(event) for event in events] == [Failed]


def test_a_window_may_be_less_than_nothing() -> None:
    """When a server takes room back that was used already (s6.9.2)."""
    client = opened()
    client.send(1, bytes(60_000))
    assert len(client.take()) > 60_000
    client.receive(frames.settings({frames.INITIAL_WINDOW_SIZE: 10}))
    client.send(1, b"x" * 20, end=True)
    assert b"x" not in client.take()
    client.receive(frames.window_update(1, 60_000 - 10 + 5))
    assert client.take().endswith(b"x" * 5)
    client.receive(frames.window_update(1, 15))
    assert client.take() == frame(frames.DATA, frames.END_STREAM, 1, b"x" * 15)


def test_a_server_says_goodbye() -> None:
    """What it has begun it ends; what it has not may be asked for elsewhere (s6.8)."""
    client = opened()
    later = client.open(FIELDS)
    goodbye = frame(frames.GOAWAY, 0, 0, (1).to_bytes(4, "big") + bytes(4) + b"maintenance")
    assert client.receive(goodbye) == [Reset(later, Code.NO_ERROR, "maintenance", unprocessed=True)]
    assert client.going_away
    assert client.receive(headers(*GOOD, flags=5)) == [Fields(1, GOOD, True)]


def test_no_more_streams_than_a_server_wants() -> None:
    """Until one is over (s5.1.2)."""
    client = opened()
    client.receive(frames.settings({frames.MAX_CONCURRENT_STREAMS: 1}))
    assert client.full
    client.reset(1)
    assert not client.full


def test_what_is_still_on_its_way_is_of_no_interest() -> None:
    """After a stream was cancelled (s5.1)."""
    client = opened()
    client.reset(1)
    assert client.take() == frames.rst_stream(1, Code.CANCEL)
    late = (
        headers(*GOOD)
        + frame(frames.DATA, 0, 1, b"x")
        + frames.window_update(1, 1)
        + frames.rst_stream(1, Code(0))
    )
    assert client.receive(late) == []
    assert client.take() == b""


def test_an_answer_that_comes_before_the_end_of_the_question_ends_both() -> None:
    """A server may refuse what it has not read to the end; the rest is not sent any more (s8.1)."""
    client = opened()
    client.send(1, bytes(100_000), end=True)
    client.take()
    assert client.receive(headers(("grpc-status", "8"), flags=5)) == [Fields(1, (("grpc-status", "8"),), True)]
    assert client.take() == frames.rst_stream(1, Code.CANCEL)
    assert client.streams == 0


# gRPC's part.


def told(*events: Event) -> Call:
    """Return a call that events have come for."""
    call = Call()
    for event in events:
        call.receive(event)
    return call


END = Fields(1, (("grpc-status", "0"),), True)
BEGIN = Fields(1, GOOD, False)


@given(st.lists(st.binary(max_size=300), max_size=5), cuts)
def test_messages_come_whole_however_they_are_cut(messages: list[bytes], cuts: random.Random) -> None:
    """In order, and the status behind them."""
    octets = b"".join(map(enclosed, messages))
    call = told(BEGIN, *(Data(1, piece, False) for piece in pieces(octets, cuts)), END)
    assert (list(call.messages), call.status, call.waiting) == (messages, Status("OK"), len(octets))
    assert [call.take() for _ in messages] == messages
    assert call.waiting == 0


@pytest.mark.parametrize(
    ("events", "code", "words"),
    [
        ([Fields(1, (*GOOD, ("grpc-status", "5"), ("grpc-message", "a%20%C3%A4")), True)], "NOT_FOUND", "a ä"),
        ([BEGIN, Fields(1, (("grpc-status", "14"),), True)], "UNAVAILABLE", ""),
        ([BEGIN, Fields(1, (("grpc-status", "99"),), True)], "UNKNOWN", "99"),
        ([BEGIN, Fields(1, (("grpc-status", "0000000001234567"),), True)], "UNKNOWN", "1234567"),
        ([BEGIN, Fields(1, (("x", "y"),), True)], "UNKNOWN", "grpc-status"),
        ([Fields(1, ((":status", "100"),), False), BEGIN, END], "OK", ""),
        ([Fields(1, ((":status", "503"),), False)], "UNAVAILABLE", "HTTP status 503"),
        ([Fields(1, ((":status", "200"), ("content-type", "text/html")), False)], "UNKNOWN", "text/html"),
        ([Fields(1, ((":status", "403"),), True)], "PERMISSION_DENIED", "403"),
        ([BEGIN, Fields(1, (("x", "y"),), False)], "INTERNAL", "do not end"),
        ([BEGIN, Data(1, b"", True)], "INTERNAL", "no status"),
        ([BEGIN, Data(1, enclosed(b"x")[:-1], False), END], "INTERNAL", "middle of a message"),
        ([BEGIN, Data(1, b"\x01" + bytes(4), False)], "INTERNAL", "compressed"),
        ([BEGIN, Data(1, b"\x00\x7f\xff\xff\xff", False)], "RESOURCE_EXHAUSTED", "expected at most"),
        ([Data(1, b"x", False)], "INTERNAL", "without header fields"),
        ([Reset(1, Code.REFUSED_STREAM, unprocessed=True)], "UNAVAILABLE", "REFUSED_STREAM"),
        ([BEGIN, Reset(1, Code.CANCEL)], "CANCELLED", "CANCEL"),
        ([Reset(1, Code.ENHANCE_YOUR_CALM, "too_many_pings")], "RESOURCE_EXHAUSTED", "too_many_pings"),
        ([Reset(1, 4711)], "INTERNAL", "error 4711"),
    ],
)  # fmt: skip
def test_how_a_call_ends(events: Sequence[Event], code: str, words: str) -> None:
    """By gRPC's own documents; and nothing changes it afterwards."""
    call = told(*events)
    assert call.status is not None
    assert call.status.code == code
    assert words in call.status.details
    ended = call.status
    for event in (BEGIN, Data(1, enclosed(b"x"), True), END, Reset(1, 0)):
        call.receive(event)
    assert call.status is ended


any_event = st.one_of(
    st.builds(
        Fields,
        st.just(1),
        st.lists(
            st.one_of(st.sampled_from([*GOOD, ("grpc-status", "0")]), st.tuples(st.text(), st.text())),
            max_size=4,
        ).map(tuple),
        st.booleans(),
    ),
    st.builds(Data, st.just(1), st.one_of(st.binary(max_size=20), st.just(enclosed(b"x"))), st.booleans()),
    st.builds(Reset, st.just(1), st.integers(0, 20), st.text(max_size=3), st.booleans()),
    st.just(Settled()),
)


@given(st.lists(any_event, max_size=8))
def test_a_call_takes_whatever_comes(events: list[Event]) -> None:
    """It ends when the stream does, at the latest."""
    call = told(*events)
    ended = any(getattr(event, "ended", False) or isinstance(event, Reset) for event in events)
    assert call.status is not None or not ended
