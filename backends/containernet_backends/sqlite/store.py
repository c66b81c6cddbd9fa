"""SqliteStore: the contracts' methods, each one transaction."""

from __future__ import annotations

import json
import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import attrs

from containernet.contracts import Options
from containernet.errors import ConfigError, ContainernetError, LeaseLost, LeaseTaken, StoreUnavailable
from containernet.jsonform import network_from_json, network_to_json
from containernet.model import Lease, NetworkConfig, Prefix, Route
from containernet.options import build
from containernet.values import shown

from ..leasing import Clock, boot_clock, check_announcement, check_claim, check_subnets, check_ttl
from . import changes, ledger
from .database import Database, Place, corrupt
from .subscription import SqliteSubscription

MAXIMUM_TIMEOUT = 3600.0  # seconds; SQLite counts milliseconds in 32 bits
HISTORY = 10_000  # changes; one costs about 100 octets as a tombstone


def boot_id() -> str:
    """Return what the kernel calls this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _check_path(instance: object, attribute: attrs.Attribute[str], value: str) -> None:
    if not Path(value).is_absolute() or "\0" in value:
        raise ConfigError(f"path = {value!r}: expected the absolute path of a file")


def _check_timeout(instance: object, attribute: attrs.Attribute[float], value: float) -> None:
    if not 0 < value <= MAXIMUM_TIMEOUT:
        raise ConfigError(f"timeout = {value}: expected seconds, above 0 and up to {MAXIMUM_TIMEOUT:g}")


@attrs.frozen(kw_only=True)
class SqliteOptions:
    """The table [store.sqlite].

    Args:
        path: the file, absolute.
        timeout: seconds to wait for another process's lock.
    """

    path: str = attrs.field(default="/var/lib/containernet/store.db", validator=_check_path)
    timeout: float = attrs.field(default=5.0, validator=_check_timeout)
    __repr__ = shown


class SqliteStore:
    """LeaseStore, RouteStore, ConfiguresNetwork and Reserves in one file; threads may share it.

    Args:
        path: the file; it and the last part of its directory are created where they are not there.
        timeout: seconds to wait for another process's lock, above 0.
        now: the clock by which leases end.
        boot: names the boot that `now` counts from.
        history: how many changes a subscriber may sleep through and still get them one by one.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        timeout: float = 5.0,
        now: Clock = boot_clock,
        boot: Callable[[], str] = boot_id,
        history: int = HISTORY,
    ) -> None:
        self._place = Place(path=Path(path), timeout=timeout, now=now, boot=boot)
        self._history = history
        self._database: Database | None = None
        self._closed = False
        self._lock = threading.Lock()
        self._subscriptions: weakref.WeakSet[SqliteSubscription] = weakref.WeakSet()

    @classmethod
    def from_options(cls, options: Options) -> Self:
        """Build the store from [store.sqlite]: `path` and `timeout`. Opens nothing."""
        checked = build(SqliteOptions, options, table="store.sqlite")
        return cls(checked.path, timeout=checked.timeout)

    def network(self) -> NetworkConfig | None:
        """Return the network's configuration, or None."""
        with self._using() as database, database.reading() as db:
            return self._network(db)

    def configure(self, network: NetworkConfig) -> NetworkConfig:
        """Store the configuration if there is none; return the one that stands."""
        with self._using() as database, database.writing() as db:
            standing = self._network(db)
            if standing is None:
                db.execute("UPDATE store SET network = ?", (json.dumps(network_to_json(network)),))
            return standing or network

    def leases(self) -> Sequence[Lease]:
        """Return all live leases and reservations, in the order in which they were first made."""
        with self._using() as database, database.reading() as db:
            return ledger.live(db, self._place.now())

    def claim(self, subnets: tuple[Prefix, ...], node: str, ttl: float) -> Lease:
        """Take `subnets` for `node`, or raise LeaseTaken."""
        check_claim(subnets, node, ttl)
        with self._using() as database, database.writing() as db:
            return ledger.claim(db, subnets, node=node, ttl=ttl, now=self._place.now())

    def reserve(self, subnets: tuple[Prefix, ...]) -> Lease:
        """Set `subnets` aside, or raise LeaseTaken."""
        check_subnets(subnets)
        with self._using() as database, database.writing() as db:
            return ledger.reserve(db, subnets, now=self._place.now())

    def renew(self, lease: Lease, ttl: float) -> Lease:
        """Extend exactly this revision, or raise LeaseLost; a reservation keeps having no end."""
        check_ttl(ttl)
        with self._using() as database, database.writing() as db:
            return ledger.renew(db, lease, ttl=ttl, now=self._place.now())

    def release(self, lease: Lease) -> None:
        """Give back exactly this revision, with its routes, or raise LeaseLost."""
        with self._using() as database, database.writing() as db:
            ledger.release(db, lease, now=self._place.now())

    def announce(self, route: Route) -> None:
        """Tell everybody; ends with the node's lease if the prefix lies in one that lives now."""
        check_announcement(route)
        with self._using() as database, database.writing() as db:
            ledger.expire(db, self._place.now())
            changes.announce(db, route, lease=ledger.covering(db, route), history=self._history)

    def withdraw(self, route: Route) -> None:
        """Take the announcement back if it is still the node's own."""
        with self._using() as database, database.writing() as db:
            ledger.expire(db, self._place.now())
            changes.withdraw(db, route, history=self._history)

    def subscribe(self) -> SqliteSubscription:
        """Begin to listen, on a connection of its own."""
        with self._lock:
            self._check_open()
            subscription = SqliteSubscription(self._place, history=self._history)
            self._subscriptions.add(subscription)
            return subscription

    def close(self) -> None:
        """Let go of the file and end every subscription; may be called twice."""
        with self._lock:
            self._closed = True
            subscriptions = list(self._subscriptions)
            self._drop()
        for subscription in subscriptions:
            subscription.close()

    def _network(self, db: sqlite3.Connection) -> NetworkConfig | None:
        (text,) = db.execute("SELECT network FROM store").fetchone()
        try:
            return None if text is None else network_from_json(json.loads(text))
        except (ValueError, TypeError, KeyError, ConfigError) as error:
            raise corrupt(self._place.path, f"the network's configuration is not one: {error!r}") from error

    @contextmanager
    def _using(self) -> Iterator[Database]:
        """The connection, for this thread alone; one that has failed is not used again."""
        with self._lock:
            self._check_open()
            self._database = self._database or Database(self._place)
            try:
                yield self._database
            except (LeaseTaken, LeaseLost, ConfigError):
                raise  # an answer, not a failure
            except ContainernetError:
                self._drop()
                raise

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable(f"{self._place.path}: this store was closed; open another")

    def _drop(self) -> None:
        if self._database is not None:
            self._database.close()
        self._database = None
