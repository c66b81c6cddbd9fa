"""What other processes do to a store while `test_sqlite_processes` looks on; run as a program.

    python sqlite_children.py <what> <path of the store> [arguments]

A child says "ready" when the moment has come, and goes on when its standard input is closed.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import resource
import sqlite3
import sys
import time
from ipaddress import ip_address, ip_network
from pathlib import Path

from containernet.errors import LeaseTaken, StoreUnavailable
from containernet.model import Prefix, Route
from containernet_backends.sqlite import SqliteStore

POOL = ip_network("10.0.0.0/24")
CHOICES = [subnet for length in (26, 27, 28) for subnet in POOL.subnets(new_prefix=length)]


def ready() -> None:
    """Tell the parent, and wait for it."""
    print("ready", flush=True)
    sys.stdin.read()


def contend(path: str, node: str, witness: str, rounds: str) -> None:
    """Claim and release at random. Who believes to own a subnet holds a directory for each /28 of it."""
    store, dice = SqliteStore(path, timeout=60), random.Random(node)
    won = 0
    ready()
    for _ in range(int(rounds)):
        subnet = dice.choice(CHOICES)
        try:
            lease = store.claim((subnet,), node, 60)
        except LeaseTaken:
            continue
        marks = [
            Path(witness) / part.with_prefixlen.replace("/", "_") for part in subnet.subnets(new_prefix=28)
        ]
        for mark in marks:
            mark.mkdir()  # FileExistsError: two owners
        won += 1
        for mark in marks:
            mark.rmdir()
        store.release(lease)
    print(won, flush=True)
    store.close()


def scribble(path: str, node: str) -> None:
    """Claim one dual-stack lease after the other, with a route, until killed."""
    store = SqliteStore(path)
    print("ready", flush=True)
    for number in itertools.cycle(range(200)):
        four, six = ip_network(f"10.1.{number}.0/24"), ip_network(f"fd00:0:0:{number:x}::/64")
        with contextlib.suppress(LeaseTaken):
            store.claim((four, six), node, 3600)
            store.announce(Route(prefix=four, node=node, next_hop=ip_address("192.0.2.1")))


def half(path: str) -> None:
    """Stop in the middle of a transaction that holds the lock."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("INSERT INTO leases (node, revision) VALUES ('half', 'half')")
    ready()


def silent(path: str) -> None:
    """Commit a withdrawal of everything, but do not ring: stop between the commit and the ring."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("UPDATE routes SET node = NULL, route = NULL, changed = changed + 1000")
    ready()


def announce(path: str, prefix: str) -> None:
    """Announce one route and close the store."""
    store = SqliteStore(path)
    store.announce(Route(prefix=ip_network(prefix), node="child", next_hop=ip_address("192.0.2.1")))
    store.close()


def listen(path: str, count: str) -> None:
    """Print the time of each of `count` events after the snapshot."""
    store = SqliteStore(path)
    subscription = store.subscribe()
    subscription.next_event(0)
    print("ready", flush=True)
    for _ in range(int(count)):
        event = subscription.next_event(60)
        print(time.clock_gettime(time.CLOCK_BOOTTIME), event, flush=True)
    store.close()


def idle(path: str, seconds: str) -> None:
    """Print how often this process was woken, and its milliseconds of CPU, while nothing happened."""
    store = SqliteStore(path)
    subscription = store.subscribe()
    subscription.next_event(0)
    before = resource.getrusage(resource.RUSAGE_SELF)
    assert subscription.next_event(float(seconds)) is None
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(after.ru_nvcsw - before.ru_nvcsw, round(cpu * 1000))
    store.close()


def fill(path: str) -> None:
    """Claim until the disk is full; print how many claims were granted, then how many are there."""
    store = SqliteStore(path)
    granted = 0
    with contextlib.suppress(StoreUnavailable):
        for subnet in ip_network("10.0.0.0/12").subnets(new_prefix=28):
            store.claim((subnet,), "n" * 200 + str(granted), 3600)
            granted += 1
    print(granted, len(store.leases()))
    store.close()


def fill_limited(path: str, size: str) -> None:
    """Fill under a limit of the file size."""
    SqliteStore(path).leases()
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(size), resource.RLIM_INFINITY))
    fill(path)


def disjoint(subnets: list[Prefix]) -> bool:
    """Return whether no two overlap."""
    return not any(
        one.version == two.version and one.overlaps(two) for one, two in itertools.combinations(subnets, 2)
    )


if __name__ == "__main__":
    what, *arguments = sys.argv[1:]
    globals()[what](*arguments)
    os._exit(0) if what == "scribble" else None
