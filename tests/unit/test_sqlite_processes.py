"""One SQLite store, many real processes: contention, murder, waking and sleeping."""

from __future__ import annotations

import select
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from containernet.errors import StoreUnavailable
from containernet.events import Announced, Withdrawn
from containernet.model import Route
from containernet_backends.inotify import FALLBACK_INTERVAL, Watch
from containernet_backends.sqlite import SqliteStore

from . import sqlite_children

SOON = 30.0  # seconds; only a failing test waits for so long
Start = Callable[..., subprocess.Popen[str]]


def route(prefix: str, node: str = "a") -> Route:
    """Return a route."""
    return Route(prefix=ip_network(prefix), node=node, next_hop=ip_address("192.0.2.1"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the store is; it is there already."""
    store = SqliteStore(tmp_path / "store.db")
    store.leases()
    store.close()
    return tmp_path / "store.db"


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a child, which is killed after the test if it still runs."""
    children: list[subprocess.Popen[str]] = []

    def begin(what: str, *arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, sqlite_children.__file__, what, *map(str, arguments)]
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        children.append(child)
        return child

    yield begin
    for child in children:
        child.kill()
        child.communicate()


def line(child: subprocess.Popen[str]) -> str:
    """Return the next line that the child prints."""
    assert child.stdout is not None
    assert select.select([child.stdout], [], [], SOON)[0], "the child says nothing"
    return child.stdout.readline().strip()


def ready(*children: subprocess.Popen[str]) -> None:
    """Wait until all children have come to the point."""
    assert [line(child) for child in children] == ["ready"] * len(children)


def go_on(child: subprocess.Popen[str]) -> None:
    """Let a child that is ready continue."""
    assert child.stdin is not None
    child.stdin.close()
    child.stdin = None


def finished(child: subprocess.Popen[str]) -> str:
    """Return what the child printed, when it has ended well."""
    out, _ = child.communicate(timeout=SOON)
    assert child.returncode == 0
    return out


def test_contention(path: Path, tmp_path: Path, start: Start) -> None:
    """Eight processes that claim overlapping subnets of a small pool never own one address twice."""
    witness = tmp_path / "witness"
    witness.mkdir()
    children = [start("contend", path, f"n{number}", witness, 60) for number in range(8)]
    ready(*children)
    for child in children:
        go_on(child)
    assert sum(int(finished(child)) for child in children) > 0


def test_creation(tmp_path: Path, start: Start) -> None:
    """Processes that meet at a store that is not there yet all get the same, and leave nothing beside it."""
    directory = tmp_path / "new"
    children = [start("announce", directory / "store.db", f"10.4.{number}.0/24") for number in range(4)]
    for child in children:
        finished(child)
    store = SqliteStore(directory / "store.db")
    subscription = store.subscribe()
    assert len(getattr(subscription.next_event(0), "routes", ())) == 4
    store.close()
    assert [each.name for each in directory.iterdir()] == ["store.db"]


def test_killed_writers(path: Path, start: Start) -> None:
    """Writers that are killed anywhere leave whole leases, a sound file and no lock behind."""
    store = SqliteStore(path)
    for number in range(4):
        child = start("scribble", path, f"n{number}")
        ready(child)
        while not any(lease.node == f"n{number}" for lease in store.leases()):
            pass
        child.kill()
        child.wait()
        leases = [lease for lease in store.leases() if lease.node != "witness"]
        assert all(len(lease.subnets) == 2 for lease in leases)
        assert sqlite_children.disjoint([subnet for lease in leases for subnet in lease.subnets])
        store.claim((ip_network(f"10.9.{number}.0/24"),), "witness", 60)
    store.close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    connection.close()


def test_half_written(path: Path, start: Start) -> None:
    """While a writer holds the lock others wait, then give up; once it is killed they see nothing of it."""
    child = start("half", path)
    ready(child)
    store = SqliteStore(path, timeout=0.01)
    with pytest.raises(StoreUnavailable, match=r"store\.db.*lock for 0\.01 s"):
        store.claim((ip_network("10.4.1.0/24"),), "a", 60)
    assert store.leases() == []
    child.kill()
    child.wait()
    store.claim((ip_network("10.4.1.0/24"),), "a", 60)
    assert [lease.node for lease in store.leases()] == ["a"]
    store.close()


def test_killed_before_the_ring(path: Path, start: Start) -> None:
    """A change whose writer died between the commit and the ring wakes the subscribers by that death."""
    store = SqliteStore(path)
    store.announce(route("10.4.1.0/24"))
    subscription = store.subscribe()
    subscription.next_event(0)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(subscription.next_event, SOON)
        child = start("silent", path)
        ready(child)
        assert not waiting.done()
        child.kill()
        assert waiting.result() == Withdrawn(prefix=ip_network("10.4.1.0/24"))
    store.close()


def test_woken(path: Path, start: Start) -> None:
    """A change by another process wakes a subscriber at once, the more so when it is the only one left."""
    store = SqliteStore(path)
    subscription = store.subscribe()
    subscription.next_event(0)
    for number in range(3):  # each child opens the store, and closes it as the last but this subscription
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(subscription.next_event, SOON)
            finished(start("announce", path, f"10.4.{number}.0/24"))
            assert waiting.result() == Announced(route=route(f"10.4.{number}.0/24", "child"))
    store.close()


def test_latency(path: Path, start: Start) -> None:
    """From the announcement to the event in another process it takes milliseconds: nobody polls."""
    count = 20
    child = start("listen", path, count)
    ready(child)
    store = SqliteStore(path)
    delays = []
    for number in range(count):
        began = time.clock_gettime(time.CLOCK_BOOTTIME)
        store.announce(route(f"10.4.{number}.0/24"))
        when, _, what = line(child).partition(" ")
        assert f"10.4.{number}.0/24" in what
        delays.append(float(when) - began)
    store.close()
    assert sorted(delays)[count // 2] < FALLBACK_INTERVAL / 10


def test_idle(path: Path, start: Start) -> None:
    """A subscriber to whom nothing happens is not woken, and uses no CPU."""
    wakings, milliseconds = map(int, finished(start("idle", path, 1.5)).split())
    assert wakings <= 3
    assert milliseconds <= 10


def test_without_inotify(path: Path) -> None:
    """Where the kernel gives no inotify instance, a wait ends by itself after the fallback's interval."""

    def refuse(path: Path) -> int:
        raise OSError(24, "Too many open files")

    watch = Watch(path, listen=refuse)
    began = time.monotonic()
    watch.wait(SOON)
    assert FALLBACK_INTERVAL * 0.9 <= time.monotonic() - began < SOON
    watch.wake()
    watch.wait(SOON)
    watch.close()


def test_file_limit(path: Path, start: Start) -> None:
    """What was granted until a write failed is there, and nothing else."""
    granted, there = map(int, finished(start("fill_limited", path, 1_000_000)).split())
    assert granted == there > 10
