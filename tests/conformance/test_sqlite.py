"""The SQLite store keeps every contract of a store."""

from __future__ import annotations

import tempfile
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
)
from containernet_backends.sqlite import SqliteStore

# Each commit waits for the disk; where memory can be had as a directory, thousands of them are quick.
SHM = Path("/dev/shm")
WHERE = SHM if SHM.is_dir() else None


def bed(history: int = 10_000) -> Bed[SqliteStore]:
    """Return a bed in a file of its own."""
    clock, directory = Clock(), tempfile.TemporaryDirectory(dir=WHERE)
    path = Path(directory.name) / "store.db"
    return Bed(
        open=lambda: SqliteStore(path, now=clock, history=history),
        advance=clock.advance,
        close=directory.cleanup,
    )


class TestSqlite(
    LeaseStoreContract, ReservesContract, ConfiguresNetworkContract, RouteStoreContract, BoundRoutesContract
):
    def bed(self) -> Bed[SqliteStore]:
        """Return an empty store."""
        return bed()


def test_a_short_history() -> None:
    """Subscribers that often sleep past what the file remembers get a snapshot, and know as much."""
    run(lambda: BoundRouteMachine(bed(history=1)))
