"""A client's end of one HTTP/2 connection (RFC 9113): octets in, events out. Pure: no socket, no clock.

What a caller wants is done at once as far as it concerns the connection's state; the octets that have to go out
for it wait in `take`. What a server sends goes into `receive`, in whatever pieces it comes.

A server may be hostile, so everything that it can make us keep has an end: a frame and a block of fields by
their length, data by the windows, and what we owe an answer to by `MOST_OWED` (s10.5).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from . import frames, hpack
from .frames import Broken, Code, Frame

# Octets that may be on their way to us in a stream, and in all of them together.
WINDOW = 1 << 22
CONNECTION_WINDOW = 1 << 24
USUAL_WINDOW = (1 << 16) - 1  # s6.9.2
LONGEST_BLOCK = 1 << 14  # octets of fields
MOST_OWED = 1 << 16  # octets of answers that a server has made us owe and does not take
MOST_TAKEN = 1 << 18  # octets of a request that are handed out at once


class Fields(NamedTuple):
    """Header fields have come, in front of the data or behind it."""

    stream: int
    fields: hpack.Fields
    ended: bool


class Data(NamedTuple):
    """Data has come, perhaps none, or the last; see `Http2.consumed`."""

    stream: int
    octets: bytes
    ended: bool


class Reset(NamedTuple):
    """The stream is over; `unprocessed`: the server has not begun to do what it asked for."""

    stream: int
    code: int
    reason: str = ""
    unprocessed: bool = False


class Settled(NamedTuple):
    """The server has said how it wants to be talked to: it is one that speaks HTTP/2."""


class Failed(NamedTuple):
    """The server broke the rules; the last event of all."""

    reason: str


Event = Fields | Data | Reset | Settled | Failed


class _Stream:
    """One that is not over.

    Args:
        window: octets that the server takes.
    """

    __slots__ = ("consumed", "ended", "ending", "room", "unsent", "window")

    def __init__(self, window: int) -> None:
        self.window = window
        self.room = WINDOW  # octets that the server may send
        self.consumed = 0  # of those that it has sent, for how many it was not given room again
        self.unsent = bytearray()
        self.ending = self.ended = False  # the end of ours is behind `unsent`; was sent


class Http2:
    """One connection, from its first octet."""

    def __init__(self) -> None:
        self.going_away = False  # no stream can be opened any more
        self._cutter = frames.Cutter()
        self._streams: dict[int, _Stream] = {}
        self._next = 1
        self._events: list[Event] = []
        self._block: tuple[Frame, bytearray] | None = None  # fields that go on in the next frame
        self._settled = self._failed = False
        self._most_streams = frames.LAST_STREAM
        self._usual_window, self._window, self._longest = USUAL_WINDOW, USUAL_WINDOW, frames.LONGEST
        self._room, self._consumed = CONNECTION_WINDOW, 0
        self._out = bytearray(
            frames.PREFACE
            + frames.settings(
                {
                    frames.HEADER_TABLE_SIZE: 0,  # see `hpack`
                    frames.ENABLE_PUSH: 0,
                    frames.INITIAL_WINDOW_SIZE: WINDOW,
                    frames.MAX_HEADER_LIST_SIZE: LONGEST_BLOCK,
                }
            )
            + frames.window_update(0, CONNECTION_WINDOW - USUAL_WINDOW)
        )

    # What a caller wants.

    @property
    def streams(self) -> int:
        """How many are not over."""
        return len(self._streams)

    @property
    def full(self) -> bool:
        """Whether the server wants no more streams for now (s5.1.2)."""
        return len(self._streams) >= self._most_streams

    def open(self, fields: Iterable[tuple[str, str]], *, secret: str = "") -> int:
        """Begin a request; return its stream. Not while `full`, and not when `going_away`."""
        assert not self.going_away
        assert not self.full
        stream, self._next = self._next, self._next + 2  # s5.1.1: a client's are odd
        self.going_away = self._next > frames.LAST_STREAM
        self._streams[stream] = _Stream(self._usual_window)
        block = hpack.encode(fields, secret=secret)
        self._out += frames.frame(frames.HEADERS, frames.END_HEADERS, stream, block)
        return stream

    def send(self, stream: int, octets: bytes, *, end: bool = False) -> None:
        """Send data, as soon as the server takes it; nothing if the stream is over."""
        if (found := self._streams.get(stream)) is not None:
            found.unsent += octets
            found.ending = end

    def reset(self, stream: int, code: Code = Code.CANCEL) -> None:
        """End a stream, and hear no more of it; may be called twice."""
        if self._streams.pop(stream, None) is not None:
            self._out += frames.rst_stream(stream, code)

    def ping(self) -> None:
        """Ask whether anybody is there: whoever is, answers."""
        self._out += frames.frame(frames.PING, 0, 0, bytes(8))

    def consumed(self, stream: int) -> None:
        """Let the server send as much again on a stream as has come: its data is taken care of."""
        found = self._streams.get(stream)
        if found is not None and found.consumed >= WINDOW // 2:
            self._out += frames.window_update(stream, found.consumed)
            found.room += found.consumed
            found.consumed = 0

    def take(self) -> bytes:
        """Return what is to be sent now, and forget it."""
        for octets in self._sendable():
            self._out += octets
        out, self._out = bytes(self._out), bytearray()
        return out

    def _sendable(self) -> Iterator[bytes]:
        """Yield frames of data, as far as the windows go (s6.9)."""
        left = MOST_TAKEN
        for number, stream in self._streams.items():
            while stream.unsent and left > 0 and (room := min(stream.window, self._window, self._longest)) > 0:
                octets = bytes(stream.unsent[:room])
                del stream.unsent[:room]
                stream.window -= len(octets)
                self._window -= len(octets)
                left -= len(octets)
                stream.ended = stream.ending and not stream.unsent
                flags = frames.END_STREAM if stream.ended else 0
                yield frames.frame(frames.DATA, flags, number, octets)
            if stream.ending and not stream.unsent and not stream.ended:
                stream.ended = True
                yield frames.frame(frames.DATA, frames.END_STREAM, number, b"")

    # What a server sends.

    def receive(self, octets: bytes) -> list[Event]:
        """Return what that means; after `Failed`, nothing more."""
        self._events = []
        if not self._failed:
            try:
                for frame in self._cutter.cut(octets):
                    self._handle(frame)
            except Broken as error:
                self._fail(error)
        return self._events

    def _fail(self, error: Broken) -> None:
        self._failed = self.going_away = True
        self._streams.clear()
        self._out += frames.goaway(error.code, str(error))  # s5.4.1
        hint = "" if self._settled else "; is HTTP/2 spoken there?"
        self._events.append(Failed(f"{error.code.name}: {error}{hint}"))

    def _handle(self, frame: Frame) -> None:
        if not self._settled and (frame.type != frames.SETTINGS or frame.flags & frames.ACK):  # s3.4
            raise Broken(Code.PROTOCOL_ERROR, f"a frame of type {frame.type} before SETTINGS")
        if self._block is not None and frame.type != frames.CONTINUATION:  # s6.10
            raise Broken(Code.PROTOCOL_ERROR, f"a frame of type {frame.type} among fields")
        match frame.type:
            case frames.DATA:
                self._data(frame)
            case frames.HEADERS:
                self._headers(frame)
            case frames.CONTINUATION:
                self._continuation(frame)
            case frames.RST_STREAM:
                self._rst_stream(frame)
            case frames.SETTINGS:
                self._settings(frame)
            case frames.PING:
                self._ping(frame)
            case frames.GOAWAY:
                self._goaway(frame)
            case frames.WINDOW_UPDATE:
                self._window_update(frame)
            case frames.PUSH_PROMISE:  # s6.6: we said that we want none
                raise Broken(Code.PROTOCOL_ERROR, "PUSH_PROMISE")
        # PRIORITY means nothing any more (s5.3.2), nor does a type that is not known (s4.1).

    def _known(self, frame: Frame) -> _Stream | None:
        """Return the stream of a frame; None: it is over, and what is still on its way is of no interest."""
        if not frame.stream % 2 or frame.stream >= self._next:  # s5.1: never opened
            raise Broken(Code.PROTOCOL_ERROR, f"a frame of type {frame.type} on stream {frame.stream}")
        return self._streams.get(frame.stream)

    def _data(self, frame: Frame) -> None:
        stream, octets = self._known(frame), frames.unpadded(frame)
        length = len(frame.payload)  # s6.9.1: padding counts
        self._room -= length
        if self._room < 0:
            raise Broken(Code.FLOW_CONTROL_ERROR, "more data than there is room for")
        self._consumed += length
        if self._consumed >= CONNECTION_WINDOW // 2:  # the streams have windows of their own
            self._out += frames.window_update(0, self._consumed)
            self._room += self._consumed
            self._consumed = 0
        if stream is None:
            return
        stream.room -= length
        stream.consumed += length
        if stream.room < 0:
            self._end(frame.stream, Code.FLOW_CONTROL_ERROR, "more data than there is room for")
            return
        ended = bool(frame.flags & frames.END_STREAM)
        self._events.append(Data(frame.stream, octets, ended))
        if ended:
            self._over(frame.stream, stream)

    def _headers(self, frame: Frame) -> None:
        self._known(frame)
        block = frames.unpadded(frame)
        if frame.flags & frames.PRIORITIZED:
            if len(block) < 5:
                raise Broken(Code.FRAME_SIZE_ERROR, f"HEADERS of {len(block)} octets, with a priority")
            block = block[5:]
        self._collect(frame, bytearray(block), frame.flags)

    def _continuation(self, frame: Frame) -> None:
        if self._block is None or self._block[0].stream != frame.stream:  # s6.10
            raise Broken(Code.PROTOCOL_ERROR, "CONTINUATION of nothing")
        first, block = self._block
        self._collect(first, block + frame.payload, frame.flags)

    def _collect(self, first: Frame, block: bytearray, flags: int) -> None:
        """Keep fields until all are there."""
        if len(block) > LONGEST_BLOCK:
            raise Broken(Code.ENHANCE_YOUR_CALM, f"fields of more than {LONGEST_BLOCK} octets")
        if not flags & frames.END_HEADERS:
            self._block = first, block
            return
        self._block = None
        try:
            fields = hpack.decode(bytes(block))
        except ValueError as error:  # s4.3
            raise Broken(Code.COMPRESSION_ERROR, str(error)) from error
        if (stream := self._streams.get(first.stream)) is not None:
            ended = bool(first.flags & frames.END_STREAM)
            self._events.append(Fields(first.stream, fields, ended))
            if ended:
                self._over(first.stream, stream)

    def _over(self, number: int, stream: _Stream) -> None:
        """The server has said everything; what we have not, nobody would hear (s8.1)."""
        if stream.ended:
            del self._streams[number]
        else:
            self.reset(number)

    def _end(self, number: int, code: Code, reason: str) -> None:
        """End a stream that breaks the rules (s5.4.2)."""
        self.reset(number, code)
        self._events.append(Reset(number, code, reason))

    def _rst_stream(self, frame: Frame) -> None:
        stream, code = self._known(frame), _number(frame, 4)
        if stream is not None:
            del self._streams[frame.stream]
            # s8.7: only then is it sure that nothing was done.
            self._events.append(Reset(frame.stream, code, unprocessed=code == Code.REFUSED_STREAM))

    def _settings(self, frame: Frame) -> None:
        if frame.stream:  # s6.5
            raise Broken(Code.PROTOCOL_ERROR, f"SETTINGS on stream {frame.stream}")
        if len(frame.payload) % 6 or (frame.flags & frames.ACK and frame.payload):
            raise Broken(Code.FRAME_SIZE_ERROR, f"SETTINGS of {len(frame.payload)} octets")
        if frame.flags & frames.ACK:
            return
        for at in range(0, len(frame.payload), 6):
            key, value = frame.payload[at : at + 2], frame.payload[at + 2 : at + 6]
            self._set(int.from_bytes(key, "big"), int.from_bytes(value, "big"))
        self._answer(frames.frame(frames.SETTINGS, frames.ACK, 0, b""))
        if not self._settled:
            self._settled = True
            self._events.append(Settled())

    def _set(self, key: int, value: int) -> None:
        """Take one setting (s6.5.2); the size of a table that we do not use is none of them."""
        match key:
            case frames.ENABLE_PUSH if value:
                raise Broken(Code.PROTOCOL_ERROR, f"ENABLE_PUSH = {value} from a server")
            case frames.MAX_CONCURRENT_STREAMS:
                self._most_streams = value
            case frames.INITIAL_WINDOW_SIZE:
                # s6.9.2: it changes the windows of all streams, even to less than nothing.
                change, self._usual_window = value - self._usual_window, value
                windows = (stream.window + change for stream in self._streams.values())
                if max(windows, default=value) > frames.LARGEST_WINDOW or value > frames.LARGEST_WINDOW:
                    raise Broken(Code.FLOW_CONTROL_ERROR, f"INITIAL_WINDOW_SIZE = {value}")
                for stream in self._streams.values():
                    stream.window += change
            case frames.MAX_FRAME_SIZE:
                if not frames.LONGEST <= value < 1 << 24:
                    raise Broken(Code.PROTOCOL_ERROR, f"MAX_FRAME_SIZE = {value}")
                self._longest = value

    def _ping(self, frame: Frame) -> None:
        if frame.stream:  # s6.7
            raise Broken(Code.PROTOCOL_ERROR, f"PING on stream {frame.stream}")
        _number(frame, 8)
        if not frame.flags & frames.ACK:
            self._answer(frames.frame(frames.PING, frames.ACK, 0, frame.payload))

    def _goaway(self, frame: Frame) -> None:
        if frame.stream or len(frame.payload) < 8:  # s6.8
            raise Broken(Code.PROTOCOL_ERROR, f"GOAWAY of {len(frame.payload)} octets on stream {frame.stream}")
        last = int.from_bytes(frame.payload[:4], "big") & frames.LAST_STREAM
        code = int.from_bytes(frame.payload[4:8], "big")
        reason = frame.payload[8:200].decode(errors="backslashreplace")
        self.going_away = True
        for number in [each for each in self._streams if each > last]:
            del self._streams[number]
            self._events.append(Reset(number, code, reason, unprocessed=True))

    def _window_update(self, frame: Frame) -> None:
        stream = self._known(frame) if frame.stream else None
        more = _number(frame, 4) & frames.LARGEST_WINDOW
        code = Code.FLOW_CONTROL_ERROR if more else Code.PROTOCOL_ERROR  # s6.9.1, s6.9
        if not frame.stream:
            self._window += more
            if not more or self._window > frames.LARGEST_WINDOW:
                raise Broken(code, f"a window of {self._window} octets, by {more} more")
        elif stream is not None:
            stream.window += more
            if not more or stream.window > frames.LARGEST_WINDOW:
                self._end(frame.stream, code, f"a window of {stream.window} octets, by {more} more")

    def _answer(self, octets: bytes) -> None:
        """Owe a server an answer, but not more and more to one that takes none."""
        self._out += octets
        if len(self._out) > MOST_OWED:
            raise Broken(Code.ENHANCE_YOUR_CALM, f"more than {MOST_OWED} octets of answers are not taken")


def _number(frame: Frame, length: int) -> int:
    """Return what a payload of fixed length holds."""
    if len(frame.payload) != length:
        raise Broken(Code.FRAME_SIZE_ERROR, f"{len(frame.payload)} octets in a frame of type {frame.type}")
    return int.from_bytes(frame.payload, "big")
