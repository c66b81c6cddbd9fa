"""Which addresses of the node's subnets a container gets, remembered on disk.

One SQLite file per node is the whole truth: it knows every address that was ever handed out, and where each
container was attached, so that a restarted agent finds its endpoints again. Every address is in exactly one of
three places, and moves between them in one transaction:

    fresh      never handed out; kept as ranges, so that a /64 costs as much as a /24
    endpoint   held by a container's interface
    released   given back; the oldest leaves first

A container gets the address that it asks for; else the one that it had, if nobody was given that meanwhile;
else the lowest fresh one of its subnet; and only when there is none, the one that was released longest ago:
what still has an old address in its cache has the most time to notice. All three places know addresses, not
subnets, so they stay right when the node's subnets change, overlapping the old ones or not.

In every subnet three addresses are never handed out. The first is the network itself (IPv6: the subnet-router
anycast address, RFC 4291 s2.6.1). The second belongs to the bridge. The last is IPv4's broadcast address; IPv6
has none, but loses its last address too, so that one rule serves both families.

The file is in WAL mode with synchronous=NORMAL. A commit is in the kernel's hands when a call returns, so a
process that is killed loses nothing. Power loss may undo the last calls, but never half of one, and it takes
the containers of those calls with it.

This module knows neither leases nor namespaces; it stores a namespace's path as it is given.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from ipaddress import ip_interface
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from . import numbers
from .errors import (
    AddressesExhausted,
    AddressTaken,
    ConfigError,
    ContainernetError,
    StateCorrupt,
    StateUnavailable,
)
from .jsonform import endpoint_from_json, endpoint_to_json
from .model import Endpoint, Interface, Prefix

if TYPE_CHECKING:
    import sqlite3

APPLICATION = 0x636E6574  # "cnet", in the file's header: this SQLite file is an address book
SCHEMA = 2
PATIENCE = 10.0  # seconds to wait for another process that writes

_TABLES = (
    "CREATE TABLE fresh (last BLOB PRIMARY KEY, first BLOB NOT NULL) WITHOUT ROWID",
    "CREATE TABLE endpoint (container TEXT, interface TEXT, netns TEXT NOT NULL, addresses TEXT NOT NULL,"
    " PRIMARY KEY (container, interface)) WITHOUT ROWID",
    # A new age is the highest one plus 1, which is all that the order needs.
    "CREATE TABLE released (age INTEGER PRIMARY KEY, subnet TEXT NOT NULL, address BLOB NOT NULL UNIQUE)",
    "CREATE INDEX released_by_subnet ON released (subnet)",
    f"PRAGMA application_id = {APPLICATION}",
)
# What version 2 has beyond 1: the rest of an endpoint, as JSON, and who had an address last.
_SINCE_2 = (
    "ALTER TABLE endpoint ADD COLUMN rest TEXT NOT NULL DEFAULT '{}'",
    "ALTER TABLE released ADD COLUMN container TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE released ADD COLUMN interface TEXT NOT NULL DEFAULT ''",
    "CREATE INDEX released_by_container ON released (container)",
    f"PRAGMA user_version = {SCHEMA}",
)
_COLUMNS = ("container", "interface", "netns", "addresses")  # what an endpoint has there, beside the rest


Name = tuple[str, str]  # container id, interface


def bridge_address(subnet: Prefix) -> Interface:
    """Return the address of the node's own bridge in `subnet`: the first behind the network's.

    Raises:
        ConfigError: the subnet is too small to hold a bridge and a container.
    """
    if subnet.prefixlen > subnet.max_prefixlen - 2:
        raise ConfigError(
            f"subnet {subnet} is too small for a bridge and a container: expected at most "
            f"/{subnet.max_prefixlen - 2}"
        )
    return _interface(subnet, int(subnet.network_address) + 1)


class AddressBook:
    """The addresses that a node's containers hold, in one file.

    Safe to use from many threads, and from many processes that have each opened the file; not across a fork.
    Every call blocks on the disk, and for up to 10 s on another process that writes. Either all of a call
    happens or, when it raises, nothing.

    Args:
        path: the file; made if it is not there, in a directory that must be.

    Raises (all methods):
        StateUnavailable: the file cannot be opened, read or written.
        StateCorrupt: the file is damaged, or something other than an address book of this version.
    """

    def __init__(self, path: str | Path) -> None:
        import sqlite3

        self._path = path = Path(path)
        self._lock = threading.Lock()
        with _translated(path):
            self._db = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
        try:
            with _translated(path):
                self._prepare()
        except BaseException:
            self._db.close()
            raise

    def assign(self, wished: Endpoint, subnets: tuple[Prefix, ...]) -> Endpoint:
        """Return the endpoint with one address in each subnet, in their order, and remember all of it.

        Asked again, it returns the same addresses as far as they lie in `subnets` and no others are asked for;
        the others are released, and new ones take their places.

        Args:
            wished: what to remember; its addresses are those that it asks for, at most one in a subnet.
            subnets: the node's own; at least one, at most one per family.

        Raises:
            AddressesExhausted: a subnet has no address left.
            AddressTaken: another interface holds one that is asked for.
            ConfigError: not such subnets, or one that is asked for is none of theirs.
        """
        if not subnets or len({subnet.version for subnet in subnets}) != len(subnets):
            raise ConfigError(
                f"container {wished.container}: expected a subnet of IPv4, of IPv6 or one of each, "
                f"got {', '.join(map(str, subnets)) or 'none'}"
            )
        wishes = _wishes(wished, subnets)
        with self._transaction() as db:
            before = self._row(db, wished.name)
            held = {_number(own): own for own in before.addresses} if before else {}
            taken = []
            for subnet in subnets:
                stays = (number for number in held if _usable(subnet, number))
                wish = wishes.get(subnet) if wishes else None  # the hash of a prefix is dear
                number = wish or next(stays, None) or _take(db, subnet, wished.name)
                if wish and wish not in held and not _take_free(db, wish):
                    raise AddressTaken(self._taken(db, _interface(subnet, wish)))
                taken.append(number)
            if held:
                _release(db, wished.name, [own for number, own in held.items() if number not in taken])
            endpoint = attrs.evolve(wished, addresses=tuple(map(_interface, subnets, taken)))
            if endpoint != before:
                db.execute("REPLACE INTO endpoint VALUES (?, ?, ?, ?, ?)", _to_row(endpoint))
        return endpoint

    def release(self, container: str, interface: str) -> bool:
        """Give the addresses of an interface back; return whether it held any. May be called twice."""
        with self._transaction() as db:
            row = db.execute(
                "DELETE FROM endpoint WHERE container = ? AND interface = ? RETURNING addresses",
                (container, interface),
            ).fetchone()
            if row:
                _release(db, (container, interface), self._parse(row[0]))
        return row is not None

    def assigned(self) -> tuple[Endpoint, ...]:
        """Return every interface that holds addresses, by container and interface, in any subnet."""
        with self._lock, _translated(self._path):
            rows = self._db.execute("SELECT * FROM endpoint ORDER BY container, interface").fetchall()
        return tuple(map(self._endpoint, rows))

    def has_room(self, subnets: tuple[Prefix, ...]) -> bool:
        """Return whether each of `subnets` has an address that nobody holds."""
        with self._lock, _translated(self._path):
            return all(_has_free(self._db, *_bounds(subnet)) for subnet in subnets)

    def close(self) -> None:
        """Let go of the file; may be called twice."""
        with self._lock, _translated(self._path):
            self._db.close()

    def _prepare(self) -> None:
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        with self._transaction() as db:
            [application], [schema] = (
                db.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version")
            )
            if (application, schema) == (APPLICATION, SCHEMA):
                return
            fresh = not (application or schema or db.execute("SELECT 1 FROM sqlite_schema").fetchone())
            if not fresh and (application, schema) != (APPLICATION, 1):
                raise StateCorrupt(
                    f"{self._path} is a SQLite file, but not an address book of version 1 to {SCHEMA} "
                    f"(application {application:#x}, version {schema}): move it away, or run the version that "
                    "wrote it"
                )
            for statement in (*_TABLES, *_SINCE_2) if fresh else _SINCE_2:
                db.execute(statement)
            if fresh:
                db.execute("INSERT INTO fresh VALUES (?, ?)", (_bytes((7 << 128) - 1), _bytes(0)))

    def _row(self, db: sqlite3.Connection, name: Name) -> Endpoint | None:
        row = db.execute("SELECT * FROM endpoint WHERE container = ? AND interface = ?", name).fetchone()
        return self._endpoint(row) if row else None

    def _endpoint(self, row: tuple[str, ...]) -> Endpoint:
        container, interface, netns, addresses, rest = row
        named = {"container": container, "interface": interface, "netns": netns, "addresses": addresses.split()}
        try:
            return endpoint_from_json({**json.loads(rest), **named})
        except (ValueError, TypeError, KeyError, AttributeError, ContainernetError) as error:
            raise StateCorrupt(
                f"{self._path} holds of {container} ({interface}) what is no endpoint: {error}; move it away"
            ) from error

    def _taken(self, db: sqlite3.Connection, own: Interface) -> str:
        rows = db.execute("SELECT * FROM endpoint").fetchall()
        holders = [each for each in map(self._endpoint, rows) if own.ip in {held.ip for held in each.addresses}]
        who = ", ".join(f"{each.container} ({each.interface})" for each in holders)
        return f"{own.ip} is held by {who}: detach that first, or ask for another address"

    def _parse(self, text: str) -> tuple[Interface, ...]:
        try:
            return tuple(map(ip_interface, text.split()))
        except ValueError as error:
            raise StateCorrupt(f"{self._path} holds addresses that are none: {error}; move it away") from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, _translated(self._path):
            # IMMEDIATE: two that read first and then both want to write could only fail.
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # SQLite itself rolls back when the disk is full
                    self._db.execute("ROLLBACK")
                raise


def _to_row(endpoint: Endpoint) -> tuple[str, ...]:
    document = endpoint_to_json(endpoint)
    container, interface, netns, addresses = map(document.pop, _COLUMNS)
    rest = {key: value for key, value in document.items() if value}  # mostly there is none
    return container, interface, netns, " ".join(addresses), json.dumps(rest) if rest else "{}"


def _wishes(wished: Endpoint, subnets: tuple[Prefix, ...]) -> Mapping[Prefix, int]:
    """Return the number that is asked for in each subnet where one is."""
    wishes: dict[Prefix, int] = {}
    for own in wished.addresses:
        number = _number(own)
        subnet = next((subnet for subnet in subnets if _usable(subnet, number)), None)
        if subnet is None or subnet in wishes:
            raise ConfigError(
                f"container {wished.container} asks for {own.ip}: expected one address at most in each of "
                f"{', '.join(map(str, subnets))}, but for the first two and the last of it"
            )
        wishes[subnet] = number
    return wishes


# Both families lie on one number line, the family above the 128 bits of an address; in the file a number is 17
# octets, big-endian, since SQLite compares blobs octet by octet and its integers end at 63 bits.
_ADDRESS_BITS = (1 << 128) - 1


def _number(own: Interface) -> int:
    return own.version << 128 | int(own.ip)


def _bytes(number: int) -> bytes:
    return number.to_bytes(17, "big")


def _interface(subnet: Prefix, number: int) -> Interface:
    return numbers.interface(number & _ADDRESS_BITS, subnet)


def _bounds(subnet: Prefix) -> tuple[int, int]:
    """Return the lowest and the highest number that a container may have in `subnet`; crossed: none."""
    family = subnet.version << 128
    return family | int(subnet.network_address) + 2, family | int(subnet.broadcast_address) - 1


def _usable(subnet: Prefix, number: int) -> bool:
    low, high = _bounds(subnet)
    return low <= number <= high


def _take(db: sqlite3.Connection, subnet: Prefix, name: Name) -> int:
    low, high = _bounds(subnet)
    number = (
        _take_own(db, name, low, high) or _take_fresh(db, low, high) or _take_released(db, subnet, low, high)
    )
    if number is None:
        raise AddressesExhausted(
            f"subnet {subnet} has no address left: all {max(0, high - low + 1)} for containers are held; "
            "remove containers that are gone, or give nodes larger subnets"
        )
    return number


def _take_own(db: sqlite3.Connection, name: Name, low: int, high: int) -> int | None:
    """Take what the same interface of the same container had last."""
    row = db.execute(
        "SELECT age, address FROM released WHERE container = ? AND interface = ? AND address BETWEEN ? AND ?"
        " ORDER BY age DESC LIMIT 1",
        (*name, _bytes(low), _bytes(high)),
    ).fetchone()
    return _unrelease(db, row)


def _take_free(db: sqlite3.Connection, number: int) -> bool:
    """Take exactly this one; False: somebody holds it."""
    if _take_fresh(db, number, number):
        return True
    row = db.execute("SELECT age, address FROM released WHERE address = ?", (_bytes(number),)).fetchone()
    return _unrelease(db, row) is not None


def _has_free(db: sqlite3.Connection, low: int, high: int) -> bool:
    bounds = _bytes(low), _bytes(high)
    released = db.execute("SELECT 1 FROM released WHERE address BETWEEN ? AND ? LIMIT 1", bounds)
    fresh = db.execute("SELECT 1 FROM fresh WHERE last >= ? AND first <= ? LIMIT 1", bounds)
    return bool(released.fetchone() or fresh.fetchone())


def _take_fresh(db: sqlite3.Connection, low: int, high: int) -> int | None:
    row = db.execute("SELECT first, last FROM fresh WHERE last >= ? ORDER BY last LIMIT 1", (_bytes(low),))
    first, last = (int.from_bytes(bound, "big") for bound in row.fetchone() or (b"", b""))
    number = max(first, low)
    if number > min(last, high):
        return None
    if number < last:
        db.execute("REPLACE INTO fresh VALUES (?, ?)", (_bytes(last), _bytes(number + 1)))
    else:
        db.execute("DELETE FROM fresh WHERE last = ?", (_bytes(last),))
    if first < number:
        db.execute("INSERT INTO fresh VALUES (?, ?)", (_bytes(number - 1), _bytes(first)))
    return number


def _take_released(db: sqlite3.Connection, subnet: Prefix, low: int, high: int) -> int | None:
    # What this very subnet got back, and failing that an overlapping one that the node had before.
    own = db.execute("SELECT age, address FROM released WHERE subnet = ? ORDER BY age LIMIT 1", (str(subnet),))
    row = own.fetchone()
    if row is None:
        # +age: search by address, of which few can be left here, and not through all of them by age.
        overlapping = db.execute(
            "SELECT age, address FROM released WHERE address BETWEEN ? AND ? ORDER BY +age LIMIT 1",
            (_bytes(low), _bytes(high)),
        )
        row = overlapping.fetchone()
    return _unrelease(db, row)


def _unrelease(db: sqlite3.Connection, row: tuple[int, bytes] | None) -> int | None:
    if row is None:
        return None
    age, address = row
    db.execute("DELETE FROM released WHERE age = ?", (age,))
    return int.from_bytes(address, "big")


def _release(db: sqlite3.Connection, name: Name, addresses: Iterable[Interface]) -> None:
    db.executemany(
        "INSERT INTO released (subnet, address, container, interface) VALUES (?, ?, ?, ?)",
        [(str(own.network), _bytes(_number(own)), *name) for own in addresses],
    )


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Raise errors of ours for those of SQLite."""
    import sqlite3

    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", None) or 0
        name = getattr(error, "sqlite_errorname", None) or type(error).__name__
        failed = f"address book {path}: {error} ({name}); "
        primary = code & 0xFF  # the octets above tell variants apart
        if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise StateCorrupt(failed + "move the file away and attach the containers again") from error
        advice = {
            sqlite3.SQLITE_FULL: "make room on the disk",
            sqlite3.SQLITE_CANTOPEN: "is its directory there, and may this user write in it?",
            sqlite3.SQLITE_READONLY: "make the file and its directory writable for this user",
            sqlite3.SQLITE_BUSY: f"another process wrote for longer than {PATIENCE:.0f} s; try again",
        }
        raise StateUnavailable(failed + advice.get(primary, "nothing was changed by this call")) from error


def recorded(path: Path) -> tuple[Endpoint, ...]:
    """Return the containers of the book at `path`; where there is no book, there are none.

    Raises:
        StateUnavailable: there is one, and it cannot be read.
    """
    if not path.exists():
        return ()
    with closing(AddressBook(path)) as book:
        return book.assigned()
