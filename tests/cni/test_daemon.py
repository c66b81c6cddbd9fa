"""The plugin and a daemon that comes and goes: what is answered meanwhile, and what is there afterwards."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from containernet.cni import executable
from tests.kernel.conftest import Netns
from tests.waiting import wait_until

from . import hosts
from .hosts import Host
from .runtime import Done

pytestmark = pytest.mark.kernel


@pytest.fixture
def own(clean: Host) -> Iterator[Host]:
    """A host whose daemon a test may end; it runs again afterwards."""
    yield clean
    if clean.daemon is None:
        clean.start()


@contextmanager
def away(host: Host, number: int = signal.SIGTERM) -> Iterator[None]:
    """Have no daemon for a while."""
    host.stop(number)
    yield
    host.start()


def test_without_a_daemon_only_delete_succeeds(own: Host, netns: Callable[[], Netns]) -> None:
    """Code 11, try again later; STATUS has a code of its own. Each is one document on stdout, and no more."""
    container = netns()
    attached = own.runtime.ask("ADD", "c1", container.path).result
    with away(own):
        for command, code in (("ADD", 11), ("CHECK", 11), ("GC", 11), ("STATUS", 50)):
            done = own.runtime.ask(command, "c1", container.path, version="1.1.0")
            assert (done.error["code"], done.error["cniVersion"], done.err) == (code, "1.1.0", "")
            assert str(own.config.socket) in done.error["details"]
        assert own.runtime.ask("VERSION").result["supportedVersions"] == executable.VERSIONS
        assert own.runtime.ask("DEL", "c1", container.path).result is None
        assert container.can("link show dev eth0"), "nobody has taken it yet"
    assert not container.can("link show dev eth0")
    assert own.endpoints() == {}
    assert own.runtime.ask("ADD", "c1", container.path).result["ips"] == attached["ips"]
    own.runtime.ask("DEL", "c1", container.path)


def test_what_a_container_does_to_itself_keeps_no_node_from_being_ready(
    own: Host, netns: Callable[[], Netns]
) -> None:
    """It has taken its own interface down, so its route cannot be; that is said, with its name."""
    container = netns()
    attached = own.runtime.ask("ADD", "c1", container.path).result
    container.ip("link set eth0 down")
    with away(own):
        pass
    status = own.asked("status")
    assert (status["ready"], status["reasons"]) == (True, [])
    assert any("in container c1: gateway" in each for each in status["warnings"])
    assert own.runtime.ask("STATUS", version="1.1.0").result is None
    container.ip("link set eth0 up")
    wait_until(lambda: not own.asked("status")["warnings"], what="its route is there again")
    assert own.runtime.ask("CHECK", "c1", container.path, prevResult=attached).result is None
    assert own.runtime.ask("DEL", "c1", container.path).result is None


def test_what_was_asked_for_before_is_done_before(own: Host, netns: Callable[[], Netns]) -> None:
    """A letter says that the old container goes; the one that comes now stays, whoever looks first."""
    container = netns()
    own.runtime.ask("ADD", "c1", container.path).result["ips"]
    for number in range(3):
        letter = own.home / "run" / "letters" / str(number)
        request = {"plugin": "containernet-cni", "config": json.dumps(own.runtime.configured("1.0.0"))}
        environment = own.runtime.environment("DEL", "c1", "", "eth0")
        letter.write_text(json.dumps({**request, "environment": environment}))
    (own.home / "run" / "letters" / "junk").write_text("nonsense")
    assert own.runtime.ask("ADD", "c1", container.path).result
    assert own.runtime.ask("ADD", "c2", "/nonesuch").error
    assert list(own.endpoints()) == ["c1"]
    assert container.can("link show dev eth0")
    assert "a letter that says nothing" in own.log()
    own.runtime.ask("DEL", "c1", container.path)


def test_attachments_outlive_the_daemon(own: Host, netns: Callable[[], Netns]) -> None:
    """Killed and started again it finds them: the same addresses, MAC and name, and not a packet is lost."""
    container = netns()
    wishes = {"ips": ["10.4.229.77"], "mac": "02:00:5e:10:00:01", "aliases": ["web"]}
    result = own.runtime.ask("ADD", "c1", container.path, runtimeConfig=wishes).result
    before, link = own.endpoints(), container.ip("-json link show dev eth0")
    gateway = result["ips"][0]["gateway"]
    with ThreadPoolExecutor(1) as threads:
        ping = threads.submit(container.run, "ping", "-i0.02", "-c100", "-W1", gateway)
        own.stop(signal.SIGKILL)
        own.start()
        assert ", 0% packet loss" in ping.result(30)
    assert own.endpoints() == before
    assert container.ip("-json link show dev eth0") == link
    assert own.runtime.ask("CHECK", "c1", container.path, prevResult=result).result is None
    own.runtime.ask("DEL", "c1", container.path)


def test_after_a_reboot_nothing_is_left_of_what_is_gone(own: Host, netns: Callable[[], Netns]) -> None:
    """The namespaces went with the kernel; the runtime may say so, or not."""
    containers = {f"c{number}": netns() for number in range(3)}
    for name, container in containers.items():
        assert own.runtime.ask("ADD", name, container.path).result
    own.run("attach", "operators", "--netns", containers["c0"].path, "--interface", "net1")
    with away(own):
        for container in containers.values():
            container.close()
        own.runtime.ask("DEL", "c1")
    wait_until(lambda: not own.cables(), what="no cable any more")
    assert list(own.endpoints()) == ["operators"]
    assert own.run("gc").split()[0] == "operators"
    assert own.run("gc") == ""
    assert own.runtime.ask("DEL", "c2").result is None


def test_a_namespace_that_goes_is_collected_at_once(own: Host, netns: Callable[[], Netns]) -> None:
    """The runtime was killed before it could say DEL; nobody has to ask."""
    container = netns()
    assert own.runtime.ask("ADD", "c1", container.path).result
    container.close()
    wait_until(lambda: own.endpoints() == {}, what="c1 collected")
    assert "collected: container c1 of net" in own.log()


def test_collecting_takes_what_the_runtime_does_not_know(own: Host, netns: Callable[[], Netns]) -> None:
    """Section 2, GC: of its own network, and neither another's nor an operator's."""
    names = ("kept", "stale", "other", "operators")
    containers = {name: netns() for name in names}
    for name, network in (("kept", "net"), ("stale", "net"), ("other", "theirs")):
        assert own.runtime.ask("ADD", name, containers[name].path, name=network).result
    own.run("attach", "operators", "--netns", containers["operators"].path)
    valid = [{"containerID": "kept", "ifname": "eth0"}, {"containerID": "stale", "ifname": "eth1"}]
    key = "cni.dev/valid-attachments"

    def collect(*more: tuple[str, Any]) -> Done:
        return own.runtime.ask("GC", "", version="1.1.0", **dict(more))

    assert collect().error["code"] == 7
    for wrong in ("", 7, [{"containerID": "kept"}], ["kept"]):
        assert collect((key, wrong)).error["code"] == 7
    assert len(own.endpoints()) == 4
    assert collect((key, valid)).result is None
    assert sorted(own.endpoints()) == ["kept", "operators", "other"]
    assert not containers["stale"].can("link show dev eth0")
    for name in names:
        own.run("detach", name)


def test_status_says_whether_containers_can_be_added(own: Host) -> None:
    """Code 50 while the node is not ready, with the reason."""
    assert own.runtime.ask("STATUS", version="1.1.0").result is None
    own.netns.ip("address del 192.0.2.1/24 dev eth0")
    error = own.runtime.ask("STATUS", version="1.1.0").error
    assert (error["code"], "192.0.2.1/24" in error["details"]) == (50, True)
    own.netns.ip("address add 192.0.2.1/24 dev eth0")
    wait_until(lambda: own.asked("status")["ready"], what="ready again")


def test_where_no_address_is_left_containers_have_to_wait(tmp_path: Path, netns: Callable[[], Netns]) -> None:
    """ADD with code 11, STATUS with code 50; as soon as one is free, both are content."""
    one, other = netns(), netns()
    with hosts.host(tmp_path, network="subnet_length = 30") as host:
        assert host.runtime.ask("ADD", "c1", one.path).result
        assert host.runtime.ask("ADD", "c2", other.path).error["code"] == 11
        assert host.runtime.ask("STATUS", version="1.1.0").error["code"] == 50
        assert not other.can("link show dev eth0")
        assert host.runtime.ask("DEL", "c1", one.path).result is None
        assert host.runtime.ask("STATUS", version="1.1.0").result is None
        assert host.runtime.ask("ADD", "c2", other.path).result
        assert host.runtime.ask("DEL", "c2", other.path).result is None


def test_a_daemon_that_hangs_is_given_up(own: Host, netns: Callable[[], Netns]) -> None:
    """Killed in the middle of a request: ADD can be tried again, DEL is done by the next one."""
    container, other = netns(), netns()
    assert own.runtime.ask("ADD", "c1", container.path).result
    assert own.daemon
    wait_until(lambda: not connections(own), what="it has hung up on everybody")
    own.daemon.send_signal(signal.SIGSTOP)
    with ThreadPoolExecutor(2) as threads:
        delete = threads.submit(own.runtime.ask, "DEL", "c1", container.path)
        add = threads.submit(own.runtime.ask, "ADD", "c2", other.path)
        try:
            wait_until(lambda: connections(own) == 2, what="both wait for an answer")
        finally:
            own.stop(signal.SIGKILL)
        assert delete.result(30).result is None
        assert add.result(30).error["code"] == 11
    own.start()
    assert own.endpoints() == {}
    assert not container.can("link show dev eth0")


def connections(host: Host) -> int:
    """Return how many clients are connected to the daemon's socket, or wait to be."""
    lines = [line.split() for line in host.netns.run("cat", "/proc/net/unix").splitlines()]
    return sum(words[5] != "01" and words[-1] == str(host.config.socket) for words in lines)


def test_two_at_once_for_one_container(own: Host, netns: Callable[[], Netns]) -> None:
    """One of two ADDs has it; of several DELs all succeed."""
    container = netns()
    with ThreadPoolExecutor(4) as threads:
        for _ in range(5):
            added = list(threads.map(lambda _: own.runtime.ask("ADD", "c1", container.path), range(4)))
            assert sorted(done.code for done in added) == [0, 1, 1, 1]
            deleted = list(threads.map(lambda _: own.runtime.ask("DEL", "c1", container.path), range(4)))
            assert [done.result for done in deleted] == [None] * 4
            assert not container.can("link show dev eth0")


def test_a_client_that_trickles_or_floods_harms_nobody(own: Host, netns: Callable[[], Netns]) -> None:
    """More than there is room for hang about, others send octets without end; who wants something has it."""
    container, stop = netns(), threading.Event()

    def flood() -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.connect(str(own.config.socket))
            client.settimeout(5)
            try:
                while not stop.is_set():
                    client.sendall(b"x" * 65536)
            except OSError:
                return

    idle = []
    for _ in range(300):
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        client.connect(str(own.config.socket))
        idle.append(client)
    floods = [threading.Thread(target=flood) for _ in range(4)]
    for each in floods:
        each.start()
    try:
        assert own.runtime.ask("ADD", "c1", container.path).result
        assert own.runtime.ask("DEL", "c1", container.path).result is None
    finally:
        stop.set()
        for each in floods:
            each.join()
        for client in idle:
            client.close()


@pytest.mark.parametrize("size", [700_000, 5_000_000])
def test_a_configuration_may_be_large_and_not_too_large(own: Host, size: int) -> None:
    """A limit, and an answer on either side of it."""
    done = own.runtime.ask("ADD", "c1", "/nonesuch", padding="x" * size)
    assert done.error["code"] == (4 if size < 768 * 1024 else 6)
    assert done.err == ""


@pytest.mark.parametrize(
    "octets", [b"\xff" * 1000, b"\0", b"[" * 700_000, b'{"a":' * 100_000, os.urandom(5000)]
)
@pytest.mark.parametrize("command", ["ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION"])
def test_junk_has_an_answer(own: Host, command: str, octets: bytes) -> None:
    """An error with the code for it, whatever the octets; nothing but JSON on stdout, and nothing on stderr."""
    environment = own.runtime.environment(command, "c1", "/nonesuch", "eth0")
    done = own.runtime.execute(environment, octets)
    assert done.err == ""
    if command == "VERSION":
        assert done.result["cniVersion"] == "1.0.0"
    else:
        assert done.error["code"] == 6


def test_the_environment_may_be_anything(own: Host) -> None:
    """Octets that are no text, and variables of CNI that nobody knows."""
    environment: dict[Any, Any] = {**own.runtime.environment("ADD", "c1", "/none\udcff", "eth0")}
    environment["CNI_\udcfe"] = '"\\\udcfd'
    done = own.runtime.execute(environment, json.dumps(own.runtime.configured("1.0.0")))
    assert (done.error["code"], done.err) == (4, "")


def test_a_full_disk_is_an_error_and_nothing_is_half_done(tmp_path: Path, netns: Callable[[], Netns]) -> None:
    """Code 11: it can be tried again, and then it succeeds; a DEL is told to come again, too."""
    container = netns()
    with hosts.small_disk(tmp_path, octets=1 << 20) as disk, hosts.host(disk) as host:
        assert host.runtime.ask("ADD", "c1", container.path).result
        before = host.holds()
        with hosts.full(disk):
            assert host.runtime.ask("ADD", "c2", netns().path).error["code"] == 11
            assert host.holds() == before
            assert host.runtime.ask("DEL", "c1", container.path).error["code"] == 11
        assert host.runtime.ask("DEL", "c1", container.path).result is None
        assert host.endpoints() == {}
