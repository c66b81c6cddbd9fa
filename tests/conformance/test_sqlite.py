"""The SQLite store keeps every contract of a store."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import settings

from containernet_backends.sqlite import SqliteStore

from .contracts_stores import (
    Bed,
    BoundRoutesContract,
    Clock,
    ConfiguresNetworkContract,
    LeaseStoreContract,
    ReservesContract,
    RouteStoreContract,
)
from .machines_stores import LeaseMachine, RouteMachine

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


class SqliteLeases(LeaseMachine):
    def bed(self) -> Bed[SqliteStore]:
        """Return an empty store."""
        return bed()


class SqliteRoutes(RouteMachine):
    """With so short a history that subscribers often sleep past it."""

    def bed(self) -> Bed[SqliteStore]:
        """Return an empty store."""
        return bed(history=1)


quickly = settings(stateful_step_count=40, deadline=None)
TestLeaseMachine = SqliteLeases.TestCase
TestLeaseMachine.settings = quickly
TestRouteMachine = SqliteRoutes.TestCase
TestRouteMachine.settings = quickly
