"""The lab with its daemons: what it shows must be what is, and what fails must say why."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from ipaddress import ip_network
from typing import Any

import attrs
import pytest

from containernet import snapshot
from containernet.cli import main as cli
from containernet.errors import ConfigError, DaemonUnavailable, KernelError
from containernet.lab import cluster, daemons, demo, drift, whole
from containernet.lab.cluster import Lab
from containernet.lab.ping import Reply, Tally, TooBig
from containernet.lab.topology import Topology
from containernet_backends.sqlite import SqliteStore

from . import labs

pytestmark = pytest.mark.kernel

NAME = f"test-{os.getpid()}-whole"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Two hosts with a router between them, VXLAN, both families, a container each."""
    with whole.up(NAME, Topology(hosts=2, containers=1, underlay="routed")) as made:
        try:
            yield made
        finally:
            made.down()


def test_containers_reach_each_other_in_both_families(lab: Lab) -> None:
    """`lab up` returns when every route is programmed: the first request is answered."""
    results = whole.ping(lab, lab.topology.container_names)
    assert len(results) == 4
    assert all(each.reached for each in results), results


def test_a_killed_daemon_loses_no_packet_and_neither_does_its_successor(lab: Lab) -> None:
    """The kernel forwards, not the daemon; and what starts again finds everything in place."""
    (host, _) = lab.topology.members
    target = whole.addresses(lab, "host2-c1")[0]
    with whole.streaming(lab, "host1-c1", target) as stop:
        lab.call(functools.partial(daemons.stop, "host1", signal.SIGKILL))
        with pytest.raises(DaemonUnavailable, match="host1: no daemon is running"):
            lab.call(functools.partial(daemons.stop, "host1"))
        lab.call(functools.partial(daemons.start_ready, lab.topology, [host]))
        tally = stop()
    assert tally.sent > 5
    assert tally.lost == 0, tally


def test_streams_run_side_by_side(lab: Lab) -> None:
    """Each ends when it is stopped, whichever began first: none holds another's pipe open."""
    targets = whole.addresses(lab, "host2-c1")
    with (
        whole.streaming(lab, "host1-c1", targets[0]) as first,
        whole.streaming(lab, "host1-c1", targets[-1]) as second,
    ):
        tallies = first(), second()
    assert all(tally.sent and not tally.lost for tally in tallies), tallies


def test_an_operator_who_changes_their_mind_leaves_nothing_behind() -> None:
    """Ctrl-C in the middle of `lab up`: no lab, no trace of Python, and dead of the signal."""
    name = f"{NAME}-interrupted"
    # A shell starts what runs in the background with SIGINT ignored, and whoever ignores it is not interrupted.
    heeding = ["env", "--default-signal=INT"]
    command = [*heeding, sys.executable, "-m", "containernet.cli.main", "lab", "up", "--name", name]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "starting containernetd" in process.stderr.readline()
        with cluster.find(name) as begun:
            daemon = begun.file(daemons.directory("host3") / "pid")
            labs.seconds_until(daemon.exists, at_most=10)
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == ""
    assert process.returncode == -signal.SIGINT
    assert name not in cluster.names()


def test_a_store_whose_file_is_deleted_loses_no_packet(lab: Lab) -> None:
    """Each agent finds an empty store, and announces again; meanwhile it keeps what it had heard."""
    before = {host.name: labs.items(lab, host.name) for host in lab.topology.members}
    target = whole.addresses(lab, "host2-c1")[0]
    with whole.streaming(lab, "host1-c1", target) as stop:
        for path in lab.file(cluster.HOME).glob("store.db*"):
            path.unlink()
        labs.seconds_until(lambda: _announced_again(lab), at_most=10)
        tally = stop()
    assert tally.lost == 0, tally
    assert {host: labs.items(lab, host) for host in before} == before


@pytest.mark.parametrize("version", [4, 6])
def test_a_route_deleted_behind_the_daemons_back_is_there_again(lab: Lab, version: int) -> None:
    """The time is the daemon's, and under a second; the traffic flows again."""
    status = daemons.ask(lab.file(daemons.directory("host1")), "status")
    routes = [ip_network(route["prefix"]) for route in status["routes"] if route["node"] == "host2"]
    (prefix,) = (each for each in routes if each.version == version)
    healed = lab.call(functools.partial(drift.delete_route, lab.netns("host1"), prefix))
    assert 0 < healed < 1
    assert all(each.reached for each in whole.ping(lab, lab.topology.container_names))


def test_a_route_that_is_not_there_cannot_be_deleted(lab: Lab) -> None:
    """The kernel's word comes back."""
    delete = functools.partial(drift.delete_route, lab.netns("host1"), ip_network("203.0.113.0/24"))
    with pytest.raises(KernelError, match=r"203\.0\.113\.0/24: No such process"):
        lab.call(delete)


def test_lab_list_and_logs_show_what_is_there(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    """What a user asks from another terminal is read from the lab itself."""
    assert run_cli("list", "--json") == 0
    (row,) = (row for row in json.loads(capsys.readouterr().out) if row["name"] == NAME)
    assert (row["pid"], row["dataplane"], row["underlay"]) == (lab.pid, "vxlan", "routed")
    assert run_cli("logs", "--name", NAME, "host2") == 0
    assert "started: node host2" in capsys.readouterr().out
    assert run_cli("logs", "--name", NAME, "host2-c1") == ConfigError.exit_code


def run_cli(*words: str) -> int:
    """Run a `lab` command in this process; return its exit code."""
    with pytest.raises(SystemExit) as end:
        cli.main(["lab", *words])
    return int(end.value.code or 0)


def test_a_daemon_that_does_not_start_says_why_and_takes_the_lab_along() -> None:
    """The error holds the daemon's own last words; nothing is left."""
    name = f"test-{os.getpid()}-broken"
    with pytest.raises(DaemonUnavailable, match=r"host1: its daemon ended: .*no-such-dataplane"):
        whole.up(name, Topology(hosts=1, containers=0, dataplane="no-such-dataplane"))
    assert name not in cluster.names()


def test_a_store_that_the_lab_cannot_run_is_refused_before_anything_is_made() -> None:
    """The message says which ones it can."""
    with pytest.raises(ConfigError, match=r"--store memory: .*expected sqlite, etcd, bgp"):
        whole.up(f"test-{os.getpid()}-store", Topology(store="memory"))


def test_a_store_whose_program_is_missing_is_refused_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is made, in a line."""
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ConfigError, match="install the Debian package etcd-server"):
        whole.up(f"test-{os.getpid()}-store", Topology(store="etcd"))


@pytest.mark.parametrize(
    "wanted",
    [demo.Report(dataplane="bridge", underlay="l2"), demo.BY_BGP],
    ids=lambda wanted: wanted.title,
)
def test_the_demonstration_shows_what_a_dataplane_can(wanted: demo.Report) -> None:
    """Everybody is reached, nothing is refused, and no packet is lost."""
    report = demo.show(wanted)
    assert report.good, report
    assert report.reached == report.pairs == 60
    assert any("VXLAN" in line for line in report.headers) == (wanted.dataplane == "vxlan")


def test_the_demonstration_shows_the_refusal_across_a_router() -> None:
    """What cannot cross a router says so for every peer behind it, and reaches the others."""
    report = demo.show(demo.Report(dataplane="host-gw", underlay="routed"))
    assert report.good, report
    assert (report.reached, report.pairs) == (28, 60)
    assert len(report.refusals) == 8  # host1 and host3 each refuse host2, and it them, in two families
    assert "host-gw cannot reach" in report.refusals[0]
    assert any("refused" in line for line in demo.narrate(report))


def test_the_demonstration_says_what_this_kernel_lacks_or_shows_it() -> None:
    """IP in IP is shown where the kernel has it, and nowhere pretended."""
    report = demo.show(demo.Report(dataplane="ipip", underlay="routed"))
    assert report.good, report
    if report.missing:
        assert "this kernel has no ipip" in demo.narrate(report)[0]
    else:
        assert report.headers[2].startswith("IP 10.4.")


def test_a_report_that_lost_a_packet_is_not_good() -> None:
    """The exit code of the demonstration rests on this."""
    good = demo.Report(
        dataplane="vxlan",
        underlay="l2",
        pairs=2,
        expected=2,
        reached=2,
        fits=(1430, (Reply(rtt=0.001),)),
        too_big=(1431, (TooBig(mtu=1430),)),
    )
    assert good.good
    assert "NOT AS IT SHOULD BE" not in good.row[-1]
    changes: list[dict[str, Any]] = [
        {"reached": 1},
        {"refusals": ("no",)},
        {"killed": Tally(sent=2, answered=1, pause=0.0)},
        {"too_big": (1431, (Reply(rtt=0.001),))},
        {"fits": (1430, (TooBig(mtu=1400),))},
    ]
    for change in changes:
        bad = attrs.evolve(good, **change)
        assert not bad.good, change
        assert "NOT AS IT SHOULD BE" in bad.row[-1]


def _announced_again(lab: Lab) -> bool:
    """Return whether there is a store with all routes again, and every host is ready without a warning."""
    statuses = [labs.status(lab, host.name) for host in lab.topology.members]
    return lab.call(_told) == 4 and all(status["ready"] and not status["warnings"] for status in statuses)


def _told() -> int:
    """Return how many routes the store tells; to be called inside the lab."""
    path = cluster.HOME / "store.db"
    if not path.exists():
        return 0
    with closing(SqliteStore(path)) as store:
        return len(snapshot(store).routes)
