"""Echo requests from many network namespaces at once, without a thread or a program.

A socket stays for its life in the namespace in which it was made. So one process makes a raw socket in each
namespace, and one poll loop serves them all: every pair of a lab is asked at the same moment, and the whole
round takes as long as its slowest answer.

A request may not be fragmented and says how long its IP packet is, because that is what an MTU is about. The
path MTU that the kernel has learnt before is left out of account (IP_PMTUDISC_PROBE, ip(7)): each request
finds out anew. What went wrong comes from the socket's error queue (IP_RECVERR): who said so, and which MTU
would have fitted.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import select
import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Self

import attrs

from .. import packet
from ..model import Address
from . import namespaces

SIZE = 100  # octets of an ordinary request's IP packet
TIMEOUT = 1.0  # seconds

# <linux/in.h>, <linux/in6.h>, <linux/errqueue.h>: what the socket module has no names for
_IP_MTU_DISCOVER, _IP_RECVERR = 10, 11
_IPV6_MTU_DISCOVER, _IPV6_RECVERR, _IPV6_DONTFRAG = 23, 25, 62
_PMTUDISC_PROBE = 3
_ORIGIN_LOCAL = 1
_EXTENDED_ERROR = struct.Struct("=IBBBBII")
_IP_HEADER = {4: 20, 6: 40}
_ICMP_HEADER = 8


@attrs.frozen(kw_only=True)
class Reply:
    """The echo came back.

    Args:
        rtt: round-trip time, seconds.
    """

    rtt: float

    def __str__(self) -> str:
        return f"{self.rtt * 1000:.2f} ms"


@attrs.frozen(kw_only=True)
class TooBig:
    """The packet does not fit, and somebody said so.

    Args:
        mtu: what would have fitted, octets.
        reporter: the router that said so; None: the sender's own kernel.
    """

    mtu: int
    reporter: Address | None = None

    def __str__(self) -> str:
        return f"too big, mtu {self.mtu} (says {self.reporter or 'its own kernel'})"


@attrs.frozen(kw_only=True)
class Unreachable:
    """The packet cannot get there, and somebody said so.

    Args:
        reason: in the kernel's words.
        reporter: the router that said so; None: the sender's own kernel.
    """

    reason: str
    reporter: Address | None = None

    def __str__(self) -> str:
        return f"{self.reason.lower()} (says {self.reporter or 'its own kernel'})"


@attrs.frozen(kw_only=True)
class Silence:
    """Nothing came back in time."""

    def __str__(self) -> str:
        return "no answer"


Answer = Reply | TooBig | Unreachable | Silence


@attrs.frozen(kw_only=True)
class Probe:
    """One request to send.

    Args:
        netns: path of the namespace that it starts in.
        target: where it goes.
        size: of the IP packet with its headers, octets.
    """

    netns: Path
    target: Address
    size: int = SIZE


def ping(probes: Iterable[Probe], *, timeout: float = TIMEOUT) -> list[Answer]:
    """Send all requests at once; return their answers, in their order.

    Blocks until the last one is answered, for `timeout` seconds at most.

    Raises:
        KernelError, PermissionRefused: a namespace is not there, or is not ours to enter.
    """
    with Pinger() as pinger:
        tickets = []
        for probe in probes:
            tickets.append(pinger.send(probe))
            pinger.receive(0)  # an answer that waits for the next request to be sent looks late
        deadline = time.perf_counter() + timeout
        while pinger.waiting and (left := deadline - time.perf_counter()) > 0:
            pinger.receive(left)
        return [pinger.answers.get(ticket, Silence()) for ticket in tickets]


class Pinger:
    """Raw sockets in several namespaces and the requests that are under way. Not for two threads at once.

    `answers` maps a request's ticket, as `send` returns it, to its answer; the caller may take answers out.
    """

    def __init__(self) -> None:
        self.answers: dict[int, Answer] = {}
        self._sent: dict[int, tuple[Probe, float]] = {}
        self._sockets: dict[tuple[Path, int], socket.socket] = {}
        self._by_fd: dict[int, tuple[socket.socket, int]] = {}
        self._poll = select.poll()
        self._identifier = secrets.randbits(16)
        self._tickets = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for own in self._sockets.values():
            own.close()

    @property
    def waiting(self) -> int:
        """How many requests have no answer yet."""
        return len(self._sent)

    def send(self, probe: Probe) -> int:
        """Send one request; return its ticket, 0 to 65535, used again after as many."""
        version = probe.target.version
        ticket = self._tickets
        self._tickets = (ticket + 1) & 0xFFFF
        self.answers.pop(ticket, None)
        own = self._socket(probe.netns, version)
        header = packet.echo_request(version=version, identifier=self._identifier, sequence=ticket)
        filling = bytes(max(0, probe.size - _IP_HEADER[version] - _ICMP_HEADER))
        octets = packet.encode((header, packet.Payload(data=filling)))  # ICMPv6's checksum is the kernel's
        self._sent[ticket] = (probe, time.perf_counter())
        try:
            self._transmit(own, octets, probe.target)
        except OSError as error:
            mtu = self._take_errors(own, version)
            if error.errno == errno.EMSGSIZE and mtu is not None:
                self._settle(ticket, TooBig(mtu=mtu))
            else:
                self._settle(ticket, Unreachable(reason=os.strerror(error.errno or 0)))
        return ticket

    def _transmit(self, own: socket.socket, octets: bytes, target: Address) -> None:
        """Send; once more after an error, which may have been an earlier packet's (ip(7), IP_RECVERR)."""
        try:
            own.sendto(octets, (str(target), 0))
        except OSError:
            self._take_errors(own, target.version)
            own.sendto(octets, (str(target), 0))  # raises the same again where it was this packet's own

    def receive(self, timeout: float) -> None:
        """Wait up to `timeout` seconds for something to arrive, and settle what it answers."""
        for fd, events in self._poll.poll(max(0.0, timeout * 1000)):
            own, version = self._by_fd[fd]
            if events & select.POLLIN:
                self._take_replies(own, version)
            if events & select.POLLERR:
                self._take_errors(own, version)

    def _settle(self, ticket: int, answer: Answer) -> None:
        if self._sent.pop(ticket, None) is not None:
            self.answers[ticket] = answer

    def _take_replies(self, own: socket.socket, version: int) -> None:
        # An OSError is the end of what there is, or an earlier packet's error: the error queue tells it better.
        with contextlib.suppress(OSError):
            while True:
                octets, sender = own.recvfrom(65535)
                now = time.perf_counter()
                echo = _icmp(octets, version)
                if echo is None or echo.type != packet.ECHO_REPLY[version]:
                    continue
                probe, sent = self._sent.get(echo.sequence, (None, 0.0))
                if probe and echo.identifier == self._identifier and ip_address(sender[0]) == probe.target:
                    self._settle(echo.sequence, Reply(rtt=now - sent))

    def _take_errors(self, own: socket.socket, version: int) -> int | None:
        """Settle what the error queue answers; return the MTU that our own kernel told, if it told one."""
        mtu = None
        with contextlib.suppress(BlockingIOError):
            while True:
                quoted, ancillary, _, _ = own.recvmsg(2048, 512, socket.MSG_ERRQUEUE)
                for _, _, octets in ancillary:
                    answer, local = _read_error(octets)
                    if local:
                        mtu = answer.mtu if isinstance(answer, TooBig) else mtu
                    elif len(quoted) >= _ICMP_HEADER:
                        echo, _ = packet.Icmp.unpack(quoted, version=version)
                        # What became of a reply of ours is told to us too, and is no word on the request.
                        request = echo.type == packet.ECHO_REQUEST[version]
                        if request and echo.identifier == self._identifier:
                            self._settle(echo.sequence, answer)
        return mtu

    def _socket(self, netns: Path, version: int) -> socket.socket:
        known = self._sockets.get((netns, version))
        if known is not None:
            return known
        with namespaces.network(netns):
            own = _open(version)
        self._sockets[(netns, version)] = own
        self._by_fd[own.fileno()] = (own, version)
        self._poll.register(own, select.POLLIN)
        return own


def _open(version: int) -> socket.socket:
    """Open a raw ICMP socket that never fragments and tells what went wrong."""
    if version == 4:
        own = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        own.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_PROBE)
        own.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
    else:
        own = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
        own.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_PROBE)
        own.setsockopt(socket.IPPROTO_IPV6, _IPV6_DONTFRAG, 1)
        own.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
    own.setblocking(False)
    return own


def _icmp(octets: bytes, version: int) -> packet.Icmp | None:
    """Return the ICMP header of what a raw socket received: with the IP header for IPv4, without for IPv6."""
    if version == 6:
        return packet.Icmp.unpack(octets, version=6)[0] if len(octets) >= _ICMP_HEADER else None
    return next((layer for layer in packet.decode_ip(octets) if isinstance(layer, packet.Icmp)), None)


def _read_error(octets: bytes) -> tuple[TooBig | Unreachable, bool]:
    """Return what a struct sock_extended_err says, and whether our own kernel says it."""
    code, origin, _, _, _, value, _ = _EXTENDED_ERROR.unpack_from(octets)
    reporter = None if origin == _ORIGIN_LOCAL else _offender(octets[_EXTENDED_ERROR.size :])
    if code == errno.EMSGSIZE:
        return TooBig(mtu=value, reporter=reporter), origin == _ORIGIN_LOCAL
    return Unreachable(reason=os.strerror(code), reporter=reporter), origin == _ORIGIN_LOCAL


def _offender(octets: bytes) -> Address | None:
    """Return the address in a struct sockaddr_in or sockaddr_in6, or None."""
    family = int.from_bytes(octets[:2], "little" if struct.pack("=H", 1)[0] else "big")
    if family == socket.AF_INET and len(octets) >= 8:
        return ip_address(octets[4:8])
    if family == socket.AF_INET6 and len(octets) >= 24:
        return ip_address(octets[8:24])
    return None


@attrs.frozen(kw_only=True)
class Tally:
    """What became of a stream of requests.

    Args:
        sent: how many.
        answered: how many came back.
        pause: the longest time from one reply to the next, or to the end of the stream, seconds.
        errors: the answers that were neither a reply nor silence, each once.
    """

    sent: int
    answered: int
    pause: float
    errors: tuple[str, ...] = ()

    @property
    def lost(self) -> int:
        """How many did not come back."""
        return self.sent - self.answered

    def __str__(self) -> str:
        return f"{self.lost} of {self.sent} lost, longest pause {self.pause * 1000:.0f} ms"


def stream(
    probe: Probe,
    *,
    stop: int,
    first: Callable[[], object] = lambda: None,
    rate: float = 100.0,
    timeout: float = TIMEOUT,
) -> Tally:
    """Send a request `rate` times a second until the file descriptor `stop` becomes readable or closed.

    Args:
        first: called when the first reply has come.
        timeout: how long to wait for the last answers, seconds.
    """
    stopped = select.poll()
    stopped.register(stop, select.POLLIN)
    errors: dict[str, None] = {}
    sent = answered = 0
    pause, latest = 0.0, None
    with Pinger() as pinger:
        start = time.perf_counter()
        end = None
        while end is None or (pinger.waiting and time.perf_counter() < end):
            if end is None and stopped.poll(0):
                now = time.perf_counter()
                end = now + timeout
                if latest is not None:
                    pause = max(pause, now - latest)  # who stops before the next reply has waited as well
            now = time.perf_counter()
            if end is None and now >= start + sent / rate:
                pinger.send(probe)
                sent += 1
            pinger.receive(0.01 if end else max(0.0, start + sent / rate - time.perf_counter()))
            for answer in _drain(pinger):
                if isinstance(answer, Reply):
                    now = time.perf_counter()
                    if latest is None:
                        first()
                    else:
                        pause = max(pause, now - latest)
                    latest, answered = now, answered + 1
                else:
                    errors[str(answer)] = None
    return Tally(sent=sent, answered=answered, pause=pause, errors=tuple(errors))


def _drain(pinger: Pinger) -> Iterator[Answer]:
    while pinger.answers:
        yield pinger.answers.popitem()[1]


def all_pairs(
    places: Sequence[tuple[Path, Sequence[Address]]], *, size: int = SIZE
) -> list[tuple[int, int, Probe]]:
    """Return a request from every place to every address of every other: (from, to, request), by index."""
    return [
        (one, other, Probe(netns=netns, target=target, size=size))
        for one, (netns, own) in enumerate(places)
        for other, (_, targets) in enumerate(places)
        if one != other
        for target in targets
        if any(address.version == target.version for address in own)
    ]
