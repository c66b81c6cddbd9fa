"""preview: what a daemon would do, shown without doing it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any

import pytest

from containernet.addresses import AddressBook
from containernet.config import Choice, Config, DaemonTable, NodeTable
from containernet.model import NetworkConfig, Pool, Route
from containernet.preview import preview
from containernet.testing import FakeKernel
from containernet_backends.memory import MemoryStore
from tests.books import assign

NETWORK = NetworkConfig(pools=(Pool(prefix=ip_network("10.4.0.0/16"), subnet_length=24),))


@pytest.fixture
def kernel() -> FakeKernel:
    """A host's kernel that holds nothing of ours."""
    return FakeKernel()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[MemoryStore]:
    """The store that the config names."""
    with closing(MemoryStore(name=str(tmp_path))) as store:
        yield store


def config(tmp_path: Path, **more: Any) -> Config:
    """Return a host's config."""
    choice = Choice(name="memory", options={"name": str(tmp_path)})
    return Config(
        node=NodeTable(name="a"),
        network=NETWORK,
        leases=choice,
        routes=choice,
        remote=Choice(name="host-gw", options={}),
        daemon=DaemonTable(state_dir=str(tmp_path)),
        **more,
    )


def test_nothing_is_written_anywhere(tmp_path: Path, kernel: FakeKernel, store: MemoryStore) -> None:
    """Not even the network into a store that holds none; and what was assumed is said."""
    due = preview(config(tmp_path), kernel=kernel)
    assert any("link cn0" in str(operation) for operation in due.operations)
    assert len(due.notes) == 1
    assert "a holds no lease; it would ask for 10.4." in due.notes[0]
    assert store.network() is None
    assert not store.leases()
    assert not kernel.batches
    assert not list(tmp_path.iterdir())


def test_what_is_held_and_heard_is_planned(tmp_path: Path, kernel: FakeKernel, store: MemoryStore) -> None:
    """Peers, containers, stale items; and each peer that is not believed or not reached, with its reason."""
    store.claim((ip_network("10.4.1.0/24"),), "a", 60)
    for prefix, hop in (
        ("10.4.2.0/24", "192.0.2.2"),
        ("10.4.3.0/24", "203.0.113.3"),
        ("10.9.0.0/24", "192.0.2.9"),
    ):
        store.announce(Route(prefix=ip_network(prefix), node="peer", next_hop=ip_address(hop)))
    with closing(AddressBook(tmp_path / "addresses.db")) as book:
        assign(book, "c1", "eth0", (ip_network("10.4.1.0/24"),), netns="/run/netns/c1")
        assign(book, "stranded", "eth0", (ip_network("10.4.200.0/24"),), netns="/run/netns/c2")
    due = preview(config(tmp_path), kernel=kernel)
    words = [str(operation) for operation in due.operations]
    assert "+ address 10.4.1.1/24 dev cn0" in words
    assert "+ route 10.4.2.0/24 via 192.0.2.2 dev eth0" in words
    assert len([word for word in words if "netns /run/netns/" in word]) == 1
    assert [note.partition(":")[0] for note in due.notes] == [
        "10.9.0.0/24 is not believed",
        "host-gw cannot reach 10.4.3.0/24",
    ]


def test_nothing_to_do(tmp_path: Path, kernel: FakeKernel, store: MemoryStore) -> None:
    """Executing what is shown leaves nothing to show."""
    store.claim((ip_network("10.4.1.0/24"),), "a", 60)
    assert kernel.execute(preview(config(tmp_path), kernel=kernel).operations) == []
    assert preview(config(tmp_path), kernel=kernel).operations == ()
    assert ip_interface("10.4.1.1/24") in {getattr(item, "address", None) for item in kernel.items.values()}
