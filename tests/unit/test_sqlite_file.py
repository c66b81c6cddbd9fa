"""The file of the SQLite store: where it may lie, who may read it, and what if it is damaged or lost."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import sqlite3
import stat
import struct
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from containernet.errors import (
    ConfigError,
    LeaseLost,
    PermissionRefused,
    StoreCorrupt,
    StoreError,
    StoreUnavailable,
)
from containernet.events import Announced, Quarantined, Snapshot, Withdrawn
from containernet.model import NetworkConfig, Pool, Route
from containernet_backends.sqlite import SqliteStore

ONE = ip_network("10.4.1.0/24")
SIX = ip_network("fd00::/64")
TWO = ip_network("10.4.2.0/24")
NETWORK = NetworkConfig(pools=(Pool(prefix=ip_network("10.4.0.0/16"), subnet_length=24),))

# Each commit waits for the disk; where memory can be had as a directory, thousands of them are quick.
SHM = Path("/dev/shm")
WHERE = SHM if SHM.is_dir() else None


def route(prefix: str, node: str = "a") -> Route:
    """Return a route."""
    return Route(prefix=ip_network(prefix), node=node, next_hop=ip_address("192.0.2.1"))


def filled(path: Path) -> None:
    """Make a store with something in every table, and close it."""
    store = SqliteStore(path)
    store.configure(NETWORK)
    store.claim((ONE, SIX), "a", 60)
    store.reserve((ip_network("10.4.9.0/24"),))
    for number in range(1, 50):
        store.announce(route(f"10.4.{number}.0/24"))
    store.withdraw(route("10.4.7.0/24"))
    store.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a filled store is."""
    filled(tmp_path / "store.db")
    return tmp_path / "store.db"


@pytest.fixture
def opened() -> Iterator[Callable[[Path], SqliteStore]]:
    """Open a store that is closed after the test."""
    with contextlib.ExitStack() as stack:
        yield lambda path: stack.enter_context(contextlib.closing(SqliteStore(path, timeout=0.1)))


Opened = Callable[[Path], SqliteStore]


CAPABILITIES = struct.pack("=Ii", 0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, the calling thread


@contextlib.contextmanager
def unprivileged() -> Iterator[None]:
    """Let the modes of files count inside the block, for root too (capabilities(7))."""
    libc = ctypes.CDLL(None, use_errno=True)
    before = ctypes.create_string_buffer(24)
    assert libc.capget(CAPABILITIES, before) == 0
    _, permitted, inheritable, _, more, others = struct.unpack("=6I", before.raw)
    assert libc.capset(CAPABILITIES, struct.pack("=6I", 0, permitted, inheritable, 0, more, others)) == 0
    try:
        yield
    finally:
        assert libc.capset(CAPABILITIES, before) == 0


def edit(path: Path, statement: str, *arguments: object) -> None:
    """Change the database as an operator with the sqlite3 shell would."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(statement, arguments)


def test_lazy(tmp_path: Path) -> None:
    """Building a store from its options touches no file."""
    SqliteStore.from_options({"path": str(tmp_path / "no" / "such" / "store.db")})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "options",
    [
        {"pth": "/x"},
        {"path": 1},
        {"path": "relative.db"},
        {"path": ""},
        {"path": "/a\0b"},
        {"timeout": 0},
        {"timeout": "5"},
        {"timeout": float("nan")},
        {"timeout": True},
    ],
)
def test_bad_options(options: dict[str, object]) -> None:
    """What is no option, or no value for one, is refused with the name of the table."""
    with pytest.raises(ConfigError, match=r"store\.sqlite"):
        SqliteStore.from_options(options)


def test_private(tmp_path: Path, opened: Opened) -> None:
    """The file, its log and its directory are the owner's alone, whatever the umask says."""
    mask = os.umask(0)
    try:
        opened(tmp_path / "new" / "store.db").configure(NETWORK)
    finally:
        os.umask(mask)
    modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in (tmp_path / "new").iterdir()}
    assert modes == {"store.db": 0o600, "store.db-wal": 0o600, "store.db-shm": 0o600}
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700


def test_odd_names(tmp_path: Path, opened: Opened) -> None:
    """A path may hold what means something in a URI or in SQL."""
    path = tmp_path / "a?mode=ro&x=%41#'\" ä"
    opened(path).configure(NETWORK)
    assert opened(path).network() == NETWORK
    assert path.exists()


def test_no_parent(tmp_path: Path, opened: Opened) -> None:
    """Only the last directory is made; a path that misses more is the operator's slip."""
    with pytest.raises(ConfigError, match="no/such"):
        opened(tmp_path / "no" / "such" / "store.db").leases()
    assert list(tmp_path.iterdir()) == []


def test_directory(tmp_path: Path, opened: Opened) -> None:
    """A path that is a directory, or lies below a file, is the operator's slip."""
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "store.db"):
        with pytest.raises(ConfigError, match=str(path)):
            opened(path).leases()


def test_not_allowed(path: Path, opened: Opened) -> None:
    """A file or directory that this user may not read is refused with its path."""
    path.chmod(0)
    path.parent.chmod(0o555)
    with unprivileged():
        with pytest.raises(PermissionRefused, match=str(path)):
            opened(path).leases()
        with pytest.raises(PermissionRefused, match="other"):
            opened(path.parent / "other.db").leases()
        with pytest.raises(PermissionRefused, match="new"):
            opened(path.parent / "new" / "store.db").leases()
    path.parent.chmod(0o755)


def test_read_only(path: Path, opened: Opened) -> None:
    """A file that this user may read but not write is refused with its path."""
    path.chmod(0o444)
    with unprivileged(), pytest.raises(PermissionRefused, match=str(path)):
        opened(path).claim((TWO,), "b", 60)


def garbage_header(path: Path) -> None:
    """Write over the first page."""
    with path.open("r+b") as file:
        file.write(b"garbage" * 20)


def garbage_pages(path: Path) -> None:
    """Write over everything behind the first page."""
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(path.stat().st_size - 4096))


def truncated(path: Path) -> None:
    """Cut the file in half."""
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    """Leave nothing."""
    os.truncate(path, 0)


def text(path: Path) -> None:
    """Put something else there."""
    path.write_text("leases:\n" * 1000)


def stranger(path: Path) -> None:
    """Put another program's database there."""
    path.unlink()
    edit(path, "CREATE TABLE leases (id)")


def newer(path: Path) -> None:
    """Let a later version have written it."""
    edit(path, "PRAGMA user_version = 99")


def without_table(path: Path) -> None:
    """Drop what is needed."""
    edit(path, "DROP TABLE subnets")


def without_row(path: Path) -> None:
    """Empty what has exactly one row."""
    edit(path, "DELETE FROM store")


@pytest.mark.parametrize(
    "damage",
    [garbage_header, garbage_pages, truncated, empty, text, stranger, newer, without_table, without_row],
    ids=lambda damage: damage.__name__,
)
def test_damaged(path: Path, opened: Opened, damage: Callable[[Path], None]) -> None:
    """A damaged file is said to be so, with its path and what to do; it is left as it is."""
    damage(path)
    before = path.read_bytes()
    store = opened(path)
    with pytest.raises(StoreCorrupt, match=rf"{path}.*move .* away"):
        store.leases()
    with pytest.raises(StoreCorrupt):
        store.claim((ONE,), "b", 60)
    store.close()
    assert path.read_bytes() == before


def test_orphaned_subnet(path: Path, opened: Opened) -> None:
    """Subnets without their lease, which only an edit can leave, are damage as soon as somebody wants them."""
    edit(path, "DELETE FROM leases WHERE node = 'a'")
    with pytest.raises(StoreCorrupt, match="no such lease"):
        opened(path).claim((ONE,), "b", 60)


def test_versions(path: Path, opened: Opened) -> None:
    """A file of a later version is refused with both versions."""
    newer(path)
    with pytest.raises(StoreCorrupt, match="version 99, this program reads 1"):
        opened(path).leases()


@settings(max_examples=60)
@given(
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=30)
)
def test_any_damage(sound: Path, changes: list[tuple[float, int]]) -> None:
    """Whatever bytes are wrong, each call answers or raises an error of ours."""
    with tempfile.TemporaryDirectory(dir=WHERE) as directory:
        damage_and_use(Path(directory) / "store.db", bytearray(sound.read_bytes()), changes)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a filled store that nobody touches."""
    path = tmp_path_factory.mktemp("sound") / "store.db"
    filled(path)
    return path


def damage_and_use(path: Path, content: bytearray, changes: list[tuple[float, int]]) -> None:
    """Write the content with some bytes changed, and call everything."""
    for where, change in changes:
        content[int(where * len(content))] ^= change
    path.write_bytes(content)
    store = SqliteStore(path, timeout=0.01)
    for call in (
        store.network,
        store.leases,
        lambda: store.subscribe().next_event(0),
        lambda: store.claim((ip_network("10.4.0.0/22"),), "b", 60),
        lambda: store.claim((ip_network("10.4.77.0/24"), SIX), "a", 60),
        lambda: store.announce(route("10.4.77.0/24")),
        lambda: store.withdraw(route("10.4.5.0/24")),
        lambda: store.reserve((ip_network("10.4.128.0/20"),)),
    ):
        with contextlib.suppress(StoreError):
            call()
    store.close()


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("route", "nonsense"),
        ("route", "{}"),
        ("route", "[]"),
        ("route", "null"),
        (
            "route",
            '{"prefix": "10.4.3.0/24", "node": "a", "next_hop": "x", "tunnel": {"type": "", "data": {}}}',
        ),
        ("route", '{"prefix": "10.4.3.0/24", "node": "a", "next_hop": "1.2.3.4", "tunnel": []}'),
        ("node", "somebody else"),
        ("prefix", "10.4.300.0/24"),
        ("route", b"\xff\xfe"),
    ],
)
def test_quarantine(path: Path, opened: Opened, column: str, value: str | bytes) -> None:
    """A row that is no route is shown as such, in snapshots and as an event, and nothing else is lost."""
    listening = opened(path).subscribe()
    before = listening.next_event(0)
    assert isinstance(before, Snapshot)
    statement = f"UPDATE routes SET {column} = CAST(? AS TEXT), changed = 1000 WHERE prefix = '10.4.3.0/24'"
    edit(path, statement, value)
    assert isinstance(listening.next_event(5), Quarantined)
    assert listening.next_event(0) is None
    after = opened(path).subscribe().next_event(0)
    assert isinstance(after, Snapshot)
    assert set(after.routes) == set(before.routes) - {route("10.4.3.0/24")}
    assert len(after.quarantined) == 1
    str(after.quarantined[0]).encode()


def replaced(path: Path) -> None:
    """Restore a backup as the error message says."""
    filled(path.with_name("backup"))
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink()
    path.with_name("backup").rename(path)


def without_log(path: Path) -> None:
    """Delete the log alone, in which the latest changes are."""
    path.with_name(path.name + "-wal").unlink()


def without_index(path: Path) -> None:
    """Delete the log's index alone, through which processes lock each other out."""
    path.with_name(path.name + "-shm").unlink()


@pytest.mark.parametrize(
    "loss", [Path.unlink, replaced, without_log, without_index], ids=lambda loss: loss.__name__
)
def test_lost_file(path: Path, opened: Opened, loss: Callable[[Path], None]) -> None:
    """A file that goes away under a running store is noticed; the next call works with what is there then."""
    store = opened(path)
    subscription = store.subscribe()
    subscription.next_event(0)
    old = store.claim((ip_network("10.4.20.0/24"),), "b", 60)
    loss(path)
    with pytest.raises(StoreUnavailable, match=f"{path}.*deleted or replaced"):
        store.claim((ip_network("10.4.21.0/24"),), "b", 60)
    with pytest.raises(StoreUnavailable, match="deleted or replaced"):
        subscription.next_event(5)
    with pytest.raises(StoreUnavailable, match="subscribe again"):
        subscription.next_event(5)
    again = store.subscribe()
    assert isinstance(again.next_event(0), Snapshot)
    store.announce(route("10.4.99.0/24"))
    assert again.next_event(5) == Announced(route=route("10.4.99.0/24"))
    if loss in (Path.unlink, replaced):  # nothing of the old file comes back, from a log that outlived it
        with pytest.raises(LeaseLost):
            store.renew(old, 60)
        assert "b" not in {lease.node for lease in store.leases()}


def test_lost_while_asleep(path: Path, opened: Opened) -> None:
    """A sleeping subscriber is woken by the loss of its file."""
    subscription = opened(path).subscribe()
    subscription.next_event(0)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(subscription.next_event, 30)
        path.unlink()
        with pytest.raises(StoreUnavailable):
            waiting.result(20)


def test_closed(path: Path, opened: Opened) -> None:
    """A closed store says so."""
    store = opened(path)
    store.close()
    for call in (store.leases, store.network, store.subscribe):
        with pytest.raises(StoreUnavailable, match="closed"):
            call()


def test_reboot(tmp_path: Path) -> None:
    """After a reboot each lease has its whole time again, by the new clock; ended ones stay ended."""
    path = tmp_path / "store.db"
    time, boot = [100_000.0], ["first"]

    def open_store() -> SqliteStore:
        return SqliteStore(path, now=lambda: time[0], boot=lambda: boot[0])

    store = open_store()
    store.claim((ip_network("10.4.3.0/24"),), "ended", 10)
    store.claim((ONE,), "a", 60)
    store.announce(route("10.4.1.0/24"))
    store.reserve((ip_network("10.4.2.0/24"),))
    time[0] += 50
    store.announce(route("10.4.77.0/24", "notices the end"))
    store.close()
    time[0], boot[0] = 5.0, "second"
    for _ in range(2):  # only the first to open after the boot extends
        store = open_store()
        leases = {lease.node: lease.expires for lease in store.leases()}
        assert leases == {"a": 65.0 - time[0], "": None}
        store.close()
        time[0] += 20
    store = open_store()
    subscription = store.subscribe()
    assert len(getattr(subscription.next_event(0), "routes", ())) == 2
    time[0] = 65.0
    assert getattr(subscription.next_event(0), "prefix", None) == ONE
    store.close()


def test_history(tmp_path: Path) -> None:
    """A subscriber that slept through more than the history gets a snapshot; tombstones do not pile up."""
    store = SqliteStore(tmp_path / "store.db", history=10)
    sleeper = store.subscribe()
    sleeper.next_event(0)
    for number in range(30):
        store.announce(route(f"10.4.{number}.0/24"))
        store.withdraw(route(f"10.4.{number}.0/24"))
    store.announce(route("10.4.99.0/24"))
    assert sleeper.next_event(0) == Snapshot(routes=(route("10.4.99.0/24"),))
    assert sleeper.next_event(0) is None
    store.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "store.db")) as connection:
        assert connection.execute("SELECT count(*) FROM routes").fetchone()[0] <= 11


@pytest.mark.parametrize("slept", range(12))
def test_history_edge(tmp_path: Path, slept: int) -> None:
    """A withdrawal is not missed, however many changes a subscriber sleeps through behind it."""
    store = SqliteStore(tmp_path / "store.db", history=5)
    store.announce(route("10.4.1.0/24"))
    sleeper = store.subscribe()
    sleeper.next_event(0)
    store.withdraw(route("10.4.1.0/24"))
    for number in range(slept):
        store.announce(route(f"10.5.{number}.0/24"))
    first = sleeper.next_event(0)
    assert isinstance(first, Snapshot) == (slept + 1 > 5)
    if isinstance(first, Snapshot):
        assert len(first.routes) == slept
    else:
        assert first == Withdrawn(prefix=ONE)
    store.close()


def test_log_is_short(path: Path) -> None:
    """Announcing what stands writes nothing at all."""
    store = SqliteStore(path)
    store.announce(route("10.4.5.0/24"))
    log = path.with_name("store.db-wal")
    size = log.stat().st_size
    for _ in range(10):
        store.announce(route("10.4.5.0/24"))
        store.withdraw(route("10.9.9.0/24"))
    assert log.stat().st_size == size
    store.close()


def test_no_descriptor_left(path: Path) -> None:
    """Closing a store and its subscriptions, failed ones included, closes every descriptor."""
    gc.collect()  # what other tests dropped must not go in the middle of this one
    before = len(list(Path("/proc/self/fd").iterdir()))
    store = SqliteStore(path)
    subscriptions = [store.subscribe() for _ in range(3)]
    for subscription in subscriptions:
        subscription.next_event(0)
    path.unlink()
    with pytest.raises(StoreUnavailable):
        subscriptions[0].next_event(0)
    store.close()
    text(path)
    with pytest.raises(StoreCorrupt):
        SqliteStore(path).subscribe()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
