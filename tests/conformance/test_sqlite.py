"""The SQLite store keeps every contract of a store."""

from __future__ import annotations

import tempfile
from contextlib import closing
from pathlib import Path

from containernet.testing.bed import Bed
from containernet.testing.machines import BoundRouteMachine, run
from containernet.testing.stores import (
    BoundRoutesContract,
    Clock,
    ConfiguresNetworkContract,
    LeaseStoreContract,
    ReservesContract,
    RouteStoreContract,
    route,
)
from containernet_backends.sqlite import SqliteStore

# Each commit waits for the disk; where memory can be had as a directory, thousands of them are quick.
SHM = Path("/dev/shm")
WHERE = SHM if SHM.is_dir() else None


NOISE = route("198.51.100.0/24")


def bed(history: int = 10_000) -> Bed[SqliteStore]:
    """Return a bed in a file of its own."""
    clock, directory = Clock(), tempfile.TemporaryDirectory(dir=WHERE)
    path = Path(directory.name) / "store.db"

    def store() -> SqliteStore:
        return SqliteStore(path, now=clock, history=history)

    def gap() -> None:
        with closing(store()) as busy:
            for _ in range(history):
                busy.announce(NOISE)
                busy.withdraw(NOISE)

    return Bed(open=store, advance=clock.advance, gap=gap if history == 1 else None, close=directory.cleanup)


class TestSqlite(
    LeaseStoreContract, ReservesContract, ConfiguresNetworkContract, RouteStoreContract, BoundRoutesContract
):
    def bed(self) -> Bed[SqliteStore]:
        """Return an empty store."""
        return bed()


class TestShortHistory(RouteStoreContract):
    """A subscriber that slept past what the file remembers gets a snapshot, and knows as much."""

    supports = RouteStoreContract.supports - {"exact events"}

    def bed(self) -> Bed[SqliteStore]:
        """Return an empty store that remembers one change."""
        return bed(history=1)

    def test_routes_in_any_order(self) -> None:
        """The same with leases."""
        run(lambda: BoundRouteMachine(self.bed(), supports=self.supports), examples=30)
