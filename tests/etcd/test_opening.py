"""The first list of a host that starts, and a world that goes on: it costs a race, and never the truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_network
from pathlib import Path

import pytest

from containernet import claim_subnet
from containernet.errors import LeaseTaken
from containernet.events import Announced, Snapshot
from containernet.model import NetworkConfig, Pool, Prefix, overlaps
from containernet_backends.etcd import EtcdOptions, EtcdStore, records

from .readers import Counting, Reader, key, route
from .server import Cluster

pytestmark = pytest.mark.etcd

NETWORK = NetworkConfig(pools=(Pool(prefix=ip_network("10.4.0.0/16"), subnet_length=24),))
ONE: tuple[Prefix, ...] = (ip_network("10.4.1.0/24"),)


@contextmanager
def started(etcd: Cluster, prefix: str) -> Iterator[tuple[EtcdStore, Counting]]:
    """Return the store of a host that has listed everything a moment ago, and its client."""
    options = EtcdOptions.read({**etcd.options(), "prefix": prefix})
    client = Counting(options)
    store = EtcdStore(options, client=client)
    store._opening._clock = lambda: 0.0  # however long etcd takes to be restored
    try:
        store.starting()
        store.settings()
        assert client.lists == 1
        yield store, client
    finally:
        store.close()


@pytest.fixture
def other(etcd: Cluster, prefix: str) -> Iterator[EtcdStore]:
    """Another host's store."""
    store = EtcdStore(EtcdOptions.read({**etcd.options(), "prefix": prefix}))
    yield store
    store.close()


def test_a_subnet_that_was_taken_since_is_not_taken_again(etcd: Cluster, prefix: str, other: EtcdStore) -> None:
    """Not the same, and none that overlaps: the race is lost, and another list shows what is free."""
    with started(etcd, prefix) as (store, client):
        theirs = other.claim((ip_network("10.4.0.0/17"),), "b", 60)
        assert store.leases() == []
        with pytest.raises(LeaseTaken):
            store.claim(ONE, "a", 60)
        ours = claim_subnet(store, NETWORK, node="a", ttl=60, preferred=ONE)
        assert not overlaps(*theirs.subnets, *ours.subnets)
        assert client.lists == 2


def test_a_subnet_that_was_given_back_since_can_be_had(etcd: Cluster, prefix: str, other: EtcdStore) -> None:
    """What is in the way in an old list is looked at again."""
    theirs = other.claim(ONE, "b", 60)
    with started(etcd, prefix) as (store, _):
        assert len(store.leases()) == 1
        other.release(theirs)
        assert store.claim(ONE, "a", 60).subnets == ONE


def test_the_own_lease_that_ended_since_is_claimed_anew(etcd: Cluster, prefix: str, other: EtcdStore) -> None:
    """A daemon that starts again finds its lease in the list, and then not in etcd."""
    old = other.claim(ONE, "a", 60)
    with started(etcd, prefix) as (store, client):
        other.release(old)
        new = claim_subnet(store, NETWORK, node="a", ttl=60)
        assert (new.subnets, new.revision != old.revision, client.lists) == (ONE, True, 2)


def test_what_was_announced_since_is_heard_behind_the_snapshot(etcd: Cluster, prefix: str) -> None:
    """Once, and in order; the second subscription lists by itself."""
    first, second, third = (route(number) for number in range(3))
    raw = etcd.raw()
    raw.put(key(prefix, first), records.encode_route(first))
    with started(etcd, prefix) as (store, client):
        raw.put(key(prefix, second), records.encode_route(second))
        raw.put(key(prefix, third), records.encode_route(third))
        subscription, later = store.subscribe(), store.subscribe()
        heard = [subscription.next_event(5) for _ in range(3)]
        assert heard == [Snapshot(routes=[first]), Announced(route=second), Announced(route=third)]
        assert client.lists == 1
        assert later.next_event(5) == Snapshot(routes=[first, second, third])
        assert client.lists == 2


def test_what_was_compacted_since_is_listed(etcd: Cluster, prefix: str) -> None:
    """A watch cannot begin behind the old list any more."""
    told = route(1)
    raw = etcd.raw()
    with started(etcd, prefix) as (store, client):
        for mac in range(3):
            raw.put(key(prefix, told), records.encode_route(route(1, mac)))
        raw.compact()
        reader = Reader(store)
        reader.read_until(lambda: reader.routes)
        assert (reader.routes[told.prefix], reader.snapshots, client.lists) == (route(1, 2), 2, 2)
        assert not reader.losses


def test_what_the_store_itself_writes_it_shows(etcd: Cluster, prefix: str) -> None:
    """Whatever it has listed at its start."""
    with started(etcd, prefix) as (store, _):
        store.configure(NETWORK)
        assert store.network() == NETWORK
        reserved = store.reserve(ONE)
        assert [lease.subnets for lease in store.leases()] == [ONE]
        store.release(reserved)
        assert store.leases() == []


def restored(cluster: Cluster, backup: Path) -> None:
    """Let a cluster that has seen elections be restored from a backup, under its own name."""
    ids = cluster.raw().call("Maintenance/Status").header.cluster_id
    cluster._lives -= 1
    cluster.restore(backup)
    assert cluster.raw().call("Maintenance/Status").header.cluster_id == ids


@pytest.fixture
def lived(make_cluster: Callable[..., Cluster], tmp_path: Path) -> tuple[Cluster, Path]:
    """A cluster that can be restored under its own name, a backup of it, and two elections since."""
    cluster = make_cluster()
    cluster.save(tmp_path / "first")
    cluster.restore(tmp_path / "first")
    told = route(1)
    cluster.raw().put(key("/net", told), records.encode_route(told))
    cluster.save(tmp_path / "backup")
    for _ in range(2):
        cluster.restart(cluster.members[0])
    return cluster, tmp_path / "backup"


def test_a_list_of_a_past_that_was_undone_is_thrown_away(lived: tuple[Cluster, Path]) -> None:
    """Between list and claim etcd is restored, and somebody claims in the new past, below the old revision.

    "Nothing was created since" holds there; that the grant does not follow the list shows it.
    """
    cluster, backup = lived
    raw = cluster.raw()
    for mac in range(9):
        raw.put(key("/net", route(1)), records.encode_route(route(1, mac)))
    with started(cluster, "/net") as (store, client):
        listed = raw.status().revision
        assert store.leases() == []
        restored(cluster, backup)
        other = EtcdStore(EtcdOptions.read({**cluster.options(), "prefix": "/net"}))
        theirs = other.claim(ONE, "b", 60)
        while (now := cluster.raw().status().revision) <= listed:  # gone past it
            cluster.raw().put("/elsewhere")
        assert now > listed
        with pytest.raises(LeaseTaken):
            store.claim(ONE, "a", 60)
        assert [lease.node for lease in other.leases()] == ["b"]
        assert client.lists == 2
        # The routes of that past are not gone on from either.
        reader = Reader(store)
        reader.read_until(lambda: reader.snapshots > 1)
        assert reader.routes == {route(1).prefix: route(1)}
        assert "was restored from a backup" in str(reader.losses[0])
        other.release(theirs)
        other.close()


def test_another_past_is_known_by_its_elections(lived: tuple[Cluster, Path]) -> None:
    """Gone past our revision, with as many keys and the same one written last: only raft's term tells."""
    cluster, backup = lived
    member = cluster.members[0]
    a, b = route(1), route(2)

    def tell(mac: int) -> None:
        raw = cluster.raw()
        raw.put(key("/net", b), records.encode_route(route(2, mac)))
        raw.put(key("/net", a), records.encode_route(a))

    options = EtcdOptions.read({**cluster.options(), "prefix": "/net"})
    client = Counting(options)
    store = EtcdStore(options, client=client)
    reader = Reader(store)
    try:
        tell(1)
        reader.read_until(lambda: reader.routes == {a.prefix: a, b.prefix: route(2, 1)})
        known = cluster.status(member).revision
        restored(cluster, backup)
        tell(9)
        assert cluster.status(member).revision == known
        cluster.raw().put("/elsewhere")
        reader.read_until(lambda: reader.routes[b.prefix] == route(2, 9))
        assert client.lists == 2
    finally:
        store.close()
