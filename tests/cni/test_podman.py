"""podman with runc on two hosts: what its users do, and what happens to them."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.conftest import Netns
from tests.waiting import wait_until

from . import hosts
from .podman import PARENT, Podman, podmen as running

pytestmark = [pytest.mark.kernel, pytest.mark.untraced]


@pytest.fixture(scope="module")
def podmen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Podman]]:
    """Podman on two hosts of one network."""
    with hosts.cluster(tmp_path_factory.mktemp("podman"), 2) as members, running(members) as made:
        yield made


@pytest.fixture
def podman(podmen: list[Podman]) -> Iterator[Podman]:
    """Podman on the first host; the test fails if anything of its containers is left."""
    before = podmen[0].host.holds()
    yield podmen[0]
    podmen[0]("rm", "--all", "--force", "--time=0")
    podmen[0].host.wait_for(before)


def page(client: Netns, url: str) -> str:
    """Return what a web server answers."""
    script = f"import urllib.request; print(urllib.request.urlopen({url!r}, timeout=5).read().decode(), end='')"
    return client.run(sys.executable, "-c", script)


def test_containers_of_two_hosts_reach_each_other(podman: Podman, podmen: list[Podman]) -> None:
    """By the addresses that podman tells, of either family."""
    other = podmen[1]
    podman.run("a")
    other.run("b")
    try:
        for address in ("IPAddress", "GlobalIPv6Address"):
            podman("exec", "a", "ping", "-c1", "-W2", other.network("b")[address])
            other("exec", "b", "ping", "-c1", "-W2", podman.network("a")[address])
        assert page(podman.host.netns, f"http://{other.address('b')}/") == "hello\n"
    finally:
        other("rm", "--force", "--time=0", "b")


def test_a_container_has_what_was_asked_for(podman: Podman) -> None:
    """The address, the MAC, and a name in the daemon's list."""
    subnet = podman.host.asked("status")["subnets"][0].rpartition(".")[0]
    podman.run("a", f"--ip={subnet}.99", "--mac-address=02:00:5e:10:00:01")
    network = podman.network("a")
    assert (network["IPAddress"], network["MacAddress"]) == (f"{subnet}.99", "02:00:5e:10:00:01")
    shown = podman("exec", "a", "ip", "address", "show", "dev", "eth0")
    assert f"inet {subnet}.99/24" in shown
    assert "link/ether 02:00:5e:10:00:01" in shown
    with podman.start("run", "--cgroup-parent", PARENT, f"--ip={subnet}.99", "busybox", "true") as second:
        assert f"{subnet}.99 is held by" in second.communicate()[1]
        assert second.returncode != 0


def test_a_restarted_container_has_its_address_again(podman: Podman) -> None:
    """In a new namespace; and it is reached as before."""
    podman.run("a")
    podman.run("b")
    before, namespace = podman.address("a"), podman.host.endpoints()
    podman("restart", "--time=0", "a")
    assert podman.address("a") == before
    assert podman.host.endpoints() != namespace
    podman("exec", "b", "ping", "-c1", "-W2", before)


def test_a_network_can_be_reloaded(podman: Podman) -> None:
    """Podman takes the interface away and wants it again, with the same address, in the same namespace."""
    podman.run("a")
    before = podman.address("a"), podman.network("a")["MacAddress"]
    podman("network", "reload", "a")
    assert (podman.address("a"), podman.network("a")["MacAddress"]) == before
    podman.host.netns.run("ping", "-c1", "-W2", before[0])


def test_ports_of_the_host_lead_to_the_container(podman: Podman, podmen: list[Podman]) -> None:
    """From another host, from its own, and after a restart of the daemon; a taken one is refused."""
    podman.run("a", "--publish=8080:80", "--publish=127.0.0.1:8081:80/tcp")
    url = f"http://{podman.host.address}:8080/"
    assert page(podmen[1].host.netns, url) == page(podman.host.netns, url) == "hello\n"
    with podman.start("run", "--cgroup-parent", PARENT, "--publish=8080:80", "busybox", "true") as second:
        assert "8080" in second.communicate()[1]
        assert second.returncode != 0
    podman.host.stop(signal.SIGKILL)
    podman.host.start()
    assert page(podmen[1].host.netns, url) == "hello\n"
    podman("network", "reload", "a")
    assert page(podmen[1].host.netns, url) == "hello\n"


def test_a_container_reaches_the_world_behind_its_host(podman: Podman, podmen: list[Podman]) -> None:
    """Somebody who has no route to the pool answers all the same: it is the host that he answers."""
    world = podmen[1].host
    podman.run("a")
    assert podman("exec", "a", "ping", "-c1", "-W2", world.address)


def test_fifty_at_once(podman: Podman) -> None:
    """Each has addresses of its own; and all go at once."""
    running = [
        podman.start("run", "-d", "--cgroup-parent", PARENT, "--name", f"m{number}", "busybox", "sleep", "600")
        for number in range(50)
    ]
    for process in running:
        with process:
            assert process.communicate()[1] == ""
            assert process.returncode == 0
    given = [own for each in podman.host.endpoints().values() for own in each["addresses"]]
    assert (len(given), len(set(given))) == (100, 100)
    assert len(podman.host.cables()) == 50


def test_a_runtime_that_is_killed_leaves_nothing_for_ever(podman: Podman) -> None:
    """Whenever it happens: either its successor says DEL, or the namespace goes, and that is seen."""
    for number in range(6):
        words = ("--cgroup-parent", PARENT, "--name", f"k{number}", "busybox", "sleep", "600")
        with podman.start("run", "-d", *words) as process:
            wait_until(lambda: bool(podman.host.endpoints()) or process.poll() is not None, what="attached")
            process.kill()
        wait_until(podman.removed_all, what="podman has removed what it had begun")
        for netns in Path("/run/netns").glob("netns-*"):
            subprocess.run(["umount", "--lazy", netns], check=True)
            netns.unlink()
        wait_until(lambda: podman.host.endpoints() == {}, what="collected")


def test_a_container_that_ends_while_no_daemon_runs_is_collected(podman: Podman) -> None:
    """Podman removes it without a complaint; the next daemon takes what it had."""
    podman.run("a")
    podman.host.stop()
    assert podman("rm", "--force", "--time=0", "a") == "a"
    podman.host.start()
    assert podman.host.endpoints() == {}
