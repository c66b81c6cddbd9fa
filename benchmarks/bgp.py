"""How fast a BGP table fills, is told to a peer and is reflected, and what it weighs: ours beside the daemons.

    scripts/in-namespaces python benchmarks/bgp.py [--prefixes 100000 500000] [--clients 500]
        [--programs ours bird frr gobgp exabgp] [--cases full mixed one reflect]

Each daemon runs alone, in a network namespace of its own, started anew for each measurement. Peers are neutral:
plain sockets here, over a veth, with octets that were made before. Sessions are external, but those of the
reflector; everything is accepted and told on, nothing goes into a kernel.

    full       the table fills: /24, one after the other, UPDATEs full
    mixed      the same with the lengths of the Internet's table (three of five are /24), in no order; and then
               one more peer is told everything
    one        a fifth of the prefixes, /24, one in each UPDATE
    reflect    clients of a route reflector, a /24 each

    learn      from the first octet sent until the table holds all, best paths chosen
    send       from the other peer's KEEPALIVE until it has been told 99 of 100 prefixes
    converge   from the first dial until each client was told of all others
    memory     what a prefix, or all clients, add to the daemon's resident memory

"..., processor" is the processor's time of the daemon for that, user and system.

The attributes of UPDATEs are 1,000 AS paths in turn. A daemon is asked how much it holds every 3 ms, by a
counter that costs it little to tell: BIRD's preferred routes, bgpd's table version, which counts chosen paths,
GoBGP's accepted routes (asked by its client every 30 ms, which takes as long to start), and ours. ExaBGP keeps
no table: it is done when it has told a process of the last prefix, and more than 100,000 take it minutes.

Needs root, or a user namespace, and a network namespace without anything in it: scripts/in-namespaces is both.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import resource
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from itertools import islice
from pathlib import Path
from threading import Thread

from benchmarks import frame
from benchmarks.bgp_daemons import PROGRAMS, Program
from benchmarks.bgp_peers import (
    AT_ONCE,
    DAEMON,
    OURS,
    PATIENCE,
    SENDER,
    SENDER_ASN,
    SINK,
    SINK_ASN,
    Client,
    Peer,
    alike,
    mixed,
    updates,
)
from containernet_backends.netlink.constants import CLONE_NEWNET

TINY = ("--prefixes", "1000", "--clients", "4", "--rounds", "1", "--programs", "ours", "bird")
QUANTITIES = (
    frame.less("learn", "s"),
    frame.less("learn, processor", "s"),
    frame.less("memory", "octets/prefix"),
    frame.less("send", "s"),
    frame.less("send, processor", "s"),
    frame.less("converge", "s"),
    frame.less("converge, processor", "s"),
    frame.less("memory of all", "MB"),
)
CASES = ("full", "mixed", "one", "reflect")


def learn(program: Program, stream: bytes, count: int) -> tuple[dict[str, float], Peer]:
    """Return what it costs to take `stream` in, and the peer that it came from."""
    peer = Peer(SENDER, SENDER_ASN)
    peer.sock.settimeout(PATIENCE)
    Thread(target=_drain, args=(peer.sock,), daemon=True).start()
    memory, busy, began = program.memory(), program.busy(), time.monotonic()
    peer.sock.sendall(stream)
    ended = program.wait(count)
    return {
        "learn": ended - began,
        "learn, processor": program.busy() - busy,
        "memory": (program.memory() - memory) / count,
    }, peer


def _drain(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while sock.recv(1 << 16):
            pass


def send(program: Program, count: int) -> frame.Values:
    """Return what it costs to tell everything to one more peer."""
    busy = program.busy()
    with Peer(SINK, SINK_ASN) as peer:
        ended = peer.take(count * 99 // 100)
        return {"send": ended - peer.established, "send, processor": program.busy() - busy}


def reflect(program: Program, clients: int) -> frame.Values:
    """Return what it costs until every client knows the routes of all others."""
    everybody = [Client(number) for number in range(clients)]
    memory, busy, began = program.memory(), program.busy(), time.monotonic()
    _converge(program, everybody)
    values = {
        "converge": time.monotonic() - began,
        "converge, processor": program.busy() - busy,
        "memory of all": (program.memory() - memory) / 2**20,
    }
    for each in everybody:
        each.sock.close()
    return values


def _converge(program: Program, everybody: Sequence[Client]) -> None:
    others, deadline = len(everybody) - 1, time.monotonic() + PATIENCE
    to_dial, dialing = iter(everybody), 0
    missing = set(everybody)
    with selectors.DefaultSelector() as selector:
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
                if client in missing and client.knows(others):
                    missing.remove(client)
            if not ready:
                missing = {each for each in missing if not each.knows(others, surely=True)}
                if time.monotonic() > deadline:
                    raise SystemExit(
                        f"{program.name}: {len(missing)} of {len(everybody)} clients wait for ever"
                    )


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


@cache
def stream(case: str, count: int) -> tuple[int, bytes]:
    """Return how many prefixes are told, and as which octets."""
    if case == "one":
        return count // 5, updates(alike(count // 5), 4)
    return count, updates(mixed(count) if case == "mixed" else alike(count), 0)


def play(kind: type[Program], case: str, size: int, *, where: str) -> frame.Values:
    """Play a case with a daemon that is started for it."""
    with running(kind, where) as program:
        if case == "reflect":
            return reflect(program, size)
        count, octets = stream(case, size)
        values, peer = learn(program, octets, count)
        if case == "mixed" and kind.tells:
            values |= send(program, count)
        peer.close()
        return values


def cases(options: argparse.Namespace, where: str) -> Iterator[frame.Case]:
    kinds = [PROGRAMS[name] for name in options.programs]
    for case in options.cases:
        for size in options.clients if case == "reflect" else options.prefixes:
            can = [each for each in kinds if size <= each.most and (each.tells or case != "reflect")]
            sides = [
                frame.Side(name=each.name, play=partial(play, each, case, size, where=where), needs=each.needs)
                for each in can
            ]
            yield frame.Case(name=case, size=size, sides=sides)


def main(argv: Sequence[str] | None = None) -> None:
    parser = frame.parser(__doc__, rounds=3)
    parser.add_argument("--programs", nargs="+", default=list(PROGRAMS), choices=list(PROGRAMS))
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=CASES)
    parser.add_argument("--prefixes", type=int, nargs="+", default=[100_000, 500_000])
    parser.add_argument("--clients", type=int, nargs="+", default=[500])
    options = parser.parse_args(argv)
    links = [name for _, name in socket.if_nameindex()]
    if links != ["lo"]:
        raise SystemExit(f"this namespace has the links {', '.join(links)}: run it by scripts/in-namespaces")
    files = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 1 << 16)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    frame.run(options, QUANTITIES, cases(options, network()), warm_up=False)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    main()
