"""The memory store keeps every contract of a store."""

from __future__ import annotations

from hypothesis import settings

from containernet.errors import ConfigError
from containernet_backends.memory import MemoryStore

from .contracts_stores import (
    ONE,
    Bed,
    BoundRoutesContract,
    Clock,
    ConfiguresNetworkContract,
    LeaseStoreContract,
    ReservesContract,
    RouteStoreContract,
    held,
    refused,
)
from .machines_stores import LeaseMachine, RouteMachine


def bed() -> Bed[MemoryStore]:
    """Return a bed in this process's memory, under a name that nobody else has."""
    clock = Clock()
    first = MemoryStore(now=clock, name=f"bed {id(clock)}")
    return Bed(
        open=lambda: MemoryStore(now=clock, name=f"bed {id(clock)}"), advance=clock.advance, close=first.close
    )


class TestMemory(
    LeaseStoreContract, ReservesContract, ConfiguresNetworkContract, RouteStoreContract, BoundRoutesContract
):
    def bed(self) -> Bed[MemoryStore]:
        """Return an empty store."""
        return bed()


class MemoryLeases(LeaseMachine):
    def bed(self) -> Bed[MemoryStore]:
        """Return an empty store."""
        return bed()


class MemoryRoutes(RouteMachine):
    def bed(self) -> Bed[MemoryStore]:
        """Return an empty store."""
        return bed()


quickly = settings(stateful_step_count=40, deadline=None)
TestLeaseMachine = MemoryLeases.TestCase
TestLeaseMachine.settings = quickly
TestRouteMachine = MemoryRoutes.TestCase
TestRouteMachine.settings = quickly


def test_alone() -> None:
    """Stores without a name hold nothing in common."""
    one, other = MemoryStore.from_options({}), MemoryStore.from_options({})
    one.claim(ONE, "a", 60)
    assert held(other) == set()


def test_named() -> None:
    """Stores of one name hold the same, and closing one leaves the other open."""
    one, other = MemoryStore.from_options({"name": "x"}), MemoryStore.from_options({"name": "x"})
    one.claim(ONE, "a", 60)
    one.close()
    assert held(other) == {("a", ONE)}


def test_forgotten() -> None:
    """What a name held is gone when nobody holds a store of that name."""
    MemoryStore.from_options({"name": "y"}).claim(ONE, "a", 60)
    assert held(MemoryStore.from_options({"name": "y"})) == set()


def test_options() -> None:
    """An unknown option, or a name that is no text, is refused."""
    refused(ConfigError, MemoryStore.from_options, {"nmae": "x"})
    refused(ConfigError, MemoryStore.from_options, {"name": 1})
