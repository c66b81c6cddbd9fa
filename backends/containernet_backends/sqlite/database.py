"""One connection to the file: create, open, transactions; SQLite's errors become ours here and nowhere else.

Knows nothing of leases and routes but their tables. Not thread-safe: its owner holds a lock.

Never open the database file here by other means than SQLite: closing any descriptor of it would drop the
POSIX locks that the process's connections hold (sqlite.org/howtocorrupt.html, 2.2). stat(2) and utime(2) by
path are harmless.
"""

from __future__ import annotations

import errno
import fcntl
import functools
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import attrs

from containernet.errors import (
    ConfigError,
    ContainernetError,
    PermissionRefused,
    StoreCorrupt,
    StoreUnavailable,
)
from containernet.values import shown

from ..leasing import Clock

APPLICATION = 0x636E6574  # "cnet", sqlite.org/fileformat2.html 1.3.14
VERSION = 1

SCHEMA = f"""
PRAGMA journal_mode = WAL;
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {VERSION};

CREATE TABLE store (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    boot TEXT NOT NULL,         -- the boot whose clock `expires` is measured by
    network TEXT                -- JSON; NULL: none
) STRICT;
INSERT INTO store (id, boot) VALUES (1, '');

CREATE TABLE leases (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    node TEXT NOT NULL,         -- empty: a reservation
    ttl REAL,                   -- seconds; NULL: no end
    expires REAL,               -- CLOCK_BOOTTIME, seconds; NULL: never
    ended INTEGER NOT NULL DEFAULT 0,
    revision TEXT NOT NULL UNIQUE
) STRICT;
CREATE UNIQUE INDEX one_lease_per_node ON leases (node) WHERE node != '';
CREATE INDEX leases_by_end ON leases (expires) WHERE ended = 0 AND expires IS NOT NULL;

CREATE TABLE subnets (          -- no two rows of a family overlap
    family INTEGER NOT NULL,
    first BLOB NOT NULL,        -- address in network byte order, so that memcmp() orders it
    last BLOB NOT NULL,
    lease INTEGER NOT NULL REFERENCES leases,
    PRIMARY KEY (family, first)
) STRICT, WITHOUT ROWID;
CREATE INDEX subnets_by_lease ON subnets (lease);

CREATE TABLE routes (
    prefix TEXT PRIMARY KEY,
    node TEXT,                  -- whose it is; NULL: withdrawn, a tombstone
    route TEXT,                 -- JSON
    lease INTEGER REFERENCES leases,
    changed INTEGER NOT NULL UNIQUE
) STRICT;
CREATE INDEX routes_by_lease ON routes (lease) WHERE lease IS NOT NULL;
CREATE INDEX tombstones ON routes (changed) WHERE node IS NULL;
"""


@attrs.frozen(kw_only=True)
class Place:
    """Where the store lives and by which clock.

    Args:
        path: the file.
        timeout: seconds to wait for another process's lock.
        now: seconds since some moment of this boot.
        boot: names this boot; another value means that `now` began anew.
    """

    path: Path
    timeout: float
    now: Clock
    boot: Callable[[], str]
    __repr__ = shown


class Database:
    """An open connection to a store's file; opening creates the file where there is none.

    Raises:
        StoreUnavailable, StoreCorrupt, PermissionRefused, ConfigError: with the path and the next step.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self._path = place.path
        if not _exists(self._path):
            _create(self._path)
        self._identity = {self._path: _identify(self._path)}
        self._connection = self._connect()
        try:
            self._adopt()
        except BaseException:
            self.close()
            raise

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """One state of the store for as long as the block runs, whoever writes meanwhile."""
        with self._transaction("BEGIN") as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """The only writer for as long as the block runs; done when the block ends, undone when it raises."""
        before = self._connection.total_changes
        with self._transaction("BEGIN IMMEDIATE") as connection:
            yield connection
        if connection.total_changes != before:
            self._ring()

    def close(self) -> None:
        """Close the connection; may be called twice."""
        with suppress(sqlite3.Error):
            self._connection.close()

    def _connect(self) -> sqlite3.Connection:
        # mode=rw: a file that vanished since must not come back as an empty database.
        with self._translated():
            connection = sqlite3.connect(
                f"file:{quote(str(self._path))}?mode=rw",
                uri=True,
                timeout=self.place.timeout,
                isolation_level=None,
                check_same_thread=False,
            )
        # Text that is no UTF-8 spoils its own row, not every query that meets it.
        connection.text_factory = functools.partial(str, encoding="utf-8", errors="backslashreplace")
        return connection

    def _adopt(self) -> None:
        """Check that the file is a store of ours, and give it this boot's clock if it has another's."""
        with self._translated():
            self._connection.execute("PRAGMA synchronous = FULL")
        with self.reading() as connection:
            _check_version(self._path, connection)
            known = self._boot(connection)
            # SQLite deletes these when the last connection closes, so not before ours does.
            for companion in _companions(self._path):
                self._identity[companion] = self._present(companion)
        if known != self.place.boot():
            with self.writing() as connection:
                self._begin_boot(connection)

    def _boot(self, connection: sqlite3.Connection) -> str:
        row = connection.execute("SELECT boot FROM store").fetchone()
        if row is None:
            raise corrupt(self._path, "the table `store` has lost its row")
        return str(row[0])

    def _begin_boot(self, connection: sqlite3.Connection) -> None:
        boot = self.place.boot()
        if self._boot(connection) == boot:
            return  # another process was first
        connection.execute("UPDATE leases SET expires = ttl + ? WHERE ended = 0", (self.place.now(),))
        connection.execute("UPDATE store SET boot = ?", (boot,))

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        connection = self._connection
        self._check_unmoved()
        with self._translated():
            try:
                connection.execute(begin)
                yield connection
                connection.execute("COMMIT")
            finally:
                # A failed COMMIT (disk full) leaves the transaction open.
                if connection.in_transaction:
                    with suppress(sqlite3.Error):
                        connection.execute("ROLLBACK")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise _ours(self.place, error) from error
        except UnicodeDecodeError as error:  # SQLite's own message quotes a damaged name
            raise corrupt(self._path, str(error)) from error

    def _ring(self) -> None:
        """Wake every subscriber, and make sure that what was written was written into the file at `path`."""
        with suppress(OSError):  # a full disk can refuse a time stamp; the write itself is safe
            os.utime(self._path)
        self._check_unmoved()

    def _check_unmoved(self) -> None:
        """Refuse to go on with files that the next process to open the store would not find.

        The connection keeps the old inodes alive, so their numbers are not given to new files meanwhile.
        """
        for path, identity in self._identity.items():
            if self._present(path) != identity:
                raise self._lost(path)

    def _present(self, path: Path) -> tuple[int, int]:
        if not _exists(path):
            raise self._lost(path)
        return _identify(path)

    def _lost(self, path: Path) -> StoreUnavailable:
        # Everybody must let go of the lost file before anybody can begin anew.
        with suppress(OSError):
            os.utime(self._path)
        return StoreUnavailable(
            f"{path}: the file was deleted or replaced while in use; what it held may be gone with it, "
            "try again to go on with what is there now"
        )


def corrupt(path: Path, what: str) -> StoreCorrupt:
    """Return the error for a file that SQLite or we cannot read."""
    return StoreCorrupt(
        f"{path}: {what}; restore a backup, or move the file away (with its -wal and -shm): "
        "the agents fill a new one"
    )


def _exists(path: Path) -> bool:
    try:
        path.stat()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise _refused(path, error) from error
    return True


def _identify(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError as error:
        raise _refused(path, error) from error
    return status.st_dev, status.st_ino


def _companions(path: Path) -> list[Path]:
    """Return the write-ahead log and its index."""
    return [path.with_name(path.name + suffix) for suffix in ("-wal", "-shm")]


def _create(path: Path) -> None:
    """Make a whole, empty store beside `path` and link it there, unless somebody else was faster."""
    try:
        with suppress(FileExistsError):
            path.parent.mkdir(mode=0o700)
        with _locked(path.parent) as directory:
            if _exists(path):
                return
            # A log that outlived its database would be replayed into the new one.
            for orphan in _companions(path):
                orphan.unlink(missing_ok=True)
            _build(path)
            os.fsync(directory)
    except OSError as error:
        raise _refused(path, error) from error


@contextmanager
def _locked(directory: Path) -> Iterator[int]:
    """Keep other creators out: what one of them takes for an orphan could be the other's log."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def _build(path: Path) -> None:
    workshop = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        draft = workshop / "store"
        os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))  # -wal and -shm inherit the mode
        with closing(sqlite3.connect(draft, isolation_level=None)) as connection:
            connection.executescript(SCHEMA)
        with suppress(FileExistsError):  # not by us: somebody has put a backup there this moment
            os.link(draft, path)
    except sqlite3.Error as error:
        raise OSError(errno.EIO, f"cannot create the store ({error})") from error
    finally:
        shutil.rmtree(workshop, ignore_errors=True)


def _check_version(path: Path, connection: sqlite3.Connection) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION:
        raise corrupt(path, "this is a database, but not one of containernet")
    if version != VERSION:
        raise StoreCorrupt(
            f"{path}: written with schema version {version}, this program reads {VERSION}; "
            "use the version that wrote it, or move the file away and the agents fill a new one"
        )


def _refused(path: Path, error: OSError) -> ContainernetError:
    reason = error.strerror or str(error)
    match error.errno:
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return PermissionRefused(
                f"{path}: {reason}; run as the file's owner, or set another [store.sqlite] path"
            )
        case errno.ENOENT | errno.ENOTDIR | errno.EISDIR | errno.ENAMETOOLONG | errno.ELOOP:
            return ConfigError(
                f"[store.sqlite] path = {str(path)!r}: {reason}; "
                "name a file in a directory that exists or whose parent does"
            )
        case _:
            return StoreUnavailable(f"{path}: {reason}")


def _ours(place: Place, error: sqlite3.Error) -> ContainernetError:
    """Return what an error of SQLite means to the caller (sqlite.org/rescode.html)."""
    path = place.path
    match getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return StoreUnavailable(
                f"{path}: another process has held the lock for {place.timeout:g} s; fuser(1) shows which"
            )
        case sqlite3.SQLITE_FULL:
            return StoreUnavailable(f"{path}: the disk is full; nothing was written")
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM:
            return _refused(path, PermissionError(errno.EACCES, "the file or its directory is read-only"))
        case sqlite3.SQLITE_CANTOPEN:
            return _cannot_open(path, error)
        case sqlite3.SQLITE_IOERR | sqlite3.SQLITE_NOMEM | sqlite3.SQLITE_PROTOCOL | sqlite3.SQLITE_INTERRUPT:
            return StoreUnavailable(f"{path}: {error}")
        case _:
            return corrupt(path, str(error))


def _cannot_open(path: Path, error: sqlite3.Error) -> ContainernetError:
    """SQLite does not say why it could not open a file; find out."""
    if path.is_dir():
        return _refused(path, IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)))
    may = functools.partial(os.access, effective_ids=True)
    if not may(path, os.R_OK | os.W_OK) or not may(path.parent, os.W_OK):
        return _refused(path, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))
    return StoreUnavailable(f"{path}: {error}")
