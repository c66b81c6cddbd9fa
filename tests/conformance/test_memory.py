"""The memory store keeps every contract of a store."""

from __future__ import annotations

from containernet.errors import ConfigError
from containernet.testing.bed import Bed
from containernet.testing.stores import (
    ONE,
    BoundRoutesContract,
    Clock,
    ConfiguresNetworkContract,
    LeaseStoreContract,
    ReservesContract,
    RouteStoreContract,
    held,
    refused,
)
from containernet_backends.memory import MemoryStore


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
