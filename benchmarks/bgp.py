"""How fast a BGP table fills, is told to a peer and is reflected, and what it weighs: ours beside the daemons.

    scripts/in-namespaces python benchmarks/bgp.py [--rounds 5] [--programs ours bird frr gobgp exabgp]
        [--cases full mixed one send reflect] [--prefixes 500000] [--clients 500] [--json]

Each daemon runs alone, in a network namespace of its own, started anew for each measurement, in turns. Peers
are neutral: plain sockets here, over a veth, with octets that were made before. Sessions are external, but
those of the reflector; everything is accepted and told on, nothing goes into a kernel.

    full       from the first octet sent until the table holds all, best paths chosen; all /24, UPDATEs full
    mixed      the same with the lengths of the Internet's table (three of five are /24), in no order
    one        a fifth of the prefixes, /24, one in each UPDATE
    send       from a peer's KEEPALIVE until it has been told 99 of 100 prefixes of `mixed`
    reflect    clients of a route reflector, a /24 each: from the first dial until each was told of all others

CPU is the daemon's, user and system. Octets are what a prefix adds to its resident memory, taken when the
table holds all; of `reflect`, what all clients add.

The attributes of UPDATEs are 1,000 AS paths in turn. A daemon is asked how much it holds every 3 ms, by a
counter that costs it little to tell: BIRD's preferred routes, bgpd's table version, which counts chosen paths,
GoBGP's accepted routes (asked by its client every 30 ms, which takes as long to start), and ours. ExaBGP keeps
no table: it is done when it has told a process of the last prefix.

Needs root, or a user namespace, and a network namespace without anything in it: scripts/in-namespaces is both.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import random
import re
import resource
import selectors
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from ipaddress import IPv4Address
from itertools import islice
from pathlib import Path
from pwd import getpwuid
from threading import Thread
from typing import Any, ClassVar, Self

from containernet_backends.netlink.constants import CLONE_NEWNET

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

Row = dict[str, float]


# What is said on the wire


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


# Whom it is said to


class Program(ABC):
    """A daemon with the sender, the sink and the clients as its peers; running from its birth until `close`."""

    name: ClassVar[str]
    command: ClassVar[str]
    asking: ClassVar[float] = 0.003  # seconds between two questions
    without: ClassVar[frozenset[str]] = frozenset()  # cases that it has no way to play

    def __init__(self, directory: Path, network: str) -> None:
        self.directory = directory
        self._log = (directory / "log").open("wb")
        # Compiled Python, as an installed program is.
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        self.process = subprocess.Popen(
            ["nsenter", f"--net={network}", *self.words()],
            cwd=directory,
            env=environment | self.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if self.command == sys.executable else self._log,
            stderr=self._log,
        )

    @classmethod
    def missing(cls) -> bool:
        return not shutil.which(cls.command)

    @abstractmethod
    def words(self) -> list[str]:
        """Write the configuration, and return the command."""

    def environment(self) -> dict[str, str]:
        return {}

    @abstractmethod
    def held(self) -> int:
        """Return how many prefixes have a best path."""

    def wait(self, count: int) -> float:
        """Return the time at which it was found to hold so many prefixes."""
        deadline = time.monotonic() + PATIENCE
        while (held := self.held()) < count:
            if time.monotonic() > deadline:
                raise SystemExit(f"{self.name} holds {held} of {count} prefixes: {self.log()}")
            time.sleep(self.asking)
        return time.monotonic()

    def ready(self) -> None:
        """Wait until it answers."""
        deadline = time.monotonic() + 30
        while True:
            try:
                self.held()
            except OSError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise SystemExit(f"{self.name} does not start: {self.log()}") from None
                time.sleep(0.05)
            else:
                return

    def log(self) -> str:
        return (self.directory / "log").read_text(errors="replace")[-1000:]

    def memory(self) -> int:
        """Return the octets that it holds of this machine's memory."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * resource.getpagesize()

    def busy(self) -> float:
        """Return the seconds that processors have worked for it."""
        told = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(told[11]) + int(told[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        self._log.close()


class Ours(Program):
    """A process with a Speaker, which says how much it holds when a line comes."""

    name, command = "ours", sys.executable

    def words(self) -> list[str]:
        external = {"import_policy": "all", "export_policy": "all", "passive": True}
        options = {
            "asn": ASN,
            "router_id": str(DAEMON),
            "hold_time": HOLD,
            "peer": [
                {"address": str(SENDER), "asn": SENDER_ASN, **external},
                {"address": str(SINK), "asn": SINK_ASN, **external},
                {"range": CLIENTS, "client": True},
            ],
            "policy": [{"name": "all", "default": "accept"}],
        }
        return [sys.executable, str(Path(__file__).resolve()), "--speak", json.dumps(options)]

    def held(self) -> int:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()
        if not (told := self.process.stdout.readline()):
            raise SystemExit(f"ours ended: {self.log()}")
        return int(told)


def speak(options: Mapping[str, Any]) -> None:
    """Be the process of `Ours`."""
    from containernet_backends.bgp.families import IPV4
    from containernet_backends.bgp.options import BgpOptions
    from containernet_backends.bgp.speaker import Speaker

    speaker = Speaker(BgpOptions(**options))
    speaker.start()
    while os.read(0, 1):
        os.write(1, b"%d\n" % len(speaker.table.routes[IPV4]))


class Bird(Program):
    """BIRD 2, asked over its control socket."""

    name, command = "bird", "bird"

    def words(self) -> list[str]:
        def peer(name: str, remote: str, *more: str) -> str:
            words = [f"local {DAEMON} as {ASN}", f"neighbor {remote}", f"hold time {HOLD}", "passive on", *more]
            return f"protocol bgp {name} {{ {'; '.join(words)}; ipv4 {{ import all; export all; }}; }}"

        lines = [
            "log stderr { fatal, bug };",
            f"router id {DAEMON};",
            "protocol device {}",
            "protocol direct { ipv4; }",
            peer("sender", f"{SENDER} as {SENDER_ASN}"),
            peer("sink", f"{SINK} as {SINK_ASN}"),
            peer("clients", f"range {CLIENTS} as {ASN}", "rr client", 'dynamic name "client"'),
        ]
        (self.directory / "bird.conf").write_text("\n".join(lines))
        return ["bird", "-f", "-c", "bird.conf", "-s", "ctl", "-P", "pid"]

    def held(self) -> int:
        with socket.socket(socket.AF_UNIX) as control:
            control.connect(str(self.directory / "ctl"))
            control.sendall(b"show protocols all sender\n")
            text = b""
            while not re.search(rb"^0000", text, re.MULTILINE):
                text += control.recv(1 << 16)
        found = re.search(rb"(\d+) preferred", text)
        return int(found[1]) if found else 0


class Frr(Program):
    """bgpd of FRR without zebra, asked as vtysh does."""

    name, command = "frr", "/usr/lib/frr/bgpd"

    def words(self) -> list[str]:
        lines = [
            f"router bgp {ASN}",
            f" bgp router-id {DAEMON}",
            " no bgp ebgp-requires-policy",
            " coalesce-time 0",
            " bgp listen limit 5000",
            " neighbor CLIENTS peer-group",
            f" neighbor CLIENTS remote-as {ASN}",
            f" neighbor CLIENTS timers {HOLD // 3} {HOLD}",
            f" bgp listen range {CLIENTS} peer-group CLIENTS",
        ]
        for address, asn in ((SENDER, SENDER_ASN), (SINK, SINK_ASN)):
            lines += [f" neighbor {address} remote-as {asn}", f" neighbor {address} passive"]
            # Without the second, it would tell everything back to whom it is from.
            lines += [f" neighbor {address} advertisement-interval 0"]
            lines += [f" neighbor {address} timers {HOLD // 3} {HOLD}"]
            lines += [f" neighbor {address} sender-as-path-loop-detection"]
        lines += [" address-family ipv4 unicast", "  neighbor CLIENTS route-reflector-client", ""]
        (self.directory / "frr.conf").write_text("\n".join(lines))
        here = self.directory
        where = ["-f", f"{here}/frr.conf", "-i", f"{here}/pid", "--vty_socket", str(here), "-P", "0"]
        return [
            self.command,
            "-S",
            "-n",
            "-Z",
            "-p",
            str(PORT),
            "--log",
            "stdout",
            "--log-level",
            "err",
            *where,
        ]

    def held(self) -> int:
        with socket.socket(socket.AF_UNIX) as vty:
            vty.connect(str(self.directory / "bgpd.vty"))
            for line in ("enable", "show bgp ipv4 unicast summary json"):
                vty.sendall(line.encode() + b"\0")
                answer = b""
                while answer[-4:-1] != b"\0\0\0":
                    answer += vty.recv(1 << 16)
        told: dict[str, int] = json.loads(answer[:-4])
        return told.get("tableVersion", 0)


class Gobgp(Program):
    """gobgpd, asked by its client."""

    name, command = "gobgp", "gobgpd"
    asking = 0.03

    def words(self) -> list[str]:
        timers = {"timers": {"config": {"hold-time": HOLD, "keepalive-interval": HOLD / 3}}}
        common = {**timers, "transport": {"config": {"passive-mode": True}}}
        reflector = {"route-reflector-client": True, "route-reflector-cluster-id": str(DAEMON)}
        document = {
            "global": {"config": {"as": ASN, "router-id": str(DAEMON), "port": PORT}},
            "neighbors": [
                {**common, "config": {"neighbor-address": str(address), "peer-as": asn}}
                for address, asn in ((SENDER, SENDER_ASN), (SINK, SINK_ASN))
            ],
            "peer-groups": [
                {
                    **common,
                    "config": {"peer-group-name": "clients", "peer-as": ASN},
                    "route-reflector": {"config": reflector},
                }
            ],
            "dynamic-neighbors": [{"config": {"prefix": CLIENTS, "peer-group": "clients"}}],
        }
        (self.directory / "gobgpd.json").write_text(json.dumps(document))
        quiet = ["--pprof-disable", "--log-level=error", f"--api-hosts={self._target}"]
        return ["gobgpd", "-f", "gobgpd.json", "-t", "json", *quiet]

    @property
    def _target(self) -> str:
        return f"unix://{self.directory}/api"

    def held(self) -> int:
        # Asked for one neighbour alone, it looks through its whole table.
        asked = ["gobgp", "--target", self._target, "-j", "neighbor"]
        done = subprocess.run(asked, capture_output=True, check=False)
        if done.returncode:
            raise ConnectionRefusedError
        families = [family for each in json.loads(done.stdout) or () for family in each.get("afi_safis", ())]
        return sum(family.get("state", {}).get("accepted", 0) for family in families)


class Exabgp(Program):
    """ExaBGP, which tells a process that it starts."""

    name, command = "exabgp", sys.executable
    without = frozenset({"full", "mixed", "send", "reflect"})  # it keeps no table; 500,000 take it minutes

    @classmethod
    def missing(cls) -> bool:
        return find_spec("exabgp") is None

    def words(self) -> list[str]:
        # Without an output it would be taken for dead.
        relay = f"#!/bin/sh\nexec cat 3>&1 >>{self.directory}/told\n"
        (self.directory / "relay").write_text(relay)
        lines = [
            f"process relay {{ run /bin/sh {self.directory}/relay; encoder json; }}",
            f"neighbor {SENDER} {{ router-id {DAEMON}; local-address {DAEMON}; local-as {ASN};",
            f"  peer-as {SENDER_ASN}; hold-time {HOLD}; passive true; family {{ ipv4 unicast; }}",
            "  api { processes [ relay ]; receive { parsed; update; } } }",
        ]
        (self.directory / "exabgp.conf").write_text("\n".join(lines))
        self._at, self._told = 0, 0
        return [sys.executable, "-m", "exabgp", "server", str(self.directory / "exabgp.conf")]

    def environment(self) -> dict[str, str]:
        settings = {"tcp_bind": str(DAEMON), "tcp_port": str(PORT), "api_cli": "false", "api_ack": "false"}
        settings |= {"log_level": "ERROR", "daemon_user": getpwuid(os.getuid()).pw_name}
        return {f"exabgp_{name}": value for name, value in settings.items()}

    def held(self) -> int:
        with (self.directory / "told").open("rb") as told:
            told.seek(self._at)
            new = told.read()
        whole = new.rfind(b"\n") + 1
        self._at += whole
        self._told += new[:whole].count(b'"nlri"')
        return self._told


PROGRAMS: Mapping[str, type[Program]] = {each.name: each for each in (Ours, Bird, Frr, Gobgp, Exabgp)}


# What is measured


def learn(program: Program, stream: bytes, count: int) -> tuple[Row, Peer]:
    """Return what it costs to take `stream` in, and the peer that it came from."""
    peer = Peer(SENDER, SENDER_ASN)
    peer.sock.settimeout(PATIENCE)
    drain = Thread(target=_drain, args=(peer.sock,), daemon=True)
    drain.start()
    memory, busy, began = program.memory(), program.busy(), time.monotonic()
    peer.sock.sendall(stream)
    ended = program.wait(count)
    return {
        "seconds": ended - began,
        "cpu": program.busy() - busy,
        "octets": (program.memory() - memory) / count,
    }, peer


def _drain(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while sock.recv(1 << 16):
            pass


def send(program: Program, count: int) -> Row:
    """Return what it costs to tell everything to one more peer."""
    busy = program.busy()
    with Peer(SINK, SINK_ASN) as peer:
        ended = peer.take(count * 99 // 100)
        return {"seconds": ended - peer.established, "cpu": program.busy() - busy}


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


def reflect(program: Program, clients: int) -> Row:
    """Return what it costs until every client knows the routes of all others."""
    everybody = [Client(number) for number in range(clients)]
    memory, busy, began = program.memory(), program.busy(), time.monotonic()
    with selectors.DefaultSelector() as selector:
        to_dial, dialing = iter(everybody), 0
        missing = set(everybody)
        while missing:
            for each in islice(to_dial, AT_ONCE - dialing):
                each.dial(selector)
                dialing += 1
            ready = selector.select(0.1)
            for key, mask in ready:
                client: Client = key.data
                dialing += client.greeted
                client.ready(selector, mask)
                dialing -= client.greeted
                if client in missing and client.knows(clients - 1):
                    missing.remove(client)
            if not ready:
                missing = {each for each in missing if not each.knows(clients - 1, surely=True)}
                if time.monotonic() - began > PATIENCE:
                    raise SystemExit(f"{program.name}: {len(missing)} of {clients} clients wait for ever")
        row = {
            "seconds": time.monotonic() - began,
            "cpu": program.busy() - busy,
            "octets": float(program.memory() - memory),
        }
    for each in everybody:
        each.sock.close()
    return row


def network() -> str:
    """Return the path of a new namespace with the daemons' end of a veth; ours are all addresses of `OURS`."""
    made: list[int] = []

    def make() -> None:
        if ctypes.CDLL(None).unshare(CLONE_NEWNET) == 0:
            made.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY))

    thread = Thread(target=make)
    thread.start()
    thread.join()
    path = f"/proc/{os.getpid()}/fd/{made[0]}"
    here = [
        f"link add peers type veth peer name daemon netns {path}",
        f"address add {SENDER}/16 dev peers",
        "link set peers up",
        f"route add local {OURS} dev lo",
    ]
    there = ["link set lo up", f"address add {DAEMON}/16 dev daemon", "link set daemon up"]
    for prefix, lines in (((), here), (("nsenter", f"--net={path}"), there)):
        subprocess.run([*prefix, "ip", "-batch", "-"], input="\n".join(lines), text=True, check=True)
    return path


@contextmanager
def running(kind: type[Program], where: str) -> Iterator[Program]:
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as directory:
        program = kind(Path(directory), where)
        try:
            program.ready()
            yield program
        finally:
            program.close()


def measure(kinds: Sequence[type[Program]], options: argparse.Namespace) -> dict[str, dict[str, list[Row]]]:
    """Return the rows of every round, by case and by program."""
    count, fifth = options.prefixes, options.prefixes // 5
    # How many prefixes, and as which octets.
    streams: dict[str, tuple[int, bytes]] = {
        "full": (count, updates(alike(count), 0)),
        "mixed": (count, updates(mixed(count), 0)),
        "one": (fifth, updates(alike(fifth), 4)),
    }
    rows: dict[str, dict[str, list[Row]]] = {case: {kind.name: [] for kind in kinds} for case in CASES}
    where = network()
    for nth in range(options.rounds):
        for kind in kinds if nth % 2 else reversed(kinds):
            for case in set(options.cases) - {"send"} - kind.without:
                with running(kind, where) as program:
                    if case == "reflect":
                        rows[case][kind.name].append(reflect(program, options.clients))
                        continue
                    row, peer = learn(program, streams[case][1], streams[case][0])
                    rows[case][kind.name].append(row)
                    if case == "mixed" and "send" in options.cases:
                        rows["send"][kind.name].append(send(program, count))
                    peer.close()
            print(f"round {nth + 1} of {options.rounds}: {kind.name}", file=sys.stderr)
    return rows


CASES = ("full", "mixed", "one", "send", "reflect")


def middle(rows: Sequence[Row], name: str) -> float:
    return statistics.median(row[name] for row in rows)


def summary(rows: Mapping[str, Mapping[str, Sequence[Row]]]) -> list[dict[str, Any]]:
    """Return a line for each case and program: medians, spreads, and how many times as much as ours."""
    lines = []
    for case, programs in rows.items():
        ours = programs.get("ours") or ()
        for name, some in programs.items():
            if not some:
                continue
            line: dict[str, Any] = {"case": case, "program": name}
            for unit in some[0]:
                digits = 1 if unit == "octets" else 3
                line[unit] = round(middle(some, unit), digits)
                line[f"{unit}_low"] = round(min(row[unit] for row in some), digits)
                line[f"{unit}_high"] = round(max(row[unit] for row in some), digits)
                if ours and middle(ours, unit) > 0:
                    line[f"{unit}_ratio"] = round(middle(some, unit) / middle(ours, unit), 2)
            lines.append(line)
    return lines


def show(conditions: Mapping[str, Any], lines: Iterable[Mapping[str, Any]]) -> None:
    print(" ".join(f"{name}={value}" for name, value in conditions.items()))
    titles = ("s", "lowest", "highest", "/ ours", "CPU, s", "/ ours", "octets", "/ ours")
    print(f"{'':16}", *(f"{title:>9}" for title in titles))
    written: Sequence[tuple[str, Callable[[float], str]]] = (
        ("seconds", "{:.3f}".format),
        ("seconds_low", "{:.3f}".format),
        ("seconds_high", "{:.3f}".format),
        ("seconds_ratio", "{:.2f}".format),
        ("cpu", "{:.2f}".format),
        ("cpu_ratio", "{:.2f}".format),
        ("octets", "{:.0f}".format),
        ("octets_ratio", "{:.2f}".format),
    )
    for line in lines:
        values = [form(line[name]) if name in line else "" for name, form in written]
        print(f"{line['case']:8}{line['program']:8}", *(f"{value:>9}" for value in values))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", nargs="+", default=list(PROGRAMS), choices=list(PROGRAMS))
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=CASES)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--prefixes", type=int, default=500_000)
    parser.add_argument("--clients", type=int, default=500)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--speak", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.speak:
        speak(options.speak)
        return
    links = [name for _, name in socket.if_nameindex()]
    if links != ["lo"]:
        raise SystemExit(f"this namespace has the links {', '.join(links)}: run it by scripts/in-namespaces")
    files = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 1 << 16)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    for name in options.programs:
        if PROGRAMS[name].missing():
            print(f"{name} is not installed, and left out", file=sys.stderr)
    kinds = [PROGRAMS[name] for name in options.programs if not PROGRAMS[name].missing()]
    lines = summary(measure(kinds, options))
    conditions = {
        "processors": os.cpu_count(),
        "python": sys.version.split()[0],
        **{name: getattr(options, name) for name in ("rounds", "prefixes", "clients")},
    }
    if options.json:
        print(json.dumps({"conditions": conditions, "lines": lines}, indent=2))
    else:
        show(conditions, lines)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    main()
