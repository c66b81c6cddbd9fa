"""Speakers, stores and raw peers on the loopback interface, each test with addresses of its own.

No two tests share an address, so none meets what another has left in TIME_WAIT, and all can use one port.
"""

from __future__ import annotations

import itertools
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from ipaddress import ip_address, ip_network
from typing import Any

import attrs

from containernet.model import Address
from containernet.options import build
from containernet_backends.bgp import nlri
from containernet_backends.bgp.attributes import IGP, Attributes
from containernet_backends.bgp.connection import State
from containernet_backends.bgp.families import IPV4, Family
from containernet_backends.bgp.options import BgpOptions, Neighbour
from containernet_backends.bgp.peering import Peer
from containernet_backends.bgp.remote import Remote
from containernet_backends.bgp.sockets import sign
from containernet_backends.bgp.speaker import Speaker
from tests.waiting import wait_until

from .raw import Raw

ASN = 64512
PORT = 1790
QUICK = 0.1  # seconds, where the field takes some

_places = itertools.count(1)

Place = Callable[[int], str]


def place() -> Place:
    """Return the addresses of a new network: from the number of a host."""
    high, low = divmod(next(_places), 256)
    return lambda host: f"127.{100 + high}.{low}.{host}"


@attrs.frozen(kw_only=True)
class Quick(BgpOptions):
    """Options of a speaker that does not rest for long."""

    def peering(self, neighbour: Neighbour, address: Address) -> Peer:
        """Return what a session is to be."""
        return attrs.evolve(super().peering(neighbour, address), connect_retry=QUICK, idle_hold=QUICK)


def options(own: str, *peers: Mapping[str, object], **more: object) -> BgpOptions:
    """Return what a speaker at that address is to be; peers are of its AS, and at `PORT`."""
    tables = [{"port": PORT, "local_address": own, **peer} for peer in peers]
    usual: dict[str, object] = {
        "asn": ASN,
        "router_id": own,
        "listen": [f"{own}:{PORT}"],
        "restart_time": 0,
        "start_wait": 0.5,
    }
    return build(Quick, {**usual, "peer": tables, **more}, table="store.bgp")


@contextmanager
def speaking(own: str, *peers: Mapping[str, object], **more: object) -> Iterator[Speaker]:
    """Run a speaker at that address."""
    speaker = Speaker(options(own, *peers, **more))
    try:
        speaker.start()
        yield speaker
    finally:
        speaker.close()


def call(
    own: str, other: str, *, password: str = "", ttl: int = 0, buffer: int = 0, patience: float = 10.0
) -> socket.socket:
    """Return a connection from one address to `PORT` at another; the caller closes it."""
    made = socket.socket()
    try:
        made.settimeout(patience)
        if password:
            sign(made, ip_network(other), password)
        if ttl:
            made.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
        if buffer:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        made.bind((own, 0))
        made.connect((other, PORT))
    except BaseException:
        made.close()
        raise
    return made


@contextmanager
def peer(own: str, other: str, *, hold_time: int = 0, **how: Any) -> Iterator[Raw]:
    """Bring up a session with a speaker that lets this address call; the session never tires."""
    with Raw(call(own, other, **how)) as raw:
        raw.establish(ASN, own, hold_time=hold_time)
        yield raw


def reset(sock: socket.socket) -> None:
    """Close a connection as a host does that has crashed and is back: by a TCP reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def remote(speaker: Speaker, address: str) -> Remote | None:
    """Return a peer of a speaker; None: it has none there now."""
    return speaker.remotes.get(ip_address(address))


def is_up(speaker: Speaker, address: str) -> bool:
    """Return whether the session with that peer is up."""
    with speaker.lock:
        found = remote(speaker, address)
        return found is not None and found.established


def wait_up(speaker: Speaker, *addresses: str) -> None:
    """Wait until the sessions with these peers are up."""
    for address in addresses:
        wait_until(partial(is_up, speaker, address), what=f"{speaker.local.router_id} is up with {address}")


def wait_welcome(speaker: Speaker, address: str) -> None:
    """Wait until that peer may call: its last session has ended, and no rest follows any more."""

    def welcome() -> bool:
        with speaker.lock:
            found = remote(speaker, address)
            return found is None or found.session.state is State.ACTIVE

    wait_until(welcome, what=f"{speaker.local.router_id} waits for {address}")


def wait_down(speaker: Speaker, address: str) -> None:
    """Wait until the session with that peer is not up."""
    wait_until(lambda: not is_up(speaker, address), what=f"{speaker.local.router_id} is down with {address}")


def holds(speaker: Speaker, prefix: str, family: Family = IPV4) -> bool:
    """Return whether the table has a path to a prefix that may be chosen."""
    with speaker.lock:
        return speaker.table.best(family, nlri.encode(ip_network(prefix))) is not None


def originate(speaker: Speaker, *prefixes: str, next_hop: str = "192.0.2.1") -> None:
    """Announce routes of the speaker's own."""
    with speaker.lock:
        for prefix in prefixes:
            attributes = Attributes(origin=IGP, next_hop=ip_address(next_hop), local_pref=100)
            speaker.originate(IPV4, nlri.encode(ip_network(prefix)), attributes)


def retract(speaker: Speaker, prefix: str) -> None:
    """Take a route of the speaker's own back."""
    with speaker.lock:
        speaker.originate(IPV4, nlri.encode(ip_network(prefix)), None)


def many(count: int, *, first: int = 0x0A000000) -> list[bytes]:
    """Return host prefixes in wire form, one after the other from 10.0.0.0 on."""
    return [b"\x20" + number.to_bytes(4, "big") for number in range(first, first + count)]


class Wire:
    """Stands between a speaker and the one that it dials: `near`:`PORT` is `target`, which sees `far` call.

    It can be cut: then connections are broken and dials refused, until it is mended.
    """

    def __init__(self, near: str, far: str, target: str) -> None:
        self._near, self._far, self._target = near, far, target
        self._ends: dict[socket.socket, socket.socket] = {}
        self._order, self._ordered = socket.socketpair()
        self._listener: socket.socket | None = None
        self._done = threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, name="wire")
        self._thread.start()
        self.mend()

    def cut(self) -> None:
        """Let nobody pass."""
        self._do(b"c")

    def mend(self) -> None:
        """Let everybody pass."""
        self._do(b"m")

    def close(self) -> None:
        """Cut it for ever."""
        self._do(b"e")
        self._thread.join()
        self._order.close()

    def _do(self, order: bytes) -> None:
        self._order.send(order)
        self._done.acquire()

    def _run(self) -> None:
        order = b""
        while order != b"e":
            listening = [self._listener] if self._listener else []
            for each in select.select([self._ordered, *listening, *self._ends], [], [])[0]:
                if each is self._ordered:
                    order = self._ordered.recv(1)
                    self._obey(order)
                elif each is self._listener:
                    self._join(each.accept()[0])
                elif each in self._ends:
                    self._pass_on(each)
        self._ordered.close()

    def _obey(self, order: bytes) -> None:
        if order == b"m" and self._listener is None:
            self._listener = socket.create_server((self._near, PORT))
        elif order != b"m":
            if self._listener is not None:
                self._listener.close()
                self._listener = None
            for each in list(self._ends):
                reset(each)
            self._ends.clear()
        self._done.release()

    def _join(self, one: socket.socket) -> None:
        try:
            other = socket.create_connection((self._target, PORT), source_address=(self._far, 0))
        except OSError:
            one.close()
        else:
            self._ends |= {one: other, other: one}

    def _pass_on(self, one: socket.socket) -> None:
        other = self._ends[one]
        try:
            octets = one.recv(1 << 16)
            other.sendall(octets)
        except OSError:
            octets = b""
        if not octets:
            for each in (one, other):
                each.close()
                del self._ends[each]
