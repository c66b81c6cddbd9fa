"""HTTP/2's frames (RFC 9113 s4 and s6): from values to octets, and octets cut into frames. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"  # s3.4
HEAD = 9  # octets before the payload (s4.1)
LONGEST = 1 << 14  # octets of payload: what everybody takes (s4.2), and we ask for no more
LAST_STREAM = (1 << 31) - 1
LARGEST_WINDOW = (1 << 31) - 1  # s6.9.1

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(
    10
)
END_STREAM = ACK = 0x1
END_HEADERS, PADDED, PRIORITIZED = 0x4, 0x8, 0x20

# s6.5.2
(
    HEADER_TABLE_SIZE,
    ENABLE_PUSH,
    MAX_CONCURRENT_STREAMS,
    INITIAL_WINDOW_SIZE,
    MAX_FRAME_SIZE,
    MAX_HEADER_LIST_SIZE,
) = range(1, 7)


class Code(IntEnum):
    """Why a stream or a connection ended (s7)."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


def name(code: int) -> str:
    """Return what a code is called; s7: one that is not known means nothing special."""
    try:
        return Code(code).name
    except ValueError:
        return f"error {code}"


class Broken(Exception):
    """The other end breaks the rules, so that the connection cannot go on (s5.4.1)."""

    def __init__(self, code: Code, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Frame(NamedTuple):
    """One frame; `payload` is of the length that it said."""

    type: int
    flags: int
    stream: int
    payload: bytes


class Cutter:
    """Cuts octets, in whatever pieces they come, into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def cut(self, octets: bytes) -> Iterator[Frame]:
        """Yield the frames that are whole now.

        Raises:
            Broken: a frame is longer than we take.
        """
        buffer, at = self._buffer, 0
        buffer += octets
        while len(buffer) - at >= HEAD:
            length = int.from_bytes(buffer[at : at + 3], "big")
            if length > LONGEST:  # s4.2
                raise Broken(Code.FRAME_SIZE_ERROR, f"a frame of {length} octets, expected at most {LONGEST}")
            end = at + HEAD + length
            if len(buffer) < end:
                break
            # s4.1: the highest bit of the stream's number means nothing.
            stream = int.from_bytes(buffer[at + 5 : at + HEAD], "big") & LAST_STREAM
            yield Frame(buffer[at + 3], buffer[at + 4], stream, bytes(buffer[at + HEAD : end]))
            at = end
        del buffer[:at]


def frame(type: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Return a frame as octets."""
    return b"%b%c%c%b%b" % (len(payload).to_bytes(3, "big"), type, flags, stream.to_bytes(4, "big"), payload)


def settings(values: dict[int, int]) -> bytes:
    """Return a SETTINGS frame."""
    payload = b"".join(key.to_bytes(2, "big") + value.to_bytes(4, "big") for key, value in values.items())
    return frame(SETTINGS, 0, 0, payload)


def window_update(stream: int, octets: int) -> bytes:
    """Return a WINDOW_UPDATE frame: so much more may be sent."""
    return frame(WINDOW_UPDATE, 0, stream, octets.to_bytes(4, "big"))


def rst_stream(stream: int, code: Code) -> bytes:
    """Return an RST_STREAM frame."""
    return frame(RST_STREAM, 0, stream, code.to_bytes(4, "big"))


def goaway(code: Code, reason: str) -> bytes:
    """Return a GOAWAY frame of a client's, to which no server opens streams."""
    return frame(GOAWAY, 0, 0, bytes(4) + code.to_bytes(4, "big") + reason.encode(errors="replace"))


def unpadded(found: Frame) -> bytes:
    """Return the payload of a DATA or HEADERS frame, without padding (s6.1, s6.2).

    Raises:
        Broken: there would be more padding than payload.
    """
    payload = found.payload
    if not found.flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise Broken(Code.PROTOCOL_ERROR, f"{payload[:1].hex() or 'no'} octets of padding in {len(payload)}")
    return payload[1 : len(payload) - payload[0]]
