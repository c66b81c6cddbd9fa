"""What a reader and a writer live through when members die, freeze, are cut off, forget, or are restored."""

from __future__ import annotations

import itertools
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from containernet.errors import StoreUnavailable
from containernet.events import Announced, Snapshot
from containernet_backends.etcd import EtcdOptions, EtcdStore, records
from containernet_backends.etcd.client import Client
from tests.waiting import wait_until

from .readers import key, reading, route
from .server import Cluster, Member

pytestmark = pytest.mark.etcd

MakeCluster = Callable[..., Cluster]
PREFIX = "/net"
NOTICED = 10.0  # seconds: a ping after 6, and 3 without an answer; see client.CHANNEL_OPTIONS
SLACK = 2.0  # seconds, for two busy processors


def tell(cluster: Cluster, number: int, mac: int = 0, *, member: Member | None = None) -> None:
    """Let a route be told, behind the back of the code that is tested."""
    told = route(number, mac)
    cluster.raw(member).put(key(PREFIX, told), records.encode_route(told))


def options(cluster: Cluster, timeout: float = 3.0, first: Member | None = None) -> dict[str, object]:
    """Return the options of a store, with a member's endpoint first."""
    urls = sorted(cluster.urls, key=lambda url: first is None or url != first.url)
    return {**cluster.options(), "endpoints": urls, "prefix": PREFIX, "timeout": timeout}


@contextmanager
def client(options: dict[str, object]) -> Iterator[Client]:
    """Return a client that is closed in the end."""
    made = Client(EtcdOptions.read(options))
    try:
        yield made
    finally:
        made.close()


def test_endpoints_fail(make_cluster: MakeCluster) -> None:
    """One of three members is frozen, one silently cut off: the third answers within the time of one call.

    The next call asks that one first. Watches at the others are noticed by a ping and go on where they were.
    When in the end a member dies, that is noticed at once.
    """
    cluster = make_cluster(3, proxied=True)
    well = cluster.leader()
    frozen, cut = cluster.followers()
    with (
        reading(options(cluster, first=frozen)) as (one, of_frozen),
        reading(options(cluster, first=cut)) as (two, of_cut),
        client(options(cluster, first=frozen)) as writer,
    ):
        writer.grant(60)
        frozen.freeze()
        cut.proxy.cut()
        began = time.monotonic()
        writer.grant(60)
        assert time.monotonic() - began < 3.0
        began = time.monotonic()
        writer.grant(60)
        assert time.monotonic() - began < 0.9

        tell(cluster, 1, member=well)
        for reader, counting in ((one, of_frozen), (two, of_cut)):
            reader.read_until(
                lambda reader=reader: reader.routes,  # type: ignore[misc]
                patience=NOTICED + SLACK,
            )
            assert (counting.lists, counting.checks, reader.snapshots) == (1, 1, 2)

        frozen.thaw()
        cut.proxy.mend()
        well.kill()
        began = time.monotonic()
        cluster.leader(patience=10)
        tell(cluster, 2, member=cut)
        for reader, counting in ((one, of_frozen), (two, of_cut)):
            reader.read_until(lambda reader=reader: len(reader.routes) == 2)  # type: ignore[misc]
            assert counting.lists == 1
        assert time.monotonic() - began < NOTICED


def test_a_leader_dies(make_cluster: MakeCluster) -> None:
    """Calls made during an election fail or succeed, and soon they succeed; the watch hears of everything."""
    cluster = make_cluster(3)
    leader = cluster.leader()
    with reading(options(cluster, first=leader)) as (reader, counting):
        leader.kill()
        well = next(member for member in cluster.members if member is not leader)
        store = EtcdStore.from_options(options(cluster, first=leader))

        def announced() -> bool:
            try:
                store.announce(route(1))
            except StoreUnavailable:
                return False
            return True

        wait_until(announced, what="another leads", patience=5)
        store.close()
        tell(cluster, 2, member=well)
        reader.read_until(lambda: len(reader.routes) == 2)
        assert counting.lists == 1


def test_members_without_a_leader_tell_nothing(make_cluster: MakeCluster) -> None:
    """Cut off from the others, a member is left, although it answers; without a majority none will do."""
    cluster = make_cluster(3, apart=True)
    alone = cluster.followers()[0]
    others = [member for member in cluster.members if member is not alone]
    with reading(options(cluster, first=alone)) as (reader, counting):
        cluster.cut_off(alone)
        cluster.leader(among=others)
        tell(cluster, 1, member=others[0])
        reader.read_until(lambda: len(reader.routes) == 1)
        assert "leader" in str(reader.losses[0])
        only = {**options(cluster, timeout=1.0), "endpoints": [alone.url]}
        with client(only) as stale, pytest.raises(StoreUnavailable, match="leader"):
            stale.get(b"/x")
        for member in others:
            cluster.cut_off(member)
        reader.read_until(lambda: len(reader.losses) > 1)
        with client(options(cluster, timeout=1.0)) as nobody, pytest.raises(StoreUnavailable):
            nobody.grant(60)
        for member in cluster.members:
            cluster.rejoin(member)
        cluster.leader()
        tell(cluster, 2)
        reader.read_until(lambda: len(reader.routes) == 2)
        assert counting.lists == 1


def test_a_gap_is_made_up_for(make_cluster: MakeCluster, tmp_path: Path) -> None:
    """What happened while the connection was away is in the snapshot after it, however etcd came back.

    With the same history, nothing is listed; where it was compacted away or is another one, everything is.
    """
    cluster = make_cluster(proxied=True)
    (member,) = cluster.members
    for number in range(3):
        tell(cluster, number)
    with reading(options(cluster)) as (reader, counting):

        def gap(change: Callable[[], object]) -> tuple[int, int]:
            """Break the connection, change something meanwhile; return how many lists and snapshots it took."""
            before = counting.lists, reader.snapshots
            member.proxy.refuse()
            change()
            member.proxy.mend()
            reader.read_until(lambda: reader.snapshots > before[1])
            reader.read(0.2)
            return counting.lists - before[0], reader.snapshots - before[1]

        def compacted() -> None:
            tell(cluster, 1, mac=1)
            tell(cluster, 1, mac=2)
            cluster.raw().compact()

        assert gap(lambda: cluster.restart(member)) == (0, 1)

        assert gap(lambda: tell(cluster, 2, mac=9)) == (0, 1)
        reader.read_until(lambda: reader.routes[route(2).prefix] == route(2, 9))

        assert gap(compacted) == (1, 1)
        assert reader.routes[route(1).prefix] == route(1, 2)

        cluster.save(tmp_path / "backup")
        tell(cluster, 1, mac=3)
        reader.read_until(lambda: reader.routes[route(1).prefix] == route(1, 3))
        assert gap(lambda: cluster.restore(tmp_path / "backup")) == (1, 1)
        assert reader.routes[route(1).prefix] == route(1, 2)

        # The same cluster, for all that its ids say, in another history, gone past what we know.
        cluster._lives -= 1
        tell(cluster, 1, mac=4)
        reader.read_until(lambda: reader.routes[route(1).prefix] == route(1, 4))

        def restored() -> None:
            ids = cluster.raw().call("Maintenance/Status").header.cluster_id
            cluster.restore(tmp_path / "backup")
            assert cluster.raw().call("Maintenance/Status").header.cluster_id == ids
            for mac in range(5, 10):
                tell(cluster, 1, mac=mac)

        assert gap(restored) == (1, 1)
        assert reader.routes[route(1).prefix] == route(1, 9)


def test_nothing_of_much_is_lost(etcd: Cluster, prefix: str) -> None:
    """10,000 changes at once, some in one transaction, some of 60,000 octets: all are heard, in order."""
    raw = etcd.raw()
    told = [route(number) for number in range(100)]
    with reading({**etcd.options(), "prefix": prefix}) as (reader, _):
        for mac in range(100):
            raw.call(
                "KV/Txn",
                success=[
                    {
                        "request_put": {
                            "key": key(prefix, each).encode(),
                            "value": records.encode_route(route(number, mac + 1))
                            + b" " * (60_000 if number == mac == 50 else 0),
                        }
                    }
                    for number, each in enumerate(told)
                ],
            )
        reader.read_until(lambda: len(reader.events) >= 10_001)
        heard = [event.route for event in reader.events if isinstance(event, Announced)]
        assert heard == [route(number, mac + 1) for mac in range(100) for number in range(100)]


def test_more_than_a_batch_is_caught_up(make_cluster: MakeCluster) -> None:
    """Etcd sends what a watch has missed in batches of 1,000 revisions; each is heard once, and in order."""
    cluster = make_cluster(proxied=True)
    (member,) = cluster.members
    with reading(options(cluster)) as (reader, counting):
        member.proxy.refuse()
        for number in range(1500):
            tell(cluster, number)
        member.proxy.mend()
        reader.read_until(lambda: len(reader.routes) == 1500)
        heard = [event.route for event in reader.events if isinstance(event, Announced)]
        assert heard == [route(number) for number in range(1500)]
        assert counting.lists == 1


def test_a_reader_keeps_its_time(make_cluster: MakeCluster) -> None:
    """However long etcd does not answer, `next_event` returns when it said it would, and `close` wakes it."""
    cluster = make_cluster(proxied=True)
    (member,) = cluster.members
    before = threading.active_count()
    for hung_from in ("start", "list", "watch"):
        store = EtcdStore.from_options(options(cluster, timeout=30.0))
        if hung_from == "list":
            store.leases()
        if hung_from != "watch":
            member.proxy.cut()
        subscription = store.subscribe()
        if hung_from == "watch":
            assert isinstance(subscription.next_event(10), Snapshot)
            member.proxy.cut()
        began = time.monotonic()
        assert subscription.next_event(0.2) is None
        assert time.monotonic() - began < 0.2 + SLACK / 2
        returned: list[object] = []
        waiting = threading.Thread(target=lambda: returned.append(subscription.next_event(60)))  # noqa: B023
        waiting.start()
        began = time.monotonic()
        subscription.close()
        waiting.join(SLACK / 2)
        assert returned == [None], hung_from
        assert subscription.next_event(60) is None
        # Before the store is closed, which would end all of them.
        wait_until(
            lambda: not [t for t in threading.enumerate() if t.name == "containernet-etcd-watch"],
            what="the subscription's thread ends",
            patience=SLACK,
        )
        store.close()
        member.proxy.mend()
    wait_until(lambda: threading.active_count() <= before, what="gRPC's threads end", patience=5)


def test_subscriptions_leave_nothing(etcd: Cluster, prefix: str) -> None:
    """200 came and went; no thread, no channel and no watch of theirs is there."""
    before, watchers = threading.active_count(), count_watchers(etcd)
    store = EtcdStore.from_options({**etcd.options(), "prefix": prefix})
    try:
        for _ in range(200):
            subscription = store.subscribe()
            assert isinstance(subscription.next_event(10), Snapshot)
            subscription.close()
        assert len(store._client._channels) == 1
        assert not store._subscriptions
        wait_until(lambda: count_watchers(etcd) <= watchers, what="the watches end", patience=5)
    finally:
        store.close()
    wait_until(lambda: threading.active_count() <= before, what="the threads end", patience=5)


def count_watchers(etcd: Cluster) -> int:
    """Return how many watches etcd holds."""
    host, port = etcd.urls[0].removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        text = b"".join(iter(lambda: connection.recv(1 << 16), b"")).decode()
    lines = [line for line in text.splitlines() if line.startswith("etcd_debugging_mvcc_watcher_total ")]
    return int(float(lines[0].split()[1]))


def test_while_etcd_is_away_it_is_left_in_peace() -> None:
    """A client that is asked again and again tries to connect ever more rarely."""
    with socket.create_server(("127.0.0.1", 0)) as server, selectors.DefaultSelector() as selector:
        selector.register(server, selectors.EVENT_READ)
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with client({"endpoints": [url], "timeout": 1.0}) as away:
            end = threading.Event()

            def ask() -> None:
                while not end.wait(0.02):
                    with pytest.raises(StoreUnavailable):
                        away.get(b"/x")

            asking = threading.Thread(target=ask)
            asking.start()
            began, tried = time.monotonic(), []
            while (left := began + 4.0 - time.monotonic()) > 0:
                if selector.select(left):
                    server.accept()[0].close()
                    tried.append(time.monotonic() - began)
            end.set()
            asking.join()
        assert 2 <= len(tried) <= 9, tried
        pauses = [later - earlier for earlier, later in itertools.pairwise(tried)]
        assert pauses[-1] > 2 * pauses[0], tried
