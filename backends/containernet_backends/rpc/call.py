"""A gRPC call: what comes on its stream, as messages and in the end a status. Pure.

Rules: gRPC's doc/PROTOCOL-HTTP2.md, statuscodes.md and http-grpc-status-mapping.md. What is sent is the same
without a state: `request` and `enclosed`.
"""

from __future__ import annotations

import collections
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import unquote

from .frames import Code, name
from .http2 import Data, Event, Fields, Reset

PREFIX = 5  # octets in front of a message: whether it is compressed, and how long it is
LONGEST = 1 << 28  # octets of a message

# statuscodes.md, from 0.
NAMES = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
]

# http-grpc-status-mapping.md: what somebody on the way means who speaks no gRPC.
_OF_HTTP = {
    "400": "INTERNAL",
    "401": "UNAUTHENTICATED",
    "403": "PERMISSION_DENIED",
    "404": "UNIMPLEMENTED",
    "429": "UNAVAILABLE",
    "502": "UNAVAILABLE",
    "503": "UNAVAILABLE",
    "504": "UNAVAILABLE",
}
# PROTOCOL-HTTP2.md, "Errors"; every other code is INTERNAL.
_OF_RESET: dict[int, str] = {
    Code.REFUSED_STREAM: "UNAVAILABLE",
    Code.CANCEL: "CANCELLED",
    Code.ENHANCE_YOUR_CALM: "RESOURCE_EXHAUSTED",
    Code.INADEQUATE_SECURITY: "PERMISSION_DENIED",
}


class Status(NamedTuple):
    """How a call ended: `code` by its name, and why."""

    code: str
    details: str = ""


def request(
    path: str, *, scheme: str, authority: str, timeout: float | None, metadata: Iterable[tuple[str, str]]
) -> list[tuple[str, str]]:
    """Return the header fields of a call.

    Args:
        path: such as /etcdserverpb.KV/Range. timeout: seconds after which the server need not answer any more.
    """
    fields = [(":method", "POST"), (":scheme", scheme), (":path", path), (":authority", authority)]
    if timeout is not None:
        fields.append(("grpc-timeout", f"{min(99_999_999, max(1, int(timeout * 1e3)))}m"))  # 8 digits at most
    return [*fields, ("te", "trailers"), ("content-type", "application/grpc"), *metadata]


def enclosed(message: bytes) -> bytes:
    """Return a message as data."""
    return b"\0" + len(message).to_bytes(4, "big") + message


class Call:
    """The answer to one call, as far as it has come.

    `messages` are those that nobody has taken yet; `status` is None until the end.
    """

    def __init__(self) -> None:
        self.messages: collections.deque[bytes] = collections.deque()
        self.status: Status | None = None
        self.unprocessed = False  # for sure
        self.waiting = 0  # octets that `messages` came in
        self._begun = False
        self._buffer = bytearray()

    def take(self) -> bytes:
        """Return the first of `messages`, of which there is one."""
        message = self.messages.popleft()
        self.waiting -= PREFIX + len(message)
        return message

    def receive(self, event: Event) -> None:
        """Take what came on the stream; after the end, nothing changes any more."""
        if self.status is not None:
            return
        match event:
            case Data(_, octets, ended):
                self._data(octets)
                if ended:
                    self._fail("INTERNAL", "the answer has no status")
            case Fields(_, fields, ended):
                self._fields(dict(fields), ended)
            case Reset(_, code, reason, unprocessed):
                self.unprocessed = unprocessed
                kind = "UNAVAILABLE" if unprocessed else _OF_RESET.get(code, "INTERNAL")
                self._fail(kind, f"the stream was reset: {name(code)} {reason}".rstrip())

    def end(self, status: Status) -> None:
        """End the call, unless it has ended; messages that have come are still there."""
        if self.status is None:
            self.status = status
            self._buffer.clear()

    def _fail(self, code: str, details: str) -> None:
        self.end(Status(code, details))

    def _data(self, octets: bytes) -> None:
        if not self._begun:
            self._fail("INTERNAL", "data without header fields")
            return
        buffer = self._buffer
        buffer += octets
        while len(buffer) >= PREFIX:
            length = int.from_bytes(buffer[1:PREFIX], "big")
            if buffer[0]:  # we offer no compression
                self._fail("INTERNAL", f"a message that is compressed ({buffer[0]})")
                return
            if length > LONGEST:
                self._fail("RESOURCE_EXHAUSTED", f"a message of {length} octets, expected at most {LONGEST}")
                return
            if len(buffer) < PREFIX + length:
                return
            self.messages.append(bytes(memoryview(buffer)[PREFIX : PREFIX + length]))
            self.waiting += PREFIX + length
            del buffer[: PREFIX + length]

    def _fields(self, fields: dict[str, str], ended: bool) -> None:
        if not self._begun and not self._good(fields):
            return
        if ended:
            self._trailers(fields)
        elif ":status" not in fields:  # RFC 9113 s8.1
            self._fail("INTERNAL", "trailers that do not end the answer")

    def _good(self, fields: dict[str, str]) -> bool:
        """Look at the first header fields; end the call if nobody speaks gRPC there."""
        status, kind = fields.get(":status", ""), fields.get("content-type", "")
        if len(status) == 3 and status[0] == "1":  # RFC 9110 s15.2: there is more to come
            return False
        if "grpc-status" not in fields and (status != "200" or not kind.startswith("application/grpc")):
            self._fail(
                _OF_HTTP.get(status, "UNKNOWN"), f"no gRPC is spoken there: HTTP status {status}, {kind!r}"
            )
            return False
        self._begun = True
        return True

    def _trailers(self, fields: dict[str, str]) -> None:
        number = fields.get("grpc-status", "")
        known = len(number) < 3 and number.isascii() and number.isdecimal() and int(number) < len(NAMES)
        code = NAMES[int(number)] if known else "UNKNOWN"
        if code == "OK" and self._buffer:
            self._fail("INTERNAL", "the answer ends in the middle of a message")
        self.end(
            Status(
                code, unquote(fields.get("grpc-message", "")) or ("" if known else f"grpc-status {number!r}")
            )
        )
