"""Peers for `bgp`: plain sockets, and octets that were made before; nobody's own speaker."""

from __future__ import annotations

import random
import selectors
import socket
import struct
import time
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address
from typing import Self

ASN, PORT = 65000, 179
DAEMON = IPv4Address("172.16.255.254")
SENDER, SENDER_ASN = IPv4Address("172.16.0.1"), 65001
SINK, SINK_ASN = IPv4Address("172.16.0.2"), 65002
CLIENTS = "172.16.64.0/18"
FIRST_CLIENT = IPv4Address("172.16.64.1")
OURS = "172.16.0.0/17"  # every address of it is a peer's
BASE = int(IPv4Address("16.0.0.0"))  # from here on there is room for 20,000,000 /24
PATHS = 1000
HOLD = 3600  # seconds; nobody here sends a second keepalive
PATIENCE = 300.0  # seconds
AT_ONCE = 8  # clients that dial; BIRD lets no more wait, and a SYN that it drops costs seconds
# How many of 1,000 prefixes have which length, as in the tables of 2024; the rest is /24.
LENGTHS = {23: 97, 22: 110, 21: 52, 20: 47, 19: 26, 18: 14, 17: 8, 16: 13, 15: 2, 14: 1, 13: 1}

OPEN, UPDATE, NOTIFICATION, KEEPALIVE = 1, 2, 3, 4
MARKER = b"\xff" * 16


def message(type: int, body: bytes = b"") -> bytes:
    return MARKER + struct.pack(">HB", 19 + len(body), type) + body


def opening(asn: int, router_id: IPv4Address) -> bytes:
    """Return an OPEN for IPv4 and AS numbers of four octets."""
    capabilities = struct.pack(">BBHBB BB BBI", 1, 4, 1, 0, 1, 2, 0, 65, 4, asn)
    parameters = bytes([2, len(capabilities)]) + capabilities
    head = struct.pack(">BHH4sB", 4, asn, HOLD, router_id.packed, len(parameters))
    return message(OPEN, head + parameters)


def attributes(next_hop: IPv4Address, as_path: Sequence[int], *, internal: bool = False) -> bytes:
    segment = struct.pack(f">BB{len(as_path)}I", 2, len(as_path), *as_path) if as_path else b""
    return b"".join(
        [
            bytes([0x40, 1, 1, 0]),
            bytes([0x40, 2, len(segment)]) + segment,
            bytes([0x40, 3, 4]) + next_hop.packed,
            bytes([0x40, 5, 4, 0, 0, 0, 100]) if internal else b"",
        ]
    )


def updates(prefixes: Iterable[bytes], room: int) -> bytes:
    """Return UPDATEs of at most so many octets of prefixes each, and the End-of-RIB marker behind them."""
    told = [attributes(SENDER, (SENDER_ASN, 64600, 100_000 + nth)) for nth in range(PATHS)]
    room = room or 4096 - 23 - len(told[0])
    fields, field, size = [], list[bytes](), 0
    for prefix in prefixes:
        if field and size + len(prefix) > room:
            fields.append(b"".join(field))
            field, size = [], 0
        field.append(prefix)
        size += len(prefix)
    fields.append(b"".join(field))
    bodies = (struct.pack(">HH", 0, len(told[nth % PATHS])) + told[nth % PATHS] for nth in range(len(fields)))
    made = (message(UPDATE, head + field) for head, field in zip(bodies, fields, strict=True))
    return b"".join([*made, message(UPDATE, bytes(4))])


def alike(count: int) -> list[bytes]:
    """Return /24 prefixes, one after the other, as they are in an UPDATE."""
    return [b"\x18" + (BASE + (nth << 8)).to_bytes(4, "big")[:3] for nth in range(count)]


def mixed(count: int) -> list[bytes]:
    """Return prefixes as long as those of the Internet's table; none lies within another."""
    chance = random.Random(4271)
    lengths = chance.choices([*LENGTHS, 24], [*LENGTHS.values(), 1000 - sum(LENGTHS.values())], k=count)
    at, found = BASE, []
    for length in sorted(lengths):
        found.append(bytes([length]) + at.to_bytes(4, "big")[: (length + 7) // 8])
        at += 1 << (32 - length)
    chance.shuffle(found)
    return found


def announced(stream: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield where each UPDATE ends, and the IPv4 prefixes that it announces."""
    at = 0
    while at + 19 <= len(stream):
        end = at + int.from_bytes(stream[at + 16 : at + 18], "big")
        if stream[at + 18] == UPDATE and end <= len(stream):
            gone = int.from_bytes(stream[at + 19 : at + 21], "big")
            field = at + 23 + gone + int.from_bytes(stream[at + 21 + gone : at + 23 + gone], "big")
            yield end, stream[field:end]
        elif stream[at + 18] == NOTIFICATION:
            raise SystemExit(f"NOTIFICATION {stream[at + 19]}/{stream[at + 20]}: {stream[at + 21 : end]!r}")
        at = end


class Peer:
    """A session, up; the caller closes it."""

    def __init__(self, address: IPv4Address, asn: int) -> None:
        self.sock, self._rest = _dialled(address), b""
        self.sock.sendall(opening(asn, address))
        self._wait_for(OPEN)
        self.established = time.monotonic()
        self.sock.sendall(message(KEEPALIVE))
        self._wait_for(KEEPALIVE)

    def _wait_for(self, type: int) -> None:
        while len(self._rest) < 19 or len(self._rest) < int.from_bytes(self._rest[16:18], "big"):
            got = self.sock.recv(1 << 16)
            if not got:
                raise SystemExit(f"the daemon hung up before message type {type}")
            self._rest += got
        length, found = struct.unpack_from(">HB", self._rest, 16)
        if found == NOTIFICATION:
            raise SystemExit(f"NOTIFICATION {self._rest[19]}/{self._rest[20]}")
        self._rest = self._rest[length:]
        if found != type:
            self._wait_for(type)

    def take(self, wanted: int) -> float:
        """Return the time at which so many prefixes had been told."""
        size, told, chunks, ends = len(self._rest), 0, [self._rest], [(len(self._rest), self.established)]
        self.sock.settimeout(PATIENCE)
        at = 0  # up to here it was counted; counting comes after, and does not slow down the daemon
        while told < wanted:
            pause = time.monotonic() + 0.2
            while time.monotonic() < pause:
                got = _received(self.sock, 0.05)
                if got:
                    chunks.append(got)
                    size += len(got)
                    ends.append((size, time.monotonic()))
            stream = b"".join(chunks)
            told, at = 0, 0
            for end, field in announced(stream):
                told += sum(1 for _ in _cut(field))
                if told >= wanted:
                    at = end
                    break
        return next(when for end, when in ends if end >= at)

    def close(self) -> None:
        self.sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _received(sock: socket.socket, patience: float) -> bytes:
    sock.settimeout(patience)
    try:
        got = sock.recv(1 << 20)
    except TimeoutError:
        return b""
    if not got:
        raise SystemExit("the daemon hung up")
    return got


def _dialled(address: IPv4Address) -> socket.socket:
    deadline = time.monotonic() + 30
    while True:
        sock = socket.socket()
        try:
            sock.bind((str(address), 0))
            sock.connect((str(DAEMON), PORT))
        except OSError:
            sock.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return sock


class Client:
    """A client of the reflector, which announces a /24.

    What it is told is only counted as messages at first, and looked at when that may be all: a client is to
    cost less than what it measures.
    """

    def __init__(self, number: int) -> None:
        address = FIRST_CLIENT + number
        told = attributes(address, (), internal=True)
        route = message(UPDATE, struct.pack(">HH", 0, len(told)) + told + alike(number + 1)[-1])
        self._says = [opening(ASN, address), message(KEEPALIVE), route + message(UPDATE, bytes(4))]
        self._stream: list[bytes] = []
        self._messages = 0
        self.sock = socket.socket()
        self.sock.bind((str(address), 0))

    @property
    def greeted(self) -> bool:
        return len(self._says) < 2

    def dial(self, selector: selectors.BaseSelector) -> None:
        self.sock.setblocking(False)
        self.sock.connect_ex((str(DAEMON), PORT))
        selector.register(self.sock, selectors.EVENT_WRITE, self)

    def ready(self, selector: selectors.BaseSelector, mask: int) -> None:
        if mask & selectors.EVENT_WRITE:
            self.sock.send(self._says.pop(0))
            selector.modify(self.sock, selectors.EVENT_READ, self)
            return
        got = self.sock.recv(1 << 18)
        if not got:
            raise SystemExit("the reflector hung up")
        self._stream.append(got)
        self._messages += got.count(MARKER)
        # Its OPEN is answered by a KEEPALIVE, and its KEEPALIVE by the route.
        while self._says and self._messages > 2 - len(self._says):
            self.sock.send(self._says.pop(0))

    def knows(self, count: int, *, surely: bool = False) -> bool:
        """Return whether it was told so many prefixes; without `surely`, no may mean perhaps."""
        if not surely and self._messages + len(self._stream) < count:
            return False
        self._stream = [b"".join(self._stream)]
        return len({each for _, field in announced(self._stream[0]) for each in _cut(field)}) >= count


def _cut(field: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(field):
        end = at + 1 + (field[at] + 7) // 8
        yield field[at:end]
        at = end
