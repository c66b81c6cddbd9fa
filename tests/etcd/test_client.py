"""The client: each of etcd's refusals as ours, a full and a busy server, and what it leaves of itself."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_network
from pathlib import Path

import pytest

from containernet.errors import ConfigError, StoreError, StoreRefused, StoreUnavailable
from containernet.events import Snapshot
from containernet_backends.etcd import EtcdOptions, EtcdStore, messages, requests
from containernet_backends.etcd.client import Client
from containernet_backends.etcd.failures import NoSpace, NotThere, StaleToken, translated
from containernet_backends.etcd.messages import KeyValue

from .certificates import Authority
from .readers import reading
from .server import Cluster

pytestmark = pytest.mark.etcd

SUBNETS = (ip_network("10.4.1.0/24"),)


@pytest.fixture
def client(etcd: Cluster) -> Iterator[Client]:
    """A client of the cluster that all share."""
    made = Client(EtcdOptions.read({**etcd.options(), "timeout": 2.0}))
    yield made
    made.close()


@pytest.mark.parametrize(
    ("code", "details", "kind"),
    [
        ("UNAVAILABLE", "etcdserver: no leader", StoreUnavailable),
        ("UNAVAILABLE", "etcdserver: leader changed", StoreUnavailable),
        ("UNAVAILABLE", "etcdserver: server stopped", StoreUnavailable),
        ("UNAVAILABLE", "etcdserver: rpc not supported for learner", StoreUnavailable),
        ("UNAVAILABLE", "etcdserver: request timed out", StoreUnavailable),
        ("UNKNOWN", "raft: stopped", StoreUnavailable),
        ("DEADLINE_EXCEEDED", "", StoreUnavailable),
        ("RESOURCE_EXHAUSTED", "etcdserver: too many requests", StoreUnavailable),
        ("RESOURCE_EXHAUSTED", "etcdserver: mvcc: database space exceeded", NoSpace),
        ("NOT_FOUND", "etcdserver: requested lease not found", NotThere),
        ("OUT_OF_RANGE", "etcdserver: mvcc: required revision has been compacted", NotThere),
        ("OUT_OF_RANGE", "etcdserver: mvcc: required revision is a future revision", NotThere),
        ("OUT_OF_RANGE", "etcdserver: too large lease TTL", StoreError),
        ("INVALID_ARGUMENT", "etcdserver: duplicate key given in txn request", StoreError),
        ("INVALID_ARGUMENT", "etcdserver: request is too large", StoreError),
        ("INVALID_ARGUMENT", "etcdserver: user name is empty", StoreRefused),
        ("PERMISSION_DENIED", "etcdserver: permission denied", StoreRefused),
        ("UNAUTHENTICATED", "etcdserver: invalid auth token", StoreRefused),
        ("UNIMPLEMENTED", "unknown service etcdserverpb.KV", ConfigError),
    ],
)
def test_refusals(code: str, details: str, kind: type[StoreError]) -> None:
    """Each is what a caller can act on, and one line with the endpoint and etcd's own words."""
    error = translated(code, details, where="http://192.0.2.1:2379", options=EtcdOptions())
    assert type(error) is kind
    assert str(error).startswith(f"etcd http://192.0.2.1:2379: {details or code}")
    assert ("make room" in str(error)) == ("space" in details)


def test_a_token_of_ours_can_be_had_again() -> None:
    """With a password, a token that etcd does not take, or not any more, is no refusal yet."""
    options = EtcdOptions(username="host", password_file="/none")
    for details in ("etcdserver: invalid auth token", "etcdserver: revision of auth store is old"):
        error = translated("INVALID_ARGUMENT", details, where="x", options=options)
        assert type(error) is StaleToken


def test_refusals_of_a_real_server(client: Client, etcd: Cluster, prefix: str) -> None:
    """The texts are etcd's own."""
    key = f"{prefix}/x".encode()
    revision = client.txn([], [requests.put(key, b"")]).header.revision
    client.revoke(12345)
    assert client.keep_alive(12345) == 0
    with pytest.raises(NotThere, match="lease not found"):
        client.txn([], [requests.put(key, b"", lease_id=12345)])
    with pytest.raises(StoreError, match="duplicate key") as raised:
        client.txn([], [requests.put(key, b""), requests.put(key, b"")])
    assert type(raised.value) is StoreError
    with pytest.raises(StoreError, match="too large"):
        client.txn([], [requests.put(key, bytes(2_000_000))])
    with pytest.raises(NotThere, match="future revision"):
        client.call(messages.RANGE, requests.one(key, revision + 10**9))
    etcd.raw().compact(client.txn([], [requests.put(key, b"")]).header.revision)
    with pytest.raises(NotThere, match="compacted"):
        client.call(messages.RANGE, requests.one(key, revision))


@pytest.mark.parametrize("tls", [False, True])
def test_more_than_a_window_goes_both_ways(etcd: Cluster, secure_etcd: Cluster, prefix: str, tls: bool) -> None:
    """A request of 1.4 MB, an answer with 5,000 records, and then many calls at once beside a watch."""
    options = secure_etcd.options("writer") if tls else etcd.options()
    client = Client(EtcdOptions.read(options))
    keys = [f"{prefix}/{number:04}".encode() for number in range(5000)]
    begin, end = keys[0], keys[-1] + b"\0"
    try:
        big = os.urandom(1_400_000)
        revision = client.txn([], [requests.put(f"{prefix}x".encode(), big)]).header.revision
        found = client.get(f"{prefix}x".encode())
        assert found == KeyValue(f"{prefix}x".encode(), revision, big)
        for at in range(0, 5000, 100):
            client.txn([], [requests.put(key, b"%d" % at * 20) for key in keys[at : at + 100]])
        told = client.range(begin, end)
        assert ([kv.key for kv in told.kvs], told.count) == (keys, 5000)
        with reading({**options, "prefix": prefix}) as (reader, counting), ThreadPoolExecutor(16) as pool:

            def put(key: bytes) -> int:
                return counting.txn([], [requests.put(key, b"again")]).header.revision

            assert len(set(pool.map(put, keys[:200]))) == 200
            assert not reader.losses
        assert {kv.value for kv in client.range(begin, end).kvs[:200]} == {b"again"}
    finally:
        client.close()


def test_a_full_store(make_cluster: Callable[..., Cluster]) -> None:
    """Nothing can be written, which is said; reading, watching and KeepAlive go on; then all is well."""
    cluster = make_cluster(flags=["--quota-backend-bytes=2000000"])
    raw = cluster.raw()
    options = {**cluster.options(), "prefix": "/net"}
    store = EtcdStore.from_options({**options, "announce_again": 0})
    with reading(options) as (reader, _):
        lease = store.claim(SUBNETS, "n1", 60)
        raw.fill("/full/")
        with pytest.raises(StoreUnavailable, match="space exceeded; make room: etcdctl compact and defrag"):
            store.reserve((ip_network("10.4.2.0/24"),))
        assert [each.node for each in store.leases()] == ["n1"]
        assert store.renew(lease, 60).revision == lease.revision
        reader.read(0.1)
        assert not reader.losses
        raw.make_room("/full/")
        store.reserve((ip_network("10.4.2.0/24"),))
        store.release(store.renew(lease, 60))
        assert len(store.leases()) == 1
    store.close()


def test_a_full_store_with_a_dead_member(make_cluster: Callable[..., Cluster]) -> None:
    """What is said is that there is no room, not that one of the three does not answer."""
    cluster = make_cluster(3, flags=["--quota-backend-bytes=2000000"])
    cluster.raw().fill("/full/")
    cluster.members[0].kill()
    cluster.leader()
    store = EtcdStore.from_options(cluster.options())
    assert not store.leases()  # the second member answers, and is asked first from now on
    with pytest.raises(StoreUnavailable, match="make room"):
        store.reserve(SUBNETS)
    store.close()


def test_closed_while_it_asks(make_cluster: Callable[..., Cluster]) -> None:
    """`close` ends what other threads wait for, at once, and they hear that it was closed."""
    cluster = make_cluster(proxied=True)
    (member,) = cluster.members
    store = EtcdStore.from_options({**cluster.options(), "timeout": 60.0})
    subscription = store.subscribe()
    assert isinstance(subscription.next_event(10), Snapshot)
    member.proxy.cut()
    told: list[object] = []

    def wait(ask: Callable[[], object]) -> None:
        try:
            told.append(ask())
        except StoreUnavailable as error:
            told.append(str(error))

    asks = (store.leases, lambda: subscription.next_event(60))
    threads = [threading.Thread(target=wait, args=(ask,)) for ask in asks]
    for thread in threads:
        thread.start()
    began = time.monotonic()
    store.close()
    store.close()
    for thread in threads:
        thread.join(5)
    assert time.monotonic() - began < 2
    assert None in told
    assert any("closed" in str(each) for each in told)
    with pytest.raises(StoreUnavailable, match="closed"):
        store.leases()


def test_no_noise(secure_etcd: Cluster, tmp_path: Path) -> None:
    """What is wrong an exception says, and stderr nothing. A process may fork until the first call."""
    options = {**secure_etcd.options("writer"), "ca": str(Authority(tmp_path).ca)}
    program = (
        "import os, sys, warnings\n"
        "from containernet.errors import StoreUnavailable\n"
        "from containernet_backends.etcd import EtcdStore\n"
        f"store = EtcdStore.from_options({options!r})\n"
        "child = os.fork()\n"  # both use the store for the first time
        "try:\n"
        "    store.leases()\n"
        "except StoreUnavailable as error:\n"
        "    pass\n"
        "assert not {'grpc', 'google.protobuf', 'etcd3'} & set(sys.modules)\n"
        "store.close()\n"
        "if child:\n"
        "    assert os.waitpid(child, 0)[1] == 0\n"
        "    print('well')\n"
    )
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "well\n", "")
