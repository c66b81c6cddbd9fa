"""The programs on a host: what an operator types, what it prints, and what is in the kernel afterwards."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Iterator

import pytest

from containernet.items import Sysctl
from containernet.lab import build, daemons, namespaces, whole
from containernet.lab.cluster import Lab

from . import labs
from .labs import run, start, stop

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def built() -> Iterator[Lab]:
    """Two hosts with a container each."""
    with labs.lab(hosts=2, containers=1) as built:
        yield built


def test_attach_prints_the_addresses_and_gives_the_same_again(built: Lab) -> None:
    """A container that is attached already keeps what it has; JSON says it all."""
    once = run(built, "host1", "attach", "host1-c1", "--netns", "host1-c1")
    again = run(built, "host1", "attach", "host1-c1", "--netns", "/run/netns/host1-c1", "--json")
    assert (once.code, again.code) == (0, 0)
    assert once.out.split() == ["host1-c1", "eth0", *again.json["addresses"]]
    assert all(result.reached for result in whole.ping(built, labs.containers(built)))


def test_detach_takes_everything_back_and_may_be_repeated(built: Lab) -> None:
    """Nothing of the container stays in the kernel; a second time there is nothing to take."""
    before = labs.items(built, "host1")
    built.call(functools.partial(namespaces.create_network, build.path("guest")))
    assert run(built, "host1", "attach", "guest", "--netns", "guest").code == 0
    assert labs.items(built, "host1") != before
    assert run(built, "host1", "detach", "guest").out == "guest detached\n"
    assert run(built, "host1", "detach", "guest", "--json").json == {"detached": False}
    assert labs.items(built, "host1") == before


def test_status_says_ready_and_what_there_is(built: Lab) -> None:
    """Text for people, JSON for programs, and the exit code for both."""
    text, document = run(built, "host1", "status"), run(built, "host1", "status", "--json")
    assert (text.code, document.code) == (0, 0)
    assert text.out.startswith("host1 is ready\n")
    assert "host1-c1" in text.out
    assert document.json["ready"] is True


def test_routes_and_leases_need_no_daemon(built: Lab) -> None:
    """They ask the store, which is there whoever else is."""
    stop(built, "host1")
    try:
        routes = run(built, "host1", "routes", "--json").json["routes"]
        leases = run(built, "host1", "leases", "--json").json["leases"]
        assert run(built, "host1", "status").code == 8
    finally:
        start(built, "host1")
    assert {(route["node"], route["prefix"]) for route in routes} == {
        (lease["node"], subnet) for lease in leases for subnet in lease["subnets"]
    }
    assert {lease["node"] for lease in leases} == {"host1", "host2"}


def test_cleanup_waits_for_the_daemon_to_be_gone_and_takes_only_what_is_ours(built: Lab) -> None:
    """A daemon would put everything back, so it must be stopped; a look is allowed at any time."""
    before = labs.items(built, "host2")
    look = run(built, "host2", "cleanup", "--dry-run")
    assert look.code == 0
    assert len(look.out.splitlines()) == len(before)
    assert run(built, "host2", "cleanup").code == 7
    assert labs.items(built, "host2") == before
    stop(built, "host2")
    built.call(_add_foreign_route)
    try:
        cleaned = run(built, "host2", "cleanup", "--json")
        assert cleaned.code == 0
        assert cleaned.json["failures"] == []
        assert labs.items(built, "host2") == {}
        assert built.call(_foreign_route_is_there)
        assert run(built, "host2", "cleanup").out == ""
    finally:
        start(built, "host2")
    assert labs.items(built, "host2") == before
    assert all(result.reached for result in whole.ping(built, labs.containers(built)))


def _add_foreign_route() -> None:
    with namespaces.network(build.path("host2")):
        subprocess.run(["ip", "route", "add", "10.99.0.0/16", "dev", "eth0"], check=True)


def _foreign_route_is_there() -> bool:
    with namespaces.network(build.path("host2")):
        listed = subprocess.run(["ip", "route"], capture_output=True, text=True, check=True).stdout
    return "10.99.0.0/16 dev eth0" in listed


def test_leaving_gives_the_subnet_back_and_cleans_up() -> None:
    """With --leave a stopped daemon leaves nothing: no lease, no route at its peers, no item in its kernel."""
    with labs.lab(hosts=2, containers=1) as built:
        stop(built, "host2")
        built.call(_leave)
        assert [lease["node"] for lease in run(built, "host1", "leases", "--json").json["leases"]] == ["host1"]
        items = labs.items(built, "host2").values()
        assert [item for item in items if not isinstance(item, Sysctl)] == []
        labs.seconds_until(
            lambda: all(route["node"] == "host1" for route in labs.status(built, "host1")["routes"]),
            at_most=5.0,
        )


def _leave() -> None:
    config = str(daemons.config_file("host2"))
    command = [sys.executable, "-m", "containernet.daemon", "--config", config, "--leave"]
    with namespaces.network(build.path("host2")):
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    with process:
        for line in process.stderr:
            if "ready:" in line:
                process.terminate()
    assert process.returncode == 0
