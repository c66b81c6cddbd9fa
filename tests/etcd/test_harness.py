"""Each way to hurt an etcd does what it says; without that, a test that survives it has shown nothing."""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from containernet_backends.etcd.options import EtcdOptions
from tests.waiting import wait_until

from .certificates import Authority
from .proxy import Proxy
from .raw import NOSPACE, READWRITE, Raw
from .server import Cluster, Member, needed

pytestmark = pytest.mark.etcd

MakeCluster = Callable[..., Cluster]
SOON = 0.3  # how long a test waits for what is not to come

# Whether gRPC still waits for an answer or has noticed that there is no connection is a matter of microseconds.
# And a server that stops in the middle of an answer says UNKNOWN.
UNANSWERED = {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNKNOWN}


def refusal(call: Callable[..., object], *arguments: object, **named: object) -> grpc.StatusCode:
    """Return with which status a call fails."""
    with pytest.raises(grpc.RpcError) as caught:
        call(*arguments, **named)
    code = caught.value.code()
    assert isinstance(code, grpc.StatusCode)
    return code


def test_every_call_of_the_handle(make_cluster: MakeCluster, prefix: str) -> None:
    """What is written is read, deleted, bound to a lease, and forgotten."""
    raw = make_cluster().raw()
    first = raw.put(f"{prefix}/a", "1")
    assert raw.put(f"{prefix}/b", b"\x00") > first
    assert raw.items(prefix) == {f"{prefix}/a": b"1", f"{prefix}/b": b"\x00"}
    assert (raw.delete(f"{prefix}/a"), raw.delete(f"{prefix}/a")) == (1, 0)
    assert raw.get(f"{prefix}/a") is None
    lease = raw.grant(60)
    raw.put(f"{prefix}/c", "3", lease=lease)
    assert lease in raw.leases()
    assert 0 < raw.remaining(lease) <= 60
    raw.revoke(lease)
    assert raw.remaining(lease) == -1
    assert raw.delete_all(prefix) == 1
    raw.compact()
    old = raw.status().revision - 1
    assert refusal(raw.call, "KV/Range", key=prefix.encode(), revision=old) is grpc.StatusCode.OUT_OF_RANGE


def test_a_lease_of_one_second_ends(raw: Raw, prefix: str) -> None:
    """The election timeout allows the shortest lease that there is."""
    lease = raw.grant(1)
    raw.put(prefix, lease=lease)
    assert raw.remaining(lease) <= 1
    wait_until(lambda: raw.get(prefix) is None, what="the lease ends")


def test_users_by_certificate(secure_etcd: Cluster) -> None:
    """The CN is the user, who may do what its role allows, at every member."""
    for member in secure_etcd.members:
        with secure_etcd.client("writer", member=member) as writer:
            writer.put("/by-certificate", member.name)
        with secure_etcd.client("reader", member=member) as reader:
            assert reader.get("/by-certificate") == member.name.encode()
            assert refusal(reader.put, "/by-certificate") is grpc.StatusCode.PERMISSION_DENIED
        with secure_etcd.client("stranger", member=member) as stranger:
            assert refusal(stranger.get, "/by-certificate") is grpc.StatusCode.PERMISSION_DENIED
    with secure_etcd.client("confined") as confined:
        confined.put("/confined/x")
        assert refusal(confined.put, "/x") is grpc.StatusCode.PERMISSION_DENIED


def test_no_certificate_no_service(secure_etcd: Cluster, authority: Authority, tmp_path: Path) -> None:
    """Another authority's client is not let in, whatever its name."""
    ours = authority.user("writer")
    foreign = Authority(tmp_path).user("writer")
    mixed = type(ours)(ca=ours.ca, cert=foreign.cert, key=foreign.key)
    with Raw(secure_etcd.urls[0], credentials=mixed, timeout=SOON) as intruder:
        assert refusal(intruder.status) in UNANSWERED


def test_a_token_ends(make_cluster: MakeCluster, authority: Authority) -> None:
    """A client with a password holds a token that etcd stops to accept."""
    cluster = make_cluster(flags=[authority.jwt(ttl=2)])
    cluster.enable_auth({"node": [("/", READWRITE)]})
    with cluster.client("node") as node:
        node.put("/x")
        wait_until(lambda: not works(lambda: node.put("/x")), what="the token ends", patience=5)
        assert refusal(node.put, "/x") is grpc.StatusCode.UNAUTHENTICATED
        with cluster.client("node") as again:
            again.put("/x")


def test_a_member_killed_and_started_again_has_its_data(make_cluster: MakeCluster) -> None:
    """SIGKILL loses nothing that was confirmed; a kept handle finds the member again."""
    cluster = make_cluster()
    (member,) = cluster.members
    before = cluster.raw().put("/x", "1")
    member.kill()
    assert not member.running
    cluster.restart(member)
    assert cluster.raw().get("/x") == b"1"
    assert cluster.raw().put("/x", "2") == before + 1


def test_a_member_ends_in_order(make_cluster: MakeCluster) -> None:
    """SIGTERM is heard."""
    (member,) = make_cluster().members
    member.stop()
    assert not member.running


def test_a_frozen_member_accepts_and_does_not_answer(make_cluster: MakeCluster) -> None:
    """SIGSTOP holds a request; after SIGCONT, the same is answered."""
    (member,) = make_cluster().members
    member.freeze()
    with socket.create_connection(("127.0.0.1", int(member.url.rpartition(":")[2])), timeout=1):
        pass
    with Raw(member.url, timeout=SOON) as client:
        assert refusal(client.status) in UNANSWERED
        member.thaw()
        client.timeout = 10
        assert client.status().leader


def test_of_three_another_leads(make_cluster: MakeCluster) -> None:
    """The leader is killed; the two others agree on another, and the killed one follows it later.

    Then a member that lost its data joins anew, and has them again.
    """
    cluster = make_cluster(3)
    first = cluster.leader()
    cluster.raw(first).put("/x", "1")
    first.kill()
    second = cluster.leader(patience=10)
    assert second is not first
    assert len(cluster.followers()) == 1
    cluster.raw(second).put("/y", "2")
    cluster.restart(first)
    assert cluster.leader(patience=10) is not first
    assert cluster.raw(first).get("/y") == b"2"

    known = cluster.status(first).member
    cluster.replace(first)
    assert cluster.status(first).member != known
    assert cluster.raw(first).get("/x") == b"1"
    cluster.lead(first)
    assert cluster.leader(patience=10) is first


def test_a_member_cut_off_loses_its_leader(make_cluster: MakeCluster) -> None:
    """Alone, a leader leads no more, but tells what it knows; the others go on; later all agree."""
    cluster = make_cluster(3, apart=True)
    alone = cluster.leader()
    others = [member for member in cluster.members if member is not alone]
    cluster.cut_off(alone)
    leader = cluster.leader(among=others, patience=10)
    wait_until(lambda: cluster.status(alone).leader == 0, what="the old leader steps down", patience=10)
    cluster.raw(leader).put("/x", "1")
    with cluster.client(member=alone) as client:
        stale = {"key": b"/x", "serializable": True}
        assert not client.call("KV/Range", **stale).kvs
        client.timeout = SOON
        assert refusal(client.get, "/x") in UNANSWERED
    cluster.rejoin(alone)
    cluster.leader(patience=20)
    assert cluster.raw(alone).get("/x") == b"1"


def test_a_full_store_refuses_and_is_emptied(make_cluster: MakeCluster) -> None:
    """NOSPACE is raised by the write that does not fit, and stays until an operator has made room."""
    cluster = make_cluster(flags=["--quota-backend-bytes=2000000"])
    raw = cluster.raw()
    assert raw.alarms() == set()
    assert raw.fill("/full/") > 1
    assert raw.alarms() == {NOSPACE}
    assert refusal(raw.put, "/x") is grpc.StatusCode.RESOURCE_EXHAUSTED
    raw.make_room("/full/")
    assert raw.alarms() == set()
    raw.put("/x")


@pytest.mark.parametrize("size", [1, 3])
def test_a_restored_backup_is_older(make_cluster: MakeCluster, tmp_path: Path, size: int) -> None:
    """What was written after the backup is gone, and the revision went back, at the same URLs."""
    cluster = make_cluster(size)
    saved = cluster.raw().put("/x", "1")
    cluster.save(tmp_path / "backup")
    for _ in range(5):
        lost = cluster.raw().put("/x", "2")
    cluster.restore(tmp_path / "backup")
    for member in cluster.members:
        assert cluster.raw(member).get("/x") == b"1"
    assert saved <= cluster.status(cluster.members[0]).revision < lost


def test_a_proxied_member(make_cluster: MakeCluster) -> None:
    """Requests vanish, answers vanish, everything is late, connections break, and then all is well again."""
    cluster = make_cluster(proxied=True)
    (member,) = cluster.members
    with Raw(member.url) as client:
        client.put("/x", "1")
        client.timeout = SOON

        member.proxy.cut(answers=False)
        assert refusal(client.put, "/x", "unheard") in UNANSWERED
        assert cluster.raw().get("/x") == b"1"
        client.timeout = 10
        member.proxy.reset()  # or what was held would be heard now
        member.proxy.mend()
        client.put("/x", "2")

        client.timeout = SOON
        member.proxy.cut(requests=False)
        assert refusal(client.put, "/x", "unconfirmed") in UNANSWERED
        assert cluster.raw().get("/x") == b"unconfirmed"
        member.proxy.mend()
        client.timeout = 10
        client.put("/x", "3")

        member.proxy.delay(0.1)
        began = time.monotonic()
        client.put("/x", "4")
        assert time.monotonic() - began >= 0.2
        member.proxy.mend()

        member.proxy.refuse()
        client.timeout = SOON
        assert refusal(client.put, "/x", "refused") in UNANSWERED
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", member.proxy.port), timeout=1)
        member.proxy.mend()
        client.timeout = 10
        client.put("/x", "5")
    assert cluster.raw().get("/x") == b"5"
    wait_until(lambda: member.proxy.connections == 0, what="the end of a connection passes")


def test_a_proxy_hides_the_end_of_a_connection_too() -> None:
    """While answers are cut, neither an end nor a reset by the server is seen."""
    with socket.create_server(("127.0.0.1", 0)) as server, Proxy(server.getsockname()[1]) as proxy:
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=SOON) as client:
            accepted, _ = server.accept()
            proxy.cut(requests=False)
            accepted.sendall(b"last words")
            accepted.close()
            with pytest.raises(TimeoutError):
                client.recv(1)
            proxy.mend()
            client.settimeout(5)
            assert client.recv(100) == b"last words"
            assert client.recv(100) == b""
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as client:
            accepted, _ = server.accept()
            proxy.reset()
            with pytest.raises(ConnectionResetError):
                client.recv(1)
            accepted.close()


def test_a_member_that_cannot_start_says_why(etcd: Cluster, make_cluster: MakeCluster) -> None:
    """Its process ends, and the end of its log is in the error, at once."""
    began = time.monotonic()
    with pytest.raises(AssertionError, match="flag provided but not defined"):
        make_cluster(flags=["--no-such-flag"])
    assert time.monotonic() - began < 5


def test_servers_end_with_a_killed_run() -> None:
    """A run is killed, none of its code is run again, and its etcd ends nevertheless."""
    needed()
    program = (
        "from tests.etcd.server import Cluster\n"
        "cluster = Cluster()\n"
        "member = cluster.members[0]\n"
        "print(member.pid, member.data.parents[1], flush=True)\n"
        "input()\n"
    )
    path = os.pathsep.join(each for each in sys.path if each)
    with subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as run:
        assert run.stdout
        pid, directory = run.stdout.readline().split()
        process = os.pidfd_open(int(pid))
        try:
            run.send_signal(signal.SIGKILL)
            assert select.select([process], [], [], 5)[0]
        finally:
            os.close(process)
            shutil.rmtree(directory)


def test_the_options_of_a_store(secure_etcd: Cluster, make_cluster: MakeCluster) -> None:
    """What a cluster says of itself is what the table [store.etcd] takes."""
    options = EtcdOptions.read(secure_etcd.options("writer"))
    assert [str(member) for member in options.members] == secure_etcd.urls
    assert all(options.files())
    plain = make_cluster()
    assert EtcdOptions.read(plain.options()).endpoints == plain.urls
    plain.enable_auth({"node": []})
    assert EtcdOptions.read(plain.options("node")).password() == "node"


def works(call: Callable[[], object]) -> bool:
    """Return whether a call succeeds."""
    try:
        call()
    except grpc.RpcError:
        return False
    return True


def test_members_are_told_apart(make_cluster: MakeCluster) -> None:
    """A handle is on the member that was asked for."""
    cluster = make_cluster(3)
    ids: dict[int, Member] = {cluster.status(member).member: member for member in cluster.members}
    assert len(ids) == 3
