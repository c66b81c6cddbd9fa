"""SqliteStore: the contracts' methods, each one transaction."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from containernet.contracts import Options
from containernet.errors import ConfigError, ContainernetError, LeaseLost, LeaseTaken, StoreUnavailable
from containernet.model import Lease, NetworkConfig, Prefix, Route

from ..claims import check_claim, check_subnets, check_ttl
from . import changes, ledger, network
from .database import Clock, Database, Place
from .subscription import SqliteSubscription

DEFAULT_PATH = "/var/lib/containernet/store.db"
HISTORY = 10_000  # changes; one costs about 100 octets as a tombstone


def boot_clock() -> float:
    """Return seconds since the boot; never set, and counts while the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """Return what the kernel calls this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


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
        unknown = sorted(options.keys() - {"path", "timeout"})
        if unknown:
            raise ConfigError(f"[store.sqlite] {', '.join(unknown)}: unknown; expected path, timeout")
        path, timeout = options.get("path", DEFAULT_PATH), options.get("timeout", 5.0)
        if not isinstance(path, str) or not Path(path).is_absolute() or "\0" in path:
            raise ConfigError(f"[store.sqlite] path = {path!r}: expected the absolute path of a file")
        if not isinstance(timeout, int | float) or isinstance(timeout, bool) or not 0 < timeout <= 3600:
            raise ConfigError(f"[store.sqlite] timeout = {timeout!r}: expected seconds, above 0 and up to 3600")
        return cls(path, timeout=timeout)

    def network(self) -> NetworkConfig | None:
        """Return the network's configuration, or None."""
        with self._using() as database, database.reading() as db:
            return network.stored(db)

    def configure(self, config: NetworkConfig) -> NetworkConfig:
        """Store the configuration if there is none; return the one that stands."""
        with self._using() as database, database.writing() as db:
            return network.store(db, config)

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
